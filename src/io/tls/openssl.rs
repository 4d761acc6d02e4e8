//! TLS by OpenSSL, the shared library of the system, which updates it.

use super::options::{TlsOptions, is_der};
use super::{Failure, Reason};
use mio::net::TcpStream;
use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    self, ErrorCode, HandshakeError, MidHandshakeSslStream, SslAcceptor, SslConnector, SslMethod, SslStream,
    SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509VerifyResult};
use std::io;

pub type Stream = SslStream<TcpStream>;
pub type Certificate = X509;
pub type Acceptor = SslAcceptor;

/// A certificate of this end, its issuers, and its key.
pub struct Identity {
    chain: Vec<X509>,
    key: PKey<Private>,
}

/// The progress of a handshake.
pub enum Attempt {
    Done(Stream),
    InProgress(MidHandshakeSslStream<TcpStream>),
    Failed(Failure),
}

/// The reasons of errors, without the places in OpenSSL's sources.
fn reasons_of(errors: &ErrorStack) -> String {
    let reasons: Vec<_> = errors.errors().iter().filter_map(openssl::error::Error::reason).collect();
    if reasons.is_empty() { "unknown error".into() } else { reasons.join(", ") }
}

/// All certificates of a PEM text, or one certificate in DER.
pub fn certificates(content: &[u8]) -> Result<Vec<X509>, String> {
    if is_der(content) {
        let one = X509::from_der(content).map_err(|e| format!("{} (DER)", reasons_of(&e)))?;
        // OpenSSL would silently ignore what follows the first certificate.
        return if one.to_der().is_ok_and(|der| der.len() == content.len()) {
            Ok(vec![one])
        } else {
            Err("more follows the certificate in DER; a file with several of them has to be PEM".into())
        };
    }
    let mut found = X509::stack_from_pem(content).map_err(|e| reasons_of(&e))?;
    let text = String::from_utf8_lossy(content);
    let begins =
        |label: &str| text.lines().filter(|line| line.trim_end() == format!("-----BEGIN {label}-----")).count();
    if found.len() < begins("CERTIFICATE") + begins("X509 CERTIFICATE") {
        return Err("a certificate is not complete".into());
    }
    found.extend(trusted(&text)?);
    Ok(found)
}

/// The certificates that `openssl x509 -trustout` wrote. Such a block ends with the conditions of the trust; a block that has
/// any is an error, because this library cannot apply them.
fn trusted(text: &str) -> Result<Vec<X509>, String> {
    let blocks = text.split("-----BEGIN TRUSTED CERTIFICATE-----").skip(1);
    let one = |block: &str| {
        let base64: String = block.split("-----END").next().unwrap_or("").split_whitespace().collect();
        let der = data_encoding::BASE64.decode(base64.as_bytes()).map_err(|e| format!("TRUSTED CERTIFICATE: {e}"))?;
        let certificate = X509::from_der(&der).map_err(|e| reasons_of(&e))?;
        let length = certificate.to_der().map_err(|e| reasons_of(&e))?.len();
        match &der[length..] {
            [] | [0x30, 0] => Ok(certificate),
            _ => {
                Err("a TRUSTED CERTIFICATE has conditions; remove them: openssl x509 -in FILE -out WITHOUT".to_owned())
            }
        }
    };
    blocks.map(one).collect()
}

pub fn identity(chain: &[u8], key: &[u8]) -> Result<Identity, String> {
    // The callback keeps OpenSSL from asking for a pass phrase at the terminal.
    let key = PKey::private_key_from_pem_callback(key, |_| Ok(0))
        .map_err(|e| format!("the key is not one in PEM (PKCS #8, PKCS #1 or SEC 1): {}", reasons_of(&e)))?;
    let chain = X509::stack_from_pem(chain).map_err(|e| reasons_of(&e))?;
    let own = chain.first().ok_or("no certificate in the text (PEM is expected)")?;
    if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
        return Err("the key does not belong to the first certificate of the chain".into());
    }
    Ok(Identity { chain, key })
}

pub fn identity_pkcs12(content: &[u8], password: &str) -> Result<Identity, String> {
    let parsed = Pkcs12::from_der(content)
        .map_err(|e| format!("the content is not PKCS #12: {}", reasons_of(&e)))?
        .parse2(password)
        .map_err(|e| format!("the PKCS #12 content cannot be opened, is the password right? ({})", reasons_of(&e)))?;
    let (Some(own), Some(key)) = (parsed.cert, parsed.pkey) else {
        return Err("the PKCS #12 content lacks a certificate or its key".into());
    };
    let mut chain = vec![own];
    chain.extend(parsed.ca.into_iter().flatten());
    Ok(Identity { chain, key })
}

pub fn acceptor(identity: &Identity) -> Result<SslAcceptor, String> {
    let build = || {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        let (own, issuers) = identity.chain.split_first().expect("was looked at");
        builder.set_certificate(own)?;
        builder.set_private_key(&identity.key)?;
        for issuer in issuers {
            builder.add_extra_chain_cert(issuer.clone())?;
        }
        Ok(builder.build())
    };
    build().map_err(|e: ErrorStack| reasons_of(&e))
}

/// Begins the handshake with a client.
pub fn accept(acceptor: &SslAcceptor, stream: TcpStream) -> Attempt {
    attempt(acceptor.accept(stream))
}

pub fn connector(options: &TlsOptions) -> Result<SslConnector, String> {
    build(options).map_err(|e| reasons_of(&e))
}

fn build(options: &TlsOptions) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    if !options.platform_roots {
        builder.set_cert_store(X509StoreBuilder::new()?.build());
    }
    for root in &options.roots {
        // An error means that the store has it already.
        let _ = builder.cert_store_mut().add_cert(root.clone());
    }
    // Trust an intermediate certificate or that of the server, even without the authority that issued it.
    builder.verify_param_mut().set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    if let Some(identity) = &options.identity {
        let (own, issuers) = identity.chain.split_first().expect("was looked at");
        builder.set_certificate(own)?;
        builder.set_private_key(&identity.key)?;
        for issuer in issuers {
            builder.add_extra_chain_cert(issuer.clone())?;
        }
    }
    Ok(builder.build())
}

/// Begins the handshake.
pub fn connect(connector: &SslConnector, options: &TlsOptions, host: &str, stream: TcpStream) -> Attempt {
    let mut configuration = match connector.configure() {
        Ok(configuration) => configuration,
        Err(e) => return Attempt::Failed(Failure { reason: Reason::Other, text: reasons_of(&e) }),
    };
    if !options.verifies() {
        configuration.set_verify(SslVerifyMode::NONE);
        configuration.set_verify_hostname(false);
    }
    attempt(configuration.connect(host, stream))
}

pub fn resume(middle: MidHandshakeSslStream<TcpStream>) -> Attempt {
    attempt(middle.handshake())
}

fn attempt(result: Result<Stream, HandshakeError<TcpStream>>) -> Attempt {
    match result {
        Ok(stream) => Attempt::Done(stream),
        Err(HandshakeError::WouldBlock(middle)) => Attempt::InProgress(middle),
        Err(HandshakeError::SetupFailure(e)) => {
            Attempt::Failed(Failure { reason: Reason::Other, text: reasons_of(&e) })
        }
        Err(HandshakeError::Failure(middle)) => Attempt::Failed(failure(middle.error(), middle.ssl().verify_result())),
    }
}

/// The certificate of the server, in DER.
pub fn certificate_of(stream: &Stream) -> Vec<u8> {
    stream.ssl().peer_certificate().and_then(|certificate| certificate.to_der().ok()).unwrap_or_default()
}

/// The failure of OpenSSL behind an error of reading or writing.
pub fn failure_of(error: &io::Error) -> Option<Failure> {
    error.get_ref()?.downcast_ref::<ssl::Error>().map(|error| failure(error, X509VerifyResult::OK))
}

fn failure(error: &ssl::Error, verified: X509VerifyResult) -> Failure {
    if let Some(e) = error.io_error() {
        return Failure { reason: Reason::Ended(e.kind()), text: e.to_string() };
    }
    let ended = || Failure { reason: Reason::Ended(io::ErrorKind::UnexpectedEof), text: "end of the stream".into() };
    let Some(errors) = error.ssl_error().filter(|_| error.code() == ErrorCode::SSL) else {
        return ended();
    };
    let text = reasons_of(errors);
    let has = |what: &str| text.contains(what);
    if has("unexpected eof") {
        return ended();
    }
    if has("certificate verify failed") && verified != X509VerifyResult::OK {
        return Failure { reason: of_certificate(verified), text: verified.error_string().into() };
    }
    let reason =
        if ["wrong version number", "packet length too long", "record overflow", "http request", "unknown protocol"]
            .into_iter()
            .any(has)
        {
            Reason::NoTls
        } else {
            match errors.errors().iter().find_map(alert) {
                // RFC 8446 section 6.2: bad, unsupported, revoked, expired, unknown certificate; unknown authority; certificate required.
                Some(42..=46 | 48 | 116) => Reason::ClientCertificate,
                Some(40 | 70 | 71) => Reason::NothingInCommon,
                None if ["unsupported protocol", "no ciphers", "dh key too small"].into_iter().any(has) => {
                    Reason::NothingInCommon
                }
                _ => Reason::Other,
            }
        };
    Failure { reason, text }
}

/// The number of the alert that the peer sent.
fn alert(error: &openssl::error::Error) -> Option<i32> {
    // SSL_AD_REASON_OFFSET of OpenSSL.
    Some(error.reason_code() - 1000).filter(|number| (0..=255).contains(number))
}

/// Numbers as in X509_verify_cert_error_string(3).
fn of_certificate(verified: X509VerifyResult) -> Reason {
    match verified.as_raw() {
        9 | 11 => Reason::NotYetValid,
        10 | 12 => Reason::Expired,
        62 | 64 => Reason::Name,
        _ => Reason::Certificate,
    }
}
