//! The TLS options of a session, and the certificates and keys that they are set from.

use super::backend::{self, Certificate, Identity};
use crate::error::{Code, Error, Result};
use std::sync::Arc;

/// TLS options: how the server's certificate is verified, and the certificate of the client.
#[derive(Clone)]
pub struct TlsOptions {
    pub(super) roots: Vec<Certificate>,
    /// Whether the certificate authorities of the platform are trusted.
    pub platform_roots: bool,
    /// Accept exactly the certificates with these SHA-256 fingerprints; their name, dates and issuer are not checked. For
    /// servers that were started with `--ssl adhoc`.
    pub pins: Vec<[u8; 32]>,
    /// Accept any certificate. Then anyone on the network path can read and change the data.
    pub danger_no_verification: bool,
    pub(super) identity: Option<Arc<Identity>>,
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
        let identity = from_pem(chain_pem.as_ref(), key_pem.as_ref());
        self.identity = Some(identity.map_err(|why| Error::new(Code::Argument, format!("client certificate: {why}")))?);
        Ok(())
    }

    /// Whether chain, dates and name of the certificate are verified. A pin replaces this, and is checked after the handshake.
    pub(super) fn verifies(&self) -> bool {
        !self.danger_no_verification && self.pins.is_empty()
    }
}

/// A certificate and its key, with which a [`Listener`](crate::Listener) speaks TLS.
#[derive(Clone)]
pub struct TlsIdentity(pub(super) Arc<Identity>);

impl TlsIdentity {
    /// The chain in PEM, beginning with the certificate itself, and its key in PEM, which must not be encrypted.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<TlsIdentity> {
        let identity = from_pem(chain.as_ref(), key.as_ref());
        identity.map(TlsIdentity).map_err(|why| Error::new(Code::Argument, format!("listener certificate: {why}")))
    }

    /// The content of a PKCS #12 file, and its password.
    pub fn from_pkcs12(content: &[u8], password: &str) -> Result<TlsIdentity> {
        let identity = backend::identity_pkcs12(content, password);
        let identity = identity.map_err(|why| Error::new(Code::Argument, format!("listener certificate: {why}")))?;
        Ok(TlsIdentity(Arc::new(identity)))
    }
}

/// Omits the key.
impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

fn from_pem(chain: &[u8], key: &[u8]) -> Result<Arc<Identity>, String> {
    if is_encrypted(key) {
        return Err("the key is encrypted; decrypt it: openssl pkey -in KEY -out DECRYPTED_KEY".into());
    }
    readable(chain).and_then(|chain| backend::identity(chain, readable(key)?)).map(Arc::new)
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
pub(super) fn is_der(content: &[u8]) -> bool {
    matches!(content, [0x30, 0x81..=0x84, ..])
}

/// Whether a PEM text has an encrypted private key, in PKCS #8 (RFC 5958) or in the older format (RFC 1421 section 4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |what: &[u8]| pem.windows(what.len()).any(|part| part == what);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}
