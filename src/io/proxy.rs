//! Through an HTTP forward proxy: `CONNECT` (RFC 9110 section 9.3.6).

use super::establish::Patience;
use super::upgrade::{read_head, write_all};
use super::url::Target;
use crate::error::{Code, Error, Result, Stage};
use data_encoding::BASE64;
use mio::net::TcpStream;
use zeroize::Zeroizing;

/// Asks the proxy for a tunnel to the target.
pub fn connect(stream: &TcpStream, proxy: &Target, target: &Target, patience: &mut Patience<'_>) -> Result<()> {
    let host = target.host_port();
    let credentials = proxy.credentials.as_deref().map(|c| Zeroizing::new(BASE64.encode(c.as_bytes())));
    // It must not outgrow its memory: that would leave a copy of the credentials behind.
    let size = 2 * host.len() + credentials.as_ref().map_or(0, |c| c.len()) + 128;
    let mut request = Zeroizing::new(String::with_capacity(size));
    request.push_str(&format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n"));
    if let Some(credentials) = &credentials {
        ["Proxy-Authorization: Basic ", credentials, "\r\n"].iter().for_each(|part| request.push_str(part));
    }
    request.push_str("\r\n");
    let where_ = proxy.host_port();
    let failed = |why: String| Error::new(Code::Proxy, format!("proxy {where_}: {why}")).at(Stage::Proxy);
    write_all(&mut &*stream, request.as_bytes(), Stage::Proxy, patience).map_err(|e| rename(e, &failed))?;
    let (response, tail) = read_head(&mut &*stream, Stage::Proxy, patience).map_err(|e| rename(e, &failed))?;
    let status = response.status().as_u16();
    if !response.status().is_success() {
        let hint = match status {
            407 if proxy.credentials.is_none() => "; it asks for credentials: write http://user:password@host:port",
            407 => "; it does not accept the credentials",
            _ => "",
        };
        return Err(failed(format!("refused the tunnel to {host} with status {status}{hint}"))
            .with_http_status(status)
            .retriable_if(matches!(status, 502..=504)));
    }
    if !tail.is_empty() {
        return Err(failed("sent data before the tunnel was used".into()));
    }
    Ok(())
}

/// Failures on the way to the proxy are the proxy's, except for those of time.
fn rename(error: Error, failed: &impl Fn(String) -> Error) -> Error {
    if error.code() == Code::Timeout || error.code() == Code::Cancelled {
        error
    } else {
        failed(error.message().to_owned())
    }
}
