//! TLS by the platform's own library. Certificates are verified unless the application explicitly turns this off.

#[cfg_attr(not(any(windows, target_vendor = "apple")), path = "tls/openssl.rs")]
#[cfg_attr(any(windows, target_vendor = "apple"), path = "tls/native.rs")]
mod backend;

use super::deadline::ConnectDeadline;
use crate::error::{Code, Error, Result, Stage};
use backend::{Certificate, Identity};
use mio::net::TcpStream;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;

pub use backend::Stream;

/// TLS options: how the server's certificate is verified, and the certificate of the client.
#[derive(Clone)]
pub struct TlsOptions {
    roots: Vec<Certificate>,
    /// Whether the certificate authorities of the platform are trusted.
    pub platform_roots: bool,
    /// Accept exactly the certificates with these SHA-256 fingerprints; their name, dates and issuer are not checked. For
    /// servers that were started with `--ssl adhoc`.
    pub pins: Vec<[u8; 32]>,
    /// Accept any certificate. Then anyone on the network path can read and change the data.
    pub danger_no_verification: bool,
    identity: Option<Arc<Identity>>,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            roots: Vec::new(),
            platform_roots: true,
            pins: Vec::new(),
            danger_no_verification: false,
            identity: None,
        }
    }
}

impl TlsOptions {
    /// Trusts the certificates in a PEM text: of root or intermediate authorities, or of the server itself. Other content of
    /// the text is ignored.
    pub fn add_roots_pem(&mut self, pem: &str) -> Result<()> {
        self.add_roots(pem.as_bytes())
    }

    /// Like [`add_roots_pem`](TlsOptions::add_roots_pem) for the content of a file, which may also be one certificate in DER.
    pub fn add_roots(&mut self, content: &[u8]) -> Result<()> {
        let bad = |why: &str| Error::new(Code::Argument, format!("CA certificates: {why}"));
        let found = readable(content).and_then(backend::certificates).map_err(|why| bad(&why))?;
        if found.is_empty() {
            return Err(bad("no certificate in the text (PEM is expected)"));
        }
        self.roots.extend(found);
        Ok(())
    }

    /// Accepts the certificate with this fingerprint: the SHA-256 of its DER form, in hexadecimal digits, with optional colons
    /// and spaces.
    pub fn add_pin(&mut self, fingerprint: &str) -> Result<()> {
        let hex: String = fingerprint.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        let pin = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok().and_then(|b| b.try_into().ok());
        self.pins.push(pin.ok_or_else(|| {
            Error::new(Code::Argument, "a certificate fingerprint is a SHA-256: 64 hexadecimal digits")
        })?);
        Ok(())
    }

    /// Sets the certificate of the client: its chain in PEM, beginning with the certificate itself, and its key in PEM. The
    /// key must not be encrypted.
    pub fn set_identity(&mut self, chain_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Result<()> {
        let (chain, key) = (chain_pem.as_ref(), key_pem.as_ref());
        let identity = if is_encrypted(key) {
            Err("the key is encrypted; decrypt it: openssl pkey -in KEY -out DECRYPTED_KEY".to_owned())
        } else {
            readable(chain).and_then(|chain| backend::identity(chain, readable(key)?))
        };
        let identity = identity.map_err(|why| Error::new(Code::Argument, format!("client certificate: {why}")))?;
        self.identity = Some(Arc::new(identity));
        Ok(())
    }

    /// Whether chain, dates and name of the certificate are verified. A pin replaces this, and is checked after the handshake.
    fn verifies(&self) -> bool {
        !self.danger_no_verification && self.pins.is_empty()
    }
}

/// A text without byte order mark; an error for UTF-16.
fn readable(content: &[u8]) -> Result<&[u8], String> {
    match content {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err("the text is UTF-16; save it as ASCII or UTF-8".into()),
        [0xef, 0xbb, 0xbf, text @ ..] => Ok(text),
        text => Ok(text),
    }
}

/// Whether this is a certificate in DER: an ASN.1 sequence of 128 bytes or more. The first byte alone could also be the text
/// "0".
fn is_der(content: &[u8]) -> bool {
    matches!(content, [0x30, 0x81..=0x84, ..])
}

/// Whether a PEM text has an encrypted private key, in PKCS #8 (RFC 5958) or in the older format (RFC 1421 section 4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |what: &[u8]| pem.windows(what.len()).any(|part| part == what);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// Why there is no TLS connection.
struct Failure {
    reason: Reason,
    /// The error text of the TLS library.
    text: String,
}

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

/// The TLS handshake. `host` is the name that the certificate must have.
pub fn handshake(
    options: &TlsOptions,
    host: &str,
    stream: TcpStream,
    deadline: &mut ConnectDeadline<'_>,
) -> Result<Stream> {
    let connector = backend::connector(options)
        .map_err(|e| Error::new(Code::Tls, format!("TLS cannot be set up: {e}")).at(Stage::Tls))?;
    let mut attempt = backend::connect(&connector, options, host, stream);
    let stream = loop {
        match attempt {
            backend::Attempt::Done(stream) => break stream,
            backend::Attempt::InProgress(middle) => {
                deadline.wait(Stage::Tls)?;
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
