//! Secrets are in no line of the log, in no error, and in no debug output.

mod common;

use common::scripted::ScriptedServer;
use common::{PATIENCE, Server};
use std::sync::{Arc, Mutex};
use wslink::LogLevel;
use wslink::{Args, Config, Protocol, Session};

const SECRET: &str = "correct-horse-battery-staple";

/// A configuration with a secret in every option that takes one, and the lines of its log.
fn configured(url: &str) -> (Config, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::new(url).unwrap();
    config.session.secret = SECRET.into();
    config.add_header("Authorization", &format!("Bearer {SECRET}")).unwrap();
    let log = Arc::clone(&lines);
    config.set_log(LogLevel::Debug, move |_, line| log.lock().unwrap().push(line.to_owned()));
    (config, lines)
}

fn assert_kept(what: &str) {
    // In clear, and encoded as in an HTTP header.
    let encoded = data_encoding::BASE64.encode(format!("user:{SECRET}").as_bytes());
    assert!(!what.contains(SECRET) && !what.contains(&encoded), "{what}");
}

/// Connects, uses the session if possible, and checks everything that was reported.
fn play(config: Config, lines: &Mutex<Vec<String>>, connects: bool) {
    assert_kept(&format!("{config:?}"));
    let session = Session::new(config).unwrap();
    let outcome = session.connect_wait();
    assert_eq!(outcome.is_ok(), connects, "{outcome:?}");
    match outcome {
        Ok(()) => {
            for method in ["test.echo", "no.such.method"] {
                if let Err(e) = session.call_wait(method, Args::new(), Some(PATIENCE)) {
                    assert_kept(&format!("{e} {e:?}"));
                }
            }
            session.close_wait(PATIENCE).unwrap();
        }
        Err(e) => assert_kept(&format!("{e} {e:?} {:?}", session.failure())),
    }
    assert_kept(&format!("{:?}", session.peer()));
    drop(session);
    let lines = lines.lock().unwrap();
    assert!(lines.len() > 1, "the log tells nothing: {lines:?}");
    lines.iter().for_each(|line| assert_kept(line));
}

#[test]
fn a_session_tells_its_secret_to_nobody_but_the_server() {
    for version in ["v1", "v2"] {
        for (secret, connects) in [(SECRET, true), ("another", false)] {
            let server = Server::start(version, &["--secret", secret]);
            let (config, lines) = configured(&server.url());
            play(config, &lines, connects);
        }
    }
}

#[test]
fn the_answer_of_a_foreign_server_does_not_print_the_secret() {
    let refusals = [
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 302 Found\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ];
    for answer in refusals {
        let server = ScriptedServer::start(move |conn, _| conn.respond(answer));
        let (config, lines) = configured(&server.url());
        play(config, &lines, false);
    }
    // Accepts the upgrade and answers the hello with nonsense.
    let server = ScriptedServer::start(|conn, _| {
        conn.accept();
        let call = conn.call().unwrap();
        conn.protocol = Protocol::V2;
        conn.error(&call.id, -32603, "no");
        conn.until_end();
    });
    let (mut config, lines) = configured(&server.url());
    config.session.protocol = Some(Protocol::V2);
    play(config, &lines, false);
}

#[test]
fn the_password_of_a_proxy_is_for_the_proxy() {
    let proxy = ScriptedServer::start(|conn, _| {
        let expected = data_encoding::BASE64.encode(format!("user:{SECRET}").as_bytes());
        conn.respond("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        assert!(conn.request.contains(&expected), "{}", conn.request);
    });
    let (mut config, lines) = configured("ws://server.example/ws");
    config.set_proxy(Some(&format!("http://user:{SECRET}@127.0.0.1:{}", proxy.port()))).unwrap();
    play(config, &lines, false);
}

#[test]
fn errors_about_a_url_leave_its_password_out() {
    for url in ["ftp://user:SECRET@host/", "ws://user:SECRET@host:99999/", "ws://user:SECRET@/", "http://user:SECRET@"]
    {
        let url = url.replace("SECRET", SECRET);
        if let Err(e) = Config::new(&url) {
            assert_kept(&format!("{e} {e:?}"));
        }
        let mut config = Config::new("ws://host/").unwrap();
        if let Err(e) = config.set_proxy(Some(&url)) {
            assert_kept(&format!("{e} {e:?}"));
        }
        assert_kept(&format!("{config:?}"));
    }
}
