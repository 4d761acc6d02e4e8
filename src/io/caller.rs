//! A thread that waits for the reply to its call reads the socket itself, if nobody else does: no other thread has to be
//! woken for the reply then, which costs more than all the rest of a small call.
//!
//! It handles nothing but its own reply. Whatever else it comes upon it leaves to the I/O thread, so that the order stays
//! and no code of the application runs here. Linux alone: there the I/O thread can be kept asleep meanwhile.

use super::config::Delivery;
use super::establish::{CONNECTION, WAKER};
use super::receiving::{Read, Receiving, Step};
use super::shared::{Shared, Todo, Waiter};
use super::socket::Socket;
use super::websocket::reader::Incoming;
use crate::error::{Code, Error};
use crate::session::calls::{CallId, ReplyId};
use crate::session::inbound::Received;
use mio::{Events, Interest as Readiness, Poll, Registry, Waker};
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

/// So many callers wait for the I/O thread after one of them came upon something that was not for it.
const DISCOURAGED: u32 = 16;

/// Where a caller waits for the socket, or for an outcome that does not come from there.
pub struct Sleep {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl Sleep {
    fn new(socket: &Socket) -> io::Result<Sleep> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        watch::change(poll.registry(), socket, false, Some(Readiness::READABLE))?;
        Ok(Sleep { poll, events: Events::with_capacity(2), waker })
    }
}

/// What the I/O thread is woken for by the socket.
pub struct Interest {
    registry: Registry,
    wanted: Mutex<Wanted>,
    /// To be told as soon as the socket takes more. Changed by the I/O thread.
    writable: AtomicBool,
}

#[derive(Default)]
struct Wanted {
    socket: Option<Arc<Socket>>,
    /// So many callers read, or have read and not said yet that they do not any more.
    muted: usize,
    /// The poll knows the socket.
    registered: bool,
    /// Why the poll could not be told, so that the connection is of no use any more.
    failure: Option<io::Error>,
}

impl Interest {
    /// `registry`: of the poll of the I/O thread.
    pub fn new(registry: Registry) -> Interest {
        Interest { registry, wanted: Mutex::default(), writable: AtomicBool::new(false) }
    }

    /// A new connection, registered for everything.
    pub fn attach(&self, socket: Arc<Socket>) {
        let mut wanted = self.wanted.lock();
        wanted.socket = Some(socket);
        wanted.registered = true;
        wanted.failure = None;
        self.writable.store(true, SeqCst);
    }

    /// The connection is over.
    pub fn detach(&self) {
        self.wanted.lock().socket = None;
    }

    /// Whether the I/O thread wants to know when the socket takes more: only if it took too little, because the poll tells
    /// of that at once. `false`: see [`take_failure`](Interest::take_failure).
    pub fn want_writable(&self, want: bool) -> bool {
        if self.writable.load(SeqCst) == want {
            return true;
        }
        self.writable.store(want, SeqCst);
        let done = !want || self.register(&mut self.wanted.lock());
        if !done {
            self.writable.store(false, SeqCst);
        }
        done
    }

    /// Why the poll could not be told what to look for, once.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.wanted.lock().failure.take()
    }

    /// Whether a caller reads. After that, the I/O thread is told of what is there.
    pub fn is_muted(&self) -> bool {
        self.wanted.lock().muted > 0
    }

    fn mute(&self) -> bool {
        let mut wanted = self.wanted.lock();
        wanted.muted += 1;
        self.register(&mut wanted)
    }

    fn unmute(&self) -> bool {
        let mut wanted = self.wanted.lock();
        wanted.muted -= 1;
        wanted.muted > 0 || self.register(&mut wanted)
    }

    /// Tells the poll what is wanted. Of what is there already, it tells the I/O thread again.
    fn register(&self, wanted: &mut Wanted) -> bool {
        let Some(socket) = &wanted.socket else {
            return true;
        };
        let readable = (wanted.muted == 0).then_some(Readiness::READABLE);
        let writable = self.writable.load(SeqCst).then_some(Readiness::WRITABLE);
        let interest = match (readable, writable) {
            (Some(readable), Some(writable)) => Some(readable | writable),
            (readable, writable) => readable.or(writable),
        };
        match watch::change(&self.registry, socket, wanted.registered, interest) {
            Ok(()) => wanted.registered = interest.is_some(),
            Err(e) => wanted.failure = Some(e),
        }
        wanted.failure.is_none()
    }
}

/// A caller that reads. It runs no code of the application while it has this.
pub struct Reading<'a> {
    shared: &'a Shared,
    /// Always there, but when this is dropped.
    receiving: Option<MutexGuard<'a, Option<Receiving>>>,
    waker: Arc<Waker>,
    /// What came out of the reply.
    todo: Option<Todo>,
}

impl<'a> Reading<'a> {
    /// To be begun before the call is sent, unless the I/O thread is needed anyway.
    pub fn begin(shared: &'a Shared) -> Option<Reading<'a>> {
        if !watch::POSSIBLE || shared.queue.wants_progress() || shared.link.waiting() > 0 {
            return None;
        }
        let mut receiving = shared.receiving.try_lock()?;
        let half = receiving.as_mut().filter(|half| half.settled && matches!(*half.socket, Socket::Plain(_)))?;
        if half.left.is_some() || half.over.is_some() {
            // The I/O thread may have come for that in this very moment.
            drop(receiving);
            shared.wake();
            return None;
        }
        if half.discouraged > 0 {
            half.discouraged -= 1;
            return None;
        }
        // What came before on the I/O thread is told first.
        let busy = shared.config.delivery == Delivery::IoThread && !shared.queue.is_quiet();
        if half.unread || busy {
            return None;
        }
        if half.sleep.is_none() {
            half.sleep = Some(Sleep::new(&half.socket).ok()?);
        }
        let waker = Arc::clone(&half.sleep.as_ref()?.waker);
        let reading = Reading { shared, receiving: Some(receiving), waker, todo: None };
        // If this fails, dropping it sees to that.
        shared.interest.mute().then_some(reading)
    }

    /// Ends the wait, see [`Waiter::new`].
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Waits until the call has its outcome, until `deadline`, or until there is something for the I/O thread.
    pub fn wait(&mut self, id: CallId, waiter: &Waiter, deadline: Option<Instant>) {
        let Some(half) = self.receiving.as_mut().and_then(|receiving| receiving.as_mut()) else {
            return;
        };
        while !waiter.is_complete() && half.sleep_until(deadline) {
            // The poll tells of each thing once: so nothing may be left in the socket.
            while half.unread {
                match half.read(self.shared, Instant::now) {
                    Read::Data => {
                        // More may be coming for ever.
                        let late = deadline.is_some_and(|at| half.heard >= at) || waiter.is_complete();
                        if half.look_for(id, self.shared, &mut self.todo) || late {
                            return;
                        }
                    }
                    Read::Nothing => {}
                    Read::Over(step) => {
                        half.over = Some(step);
                        return;
                    }
                }
            }
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut left = false;
        if let Some(half) = self.receiving.as_mut().and_then(|receiving| receiving.as_mut()) {
            if half.counts_silently() {
                half.count(self.shared);
            } else if half.left.is_none() {
                half.left = Some(Ok(None));
            }
            if thread::panicking() {
                let message = "an internal defect ended the connection; please report it";
                half.over = Some(Step::Over(Error::new(Code::Panic, message), None));
            }
            if self.todo.is_none() {
                // Whatever came, the server lives.
                self.shared.look(|locked| locked.core.heard(half.heard));
            }
            // The I/O thread can be woken until it reads something large itself.
            half.flows = false;
            left = half.left.is_some() || half.over.is_some() || half.unread;
            if left {
                half.discouraged = DISCOURAGED;
            }
        }
        if left {
            self.shared.left.store(true, SeqCst);
        }
        // Before the I/O thread is told of the socket, so that it can read.
        self.receiving = None;
        if !self.shared.interest.unmute() {
            self.shared.left.store(true, SeqCst);
            left = true;
        }
        if left {
            self.shared.wake();
        }
        if let Some(todo) = self.todo.take() {
            self.shared.carry_out(todo);
        }
    }
}

impl Receiving {
    /// Sleeps until the socket has something to read, or for nothing. `false` at the deadline.
    fn sleep_until(&mut self, deadline: Option<Instant>) -> bool {
        let Some(sleep) = &mut self.sleep else {
            return false;
        };
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if timeout.is_some_and(|left| left.is_zero()) {
            return false;
        }
        match sleep.poll.poll(&mut sleep.events, timeout) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return false,
            _ => {}
        }
        for event in sleep.events.iter().filter(|event| event.token() == CONNECTION) {
            self.unread = true;
            self.ending |= event.is_read_closed() || event.is_error();
        }
        true
    }

    /// Looks at what was read. `true`: there is nothing more to be done here.
    fn look_for(&mut self, id: CallId, shared: &Shared, todo: &mut Option<Todo>) -> bool {
        self.prepare(shared);
        match self.next() {
            Ok(None) if self.counts_silently() => {
                self.count(shared);
                return false;
            }
            Ok(Some(Incoming::Message(reply @ Received::Reply { .. })))
                if matches!(&reply, Received::Reply { id: ReplyId::Call(of), .. } if *of == id)
                    && self.counts_silently() =>
            {
                // Before the reply is handed on.
                self.count(shared);
                self.batch.push(reply, &mut self.inbound);
                *todo = Some(shared.take_in(self.heard, &mut self.batch, &mut self.inbound));
                match self.next() {
                    Ok(None) => {}
                    more => self.left = Some(more),
                }
            }
            other => self.left = Some(other),
        }
        true
    }
}

/// How a poll is told what to look for.
#[cfg(target_os = "linux")]
mod watch {
    use super::{CONNECTION, Readiness, Registry, Socket, io};
    use mio::unix::SourceFd;
    use std::os::fd::AsRawFd;

    /// Whether a caller can read.
    pub const POSSIBLE: bool = true;

    /// From what the poll knew of the socket (anything, or nothing) to what it shall look for.
    pub fn change(registry: &Registry, socket: &Socket, known: bool, interest: Option<Readiness>) -> io::Result<()> {
        socket.with_tcp(|tcp| {
            let (fd, token) = (tcp.as_raw_fd(), CONNECTION);
            let mut source = SourceFd(&fd);
            match interest {
                Some(interest) if known => registry.reregister(&mut source, token, interest),
                Some(interest) => registry.register(&mut source, token, interest),
                None if known => registry.deregister(&mut source),
                None => Ok(()),
            }
        })
    }
}

/// Other systems always tell of everything, or cannot look at a socket from two places.
#[cfg(not(target_os = "linux"))]
mod watch {
    use super::{Readiness, Registry, Socket, io};

    pub const POSSIBLE: bool = false;

    pub fn change(_: &Registry, _: &Socket, _: bool, _: Option<Readiness>) -> io::Result<()> {
        Ok(())
    }
}
