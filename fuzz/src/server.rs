//! A server on loopback that an input scripts: good replies, none, wrong replies, any bytes, or the end of the connection.

use crate::input::Input;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tungstenite::{Message, WebSocket};
use wslink::wire::msgpack::encode::Encode;

/// The script of the next connections.
#[derive(Clone, Default)]
struct Script {
    v1: bool,
    actions: Vec<u8>,
}

static SCRIPT: Mutex<Option<Script>> = Mutex::new(None);

static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        // One connection after the other, because a client has one. The leak check could take the memory of a thread that comes
        // and goes for a leak.
        for stream in listener.incoming().flatten() {
            let script = SCRIPT.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
            serve(stream, &script);
        }
    });
    address
});

/// Lets new connections play these actions, and returns the address.
pub fn play(v1: bool, actions: &[u8]) -> SocketAddr {
    *SCRIPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Script { v1, actions: actions.to_vec() });
    *ADDRESS
}

/// Returns when the connection ends. Errors mean that the client has left.
fn serve(stream: TcpStream, script: &Script) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let _ = stream.set_nodelay(true);
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    let mut actions = Input(&script.actions);
    while let Ok(message) = socket.read() {
        let (text, data) = match message {
            Message::Text(text) => (true, text.as_bytes().to_vec()),
            Message::Binary(data) => (false, data.to_vec()),
            _ => continue,
        };
        if text != script.v1 {
            continue;
        }
        let has = |word: &[u8]| data.windows(word.len()).position(|part| part == word);
        let sent = if has(b"wslink.probe").is_some() {
            let error = r#"{"wslink": "1.0", "id": "system:c0:0", "error": {"code": -32601, "message": "no"}}"#;
            socket.send(Message::text(error))
        } else if has(b"wslink.hello").is_some() {
            reply(&mut socket, script.v1, "system:c0:0", true)
        } else if let Some(at) = has(b"rpc:c1:") {
            let id: String =
                data[at..].iter().map(|&b| b as char).take_while(|c| c.is_alphanumeric() || *c == ':').collect();
            act(&mut socket, script.v1, &id, &mut actions)
        } else {
            Ok(())
        };
        if sent.is_err() || socket.flush().is_err() {
            return;
        }
    }
}

fn act(
    socket: &mut WebSocket<TcpStream>,
    v1: bool,
    id: &str,
    actions: &mut Input<'_>,
) -> Result<(), tungstenite::Error> {
    match actions.byte() % 8 {
        0 | 1 => reply(socket, v1, id, false),
        2 => Ok(()),
        3 => Err(tungstenite::Error::ConnectionClosed),
        4 => Ok(socket.get_mut().write_all(actions.block())?),
        5 => {
            for _ in 0..actions.byte() % 8 {
                reply(socket, v1, "publish:topic:0", false)?;
            }
            reply(socket, v1, id, false)
        }
        6 => socket.send(Message::binary(actions.block().to_vec())),
        _ => socket.send(Message::text(String::from_utf8_lossy(actions.block()).into_owned())),
    }
}

fn reply(socket: &mut WebSocket<TcpStream>, v1: bool, id: &str, hello: bool) -> Result<(), tungstenite::Error> {
    if v1 {
        let result = if hello { r#"{"clientID": "c1"}"# } else { "[1, 2.5]" };
        return socket.send(Message::text(format!(r#"{{"wslink": "1.0", "id": "{id}", "result": {result}}}"#)));
    }
    let mut message = vec![0; 12];
    message.map_head(2);
    for word in ["id", id, "result"] {
        message.str(word);
    }
    message.map_head(2);
    message.str("clientID");
    message.str("c1");
    message.str("maxMsgSize");
    message.uint(100);
    let total = (message.len() - 12) as u32;
    message[8..12].copy_from_slice(&total.to_le_bytes());
    socket.send(Message::binary(message))
}
