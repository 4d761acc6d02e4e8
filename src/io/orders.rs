//! Orders to the I/O thread. A thread sends them under the lock of the state machine, so that they arrive in the
//! sequence of its effects, and wakes the I/O thread afterwards.

use crossbeam_channel::{Receiver, RecvError, Sender, unbounded};
use mio::Token;
use std::collections::VecDeque;
use std::time::Instant;

/// The token of the waker in the poll of the I/O thread.
pub const WAKER: Token = Token(0);

/// The token of the connection, and of sockets that are connecting.
pub const CONNECTION: Token = Token(1);

/// An order to the I/O thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Connect before this deadline.
    Connect(Instant),
    /// End the connection.
    Disconnect,
    /// End the thread.
    Exit,
}

/// The receiving end of the channel.
pub struct Orders {
    receiver: Receiver<Order>,
    /// Orders that were received and not carried out yet.
    pending: VecDeque<Order>,
}

/// A new channel: its sending and its receiving end.
pub fn channel() -> (Sender<Order>, Orders) {
    let (sender, receiver) = unbounded();
    (sender, Orders { receiver, pending: VecDeque::new() })
}

impl Orders {
    /// Takes the next order.
    pub fn take(&mut self) -> Option<Order> {
        self.pending.pop_front().or_else(|| self.receiver.try_recv().ok())
    }

    /// Whether no order is pending.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.receiver.is_empty()
    }

    /// Whether a pending order cancels the current connection, so that later orders refer to another one. All stay pending.
    pub fn cancels_connection(&mut self) -> bool {
        self.pending.extend(self.receiver.try_iter());
        self.pending.iter().any(|order| !matches!(order, Order::Connect(_)))
    }

    /// The receiver, for a `select` that an order ends. Pass a received order to [`keep`](Orders::keep).
    pub fn receiver(&self) -> &Receiver<Order> {
        &self.receiver
    }

    /// Makes a received order pending.
    pub fn keep(&mut self, order: Result<Order, RecvError>) {
        self.pending.extend(order);
    }
}
