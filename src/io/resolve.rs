//! Host names to addresses. The system's resolver blocks for as long as it likes, so it runs on a
//! thread of its own that nobody has to wait for.

use super::establish::Patience;
use crate::error::{Code, Error, Result, Stage};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// All addresses of a host, in the order of the system's preference.
pub fn resolve(host: &str, port: u16, patience: &mut Patience<'_>) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (done, wait) = crossbeam_channel::bounded(1);
    let (name, waker) = (host.to_owned(), patience.waker());
    std::thread::Builder::new()
        .name("wslink-resolve".into())
        .spawn(move || {
            let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            // Nobody listens any more if the attempt was given up.
            let _ = done.send(addresses);
            let _ = waker.wake();
        })
        .map_err(|e| Error::new(Code::System, format!("no thread to resolve the host name: {e}")).at(Stage::Resolve))?;
    loop {
        match wait.try_recv() {
            Ok(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
            Ok(Ok(_)) => return Err(failed(host, "it has no address")),
            Ok(Err(e)) => return Err(failed(host, &e.to_string())),
            Err(crossbeam_channel::TryRecvError::Empty) => patience.wait(Stage::Resolve)?,
            Err(crossbeam_channel::TryRecvError::Disconnected) => return Err(failed(host, "the resolver failed")),
        }
    }
}

fn failed(host: &str, why: &str) -> Error {
    Error::new(Code::Resolve, format!("host {host:?} cannot be resolved: {why}")).at(Stage::Resolve).retriable_if(true)
}
