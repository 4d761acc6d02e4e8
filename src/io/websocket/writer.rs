//! From messages to bytes. Data is masked on its way through one scratch buffer; large data is never held twice, and
//! a partial write moves nothing.

use super::scratch::{SCRATCH, Scratch, turned};
use crate::session::calls::CallId;
use crate::wire::outgoing::Outgoing;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::io;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Room for what may be sent together with a hello, whose place does not grow: heads of its frames, or a control frame.
const FOLLOWING: usize = 2 * (MAX_HEAD + MAX_CONTROL);

/// Room for so many messages that wait or are sent is kept for the next ones.
const MOST_KEPT: usize = 1024;

/// The largest head of a frame: header, mask and chunk header.
const MAX_HEAD: usize = 14 + 12;

/// The largest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// A control frame to be sent.
#[derive(Debug)]
pub enum ControlFrame {
    /// A ping without payload. Goes behind the messages that wait.
    Ping,
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// Nothing is sent after this one.
    Close(u16),
}

/// Puts a control frame behind the others. Of pongs only the newest is sent (RFC 6455 section 5.5.3 allows
/// that), so that a server that pings and does not read fills nothing.
pub fn queue_control(waiting: &mut VecDeque<ControlFrame>, frame: ControlFrame) {
    if matches!(frame, ControlFrame::Pong(_)) {
        waiting.retain(|other| !matches!(other, ControlFrame::Pong(_)));
    }
    waiting.push_back(frame);
}

/// So many small messages that are written are kept, because of their memory.
const MOST_SPARES: usize = 128;

/// What is sent.
pub type Message = Outgoing;

/// A message and the call that it belongs to.
pub type Queued = (Message, Option<CallId>);

/// What has been sent of a message.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The call that the message belongs to.
    pub call: Option<CallId>,
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes in total.
    pub total: u64,
}

/// Messages that are written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// How many.
    pub messages: u64,
    /// Their bytes, without framing.
    pub bytes: u64,
}

/// The writing side of a connection.
pub struct Writer {
    scratch: Scratch,
    messages: VecDeque<Queued>,
    /// Messages that are in the scratch with their last byte, and where there they end.
    masked: VecDeque<(Queued, usize)>,
    controls: VecDeque<ControlFrame>,
    /// The frame that is being masked: its key, turned to the next byte, and what is left of it.
    frame: Option<([u8; 4], u64)>,
    closing: bool,
    bytes_out: u64,
    written: Written,
    done: Vec<Queued>,
    spares: Vec<Message>,
    /// Its own generator: that of the thread is gone when a session is freed at the exit of the process.
    masks: StdRng,
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is written.
    Everything,
    /// The socket takes no more now.
    Blocked,
    /// There is more, and as much was written as was allowed at once.
    Paused,
}

impl Writer {
    /// Nothing to write.
    pub fn new() -> Writer {
        Writer {
            scratch: Scratch::default(),
            messages: VecDeque::new(),
            masked: VecDeque::new(),
            controls: VecDeque::new(),
            frame: None,
            closing: false,
            bytes_out: 0,
            written: Written::default(),
            done: Vec::new(),
            spares: Vec::new(),
            masks: rand::make_rng(),
        }
    }

    /// Puts messages behind the others.
    pub fn push(
        &mut self,
        messages: impl IntoIterator<Item = Queued>,
        controls: impl IntoIterator<Item = ControlFrame>,
    ) {
        // Not while many wait: each further one would move them all.
        if self.messages.is_empty() {
            self.messages.shrink_to(MOST_KEPT);
        }
        if self.masked.is_empty() {
            self.masked.shrink_to(MOST_KEPT);
        }
        self.messages.extend(messages);
        if self.done.capacity() > MOST_KEPT {
            self.done = Vec::new();
        }
        for control in controls {
            queue_control(&mut self.controls, control);
        }
    }

    /// Bytes written since the last time they were taken.
    pub fn take_bytes_out(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_out)
    }

    /// How much was written since the last time this was taken.
    pub fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Messages that are written, but for the spares, or never will be. To be dropped where code of the application may run.
    pub fn take_done(&mut self) -> impl Iterator<Item = Queued> {
        self.done.drain(..)
    }

    /// Messages that are written and whose memory can be used again.
    pub fn take_spares(&mut self) -> impl Iterator<Item = Message> {
        self.spares.drain(..)
    }

    /// What is being sent.
    pub fn current(&self) -> Option<Sent> {
        let ((message, call), end) = match self.masked.front() {
            Some((queued, end)) => (queued, *end),
            None => (self.messages.front()?, self.scratch.filled()),
        };
        // About so much: the heads of frames count, too.
        let unwritten = (end - self.scratch.written()) as u64;
        Some(Sent { call: *call, bytes: message.sent().saturating_sub(unwritten), total: message.total() })
    }

    fn finish_written(&mut self) {
        while let Some((_, end)) = self.masked.front()
            && *end <= self.scratch.written()
            && let Some(((message, call), _)) = self.masked.pop_front()
        {
            self.written.messages += 1;
            self.written.bytes += message.total();
            if message.is_spare() && self.spares.len() < MOST_SPARES {
                self.spares.push(message);
            } else {
                self.done.push((message, call));
            }
        }
    }

    /// Gives everything up.
    pub fn abandon(&mut self) {
        self.scratch.clear();
        self.done.extend(self.masked.drain(..).map(|(queued, _)| queued));
        self.done.extend(self.messages.drain(..));
        self.controls.clear();
        self.closing = true;
    }

    /// Writes until everything is written, the socket is full, or `most` bytes are.
    pub fn flush(&mut self, most: usize, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<Flushed> {
        let mut budget = most;
        loop {
            if self.scratch.is_empty() {
                self.scratch.clear();
                if budget == 0 && !self.closing && !(self.messages.is_empty() && self.controls.is_empty()) {
                    return Ok(Flushed::Paused);
                }
                self.fill();
                // The last byte of a message may have been the last one that there was room for, before.
                self.finish_written();
                if self.scratch.is_empty() {
                    return Ok(Flushed::Everything);
                }
            }
            match write(self.scratch.unwritten()) {
                Ok(n) => {
                    self.scratch.advance(n);
                    self.finish_written();
                    self.bytes_out += n as u64;
                    budget = budget.saturating_sub(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
        }
    }

    /// Puts as much as fits into the scratch.
    fn fill(&mut self) {
        while self.scratch.room(MAX_HEAD + MAX_CONTROL) == MAX_HEAD + MAX_CONTROL {
            if let Some((mask, left)) = &mut self.frame {
                let Some((message, _)) = self.messages.front_mut() else {
                    self.frame = None;
                    continue;
                };
                let data = message.data();
                if message.is_secret() {
                    self.scratch.keep_secret(message.total().min(SCRATCH as u64) as usize + FOLLOWING);
                }
                let n = self.scratch.room(data.len());
                self.scratch.put_masked(&data[..n], *mask);
                *mask = turned(*mask, n);
                message.advance(n);
                *left -= n as u64;
                if *left == 0 {
                    self.frame = None;
                }
                continue;
            }
            if self.closing {
                return;
            }
            // Control frames go between frames, so that a pong does not wait for a whole message. A ping does:
            // its pong tells that the server has come past the messages before it.
            if !self.controls.is_empty() {
                let no_message = self.messages.is_empty();
                let next = self.controls.iter().position(|c| no_message || !matches!(c, ControlFrame::Ping));
                if let Some(control) = next.and_then(|at| self.controls.remove(at)) {
                    self.control(control);
                    continue;
                }
            }
            let Some((message, _)) = self.messages.front_mut() else {
                return;
            };
            match message.next_frame() {
                None => self.masked.extend(self.messages.pop_front().map(|queued| (queued, self.scratch.filled()))),
                Some(start) => {
                    let prefix = start.prefix.as_ref().map_or(&[][..], |p| &p[..]);
                    let opcode = OpCode::Data(if start.text { Data::Text } else { Data::Binary });
                    let mask = self.head(opcode, start.len + prefix.len() as u64);
                    self.scratch.put_masked(prefix, mask);
                    self.frame = (start.len > 0).then_some((turned(mask, prefix.len()), start.len));
                }
            }
        }
    }

    fn control(&mut self, control: ControlFrame) {
        let (opcode, payload) = match control {
            ControlFrame::Ping => (Control::Ping, Vec::new()),
            ControlFrame::Pong(payload) => (Control::Pong, payload),
            ControlFrame::Close(code) => {
                self.closing = true;
                (Control::Close, code.to_be_bytes().to_vec())
            }
        };
        let mask = self.head(OpCode::Control(opcode), payload.len() as u64);
        self.scratch.put_masked(&payload, mask);
    }

    fn head(&mut self, opcode: OpCode, len: u64) -> [u8; 4] {
        let mask = self.masks.next_u32().to_ne_bytes();
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        // There is room for it.
        let _ = header.format(len, &mut self.scratch);
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Protocol;
    use crate::wire::args::Args;
    use crate::wire::outgoing::{self, Format};

    /// Frames as a server reads them: opcode and payload.
    fn unmask(mut bytes: &[u8]) -> Vec<(OpCode, Vec<u8>)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let mut cursor = io::Cursor::new(bytes);
            let (header, len) = FrameHeader::parse(&mut cursor).unwrap().expect("a whole header");
            let head = cursor.position() as usize;
            let mask = header.mask.expect("client frames are masked");
            let payload = &bytes[head..head + len as usize];
            frames.push((header.opcode, payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect()));
            bytes = &bytes[head + len as usize..];
        }
        frames
    }

    fn upload(size: usize, chunk_size: Option<u32>, protocol: Protocol) -> (Outgoing, Vec<u8>) {
        let data: Vec<u8> = (0..size).map(|i| (i * 31 + i / 251) as u8).collect();
        let mut format = Format { protocol, chunk_size, upload_limit: u64::MAX, next_message: 1, next_key: 5 };
        let args = Args::new().with(data.clone()).unwrap();
        (outgoing::call(&mut format, "rpc:c:1", "m", &args).unwrap(), data)
    }

    /// A socket that takes at most `step` bytes and is full every other time.
    fn slow(out: &mut Vec<u8>, step: usize) -> impl FnMut(&[u8]) -> io::Result<usize> {
        let mut full = false;
        move |bytes| {
            full = !full;
            if full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(step);
            out.extend_from_slice(&bytes[..n]);
            Ok(n)
        }
    }

    #[test]
    fn any_message_arrives_whole_through_a_slow_socket() {
        for (size, chunk, step) in [
            (0, None, 1),
            (5, Some(3), 2),
            (5000, Some(1000), 7),
            (300_000, Some(100_000), 4099),
            (700_001, None, 1 << 20),
        ] {
            let mut writer = Writer::new();
            let (message, data) = upload(size, chunk, Protocol::V2);
            writer.push([(message, Some(1))], [ControlFrame::Ping, ControlFrame::Pong(vec![])]);
            let mut out = Vec::new();
            {
                let mut write = slow(&mut out, step);
                while writer.flush(usize::MAX, &mut write).unwrap() != Flushed::Everything {}
            }
            assert!(writer.current().is_none());
            let frames = unmask(&out);
            let (first, last) = (&frames[0], &frames[frames.len() - 1]);
            assert_eq!((first.0, last.0), (OpCode::Control(Control::Pong), OpCode::Control(Control::Ping)));
            let message: Vec<u8> = frames[1..frames.len() - 1].iter().flat_map(|(_, p)| p[12..].to_vec()).collect();
            let document = crate::wire::msgpack::decode::decode(message.into(), 99).unwrap();
            assert_eq!(document.root().get("args").unwrap().index(0).unwrap().as_bytes(), Some(&data[..]));
        }
    }

    #[test]
    fn a_flush_with_a_budget_pauses_and_goes_on() {
        let mut writer = Writer::new();
        let (message, data) = upload(3_000_000, None, Protocol::V1);
        writer.push([(message, None)], []);
        let mut out = Vec::new();
        let mut pauses = 0;
        while writer
            .flush(200_000, |b| {
                out.extend_from_slice(b);
                Ok(b.len())
            })
            .unwrap()
            == Flushed::Paused
        {
            pauses += 1;
        }
        assert!(pauses >= 3);
        let frames = unmask(&out);
        assert_eq!((frames.len(), &frames[1].1), (3, &data));
    }

    #[test]
    fn a_message_is_sent_when_its_last_byte_is_written() {
        let mut writer = Writer::new();
        let (first, _) = upload(300_000, None, Protocol::V2);
        let (second, _) = upload(10, None, Protocol::V2);
        let (size, small) = (first.total(), second.total());
        writer.push([(first, Some(1)), (second, Some(2))], []);
        // So many bytes at a time; then the socket is full.
        let mut take = |mut room: usize| {
            let flushed = writer.flush(usize::MAX, |bytes| match std::mem::take(&mut room) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                room => Ok(bytes.len().min(room)),
            });
            let current = writer.current().map(|sent| (sent.call, sent.bytes));
            (flushed.unwrap(), writer.take_written(), current, writer.take_done().count(), writer.take_spares().count())
        };
        let none = Written::default();
        let (flushed, written, current, ..) = take(100_000);
        assert_eq!((flushed, written), (Flushed::Blocked, none));
        assert!(matches!(current, Some((Some(1), 99_000..100_000))), "{current:?}");
        // All but the last byte: header, mask and chunk header come to 26 bytes more.
        let (_, written, current, done, _) = take(size as usize + 25 - 100_000);
        assert_eq!((written, current, done), (none, Some((Some(1), size - 1)), 0));
        let (_, written, current, done, spares) = take(1);
        assert_eq!((written, done, spares), (Written { messages: 1, bytes: size }, 1, 0));
        assert_eq!(current.unwrap().0, Some(2));
        let (flushed, written, current, done, spares) = take(usize::MAX);
        assert_eq!((flushed, current, done, spares), (Flushed::Everything, None, 0, 1));
        assert_eq!(written, Written { messages: 1, bytes: small });
    }

    #[test]
    fn a_message_that_fills_the_scratch_is_sent_when_it_is_written() {
        for protocol in [Protocol::V1, Protocol::V2] {
            for size in (SCRATCH - 500..SCRATCH + 20).step_by(5) {
                let mut writer = Writer::new();
                let (message, _) = upload(size, None, protocol);
                let total = message.total();
                writer.push([(message, Some(1))], []);
                assert_eq!(writer.flush(usize::MAX, |bytes| Ok(bytes.len())).unwrap(), Flushed::Everything);
                let written = Written { messages: 1, bytes: total };
                assert_eq!((writer.take_written(), writer.take_done().count()), (written, 1), "{size}");
                assert!(writer.current().is_none());
            }
        }
    }

    #[test]
    fn data_of_a_round_size_takes_no_write_for_its_last_bytes() {
        for protocol in [Protocol::V1, Protocol::V2] {
            for (mib, most) in [(1, 2), (2, 4), (4, 8)] {
                let mut writer = Writer::new();
                writer.push([(upload(mib << 20, Some(4 << 20), protocol).0, None)], []);
                let mut writes = Vec::new();
                let mut write = |bytes: &[u8]| {
                    writes.push(bytes.len());
                    Ok(bytes.len())
                };
                assert_eq!(writer.flush(usize::MAX, &mut write).unwrap(), Flushed::Everything);
                assert!(writes.len() <= most, "{mib} MiB: {writes:?}");
            }
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut writer = Writer::new();
        writer.push([], [ControlFrame::Pong(b"x".to_vec()), ControlFrame::Close(1000), ControlFrame::Ping]);
        writer.push([(upload(5, None, Protocol::V2).0, None)], []);
        let mut out = Vec::new();
        writer
            .flush(usize::MAX, |b| {
                out.extend_from_slice(b);
                Ok(b.len())
            })
            .unwrap();
        let frames = unmask(&out);
        assert_eq!(
            frames,
            [(OpCode::Control(Control::Pong), b"x".to_vec()), (OpCode::Control(Control::Close), vec![3, 0xe8])]
        );
    }
}
