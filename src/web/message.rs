//! What comes from the gate and what goes back: requests, and how responses are made.
//!
//! Knows content types, the headers that all responses have, and those of one line. Knows nothing of what is shown.

use std::fmt::Display;

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};

use super::activity::Activity;

pub(super) type Reply = Response<Full<Bytes>>;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";
pub(super) const JSON: &str = "application/json";

/// Headers of every response. Pages take style, script and icon from here alone, and the script asks nobody else; there are no frames, and
/// forms lead nowhere.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// A request that has passed the gate.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    /// Without its question mark; empty where there is none.
    pub(super) query: String,
    /// Whether the response may be in gzip.
    pub(super) gzip: bool,
    /// How many seconds a Prometheus waits for the response, as it says.
    pub(super) scrape_timeout: Option<HeaderValue>,
    /// The connection that it came on.
    pub(super) activity: Activity,
}

/// What is said where the method is none of those that are allowed.
pub(super) fn not_allowed(allowed: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    reply
}

pub(super) fn text(status: StatusCode, body: &'static str) -> Reply {
    reply(status, TEXT, body.to_owned())
}

/// What is told in a line.
pub(super) fn told(status: StatusCode, line: impl Display) -> Reply {
    reply(status, TEXT, format!("{line}\n"))
}

pub(super) fn reply(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}
