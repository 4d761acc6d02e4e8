//! Opening a session: which generation the server speaks, and the hello.
//!
//! A modern server sees its own hello first and nothing odd. A generation 1 server drops the connection
//! on that (or, if it is very old, ignores it); then it is asked in text, without the secret, and only
//! when it has answered in text does it get the hello with the secret: a generation 2 server would
//! write the secret into its log.

use crate::error::{Code, Error, Stage};
use crate::wire::Protocol;
use crate::wire::outgoing::HELLO_LIMIT;
use std::time::{Duration, Instant};

/// After a pong without a reply, a proxy has answered the ping, or the server is a very old one that
/// ignores the hello. So long is waited for the reply: two round trips, but not less than this.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(100);

/// The same where an answer is all that is left to wait for.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// The hello of this generation, with the secret.
    Hello(Protocol),
    /// The question in text that holds no secret.
    Probe,
    /// A WebSocket ping.
    Ping,
}

/// How it goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Send these and wait.
    Send(&'static [Send]),
    /// Nothing to do.
    Wait,
    /// Connect again: the server ended the connection without an answer.
    Reconnect,
    /// The session is open.
    Open(Protocol),
    /// Over.
    Fail(Error),
}

/// What came in answer to a system message.
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
    /// The generation 2 hello is on its way, or was answered by silence.
    HelloV2,
    /// The text probe is on its way.
    Probe,
    /// The generation 1 hello is on its way.
    HelloV1,
}

/// The state of opening one session. Lives across the reconnection that detection may need.
#[derive(Debug)]
pub struct Hello {
    wanted: Option<Protocol>,
    step: Step,
    /// Detection has already lost one connection.
    second_try: bool,
    /// Whether the server may still answer a generation 2 hello on this connection.
    v2_pending: bool,
    sent_at: Option<Instant>,
    give_up: Option<Instant>,
    /// Bytes of the generation 2 hello that was sent last.
    hello_size: u64,
}

impl Hello {
    /// `wanted`: the generation that the application fixed, if it did.
    pub fn new(wanted: Option<Protocol>) -> Hello {
        Hello {
            wanted,
            step: Step::Idle,
            second_try: false,
            v2_pending: false,
            sent_at: None,
            give_up: None,
            hello_size: 0,
        }
    }

    /// The connection is open. `known`: the generation that this server spoke before.
    pub fn opened(&mut self, now: Instant, known: Option<Protocol>) -> Next {
        self.sent_at = Some(now);
        self.give_up = None;
        self.v2_pending = false;
        // A generation 1 server is asked first even where it is known or wanted: it may have been
        // replaced by one that would log the secret.
        if self.second_try || self.wanted.or(known) == Some(Protocol::V1) {
            self.step = Step::Probe;
            return Next::Send(&[Send::Probe, Send::Ping]);
        }
        self.step = Step::HelloV2;
        self.v2_pending = true;
        if self.wanted == Some(Protocol::V2) {
            return Next::Send(&[Send::Hello(Protocol::V2)]);
        }
        Next::Send(&[Send::Hello(Protocol::V2), Send::Ping])
    }

    /// A generation 2 hello of so many bytes is sent.
    pub fn sent(&mut self, bytes: u64) {
        self.hello_size = bytes;
    }

    /// The pong to our ping.
    pub fn pong(&mut self, now: Instant) -> Next {
        let trip = self.sent_at.map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent));
        match self.step {
            Step::HelloV2 if self.wanted.is_none() => self.give_up = Some(now + (trip * 2).max(SHORTEST_PATIENCE)),
            Step::Probe if !self.v2_pending => self.give_up = Some(now + (trip * 2).max(LAST_PATIENCE)),
            _ => {}
        }
        Next::Wait
    }

    /// When [`tick`](Hello::tick) wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.give_up
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Next {
        if self.give_up.is_none_or(|at| now < at) {
            return Next::Wait;
        }
        self.give_up = None;
        match self.step {
            Step::HelloV2 => {
                self.step = Step::Probe;
                self.sent_at = Some(now);
                Next::Send(&[Send::Probe, Send::Ping])
            }
            // This server was of generation 1 before, or it ended the first connection for another reason.
            // Only one of generation 2 is silent now, and it has not seen its hello here yet.
            Step::Probe if self.wanted.is_none() && !(self.second_try && self.hello_size > HELLO_LIMIT) => {
                self.step = Step::HelloV2;
                self.v2_pending = true;
                self.sent_at = Some(now);
                Next::Send(&[Send::Hello(Protocol::V2), Send::Ping])
            }
            Step::Probe => Next::Fail(self.silence()),
            _ => Next::Wait,
        }
    }

    /// An answer to a system message, in the generation that it came in.
    pub fn answered(&mut self, protocol: Protocol, answer: Answer) -> Next {
        match (self.step, protocol, answer) {
            (Step::HelloV2 | Step::Probe, Protocol::V2, Answer::Result) if self.v2_pending => Next::Open(Protocol::V2),
            (Step::HelloV2 | Step::Probe, Protocol::V2, Answer::Error(e)) if self.v2_pending => Next::Fail(refused(e)),
            (Step::HelloV1, Protocol::V1, Answer::Result) => Next::Open(Protocol::V1),
            (Step::HelloV1, Protocol::V1, Answer::Error(e)) if !is_probe_answer(&e) => Next::Fail(refused(e)),
            // Whatever it says: it was said in text.
            (Step::Probe, Protocol::V1, _) => {
                self.step = Step::HelloV1;
                self.give_up = None;
                Next::Send(&[Send::Hello(Protocol::V1)])
            }
            _ => Next::Wait,
        }
    }

    /// The connection ended before the session was open, in the words of `how`.
    pub fn lost(&mut self, how: &Error) -> Next {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        match step {
            // wslink's relay does not tell that the server has gone before the next message: the probe.
            Step::HelloV2 | Step::Probe if self.v2_pending && self.wanted.is_none() && !self.second_try => {
                self.second_try = true;
                Next::Reconnect
            }
            Step::HelloV2 if self.hello_size > HELLO_LIMIT => Next::Fail(self.too_long()),
            Step::HelloV2 if self.wanted.is_some() => Next::Fail(mismatch(
                "the server ended the connection on the hello of protocol 2, as a server of protocol 1 does; \
                 this session was told to use protocol 2: use auto or 1",
            )),
            Step::Probe if self.second_try && self.hello_size > HELLO_LIMIT => Next::Fail(self.too_long()),
            _ => Next::Fail(
                Error::new(
                    Code::Hello,
                    format!("the connection ended before the session was open ({})", how.message()),
                )
                .at(Stage::Hello)
                .retriable_if(true),
            ),
        }
    }

    /// Why nothing came before the deadline of the whole connect.
    pub fn timed_out(&self, after: Duration) -> Error {
        let message = match self.step {
            Step::HelloV1 | Step::HelloV2 => {
                format!("connected, but the server did not answer the hello within {after:?}")
            }
            Step::Probe => format!("connected, but the server answered in neither protocol within {after:?}"),
            Step::Idle => format!("no connection within {after:?}"),
        };
        Error::new(Code::Timeout, message).at(Stage::Hello).retriable_if(true)
    }

    /// The probe was not answered although the server is alive.
    fn silence(&self) -> Error {
        if self.wanted.is_none() {
            return self.too_long();
        }
        mismatch(
            "the server is alive but does not answer in JSON, as a server of protocol 2 does; \
             this session was told to use protocol 1: use auto or 2",
        )
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

/// The answer to our probe: no such system method.
fn is_probe_answer(error: &Error) -> bool {
    error.remote().is_some_and(|r| r.code == -32601)
}

fn mismatch(message: &str) -> Error {
    Error::new(Code::Mismatch, message).at(Stage::Hello)
}

fn refused(error: Error) -> Error {
    let Some(remote) = error.remote().cloned() else {
        return error.at(Stage::Hello);
    };
    let made = if remote.code == crate::wire::envelope::AUTHENTICATION_FAILED {
        Error::new(Code::Auth, format!("the server refused the secret ({})", remote.message))
    } else {
        Error::new(Code::Hello, format!("the server refused the hello: {}", error.message()))
    };
    made.at(Stage::Hello).with_remote(remote)
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

    const V2_FIRST: Next = Next::Send(&[Send::Hello(Protocol::V2), Send::Ping]);
    const PROBE: Next = Next::Send(&[Send::Probe, Send::Ping]);
    const V1_HELLO: Next = Next::Send(&[Send::Hello(Protocol::V1)]);

    #[test]
    fn a_modern_server_sees_its_hello_and_nothing_else() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        assert_eq!(h.opened(now, None), V2_FIRST);
        assert_eq!(h.answered(Protocol::V2, Answer::Result), Next::Open(Protocol::V2));
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(code(h.answered(Protocol::V2, remote(-32000))), Code::Auth);
    }

    #[test]
    fn a_generation_1_server_drops_the_hello_and_is_asked_before_it_gets_the_secret() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(h.lost(&end()), Next::Reconnect);
        assert_eq!(h.opened(now, None), PROBE);
        assert_eq!(h.answered(Protocol::V1, remote(-32601)), V1_HELLO);
        assert_eq!(h.answered(Protocol::V1, remote(-32601)), Next::Wait, "the answer to the probe, once more");
        assert_eq!(h.answered(Protocol::V1, Answer::Result), Next::Open(Protocol::V1));
        let mut h = Hello::new(None);
        assert_eq!(h.opened(now, Some(Protocol::V1)), PROBE, "known from before, and asked nevertheless");
        h.answered(Protocol::V1, remote(-32601));
        assert_eq!(code(h.answered(Protocol::V1, remote(-32000))), Code::Auth);
    }

    #[test]
    fn a_server_that_ignores_the_hello_is_asked_on_the_same_connection() {
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
    fn a_late_answer_of_a_modern_server_behind_a_relay_counts() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        h.pong(now);
        assert_eq!(h.tick(now + SHORTEST_PATIENCE), PROBE);
        assert_eq!(h.answered(Protocol::V2, Answer::Result), Next::Open(Protocol::V2));
    }

    #[test]
    fn a_fixed_generation_that_is_the_wrong_one_is_named() {
        let now = Instant::now();
        let mut h = Hello::new(Some(Protocol::V2));
        assert_eq!(h.opened(now, None), Next::Send(&[Send::Hello(Protocol::V2)]));
        assert_eq!(code(h.lost(&end())), Code::Mismatch);
        let mut h = Hello::new(Some(Protocol::V1));
        assert_eq!(h.opened(now, None), PROBE, "the secret stays here until the server has proved itself");
        h.pong(now);
        assert_eq!(code(h.tick(now + LAST_PATIENCE)), Code::Mismatch);
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
                assert_eq!(next, Next::Reconnect);
                h.opened(now, None);
                h.pong(now);
                next = h.tick(now + LAST_PATIENCE);
            }
            match next {
                Next::Fail(e) => assert!(e.message().contains("has 700 bytes"), "{e}"),
                other => panic!("{other:?}"),
            }
        }
    }

    const V2_HELLO: Next = Next::Send(&[Send::Hello(Protocol::V2), Send::Ping]);

    #[test]
    fn a_server_that_was_replaced_by_a_modern_one_gets_its_hello() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        assert_eq!(h.opened(now, Some(Protocol::V1)), PROBE);
        h.pong(now);
        assert_eq!(h.tick(now + LAST_PATIENCE), V2_HELLO);
        assert_eq!(h.answered(Protocol::V2, Answer::Result), Next::Open(Protocol::V2));
    }

    #[test]
    fn a_modern_server_that_ended_the_first_connection_for_another_reason_gets_its_hello_again() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(h.lost(&end()), Next::Reconnect);
        assert_eq!(h.opened(now, None), PROBE);
        h.pong(now);
        assert_eq!(h.tick(now + LAST_PATIENCE), V2_HELLO);
        assert_eq!(code(h.lost(&end())), Code::Hello);
    }

    #[test]
    fn a_relay_that_ends_the_connection_only_on_the_probe_is_asked_again() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        h.pong(now);
        assert_eq!(h.tick(now + SHORTEST_PATIENCE), PROBE);
        assert_eq!(h.lost(&end()), Next::Reconnect);
        assert_eq!(h.opened(now, None), PROBE);
        assert_eq!(h.answered(Protocol::V1, remote(-32601)), V1_HELLO);
    }

    #[test]
    fn detection_reconnects_once() {
        let now = Instant::now();
        let mut h = Hello::new(None);
        h.opened(now, None);
        assert_eq!(h.lost(&end()), Next::Reconnect);
        h.opened(now, None);
        assert_eq!(code(h.lost(&end())), Code::Hello);
    }
}
