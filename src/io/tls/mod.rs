//! TLS by the platform's own library. Certificates are verified unless the application explicitly turns this off.

#[cfg_attr(not(any(windows, target_vendor = "apple")), path = "openssl.rs")]
#[cfg_attr(any(windows, target_vendor = "apple"), path = "native.rs")]
mod backend;
mod options;

use crate::error::{Code, Error, Result, Stage};
use mio::net::TcpStream;
use sha2::{Digest, Sha256};
use std::io;

pub use backend::{Attempt, Stream, resume};
pub use options::{TlsIdentity, TlsOptions};

/// Why there is no TLS connection.
pub struct Failure {
    reason: Reason,
    /// The error text of the TLS library.
    text: String,
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(windows, target_vendor = "apple"), allow(dead_code))] // native-tls does not distinguish all of them.
enum Reason {
    /// The peer does not speak TLS.
    NoTls,
    /// The connection ended.
    Ended(io::ErrorKind),
    /// The certificate is for another name.
    Name,
    Expired,
    NotYetValid,
    /// The certificate is refused for another reason.
    Certificate,
    /// The peer wants a certificate of the client, or refuses the one that it got.
    ClientCertificate,
    /// There is no version or cipher that both ends accept.
    NothingInCommon,
    Other,
}

/// The TLS handshake. `host` is the name that the certificate must have. `wait` waits for an event of the socket.
pub fn handshake(
    options: &TlsOptions,
    host: &str,
    stream: TcpStream,
    mut wait: impl FnMut() -> Result<()>,
) -> Result<Stream> {
    let connector = backend::connector(options)
        .map_err(|e| Error::new(Code::Tls, format!("TLS cannot be set up: {e}")).at(Stage::Tls))?;
    let mut attempt = backend::connect(&connector, options, host, stream);
    let stream = loop {
        match attempt {
            backend::Attempt::Done(stream) => break stream,
            backend::Attempt::InProgress(middle) => {
                wait()?;
                attempt = backend::resume(middle);
            }
            backend::Attempt::Failed(failure) => return Err(failed(host, options, &failure)),
        }
    };
    if !options.pins.is_empty() {
        let fingerprint: [u8; 32] = Sha256::digest(backend::certificate_of(&stream)).into();
        if !options.pins.contains(&fingerprint) {
            let message = format!(
                "the certificate of {host} is not the pinned one; its fingerprint is {}",
                data_encoding::HEXLOWER.encode(&fingerprint)
            );
            return Err(Error::new(Code::Tls, message).at(Stage::Tls));
        }
    }
    Ok(stream)
}

/// The server side of TLS, for a listener.
pub struct Acceptor(backend::Acceptor);

impl Acceptor {
    /// With this certificate.
    pub fn new(identity: &TlsIdentity) -> Result<Acceptor> {
        let acceptor = backend::acceptor(&identity.0);
        acceptor.map(Acceptor).map_err(|e| Error::new(Code::Tls, format!("TLS cannot be set up: {e}")).at(Stage::Tls))
    }

    /// Begins the handshake with a client.
    pub fn accept(&self, stream: TcpStream) -> Attempt {
        backend::accept(&self.0, stream)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Sends TLS's close_notify, without waiting for an answer.
pub fn shutdown(stream: &mut Stream) {
    let _ = stream.shutdown();
}

/// Translates an error of reading or writing. The end of the connection becomes an I/O error of its kind. Other failures of
/// TLS are wrapped, so that [`after_handshake`] recognises them.
pub fn translated(error: io::Error) -> io::Error {
    match backend::failure_of(&error) {
        Some(Failure { reason: Reason::Ended(kind), text }) => io::Error::new(kind, text),
        Some(failure) => io::Error::other(AfterHandshake(failure)),
        None => error,
    }
}

/// A failure of TLS after the handshake. With TLS 1.3, a server checks the certificate of the client after the client has
/// finished its handshake.
struct AfterHandshake(Failure);

impl std::fmt::Display for AfterHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TLS: {}", self.0.text)
    }
}

impl std::fmt::Debug for AfterHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for AfterHandshake {}

/// The error for a failure of TLS after the handshake, if `error` is one that [`translated`] has marked.
pub fn after_handshake(error: &io::Error, host: &str, options: &TlsOptions) -> Option<Error> {
    let AfterHandshake(failure) = error.get_ref()?.downcast_ref()?;
    Some(failed(host, options, failure))
}

fn failed(host: &str, options: &TlsOptions, failure: &Failure) -> Error {
    let Failure { reason, text } = failure;
    let message = match reason {
        Reason::NoTls => {
            format!("TLS handshake failed: {text}; there seems to be no TLS at this port: use ws:// instead of wss://")
        }
        Reason::Ended(_) => format!(
            "the server ended the connection during the TLS handshake ({text}); is it starting, and is TLS spoken at this port?"
        ),
        Reason::Name => format!("the certificate of the server is for another name than {host} ({text})"),
        Reason::Expired => format!(
            "the certificate of {host} is out of date ({text}); it has to be renewed, unless the clock of this computer is wrong"
        ),
        Reason::NotYetValid => format!(
            "the certificate of {host} is not valid yet ({text}); check the clocks of this computer and of the server"
        ),
        Reason::Certificate => format!(
            "the certificate of {host} is not accepted: {text}; trust its issuer (CA file), pin its fingerprint, or turn \
             verification off"
        ),
        Reason::ClientCertificate if options.identity.is_none() => {
            format!("the server wants a certificate of the client ({text}); set one, with its key")
        }
        Reason::ClientCertificate => {
            format!(
                "the server does not accept the certificate of the client ({text}); is it issued by an authority of the server?"
            )
        }
        Reason::NothingInCommon => format!(
            "TLS handshake failed: {text}; the server has no version or cipher of TLS that this computer accepts"
        ),
        Reason::Other => format!("TLS handshake failed: {text}"),
    };
    let kind = match reason {
        Reason::Ended(kind) => Some(*kind),
        _ => None,
    };
    Error::new(Code::Tls, message).at(Stage::Tls).with_io(kind)
}
