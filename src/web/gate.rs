//! What every request passes before it is answered, and every response before it is sent.

use std::sync::Arc;

use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{
    State,
    activity::{Body, Busy},
    encoding::wants_gzip,
    external::Place,
    message::{self, Reply},
    respond,
    security::Policy,
};

/// How many seconds a Prometheus waits for the response.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
/// The longest path with its query, in bytes.
const URI_LENGTH: usize = 8 * 1024;
/// Most headers of a request.
pub(super) const HEADERS: usize = 64;
/// The largest body of a request, in bytes. No path reads one.
const BODY_SIZE: u64 = 64 * 1024;

/// The response to a request.
pub(super) async fn answer(request: Request<Incoming>, state: Arc<State>, busy: Busy) -> Response<Body> {
    let policy = state.security.now().await;
    let is_head = *request.method() == Method::HEAD;
    let mut reply = admitted(&request, state, &policy, &busy).await;
    for (name, value) in &policy.headers {
        match value {
            Some(value) => reply.headers_mut().insert(name, value.clone()),
            None => reply.headers_mut().remove(name),
        };
    }
    if busy.activity().is_crowded() {
        // A client that asks again and again does not keep its place for ever.
        match request.version() {
            Version::HTTP_2 => busy.activity().retire(),
            _ => drop(reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"))),
        }
    }
    let (mut head, body) = reply.into_parts();
    let mut bytes = body.into_inner().unwrap_or_default();
    if is_head {
        // HTTP/2 does not do it by itself.
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        bytes = Bytes::new();
    }
    Response::from_parts(head, Body::new(bytes, busy))
}

async fn admitted(request: &Request<Incoming>, state: Arc<State>, policy: &Policy, busy: &Busy) -> Reply {
    if let Some(refused) = malformed(request) {
        return refused;
    }
    if policy.limiter.as_ref().is_some_and(|limiter| !limiter.allows()) {
        let mut reply = message::text(StatusCode::TOO_MANY_REQUESTS, "too many requests\n");
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return reply;
    }
    let authorization = request.headers().get(hyper::header::AUTHORIZATION);
    if !policy.users.is_empty() && !state.authenticator.admits(&policy.users, authorization).await {
        let mut reply = message::text(StatusCode::UNAUTHORIZED, "unauthorized\n");
        let challenge = HeaderValue::from_static("Basic realm=\"traceflow_exporter\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        return reply;
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match state.external_url.place(request.uri().path()) {
        Place::Inside(path) => {
            let admitted = message::Request {
                method: request.method().clone(),
                path: path.to_owned(),
                query: request.uri().query().unwrap_or_default().to_owned(),
                gzip: wants_gzip(request.headers()),
                scrape_timeout: request.headers().get(SCRAPE_TIMEOUT).cloned(),
                activity: busy.activity().clone(),
            };
            respond::to(admitted, state).await
        }
        Place::Moved(_) if !is_read => message::not_allowed("GET, HEAD"),
        Place::Moved(url) => {
            let mut reply = message::text(StatusCode::FOUND, "the pages are elsewhere\n");
            if let Ok(url) = HeaderValue::from_str(&url) {
                reply.headers_mut().insert(LOCATION, url);
            }
            reply
        }
        // `OPTIONS *` and CONNECT name no path at all.
        Place::Outside if !is_read && !request.uri().path().starts_with('/') => {
            message::not_allowed("GET, HEAD")
        }
        Place::Outside => message::text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// What is said to a request that is out of bounds; the connection ends with it.
fn malformed(request: &Request<Incoming>) -> Option<Reply> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let uri = request.uri().path_and_query().map_or(0, |part| part.as_str().len());
    let (status, why) = if request.version() == Version::HTTP_11 && hosts != 1 {
        (StatusCode::BAD_REQUEST, "the request must have one Host header\n")
    } else if uri > URI_LENGTH {
        (StatusCode::URI_TOO_LONG, "the path is too long\n")
    } else if headers.len() > HEADERS {
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers\n")
    } else if length.is_some_and(|length| length > BODY_SIZE) {
        (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n")
    } else {
        return None;
    };
    let mut reply = message::text(status, why);
    if request.version() <= Version::HTTP_11 {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Some(reply)
}
