//! What stands in a state file: a line with version and checksum, then JSON.

use std::hash::Hasher as _;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use siphasher::sip::SipHasher24;

const MAGIC: &str = "traceflow_exporter state ";
/// Goes up when an older program would misread what a newer one writes, or the other way round.
const VERSION: &str = "1";

/// Why a file is no state of a target.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is no state file")]
    Unknown,
    #[error("it has the unknown version {0}; known is {VERSION}")]
    Version(u32),
    #[error("it was cut off or changed: the checksum does not fit")]
    Checksum,
    #[error("its content makes no sense: {0}")]
    Content(serde_json::Error),
    #[error("it belongs to another target: {0:?}")]
    Foreign(String),
}

#[derive(Serialize, Deserialize)]
struct Body<N, T> {
    target: N,
    state: T,
}

/// The content of a target's file.
pub(super) fn encode<T: Serialize>(target: &str, state: &T) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(&Body { target, state })?;
    let mut content = format!("{MAGIC}{VERSION} {}\n", checksum(&body)).into_bytes();
    content.extend(body);
    Ok(content)
}

/// The state that a file holds.
pub(super) fn decode<T: DeserializeOwned>(target: &str, content: &[u8]) -> Result<T, Damage> {
    let line = content.iter().position(|&byte| byte == b'\n').ok_or(Damage::Unknown)?;
    let (header, body) = content.split_at_checked(line).ok_or(Damage::Unknown)?;
    let header = std::str::from_utf8(header).ok().and_then(|header| header.strip_prefix(MAGIC));
    let (version, expected) = header.and_then(|header| header.split_once(' ')).ok_or(Damage::Unknown)?;
    if version != VERSION {
        return Err(version.parse().map_or(Damage::Unknown, Damage::Version));
    }
    let body = body.get(1..).unwrap_or_default();
    if expected != checksum(body) {
        return Err(Damage::Checksum);
    }
    let body: Body<String, T> = serde_json::from_slice(body).map_err(Damage::Content)?;
    if body.target == target { Ok(body.state) } else { Err(Damage::Foreign(body.target)) }
}

fn checksum(body: &[u8]) -> String {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(body);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Vec<u64>;

    fn file() -> Vec<u8> {
        encode("a", &vec![1_u64, 20, 300]).unwrap()
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        assert_eq!(decode::<Numbers>("a", &file()).unwrap(), [1, 20, 300]);
        assert_eq!(
            String::from_utf8(file()).unwrap(),
            "traceflow_exporter state 1 0fbcf4d7ffe16d0e\n{\"target\":\"a\",\"state\":[1,20,300]}",
            "written files have to stay readable"
        );
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let whole = file();
        for length in 0..whole.len() {
            assert!(decode::<Numbers>("a", &whole[..length]).is_err(), "the first {length} bytes");
        }
        for place in 0..whole.len() {
            for other in (0..=u8::MAX).filter(|&other| other != whole[place]) {
                let mut changed = whole.clone();
                changed[place] = other;
                assert!(decode::<Numbers>("a", &changed).is_err(), "byte {place} is {other}");
            }
        }
        let longer = [&whole[..], b"\n"].concat();
        assert!(matches!(decode::<Numbers>("a", &longer), Err(Damage::Checksum)));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let text = String::from_utf8(file()).unwrap();
        let cases = [
            (String::new(), "it is no state file"),
            ("#!/bin/sh\n".to_owned(), "it is no state file"),
            (text.replace("state 1", "state 2"), "it has the unknown version 2; known is 1"),
            (text.replace("20", "21"), "it was cut off or changed: the checksum does not fit"),
            (
                String::from_utf8(encode("a", &"text").unwrap()).unwrap(),
                "its content makes no sense: invalid type: string \"text\", expected a sequence at line 1 column 28",
            ),
            (
                String::from_utf8(encode("b\nc", &Numbers::new()).unwrap()).unwrap(),
                "it belongs to another target: \"b\\nc\"",
            ),
        ];
        for (content, expected) in cases {
            let damage = decode::<Numbers>("a", content.as_bytes()).unwrap_err();
            assert_eq!(damage.to_string(), expected);
        }
    }
}
