//! TLS by the libraries of macOS and Windows, whose errors say less than those of OpenSSL.

use super::options::{TlsOptions, is_der};
use super::{Failure, Reason};
use mio::net::TcpStream;
use native_tls::{HandshakeError, MidHandshakeTlsStream, TlsAcceptor, TlsConnector, TlsStream};
use std::error::Error;
use std::io;

pub use native_tls::{Certificate, Identity};

pub type Stream = TlsStream<TcpStream>;
pub type Acceptor = TlsAcceptor;

/// The progress of a handshake.
pub enum Attempt {
    Done(Stream),
    InProgress(MidHandshakeTlsStream<TcpStream>),
    Failed(Failure),
}

/// All certificates of a PEM text, or one certificate in DER.
pub fn certificates(content: &[u8]) -> Result<Vec<Certificate>, String> {
    if is_der(content) {
        return Certificate::from_der(content).map(|one| vec![one]).map_err(|e| e.to_string());
    }
    let text = String::from_utf8_lossy(content);
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let one = |block: &str| {
        let block = block.split_once(end).ok_or("a certificate is not complete")?.0;
        Certificate::from_pem(format!("{begin}{block}{end}\n").as_bytes()).map_err(|e| e.to_string())
    };
    text.split(begin).skip(1).map(one).collect()
}

pub fn identity(chain: &[u8], key: &[u8]) -> Result<Identity, String> {
    Identity::from_pkcs8(chain, key).map_err(|e| e.to_string())
}

pub fn identity_pkcs12(content: &[u8], password: &str) -> Result<Identity, String> {
    Identity::from_pkcs12(content, password).map_err(|e| e.to_string())
}

pub fn acceptor(identity: &Identity) -> Result<TlsAcceptor, String> {
    let mut builder = TlsAcceptor::builder(identity.clone());
    builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    builder.build().map_err(|e| e.to_string())
}

/// Begins the handshake with a client.
pub fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> Attempt {
    attempt(acceptor.accept(stream))
}

pub fn connector(options: &TlsOptions) -> Result<TlsConnector, String> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    for root in &options.roots {
        builder.add_root_certificate(root.clone());
    }
    builder.disable_built_in_roots(!options.platform_roots);
    if !options.verifies() {
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    }
    if let Some(identity) = &options.identity {
        builder.identity(Identity::clone(identity));
    }
    builder.build().map_err(|e| e.to_string())
}

/// Begins the handshake.
pub fn connect(connector: &TlsConnector, _: &TlsOptions, host: &str, stream: TcpStream) -> Attempt {
    attempt(connector.connect(host, stream))
}

pub fn resume(middle: MidHandshakeTlsStream<TcpStream>) -> Attempt {
    attempt(middle.handshake())
}

fn attempt(result: Result<Stream, HandshakeError<TcpStream>>) -> Attempt {
    match result {
        Ok(stream) => Attempt::Done(stream),
        Err(HandshakeError::WouldBlock(middle)) => Attempt::InProgress(middle),
        Err(HandshakeError::Failure(e)) => Attempt::Failed(failure(&e)),
    }
}

/// The certificate of the server, in DER.
pub fn certificate_of(stream: &Stream) -> Vec<u8> {
    stream.peer_certificate().ok().flatten().and_then(|certificate| certificate.to_der().ok()).unwrap_or_default()
}

/// The failure of the TLS library behind an error of reading or writing.
pub fn failure_of(error: &io::Error) -> Option<Failure> {
    error.get_ref()?.downcast_ref::<native_tls::Error>().map(failure)
}

/// Classifies an error by its text, because `native-tls` offers no code.
fn failure(error: &native_tls::Error) -> Failure {
    let mut causes = std::iter::successors(error.source(), |&e| e.source());
    if let Some(e) = causes.find_map(|e| e.downcast_ref::<io::Error>()) {
        return Failure { reason: Reason::Ended(e.kind()), text: e.to_string() };
    }
    let text = error.to_string();
    let lower = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let reason = if has(&["wrong version number", "record overflow", "http request", "badly formatted"]) {
        Reason::NoTls
    } else if has(&["not yet valid"]) {
        Reason::NotYetValid
    } else if has(&["expired", "not within its validity"]) {
        Reason::Expired
    } else if has(&["hostname", "host name", "cn name", "name mismatch"]) {
        Reason::Name
    } else if has(&["certificate", "trust"]) {
        Reason::Certificate
    } else if has(&["closed", "unexpected eof", "reset"]) {
        Reason::Ended(io::ErrorKind::UnexpectedEof)
    } else {
        Reason::Other
    };
    Failure { reason, text }
}
