//! Servers that break the rules, by accident or on purpose. Each can make the client use a bounded amount of memory only, the
//! session reports a clear error, and the next connection works.

#[path = "../common/mod.rs"]
mod common;
mod content;
mod hello;
mod http;
mod limits;
mod violations;

use common::PATIENCE;
use common::scripted::{Conn, pack};
use serde_json::json;
use wslink::{Args, Outcome, Protocol, Session};

const V1: Protocol = Protocol::V1;
const V2: Protocol = Protocol::V2;

/// What a scripted server does; it may use the id of a call.
type Act = fn(&mut Conn, &str);

fn call(session: &Session) -> Outcome {
    session.call_wait("a.method", Args::new(), Some(PATIENCE))
}

/// A well-behaved server, for the connection after the one that was broken.
fn good(conn: &mut Conn, protocol: Protocol) {
    conn.hello(protocol);
    conn.echo();
}

/// Checks that the session can connect again and make calls.
fn assert_usable(session: &Session) {
    session.connect_wait().unwrap_or_else(|e| panic!("{e}"));
    call(session).unwrap();
    session.close_wait(PATIENCE).unwrap();
}

/// A generation 1 reply with these bytes as its result.
fn text_reply(id: &str, result: &[u8]) -> Vec<u8> {
    [format!(r#"{{"wslink": "1.0", "id": "{id}", "result": "#).as_bytes(), result, b"}"].concat()
}

/// A generation 2 reply with these bytes as its result.
fn raw_reply(id: &str, result: &[u8]) -> Vec<u8> {
    let mut bytes = pack(&json!({"id": id, "result": null}));
    assert_eq!(bytes.pop(), Some(0xc0));
    bytes.extend_from_slice(result);
    bytes
}
