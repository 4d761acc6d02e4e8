//! Messages that begin like the one before: of publications on one topic, and of replies to the calls of one session, only a
//! number differs before the result. So what precedes it is neither taken apart nor decoded each time.

use crate::wire::Protocol;
use crate::wire::document::Document;
use crate::wire::envelope;
use crate::wire::msgpack::decode::Beginning;

/// Longer beginnings of messages are not remembered. Servers send none.
const LONGEST: usize = 1 << 10;

/// How messages of one kind begin.
#[derive(Debug, Default)]
pub struct Recognition {
    /// The message up to the number that its id ends with. In msgpack the length of the id is part of that.
    head: Vec<u8>,
    /// How many bytes the rest of the id has, in text with its quote.
    rest: usize,
    common: Common,
}

/// What is known of the bytes between the id and the result.
#[derive(Debug, Default)]
enum Common {
    /// Only one message came so far: perhaps the kinds take turns, and it would be found out for nothing.
    #[default]
    Nothing,
    /// They come in a row: to be found out from the next one.
    Wanted,
    /// All of these bytes, and the beginning up to the result, decoded.
    Is(Vec<u8>, Beginning),
    /// The message has no such form.
    Useless,
}

impl Recognition {
    /// From a message whose id ends at `end`, the last `rest` bytes of which may be others in the next one. In the memory
    /// of another recognition. `None` if it is not worth it.
    pub fn new(before: Option<Recognition>, message: &[u8], end: usize, rest: usize) -> Option<Recognition> {
        let head = message.get(..end.checked_sub(rest)?)?;
        if head.len() > LONGEST {
            return None;
        }
        let mut memory = before.unwrap_or_default().head;
        memory.clear();
        memory.extend_from_slice(head);
        Some(Recognition { head: memory, rest, common: Common::Nothing })
    }

    /// What the id of a message ends with that is of the same kind if this is a number, and whether the message is the same
    /// up to its result but for that.
    pub fn recognize<'m>(&mut self, protocol: Protocol, message: &'m [u8]) -> Option<(&'m [u8], bool)> {
        let (rest, after) = message.strip_prefix(&*self.head)?.split_at_checked(self.rest)?;
        let number = match protocol {
            Protocol::V1 => rest.strip_suffix(b"\"")?,
            Protocol::V2 => rest,
        };
        let same = match &self.common {
            Common::Is(common, _) => after.starts_with(common),
            Common::Nothing if protocol == Protocol::V2 => {
                self.common = Common::Wanted;
                false
            }
            _ => false,
        };
        Some((number, same))
    }

    /// The beginning of a message that is the same up to its result.
    pub fn beginning(&self) -> Option<&Beginning> {
        match &self.common {
            Common::Is(_, beginning) => Some(beginning),
            _ => None,
        }
    }

    /// A message of this kind was decoded from its first byte on, and has a result.
    pub fn learn(&mut self, document: &Document) {
        if let Common::Wanted = self.common {
            let id_ends = self.head.len() + self.rest;
            self.common = Beginning::before(document, envelope::result(document).place().0)
                .filter(|beginning| (id_ends..LONGEST).contains(&beginning.size()))
                .map_or(Common::Useless, |b| Common::Is(document.bytes()[id_ends..b.size()].to_vec(), b));
        }
    }
}
