//! The `sessionURL` of a launcher's answer, as browsers read it: relative to the launcher, and with names that stand for its host.

use crate::error::{Code, Error, Result, Stage};
use crate::io::connect::url::{Target, without_secrets};
use url::Url;

/// The WebSocket URL of a session.
pub fn resolve(given: &str, launcher: &Target) -> Result<String> {
    // USE_HOST is a part of the longer name.
    let with_host = given.replace("USE_HOSTNAME", &bracketed(&launcher.host)).replace("USE_HOST", &launcher.authority);
    let bad = |why: String| {
        let text = format!("the launcher answered with the sessionURL {:?}, which {why}", without_secrets(given));
        Error::new(Code::Launcher, text).at(Stage::Launcher)
    };
    let scheme = if launcher.secure { "https" } else { "http" };
    let absolute = match with_host.split_once("://") {
        // "://" may also occur in the query of a relative URL.
        Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => with_host,
        _ => {
            let base = Url::parse(&format!("{scheme}://{}{}", launcher.authority, launcher.path));
            let joined = base.and_then(|base| base.join(&with_host));
            joined.map_err(|e| bad(format!("is no URL ({e})")))?.into()
        }
    };
    let (scheme, rest) = absolute.split_once("://").unwrap_or_default();
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        other => return Err(bad(format!("has the scheme {other:?}"))),
    };
    let url = format!("{scheme}://{rest}");
    Target::websocket(&url).map_err(|e| bad(format!("cannot be used: {}", e.message())))?;
    Ok(url)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_resolved_as_browsers_do() {
        let plain = Target::launcher("http://host:9000/paraview/").unwrap();
        let secure = Target::launcher("https://host/a/paraview/").unwrap();
        let v6 = Target::launcher("http://[::1]:9000/").unwrap();
        for (given, launcher, url) in [
            ("ws://other:1234/ws", &plain, "ws://other:1234/ws"),
            ("ws://USE_HOSTNAME:9001/ws", &plain, "ws://host:9001/ws"),
            ("ws://USE_HOST/proxy?sessionId=1&path=ws", &plain, "ws://host:9000/proxy?sessionId=1&path=ws"),
            ("wss://USE_HOST/proxy?sessionId=1&path=ws", &secure, "wss://host/proxy?sessionId=1&path=ws"),
            ("ws://USE_HOSTNAME:9001/ws", &v6, "ws://[::1]:9001/ws"),
            ("ws://USE_HOST/ws", &v6, "ws://[::1]:9000/ws"),
            ("/proxy?sessionId=1&path=ws", &plain, "ws://host:9000/proxy?sessionId=1&path=ws"),
            ("/proxy?to=http://x/y", &secure, "wss://host/proxy?to=http://x/y"),
            ("//other:1/ws", &secure, "wss://other:1/ws"),
            ("ws", &secure, "wss://host/a/paraview/ws"),
            ("http://other/ws", &secure, "ws://other/ws"),
            ("HTTPS://other/ws", &plain, "wss://other/ws"),
        ] {
            assert_eq!(resolve(given, launcher).unwrap(), url, "{given}");
        }
    }

    #[test]
    fn what_is_no_url_is_told() {
        let launcher = Target::launcher("http://host:9000/paraview/").unwrap();
        for (given, why) in
            [("ftp://host/", "scheme \"ftp\""), ("ws://host:99999/", "port"), ("ws://", "no host"), ("//[x/", "no URL")]
        {
            let e = resolve(given, &launcher).unwrap_err();
            assert!(e.message().contains(why) && e.code() == Code::Launcher, "{given}: {e}");
        }
        let e = resolve("ftp://u:geheim@host/?token=geheim", &launcher).unwrap_err();
        assert!(!e.message().contains("geheim"), "{e}");
    }
}
