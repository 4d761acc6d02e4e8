//! Certificates: whom a file makes trusted, which file formats are accepted, and how TLS fails. The servers use OpenSSL, because
//! they can then ask for certificates and close the connection at any step.
#![cfg(not(any(windows, target_vendor = "apple")))]

mod common;

use common::certificates::{Authority, Signed, VALID};
use common::scripted::{Conn, Frame, ScriptedServer};
use openssl::asn1::Asn1Time;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{NameType, SslAcceptor, SslMethod, SslVerifyMode, SslVersion};
use openssl::symm::Cipher;
use openssl::x509::X509;
use std::io::{Read, Write};
use std::path::PathBuf;
use wslink::{Code, Config, Error, Session, Stage};

/// A chain: root -> intermediate -> leaf
struct Chain {
    root: Authority,
    intermediate: Authority,
    leaf: Signed,
}

impl Chain {
    fn new() -> Chain {
        let root = Authority::new("root of a test", None);
        let intermediate = Authority::new("intermediate of a test", Some(&root));
        let leaf = intermediate.issue(&["127.0.0.1", "localhost"], VALID);
        Chain { root, intermediate, leaf }
    }
}

/// The configuration of a TLS server.
#[derive(Clone, Copy, Default)]
struct Setup<'a> {
    /// Certificates that it sends in addition to its own.
    issuers: &'a [&'a str],
    /// It requires client certificates of this authority.
    clients: Option<&'a str>,
    newest: Option<SslVersion>,
}

/// Answers every request with 404 and the server name that the client asked for. A client that gets this answer has accepted the
/// certificate, and the server has accepted the client.
fn serve(own: &Signed, setup: Setup) -> ScriptedServer {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&X509::from_pem(own.pem.as_bytes()).unwrap()).unwrap();
    acceptor.set_private_key(&PKey::private_key_from_pem(own.key.as_bytes()).unwrap()).unwrap();
    for issuer in setup.issuers {
        acceptor.add_extra_chain_cert(X509::from_pem(issuer.as_bytes()).unwrap()).unwrap();
    }
    if let Some(authority) = setup.clients {
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        acceptor.cert_store_mut().add_cert(X509::from_pem(authority.as_bytes()).unwrap()).unwrap();
    }
    acceptor.set_max_proto_version(setup.newest).unwrap();
    let acceptor = acceptor.build();
    ScriptedServer::start(move |conn, _| {
        let Ok(mut stream) = acceptor.accept(conn.stream().try_clone().unwrap()) else {
            // The alert is in flight. Read what the client has sent, so that the connection is not reset.
            let _ = conn.stream().shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut conn.stream(), &mut std::io::sink());
            return;
        };
        let mut request = Vec::new();
        let mut bytes = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut bytes) {
                Ok(n) if n > 0 => request.extend_from_slice(&bytes[..n]),
                _ => return,
            }
        }
        let name = stream.ssl().servername(NameType::HOST_NAME).unwrap_or("none").to_owned();
        let host =
            String::from_utf8(request).unwrap().lines().find_map(|l| l.strip_prefix("Host: ").map(str::to_owned));
        let text = format!("SNI {name}, Host {}", host.unwrap());
        let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let _ = stream.shutdown();
    })
}

fn config_for(server: &ScriptedServer, host: &str) -> Config {
    let mut config = Config::new(&format!("wss://{host}:{}/ws", server.port())).unwrap();
    config.tls.platform_roots = false;
    config
}

fn error_of(config: Config) -> Error {
    Session::new(config).unwrap().connect_wait().unwrap_err()
}

fn assert_accepted(e: &Error, what: &str) {
    assert_eq!((e.code(), e.http_status()), (Code::Upgrade, Some(404)), "{what}: {e}");
}

fn assert_refused(e: &Error, text: &str, what: &str) {
    assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Tls, Stage::Tls, false), "{what}: {e}");
    assert!(e.message().contains(text), "{what}: {e} lacks {text:?}");
    assert_no_sources(e);
}

/// Asserts that the message has no file names and error numbers of OpenSSL.
fn assert_no_sources(e: &Error) {
    for text in [".c:", "error:", "../", "routines"] {
        assert!(!e.message().contains(text), "{e} has {text:?}");
    }
}

/// A file, and the error that a server causes with it, if any.
#[test]
fn every_certificate_of_the_chain_can_be_trusted() {
    let (ours, other) = (Chain::new(), Chain::new());
    let (root, intermediate, leaf) = (&ours.root.pem, &ours.intermediate.pem, &ours.leaf.pem);
    let sibling = ours.intermediate.issue(&["127.0.0.1"], VALID).pem;
    let not_yet = ours.intermediate.issue(&["127.0.0.1"], (2100, 2120));
    let expired = ours.intermediate.issue(&["127.0.0.1"], (2010, 2011));
    let elsewhere = ours.intermediate.issue(&["elsewhere.example"], VALID);
    let all = [intermediate.as_str()];
    let trust = Some("trust its issuer");
    type Row<'a> = (&'a str, &'a str, &'a Signed, &'a [&'a str], Option<&'a str>);
    #[rustfmt::skip]
    let rows: [Row; 16] = [
        ("root", root, &ours.leaf, &all, None),
        ("root, the server sends no intermediate", root, &ours.leaf, &[], trust),
        ("root and intermediate", &format!("{root}{intermediate}"), &ours.leaf, &[], None),
        ("intermediate", intermediate, &ours.leaf, &all, None),
        ("intermediate, the server sends none", intermediate, &ours.leaf, &[], None),
        ("leaf", leaf, &ours.leaf, &all, None),
        ("leaf, the server sends no intermediate", leaf, &ours.leaf, &[], None),
        ("another leaf of the same issuer", &sibling, &ours.leaf, &all, trust),
        ("another root", &other.root.pem, &ours.leaf, &all, trust),
        ("another intermediate", &other.intermediate.pem, &ours.leaf, &all, trust),
        ("not yet valid", root, &not_yet, &all, Some("not valid yet")),
        ("not yet valid, trusted itself", &not_yet.pem, &not_yet, &[], Some("check the clock")),
        ("expired", root, &expired, &all, Some("out of date")),
        ("expired, trusted itself", &expired.pem, &expired, &[], Some("out of date")),
        ("for another name", root, &elsewhere, &all, Some("for another name than 127.0.0.1")),
        ("for another name, trusted itself", &elsewhere.pem, &elsewhere, &[], Some("for another name")),
    ];
    for (what, ca, own, issuers, text) in rows {
        let server = serve(own, Setup { issuers, ..Setup::default() });
        let mut config = config_for(&server, "127.0.0.1");
        config.tls.add_roots_pem(ca).unwrap();
        let e = error_of(config);
        match text {
            None => assert_accepted(&e, what),
            Some(text) => assert_refused(&e, text, what),
        }
        // Trust does not make an expired certificate valid.
        let about_time = e.message().contains("valid yet") || e.message().contains("out of date");
        assert!(!about_time || !e.message().contains("verification off"), "{what}: {e}");
    }
}

#[test]
fn files_are_read_as_the_tools_of_the_platform_read_them() {
    let chain = Chain::new();
    let (root, other) = (&chain.root.pem, &Authority::new("another", None).pem);
    let der = X509::from_pem(root.as_bytes()).unwrap().to_der().unwrap();
    let named = |label: &str| root.replace("CERTIFICATE", label);
    let with_trust = |aux: &[u8]| {
        let base64 = data_encoding::BASE64.encode(&[&der, aux].concat());
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
        format!("-----BEGIN TRUSTED CERTIFICATE-----\n{}\n-----END TRUSTED CERTIFICATE-----\n", lines.join("\n"))
    };
    let latin = [b"# F\xf5tan\xfas\xedtv\xe1ny\n".as_slice(), root.as_bytes()].concat();
    #[rustfmt::skip]
    let read: [(&str, Vec<u8>); 15] = [
        ("as it is", root.clone().into()),
        ("CRLF", root.replace('\n', "\r\n").into()),
        ("no line end at the end", root.trim_end().into()),
        ("spaces at the ends of lines", root.replace('\n', "  \n").into()),
        ("comments", format!("# The authority\nSubject: CN=x\n\n{root}\n# end\n").into()),
        ("comments in Latin 1", latin),
        ("a comment that begins like DER", format!("0 s:CN = root\n{root}").into()),
        ("byte order mark", format!("\u{feff}{root}").into()),
        ("several", format!("{other}{root}").into()),
        ("the same twice", format!("{root}{root}").into()),
        ("a key between", format!("{other}{}{root}", chain.leaf.key).into()),
        ("X509 CERTIFICATE", named("X509 CERTIFICATE").into()),
        ("TRUSTED CERTIFICATE", named("TRUSTED CERTIFICATE").into()),
        ("TRUSTED CERTIFICATE without conditions", with_trust(&[0x30, 0]).into()),
        ("DER", der.clone()),
    ];
    let server = serve(&chain.leaf, Setup { issuers: &[&chain.intermediate.pem], ..Setup::default() });
    for (what, content) in read {
        let mut config = config_for(&server, "127.0.0.1");
        config.tls.add_roots(&content).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_accepted(&error_of(config), what);
    }

    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(root.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    // Trusted for e-mail only: { trust: { emailProtection } }
    let mail = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04];
    let half = &root[..root.len() / 2];
    #[rustfmt::skip]
    let refused: [(&str, Vec<u8>, &str); 10] = [
        ("nothing", Vec::new(), "no certificate"),
        ("text", b"hello".to_vec(), "no certificate"),
        ("a key alone", chain.leaf.key.clone().into(), "no certificate"),
        ("half of it", half.into(), ""),
        ("one and a half", format!("{root}{half}").into(), ""),
        ("no certificate in the block", named("CERTIFICATE").replace("MII", "AAA").into(), ""),
        ("half of the DER", der[..der.len() / 2].into(), "DER"),
        ("DER twice", der.repeat(2), "has to be PEM"),
        ("UTF-16", utf16, "UTF-16"),
        ("TRUSTED CERTIFICATE with conditions", with_trust(&mail).into(), "openssl x509"),
    ];
    for (what, content, text) in refused {
        let mut config = config_for(&server, "127.0.0.1");
        let e = config.tls.add_roots(&content).expect_err(what);
        assert_eq!(e.code(), Code::Argument, "{what}: {e}");
        assert!(e.message().starts_with("CA certificates: ") && e.message().contains(text), "{what}: {e}");
        assert_no_sources(&e);
    }
}

#[test]
fn client_keys_are_read_or_refused_with_a_reason() {
    let chain = Chain::new();
    let key = PKey::private_key_from_pem(chain.leaf.key.as_bytes()).unwrap();
    let ec = key.ec_key().unwrap();
    let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
    let rsa = Rsa::generate(2048).unwrap();
    let own = |key: &PKey<openssl::pkey::Private>| {
        let mut builder = X509::builder().unwrap();
        builder.set_pubkey(key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
        builder.sign(key, openssl::hash::MessageDigest::sha256()).unwrap();
        text(builder.build().to_pem().unwrap())
    };
    let rsa_certificate = own(&PKey::from_rsa(rsa.clone()).unwrap());
    let cipher = Cipher::aes_128_cbc();
    let leaf = &chain.leaf.pem;
    #[rustfmt::skip]
    let rows = [
        ("PKCS #8", leaf, chain.leaf.key.clone(), None),
        ("SEC 1", leaf, text(ec.private_key_to_pem().unwrap()), None),
        ("PKCS #1", &rsa_certificate, text(rsa.private_key_to_pem().unwrap()), None),
        ("with byte order mark and comments", leaf, format!("\u{feff}# key\n{}", chain.leaf.key), None),
        ("certificate and key in one file", &format!("{}{leaf}", chain.leaf.key), format!("{leaf}{}", chain.leaf.key), None),
        ("encrypted PKCS #8", leaf, text(key.private_key_to_pem_pkcs8_passphrase(cipher, b"geheim").unwrap()), Some("openssl pkey -in")),
        ("encrypted, the old kind", leaf, text(ec.private_key_to_pem_passphrase(cipher, b"geheim").unwrap()), Some("openssl pkey -in")),
        ("encrypted, the old kind of RSA", leaf, text(rsa.private_key_to_pem_passphrase(cipher, b"geheim").unwrap()), Some("encrypted")),
        ("of another certificate", leaf, chain.intermediate.issue(&["x"], VALID).key, Some("does not belong")),
        ("no key", leaf, leaf.clone(), Some("the key is not one in PEM")),
        ("nothing", leaf, String::new(), Some("the key is not one in PEM")),
    ];
    for (what, certificate, key, wrong) in rows {
        let mut config = Config::new("wss://h/").unwrap();
        match (config.tls.set_identity(certificate, &key), wrong) {
            (Ok(()), None) => {}
            (Err(e), Some(text)) => {
                assert_eq!(e.code(), Code::Argument, "{what}: {e}");
                assert!(e.message().starts_with("client certificate: ") && e.message().contains(text), "{what}: {e}");
                assert_no_sources(&e);
            }
            (outcome, _) => panic!("{what}: {outcome:?}"),
        }
    }
}

#[test]
fn certificate_files_pass_through_the_c_api_unchanged() {
    use std::ffi::CString;
    use wslink::ffi::config::*;
    let chain = Chain::new();
    let der = X509::from_pem(chain.root.pem.as_bytes()).unwrap().to_der().unwrap();
    let latin = [b"# \xfc\n".as_slice(), chain.leaf.pem.as_bytes()].concat();
    let path = |name: &str, content: &[u8]| {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("certificates.{}.{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        (CString::new(path.to_str().unwrap()).unwrap(), path)
    };
    let [ca, own, key] = [path("ca", &der), path("crt", &latin), path("key", chain.leaf.key.as_bytes())];
    let mut config = std::ptr::null_mut();
    let none = std::ptr::null_mut();
    // SAFETY: as the header requires: texts end with NUL, and the configuration is freed once.
    unsafe {
        assert_eq!(wslink_config_new(c"wss://h/".as_ptr(), &raw mut config, none), 0);
        assert_eq!(wslink_config_add_ca_file(config, ca.0.as_ptr(), none), 0);
        assert_eq!(wslink_config_add_ca_file(config, own.0.as_ptr(), none), 0);
        assert_eq!(wslink_config_set_client_certificate(config, own.0.as_ptr(), key.0.as_ptr(), none), 0);
        wslink_config_free(config);
    }
    for (_, path) in [ca, own, key] {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn the_dot_at_the_end_of_a_name_is_not_in_certificates() {
    let chain = Chain::new();
    let server = serve(&chain.leaf, Setup { issuers: &[&chain.intermediate.pem], ..Setup::default() });
    for (host, name) in
        [("localhost", "localhost"), ("localhost.", "localhost"), ("LOCALHOST", "localhost"), ("127.0.0.1", "none")]
    {
        let mut config = config_for(&server, host);
        config.tls.add_roots_pem(&chain.root.pem).unwrap();
        let e = error_of(config);
        assert_accepted(&e, host);
        let text = format!("SNI {name}, Host {}:{}", host.to_lowercase(), server.port());
        assert!(e.message().contains(&text), "{e} lacks {text:?}");
    }
}

#[test]
fn a_server_that_wants_a_certificate_gets_it_or_the_error_says_so() {
    let chain = Chain::new();
    let (clients, strangers) = (Authority::new("clients", None), Authority::new("strangers", None));
    let (good, stranger) = (clients.issue(&["client"], VALID), strangers.issue(&["client"], VALID));
    let expired = clients.issue(&["client"], (2010, 2011));
    #[rustfmt::skip]
    let rows: [(&str, Option<&Signed>, Option<&str>, &str); 4] = [
        ("good", Some(&good), None, ""),
        // Before TLS 1.3, OpenSSL has no alert for a missing certificate.
        ("none", None, Some("certificate required"), "handshake failure"),
        ("of strangers", Some(&stranger), Some("does not accept the certificate of the client"), "unknown ca"),
        ("expired", Some(&expired), Some("does not accept the certificate of the client"), "certificate expired"),
    ];
    for version in [SslVersion::TLS1_3, SslVersion::TLS1_2] {
        for (what, identity, refused, alert) in rows {
            let setup =
                Setup { issuers: &[&chain.intermediate.pem], clients: Some(&clients.pem), newest: Some(version) };
            let server = serve(&chain.leaf, setup);
            let mut config = config_for(&server, "127.0.0.1");
            config.tls.add_roots_pem(&chain.root.pem).unwrap();
            if let Some(identity) = identity {
                config.tls.set_identity(&identity.pem, &identity.key).unwrap();
            }
            let e = error_of(config);
            match refused {
                None => assert_accepted(&e, what),
                Some(_) if version == SslVersion::TLS1_2 => assert_refused(&e, alert, what),
                Some(text) => assert_refused(&e, text, what),
            }
            assert!(!e.message().contains("use wss://"), "{what}: {e}");
        }
    }
}

#[test]
fn a_server_without_a_common_tls_version_is_reported() {
    let chain = Chain::new();
    let server = serve(&chain.leaf, Setup { newest: Some(SslVersion::TLS1_1), ..Setup::default() });
    let mut config = config_for(&server, "127.0.0.1");
    config.tls.add_roots_pem(&chain.root.pem).unwrap();
    assert_refused(&error_of(config), "no version or cipher", "TLS 1.1");
}

/// A restarting server closes like this: the failure is retriable, with and without TLS.
#[test]
fn a_connection_that_ends_in_the_handshake_is_not_a_verification_failure() {
    /// The beginning of a ServerHello.
    const BEGUN: &[u8] = &[0x16, 3, 3, 0, 0x7a, 2, 0, 0, 0x76, 3, 3, 1, 2, 3];
    type Script = fn(&mut Conn);
    let hello = |conn: &mut Conn| {
        conn.stream().peek(&mut [0]).unwrap();
    };
    let scripts: [(&str, Script); 4] = [
        ("closes at once", |_| {}),
        ("closes", |conn| conn.cut()),
        ("resets", |conn| conn.reset_at_end()),
        ("closes in the midst", |conn| {
            conn.raw(BEGUN);
            conn.cut();
        }),
    ];
    for (what, script) in scripts {
        let server = ScriptedServer::start(move |conn, _| {
            // After the handshake has begun: earlier it would be a failure to connect.
            hello(conn);
            script(conn);
        });
        let e = error_of(config_for(&server, "127.0.0.1"));
        assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Tls, Stage::Tls, true), "{what}: {e}");
        assert!(e.message().contains("ended the connection during the TLS handshake"), "{what}: {e}");
        assert_no_sources(&e);
    }
}

/// A connection that ends without a TLS alert is reported without OpenSSL's wording.
#[test]
fn a_connection_that_ends_after_the_handshake_is_reported_as_ended() {
    let chain = Chain::new();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&X509::from_pem(chain.leaf.pem.as_bytes()).unwrap()).unwrap();
    acceptor.set_private_key(&PKey::private_key_from_pem(chain.leaf.key.as_bytes()).unwrap()).unwrap();
    let acceptor = acceptor.build();
    let server = ScriptedServer::start(move |conn, _| {
        let mut stream = acceptor.accept(conn.stream().try_clone().unwrap()).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        conn.cut();
        assert_eq!(conn.frame(), Frame::End);
    });
    let mut config = config_for(&server, "127.0.0.1");
    config.tls.add_roots_pem(&chain.leaf.pem).unwrap();
    let e = error_of(config);
    assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Upgrade, Stage::Upgrade, true), "{e}");
    assert!(e.message().contains("ended the connection") && !e.message().contains("use wss://"), "{e}");
    assert_no_sources(&e);
}
