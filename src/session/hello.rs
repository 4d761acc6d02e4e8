//! Opening a session: detects the server's generation, and sends the hello.
//!
//! The generation 2 hello comes first, so that a generation 2 server sees nothing unexpected. A generation 1 server drops
//! the connection on this hello, or ignores it if it is very old. The client then sends a probe in text, without the
//! secret. Only a server that has answered in text gets the secret in text, because a generation 2 server writes text
//! messages to its log.

use crate::error::{Code, Error, Stage};
use crate::wire::Protocol;
use crate::wire::envelope;
use crate::wire::outgoing::HELLO_LIMIT;
use crate::wire::value::Value;
use std::io;
use std::time::{Duration, Instant};

/// The minimum wait for the reply to the hello after the pong. If the pong comes first, a proxy answered the ping, or a very
/// old server ignores the hello. The wait is two round trips, but at least this time.
const MIN_HELLO_WAIT: Duration = Duration::from_millis(100);

/// The minimum wait for the answer to the probe after the pong, if no generation 2 hello was sent on this connection.
const MIN_PROBE_WAIT: Duration = Duration::from_secs(3);

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToSend {
    /// The hello of this generation, with the secret.
    Hello(Protocol),
    /// The probe: a message in text, without the secret.
    Probe,
    /// A WebSocket ping.
    Ping,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Send these messages, and wait.
    Send(&'static [ToSend]),
    /// Nothing to do.
    Wait,
    /// Connect again, because the server ended the connection without an answer.
    NewConnection,
    /// The session is open.
    Open(Protocol),
    /// The session cannot be opened.
    Fail(Error),
}

/// The reply to a system message.
#[derive(Debug)]
pub enum Answer {
    /// A result.
    Result,
    /// An error, with the server's code.
    Error(Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Not connected.
    Idle,
    /// The generation 2 hello was sent; no reply yet.
    HelloV2,
    /// The probe was sent; no reply yet.
    Probe,
    /// The generation 1 hello was sent; no reply yet.
    HelloV1,
}

/// The state of opening one session. Detection may need two connections; this state outlives the first one.
#[derive(Debug)]
pub struct Hello {
    wanted: Option<Protocol>,
    /// The server has opened the connection, see [`Hello::set_opened_by_server`].
    by_server: bool,
    /// This server has accepted our generation 2 hello on an earlier connection.
    known_v2: bool,
    step: Step,
    /// Detection has already lost one connection.
    second_try: bool,
    /// Whether the server may still answer a generation 2 hello on this connection.
    v2_pending: bool,
    sent_at: Option<Instant>,
    deadline: Option<Instant>,
    /// Bytes of the generation 2 hello that was sent last.
    hello_size: u64,
}

impl Hello {
    /// `wanted`: the generation that the application has set; `None`: detect it.
    pub fn new(wanted: Option<Protocol>) -> Hello {
        Hello {
            wanted,
            by_server: false,
            known_v2: false,
            step: Step::Idle,
            second_try: false,
            v2_pending: false,
            sent_at: None,
            deadline: None,
            hello_size: 0,
        }
    }

    /// From now on, the server opens the connections. Then the probe comes first, because a generation 1 server that has opened
    /// the connection itself ends its process on the generation 2 hello. There is no proxy that could answer the ping before the
    /// server has answered the probe, so the wait for the answer is short.
    pub fn set_opened_by_server(&mut self) {
        self.by_server = true;
    }

    /// The connection is open. `known`: the generation that this server spoke before.
    pub fn opened(&mut self, now: Instant, known: Option<Protocol>) -> Next {
        self.sent_at = Some(now);
        self.deadline = None;
        self.v2_pending = false;
        self.known_v2 = known == Some(Protocol::V2);
        // Even a server that is known or set to be of generation 1 gets the probe first: a generation 2 server, which
        // would log the secret, may have replaced it.
        let probe_first = match self.wanted {
            Some(wanted) => wanted == Protocol::V1,
            None => self.by_server || known == Some(Protocol::V1),
        };
        if self.second_try || probe_first {
            self.step = Step::Probe;
            return Next::Send(&[ToSend::Probe, ToSend::Ping]);
        }
        self.step = Step::HelloV2;
        self.v2_pending = true;
        if self.wanted == Some(Protocol::V2) {
            return Next::Send(&[ToSend::Hello(Protocol::V2)]);
        }
        Next::Send(&[ToSend::Hello(Protocol::V2), ToSend::Ping])
    }

    /// A generation 2 hello of this size was sent.
    pub fn sent(&mut self, bytes: u64) {
        self.hello_size = bytes;
    }

    /// The pong to our ping.
    pub fn pong(&mut self, now: Instant) -> Next {
        let round_trip = self.sent_at.map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent));
        match self.step {
            Step::HelloV2 if self.wanted.is_none() => self.deadline = Some(now + (round_trip * 2).max(MIN_HELLO_WAIT)),
            Step::Probe if !self.v2_pending => {
                let least = if self.by_server { MIN_HELLO_WAIT } else { MIN_PROBE_WAIT };
                self.deadline = Some(now + (round_trip * 2).max(least));
            }
            _ => {}
        }
        Next::Wait
    }

    /// When [`tick`](Hello::tick) has to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Next {
        if self.deadline.is_none_or(|at| now < at) {
            return Next::Wait;
        }
        self.deadline = None;
        match self.step {
            Step::HelloV2 => {
                self.step = Step::Probe;
                self.sent_at = Some(now);
                Next::Send(&[ToSend::Probe, ToSend::Ping])
            }
            // This connection began with the probe, because the server was of generation 1 before, or because the first
            // connection ended. A server that does not answer the probe is of generation 2: send it the generation 2 hello.
            Step::Probe if self.wanted.is_none() && !(self.second_try && self.is_too_long()) => {
                self.step = Step::HelloV2;
                self.v2_pending = true;
                self.sent_at = Some(now);
                Next::Send(&[ToSend::Hello(Protocol::V2), ToSend::Ping])
            }
            Step::Probe => Next::Fail(self.silence()),
            _ => Next::Wait,
        }
    }

    /// A system message was answered, in this generation.
    pub fn answered(&mut self, protocol: Protocol, answer: Answer) -> Next {
        match (self.step, protocol, answer) {
            (Step::HelloV2 | Step::Probe, Protocol::V2, Answer::Result) if self.v2_pending => Next::Open(Protocol::V2),
            (Step::HelloV2 | Step::Probe, Protocol::V2, Answer::Error(e)) if self.v2_pending => Next::Fail(refused(e)),
            (Step::HelloV1, Protocol::V1, Answer::Result) => Next::Open(Protocol::V1),
            (Step::HelloV1, Protocol::V1, Answer::Error(e)) if !is_probe_answer(&e) => Next::Fail(refused(e)),
            // Any answer in text proves generation 1.
            (Step::Probe, Protocol::V1, _) => {
                self.step = Step::HelloV1;
                self.deadline = None;
                Next::Send(&[ToSend::Hello(Protocol::V1)])
            }
            _ => Next::Wait,
        }
    }

    /// The connection ended before the session was open, with the error `how`.
    pub fn lost(&mut self, how: &Error) -> Next {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        match step {
            // `Probe` counts like `HelloV2`, because wslink's relay ends the connection only when the next message arrives,
            // and that message is the probe.
            Step::HelloV2 | Step::Probe
                if self.v2_pending && self.wanted.is_none() && !self.second_try && !self.by_server =>
            {
                self.second_try = true;
                Next::NewConnection
            }
            // An HTTP status means that a proxy lost the server. This says nothing about the server's generation.
            _ if how.http_status().is_some() => Next::Fail(ended(how)),
            Step::HelloV2 | Step::Probe if self.v2_pending && self.is_too_long() => Next::Fail(self.too_long()),
            Step::HelloV2 if self.wanted.is_some() && !self.known_v2 => Next::Fail(mismatch(
                "the server ended the connection on the hello of protocol 2, as a server of protocol 1 does; \
                 this session was told to use protocol 2: use auto or 1",
            )),
            Step::Probe if self.second_try && self.is_too_long() => Next::Fail(self.too_long()),
            _ => Next::Fail(ended(how)),
        }
    }

    /// The error for a hello that was not answered before the deadline of the whole connect.
    pub fn timed_out(&self, after: Duration) -> Error {
        let message = match self.step {
            Step::HelloV2 if self.wanted.is_some() => format!(
                "the server did not answer the hello within {after:?} (option connect_timeout). It is busy, no wslink server, \
                 or one of protocol 1: this session was told to use protocol 2"
            ),
            Step::HelloV1 | Step::HelloV2 => format!(
                "the server did not answer the hello within {after:?} (option connect_timeout). It is busy, or no wslink server"
            ),
            Step::Probe => format!(
                "the server answered in neither protocol within {after:?} (option connect_timeout). It is busy, or no wslink \
                 server"
            ),
            Step::Idle => format!("no connection within {after:?} (option connect_timeout)"),
        };
        Error::new(Code::Timeout, message).at(Stage::Hello)
    }

    /// The error for a server that is alive and does not answer the probe.
    fn silence(&self) -> Error {
        if self.wanted.is_none() {
            return self.too_long();
        }
        mismatch(
            "the server is alive but does not answer in JSON, as a server of protocol 2 does; \
             this session was told to use protocol 1: use auto or 2",
        )
    }

    /// Whether the server may have ended the connection because of the hello's size. Not if it accepted the hello before.
    fn is_too_long(&self) -> bool {
        self.hello_size > HELLO_LIMIT && !self.known_v2
    }

    fn too_long(&self) -> Error {
        let message = format!(
            "the server ended the connection on the hello: it has {} bytes, and a server of protocol 2 takes {HELLO_LIMIT} \
             before it knows the client. Use a shorter secret, or start the server with a larger WSLINK_AUTH_MSG_SIZE",
            self.hello_size
        );
        Error::new(Code::Hello, message).at(Stage::Hello)
    }
}

/// Whether this error answers the probe: the system method does not exist.
fn is_probe_answer(error: &Error) -> bool {
    error.remote().is_some_and(|r| r.code == -32601)
}

fn mismatch(message: &str) -> Error {
    Error::new(Code::Mismatch, message).at(Stage::Hello)
}

/// The error for a connection that ended before the server answered the hello.
fn ended(how: &Error) -> Error {
    let text = format!(
        "the connection ended before the server had answered the hello: {}. If this happens each time, see whether the URL \
         leads to a wslink server (its path is mostly /ws), and what the server's log says",
        how.message()
    );
    let error = Error::new(Code::Hello, text).at(Stage::Hello).with_io(io::ErrorKind::UnexpectedEof);
    match how.http_status() {
        Some(status) => error.with_http_status(status),
        None => error,
    }
}

/// The error for a hello that the server refused, or whose reply cannot be decoded.
fn refused(error: Error) -> Error {
    let Some(remote) = error.remote().cloned() else {
        return error.at(Stage::Hello);
    };
    let made = if remote.code == envelope::AUTHENTICATION_FAILED {
        Error::new(Code::Auth, format!("the server does not accept the secret of this session ({})", remote.message))
    } else {
        Error::new(Code::Hello, format!("the server refused the hello: {}", error.message()))
    };
    made.at(Stage::Hello).with_remote(remote)
}

/// The error for a reply to the hello without the id of this client.
pub(super) fn no_client_id(result: Value<'_>) -> Error {
    let text = match result.get("clientID") {
        Some(id) => format!("the server's reply to the hello has a clientID that is no text: {}", envelope::shown(id)),
        None => "the server's reply to the hello has no clientID".to_owned(),
    };
    Error::new(Code::Hello, format!("{text}. Is it a wslink server?")).at(Stage::Hello)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope::{Content, classify};
    use crate::wire::json::parse::parse;

    fn remote(code: i64) -> Answer {
        let text = format!(r#"{{"id": "system:c0:0", "error": {{"code": {code}, "message": "m"}}}}"#);
        match classify(parse(text.into_bytes().into(), 99).unwrap().document).unwrap() {
            Content::Reply { outcome: Err(e), .. } => Answer::Error(e),
            _ => panic!("not an error"),
        }
    }

    fn end() -> Error {
        Error::new(Code::ConnectionLost, "end")
    }

    fn code(next: Next) -> Code {
        match next {
            Next::Fail(e) => e.code(),
            other => panic!("{other:?}"),
        }
    }

    const V2_FIRST: Next = Next::Send(&[ToSend::Hello(Protocol::V2), ToSend::Ping]);
    const PROBE: Next = Next::Send(&[ToSend::Probe, ToSend::Ping]);
    const V1_HELLO: Next = Next::Send(&[ToSend::Hello(Protocol::V1)]);

    #[test]
    fn a_generation_2_server_receives_only_its_hello() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        assert_eq!(h.opened(now, None), V2_FIRST);
        assert_eq!(h.answered(Protocol::V2, Answer::Result), Next::Open(Protocol::V2));
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(code(h.answered(Protocol::V2, remote(-32000))), Code::Auth);
    }

    #[test]
    fn a_generation_1_server_drops_the_hello_and_gets_the_probe_before_the_secret() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(h.lost(&end()), Next::NewConnection);
        assert_eq!(h.opened(now, None), PROBE);
        assert_eq!(h.answered(Protocol::V1, remote(-32601)), V1_HELLO);
        assert_eq!(h.answered(Protocol::V1, remote(-32601)), Next::Wait, "a second answer to the probe");
        assert_eq!(h.answered(Protocol::V1, Answer::Result), Next::Open(Protocol::V1));
        let mut h = Hello::new(None);
        assert_eq!(h.opened(now, Some(Protocol::V1)), PROBE, "the probe is sent even if the generation is known");
        h.answered(Protocol::V1, remote(-32601));
        assert_eq!(code(h.answered(Protocol::V1, remote(-32000))), Code::Auth);
    }

    #[test]
    fn a_server_that_ignores_the_hello_gets_the_probe_on_the_same_connection() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(h.pong(now + Duration::from_millis(200)), Next::Wait);
        let at = h.deadline().unwrap();
        assert_eq!(at, now + Duration::from_millis(600), "two round trips");
        assert_eq!(h.tick(at - Duration::from_millis(1)), Next::Wait);
        assert_eq!(h.tick(at), PROBE);
        h.pong(at);
        assert_eq!(h.deadline(), None, "both answers are still possible");
        assert_eq!(h.answered(Protocol::V1, remote(-32601)), V1_HELLO);
    }

    #[test]
    fn a_late_reply_of_a_generation_2_server_behind_a_relay_counts() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        h.pong(now);
        assert_eq!(h.tick(now + MIN_HELLO_WAIT), PROBE);
        assert_eq!(h.answered(Protocol::V2, Answer::Result), Next::Open(Protocol::V2));
    }

    #[test]
    fn a_generation_that_was_set_wrongly_is_reported() {
        let now = Instant::now();
        let mut h = Hello::new(Some(Protocol::V2));
        assert_eq!(h.opened(now, None), Next::Send(&[ToSend::Hello(Protocol::V2)]));
        assert_eq!(code(h.lost(&end())), Code::Mismatch);
        let mut h = Hello::new(Some(Protocol::V1));
        assert_eq!(h.opened(now, None), PROBE, "no secret in text before the server has answered in text");
        h.pong(now);
        assert_eq!(code(h.tick(now + MIN_PROBE_WAIT)), Code::Mismatch);
    }

    #[test]
    fn a_long_secret_is_explained() {
        let now = Instant::now();
        for wanted in [None, Some(Protocol::V2)] {
            let mut h = Hello::new(wanted);
            h.opened(now, None);
            h.sent(700);
            let mut next = h.lost(&end());
            if wanted.is_none() {
                assert_eq!(next, Next::NewConnection);
                h.opened(now, None);
                h.pong(now);
                next = h.tick(now + MIN_PROBE_WAIT);
            }
            match next {
                Next::Fail(e) => assert!(e.message().contains("has 700 bytes"), "{e}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_server_that_accepted_the_hello_before_is_not_blamed_for_ending_a_connection() {
        let now = Instant::now();
        for wanted in [None, Some(Protocol::V2)] {
            let mut h = Hello::new(wanted);
            h.opened(now, Some(Protocol::V2));
            h.sent(700);
            let mut next = h.lost(&end());
            if wanted.is_none() {
                assert_eq!(next, Next::NewConnection);
                h.opened(now, Some(Protocol::V2));
                next = h.lost(&end());
            }
            match next {
                Next::Fail(e) => assert!(e.code() == Code::Hello && e.is_retriable(), "{e}"),
                other => panic!("{other:?}"),
            }
        }
    }

    const V2_HELLO: Next = Next::Send(&[ToSend::Hello(Protocol::V2), ToSend::Ping]);

    #[test]
    fn a_generation_2_server_that_replaced_an_older_one_gets_its_hello() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        assert_eq!(h.opened(now, Some(Protocol::V1)), PROBE);
        h.pong(now);
        assert_eq!(h.tick(now + MIN_PROBE_WAIT), V2_HELLO);
        assert_eq!(h.answered(Protocol::V2, Answer::Result), Next::Open(Protocol::V2));
    }

    #[test]
    fn a_generation_2_server_that_ended_the_first_connection_for_another_reason_gets_its_hello_again() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(h.lost(&end()), Next::NewConnection);
        assert_eq!(h.opened(now, None), PROBE);
        h.pong(now);
        assert_eq!(h.tick(now + MIN_PROBE_WAIT), V2_HELLO);
        assert_eq!(code(h.lost(&end())), Code::Hello);
    }

    #[test]
    fn a_relay_that_ends_the_connection_only_on_the_probe_gets_it_again() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        h.pong(now);
        assert_eq!(h.tick(now + MIN_HELLO_WAIT), PROBE);
        assert_eq!(h.lost(&end()), Next::NewConnection);
        assert_eq!(h.opened(now, None), PROBE);
        assert_eq!(h.answered(Protocol::V1, remote(-32601)), V1_HELLO);
    }

    #[test]
    fn detection_reconnects_once() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(h.lost(&end()), Next::NewConnection);
        h.opened(now, None);
        assert_eq!(code(h.lost(&end())), Code::Hello);
    }
}
