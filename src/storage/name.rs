//! The file of a target: a name that every file system takes, and no two targets share.

use std::{fmt::Write as _, hash::Hasher as _};

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// What the files of states end with.
pub(super) const SUFFIX: &str = ".state";
/// What files end with that are being written.
pub(super) const TEMPORARY: &str = ".state.tmp";

/// Longest name before the suffix, in bytes. File systems allow 255 in all.
const LENGTH_MAX: usize = 200;
/// How much of a name that is too long stays readable.
const READABLE: usize = 160;

/// The name of a target's file without its suffix. Letters, digits, `.`, `_` and `-` stand for themselves, all other bytes are
/// written as `%` and two digits, as is a dot in front, which would hide the file. Where that is too long, a hash of the name
/// stands behind its beginning; no other name has a `~`.
pub(super) fn stem(target: &str) -> String {
    let mut stem = String::with_capacity(target.len());
    for (place, byte) in target.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if is_plain && !(place == 0 && byte == b'.') {
            stem.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(stem, "%{byte:02X}");
        }
    }
    if stem.len() > LENGTH_MAX {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        hasher.write(target.as_bytes());
        stem.truncate(READABLE);
        let _ = write!(stem, "~{:032x}", hasher.finish128().as_u128());
    }
    stem
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_file_names() {
        let cases = [
            ("telia", "telia"),
            ("a.state.tmp", "a.state.tmp"),
            ("udp 192.0.2.1", "udp%20192.0.2.1"),
            ("a/../b", "a%2F..%2Fb"),
            (".hidden", "%2Ehidden"),
            ("-rf", "-rf"),
            ("100%", "100%25"),
            ("a%2Fb", "a%252Fb"),
            ("~", "%7E"),
            ("Zürich", "Z%C3%BCrich"),
        ];
        for (name, expected) in cases {
            assert_eq!(stem(name), expected);
        }
    }

    #[test]
    fn long_names_share_no_file() {
        let names =
            ["a".repeat(255), "a".repeat(254) + "b", "ü".repeat(127), "ü".repeat(126), "a".repeat(200)];
        let stems: BTreeSet<_> = names.iter().map(|name| stem(name)).collect();
        assert_eq!(stems.len(), names.len());
        assert!(stems.iter().all(|stem| stem.len() + TEMPORARY.len() + 10 <= 255), "{stems:?}");
        assert_eq!(stem(&names[4]), names[4], "this one still fits");
    }

    proptest! {
        #[test]
        fn any_two_names_differ(one in "\\PC{1,80}", other in "\\PC{1,80}") {
            let [of_one, of_other] = [&one, &other].map(|name| stem(name));
            prop_assert_eq!(of_one == of_other, one == other);
            prop_assert!(!of_one.starts_with('.') && of_one.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
        }
    }
}
