//! Writes frames. Data is masked while it passes through one scratch buffer, so large data is never held twice, and a partial
//! write moves no data.

use super::mask::{Mask, rotated};
use super::scratch::{SCRATCH_SIZE, Scratch};
pub use crate::session::calls::CallId;
use crate::wire::outgoing::Outgoing;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::io;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Room in the scratch buffer beside a message with a secret, for the headers of its frames or a control frame. The buffer does
/// not grow while it holds a secret.
const SECRET_OVERHEAD: usize = 2 * (MAX_FRAME_HEAD + MAX_CONTROL);

/// Capacity for messages that is kept when a queue is empty.
const MAX_KEPT_CAPACITY: usize = 1024;

/// The maximum length of frame header, mask and chunk header together.
const MAX_FRAME_HEAD: usize = 14 + 12;

/// The maximum payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// A control frame to send.
#[derive(Debug)]
pub enum ControlFrame {
    /// A ping without payload. Sent after all queued messages.
    Ping,
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// Nothing is sent after this one.
    Close(u16),
}

/// Queues a control frame. A pong replaces a queued one, as RFC 6455 section 5.5.3 allows, so that a server that pings and does
/// not read cannot fill the queue.
pub fn queue_control(controls: &mut VecDeque<ControlFrame>, frame: ControlFrame) {
    if matches!(frame, ControlFrame::Pong(_)) {
        controls.retain(|other| !matches!(other, ControlFrame::Pong(_)));
    }
    controls.push_back(frame);
}

/// A message to send. `tests/loom` replaces this type.
pub type Message = Outgoing;

/// A message and the call that it belongs to.
pub type Queued = (Message, Option<CallId>);

/// The progress of a message that is being sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The call that the message belongs to.
    pub call: Option<CallId>,
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes in total.
    pub total: u64,
}

/// What has left the queue.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The number of messages written.
    pub messages: u64,
    /// The bytes of the messages written or withdrawn, without framing.
    pub bytes: u64,
}

/// The writing side of a connection.
pub struct Writer {
    scratch: Scratch,
    messages: VecDeque<Queued>,
    /// Messages that are masked completely, and where they end in the scratch buffer.
    masked: VecDeque<(Queued, usize)>,
    controls: VecDeque<ControlFrame>,
    /// The frame that is being masked: its key, rotated to the next byte, and the payload that remains.
    frame: Option<(Mask, u64)>,
    closing: bool,
    bytes_out: u64,
    written: Written,
    done: Vec<Queued>,
    withdrawn: Vec<Queued>,
    /// This end of the connection: only clients mask what they send.
    role: Role,
    /// Not the generator of the thread, which does not exist any more if a session is freed at the exit of the process.
    masks: StdRng,
}

/// Why a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is written.
    Everything,
    /// The socket would block.
    Blocked,
    /// The budget is used up, and there is more to write.
    Paused,
}

impl Writer {
    /// A writer with empty queues, for this end of the connection.
    pub fn new(role: Role) -> Writer {
        Writer {
            role,
            scratch: Scratch::default(),
            messages: VecDeque::new(),
            masked: VecDeque::new(),
            controls: VecDeque::new(),
            frame: None,
            closing: false,
            bytes_out: 0,
            written: Written::default(),
            done: Vec::new(),
            withdrawn: Vec::new(),
            masks: rand::make_rng(),
        }
    }

    /// Queues messages and control frames.
    pub fn push(
        &mut self,
        messages: impl IntoIterator<Item = Queued>,
        controls: impl IntoIterator<Item = ControlFrame>,
    ) {
        // Shrink empty queues only: shrinking others would move their messages.
        if self.messages.is_empty() {
            self.messages.shrink_to(MAX_KEPT_CAPACITY);
        }
        if self.masked.is_empty() {
            self.masked.shrink_to(MAX_KEPT_CAPACITY);
        }
        self.messages.extend(messages);
        if self.done.capacity() > MAX_KEPT_CAPACITY {
            self.done = Vec::new();
        }
        for control in controls {
            queue_control(&mut self.controls, control);
        }
    }

    /// Withdraws the messages of these calls, whose ids are sorted. A message that was begun ends with its current frame, or
    /// continues, see [`Outgoing::stop`].
    pub fn withdraw(&mut self, calls: &[CallId]) {
        let is_withdrawn = |call: &Option<CallId>| call.is_some_and(|call| calls.binary_search(&call).is_ok());
        let mut any = false;
        for (message, call) in &mut self.messages {
            if is_withdrawn(call) {
                any |= !message.is_begun();
                if message.is_begun() {
                    message.stop();
                }
            }
        }
        if !any {
            return;
        }
        for (message, call) in std::mem::take(&mut self.messages) {
            if is_withdrawn(&call) && !message.is_begun() {
                self.written.bytes += message.total();
                self.withdrawn.push((message, call));
            } else {
                self.messages.push_back((message, call));
            }
        }
    }

    /// Takes the messages that were withdrawn or ended before their last frame. Drop them where code of the application may run.
    pub fn take_withdrawn(&mut self) -> impl Iterator<Item = Queued> {
        self.withdrawn.drain(..)
    }

    /// Takes the number of bytes written.
    pub fn take_bytes_out(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_out)
    }

    /// Takes the number and size of the messages that have left the queue.
    pub fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Takes the messages that are written or abandoned. Drop them where code of the application may run.
    pub fn take_done(&mut self) -> impl Iterator<Item = Queued> {
        self.done.drain(..)
    }

    /// The progress of the message that is being sent.
    pub fn current(&self) -> Option<Sent> {
        let ((message, call), end) = match self.masked.front() {
            Some((queued, end)) => (queued, *end),
            None => (self.messages.front()?, self.scratch.filled()),
        };
        if message.is_stopped() {
            return None;
        }
        // An estimate, because the frame headers are included.
        let unwritten = (end - self.scratch.written()) as u64;
        Some(Sent { call: *call, bytes: message.sent().saturating_sub(unwritten), total: message.total() })
    }

    fn finish_written(&mut self) {
        while let Some((_, end)) = self.masked.front()
            && *end <= self.scratch.written()
            && let Some(((message, call), _)) = self.masked.pop_front()
        {
            self.written.bytes += message.total();
            if message.is_stopped() {
                self.withdrawn.push((message, call));
                continue;
            }
            self.written.messages += 1;
            self.done.push((message, call));
        }
    }

    /// Abandons all messages. Nothing is sent afterwards.
    pub fn abandon(&mut self) {
        self.scratch.clear();
        self.done.extend(self.masked.drain(..).map(|(queued, _)| queued));
        self.done.extend(self.messages.drain(..));
        self.controls.clear();
        self.closing = true;
    }

    /// Writes until all is written, the socket would block, or about `budget` bytes are written.
    pub fn flush(
        &mut self,
        mut budget: usize,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<Flushed> {
        loop {
            if self.scratch.is_empty() {
                self.scratch.clear();
                if budget == 0 && !self.closing && !(self.messages.is_empty() && self.controls.is_empty()) {
                    return Ok(Flushed::Paused);
                }
                self.fill();
                // A message may end exactly where the scratch buffer was full before.
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

    /// Fills the scratch buffer with frames.
    fn fill(&mut self) {
        while self.scratch.room(MAX_FRAME_HEAD + MAX_CONTROL) == MAX_FRAME_HEAD + MAX_CONTROL {
            if let Some((mask, remaining)) = &mut self.frame {
                let Some((message, _)) = self.messages.front_mut() else {
                    self.frame = None;
                    continue;
                };
                let data = message.data();
                if message.is_secret() {
                    self.scratch.reserve_secret(message.total().min(SCRATCH_SIZE as u64) as usize + SECRET_OVERHEAD);
                }
                let n = self.scratch.room(data.len());
                self.scratch.put_masked(&data[..n], *mask);
                *mask = rotated(*mask, n);
                message.advance(n);
                *remaining -= n as u64;
                if *remaining == 0 {
                    self.frame = None;
                }
                continue;
            }
            if self.closing {
                return;
            }
            // Control frames go between frames, so that a pong is not delayed by a whole message. A ping follows the
            // messages, so that its pong shows that the server has read them.
            if !self.controls.is_empty() {
                let no_message = self.messages.is_empty();
                let announced = self.messages.front().is_some_and(|(message, _)| message.attachment_is_next());
                let next = self.controls.iter().position(|control| match control {
                    ControlFrame::Ping => no_message,
                    ControlFrame::Pong(_) => true,
                    // No frame may follow a Close frame, and an announcement needs its attachments.
                    ControlFrame::Close(_) => !announced,
                });
                if let Some(control) = next.and_then(|at| self.controls.remove(at)) {
                    self.put_control(control);
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
                    let mask = self.put_header(opcode, start.len + prefix.len() as u64);
                    self.scratch.put_masked(prefix, mask);
                    self.frame = (start.len > 0).then_some((rotated(mask, prefix.len()), start.len));
                }
            }
        }
    }

    fn put_control(&mut self, control: ControlFrame) {
        let (opcode, payload) = match control {
            ControlFrame::Ping => (Control::Ping, Vec::new()),
            ControlFrame::Pong(payload) => (Control::Pong, payload),
            ControlFrame::Close(code) => {
                self.closing = true;
                (Control::Close, code.to_be_bytes().to_vec())
            }
        };
        let mask = self.put_header(OpCode::Control(opcode), payload.len() as u64);
        self.scratch.put_masked(&payload, mask);
    }

    /// Appends a frame header, and returns the new masking key. A key of zeros masks nothing.
    fn put_header(&mut self, opcode: OpCode, len: u64) -> Mask {
        let mask = match self.role {
            Role::Client => Some(self.masks.next_u32().to_ne_bytes()),
            Role::Server => None,
        };
        let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
        // Cannot fail: there is room.
        let _ = header.format(len, &mut self.scratch);
        mask.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Protocol;
    use crate::wire::args::Args;
    use crate::wire::outgoing::{self, Format};

    /// Parses frames as a server does: opcode and payload.
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

    /// A socket that accepts at most `step` bytes, and would block every other time.
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
            let mut writer = Writer::new(Role::Client);
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
        let mut writer = Writer::new(Role::Client);
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
    fn a_message_counts_as_sent_when_its_last_byte_is_written() {
        let mut writer = Writer::new(Role::Client);
        let (first, _) = upload(300_000, None, Protocol::V2);
        let (second, _) = upload(10, None, Protocol::V2);
        let (size, small) = (first.total(), second.total());
        writer.push([(first, Some(1)), (second, Some(2))], []);
        // The socket accepts `room` bytes, then it would block.
        let mut take = |mut room: usize| {
            let flushed = writer.flush(usize::MAX, |bytes| match std::mem::take(&mut room) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                room => Ok(bytes.len().min(room)),
            });
            let current = writer.current().map(|sent| (sent.call, sent.bytes));
            (flushed.unwrap(), writer.take_written(), current, writer.take_done().count())
        };
        let none = Written::default();
        let (flushed, written, current, ..) = take(100_000);
        assert_eq!((flushed, written), (Flushed::Blocked, none));
        assert!(matches!(current, Some((Some(1), 99_000..100_000))), "{current:?}");
        // All but the last byte. Header, mask and chunk header add 26 bytes.
        let (_, written, current, done) = take(size as usize + 25 - 100_000);
        assert_eq!((written, current, done), (none, Some((Some(1), size - 1)), 0));
        let (_, written, current, done) = take(1);
        assert_eq!((written, done), (Written { messages: 1, bytes: size }, 1));
        assert_eq!(current.unwrap().0, Some(2));
        let (flushed, written, current, done) = take(usize::MAX);
        assert_eq!((flushed, current, done), (Flushed::Everything, None, 1));
        assert_eq!(written, Written { messages: 1, bytes: small });
    }

    #[test]
    fn a_message_that_fills_the_scratch_buffer_counts_as_sent_when_it_is_written() {
        for protocol in [Protocol::V1, Protocol::V2] {
            for size in (SCRATCH_SIZE - 500..SCRATCH_SIZE + 20).step_by(5) {
                let mut writer = Writer::new(Role::Client);
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
    fn data_of_a_round_size_takes_no_extra_write() {
        for protocol in [Protocol::V1, Protocol::V2] {
            for (mib, most) in [(1, 2), (2, 4), (4, 8)] {
                let mut writer = Writer::new(Role::Client);
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
    fn a_queued_message_is_withdrawn_and_one_that_was_begun_ends_with_its_chunk() {
        const CHUNK: u32 = 600_000;
        for protocol in [Protocol::V1, Protocol::V2] {
            let mut writer = Writer::new(Role::Client);
            let messages = [2_000_000, 10, 30, 2_000_000].map(|size| upload(size, Some(CHUNK), protocol).0);
            let sizes = messages.each_ref().map(Outgoing::total);
            writer.push(messages.into_iter().zip([4, 2, 9, 3].map(Some)), [ControlFrame::Ping]);
            // Write a part of the first message; then the socket would block.
            let mut out = Vec::new();
            let mut room = 100_000;
            let full = writer.flush(usize::MAX, |bytes| match std::mem::take(&mut room) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                room => {
                    out.extend_from_slice(&bytes[..room]);
                    Ok(room)
                }
            });
            assert_eq!(full.unwrap(), Flushed::Blocked);
            writer.withdraw(&[3, 4, 9]);
            let withdrawn: Vec<_> = writer.take_withdrawn().map(|(_, call)| call.unwrap()).collect();
            assert_eq!(withdrawn, [9, 3], "at once");
            assert_eq!(writer.take_written(), Written { messages: 0, bytes: sizes[2] + sizes[3] });
            assert_eq!(
                writer.current().map(|sent| sent.call),
                if protocol == Protocol::V1 { Some(Some(4)) } else { None }
            );
            writer.withdraw(&[4]);
            writer
                .flush(usize::MAX, |bytes| {
                    out.extend_from_slice(bytes);
                    Ok(bytes.len())
                })
                .unwrap();
            let frames = unmask(&out);
            let withdrawn: Vec<_> = writer.take_withdrawn().map(|(_, call)| call.unwrap()).collect();
            assert_eq!(frames.last().unwrap().0, OpCode::Control(Control::Ping));
            if protocol == Protocol::V2 {
                // One chunk of the first message, and the whole second message.
                assert_eq!((frames.len(), withdrawn), (3, vec![4]));
                assert_eq!(frames[0].1.len(), 12 + CHUNK as usize);
                assert_eq!(frames[1].1.len() as u64, 12 + sizes[1]);
                assert_eq!(writer.take_written(), Written { messages: 1, bytes: sizes[0] + sizes[1] });
            } else {
                // The call that was begun continues, because the server would keep attachments that no call names.
                assert_eq!((frames.len(), withdrawn), (3 + 3 + 1, vec![]));
                assert_eq!(writer.take_written(), Written { messages: 2, bytes: sizes[0] + sizes[1] });
            }
        }
    }

    #[test]
    fn a_message_whose_last_frame_was_begun_counts_as_sent() {
        let mut writer = Writer::new(Role::Client);
        let (message, _) = upload(600_000, None, Protocol::V2);
        let total = message.total();
        writer.push([(message, Some(1))], []);
        let mut once = Some(1000);
        let _ = writer.flush(usize::MAX, |_| once.take().ok_or(io::ErrorKind::WouldBlock.into()));
        writer.withdraw(&[1]);
        writer.flush(usize::MAX, |bytes| Ok(bytes.len())).unwrap();
        assert_eq!(writer.take_written(), Written { messages: 1, bytes: total });
        assert_eq!(writer.take_withdrawn().count(), 0);
    }

    #[test]
    fn a_close_frame_does_not_come_between_an_announcement_and_its_attachment() {
        // Over all sizes, the scratch buffer is full once after each part of the upload.
        for size in SCRATCH_SIZE - 400..SCRATCH_SIZE {
            let mut writer = Writer::new(Role::Client);
            writer.push([(Outgoing::text(vec![b'x'; size]), None), (upload(5000, None, Protocol::V1).0, Some(1))], []);
            let mut once = true;
            let mut out = Vec::new();
            let full = writer.flush(usize::MAX, |bytes| {
                if !std::mem::take(&mut once) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                out.extend_from_slice(bytes);
                Ok(bytes.len())
            });
            assert_eq!(full.unwrap(), Flushed::Blocked);
            writer.push([], [ControlFrame::Close(1000)]);
            writer
                .flush(usize::MAX, |bytes| {
                    out.extend_from_slice(bytes);
                    Ok(bytes.len())
                })
                .unwrap();
            let frames = unmask(&out);
            let (last, before) = (&frames[frames.len() - 1], &frames[frames.len() - 2]);
            assert_eq!(last.0, OpCode::Control(Control::Close));
            let announces = b"wslink.binary.attachment";
            assert!(!before.1.windows(announces.len()).any(|part| part == announces), "{size}");
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut writer = Writer::new(Role::Client);
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
