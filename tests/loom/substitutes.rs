//! Substitutes for the layers below the send queue: a socket with bounded room, whose peer reads when the model says so, a
//! writer that sends messages unencoded, and the poll in which the I/O thread sleeps.

/// Replaces `mio::Poll` and its waker.
pub mod poll {
    use crate::sync::{Condvar, Mutex};

    /// Events that end the sleep. Each is reported once, like those of the system.
    #[derive(Default)]
    pub struct Events {
        pub woken: bool,
        pub writable: bool,
    }

    pub struct Poll {
        events: Mutex<Events>,
        changed: Condvar,
    }

    impl Poll {
        #[allow(clippy::new_without_default)]
        pub fn new() -> Poll {
            Poll { events: Mutex::default(), changed: Condvar::new() }
        }

        /// Sleeps until an event happens.
        pub fn sleep(&self) -> Events {
            let mut events = self.events.lock();
            while !events.woken && !events.writable {
                self.changed.wait(&mut events);
            }
            std::mem::take(&mut *events)
        }

        pub fn wake(&self) -> std::io::Result<()> {
            self.events.lock().woken = true;
            self.changed.notify_all();
            Ok(())
        }

        pub fn writable(&self) {
            self.events.lock().writable = true;
            self.changed.notify_all();
        }
    }
}

/// Replaces `src/io/transport/socket.rs`.
pub mod socket {
    use crate::sync::{Condvar, Mutex};
    use std::io;

    pub struct Socket {
        state: Mutex<State>,
        changed: Condvar,
    }

    struct State {
        /// Bytes in flight.
        unread: Vec<u8>,
        room: usize,
        /// A write was refused since the last read.
        refused: bool,
        /// The number of writes that will fail.
        failures: usize,
    }

    impl Socket {
        /// A socket that takes this many bytes until its peer reads.
        pub fn new(room: usize) -> Socket {
            let state = State { unread: Vec::new(), room, refused: false, failures: 0 };
            Socket { state: Mutex::new(state), changed: Condvar::new() }
        }

        /// Makes every write fail.
        pub fn broken() -> Socket {
            Socket::new(0).failing(usize::MAX)
        }

        /// Makes the next writes fail.
        pub fn failing(self, writes: usize) -> Socket {
            self.state.lock().failures = writes;
            self
        }

        pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.state.lock();
            if state.failures > 0 {
                state.failures -= 1;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let n = bytes.len().min(state.room - state.unread.len());
            if n == 0 {
                state.refused = true;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.unread.extend_from_slice(&bytes[..n]);
            self.changed.notify_all();
            Ok(n)
        }

        /// The peer reads what has arrived, and waits if nothing has. Also returns whether the socket became writable: it has
        /// room again after a refused write.
        pub fn read(&self) -> (Vec<u8>, bool) {
            let mut state = self.state.lock();
            while state.unread.is_empty() {
                self.changed.wait(&mut state);
            }
            (std::mem::take(&mut state.unread), std::mem::take(&mut state.refused))
        }

        /// The bytes in flight, without waiting.
        pub fn unread(&self) -> Vec<u8> {
            self.state.lock().unread.clone()
        }
    }
}

/// Replaces `src/io/transport/websocket/writer.rs`.
pub mod websocket {
    pub mod writer {
        use std::collections::VecDeque;
        use std::io;

        /// Its bytes. They are all equal, so that a test can tell which message they belong to.
        pub struct Message(pub Vec<u8>);

        impl Message {
            pub fn total(&self) -> u64 {
                self.0.len() as u64
            }
        }

        pub type CallId = u64;

        pub type Queued = (Message, Option<CallId>);

        /// One byte.
        pub struct ControlFrame(pub u8);

        pub fn queue_control(waiting: &mut VecDeque<ControlFrame>, frame: ControlFrame) {
            waiting.push_back(frame);
        }

        #[derive(Clone, Copy)]
        pub struct Sent {
            pub call: Option<u64>,
        }

        #[derive(Default)]
        pub struct Written {
            pub messages: u64,
            pub bytes: u64,
        }

        #[derive(PartialEq)]
        pub enum Flushed {
            Everything,
            Blocked,
            Paused,
        }

        #[derive(Default)]
        pub struct Writer {
            messages: VecDeque<Queued>,
            controls: VecDeque<ControlFrame>,
            /// The number of written bytes of the first message.
            written: usize,
            bytes_out: u64,
            finished: Written,
            done: Vec<Queued>,
            withdrawn: Vec<Queued>,
        }

        impl Writer {
            pub fn new() -> Writer {
                Writer::default()
            }

            pub fn push(
                &mut self,
                messages: impl IntoIterator<Item = Queued>,
                controls: impl IntoIterator<Item = ControlFrame>,
            ) {
                self.messages.extend(messages);
                self.controls.extend(controls);
            }

            /// A message that has begun is finished.
            pub fn withdraw(&mut self, calls: &[u64]) {
                let begun = usize::from(self.written > 0);
                for at in (begun..self.messages.len()).rev() {
                    if self.messages[at].1.is_some_and(|call| calls.contains(&call)) {
                        let message = self.messages.remove(at).unwrap();
                        self.finished.bytes += message.0.total();
                        self.withdrawn.push(message);
                    }
                }
            }

            pub fn take_withdrawn(&mut self) -> Vec<Queued> {
                std::mem::take(&mut self.withdrawn)
            }

            pub fn take_bytes_out(&mut self) -> u64 {
                std::mem::take(&mut self.bytes_out)
            }

            pub fn take_written(&mut self) -> Written {
                std::mem::take(&mut self.finished)
            }

            pub fn take_done(&mut self) -> Vec<Queued> {
                std::mem::take(&mut self.done)
            }

            pub fn current(&self) -> Option<Sent> {
                self.messages.front().map(|(_, call)| Sent { call: *call })
            }

            pub fn abandon(&mut self) {
                self.done.extend(self.messages.drain(..));
            }

            pub fn flush(
                &mut self,
                most: usize,
                mut write: impl FnMut(&[u8]) -> io::Result<usize>,
            ) -> io::Result<Flushed> {
                let mut budget = most;
                loop {
                    let control = self.controls.front().map(|control| [control.0]);
                    let next = match (self.messages.front(), &control) {
                        (Some((message, _)), _) => &message.0[self.written..],
                        (None, Some(control)) => control,
                        (None, None) => return Ok(Flushed::Everything),
                    };
                    if budget == 0 {
                        return Ok(Flushed::Paused);
                    }
                    let n = match write(&next[..next.len().min(budget)]) {
                        Ok(n) => n,
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                        Err(e) => return Err(e),
                    };
                    let whole = n == next.len();
                    budget -= n;
                    self.bytes_out += n as u64;
                    if self.messages.is_empty() {
                        self.controls.pop_front();
                    } else if whole {
                        self.written = 0;
                        if let Some((message, call)) = self.messages.pop_front() {
                            self.finished.messages += 1;
                            self.finished.bytes += message.total();
                            self.done.push((message, call));
                        }
                    } else {
                        self.written += n;
                    }
                }
            }
        }
    }
}
