//! TLS by the platform's own library. Certificates are verified unless the application says otherwise
//! in so many words.

use super::establish::Patience;
use crate::error::{Code, Error, Result, Stage};
use mio::net::TcpStream;
use native_tls::{Certificate, HandshakeError, Identity, TlsConnector, TlsStream};
use sha2::{Digest, Sha256};

/// How the server proves who it is, and how the client does.
#[derive(Clone)]
pub struct TlsOptions {
    roots: Vec<Certificate>,
    /// Whether the certificate authorities of the platform are trusted.
    pub platform_roots: bool,
    /// Accept exactly the certificates with these SHA-256 fingerprints, whatever name, date and issuer
    /// are in them. For servers that were started with `--ssl adhoc`.
    pub pins: Vec<[u8; 32]>,
    /// Accept any certificate. The connection is then open to whoever sits between.
    pub danger_no_verification: bool,
    identity: Option<Identity>,
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

const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const CERTIFICATE_END: &str = "-----END CERTIFICATE-----";

impl TlsOptions {
    /// Trusts the certificates in a PEM text, of authorities or of the server itself.
    pub fn add_roots_pem(&mut self, pem: &str) -> Result<()> {
        let bad = |why: String| Error::new(Code::Argument, format!("CA certificates: {why}"));
        let mut rest = pem;
        let mut found = Vec::new();
        while let Some(begin) = rest.find(CERTIFICATE_BEGIN) {
            let end = rest[begin..].find(CERTIFICATE_END).ok_or_else(|| bad("a certificate has no END line".into()))?;
            let end = begin + end + CERTIFICATE_END.len();
            let certificate = Certificate::from_pem(&rest.as_bytes()[begin..end]);
            found.push(certificate.map_err(|e| bad(e.to_string()))?);
            rest = &rest[end..];
        }
        if found.is_empty() {
            return Err(bad("no certificate in the text (PEM is expected)".into()));
        }
        self.roots.extend(found);
        Ok(())
    }

    /// Accepts a certificate by the SHA-256 of its DER form, as hexadecimal digits; colons and spaces
    /// may stand between.
    pub fn add_pin(&mut self, fingerprint: &str) -> Result<()> {
        let hex: String = fingerprint.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        let pin = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok().and_then(|b| b.try_into().ok());
        self.pins.push(pin.ok_or_else(|| {
            Error::new(Code::Argument, "a certificate fingerprint is a SHA-256: 64 hexadecimal digits")
        })?);
        Ok(())
    }

    /// Shows a certificate of the client: a PEM chain and its PKCS #8 key.
    pub fn set_identity(&mut self, chain_pem: &str, key_pem: &str) -> Result<()> {
        let identity = Identity::from_pkcs8(chain_pem.as_bytes(), key_pem.as_bytes());
        self.identity = Some(identity.map_err(|e| Error::new(Code::Argument, format!("client certificate: {e}")))?);
        Ok(())
    }

    fn connector(&self) -> Result<TlsConnector> {
        let mut builder = TlsConnector::builder();
        for root in &self.roots {
            builder.add_root_certificate(root.clone());
        }
        builder.disable_built_in_roots(!self.platform_roots);
        // A pin is checked below, and says more than any chain.
        if self.danger_no_verification || !self.pins.is_empty() {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        if let Some(identity) = &self.identity {
            builder.identity(identity.clone());
        }
        builder.build().map_err(|e| Error::new(Code::Tls, format!("TLS cannot be set up: {e}")).at(Stage::Tls))
    }
}

/// The TLS handshake.
pub fn handshake(
    options: &TlsOptions,
    host: &str,
    stream: TcpStream,
    patience: &mut Patience<'_>,
) -> Result<TlsStream<TcpStream>> {
    let connector = options.connector()?;
    let mut attempt = connector.connect(host, stream);
    let stream = loop {
        match attempt {
            Ok(stream) => break stream,
            Err(HandshakeError::WouldBlock(middle)) => {
                patience.wait(Stage::Tls)?;
                attempt = middle.handshake();
            }
            Err(HandshakeError::Failure(e)) => return Err(failure(&e.to_string())),
        }
    };
    if !options.pins.is_empty() {
        let der = stream.peer_certificate().ok().flatten().and_then(|c| c.to_der().ok()).unwrap_or_default();
        let fingerprint: [u8; 32] = Sha256::digest(&der).into();
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

fn failure(what: &str) -> Error {
    let lower = what.to_ascii_lowercase();
    let hint = if lower.contains("wrong version number")
        || lower.contains("record overflow")
        || lower.contains("http request")
    {
        "; there seems to be no TLS at this port: use ws:// instead of wss://"
    } else if lower.contains("hostname mismatch") || lower.contains("ip address mismatch") {
        "; the certificate is for another name"
    } else if lower.contains("expired") {
        "; the certificate is out of date"
    } else if lower.contains("certificate") {
        "; trust its issuer (CA file), pin its fingerprint, or turn verification off"
    } else if lower.contains("unexpected eof") || lower.contains("closed") || lower.contains("reset") {
        "; the server ended the connection: is TLS spoken at this port?"
    } else {
        ""
    };
    Error::new(Code::Tls, format!("TLS handshake failed: {what}{hint}")).at(Stage::Tls)
}
