//! Bytes and frames of an open connection.
//!
//! * `socket`: bytes in and out, with or without TLS;
//! * `websocket`: frames (RFC 6455);
//! * `receiver`: the receiving half, from the socket to messages;
//! * `send_queue`: the sending half, which any thread may use;
//! * `liveness`: detects through TCP that the peer is gone.

pub(super) mod liveness;
pub(super) mod receiver;
pub(super) mod send_queue;
pub(super) mod socket;
pub(super) mod websocket;
