//! Passes WebSocket messages through [`Inbound`], split in two ways that must have the same result.
//!
//! An input is a byte of options and then messages: a byte of flags, two bytes of length, the payload.

use crate::input::Input;
use crate::{pool, survey};
use std::collections::HashSet;
use wslink::session::inbound::{Inbound, Received};
use wslink::session::topics::Topics;
use wslink::wire::buffer::RoomFor;
use wslink::wire::chunks::{ChunkHeader, HEADER_SIZE};
use wslink::wire::json::write::tagged;
use wslink::wire::limits::Limits;
use wslink::wire::value::Kind;
use wslink::{Outcome, Protocol, Result};

/// Options: tight limits; the generation is not settled yet.
const TIGHT: u8 = 1;
const UNSETTLED: u8 = 2;

/// Flags of a message: it is text; whole at once where that is possible; in two frames; written to the place that
/// `room` gives; the payload is a message to be cut in chunks. The upper bits choose the size of the pieces.
const TEXT: u8 = 1;
const WHOLE: u8 = 2;
const FRAGMENTED: u8 = 4;
const ROOM: u8 = 8;
const CHUNKED: u8 = 16;
const STEPS: [usize; 8] = [1, 2, 3, 7, HEADER_SIZE, HEADER_SIZE + 1, 100, usize::MAX];

struct Way {
    whole: bool,
    fragmented: bool,
    room: bool,
    step: usize,
}

const PLAIN: Way = Way { whole: false, fragmented: false, room: false, step: usize::MAX };

type Got = Result<Received<String>>;

/// Runs one input for one generation.
pub fn check(protocol: Protocol, data: &[u8]) {
    let mut input = Input(data);
    let options = input.byte();
    let tight = options & TIGHT != 0;
    // A header alone allocates memory for a large message, which is slow with the sanitizer.
    let mut limits = Limits { unfinished_count: 1 << 16, message_size: 64 << 10, ..Limits::default() };
    if tight {
        // No limit for the bytes of unfinished messages, because their cost depends on how they are split.
        limits =
            Limits { message_size: 200, unfinished_count: 3, attachment_count: 2, attachment_bytes: 300, ..limits };
    }
    let mut topics = Topics::default();
    topics.subscribe("cap.topic", "first".to_owned());
    topics.subscribe("cap.topic", "second".to_owned());
    topics.subscribe("", "empty".to_owned());
    let make = || {
        let mut inbound: Inbound<String> = Inbound::new(limits, pool());
        inbound.set_protocol((options & UNSETTLED == 0).then_some(protocol));
        inbound.set_topics(topics.directory());
        inbound
    };
    let (mut one, mut other) = (make(), make());
    let mut binary = HashSet::new();
    let mut number = 0xfeed_0000u32;
    while !input.is_empty() {
        let flags = input.byte();
        let payload = input.block();
        let text = flags & TEXT != 0;
        let way = Way {
            // A whole chunk does not count as an unfinished message, a chunk in pieces does.
            whole: flags & WHOLE != 0 && !tight,
            fragmented: flags & FRAGMENTED != 0,
            room: flags & ROOM != 0,
            step: STEPS[usize::from(flags >> 5)],
        };
        if !text {
            binary.insert(payload);
        }
        let (a, b) = if flags & CHUNKED != 0 && protocol == Protocol::V2 && !tight && !payload.is_empty() {
            number += 1;
            chunked(&mut one, &mut other, number, payload, &way)
        } else {
            (feed(&mut one, text, payload, &way), feed(&mut other, text, payload, &PLAIN))
        };
        let ended = a.is_err();
        if protocol == Protocol::V1 {
            only_attachments_that_came(&a, &binary);
        }
        assert_eq!(summary(&a), summary(&b));
        if ended {
            // The connection has ended as well. Whether further errors of this message are noted depends on its frames.
            return;
        }
        assert_eq!(one.evicted(), other.evicted());
    }
}

fn feed(inbound: &mut Inbound<String>, text: bool, payload: &[u8], way: &Way) -> Got {
    if way.whole
        && let Some(received) = inbound.whole(text, payload)?
    {
        return Ok(received);
    }
    let first = if way.fragmented { payload.len() / 2 } else { payload.len() };
    inbound.begin(text, first as u64)?;
    if way.fragmented {
        inbound.frame((payload.len() - first) as u64)?;
    }
    let mut rest = payload;
    while !rest.is_empty() {
        let mut n = rest.len().min(way.step);
        match if way.room { inbound.room(RoomFor { payload: n, beyond: 20 })? } else { None } {
            Some(room) => {
                n = n.min(room.len());
                room[..n].copy_from_slice(&rest[..n]);
                // Bytes after the end of the message, from the same read.
                room[n..].fill(0xc1);
                inbound.arrived(n)?;
            }
            None => inbound.data(&rest[..n])?,
        }
        rest = &rest[n..];
        if let Some((so_far, total)) = inbound.progress(rest.len() as u64) {
            assert!(so_far <= total);
        }
    }
    let received = inbound.end()?;
    inbound.take_completed();
    Ok(received)
}

/// A message as chunks with the first one last, and as one chunk.
fn chunked(one: &mut Inbound<String>, other: &mut Inbound<String>, id: u32, message: &[u8], way: &Way) -> (Got, Got) {
    let total = message.len() as u32;
    let frame =
        |offset: usize, data: &[u8]| [&ChunkHeader { id, offset: offset as u32, total }.to_bytes(), data].concat();
    let size = way.step.clamp(1 + message.len() / 1000, message.len());
    let mut frames: Vec<_> = message.chunks(size).enumerate().map(|(i, data)| frame(i * size, data)).collect();
    frames.rotate_left(1);
    let last = frames.pop().expect("a message of at least one byte");
    for frame in frames {
        match feed(one, false, &frame, way) {
            Ok(Received::Nothing) => {}
            early => panic!("not before the last chunk: {}", summary(&early)),
        }
    }
    (feed(one, false, &last, way), feed(other, false, &frame(0, message), &PLAIN))
}

fn only_attachments_that_came(got: &Got, binary: &HashSet<&[u8]>) {
    if let Ok(Received::Reply { outcome: Ok(document), .. } | Received::Publication { outcome: Ok(document), .. }) = got
    {
        let (_, invented) =
            survey(document.root(), |v| v.kind() == Kind::Bytes && !binary.contains(v.as_bytes().unwrap()));
        assert!(!invented, "binary data that nobody sent");
    }
}

fn summary(got: &Got) -> String {
    fn outcome(outcome: &Outcome) -> String {
        match outcome {
            Ok(document) => format!("{} {}", tagged(document.root()), tagged(wslink::result(document))),
            Err(e) => format!("{e} {:?}", e.code()),
        }
    }
    match got {
        Ok(Received::Nothing) => "nothing".into(),
        Ok(Received::Unsubscribed) => "a publication for nobody".into(),
        Ok(Received::Malformed(why)) => format!("malformed: {why}"),
        Ok(Received::Reply { protocol, id, outcome: o }) => format!("{protocol:?} {id:?} {}", outcome(o)),
        Ok(Received::Publication { to, outcome: o }) => format!("{to:?} {}", outcome(o)),
        // The message contains the position, which may differ.
        Err(e) => format!("{:?}", e.code()),
    }
}
