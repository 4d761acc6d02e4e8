//! Host names to addresses. The system's resolver blocks for as long as it likes, so it runs on a
//! thread of its own that nobody has to wait for.
//!
//! A name is looked up once at a time in the whole process: whoever asks meanwhile gets the same answer. So a resolver
//! that hangs costs one thread for each name, however often sessions try.

use super::establish::{Patience, refused_here};
use crate::error::{Code, Error, Result, Stage};
use mio::Waker;
use parking_lot::Mutex;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::catch_unwind;
use std::sync::{Arc, OnceLock, Weak};

type Addresses = Vec<SocketAddr>;

/// What is looked up: host and port. With the process: the threads of a parent are not in the child that it forked.
type Name = (u32, String, u16);

/// Somebody who waits for an answer, as long as it exists.
struct Waiting {
    answer: OnceLock<Result<Addresses>>,
    waker: Arc<Waker>,
}

/// The lookups that are under way, and who waits for them.
static UNDER_WAY: Mutex<Vec<(Name, Vec<Weak<Waiting>>)>> = Mutex::new(Vec::new());

/// All addresses of a host, in the order of the system's preference. Calls `waits` when this is one of those who wait for
/// the answer.
pub fn resolve(host: &str, port: u16, patience: &mut Patience<'_>, waits: impl FnOnce()) -> Result<Addresses> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let waiting = Arc::new(Waiting { answer: OnceLock::new(), waker: patience.waker() });
    ask((std::process::id(), host.to_owned(), port), &waiting)?;
    waits();
    loop {
        if let Some(answer) = waiting.answer.get() {
            return answer.clone();
        }
        patience.wait(Stage::Resolve)?;
    }
}

/// Begins to look a name up, unless that is under way.
fn ask(name: Name, waiting: &Arc<Waiting>) -> Result<()> {
    let mut under_way = UNDER_WAY.lock();
    if let Some((_, all)) = under_way.iter_mut().find(|(other, _)| *other == name) {
        // Those who gave up do not wait any more.
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(waiting));
        return Ok(());
    }
    let asked = name.clone();
    std::thread::Builder::new()
        .name("wslink-resolve".into())
        .spawn(move || look_up(&asked))
        .map_err(|e| Error::new(Code::System, format!("no thread to resolve the host name: {e}")))
        .map_err(|e| e.at(Stage::Resolve).retriable_if(true))?;
    under_way.push((name, vec![Arc::downgrade(waiting)]));
    Ok(())
}

/// Looks a name up, for as long as it takes, and tells everybody who still waits.
fn look_up(name: &Name) {
    let (_, host, port) = name;
    // Whoever asks next must not wait for a thread that a panic has ended.
    let asked = catch_unwind(|| (host.as_str(), *port).to_socket_addrs().map(Addresses::from_iter))
        .unwrap_or_else(|_| Err(io::Error::other("the resolver failed")));
    let answer = match asked {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        Ok(_) => Err(failed(host, &io::Error::other("it has no address"))),
        Err(e) => Err(failed(host, &e)),
    };
    let all = {
        let mut under_way = UNDER_WAY.lock();
        let at = under_way.iter().position(|(other, _)| other == name);
        at.map(|at| under_way.swap_remove(at).1).unwrap_or_default()
    };
    for waiting in all.iter().filter_map(Weak::upgrade) {
        let _ = waiting.answer.set(answer.clone());
        let _ = waiting.waker.wake();
    }
}

fn failed(host: &str, why: &io::Error) -> Error {
    let code = if refused_here(why) { Code::System } else { Code::Resolve };
    Error::new(code, format!("host {host:?} cannot be resolved: {why}")).at(Stage::Resolve).retriable_if(true)
}
