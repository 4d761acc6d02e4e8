//! The thread of a listener: accepts connections, and does all handshakes at the same time.

use super::arrivals::Paths;
use super::handshake::{Handshake, Progress};
use crate::io::tls;
use crate::platform::threads;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The maximum number of connections whose handshakes are under way. Beyond it, the oldest is given up.
const MAX_HANDSHAKES: usize = 64;

/// After this time, accepting is tried again if the system was short of descriptors or memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const WAKER: usize = 0;
const LISTENER: usize = 1;

/// The thread. Dropping it ends the thread and closes the socket. Connections that were handed over stay.
pub struct AcceptThread {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl AcceptThread {
    /// Starts the thread.
    pub fn start(
        listener: std::net::TcpListener,
        acceptor: Option<tls::Acceptor>,
        paths: Arc<Paths>,
    ) -> io::Result<AcceptThread> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Token(WAKER))?;
        poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = Accepting {
            poll,
            listener,
            acceptor,
            paths,
            handshakes: BTreeMap::new(),
            next: LISTENER + 1,
            accept_again: None,
            stop: Arc::clone(&stop),
        };
        let thread = threads::spawn("wslink-listen", || accepting.run())?;
        Ok(AcceptThread { stop, waker, thread: Some(thread) })
    }
}

impl Drop for AcceptThread {
    fn drop(&mut self) {
        self.stop.store(true, Release);
        // If the wake-up fails, the thread ends at its next event, and nobody waits for it.
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

struct Accepting {
    poll: Poll,
    listener: TcpListener,
    acceptor: Option<tls::Acceptor>,
    paths: Arc<Paths>,
    /// By the number of their token, the oldest first.
    handshakes: BTreeMap<usize, Handshake>,
    next: usize,
    /// When accepting is tried again.
    accept_again: Option<Instant>,
    stop: Arc<AtomicBool>,
}

impl Accepting {
    fn run(mut self) {
        let mut events = Events::with_capacity(MAX_HANDSHAKES);
        while !self.stop.load(Acquire) {
            let deadlines = self.handshakes.values().map(|handshake| handshake.deadline).chain(self.accept_again);
            let timeout = deadlines.min().map(|at| at.saturating_duration_since(Instant::now()));
            if self.poll.poll(&mut events, timeout).is_err() {
                // Interrupted by a signal.
                continue;
            }
            for event in &events {
                match event.token().0 {
                    WAKER => {}
                    LISTENER => self.accept(),
                    number => self.advance(number),
                }
            }
            let now = Instant::now();
            if self.accept_again.take_if(|at| *at <= now).is_some() {
                self.accept();
            }
            // Input that has arrived counts, even if the process was stopped for a while.
            let late: Vec<_> = self.handshakes.iter().filter(|(_, h)| h.deadline <= now).map(|(n, _)| *n).collect();
            for number in late {
                self.advance(number);
                if let Some(handshake) = self.handshakes.get_mut(&number).filter(|h| h.deadline <= now)
                    && let Progress::Over = handshake.expire(&self.paths)
                {
                    self.handshakes.remove(&number);
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.begin(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // The peer is gone already.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                Err(_) => {
                    self.accept_again = Some(Instant::now() + ACCEPT_AGAIN);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, mut stream: TcpStream) {
        let number = self.next;
        self.next += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, Token(number), interest).is_err() {
            return;
        }
        if self.handshakes.len() >= MAX_HANDSHAKES {
            let oldest = self.handshakes.pop_first();
            if oldest.is_some_and(|(_, oldest)| !oldest.is_refused()) {
                self.paths.refuse("a connection that sent no request, to make room for others");
            }
        }
        self.handshakes.insert(number, Handshake::new(stream, self.acceptor.as_ref(), &self.paths));
        self.advance(number);
    }

    fn advance(&mut self, number: usize) {
        let Some(handshake) = self.handshakes.get_mut(&number) else { return };
        match handshake.advance(&self.paths) {
            Progress::Waiting => {}
            Progress::Over => {
                self.handshakes.remove(&number);
            }
            Progress::Open(mut arrived, to) => {
                self.handshakes.remove(&number);
                // The session registers the socket with its own poll. If there is no session any more, the connection ends here.
                if self.poll.registry().deregister(arrived.socket.tcp_mut()).is_ok() {
                    let _ = to.try_send(arrived);
                }
            }
        }
    }
}
