//! Which request gets which response.

use std::{mem, sync::Arc};

use hyper::{
    Method, StatusCode,
    header::{self, HeaderValue},
};
use tokio::sync::oneshot;

use super::{
    State, api, encoding, graph,
    message::{CSS, HTML, JAVASCRIPT, JSON, Reply, Request, SVG, not_allowed, reply, text, told},
    pages, probe,
};
use crate::{metrics, store::Snapshot};

/// What a path shows.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Metrics,
    Index,
    Page(String),
    Style,
    Script,
    Icon,
    Healthy,
    Ready,
    Reload,
    Probe,
    Targets,
    Target(String),
    Graph(String),
}

/// The response to a request. What takes long is computed off the event loop.
pub(super) async fn to(mut request: Request, state: Arc<State>) -> Reply {
    let Some(route) = Route::of(&request.path, &state.telemetry_path) else {
        return text(StatusCode::NOT_FOUND, "not found\n");
    };
    let (methods, allowed) = match route {
        Route::Reload => (&[Method::POST][..], "POST"),
        _ => (&[Method::GET, Method::HEAD][..], "GET, HEAD"),
    };
    if !methods.contains(&request.method) {
        return not_allowed(allowed);
    }
    match route {
        Route::Reload => return reload(&state).await,
        Route::Healthy => return text(StatusCode::OK, "ok\n"),
        Route::Ready if state.store.is_complete() => return text(StatusCode::OK, "ready\n"),
        Route::Ready => {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not every target was tried yet\n");
        }
        Route::Icon => return reply(StatusCode::OK, SVG, pages::ICON.to_owned()),
        Route::Probe => {
            return match probe::ask(&request, &state).await {
                Ok(probed) => computed(request, state, move |state| probe::show(&probed, state)).await,
                Err(refused) => refused,
            };
        }
        _ => {}
    }
    let query = mem::take(&mut request.query);
    computed(request, state, move |state| show(&route, &query, state)).await
}

/// A response that takes long to make.
async fn computed(
    Request { path, gzip, .. }: Request,
    state: Arc<State>,
    make: impl FnOnce(&State) -> Reply + Send + 'static,
) -> Reply {
    // The semaphore is never closed.
    let Ok(permit) = Arc::clone(&state.renderings).acquire_owned().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    };
    let shown = tokio::task::spawn_blocking(move || {
        // Held until it is computed, also where the client has gone.
        let _permit = permit;
        let mut reply = make(&state);
        reply.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if gzip { encoding::gzip(reply) } else { reply }
    })
    .await;
    shown.unwrap_or_else(|error| {
        tracing::error!(%error, path, "a response could not be made");
        text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    })
}

/// Has the configuration read again, and waits until that is done.
async fn reload(state: &State) -> Reply {
    let Some(requests) = &state.reloads else {
        return text(StatusCode::NOT_FOUND, "there is no configuration file\n");
    };
    let (answer, outcome) = oneshot::channel();
    // Errors say that whoever reloads has ended.
    let _ = requests.send(answer).await;
    match outcome.await {
        Ok(Ok(())) => text(StatusCode::OK, "reloaded\n"),
        Ok(Err(wrong)) => told(StatusCode::INTERNAL_SERVER_ERROR, wrong),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

fn show(route: &Route, query: &str, state: &State) -> Reply {
    let of = |name: &str, show: &dyn Fn(&Snapshot) -> Reply| match state.store.target(name) {
        Some(snapshot) => show(&snapshot),
        None => text(StatusCode::NOT_FOUND, "no such target\n"),
    };
    match route {
        Route::Metrics => reply(StatusCode::OK, metrics::CONTENT_TYPE, state.metrics()),
        Route::Targets => reply(StatusCode::OK, JSON, api::targets(&state.store)),
        Route::Target(name) => of(name, &|snapshot| reply(StatusCode::OK, JSON, api::target(snapshot))),
        Route::Graph(name) => of(name, &|snapshot| graph::show(snapshot, query)),
        Route::Page(name) => match state.store.target(name) {
            Some(snapshot) => reply(StatusCode::OK, HTML, pages::target(&snapshot, &state.telemetry_path)),
            None => reply(StatusCode::NOT_FOUND, HTML, pages::missing(name, &state.telemetry_path)),
        },
        Route::Style => reply(StatusCode::OK, CSS, pages::STYLE.to_owned()),
        Route::Script => reply(StatusCode::OK, JAVASCRIPT, pages::SCRIPT.to_owned()),
        _ => reply(StatusCode::OK, HTML, pages::index(&state.store, &state.telemetry_path)),
    }
}

impl Route {
    /// The metrics' path is free to choose, and goes before all others.
    fn of(path: &str, telemetry_path: &str) -> Option<Self> {
        if path == telemetry_path {
            return Some(Self::Metrics);
        }
        match path {
            "/" => Some(Self::Index),
            "/style.css" => Some(Self::Style),
            "/script.js" => Some(Self::Script),
            "/icon.svg" => Some(Self::Icon),
            "/-/healthy" => Some(Self::Healthy),
            "/-/ready" => Some(Self::Ready),
            "/-/reload" => Some(Self::Reload),
            "/probe" => Some(Self::Probe),
            "/api/v1/targets" => Some(Self::Targets),
            _ => {
                if let Some(name) = path.strip_prefix("/targets/") {
                    return segment(name).map(Self::Page);
                }
                let rest = path.strip_prefix("/api/v1/targets/")?;
                match rest.strip_suffix("/graph") {
                    Some(name) => segment(name).map(Self::Graph),
                    None => segment(rest).map(Self::Target),
                }
            }
        }
    }
}

/// The one segment that is left of a path, decoded.
fn segment(text: &str) -> Option<String> {
    let is_one = !text.is_empty() && !text.contains('/');
    is_one.then(|| percent_decode(text)).flatten()
}

/// Decodes a path's segment (RFC 3986, section 2.1); `None` where it is not well-formed or not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_what_they_name() {
        let target = |name: &str| Some(Route::Target(name.to_owned()));
        let cases = [
            ("/", "/metrics", Some(Route::Index)),
            ("/metrics", "/metrics", Some(Route::Metrics)),
            ("/metrics", "/custom", None),
            ("/custom", "/custom", Some(Route::Metrics)),
            ("/", "/", Some(Route::Metrics)),
            ("/metrics/", "/metrics", None),
            ("/-/healthy", "/metrics", Some(Route::Healthy)),
            ("/-/reload", "/metrics", Some(Route::Reload)),
            ("/-/ready", "/metrics", Some(Route::Ready)),
            ("/probe", "/metrics", Some(Route::Probe)),
            ("/probe/", "/metrics", None),
            ("/api/v1/targets", "/metrics", Some(Route::Targets)),
            ("/api/v1/targets/", "/metrics", None),
            ("/api/v1/targets/telia", "/metrics", target("telia")),
            ("/api/v1/targets/a%20b%2Fc%C3%A9", "/metrics", target("a b/cé")),
            ("/targets/a%2fb", "/metrics", Some(Route::Page("a/b".to_owned()))),
            ("/targets/", "/metrics", None),
            ("/targets/a/b", "/metrics", None),
            ("/api/v1/targets/a/b", "/metrics", None),
            ("/api/v1/targets/a%2fb/graph", "/metrics", Some(Route::Graph("a/b".to_owned()))),
            ("/api/v1/targets/graph", "/metrics", target("graph")),
            ("/api/v1/targets//graph", "/metrics", None),
            ("/api/v1/targets/a/b/graph", "/metrics", None),
            ("/api/v1/targets/%", "/metrics", None),
            ("/api/v1/targets/%4", "/metrics", None),
            ("/api/v1/targets/%+1", "/metrics", None),
            ("/api/v1/targets/%ff", "/metrics", None),
        ];
        for (path, telemetry_path, expected) in cases {
            assert_eq!(Route::of(path, telemetry_path), expected, "{path} with metrics at {telemetry_path}");
        }
    }
}
