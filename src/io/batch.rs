//! The messages that one read brought, on their way to whom they are for. What comes in a row for the same
//! subscribers is kept together, so that it is handed on in one step.

use super::delivery::{Outcome, Outcomes, Subscribers, Subscription};
use super::room::TOGETHER;
use crate::session::calls::ReplyId;
use crate::session::inbound::{Inbound, Received};
use crate::wire::Protocol;
use crate::wire::undecoded::Undecoded;
use smallvec::smallvec;
use std::sync::Arc;

/// Part of a batch.
pub enum Arrived {
    /// The reply to a call or to a system message, see [`Received::Reply`].
    Reply(Protocol, ReplyId, Outcome),
    /// Publications to the same subscribers.
    Publications(Subscribers, Outcomes),
    /// The same to a single one, not decoded yet.
    Undecoded(Arc<Subscription>, Undecoded),
}

/// Messages in their order.
#[derive(Default)]
pub struct Batch {
    messages: Vec<Arrived>,
    len: usize,
    /// Whom the last ones are for, and how many these are, if the receiving half has left them undecoded.
    undecoded: Option<(Subscribers, usize)>,
}

impl Batch {
    /// Adds a message that `inbound` has received. Gives the handle of its subscribers back where it is not needed.
    pub fn push(
        &mut self,
        message: Received<Arc<Subscription>>,
        inbound: &mut Inbound<Arc<Subscription>>,
    ) -> Option<Subscribers> {
        self.len += 1;
        match message {
            // It is in `inbound` already.
            Received::Undecoded { to } => {
                let Some((_, count)) = &mut self.undecoded else {
                    self.undecoded = Some((to, 1));
                    return None;
                };
                *count += 1;
                if *count == TOGETHER {
                    self.complete(inbound);
                }
                return Some(to);
            }
            Received::Reply { protocol, id, outcome } => {
                self.complete(inbound);
                self.messages.push(Arrived::Reply(protocol, id, outcome));
            }
            Received::Publication { to, outcome } => {
                self.complete(inbound);
                match self.messages.last_mut() {
                    Some(Arrived::Publications(last, outcomes)) if Arc::ptr_eq(last, &to) => {
                        outcomes.push(outcome);
                        return Some(to);
                    }
                    _ => self.messages.push(Arrived::Publications(to, smallvec![outcome])),
                }
            }
        }
        None
    }

    /// Takes what `inbound` has left undecoded.
    fn complete(&mut self, inbound: &mut Inbound<Arc<Subscription>>) {
        if let Some((to, _)) = self.undecoded.take()
            && let (Some(subscription), Some(messages)) = (to.first(), inbound.take_undecoded())
        {
            self.messages.push(Arrived::Undecoded(Arc::clone(subscription), messages));
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all of them out; their memory is for the next ones.
    pub fn drain(&mut self, inbound: &mut Inbound<Arc<Subscription>>) -> impl Iterator<Item = Arrived> {
        self.complete(inbound);
        self.len = 0;
        self.messages.drain(..)
    }
}
