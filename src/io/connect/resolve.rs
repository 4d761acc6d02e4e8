//! Host names to addresses. The system's resolver blocks without a time limit, so it runs on a helper thread. A
//! session that gives up leaves that thread running.
//!
//! The process has at most one lookup in flight for each name; all sessions that join for the name share its result. So a
//! resolver that hangs costs one thread for each name, however often sessions try.

use super::deadline::ConnectDeadline;
use super::tcp::is_local_shortage;
use crate::error::{Code, Error, Result, Stage};
use crate::platform::threads;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::catch_unwind;
use std::sync::{Arc, Weak};

type Addresses = Vec<SocketAddr>;

/// What is looked up: process, host, port. The process id is part of it because a forked child does not inherit the helper
/// threads of its parent.
type Name = (u32, String, u16);

/// A session that waits for the result of a lookup.
struct Waiter {
    /// Dropped when the session no longer waits.
    alive: Weak<()>,
    answer: Sender<Result<Addresses>>,
}

/// The lookups in flight, and the sessions that wait for them.
static LOOKUPS: Mutex<Vec<(Name, Vec<Waiter>)>> = Mutex::new(Vec::new());

/// All addresses of a host, in the order of the system's preference. Calls `waits` before it waits for the result of a
/// lookup.
pub fn resolve(host: &str, port: u16, deadline: &mut ConnectDeadline<'_>, waits: impl FnOnce()) -> Result<Addresses> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (send, answer) = crossbeam_channel::bounded(1);
    let alive = Arc::new(());
    join((std::process::id(), host.to_owned(), port), Waiter { alive: Arc::downgrade(&alive), answer: send })?;
    waits();
    deadline.receive(&answer, Stage::Resolve)?
}

/// Joins the lookup of a name that is in flight, or begins one.
fn join(name: Name, waiter: Waiter) -> Result<()> {
    let mut lookups = LOOKUPS.lock();
    if let Some((_, waiters)) = lookups.iter_mut().find(|(other, _)| *other == name) {
        waiters.retain(|waiter| waiter.alive.strong_count() > 0);
        waiters.push(waiter);
        return Ok(());
    }
    let asked = name.clone();
    threads::spawn("wslink-resolve", move || look_up(&asked))
        .map_err(|e| Error::new(Code::System, format!("no thread to resolve the host name: {e}")))
        .map_err(|e| e.at(Stage::Resolve))?;
    lookups.push((name, vec![waiter]));
    Ok(())
}

/// Looks a name up, however long that takes, and sends the result to all sessions that wait for it.
fn look_up(name: &Name) {
    let (_, host, port) = name;
    let addresses = |host: &str| (host, *port).to_socket_addrs().map(Addresses::from_iter);
    // A hosts file lists names without a trailing dot. After a panic, the lookup must not stay in flight for ever.
    let looked_up = catch_unwind(|| addresses(host).or_else(|e| host.strip_suffix('.').map_or(Err(e), addresses)))
        .unwrap_or_else(|_| Err(io::Error::other("the resolver failed")));
    let answer = match looked_up {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        Ok(_) => Err(failed(host, &io::Error::other("it has no address"))),
        Err(e) => Err(failed(host, &e)),
    };
    let waiters = {
        let mut lookups = LOOKUPS.lock();
        let at = lookups.iter().position(|(other, _)| other == name);
        at.map(|at| lookups.swap_remove(at).1).unwrap_or_default()
    };
    for waiter in waiters {
        // A session that no longer waits has dropped its receiver.
        let _ = waiter.answer.send(answer.clone());
    }
}

fn failed(host: &str, why: &io::Error) -> Error {
    let code = if is_local_shortage(why) { Code::System } else { Code::Resolve };
    Error::new(code, format!("host {host:?} cannot be resolved: {why}")).at(Stage::Resolve)
}
