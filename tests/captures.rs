//! Replays recorded traffic of real servers through the layers below the I/O, without a socket. The library must understand what
//! the servers sent, and must send messages that mean the same as the recorded ones.

mod common;

use rmpv::Value as Pack;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;
use wslink::session::calls::ReplyId;
use wslink::session::core::{Core, Effect, Seeds};
use wslink::session::inbound::{Inbound, Received};
use wslink::session::options::Options;
use wslink::session::topics::Topics;
use wslink::wire::buffer::BufferPool;
use wslink::wire::chunks::HEADER_SIZE;
use wslink::wire::json::write::tagged;
use wslink::wire::limits::Limits;
use wslink::wire::outgoing::{self, Format, Outgoing};
use wslink::{Args, Code, Kind, Outcome, Protocol, State, result};

/// Recordings of compression, which this client never negotiates.
const COMPRESSED: [&str; 2] = ["deflate-offered", "deflate-offered-no-takeover"];

struct Capture {
    name: String,
    protocol: Protocol,
    frames: Vec<Json>,
}

impl Capture {
    fn load(path: &Path) -> Capture {
        let json: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Capture {
            name: json["name"].as_str().unwrap().to_owned(),
            protocol: if json["protocol"] == 1 { Protocol::V1 } else { Protocol::V2 },
            frames: json["frames"].as_array().unwrap().clone(),
        }
    }

    fn named(generation: &str, name: &str) -> Capture {
        Capture::load(&common::captures().join(generation).join(format!("{name}.json")))
    }

    /// All recordings of WebSocket traffic that this client can have.
    fn all() -> Vec<Capture> {
        let mut paths: Vec<_> = ["v1", "v2"]
            .iter()
            .flat_map(|dir| std::fs::read_dir(common::captures().join(dir)).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.ends_with("http-handshake-cases.json"))
            .collect();
        paths.sort();
        let all: Vec<_> = paths.iter().map(|path| Capture::load(path)).collect();
        assert_eq!(all.len(), 169, "recordings came or went");
        all.into_iter().filter(|c| !COMPRESSED.contains(&&*c.name)).collect()
    }

    /// The frames of each connection; some recordings have several.
    fn connections(&self) -> Vec<&[Json]> {
        let is_end = |f: &Json| f["op"].as_str().is_some_and(|op| op.starts_with("tcp-"));
        self.frames.split(is_end).filter(|frames| !frames.is_empty()).collect()
    }

    fn has_gaps(&self) -> bool {
        self.frames.iter().any(|f| f.get("head_hex").is_some())
    }
}

/// The payload of a data frame, if all of it was recorded.
fn payload(frame: &Json) -> Option<Vec<u8>> {
    match (frame["op"].as_str(), frame["text"].as_str(), frame["hex"].as_str()) {
        (Some("text" | "binary"), Some(text), _) => Some(text.as_bytes().to_vec()),
        (Some("text" | "binary"), _, Some(hex)) => Some(data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()),
        _ => None,
    }
}

fn is(frame: &Json, dir: &str) -> bool {
    frame["dir"] == dir
}

/// Decodes the messages of one direction with other libraries; returns `None` for content that they cannot decode.
#[derive(Default)]
struct Reader {
    partial: BTreeMap<u32, (Vec<u8>, usize)>,
    announced: Vec<String>,
    attachments: BTreeMap<String, Vec<u8>>,
}

enum Read {
    Message(Option<Json>, String),
    /// An attachment, its announcement, or a part of a message.
    Part,
    /// Not a wslink message: a malformed message of the client.
    Malformed,
}

impl Reader {
    fn read(&mut self, protocol: Protocol, frame: &Json, payload: &[u8]) -> Read {
        match (protocol, frame["op"] == "text") {
            (Protocol::V1, true) => self.text(std::str::from_utf8(payload).unwrap_or_default()),
            (Protocol::V1, false) => {
                if !self.announced.is_empty() {
                    self.attachments.insert(self.announced.remove(0), payload.to_vec());
                }
                Read::Part
            }
            (Protocol::V2, false) => self.chunk(payload),
            (Protocol::V2, true) => Read::Malformed,
        }
    }

    fn text(&mut self, text: &str) -> Read {
        match serde_json::from_str::<Json>(text) {
            Ok(message) if message["method"] == "wslink.binary.attachment" => {
                self.announced.extend(message["args"].as_array().unwrap().iter().map(|k| k.as_str().unwrap().into()));
                Read::Part
            }
            Ok(message) => match message["id"].as_str().map(str::to_owned) {
                Some(id) => Read::Message(Some(self.filled(message)), id),
                None => Read::Malformed,
            },
            Err(_) => match text.split_once("\"id\": \"").and_then(|(_, rest)| rest.split_once('"')) {
                Some((id, _)) => Read::Message(None, id.to_owned()),
                None => Read::Malformed,
            },
        }
    }

    fn filled(&self, value: Json) -> Json {
        match value {
            Json::String(s) => match self.attachments.get(&s) {
                Some(data) => json!({"$bytes": data_encoding::HEXLOWER.encode(data)}),
                None => Json::String(s),
            },
            Json::Array(a) => a.into_iter().map(|v| self.filled(v)).collect(),
            Json::Object(o) => o.into_iter().map(|(k, v)| (k, self.filled(v))).collect(),
            other => other,
        }
    }

    fn chunk(&mut self, payload: &[u8]) -> Read {
        let Some((header, data)) = payload.split_at_checked(HEADER_SIZE) else { return Read::Malformed };
        let word = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().unwrap());
        let (id, offset, total) = (word(0), word(4) as usize, word(8) as usize);
        if total == 0 || total > 1 << 26 || offset + data.len() > total {
            return Read::Malformed;
        }
        let (message, have) = self.partial.entry(id).or_insert_with(|| (vec![0; total], 0));
        if message.len() != total {
            return Read::Malformed;
        }
        message[offset..offset + data.len()].copy_from_slice(data);
        *have += data.len();
        if *have < total {
            return Read::Part;
        }
        let (bytes, _) = self.partial.remove(&id).unwrap();
        let mut rest = &bytes[..];
        match rmpv::decode::read_value_with_max_depth(&mut rest, 5000) {
            Ok(message) if rest.is_empty() && message["id"].as_str().is_some() => {
                let id = message["id"].as_str().unwrap().to_owned();
                Read::Message(Some(from_pack(&message)), id)
            }
            _ => Read::Malformed,
        }
    }
}

/// In the notation of [`tagged`].
fn from_pack(value: &Pack) -> Json {
    let hex = |data: &[u8]| data_encoding::HEXLOWER.encode(data);
    match value {
        Pack::Nil => Json::Null,
        Pack::Boolean(b) => json!(b),
        Pack::Integer(n) => n.as_u64().map_or_else(|| json!(n.as_i64()), |n| json!(n)),
        Pack::F32(f) => json!(f64::from(*f)),
        Pack::F64(f) if f.is_nan() => json!({"$float": "NaN"}),
        Pack::F64(f) if f.is_infinite() => json!({"$float": if *f > 0.0 { "Infinity" } else { "-Infinity" }}),
        Pack::F64(f) => json!(f),
        Pack::String(s) => json!(s.as_str().unwrap_or("(not UTF-8)")),
        Pack::Binary(data) => json!({"$bytes": hex(data)}),
        Pack::Ext(kind, data) => json!({"$ext": kind, "data": hex(data)}),
        Pack::Array(a) => a.iter().map(from_pack).collect(),
        Pack::Map(m) if m.iter().all(|(k, _)| k.is_str()) => {
            m.iter().map(|(k, v)| (k.as_str().unwrap_or("(not UTF-8)").to_owned(), from_pack(v))).collect()
        }
        Pack::Map(m) => json!({"$map": m.iter().map(|(k, v)| json!([from_pack(k), from_pack(v)])).collect::<Vec<_>>()}),
    }
}

fn topic(id: &str) -> Option<&str> {
    Some(id.strip_prefix("publish:")?.rsplit_once(':')?.0)
}

/// The topics of a recording's publications. Each has a subscriber that is named like its topic.
fn topics(capture: &Capture) -> Topics<String> {
    let mut names = BTreeSet::new();
    let mut reader = Reader::default();
    for frame in capture.frames.iter().filter(|f| is(f, "recv")) {
        if let Some(Read::Message(_, id)) = payload(frame).map(|p| reader.read(capture.protocol, frame, &p)) {
            names.extend(topic(&id).map(str::to_owned));
        }
    }
    let mut topics = Topics::default();
    for name in names {
        topics.subscribe(&name, name.clone());
    }
    topics
}

/// Passes a payload to the receiving half, at most `step` bytes at a time.
fn feed(inbound: &mut Inbound<String>, text: bool, payload: &[u8], step: usize) -> Received<String> {
    inbound.begin(text, payload.len() as u64).unwrap();
    for part in payload.chunks(step) {
        inbound.data(part).unwrap();
    }
    inbound.end().unwrap()
}

fn outcome_as_json(outcome: &Outcome) -> Option<Json> {
    let document = match outcome {
        Ok(document) => document,
        Err(e) => &e.remote().unwrap_or_else(|| panic!("not an error of the server: {e}")).document,
    };
    serde_json::from_str(&tagged(document.root())).ok()
}

#[test]
fn every_recorded_message_of_a_server_is_understood() {
    let mut not_compared = BTreeSet::new();
    let mut messages = 0;
    for capture in Capture::all() {
        for step in [usize::MAX, 1, 7] {
            for frames in capture.connections() {
                let mut inbound = Inbound::new(Limits::default(), BufferPool::new(1 << 20));
                inbound.set_protocol(Some(capture.protocol));
                inbound.set_topics(topics(&capture).directory());
                let mut reader = Reader::default();
                for frame in frames.iter().filter(|f| is(f, "recv")) {
                    let Some(payload) = payload(frame) else { continue };
                    let received = feed(&mut inbound, frame["op"] == "text", &payload, step);
                    let (expected, id) = match reader.read(capture.protocol, frame, &payload) {
                        Read::Message(message, id) => (message, id),
                        Read::Part => {
                            assert!(matches!(received, Received::Nothing), "{}: {received:?}", capture.name);
                            continue;
                        }
                        Read::Malformed => panic!("{}: a server sent {frame}", capture.name),
                    };
                    messages += 1;
                    let outcome = match received {
                        Received::Reply { protocol, id: got, outcome } => {
                            assert_eq!((protocol, got), (capture.protocol, ReplyId::from(id)));
                            outcome
                        }
                        Received::Publication { to, outcome } if topic(&id) == Some(&*to[0]) => outcome,
                        other => panic!("{}: {id} came as {other:?}", capture.name),
                    };
                    match (outcome_as_json(&outcome), expected) {
                        (Some(got), Some(expected)) => assert_eq!(got, expected, "{}", capture.name),
                        _ => drop(not_compared.insert(capture.name.clone())),
                    }
                }
            }
        }
    }
    assert!(messages > 3 * 430, "{messages}");
    // NaN, integers beyond 64 bits, nesting: tests of these values are below.
    let by_value = [
        "client-malformed-big-int",
        "publish-client-a",
        "publish-client-b",
        "upload-msgpack-types",
        "values-nesting",
        "values-special-floats",
    ];
    assert_eq!(not_compared.into_iter().collect::<Vec<_>>(), by_value);
}

/// The frames of a message as (text, payload).
fn frames_of(mut outgoing: Outgoing) -> Vec<(bool, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(start) = outgoing.next_frame() {
        let mut payload = start.prefix.map_or_else(Vec::new, |prefix| prefix.to_vec());
        while !outgoing.data().is_empty() {
            payload.extend_from_slice(outgoing.data());
            outgoing.advance(outgoing.data().len());
        }
        frames.push((start.text, payload));
    }
    frames
}

/// Adds a value in the notation of [`tagged`] with the methods of the builder.
fn add(to: &mut wslink::wire::builder::Builder, value: &Json) {
    let hex = |v: &Json| data_encoding::HEXLOWER.decode(v.as_str().unwrap().as_bytes()).unwrap();
    match value {
        Json::Null => to.null().unwrap(),
        Json::Bool(b) => to.bool(*b).unwrap(),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => to.int(n).unwrap(),
            (_, Some(n)) => to.uint(n).unwrap(),
            _ => to.float(n.as_f64().unwrap()).unwrap(),
        },
        Json::String(s) => to.str(s).unwrap(),
        Json::Array(a) => {
            to.begin_array().unwrap();
            a.iter().for_each(|v| add(to, v));
            to.end().unwrap();
        }
        Json::Object(o) if o.contains_key("$bytes") => to.bytes(hex(&o["$bytes"]).into()).unwrap(),
        Json::Object(o) if o.contains_key("$ext") => {
            to.ext(o["$ext"].as_i64().unwrap() as i8, &hex(&o["data"])).unwrap();
        }
        Json::Object(o) => {
            to.begin_map().unwrap();
            for (k, v) in o {
                to.key(k).unwrap();
                add(to, v);
            }
            to.end().unwrap();
        }
    }
}

/// The arguments of a recorded call, if a client may send it.
fn args_of(message: &Json) -> Option<Args> {
    let mut args = Args::new();
    message["args"].as_array()?.iter().for_each(|v| add(args.target(), v));
    for (name, value) in message["kwargs"].as_object().into_iter().flatten() {
        args.keyword(name).unwrap();
        add(args.target(), value);
    }
    Some(args)
}

fn format(protocol: Protocol, chunk_size: Option<u32>) -> Format {
    Format { protocol, chunk_size, upload_limit: u64::MAX, next_message: 77, next_key: 5000 }
}

/// A call with map keys that are not strings, or with text that is not UTF-8: servers refuse these.
fn is_sendable(message: &Json) -> bool {
    !message.to_string().contains("$map") && !message.to_string().contains("(not UTF-8)")
}

#[test]
fn every_recorded_call_is_made_the_same_by_our_encoder() {
    let mut calls = 0;
    for capture in Capture::all() {
        let mut reader = Reader::default();
        for frame in capture.frames.iter().filter(|f| is(f, "send")) {
            let Some(payload) = payload(frame) else { continue };
            let Read::Message(Some(mut recorded), id) = reader.read(capture.protocol, frame, &payload) else {
                continue;
            };
            let (Some(method), true) = (recorded["method"].as_str().map(str::to_owned), is_sendable(&recorded)) else {
                continue;
            };
            let Some(args) = args_of(&recorded) else { continue };
            // Members that this library always sends and some recordings omit.
            recorded["wslink"] = json!("1.0");
            if !recorded["kwargs"].is_object() {
                recorded["kwargs"] = json!({});
            }
            for chunk_size in [None, Some(4)] {
                let outgoing = outgoing::call(&mut format(capture.protocol, chunk_size), &id, &method, &args).unwrap();
                let mut ours = Reader::default();
                let mut made = Vec::new();
                for (text, payload) in frames_of(outgoing) {
                    let frame = json!({"op": if text { "text" } else { "binary" }});
                    match ours.read(capture.protocol, &frame, &payload) {
                        Read::Message(message, _) => made.push(message.unwrap()),
                        Read::Part => {}
                        Read::Malformed => panic!("{}: we send nonsense for {recorded}", capture.name),
                    }
                }
                assert_eq!(made, [recorded.clone()], "{}", capture.name);
            }
            calls += 1;
        }
    }
    assert!(calls > 420, "{calls}");
}

/// The calls that have completed since the last time.
fn completions(core: &mut Core<Json, String>) -> impl Iterator<Item = (Json, Outcome)> {
    std::iter::from_fn(|| core.take_effect()).filter_map(|effect| match effect {
        Effect::Complete(call, outcome) => Some((call, outcome)),
        _ => None,
    })
}

/// Plays a recorded connection through the state machine: makes the recorded calls, and returns their outcomes by method and first
/// argument.
fn replay(capture: &Capture, frames: &[Json]) -> Vec<(Json, Outcome)> {
    let options = Options { protocol: Some(capture.protocol), ..Options::default() };
    // The recording client counts from 0, so the ids are equal to the recorded ones.
    let seeds = Seeds { first_call: 0, first_key: 0, first_message: 0, delays: 0 };
    let mut core: Core<Json, String> = Core::new(options, seeds);
    *core.topics() = topics(capture);
    let mut inbound = Inbound::new(Limits::default(), BufferPool::new(0));
    inbound.set_protocol(Some(capture.protocol));
    inbound.set_topics(core.topics().directory());
    let now = Instant::now();
    core.connect(now).unwrap();
    core.opened(now);
    if capture.protocol == Protocol::V1 {
        // The reply to the library's probe, which the recording client did not send.
        let text = r#"{"wslink": "1.0", "id": "system:c0:0", "error": {"code": -32601, "message": "Unknown system method called"}}"#;
        if let Received::Reply { protocol, id, outcome } = feed(&mut inbound, true, text.as_bytes(), usize::MAX) {
            core.reply(now, protocol, &id, outcome);
        }
    }
    let (mut reader, mut outcomes, mut begun) = (Reader::default(), Vec::new(), 0);
    for frame in frames {
        let Some(payload) = payload(frame) else { continue };
        if is(frame, "recv") {
            let text = frame["op"] == "text";
            if let Received::Reply { protocol, id, outcome } = feed(&mut inbound, text, &payload, usize::MAX) {
                core.reply(now, protocol, &id, outcome);
            }
        } else if let Read::Message(Some(message), id) = reader.read(capture.protocol, frame, &payload)
            && core.state() == State::Ready
            && let Some(method) = message["method"].as_str()
            && id == format!("rpc:{}:{begun}", core.peer().client_id)
            && is_sendable(&message)
            && let Some(args) = args_of(&message)
        {
            core.call(method, &args, None, json!([method, message["args"]])).map_err(|(e, _)| e).unwrap();
            begun += 1;
        }
        outcomes.extend(completions(&mut core));
    }
    let answered = outcomes.len();
    core.lost(now, wslink::Error::new(Code::ConnectionLost, "the recording is over"));
    outcomes.extend(completions(&mut core));
    assert_eq!(outcomes.len(), begun as usize, "{}: each call is completed once", capture.name);
    assert!(outcomes[answered..].iter().all(|(_, o)| o.as_ref().unwrap_err().code() == Code::ConnectionLost));
    outcomes
}

fn lost(error: &wslink::Error) -> bool {
    error.code() == Code::ConnectionLost
}

#[test]
fn every_recorded_call_gets_its_recorded_reply_through_the_state_machine() {
    let mut completed = 0;
    for capture in Capture::all() {
        for frames in capture.connections() {
            let outcomes = replay(&capture, frames);
            let answered = outcomes.iter().filter(|(_, o)| !o.as_ref().is_err_and(lost)).count();
            completed += answered;
            // A call stays open only if the server dies or if the recording lacks a frame.
            let open = outcomes.len() - answered;
            assert!(open <= 1 || capture.has_gaps(), "{}: {open} calls without reply", capture.name);
        }
    }
    assert!(completed > 220, "{completed}");
}

/// The outcome of `cap.value(name)` in a recording.
fn value(generation: &str, capture: &str, name: &str) -> Outcome {
    let capture = Capture::named(generation, capture);
    let outcomes = capture.connections().into_iter().flat_map(|frames| replay(&capture, frames));
    let wanted = json!(["cap.value", [name]]);
    let mut found: Vec<_> = outcomes.filter(|(call, _)| *call == wanted).map(|(_, o)| o).collect();
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

fn tagged_value(generation: &str, capture: &str, name: &str) -> Json {
    let document = value(generation, capture, name).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&tagged(result(&document))).unwrap()
}

fn bytes(data: &[u8]) -> Json {
    json!({"$bytes": data_encoding::HEXLOWER.encode(data)})
}

#[test]
fn recorded_values_are_what_the_server_returned_in_both_generations() {
    let f = |s| json!({"$float": s});
    let table: Vec<(&str, &str, Json)> = vec![
        ("attach-places", "att_empty", bytes(b"")),
        ("attach-places", "att_in_map", json!({"blob": bytes(b"abc")})),
        ("attach-places", "att_in_list", json!([bytes(b"one"), "text", bytes(b"two")])),
        ("attach-places", "att_nested", json!({"a": {"b": [{"c": bytes(b"deep")}, 1]}, "z": bytes(b"zz")})),
        (
            "attach-places",
            "att_same_twice",
            json!({"x": bytes(b"shared-in-one"), "y": [bytes(b"shared-in-one"), bytes(b"shared-in-one")]}),
        ),
        ("attach-places", "att_fake_key", json!("wslink_bin999999")),
        ("attach-places", "att_unused", json!("no reference")),
        ("attach-types", "att_bytes", bytes(b"\x00\x01\xfe\xff")),
        ("attach-types", "att_memoryview", bytes(b"\x00\x01\xfe\xff")),
        (
            "values-floats",
            "floats",
            json!([0.1, 1.0, -0.0, 1e300, 5e-324, 1.7976931348623157e308, 1e16, 123456789.125, 1e-7, 3.0e10]),
        ),
        (
            "values-ints",
            "ints_64",
            serde_json::from_str(
                "[2147483647, -2147483648, 4294967296, 9007199254740992, 9007199254740993, -9007199254740993, \
                 9223372036854775807, -9223372036854775808, 9223372036854775808, 18446744073709551615]",
            )
            .unwrap(),
        ),
        ("values-special-floats", "special_floats", json!([f("NaN"), f("Infinity"), f("-Infinity")])),
        ("values-special-floats", "special_in_map", json!({"nan": f("NaN"), "s": "NaN inside a string, -Infinity"})),
        ("values-special-floats", "bare_nan", f("NaN")),
        ("values-unicode", "unicode", json!("é ß 漢字 \u{1F600} \u{10FFFF} \u{2028}\u{2029} \u{feff}")),
        ("values-unicode", "nul", json!("a\u{0}b\u{1}\u{1f}\u{7f}\"\\/")),
        ("values-python-types", "tuple", json!([1, 2, [3]])),
        ("values-bytes", "numpy_float64", json!(1.5)),
        ("values-nesting", "map_20", (0..20).map(|i| (format!("k{i}"), json!(i))).collect()),
        ("call-basic", "false", json!(false)),
        ("call-basic", "zero", json!(0)),
        ("call-basic", "empty_str", json!("")),
        ("call-basic", "empty_map", json!({})),
    ];
    for (capture, name, expected) in table {
        for generation in ["v1", "v2"] {
            assert_eq!(tagged_value(generation, capture, name), expected, "{generation} {capture} {name}");
        }
    }
}

#[test]
fn recorded_values_that_differ_between_the_generations() {
    let v1 = |capture, name| tagged_value("v1", capture, name);
    let v2 = |capture, name| tagged_value("v2", capture, name);
    assert_eq!(v1("attach-places", "att_key_as_map_key"), json!({"wslink_bin7": 1}), "not a value: stays");
    assert_eq!(v1("attach-places", "att_key_in_text"), json!("see wslink_bin8 here"));
    assert_eq!(v1("values-map-keys", "int_keys"), json!({"1": "one", "-2": "two", "300": "x"}));
    assert_eq!(v2("values-map-keys", "int_keys"), json!({"$map": [[1, "one"], [-2, "two"], [300, "x"]]}));
    assert_eq!(v1("values-map-keys", "none_key"), json!({"null": 1, "true": 2}));
    assert_eq!(v2("values-map-keys", "none_key"), json!({"$map": [[null, 1], [true, 2]]}));
    assert_eq!(v2("values-map-keys", "float_key"), json!({"$map": [[1.5, "x"]]}));
    assert_eq!(v2("values-map-keys", "bytes_key"), json!({"$map": [[bytes(b"k"), 1]]}));
    assert_eq!(v2("values-map-keys", "tuple_key"), json!({"$map": [[[1, 2], 3]]}));
    assert_eq!(v2("values-bytes", "bytes_raw"), bytes(b"\x00\x01\xfe\xff"));
    assert_eq!(v2("values-python-types", "msgpack_ext"), json!({"$ext": 42, "data": "010203"}));
    let document = value("v2", "values-python-types", "msgpack_timestamp").unwrap();
    assert_eq!(result(&document).as_ext().map(|(kind, data)| (kind, data.len())), Some((-1, 8)));
    for (name, digits) in [
        ("int_2_64", "18446744073709551616"),
        ("int_neg_2_63_1", "-9223372036854775809"),
        ("int_huge", "1000000000000000000000000000000"),
    ] {
        let document = value("v1", "values-ints", name).unwrap();
        assert_eq!((result(&document).kind(), result(&document).as_big_int()), (Kind::BigInt, Some(digits)));
        assert_eq!(value("v2", "values-ints", name).unwrap_err().remote().unwrap().code, -32002);
    }
}

#[test]
fn floats_and_integers_stay_what_they_are() {
    for generation in ["v1", "v2"] {
        let document = value(generation, "values-floats", "floats").unwrap();
        assert!(result(&document).elements().all(|v| v.kind() == Kind::Float), "1.0 is no integer");
        assert!(result(&document).index(2).unwrap().as_f64().unwrap().is_sign_negative(), "-0.0");
        let document = value(generation, "values-ints", "ints_64").unwrap();
        let kinds: Vec<_> = result(&document).elements().map(|v| v.kind()).collect();
        assert!(kinds[..8].iter().all(|k| *k == Kind::Int) && kinds[8..] == [Kind::Uint; 2]);
    }
}

#[test]
fn deep_recorded_values_are_read_to_their_end() {
    for generation in ["v1", "v2"] {
        for (name, depth) in [("deep_list", 400), ("deep_list_600", 600)] {
            let document = value(generation, "values-nesting", name).unwrap();
            let mut v = result(&document);
            for _ in 0..depth {
                assert_eq!((v.kind(), v.len()), (Kind::Array, 1));
                v = v.index(0).unwrap();
            }
            assert_eq!(v.as_i64(), Some(1));
        }
    }
}

#[test]
fn recorded_errors_keep_code_message_and_data() {
    for generation in ["v1", "v2"] {
        let capture = Capture::named(generation, "call-errors");
        let outcomes = replay(&capture, capture.connections()[0]);
        let errors: Vec<_> = outcomes.iter().map(|(_, o)| o.as_ref().unwrap_err()).collect();
        assert!(errors.iter().all(|e| e.code() == Code::Remote));
        let codes: Vec<_> = errors.iter().map(|e| e.remote().unwrap().code).collect();
        assert_eq!(codes, [-32601, -32001, -32001, -32001, -32001, -32001, -32001, -32001]);
        assert_eq!(errors[0].message(), "Unregistered method called: cap.unknown.method (-32601)");
        assert_eq!(errors[0].remote().unwrap().data().unwrap().as_str(), Some("cap.unknown.method"));
        let data = errors[1].remote().unwrap().data().unwrap();
        assert_eq!(data.get("exception").unwrap().as_str(), Some("ValueError('bad value: é \"quoted\"')"));
        assert!(data.get("trace").unwrap().as_str().unwrap().starts_with("Traceback"));
        assert!(!errors[1].message().contains("Traceback"), "the trace is shown on request only");
        for (capture, name) in [("values-python-types", "set"), ("values-python-types", "object")] {
            let e = value(generation, capture, name).unwrap_err();
            assert_eq!(
                (e.remote().unwrap().code, e.remote().unwrap().data().unwrap().as_str()),
                (-32002, Some("cap.value"))
            );
        }
    }
}

/// The publications of a recording in order: topic, and value or error code.
fn publications(generation: &str, name: &str) -> Vec<(String, Result<String, i64>)> {
    let capture = Capture::named(generation, name);
    let mut inbound = Inbound::new(Limits::default(), BufferPool::new(0));
    inbound.set_protocol(Some(capture.protocol));
    inbound.set_topics(topics(&capture).directory());
    let mut got = Vec::new();
    for frame in capture.frames.iter().filter(|f| is(f, "recv")) {
        let Some(payload) = payload(frame) else { continue };
        if let Received::Publication { to, outcome } = feed(&mut inbound, frame["op"] == "text", &payload, usize::MAX) {
            let value = outcome.map(|d| tagged(result(&d))).map_err(|e| e.remote().unwrap().code);
            got.push((to[0].clone(), value));
        }
    }
    got
}

#[test]
fn recorded_publications_come_in_order_with_topic_and_value() {
    for generation in ["v1", "v2"] {
        let keys = if generation == "v1" { r#"{"null": 1, "true": 2}"# } else { r#"{"$map": [[null, 1], [true, 2]]}"# };
        let expected: Vec<(&str, Result<&str, i64>)> = vec![
            ("cap.topic", Ok(r#"{"blob": {"$bytes": "616263"}}"#)),
            ("cap.topic", Ok(r#"[{"$float": "NaN"}, {"$float": "Infinity"}, {"$float": "-Infinity"}]"#)),
            ("Odd Topic:with:colons é", Ok("true")),
            ("", Ok("true")),
            ("cap.topic", Ok(keys)),
            ("cap.n", Ok("0")),
            ("cap.n", Ok("1")),
            ("cap.n", Ok("2")),
            ("cap.topic", Err(-32002)),
        ];
        let got = publications(generation, "publish-client-a");
        let got: Vec<_> = got.iter().map(|(t, v)| (&**t, v.as_ref().map(|v| &**v).map_err(|e| *e))).collect();
        assert_eq!(got, expected, "{generation}");
        // The second client also receives the publications that skip the caller.
        let second = publications(generation, "publish-client-b");
        assert!(second.len() > 9 && second.iter().any(|(topic, v)| topic.is_empty() && v.is_ok()), "{second:?}");
    }
}

#[test]
fn one_attachment_serves_a_reply_a_later_reply_and_a_publication() {
    for generation in ["v1", "v2"] {
        let capture = Capture::named(generation, "attach-shared-between-messages");
        let outcomes = replay(&capture, capture.connections()[0]);
        let data = bytes(b"shared-across-messages").to_string().replace(':', ": ");
        let of = |i: usize| tagged(result(outcomes[i].1.as_ref().unwrap()));
        assert!(of(0).contains(&data), "{}", of(0));
        let all: String = (1..outcomes.len())
            .map(of)
            .chain(publications(generation, &capture.name).into_iter().map(|(_, v)| v.unwrap()))
            .collect();
        assert!(all.contains(&data) && !all.contains("wslink_bin"), "{all}");
    }
    // The server first sends a key that is a prefix of the needed key; the value needs the longer one.
    assert_eq!(tagged_value("v1", "attach-key-prefix", "att_1_and_10"), bytes(&[10]));
}

#[test]
fn recorded_chunks_of_any_size_give_the_whole_message() {
    let capture = Capture::named("v2", "chunks-1024");
    let outcomes = replay(&capture, capture.connections()[0]);
    let echoed = result(outcomes[0].1.as_ref().unwrap()).get("args").unwrap().index(0).unwrap().len();
    assert_eq!(echoed, 3000);
    // Chunks of 4 bytes, also for the hello.
    let capture = Capture::named("v2", "chunks-16");
    let mut inbound: Inbound<String> = Inbound::new(Limits::default(), BufferPool::new(0));
    inbound.set_protocol(Some(Protocol::V2));
    let hello = capture
        .frames
        .iter()
        .filter(|f| is(f, "recv"))
        .filter_map(payload)
        .map(|p| feed(&mut inbound, false, &p, 3))
        .find(|received| !matches!(received, Received::Nothing));
    let Some(Received::Reply { outcome: Ok(hello), .. }) = hello else { panic!("no reply to the hello") };
    assert_eq!(result(&hello).get("maxMsgSize").unwrap().as_i64(), Some(16));
}
