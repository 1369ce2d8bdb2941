//! The options behind the question mark of a request.
//!
//! Knows how they are written (the URL standard's application/x-www-form-urlencoded). Knows nothing of what they mean.

use std::borrow::Cow;

/// The value of the first option of this name; `None` where there is none.
pub(super) fn option<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let options = form_urlencoded::parse(query.as_bytes());
    options.into_iter().find_map(|(own, value)| (own == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_by_their_name() {
        let cases = [
            ("", None),
            ("format", Some("")),
            ("format=dot", Some("dot")),
            ("a=b&format=d%6ft&format=svg", Some("dot")),
            ("Format=dot", None),
            ("f%6Frmat=a+b%26%ff", Some("a b&\u{fffd}")),
            ("%=&&=&format==", Some("=")),
        ];
        for (query, expected) in cases {
            assert_eq!(option(query, "format").as_deref(), expected, "{query}");
        }
    }
}
