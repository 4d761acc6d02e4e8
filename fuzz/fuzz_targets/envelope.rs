//! Ids that are read without decoding must match the decoded message. The first byte chooses the generation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wslink::Protocol;
use wslink::session::calls::ReplyId;
use wslink::session::inbound::{Inbound, Received};
use wslink::session::topics::Topics;
use wslink::wire::envelope::{find_id, peek_id, topic};
use wslink::wire::limits::Limits;
use wslink::wire::{decoder, value::Value};
use wslink_fuzz::pool;

fuzz_target!(|data: &[u8]| {
    let Some((first, message)) = data.split_first() else { return };
    let protocol = if first & 1 == 1 { Protocol::V1 } else { Protocol::V2 };
    let decoded = decoder::decode_copy(protocol, message);
    let peeked = peek_id(protocol, message);
    if let (Some(id), Ok(document)) = (peeked, &decoded) {
        let mut ids = document.root().pairs().filter(|(key, _)| key.as_str() == Some("id"));
        let (_, value) = ids.next().expect("an id that is not in the message");
        assert_eq!(value.as_str(), Some(id));
        // Of equal keys, decoding takes the last one and the envelope the first one; no server sends two.
        if ids.next().is_none() {
            assert_eq!(document.root().get("id").and_then(Value::as_str), Some(id));
        }
    }
    if let Some(id) = peeked
        && let Some(topic) = topic(id)
    {
        assert!(id.starts_with(&format!("publish:{topic}:")));
        assert!(!id[9 + topic.len()..].contains(':'));
    }
    // A recipient, if there is one, must be the one that the message names.
    let id = peeked.map(str::to_owned).or_else(|| match decoded {
        Ok(document) => document.root().get("id")?.as_str().map(str::to_owned),
        Err(_) => find_id(protocol, message),
    });
    let wanted = id.as_deref().and_then(topic);
    let mut topics = Topics::default();
    topics.subscribe(wanted.unwrap_or("other"), 7);
    let mut inbound = Inbound::new(Limits::default(), pool());
    inbound.set_topics(topics.directory());
    inbound.set_protocol(Some(protocol));
    let text = protocol == Protocol::V1;
    let header = [&[0; 8], &(message.len() as u32).to_le_bytes()[..]].concat();
    let frame = if text { message.to_vec() } else { [&header, message].concat() };
    match inbound.whole(text, &frame) {
        Ok(Some(Received::Reply { protocol: got, id: to, .. })) => {
            assert_eq!((got, Some(to), wanted), (protocol, id.clone().map(ReplyId::from), None));
        }
        Ok(Some(Received::Publication { to, .. })) => assert!(wanted.is_some() && to[..] == [7]),
        _ => {}
    }
});
