//! Values against the real servers: every kind, bit for bit, both ways.

mod common;

use common::{PATIENCE, Server, VERSIONS, connected, pattern};
use std::sync::{Arc, Mutex};
use wslink::Progress;
use wslink::wire::json::write::tagged;
use wslink::{Args, Code, Config, Kind, Policy, Protocol, Session, SharedDocument, result};

fn call(session: &Session, method: &str, args: Args) -> SharedDocument {
    session.call_wait(method, args, Some(PATIENCE)).unwrap_or_else(|e| panic!("{method}: {e}"))
}

fn value(session: &Session, name: &str) -> SharedDocument {
    call(session, "test.value", Args::new().with(name).unwrap())
}

fn each(test: impl Fn(Protocol, &Session)) {
    for version in VERSIONS {
        let server = Server::start(version, &[]);
        let session = server.session();
        test(session.peer().protocol.unwrap(), &session);
        session.close_wait(PATIENCE).unwrap();
    }
}

#[test]
fn numbers_arrive_with_their_kind_and_every_bit() {
    let floats = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1.0, 0.1, 1e16, 1e-7, 5e-324, f64::MAX];
    let ints: [i128; 15] = [
        0,
        -1,
        127,
        128,
        -32,
        -33,
        255,
        256,
        1 << 31,
        -(1 << 31),
        1 << 32,
        (1 << 53) + 1,
        i64::MAX as i128,
        i64::MIN as i128,
        u64::MAX as i128,
    ];
    each(|protocol, session| {
        let document = value(session, "floats");
        let got: Vec<_> = result(&document).elements().collect();
        assert_eq!(got.len(), floats.len());
        for (got, want) in got.iter().zip(floats) {
            assert_eq!(got.kind(), Kind::Float, "{want}");
            let bits = got.as_f64().unwrap().to_bits();
            assert!(bits == want.to_bits() || (want.is_nan() && f64::from_bits(bits).is_nan()), "{want}");
        }
        let document = value(session, "ints");
        for (got, want) in result(&document).elements().zip(ints) {
            let as_read = got.as_i64().map(i128::from).or(got.as_u64().map(i128::from));
            assert_eq!(as_read, Some(want));
            assert_eq!(got.kind(), if want > i64::MAX as i128 { Kind::Uint } else { Kind::Int });
        }
        let big = session.call_wait("test.value", Args::new().with("10**30").unwrap(), Some(PATIENCE));
        match protocol {
            Protocol::V1 => {
                assert_eq!(result(&big.unwrap()).as_big_int(), Some("1000000000000000000000000000000"));
            }
            Protocol::V2 => assert_eq!(big.unwrap_err().remote().unwrap().code, -32002),
        }
    });
}

#[test]
fn strings_arrive_as_they_are() {
    let control: String = (0..32u8).map(char::from).collect();
    let long = "é".repeat(100_000);
    let wanted = [
        ("empty", ""),
        ("latin", "Größe"),
        ("astral", "😀𝔘"),
        ("control", &control),
        ("del", "\u{7f}"),
        ("separators", "\u{2028}\u{2029}\u{feff}"),
        ("quotes", "\"'`"),
        ("backslashes", "\\ \\n \\u0041 \\\\"),
        ("nan", "NaN inside a string, Infinity too"),
        ("key", "wslink_bin999999999"),
        ("str32", &long),
    ];
    each(|_, session| {
        let document = value(session, "str.all");
        for (name, text) in wanted {
            assert_eq!(result(&document).get(name).unwrap().as_str(), Some(text), "{name}");
        }
    });
}

#[test]
fn containers_of_every_size_and_depth() {
    each(|_, session| {
        let document = value(session, "list.floats");
        let mut floats = vec![0.0f64; 100_000];
        assert_eq!(result(&document).copy_numbers(&mut floats), Some(100_000));
        assert!(floats.iter().enumerate().all(|(i, v)| v.to_bits() == (i as f64 * 0.1).to_bits()));
        let document = value(session, "list.ints");
        let mut ints = vec![0i64; 100_000];
        assert_eq!(result(&document).copy_numbers(&mut ints), Some(100_000));
        assert!((0i64..).zip(&ints).all(|(i, v)| *v == (i * 2_654_435_761) % (1 << 32) - (1 << 31)));
        let document = value(session, "list.records");
        for (i, record) in result(&document).elements().enumerate() {
            assert_eq!(record.get("id").unwrap().as_u64(), Some(i as u64));
            assert_eq!(record.get("name").unwrap().as_str(), Some(format!("record {i}").as_str()));
            assert_eq!(record.get("y").unwrap().as_f64(), Some(-(i as f64) / 3.0));
            assert_eq!(record.get("even").unwrap().as_bool(), Some(i % 2 == 0));
            assert!(record.get("none").unwrap().is_null());
        }
        for (name, key) in [("list.deep", None), ("map.deep", Some("k"))] {
            let document = value(session, name);
            let mut at = result(&document);
            let mut depth = 0;
            while at.kind() != Kind::String {
                at = key.map_or_else(|| at.index(0), |key| at.get(key)).unwrap();
                depth += 1;
            }
            assert_eq!((depth, at.as_str()), (900, Some("core")));
        }
        for name in ["list.empty", "map.empty"] {
            assert!(result(&value(session, name)).is_empty());
        }
    });
}

#[test]
fn map_keys_of_any_kind_and_extensions() {
    each(|protocol, session| {
        let text = tagged(result(&value(session, "keys")));
        if protocol == Protocol::V1 {
            assert_eq!(
                text,
                r#"{"7": "int", "-7": "negative", "null": "nil", "true": "true", "false": "false", "1.5": "float", "k": "str"}"#
            );
            return;
        }
        assert_eq!(
            text,
            r#"{"$map": [[7, "int"], [-7, "negative"], [null, "nil"], [true, "true"], [false, "false"], [1.5, "float"], ["k", "str"], [{"$bytes": "6b"}, "bytes"], [[1, [2]], "tuple"]]}"#
        );
        let document = value(session, "ext");
        let kinds: Vec<_> = result(&document).elements().map(|v| v.as_ext().unwrap()).collect();
        assert_eq!(kinds, [(0, &[][..]), (5, &[1, 2, 3][..]), (127, &pattern(300, 0)[..])]);
        let document = value(session, "timestamps");
        let sizes: Vec<_> = result(&document).elements().map(|v| (v.as_ext().unwrap().0, v.len())).collect();
        assert_eq!(sizes, [(-1, 4), (-1, 8), (-1, 8), (-1, 12), (-1, 12)]);
    });
}

#[test]
fn sent_values_come_back_unchanged() {
    let text = r#"[null, true, -1, 18446744073709551615, 0.1, -0.0, NaN, -Infinity, "é😀\u0000\"", [], {}, {"a": [{"b": [1.5, 2, "x"]}]}]"#;
    each(|_, session| {
        let mut args = Args::from_json(text).unwrap();
        args.positional.floats([1.0, 2.5, f64::MAX, 5e-324, 0.0, -0.0, 7.0, 8.0, 9.0].into_iter()).unwrap();
        args.positional.ints([i64::MIN, -1, 0, i64::MAX].into_iter()).unwrap();
        args.keyword("name").unwrap();
        args.target().str("Größe").unwrap();
        let document = call(session, "test.echo", args);
        let back = result(&document);
        let sent = Args::from_json(text).unwrap().positional.finish().unwrap();
        for (i, want) in sent.root().elements().enumerate() {
            assert_eq!(back.get("args").unwrap().index(i).unwrap(), want, "{i}");
        }
        let at = |i| back.get("args").unwrap().index(i).unwrap();
        assert_eq!(tagged(at(12)), "[1.0, 2.5, 1.7976931348623157e+308, 5e-324, 0.0, -0.0, 7.0, 8.0, 9.0]");
        assert_eq!(tagged(at(13)), "[-9223372036854775808, -1, 0, 9223372036854775807]");
        assert_eq!(back.get("kwargs").unwrap().get("name").unwrap().as_str(), Some("Größe"));
        // A received value is sent on unchanged.
        let again = call(session, "test.echo", Args::new().with(at(11)).unwrap());
        assert_eq!(result(&again).get("args").unwrap().index(0).unwrap(), at(11));
    });
}

#[test]
fn integers_beyond_64_bit_go_to_generation_1_only() {
    each(|protocol, session| {
        let args = Args::from_json("[1000000000000000000000000000000]").unwrap();
        let outcome = session.call_wait("test.echo", args, Some(PATIENCE));
        match protocol {
            Protocol::V1 => {
                let document = outcome.unwrap();
                let back = result(&document).get("args").unwrap().index(0).unwrap();
                assert_eq!(back.as_big_int(), Some("1000000000000000000000000000000"));
            }
            Protocol::V2 => assert_eq!(outcome.unwrap_err().code(), Code::Unsupported),
        }
    });
}

#[test]
fn binary_data_goes_up_whole_and_comes_back() {
    each(|protocol, session| {
        // Larger than a chunk of generation 2, and the largest size that a generation 1 server accepts.
        let large = if protocol == Protocol::V1 { 4_194_303 } else { 30_000_000 };
        for size in [0, 1, 4096, 100_000, large] {
            let document = call(session, "test.sum", Args::new().with(pattern(size, 5)).unwrap());
            let sum = result(&document);
            assert_eq!(sum.get("len").unwrap().as_u64(), Some(size as u64));
            use sha2::Digest;
            let want = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(pattern(size, 5)));
            assert_eq!(sum.get("sha256").unwrap().as_str(), Some(want.as_str()), "{size}");
        }
        // The JSON text refers to the same attachment several times.
        let mut args = Args::new();
        let key = args.attach(pattern(5000, 1));
        args.add_json(&format!(r#"["{key}", {{"deep": ["{key}"]}}]"#)).unwrap();
        let document = call(session, "test.echo", args);
        let back = result(&document).get("args").unwrap();
        let places = [back.index(0).unwrap(), back.index(1).unwrap().get("deep").unwrap().index(0).unwrap()];
        assert!(places.iter().all(|p| p.as_bytes() == Some(&pattern(5000, 1)[..])));
    });
}

#[test]
fn attachments_that_are_shared_repeated_or_kept() {
    each(|_, session| {
        let document = call(session, "test.bytes.twice", Args::from_json("[1000, 2]").unwrap());
        let want = pattern(1000, 2);
        assert_eq!(result(&document).get("a").unwrap().as_bytes(), Some(&want[..]));
        assert_eq!(result(&document).get("b").unwrap().index(0).unwrap().as_bytes(), Some(&want[..]));

        let published = Arc::new(Mutex::new(Vec::new()));
        let seen = published.clone();
        session.subscribe("shared", Policy::default(), move |p| {
            let message = p.outcome.as_ref().unwrap();
            seen.lock().unwrap().push(result(message).get("data").unwrap().as_bytes().map(<[u8]>::to_vec));
        });
        let document = call(session, "test.bytes.shared", Args::from_json(r#"["shared", 1000, 2]"#).unwrap());
        assert_eq!(result(&document).get("data").unwrap().as_bytes(), Some(&want[..]));
        while published.lock().unwrap().is_empty() {
            session.dispatch(10, Some(PATIENCE)).unwrap();
        }
        assert_eq!(*published.lock().unwrap(), [Some(want.clone())]);

        for method in ["test.bytes.keep", "test.bytes.kept", "test.bytes.kept"] {
            let args = if method == "test.bytes.keep" { "[1000, 2]" } else { "[]" };
            let document = call(session, method, Args::from_json(args).unwrap());
            assert_eq!(result(&document).as_bytes(), Some(&want[..]), "{method}");
        }
    });
}

#[test]
fn a_buffer_outlives_its_message_and_its_session() {
    for version in VERSIONS {
        let server = Server::start(version, &[]);
        let session = server.session();
        let document = call(&session, "test.bytes", Args::from_json("[3000000, 7]").unwrap());
        let place = result(&document).as_bytes().unwrap().as_ptr();
        let buffer = result(&document).shared_bytes(&document).unwrap();
        drop(document);
        drop(session);
        assert_eq!(buffer.as_ptr(), place, "not copied");
        assert!(buffer[..] == pattern(3_000_000, 7)[..]);
    }
}

#[test]
fn progress_of_large_messages_both_ways() {
    for version in VERSIONS {
        let server = Server::start(version, &[]);
        let mut config = Config::new(&server.url()).unwrap();
        let reports = Arc::new(Mutex::new(Vec::<Progress>::new()));
        let seen = reports.clone();
        config.on_progress(move |p| seen.lock().unwrap().push(*p));
        config.delivery = wslink::Delivery::IoThread;
        let session = connected(config);
        call(&session, "test.bytes", Args::from_json("[20000000]").unwrap());
        call(&session, "test.sum", Args::new().with(vec![7; 4_000_000]).unwrap());
        // Reports of the upload precede its reply on the same thread; those of the small call follow it.
        session.close_wait(PATIENCE).unwrap();
        drop(session);
        for (incoming, size) in [(true, 20_000_000), (false, 4_000_000)] {
            let all = reports.lock().unwrap();
            let of: Vec<_> = all.iter().filter(|p| p.incoming == incoming).collect();
            let last = of.last().unwrap_or_else(|| panic!("{version}: no reports, incoming {incoming}"));
            assert!(last.total >= size && last.total < size + 1000, "{last:?}");
            assert_eq!(last.bytes, last.total, "{version}");
            assert!(of.windows(2).all(|w| w[0].transfer == w[1].transfer && w[0].bytes <= w[1].bytes));
            assert_eq!(last.call.is_some(), !incoming);
        }
    }
}

#[test]
fn remote_errors_carry_what_the_server_said() {
    each(|_, session| {
        let fail = |method: &str, args: &str| {
            session.call_wait(method, Args::from_json(args).unwrap(), Some(PATIENCE)).unwrap_err()
        };
        let e = fail("test.raise", r#"["ValueError"]"#);
        let remote = e.remote().unwrap();
        assert_eq!((e.code(), remote.code), (Code::Remote, -32001));
        let data = remote.data().unwrap();
        assert_eq!(data.get("method").unwrap().as_str(), Some("test.raise"));
        assert!(data.get("trace").unwrap().as_str().unwrap().contains("Traceback"));
        assert!(!e.message().contains("Traceback"), "paths of the server only on request");
        assert_eq!(fail("test.unserializable", "[]").remote().unwrap().code, -32002);
        assert_eq!(fail("no.such.method", "[]").remote().unwrap().data().unwrap().as_str(), Some("no.such.method"));
        assert_eq!(fail("test.cancelled", "[]").code(), Code::ConnectionLost);
    });
}
