//! A load server for clients of both protocols. It prepares its data before a request, discards what it receives, and has one
//! blocking thread for each connection.
//!
//!   server [CERTIFICATE]   prints `READY <ws> <raw> <wss> <raw tls> <slow>`, the ports: WebSocket, plain bytes, both
//!                          over TLS, and a WebSocket that reads slowly; ends when its input does. The certificate of
//!                          the TLS ports is written to the file.

mod gather;
mod raw;
mod requests;
mod session;
mod socket;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use native_tls::{Identity, TlsAcceptor};

use socket::{Slow, Socket};

/// Accepts connections for ever, on a port of the system's choice, which it returns.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || {
                let ended = stream.set_nodelay(true).and_then(|()| serve(stream));
                if let Err(e) = ended
                    && !matches!(
                        e.kind(),
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                    )
                {
                    eprintln!("connection ended: {e}");
                }
            });
        }
    });
    Ok(port)
}

fn acceptor(certificate: &str) -> io::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]).map_err(io::Error::other)?;
    std::fs::write(certificate, made.cert.pem())?;
    let identity = Identity::from_pkcs8(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes());
    TlsAcceptor::new(identity.map_err(io::Error::other)?).map_err(io::Error::other)
}

fn tls(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<impl Socket + use<>> {
    acceptor.accept(stream).map_err(io::Error::other)
}

fn main() -> io::Result<()> {
    socket::blob(0, 1);
    let mut ports = vec![listen(session::serve)?, listen(raw::serve)?];
    if let Some(file) = std::env::args().nth(1) {
        let acceptor = acceptor(&file)?;
        let for_raw = acceptor.clone();
        ports.push(listen(move |stream| session::serve(tls(&acceptor, stream)?))?);
        ports.push(listen(move |stream| raw::serve(tls(&for_raw, stream)?))?);
    } else {
        ports.extend([0, 0]);
    }
    ports.push(listen(|stream| session::serve(Slow(stream)))?);
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    println!("READY {}", ports.join(" "));
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
