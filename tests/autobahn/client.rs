//! The client for the Autobahn test suite: the library's reader and writer of frames, compiled from their unchanged sources, with an
//! echo instead of a wslink session. `run.py` starts it.
//!
//!     autobahn_client PORT CASE...

#[path = "../../src/io/transport/websocket/mod.rs"]
#[allow(dead_code, missing_docs)]
mod websocket;

mod error {
    pub use wslink::{Code, Error, Result, Stage};
}

/// The items that the reader and the writer use from the layers below.
mod session {
    pub mod calls {
        pub type CallId = u64;
    }

    /// Joins messages. Text is checked at the end of a message, as in the library.
    pub mod inbound {
        use std::marker::PhantomData;
        use wslink::wire::buffer::RoomFor;
        use wslink::{Code, Error, Result};

        #[derive(Debug)]
        pub enum Received<S> {
            /// The reader has to know it. Here each message is echoed.
            #[allow(dead_code)]
            Nothing,
            Message {
                text: bool,
                data: Vec<u8>,
                to: PhantomData<S>,
            },
        }

        #[derive(Default)]
        pub struct Inbound<S> {
            text: bool,
            data: Vec<u8>,
            filled: usize,
            to: PhantomData<S>,
        }

        impl<S> Inbound<S> {
            pub fn begin(&mut self, text: bool, _size: u64) -> Result<()> {
                self.text = text;
                Ok(())
            }

            pub fn frame(&mut self, _size: u64) -> Result<()> {
                Ok(())
            }

            pub fn data(&mut self, data: &[u8]) -> Result<()> {
                self.data.truncate(self.filled);
                self.data.extend_from_slice(data);
                self.filled = self.data.len();
                Ok(())
            }

            pub fn ignores(&self) -> bool {
                false
            }

            pub fn room(&mut self, what: RoomFor) -> Result<Option<&mut [u8]>> {
                self.data.resize(self.filled + what.payload + what.beyond, 0);
                Ok(Some(&mut self.data[self.filled..]))
            }

            pub fn arrived(&mut self, n: usize) -> Result<()> {
                self.filled += n;
                Ok(())
            }

            pub fn end(&mut self) -> Result<Received<S>> {
                let mut data = std::mem::take(&mut self.data);
                data.truncate(std::mem::take(&mut self.filled));
                if self.text && std::str::from_utf8(&data).is_err() {
                    return Err(Error::new(Code::Utf8, "a text message is not valid UTF-8"));
                }
                Ok(Received::Message { text: self.text, data, to: PhantomData })
            }

            pub fn whole(&mut self, text: bool, payload: &[u8]) -> Result<Option<Received<S>>> {
                self.begin(text, payload.len() as u64)?;
                self.data(payload)?;
                self.end().map(Some)
            }
        }
    }
}

mod wire {
    pub use wslink::wire::{Protocol, buffer};

    pub mod outgoing {
        /// One message in one frame.
        #[derive(Debug)]
        pub struct Outgoing {
            pub text: bool,
            pub data: Vec<u8>,
            begun: bool,
            taken: usize,
        }

        pub struct FrameStart {
            pub text: bool,
            pub prefix: Option<[u8; 12]>,
            pub len: u64,
        }

        impl Outgoing {
            pub fn new(text: bool, data: Vec<u8>) -> Outgoing {
                Outgoing { text, data, begun: false, taken: 0 }
            }

            pub fn next_frame(&mut self) -> Option<FrameStart> {
                let first = !std::mem::replace(&mut self.begun, true);
                first.then_some(FrameStart { text: self.text, prefix: None, len: self.data.len() as u64 })
            }

            pub fn is_begun(&self) -> bool {
                self.begun
            }

            pub fn stop(&mut self) {}

            pub fn is_stopped(&self) -> bool {
                false
            }

            pub fn attachment_is_next(&self) -> bool {
                false
            }

            pub fn is_secret(&self) -> bool {
                false
            }

            pub fn data(&self) -> &[u8] {
                &self.data[self.taken..]
            }

            pub fn advance(&mut self, n: usize) {
                self.taken += n;
            }

            pub fn sent(&self) -> u64 {
                self.taken as u64
            }

            pub fn total(&self) -> u64 {
                self.data.len() as u64
            }
        }
    }
}

use session::inbound::{Inbound, Received};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use tungstenite::handshake::client::generate_key;
use tungstenite::protocol::Role;
use websocket::reader::{Incoming, Reader};
use websocket::writer::{ControlFrame, Writer};
use wire::outgoing::Outgoing;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn open(port: u16, path: &str) -> Fallible<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let key = generate_key();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    match head.starts_with(b"HTTP/1.1 101") {
        true => Ok(stream),
        false => Err(String::from_utf8_lossy(&head).into_owned().into()),
    }
}

/// Echoes until the connection ends, and handles its end like the I/O thread of a session.
fn converse(port: u16, path: &str) -> Fallible<()> {
    let mut stream = open(port, path)?;
    let (mut reader, mut writer, mut inbound) =
        (Reader::new(Role::Client, &[]), Writer::new(Role::Client), Inbound::<()>::default());
    loop {
        let mut over = false;
        loop {
            match reader.next(&mut inbound) {
                Ok(None) => break,
                Ok(Some(Incoming::Message(Received::Nothing))) => {}
                Ok(Some(Incoming::Message(Received::Message { text, data, .. }))) => {
                    writer.push([(Outgoing::new(text, data), None)], []);
                }
                Ok(Some(Incoming::Ping(payload))) => writer.push([], [ControlFrame::Pong(payload)]),
                Ok(Some(Incoming::Pong)) => {}
                Ok(Some(Incoming::Close(code, _))) => {
                    writer.push([], [ControlFrame::Close(code.unwrap_or(1000))]);
                    over = true;
                }
                Err(error) => {
                    writer.push([], websocket::close_code(&error).map(ControlFrame::Close));
                    over = true;
                    break;
                }
            }
            // Messages that were read together are answered one after the other, so that the suite can check the order.
            writer.flush(usize::MAX, |bytes| stream.write(bytes))?;
        }
        writer.flush(usize::MAX, |bytes| stream.write(bytes))?;
        if over {
            let _ = stream.shutdown(Shutdown::Both);
            return Ok(());
        }
        let (received, _) = reader.receive(&mut inbound, |into| stream.read(into))?;
        if received? == 0 {
            return Ok(());
        }
    }
}

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("PORT CASE...")?.parse()?;
    for case in arguments {
        // Many cases end in a reset, which the suite judges.
        if let Err(error) = converse(port, &format!("/runCase?casetuple={case}&agent=wslink")) {
            eprintln!("{case}: {error}");
        }
    }
    converse(port, "/updateReports?agent=wslink")
}
