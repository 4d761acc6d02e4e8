//! Memory: declared sizes, limits of the application, and the bounds of unfinished messages and attachments.

use crate::common::connected;
use crate::common::scripted::{BINARY, Conn, FIN, ScriptedServer, TEXT, chunk, pack};
use crate::{Act, V1, V2, assert_usable, call, good};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use wslink::LogLevel;
use wslink::{Code, Policy, Protocol, result};

#[cfg(target_os = "linux")]
fn virtual_memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn declared_sizes_allocate_no_memory() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V2);
        let call = conn.call().unwrap();
        for id in 0..60 {
            conn.chunk(id, 0, u32::MAX, b"a beginning");
        }
        let bytes = pack(&json!({"id": call.id, "result": 1}));
        conn.chunk(99, 0, bytes.len() as u32, &bytes);
        // The header of a frame of 4 GiB without data.
        let mut head = Conn::frame_head(FIN | BINARY, (1 << 32) + 11);
        head.extend(chunk(100, 0, u32::MAX, b""));
        conn.raw(head);
        conn.until_end();
    });
    let mut config = server.config(V2);
    config.session.limits.message_size = u64::from(u32::MAX);
    config.session.limits.unfinished_bytes = u64::MAX;
    let session = connected(config);
    let before = virtual_memory();
    call(&session).unwrap();
    let grown = virtual_memory().saturating_sub(before);
    assert!(grown < 8 << 30, "{grown} bytes more for 240 GiB that were declared");
}

#[test]
fn an_exceeded_limit_is_named() {
    // Generation 1: one frame, fragments, an attachment. Generation 2: the total of a message, and unfinished messages.
    let acts: [(Protocol, Act, &str); 5] = [
        (V1, |c, id| c.reply(id, json!("x".repeat(3000))), "max_message_size"),
        (V1, |c, _| c.fragments(TEXT, &[&[b'x'; 600][..]; 4], |_| {}), "max_message_size"),
        (V1, |c, _| c.attach("wslink_bin1", &[0; 3000]), "max_message_size"),
        (V2, |c, id| c.reply(id, json!("x".repeat(3000))), "max_message_size"),
        (V2, |c, _| (0..9).for_each(|i| c.chunk(i, 0, 2000, &[0; 1000])), "max_unfinished"),
    ];
    for (protocol, act, option) in acts {
        let server = ScriptedServer::start(move |conn, connection| {
            if connection > 1 {
                return good(conn, protocol);
            }
            conn.hello(protocol);
            let call = conn.call().unwrap();
            act(conn, &call.id);
            conn.until_end();
        });
        let mut config = server.config(protocol);
        config.session.limits.message_size = 2000;
        config.session.limits.unfinished_bytes = 5000;
        let session = connected(config);
        let e = call(&session).unwrap_err();
        assert_eq!(e.code(), Code::Limit, "{e}");
        assert!(e.message().contains(option) && e.message().contains("the limit is"), "{e}");
        assert_usable(&session);
    }
}

#[test]
fn too_many_unfinished_messages_lose_the_oldest() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V2);
        let call = conn.call().unwrap();
        for id in 0..1000 {
            conn.chunk(id, 0, 100, b"never finished");
        }
        conn.reply(&call.id, json!(1));
        conn.echo();
    });
    let session = server.session(V2);
    call(&session).unwrap();
    assert!(session.stats().evicted >= 1000 - 64, "{:?}", session.stats());
    call(&session).unwrap();
}

#[test]
fn announced_attachments_are_bounded() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V1);
        let call = conn.call().unwrap();
        let keys: Vec<_> = (0..100).map(|i| format!("wslink_bin{i}")).collect();
        let notice = json!({"method": "wslink.binary.attachment", "args": keys}).to_string();
        (0..700).for_each(|_| conn.text(&notice));
        conn.reply(&call.id, json!(1));
        conn.echo();
    });
    let session = server.session(V1);
    call(&session).unwrap();
    assert!(session.stats().malformed >= 44, "{:?}", session.stats());
    call(&session).unwrap();
}

#[test]
fn a_malformed_announcement_does_not_move_data_to_other_keys() {
    for malformed in [r#"["wslink_bin1", 5]"#, r#"["wslink_bin1", null]"#, r#""wslink_bin1""#, "[]"] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(V1);
            let call = conn.call().unwrap();
            let method = "wslink.binary.attachment";
            conn.text(&format!(r#"{{"wslink": "1.0", "method": "{method}", "args": {malformed}}}"#));
            conn.attach("wslink_bin2", b"two");
            conn.attach("wslink_bin3", b"three");
            conn.reply(&call.id, json!(["wslink_bin1", "wslink_bin2", "wslink_bin3"]));
            conn.echo();
        });
        let session = server.session(V1);
        let reply = call(&session).unwrap();
        let bytes: Vec<_> = result(&reply).elements().map(|v| v.as_bytes()).collect();
        assert_eq!(bytes, [None, Some(&b"two"[..]), Some(&b"three"[..])], "{malformed}");
        assert_eq!(session.stats().malformed, 1, "{malformed}");
    }
}

#[test]
fn a_message_gets_all_of_its_many_attachments() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V1);
        let call = conn.call().unwrap();
        for i in 0..1000 {
            conn.attach(&format!("wslink_bin{i}"), &[i as u8; 100_000]);
            if i % 10 == 0 {
                conn.publish("t", json!("nothing"));
                conn.publish("of nobody", json!("nothing"));
            }
        }
        let keys: Vec<_> = (0..1000).map(|i| format!("wslink_bin{i}")).collect();
        conn.reply(&call.id, json!(keys));
        // A recent attachment is kept for later messages, an old one is not.
        for key in ["wslink_bin999", "wslink_bin0"] {
            let call = conn.call().unwrap();
            conn.reply(&call.id, json!(key));
        }
        conn.echo();
    });
    let session = server.session(V1);
    session.subscribe("t", Policy::default(), |_| ());
    let reply = call(&session).unwrap();
    let whole = |value: wslink::Value<'_>| value.as_bytes().is_some_and(|data| data.len() == 100_000);
    assert_eq!(result(&reply).elements().filter(|value| whole(*value)).count(), 1000);
    assert!(whole(result(&call(&session).unwrap())));
    assert_eq!(result(&call(&session).unwrap()).as_str(), Some("wslink_bin0"));
    assert_eq!(session.stats().evicted, 0);
}

#[test]
fn unreferenced_attachments_are_bounded_and_the_newest_stay() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V1);
        let call = conn.call().unwrap();
        (0..1000).for_each(|i| conn.attach(&format!("wslink_bin{i}"), &[i as u8; 1000]));
        conn.reply(&call.id, json!(["wslink_bin0", "wslink_bin999"]));
        conn.echo();
    });
    let mut config = server.config(V1);
    config.session.limits.unfinished_bytes = 50_000;
    let warnings = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&warnings);
    config.set_log(LogLevel::Warning, move |_, line| {
        count.fetch_add(usize::from(line.contains("given up")), SeqCst);
    });
    let session = connected(config);
    let reply = call(&session).unwrap();
    assert_eq!(result(&reply).index(0).unwrap().as_str(), Some("wslink_bin0"), "forgotten");
    assert_eq!(result(&reply).index(1).unwrap().as_bytes(), Some(&[231u8; 1000][..]));
    assert_eq!(session.stats().evicted, 950);
    assert_eq!(warnings.load(SeqCst), 1, "said once, and not for each image that a viewer gets");
}
