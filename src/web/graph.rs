//! The route of a target as a graph, in the formats of `trace --format` that are pictures or become some.
//!
//! Knows which formats there are and what they are called on the wire. Knows nothing of how they are made.

use hyper::{
    StatusCode,
    header::{CONTENT_SECURITY_POLICY, HeaderValue},
};

use super::{
    api,
    message::{JSON, Reply, SVG, TEXT, reply, text},
    query,
};
use crate::{
    render::{self, Report},
    store::Snapshot,
};

/// The style sheet inside a picture is allowed by its hash: a browser that opens the file as a page applies it and nothing else.
const SVG_POLICY: &str = "default-src 'none'; style-src 'sha256-3yo9W3wIabalzfFeehe5N5HLJfv92DyY+fIymGv7f5o='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A format: its name, its media type and what makes it.
type Format = (&'static str, &'static str, fn(&Report<'_>) -> String);

const FORMATS: [Format; 4] = [
    ("svg", SVG, render::svg),
    ("dot", "text/vnd.graphviz; charset=utf-8", render::dot),
    ("mermaid", TEXT, render::mermaid),
    ("vis", JSON, render::vis),
];

/// The graph of a target's last trace, in the format that the query names.
pub(super) fn show(snapshot: &Snapshot, query: &str) -> Reply {
    let wanted = query::option(query, "format").unwrap_or_else(|| "svg".into());
    let Some((_, media_type, make)) = FORMATS.into_iter().find(|(name, ..)| *name == wanted) else {
        return text(StatusCode::BAD_REQUEST, "unknown format; allowed are svg, dot, mermaid, vis\n");
    };
    let Some(report) = api::report(snapshot) else {
        return text(StatusCode::NOT_FOUND, "no trace of this target was made yet\n");
    };
    let mut reply = reply(StatusCode::OK, media_type, make(&report));
    if wanted == "svg" {
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SVG_POLICY));
    }
    reply
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};

    use super::*;
    use crate::render::sample;

    #[test]
    fn a_picture_may_have_its_own_style_sheet_and_no_other() {
        let snapshot = sample::traced("a", sample::diamond());
        let svg = render::svg(&api::report(&snapshot).unwrap());
        let (_, behind) = svg.split_once("<style>").unwrap();
        let (sheet, rest) = behind.split_once("</style>").unwrap();
        assert!(!rest.contains("<style"));
        let hash = ring::digest::digest(&ring::digest::SHA256, sheet.as_bytes());
        let hash = BASE64_STANDARD.encode(hash);
        assert!(SVG_POLICY.contains(&format!("style-src 'sha256-{hash}';")), "the hash is {hash} now");
    }
}
