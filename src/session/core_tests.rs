//! The state machine by itself: the effects of each event.

use super::*;
use crate::session::reconnect::Reconnect;
use crate::wire::envelope::{Content, classify};
use crate::wire::json::parse::parse;

type TestCore = Core<&'static str, &'static str>;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn reply(core: &mut TestCore, now: Instant, protocol: Protocol, text: &str) {
    let document = parse(text.as_bytes().to_vec().into(), 999).unwrap().document;
    match classify(document).unwrap() {
        Content::Reply { id, outcome } => core.reply(now, protocol, &id.into(), outcome),
        _ => panic!("not a reply"),
    }
}

/// The effects, as words.
fn effects(core: &mut TestCore) -> Vec<String> {
    std::iter::from_fn(|| core.take_effect())
        .filter(|effect| !matches!(effect, Effect::Withdraw(_)))
        .map(|effect| match effect {
            Effect::Withdraw(_) => unreachable!(),
            Effect::Connect(_) => "connect".into(),
            Effect::Send(..) => "send".into(),
            Effect::Ping => "ping".into(),
            Effect::Close(code) => format!("close {code}"),
            Effect::Disconnect => "drop".into(),
            Effect::Complete(call, Ok(_)) => format!("{call} ok"),
            Effect::Complete(call, Err(e)) => format!("{call} {:?}", e.code()),
            Effect::Judge(error, attempt) => format!("judge {:?} {attempt}", error.code()),
            Effect::State(change) => match change.error {
                None => format!("{:?}", change.state),
                Some(e) => format!("{:?} {:?}", change.state, e.code()),
            },
        })
        .collect()
}

fn ready(now: Instant, heartbeat: Option<Duration>) -> TestCore {
    let options = Options { heartbeat, ..Options::default() };
    let mut core = TestCore::new(options, Seeds { first_call: 100, first_key: 1, first_message: 1, delays: 1 });
    core.connect(now).unwrap();
    core.opened(now);
    reply(&mut core, now, Protocol::V2, r#"{"id": "system:c0:0", "result": {"clientID": "c7", "maxMsgSize": 1000}}"#);
    assert_eq!(effects(&mut core), ["Connecting", "connect", "send", "ping", "Ready"]);
    core
}

fn call(core: &mut TestCore, now: Instant, name: &'static str, timeout: Option<Duration>) -> CallId {
    core.call("m", &Args::new(), Deadline::after(now, timeout), name).map_err(|(e, _)| e).unwrap()
}

#[test]
fn replies_find_their_calls_and_others_are_counted() {
    let now = Instant::now();
    let mut core = ready(now, None);
    call(&mut core, now, "a", None);
    call(&mut core, now, "b", Some(seconds(1)));
    reply(&mut core, now, Protocol::V2, r#"{"id": "rpc:c7:101", "result": null}"#);
    reply(&mut core, now, Protocol::V2, r#"{"id": "rpc:c7:101", "result": null}"#);
    reply(&mut core, now, Protocol::V2, r#"{"id": "rpc:c8:100", "result": "of a predecessor behind a relay"}"#);
    reply(&mut core, now, Protocol::V2, r#"{"id": "rpc:c7:99", "result": null}"#);
    reply(&mut core, now, Protocol::V2, r#"{"id": "anything", "result": null}"#);
    assert_eq!(effects(&mut core), ["send", "send", "b ok"]);
    assert_eq!(core.counts(), CallCounts { calls: 2, late_replies: 1, unknown_replies: 3 });
    assert_eq!(core.calls_in_flight(), 1);
}

#[test]
fn a_timeout_ends_one_call_and_its_reply_is_late() {
    let now = Instant::now();
    let mut core = ready(now, None);
    call(&mut core, now, "slow", Some(seconds(2)));
    call(&mut core, now, "patient", None);
    effects(&mut core);
    assert_eq!(core.deadline(), Some(now + seconds(2)));
    core.tick(now + seconds(1));
    assert!(effects(&mut core).is_empty());
    core.tick(now + seconds(2));
    reply(&mut core, now, Protocol::V2, r#"{"id": "rpc:c7:100", "result": null}"#);
    assert_eq!(effects(&mut core), ["slow Timeout"]);
    assert_eq!(core.counts().late_replies, 1);
    assert_eq!(core.deadline(), None, "nothing to wake up for");
}

#[test]
fn the_end_of_the_connection_ends_every_call_in_order() {
    let now = Instant::now();
    let mut core = ready(now, None);
    for name in ["a", "b", "c"] {
        call(&mut core, now, name, Some(seconds(9)));
    }
    let id = call(&mut core, now, "d", None);
    assert!(core.cancel(id) && !core.cancel(id));
    core.lost(now, Error::new(Code::ConnectionLost, "end"));
    let all = effects(&mut core).split_off(4);
    let lost = [
        "d Cancelled",
        "a ConnectionLost",
        "b ConnectionLost",
        "c ConnectionLost",
        "Lost ConnectionLost",
        "Closed ConnectionLost",
    ];
    assert_eq!(all, lost);
    assert_eq!(core.call("m", &Args::new(), None, "late").unwrap_err().0.code(), Code::Closed);
    core.connect(now).unwrap();
    assert_eq!(core.call("m", &Args::new(), None, "early").unwrap_err().0.code(), Code::State);
}

#[test]
fn closing_waits_for_the_server_until_the_timeout() {
    let now = Instant::now();
    for answered in [true, false] {
        let mut core = ready(now, None);
        call(&mut core, now, "a", None);
        effects(&mut core);
        core.close(now, seconds(1));
        assert_eq!(effects(&mut core), ["Closing", "a Closed", "close 1000"]);
        if answered {
            core.lost(now, Error::new(Code::ConnectionLost, "end"));
            assert_eq!(effects(&mut core), ["Closed"]);
        } else {
            core.tick(now + seconds(1));
            assert_eq!(effects(&mut core), ["drop", "Closed"]);
        }
        assert!(core.failure().is_none());
    }
}

#[test]
fn the_heartbeat_pings_a_silent_server_and_gives_it_up() {
    let now = Instant::now();
    let mut core = ready(now, Some(seconds(10)));
    core.heard(now + seconds(3));
    core.tick(now + seconds(10));
    assert!(effects(&mut core).is_empty(), "heard from it since");
    core.tick(now + seconds(13));
    assert_eq!(effects(&mut core), ["ping"]);
    // The caller reports the same time again: nothing new was received.
    core.heard(now + seconds(3));
    core.tick(now + seconds(23));
    assert_eq!(effects(&mut core), ["drop", "Lost ConnectionLost", "Closed ConnectionLost"]);
}

#[test]
fn the_heartbeat_is_suspended_while_calls_are_in_flight() {
    let now = Instant::now();
    let mut core = ready(now, Some(seconds(10)));
    call(&mut core, now, "long", None);
    for at in [10, 20, 30] {
        core.tick(now + seconds(at));
    }
    assert_eq!(effects(&mut core), ["send"]);
}

#[test]
fn connecting_has_one_deadline() {
    let now = Instant::now();
    let mut core =
        TestCore::new(Options::default(), Seeds { first_call: 1, first_key: 1, first_message: 1, delays: 1 });
    core.connect(now).unwrap();
    core.opened(now);
    core.tick(now + seconds(20));
    assert_eq!(effects(&mut core), ["Connecting", "connect", "send", "ping", "drop", "Closed Timeout"]);
    assert_eq!(core.failure().unwrap().stage(), Stage::Hello);
}

#[test]
fn a_hello_reply_without_client_id_is_no_session() {
    let now = Instant::now();
    let mut core =
        TestCore::new(Options::default(), Seeds { first_call: 1, first_key: 1, first_message: 1, delays: 1 });
    core.connect(now).unwrap();
    core.opened(now);
    effects(&mut core);
    reply(&mut core, now, Protocol::V2, r#"{"id": "system:c0:0", "result": {"clientID": 5}}"#);
    assert_eq!(effects(&mut core), ["drop", "Closed Hello"]);
}

fn hello_reply(core: &mut TestCore, now: Instant) {
    reply(core, now, Protocol::V2, r#"{"id": "system:c0:0", "result": {"clientID": "c8", "maxMsgSize": 1000}}"#);
}

fn reconnecting(policy: Reconnect) -> Options {
    Options { reconnect: Some(policy), ..Options::default() }
}

fn lost_error() -> Error {
    Error::new(Code::ConnectionLost, "cut")
}

const SEEDS: Seeds = Seeds { first_call: 100, first_key: 1, first_message: 1, delays: 1 };

#[test]
fn a_lost_connection_is_reopened_with_a_new_hello_and_calls_are_not_repeated() {
    let now = Instant::now();
    let mut core = TestCore::new(reconnecting(Reconnect::default()), SEEDS);
    core.connect(now).unwrap();
    core.opened(now);
    hello_reply(&mut core, now);
    core.topics().subscribe("t", "s");
    call(&mut core, now, "a", None);
    effects(&mut core);

    core.lost(now, lost_error());
    assert_eq!(effects(&mut core), ["a ConnectionLost", "Lost ConnectionLost", "judge ConnectionLost 1"]);
    core.judged(now, true);
    assert_eq!(effects(&mut core), ["Reconnecting ConnectionLost"]);
    assert_eq!(core.failure().unwrap().code(), Code::ConnectionLost);
    let (error, _) = core.call("m", &Args::new(), None, "b").unwrap_err();
    assert!(error.code() == Code::State && error.is_retriable(), "{error}");

    let due = core.deadline().unwrap();
    core.tick(due - Duration::from_millis(1));
    assert!(effects(&mut core).is_empty(), "too early");
    core.tick(due);
    assert_eq!(effects(&mut core), ["Connecting", "connect"]);
    core.opened(due);
    assert_eq!(effects(&mut core), ["send", "ping"]);
    hello_reply(&mut core, due);
    assert_eq!(effects(&mut core), ["Ready"]);
    assert!(core.failure().is_none());
    assert_eq!(core.topics().directory().get("t").unwrap()[..], ["s"]);
}

#[test]
fn reconnecting_ends_with_the_attempts_the_verdict_or_a_refused_secret() {
    let now = Instant::now();
    let policy = Reconnect { attempts: Some(1), at_first: true, ..Reconnect::default() };
    let mut core = TestCore::new(reconnecting(policy), SEEDS);
    let refused = || Error::new(Code::Connect, "refused");
    core.connect(now).unwrap();
    core.failed(refused());
    core.judged(now, true);
    assert_eq!(effects(&mut core), ["Connecting", "connect", "judge Connect 1", "Reconnecting Connect"]);
    core.tick(core.deadline().unwrap());
    core.failed(refused());
    core.judged(now, true);
    assert_eq!(effects(&mut core), ["Connecting", "connect", "judge Connect 2", "Closed Connect"]);

    core.connect(now).unwrap();
    core.failed(refused());
    core.judged(now, false);
    assert_eq!(effects(&mut core), ["Connecting", "connect", "judge Connect 1", "Closed Connect"]);

    core.connect(now).unwrap();
    core.opened(now);
    effects(&mut core);
    reply(
        &mut core,
        now,
        Protocol::V2,
        r#"{"id": "system:c0:0", "error": {"code": -32000, "message": "Authentication failed"}}"#,
    );
    assert_eq!(effects(&mut core), ["drop", "Closed Auth"]);
}

#[test]
fn without_at_first_only_a_session_that_was_ready_reconnects() {
    let now = Instant::now();
    let mut core = TestCore::new(reconnecting(Reconnect::default()), SEEDS);
    core.connect(now).unwrap();
    core.failed(Error::new(Code::Connect, "refused"));
    assert_eq!(effects(&mut core), ["Connecting", "connect", "Closed Connect"]);
}

#[test]
fn a_session_that_waits_to_reconnect_can_connect_at_once_and_be_closed() {
    let now = Instant::now();
    let mut core = TestCore::new(reconnecting(Reconnect { at_first: true, ..Reconnect::default() }), SEEDS);
    core.connect(now).unwrap();
    core.failed(lost_error());
    core.judged(now, true);
    effects(&mut core);
    core.connect(now).unwrap();
    assert_eq!(effects(&mut core), ["Connecting", "connect"]);
    core.failed(lost_error());
    core.judged(now, true);
    core.close(now, seconds(9));
    assert_eq!(effects(&mut core), ["judge ConnectionLost 2", "Reconnecting ConnectionLost", "Closed"]);
    assert_eq!(core.deadline(), None);
    // Closed before the answer of the application: the answer has no effect.
    core.connect(now).unwrap();
    core.failed(lost_error());
    core.close(now, seconds(9));
    core.judged(now, true);
    assert_eq!(effects(&mut core), ["Connecting", "connect", "judge ConnectionLost 1", "Closed"]);
}

/// The calls whose messages were withdrawn.
fn withdrawn(core: &mut TestCore) -> Vec<CallId> {
    let effects = std::iter::from_fn(|| core.take_effect());
    effects
        .filter_map(|effect| if let Effect::Withdraw(calls) = effect { Some(calls) } else { None })
        .flatten()
        .collect()
}

#[test]
fn the_message_of_a_call_that_ends_without_reply_is_withdrawn() {
    let now = Instant::now();
    let mut core = ready(now, None);
    let ids: Vec<_> = (0..6).map(|n| call(&mut core, now, "c", (n == 2).then(|| seconds(1)))).collect();
    reply(&mut core, now, Protocol::V2, &format!(r#"{{"id": "rpc:c7:{}", "result": null}}"#, ids[0]));
    assert!(withdrawn(&mut core).is_empty());
    assert!(core.cancel(ids[1]));
    assert_eq!(withdrawn(&mut core), [ids[1]]);
    core.tick(now + seconds(1));
    assert_eq!(withdrawn(&mut core), [ids[2]]);
    assert!(core.abandon(ids[3]).is_some() && core.abandon(ids[3]).is_none());
    assert_eq!(withdrawn(&mut core), [ids[3]]);
    core.close(now, seconds(1));
    assert_eq!(withdrawn(&mut core), ids[4..]);
}

#[test]
fn a_call_that_was_begun_can_end_before_its_message_is_encoded() {
    let now = Instant::now();
    type End = fn(&mut TestCore, Instant, CallId);
    let ends: [(&str, End); 5] = [
        ("c Cancelled", |core, _, id| assert!(core.cancel(id))),
        ("c Timeout", |core, now, _| core.tick(now + seconds(5))),
        ("c Closed", |core, now, _| core.close(now, seconds(1))),
        ("c ConnectionLost", |core, now, _| core.lost(now, lost_error())),
        ("c ConnectionLost", |core, now, _| {
            core.lost(now, lost_error());
            core.connect(now).unwrap();
            core.opened(now);
            hello_reply(core, now);
        }),
    ];
    for (outcome, end) in ends {
        for encoded in [true, false] {
            let mut core = ready(now, None);
            let begun =
                core.begin("m", &Args::new(), Deadline::after(now, Some(seconds(5))), "c").map_err(|(e, _)| e).unwrap();
            let id = begun.id();
            assert_eq!((core.calls_in_flight(), effects(&mut core).len()), (1, 0));
            end(&mut core, now, id);
            assert!(effects(&mut core).contains(&outcome.to_owned()));
            if encoded {
                let message = begun.message("m", &Args::new()).unwrap();
                assert!(core.send(id, message).is_some(), "the message is returned");
            } else {
                assert!(core.refuse(id).is_none(), "the call was completed, so it counts as accepted");
            }
            assert!(effects(&mut core).is_empty());
            assert_eq!((core.counts().calls, core.calls_in_flight()), (1, 0));
        }
    }
    let mut core = ready(now, None);
    let begun = core.begin("m", &Args::new(), None, "c").map_err(|(e, _)| e).unwrap();
    assert_eq!(core.refuse(begun.id()), Some("c"));
    assert!(effects(&mut core).is_empty());
    assert_eq!(core.counts().calls, 0, "never accepted");
}
