//! What the answers of a launcher mean.

use super::http::Answer;
use crate::error::{Code, Error, Result, Stage};
use crate::io::connect::url::{Target, without_secrets};
use crate::wire::Protocol;
use crate::wire::decoder;
use crate::wire::document::Document;
use crate::wire::value::Kind;

/// How many characters of an answer are shown.
const MAX_SHOWN: usize = 300;

/// The texts of refusals that a new attempt does not help: the launcher has started a server, which failed.
const FINAL: [&str; 2] = ["Session did not start", "did not properly start"];

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Open,
    Status,
    Close,
}

/// The members of a successful answer, or the error that it means.
pub fn document(answer: &Answer, request: Request, launcher: &Target) -> Result<Document> {
    if !answer.status.is_success() {
        return Err(refused(answer, request, launcher));
    }
    let bad = |why: String| Error::new(Code::Launcher, format!("this is no launcher: {why}")).at(Stage::Launcher);
    if answer.is_page {
        return Err(bad(format!("it answered with a web page; {}", right_path(launcher))));
    }
    let document = decoder::decode_copy(Protocol::V1, &answer.content)
        .map_err(|e| bad(format!("its answer is not JSON ({}); {}", e.message(), right_path(launcher))))?;
    if document.root().kind() != Kind::Map {
        return Err(bad("its answer is no JSON object".into()));
    }
    Ok(document)
}

/// The text of a member, if it is not empty.
pub fn text<'a>(document: &'a Document, name: &str) -> Option<&'a str> {
    document.root().get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The error for a refusal: the launcher's own words, and advice.
fn refused(answer: &Answer, request: Request, launcher: &Target) -> Error {
    let status = answer.status.as_u16();
    let words = words(answer);
    let mut message = format!("the launcher answered {}", answer.status.to_string().trim_end());
    if !words.is_empty() {
        message += &format!(": {words}");
    }
    let is_final = status == 503 && FINAL.iter().any(|text| words.contains(text));
    let advice = match (status, request) {
        (400 | 404, Request::Status | Request::Close) => {
            "it has no session with this id, or does not allow this (WSLINK_LAUNCHER_GET and WSLINK_LAUNCHER_DELETE)"
                .into()
        }
        (405, Request::Status | Request::Close) => {
            "it does not allow this (WSLINK_LAUNCHER_GET and WSLINK_LAUNCHER_DELETE)".into()
        }
        (404 | 405, Request::Open) => {
            let direct = if launcher.secure { "wss" } else { "ws" };
            format!(
                "there is no launcher at this path: {}; a server without a launcher is connected to directly, at {direct}://{}/ws",
                right_path(launcher),
                launcher.authority
            )
        }
        (400, Request::Open) => "it does not understand the request: does it have the member \"application\"?".into(),
        (401 | 403, _) => "credentials are missing or wrong (user and password in the URL, or a header)".into(),
        (500, Request::Open) => "it failed: does it know an application of this name? Its log may say why".into(),
        (502 | 504, _) => "the launcher behind this proxy does not answer".into(),
        (503, _) if is_final => "the log of the session on the launcher's machine may say why".into(),
        (503, _) => "try again later".into(),
        (300..=399, _) => match &answer.location {
            Some(place) => format!(
                "it redirects to {}, which is not followed: use that address if you trust it",
                without_secrets(place)
            ),
            None => String::new(),
        },
        _ => String::new(),
    };
    if !advice.is_empty() {
        message += &format!("; {advice}");
    }
    let error = Error::new(Code::Launcher, message).at(Stage::Launcher);
    // The status would make it retriable.
    if is_final { error } else { error.with_http_status(status) }
}

fn right_path(launcher: &Target) -> String {
    format!("is the path {} right? The usual one is /paraview/", without_secrets(&launcher.path))
}

/// The words of a refusal: the member `error` of a JSON object, or else the text.
fn words(answer: &Answer) -> String {
    if answer.is_page {
        return String::new();
    }
    let text = String::from_utf8_lossy(&answer.content);
    let json = decoder::decode_copy(Protocol::V1, &answer.content).ok();
    let told = json.as_ref().and_then(|json| self::text(json, "error"));
    let told = told.unwrap_or(&text);
    let words: Vec<_> = told.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let words = words.join(" ");
    match words.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", &words[..end]),
        // The text becomes part of a sentence.
        None => words.strip_suffix('.').unwrap_or(&words).to_owned(),
    }
}
