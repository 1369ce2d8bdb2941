//! Where the pages are found from outside: behind a reverse proxy perhaps, under a path of its own.

use hyper::Uri;

/// The URL under which the server is reachable, `--web.external-url`. Its path is the prefix of all paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalUrl {
    /// Without a slash at the end.
    url: String,
    /// Its path, which is empty or begins with a slash and does not end with one.
    prefix: String,
}

/// The text is no URL that pages can be under.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no URL of the pages; allowed is http:// or https:// with a host and perhaps a path, or a path", .0.escape_debug()
)]
pub struct NoExternalUrl(String);

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A path below the prefix.
    Inside(&'a str),
    /// The landing page, which is at this URL.
    Moved(String),
    /// Nothing.
    Outside,
}

impl std::str::FromStr for ExternalUrl {
    type Err = NoExternalUrl;

    fn from_str(text: &str) -> Result<Self, NoExternalUrl> {
        let no = || NoExternalUrl(text.to_owned());
        let url: Uri = text.parse().map_err(|_| no())?;
        let has_host = url.host().is_some_and(|host| !host.is_empty());
        let is_absolute = matches!(url.scheme_str(), Some("http" | "https")) && has_host;
        let is_path = url.scheme().is_none() && url.authority().is_none();
        let is_plain = !text.contains(['?', '#', '@', '\'', '"', '\\']);
        if !(is_absolute || is_path) || !is_plain || text == "*" || url.path().contains("//") {
            return Err(no());
        }
        Ok(Self {
            url: text.trim_end_matches('/').to_owned(),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl ExternalUrl {
    /// What a path of a request leads to.
    pub(super) fn place<'a>(&self, path: &'a str) -> Place<'a> {
        match path.strip_prefix(&self.prefix) {
            Some(rest) if rest.starts_with('/') => Place::Inside(rest),
            Some("") => Place::Moved(format!("{}/", self.url)),
            _ if path == "/" => Place::Moved(format!("{}/", self.url)),
            _ => Place::Outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_path_is_the_prefix() {
        let moved = |url: &str| Place::Moved(url.to_owned());
        let cases = [
            ("http://example.net", "/", Place::Inside("/")),
            ("http://example.net/", "/metrics", Place::Inside("/metrics")),
            ("https://example.net/tf/", "/tf/", Place::Inside("/")),
            ("https://example.net/tf", "/tf/metrics", Place::Inside("/metrics")),
            ("https://example.net/tf", "/tf", moved("https://example.net/tf/")),
            ("https://example.net/tf", "/", moved("https://example.net/tf/")),
            ("https://example.net/tf", "/metrics", Place::Outside),
            ("https://example.net/tf", "/tfx", Place::Outside),
            ("/a/b", "/a/b/-/healthy", Place::Inside("/-/healthy")),
            ("/a/b", "/", moved("/a/b/")),
            ("/", "/-/ready", Place::Inside("/-/ready")),
        ];
        for (url, path, expected) in cases {
            let url: ExternalUrl = url.parse().expect(url);
            assert_eq!(url.place(path), expected, "{path} below {url:?}");
        }
        assert_eq!(ExternalUrl::default().place("/metrics"), Place::Inside("/metrics"));
    }

    #[test]
    fn what_is_no_url_of_pages_is_refused() {
        let texts = [
            "",
            "example.net",
            "example.net:80",
            "ftp://example.net/",
            "http://",
            "http:///tf",
            "//example.net/tf",
            "http://example.net/?a=b",
            "http://example.net/#a",
            "http://me@example.net/",
            "http://example.net/a b",
            "'http://example.net'",
            "*",
        ];
        for text in texts {
            let error = text.parse::<ExternalUrl>().expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("`{}` is no URL", text.escape_debug()))
                    && error.lines().count() == 1,
                "{error}"
            );
        }
    }
}
