//! Compressed responses, for clients that ask for them.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{
    HeaderMap,
    body::Bytes,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue},
};

use super::message::Reply;

/// Smaller bodies fit in one packet anyway.
const WORTHWHILE: usize = 1024;

/// Whether a request wants its response in gzip (RFC 9110, section 12.5.3).
pub(super) fn wants_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any) = (None, None);
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for entry in values.flat_map(|value| value.split(',')) {
        let (coding, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let allowed = is_positive(weight);
        match coding.trim() {
            coding if ["gzip", "x-gzip"].iter().any(|name| name.eq_ignore_ascii_case(coding)) => {
                gzip = Some(allowed);
            }
            "*" => any = Some(allowed),
            _ => {}
        }
    }
    gzip.or(any).unwrap_or_default()
}

/// Whether a weight, such as `q=0.5`, is not zero. What is no weight counts as none given.
fn is_positive(weight: &str) -> bool {
    let value = weight.split_once('=').and_then(|(_, value)| value.trim().parse::<f32>().ok());
    value.is_none_or(|value| value > 0.0)
}

/// The response with its body in gzip where that is worth it.
pub(super) fn gzip(reply: Reply) -> Reply {
    let (mut head, body) = reply.into_parts();
    let plain = body.into_inner().unwrap_or_default();
    let packed = if plain.len() < WORTHWHILE { None } else { pack(&plain) };
    let body = match packed {
        Some(packed) => {
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Bytes::from(packed)
        }
        None => plain,
    };
    Reply::from_parts(head, Full::new(body))
}

fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    // Expositions repeat themselves so much that more effort buys little.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_ask() {
        let cases: [(&[&str], bool); 14] = [
            (&[], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZIP"], true),
            (&["x-gzip"], true),
            (&["identity"], false),
            (&["deflate, br"], false),
            (&["deflate, gzip;q=0.5"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, *"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["br", "gzip"], true),
            (&["gzip;q=0", "identity"], false),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_str(value).expect("a value"));
            }
            assert_eq!(wants_gzip(&headers), expected, "{values:?}");
        }
    }
}
