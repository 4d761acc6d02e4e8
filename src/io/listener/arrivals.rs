//! The connections that servers open to a listener: one path for each configuration that accepts them, and at most one
//! connection for each path.

use crate::io::transport::socket::Socket;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

/// An open WebSocket connection from a server.
pub struct Arrived {
    /// Its socket, in no poll.
    pub socket: Socket,
    /// The permission to use the path.
    pub lease: Lease,
}

impl Arrived {
    /// Whether the server has not ended the connection.
    pub fn is_alive(&self) -> bool {
        self.socket.is_open()
    }
}

/// The use of a path by one connection. While it exists, further connections to the path are refused.
pub struct Lease(Arc<AtomicBool>);

impl Lease {
    fn take(in_use: &Arc<AtomicBool>) -> Option<Lease> {
        in_use.compare_exchange(false, true, AcqRel, Acquire).is_ok().then(|| Lease(Arc::clone(in_use)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}

/// The paths at which servers may connect.
#[derive(Default)]
pub struct Paths {
    /// By the SHA-256 of the token, which is the path without its slash. A lookup takes a time that depends on the digest
    /// only, so that a stranger cannot guess a token character by character.
    open: Mutex<HashMap<[u8; 32], Path>>,
    /// The number of requests that were refused, and what the last one was told.
    refused: Mutex<(u64, String)>,
}

struct Path {
    in_use: Arc<AtomicBool>,
    arrived: Sender<Arrived>,
    /// The other end: connections that no session has taken yet.
    waiting: Receiver<Arrived>,
}

/// Why a path cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// There is no such path.
    Unknown,
    /// It has a connection already.
    InUse,
}

impl Paths {
    /// Opens a path with a random token. It is closed when the result is dropped.
    pub fn open(self: &Arc<Paths>) -> OpenPath {
        let token = format!("{:032x}", rand::random::<u128>());
        let digest = digest(&token);
        // One lease, and so one connection, exists at a time.
        let (arrived, arrivals) = bounded(1);
        self.open.lock().insert(digest, Path { in_use: Arc::default(), arrived, waiting: arrivals.clone() });
        OpenPath { token, digest, arrivals, paths: Arc::clone(self) }
    }

    /// Takes the path of a request. Returns where its connection goes.
    pub fn take(&self, path: &str) -> Result<(Lease, Sender<Arrived>), Unusable> {
        let open = self.open.lock();
        let path = path.strip_prefix('/').and_then(|token| open.get(&digest(token))).ok_or(Unusable::Unknown)?;
        // A connection that no session has taken may be dead already.
        if let Ok(waiting) = path.waiting.try_recv()
            && waiting.is_alive()
        {
            let _ = path.arrived.try_send(waiting);
        }
        let lease = Lease::take(&path.in_use).ok_or(Unusable::InUse)?;
        Ok((lease, path.arrived.clone()))
    }

    /// Counts a request that was refused.
    pub fn refuse(&self, why: &str) {
        let mut refused = self.refused.lock();
        refused.0 += 1;
        refused.1 = why.to_owned();
    }

    /// The number of refused requests, and what the last one was told.
    pub fn refused(&self) -> (u64, String) {
        self.refused.lock().clone()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// An open path.
pub struct OpenPath {
    /// The path without its slash.
    pub token: String,
    digest: [u8; 32],
    /// The connections to it.
    pub arrivals: Receiver<Arrived>,
    /// All paths of the listener.
    pub paths: Arc<Paths>,
}

impl Drop for OpenPath {
    fn drop(&mut self) {
        self.paths.open.lock().remove(&self.digest);
    }
}
