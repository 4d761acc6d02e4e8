//! The I/O thread of a session: sleeps until the socket, a deadline or the application has something for
//! it. It never waits for the application.

use super::callback::Entered;
use super::config::{Delivery, LogLevel};
use super::delivery::{Outcome, PublicationCallback, Subscription};
use super::establish::{CONNECTION, Established, Patience, establish};
use super::liveness::Watch;
use super::receiving::{Read, Receiving, Step, ended, failed, lost};
use super::shared::{Order, Shared, Todo};
use super::socket::Socket;
use super::spares::keep_spare;
use super::websocket::reader::Incoming;
use super::websocket::writer::ControlFrame;
use crate::error::{Code, Error, Stage};
use crate::session::core::State;
use crate::session::inbound::Received;
use crate::wire::buffer::BufferPool;
use mio::{Events, Poll, Waker};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// How often the socket is read before something else gets its turn.
const READS_IN_A_ROW: usize = 16;

/// How long, if the reads may wait: nothing follows one that brought something later than this.
const LONGEST_ROW: Duration = Duration::from_millis(1);

/// So many messages are handed on together: enough to share the cost of a lock, few enough that their memory
/// is still in the cache, and at hand for the next ones.
const BATCH: usize = 64;

/// The same where another thread dispatches, which has to be woken for them: more than one read brings.
const BATCH_FOR_OTHERS: usize = 2048;

/// When so many events wait for another thread, it gets its turn, should it have to share this processor.
const MANY: usize = 512;

/// How much is written before something else gets its turn.
const IO_FLUSH: usize = 1 << 20;

/// The I/O thread.
pub struct IoThread {
    shared: Arc<Shared>,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    connection: Option<Connection>,
    pool: BufferPool,
    /// The time, if it was asked for and nothing that takes long was done since: to ask costs as much as a small message.
    clock: Option<Instant>,
    /// Events were delivered since the thread has looked at the socket and at the deadlines.
    delivered: bool,
}

/// What the I/O thread knows of the connection. The rest is in [`Receiving`] and the link.
struct Connection {
    socket: Arc<Socket>,
    /// The socket may have something to read.
    readable: bool,
    /// The next read may take a moment.
    slow: bool,
    /// When everything else had its turn.
    turn: Instant,
    /// Its end was announced, perhaps together with data.
    ending: bool,
    /// There is something to write and the socket takes it.
    writable: bool,
    heard: Instant,
    watch: Watch,
}

impl IoThread {
    /// A thread that does not run yet.
    pub fn new(shared: Arc<Shared>, poll: Poll, waker: Arc<Waker>) -> IoThread {
        let pool = BufferPool::new(shared.config.buffer_pool_bytes);
        IoThread {
            shared,
            poll,
            events: Events::with_capacity(16),
            waker,
            connection: None,
            pool,
            clock: None,
            delivered: false,
        }
    }

    /// Runs until the session is freed.
    pub fn run(self) {
        let shared = Arc::clone(&self.shared);
        shared.enter_io_thread();
        if catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            // Whoever waits must not wait for ever.
            let message = "an internal defect ended the I/O thread; please report it";
            shared.with_locked(|locked| {
                locked.freed = true;
                locked.core.abort(Error::new(Code::Panic, message));
            });
        }
    }

    fn serve(mut self) {
        loop {
            let on_this_thread = self.shared.config.delivery == Delivery::IoThread;
            if on_this_thread && self.shared.queue.waiting() > 0 {
                let now = self.now();
                // An error means that the session was freed from inside a callback.
                let _ = self.shared.queue.dispatch(usize::MAX, Some(now));
                self.clock = None;
                self.delivered = true;
            }
            let order = self.shared.look(|locked| locked.orders.pop_front());
            match order {
                Some(Order::Exit) => {
                    // The Close frame, if the socket takes it.
                    self.shared.flush_last(IO_FLUSH);
                    break;
                }
                Some(Order::Drop) => self.disconnect(),
                Some(Order::Connect(deadline)) => self.connect(deadline),
                None => {}
            }
            if order.is_some() {
                continue;
            }
            self.work();
            if self.connection.as_ref().is_some_and(|c| c.readable || c.writable) {
                self.clock = None;
                self.tick();
                continue;
            }
            // What waits is delivered first, but callbacks that bring about the next ones must not keep the thread from
            // the socket and the deadlines.
            let idle = !on_this_thread || self.shared.queue.waiting() == 0;
            if idle || self.delivered {
                self.sleep(idle);
            }
        }
        self.disconnect();
    }

    fn now(&mut self) -> Instant {
        *self.clock.get_or_insert_with(Instant::now)
    }

    /// Looks at the socket and the deadlines, and waits for them if there is nothing else to do.
    fn sleep(&mut self, idle: bool) {
        self.delivered = false;
        let (deadline, orders) = self.shared.look(|locked| {
            locked.armed = locked.core.deadline();
            (locked.armed, !locked.orders.is_empty())
        });
        if !orders {
            let timeout = match idle {
                true => deadline.map(|at| at.saturating_duration_since(Instant::now())),
                false => Some(Duration::ZERO),
            };
            let woke = self.poll.poll(&mut self.events, timeout);
            self.clock = None;
            match woke {
                Err(e) if e.kind() != ErrorKind::Interrupted => {
                    let error = Error::new(Code::System, format!("waiting for the socket failed: {e}"));
                    self.over(error.at(Stage::Session), None);
                }
                _ => {}
            }
            let mut event_for_connection = false;
            let mut ending = false;
            let mut woken = false;
            for event in &self.events {
                if event.token() == CONNECTION {
                    event_for_connection = true;
                    ending |= event.is_read_closed() || event.is_error();
                } else {
                    woken = true;
                }
            }
            if woken {
                self.shared.woken();
            }
            if let Some(connection) = &mut self.connection {
                connection.readable |= event_for_connection;
                connection.ending |= ending;
                connection.writable |= event_for_connection || woken;
            }
        }
        self.tick();
    }

    fn tick(&mut self) {
        let now = self.now();
        let heard = self.connection.as_mut().map(|c| {
            c.turn = now;
            c.heard
        });
        let due = self.shared.look(|locked| locked.core.deadline().is_some_and(|at| at <= now));
        if due {
            if let (Some(connection), Some(heartbeat)) = (&mut self.connection, self.shared.config.session.heartbeat)
                && connection.socket.with_tcp(|tcp| connection.watch.is_dead(tcp, now, heartbeat))
            {
                let message = format!("nothing that was sent is acknowledged, for {heartbeat:?} and longer");
                return self.conclude(ended(message));
            }
            self.shared.with_core(|core| {
                if let Some(heard) = heard {
                    core.heard(heard);
                }
                core.tick(now);
            });
            self.clock = None;
        }
    }

    fn connect(&mut self, deadline: Instant) {
        self.disconnect();
        self.clock = None;
        let shared = Arc::clone(&self.shared);
        let given_up = || {
            shared.woken();
            shared.dropped()
        };
        let timeout = self.shared.config.session.connect_timeout;
        let mut patience = Patience::new(&mut self.poll, &mut self.events, &self.waker, deadline, timeout, &given_up);
        let outcome = establish(&self.shared.config, &mut patience);
        let now = Instant::now();
        match outcome {
            Ok(Established { socket, tail }) => {
                let socket = Arc::new(socket);
                *self.shared.peer_addr.lock() = socket.peer_addr();
                drop(self.shared.link.attach(Arc::clone(&socket)));
                let limits = self.shared.config.session.limits;
                self.shared.interest.attach(Arc::clone(&socket));
                let mut receiving = Receiving::new(Arc::clone(&socket), &tail, limits, self.pool.clone(), now);
                if self.shared.config.delivery == Delivery::Queued {
                    receiving.inbound.leave_undecoded();
                }
                self.connection = Some(Connection {
                    socket,
                    readable: true,
                    slow: false,
                    turn: now,
                    ending: false,
                    writable: true,
                    heard: now,
                    watch: Watch::default(),
                });
                self.unless_dropped(|core| core.opened(now));
                let mut todo = None;
                let step = match tail[..] {
                    [] => Step::Fine,
                    _ => process(&self.shared, &mut receiving, &mut todo),
                };
                *self.shared.receiving.lock() = Some(receiving);
                if let Some(todo) = todo {
                    self.shared.carry_out(todo);
                }
                self.conclude(step);
            }
            Err(error) => {
                self.shared.log(LogLevel::Info, || format!("no connection: {error}"));
                self.unless_dropped(|core| core.failed(error));
            }
        }
    }

    /// Tells the state machine something about the connection, unless the application has given this
    /// connection up: then what comes next in the orders is about another one.
    fn unless_dropped(
        &self,
        change: impl FnOnce(&mut crate::session::core::Core<super::shared::Completion, Arc<Subscription>>),
    ) {
        self.shared.with_locked(|locked| {
            if !locked.orders.iter().any(|order| !matches!(order, Order::Connect(_))) {
                change(&mut locked.core);
            }
        });
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.socket.shutdown();
            self.shared.interest.detach();
            // A caller that reads meets the end of the socket, and leaves.
            let receiving = self.shared.receiving.lock().take();
            drop(receiving);
            self.shared.left.store(false, SeqCst);
            self.pool.trim();
            self.shared.queue.spares().clear();
        }
        let unsent = self.shared.link.detach();
        drop(unsent);
    }

    fn over(&mut self, error: Error, close: Option<u16>) {
        if let Some(code) = close {
            self.shared.link.push_control(ControlFrame::Close(code));
            self.shared.flush_last(IO_FLUSH);
        }
        self.shared.log(LogLevel::Info, || format!("connection over: {error}"));
        self.disconnect();
        let now = Instant::now();
        self.unless_dropped(|core| core.lost(now, error));
    }

    fn conclude(&mut self, step: Step) {
        if let Step::Over(error, close) = step {
            self.over(error, close);
        }
    }

    /// Reads and writes what can be.
    fn work(&mut self) {
        if self.connection.as_ref().is_some_and(|c| c.readable) || self.shared.left.load(SeqCst) {
            let step = self.read();
            self.conclude(step);
        }
        // Calls that were made in callbacks, pongs, and what is left of large messages.
        let more = self.shared.flush(IO_FLUSH);
        if let Some(connection) = &mut self.connection {
            connection.writable = more;
        }
        if let Some(failure) = self.shared.link.take_failure() {
            // The server may have said why before it ended the connection.
            let mut last = Step::Fine;
            let mut shut_down = false;
            if let Some(connection) = &mut self.connection {
                connection.readable = true;
                shut_down = self.shared.receiving.is_locked();
                if shut_down {
                    // What a caller is about to read counts, too: it meets the end of the socket, and leaves.
                    connection.socket.shutdown();
                    drop(self.shared.receiving.lock());
                }
                last = self.read();
            }
            match last {
                Step::Over(_, Some(_)) => {}
                // This end of it is of our own making.
                Step::Over(_, None) if !shut_down => {}
                _ => last = ended(format!("sending failed: {failure}")),
            }
            self.conclude(last);
        }
    }

    fn read(&mut self) -> Step {
        for _ in 0..READS_IN_A_ROW {
            let mut todo = None;
            let step = self.read_once(&mut todo);
            // Whoever waits for a reply may read the next one itself: so it is woken when it can.
            if let Some(todo) = todo {
                self.shared.carry_out(todo);
            }
            let waiting = self.shared.queue.waiting();
            if self.shared.config.delivery == Delivery::Queued && waiting >= MANY {
                thread::yield_now();
            }
            // What can be delivered at once makes room, in memory too, for what follows.
            let deliver = self.shared.config.delivery == Delivery::IoThread && waiting > 0;
            let more_at_once = self.connection.as_ref().is_some_and(|c| {
                let long = || c.heard.saturating_duration_since(c.turn) >= LONGEST_ROW;
                c.readable && !(c.slow && long())
            });
            if !more_at_once || deliver || !matches!(step, Step::Fine) {
                return step;
            }
        }
        Step::Fine
    }

    /// Reads the socket once. `todo`: what is left to do, if there is anything.
    fn read_once(&mut self, todo: &mut Option<Todo>) -> Step {
        let Some(connection) = &mut self.connection else {
            return Step::Fine;
        };
        let Some(mut receiving) = self.shared.receiving.try_lock() else {
            // A caller has it and reads; after that, the socket tells again what there is. Or one only looks.
            connection.readable = !self.shared.interest.is_muted();
            if connection.readable {
                thread::yield_now();
            }
            return Step::Fine;
        };
        let Some(receiving) = &mut *receiving else {
            return Step::Fine;
        };
        receiving.ending |= std::mem::take(&mut connection.ending);
        // To look is much cheaper than to swap; whoever sets this wakes the thread then, so that it looks again.
        if self.shared.left.load(SeqCst) && self.shared.left.swap(false, SeqCst) {
            connection.readable = true;
            if let Some(failure) = self.shared.interest.take_failure() {
                return ended(format!("the socket cannot be watched: {failure}"));
            }
            return match receiving.over.take() {
                Some(step) => {
                    receiving.count(&self.shared);
                    step
                }
                None => process(&self.shared, receiving, todo),
            };
        }
        if receiving.flows {
            self.clock = None;
        }
        let clock = &mut self.clock;
        let read = receiving.read(&self.shared, || *clock.get_or_insert_with(Instant::now));
        connection.readable = receiving.unread || receiving.flows;
        connection.slow = receiving.flows;
        match read {
            Read::Data => {
                connection.heard = receiving.heard;
                let step = process(&self.shared, receiving, todo);
                self.clock = None;
                step
            }
            Read::Nothing => Step::Fine,
            Read::Over(step) => step,
        }
    }
}

/// Handles what was received. What is left to do after that is put in `todo`, which is large: it is not returned for nothing.
fn process(shared: &Shared, receiving: &mut Receiving, todo: &mut Option<Todo>) -> Step {
    let now = receiving.heard;
    receiving.prepare(shared);
    let on_this_thread = shared.config.delivery == Delivery::IoThread;
    let mut batch = std::mem::take(&mut receiving.batch);
    let mut direct = Direct::default();
    let most = if on_this_thread { BATCH } else { BATCH_FOR_OTHERS };
    let mut step = Step::Fine;
    receiving.settle(shared);
    loop {
        match receiving.next() {
            Ok(Some(Incoming::Message(Received::Publication { to, outcome })))
                if on_this_thread && batch.is_empty() && direct.takes(shared, &to) =>
            {
                if !direct.give(&outcome) && shared.dropped() {
                    return Step::Fine;
                }
                if let Ok(document) = outcome {
                    keep_spare(receiving.inbound.spares(), document);
                }
                receiving.inbound.take_back(to);
            }
            Ok(Some(Incoming::Message(message))) => {
                direct.leave();
                if let Some(to) = batch.push(message, &mut receiving.inbound) {
                    receiving.inbound.take_back(to);
                }
                if !receiving.settled || batch.len() == most {
                    // Before whoever gets a reply can look at the counts.
                    receiving.count(shared);
                    shared.receive(now, &mut batch, &mut receiving.inbound);
                    if !receiving.settled {
                        // Which generation the next frames are in depends on this one.
                        receiving.settle(shared);
                    } else if on_this_thread {
                        let _ = shared.queue.dispatch(usize::MAX, Some(now));
                        if shared.dropped() {
                            return Step::Fine;
                        }
                    } else {
                        shared.queue.spares().take(receiving.inbound.spares());
                    }
                }
            }
            Ok(Some(Incoming::Ping(payload))) => shared.link.push_control(ControlFrame::Pong(payload)),
            Ok(Some(Incoming::Pong)) => {
                shared.with_core(|core| {
                    core.heard(now);
                    core.pong(now);
                });
            }
            Ok(Some(Incoming::Close(code, reason))) => {
                let asked = shared.look(|locked| locked.core.state() == State::Closing);
                let text = match code {
                    Some(code) => format!("the server closed the connection ({code} {reason:?})"),
                    None => "the server closed the connection".into(),
                };
                step = Step::Over(lost(text), (!asked).then_some(code.unwrap_or(1000)));
            }
            Ok(None) => break,
            Err(error) => {
                step = failed(error);
                break;
            }
        }
    }
    direct.leave();
    if direct.count > 0 {
        shared.counters.messages_in.fetch_add(direct.count, Relaxed);
    }
    // As above, also for what was not handed on.
    receiving.count(shared);
    // Before what it is the progress of.
    receiving.tell_progress(shared);
    if !batch.is_empty() {
        *todo = Some(shared.take_in(now, &mut batch, &mut receiving.inbound));
    }
    receiving.batch = batch;
    step
}

/// The short way of publications on the I/O thread: straight to the callback, as long as nothing waits that
/// came before them.
#[derive(Default)]
struct Direct {
    entered: Option<(Arc<Subscription>, Entered<PublicationCallback>)>,
    count: u64,
}

impl Direct {
    /// Enters the callback of the only subscriber, unless it is there already.
    fn takes(&mut self, shared: &Shared, to: &Arc<[Arc<Subscription>]>) -> bool {
        let [subscription] = &to[..] else {
            return false;
        };
        if self.entered.as_ref().is_some_and(|(inside, _)| Arc::ptr_eq(inside, subscription)) {
            return true;
        }
        self.leave();
        if shared.queue.waiting() > 0 {
            return false;
        }
        self.entered = subscription.enter().map(|entered| (Arc::clone(subscription), entered));
        self.entered.is_some()
    }

    /// Gives the callback a publication; `false` if the subscription has ended.
    fn give(&mut self, outcome: &Outcome) -> bool {
        self.count += 1;
        self.entered.as_ref().is_some_and(|(subscription, entered)| subscription.give(entered, outcome))
    }

    fn leave(&mut self) {
        if let Some((subscription, entered)) = self.entered.take() {
            subscription.leave(entered);
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.leave();
    }
}
