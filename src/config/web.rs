//! The web configuration: TLS, HTTP and passwords of the server, in the format that all of Prometheus' exporters share.
//!
//! Knows its keys, defaults and ranges. Reads no certificate: what stands here is what the operator wrote.

mod raw;
mod validate;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use self::raw::RawWeb;
use super::{ConfigError, source, validate::Failure, yaml::key};

/// A web configuration that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct WebConfig {
    /// How connections are encrypted; `None` for plain HTTP.
    pub tls: Option<TlsSettings>,
    /// Whether HTTP/2 is offered where connections are encrypted.
    pub http2: bool,
    /// Headers of every response by name, in place of those that the server sends by itself. One with an empty value is not sent.
    pub headers: BTreeMap<&'static str, String>,
    /// Who may ask, and for which password; empty for everyone.
    pub users: BTreeMap<String, PasswordHash>,
    /// How many requests are answered; `None` for all.
    pub rate_limit: Option<RateLimit>,
    source: Source,
}

/// How connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate, and what leads from it to an authority.
    pub certificate: Pem,
    /// The private key of the certificate.
    pub key: Pem,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// The authorities of the clients' certificates: present where [`ClientAuth::verifies`], absent with [`ClientAuth::None`],
    /// and a mere hint to clients elsewhere.
    pub client_ca: Option<Pem>,
    /// The subject alternative names (DNS, IP, e-mail, URI) of which a client's certificate must have one; empty for any.
    pub client_allowed_sans: Vec<String>,
    /// The lowest version.
    pub min_version: TlsVersion,
    /// The highest version, not below `min_version`.
    pub max_version: TlsVersion,
    /// The cipher suites of TLS 1.2 as the IANA names them, the preferred first; empty where none are to be left with TLS 1.3
    /// alone, `None` for all.
    pub cipher_suites: Option<Vec<&'static str>>,
    /// Whether the server's order of cipher suites counts, or the client's.
    pub prefer_server_cipher_suites: bool,
    /// The groups of the key exchange, the preferred first; empty for all.
    pub curve_preferences: Vec<Curve>,
}

/// Text in PEM (RFC 7468), and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In the web configuration.
    Inline {
        /// Its key below `tls_server_config`.
        key: &'static str,
        /// The text itself.
        text: String,
    },
    /// In a file.
    File {
        /// Its key below `tls_server_config`.
        key: &'static str,
        /// A relative path of the configuration, counted from its directory.
        path: PathBuf,
    },
}

impl Pem {
    /// The key below `tls_server_config` that names it.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Inline { key, .. } | Self::File { key, .. } => key,
        }
    }

    /// The file that it is in; `None` where that is the web configuration.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Inline { .. } => None,
            Self::File { path, .. } => Some(path),
        }
    }
}

impl fmt::Debug for Pem {
    /// A private key is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("key", &self.key()).field("file", &self.file()).finish_non_exhaustive()
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked to.
    #[default]
    None,
    /// They are asked to; nobody looks at what they show.
    Request,
    /// They have to; nobody looks at who signed it.
    RequireAny,
    /// Those that show one are only let in with one of the authorities.
    VerifyIfGiven,
    /// They have to, with one of the authorities.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether certificates are held against authorities.
    #[must_use]
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether there is none without a certificate.
    #[must_use]
    pub const fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// A version of TLS. Older ones are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A group of the key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// X25519 (RFC 7748).
    X25519,
    /// NIST's P-256.
    P256,
    /// NIST's P-384.
    P384,
}

/// A password as bcrypt hashed it, with a cost of 4 to 20.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash, with version, cost and salt.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// How many requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// One request this often: 1 ms to 1 d.
    pub interval: Duration,
    /// So many at once after a rest: at least 1.
    pub burst: u32,
}

/// Where it comes from, so that an error found later can say where it stands.
#[derive(Clone, PartialEq, Eq)]
struct Source {
    file: String,
    text: String,
}

impl fmt::Debug for Source {
    /// The text may hold a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)
    }
}

impl WebConfig {
    /// Reads a file of at most 64 MiB. An empty one means plain HTTP for everyone.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] where the file cannot be read or is too large, otherwise [`ConfigError::Invalid`] for the first
    /// thing found that is not allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&path.to_string_lossy(), directory, &source::read(path)?)
    }

    /// Parses and validates the text of a file in a directory; `file` is for errors only.
    fn parse(file: &str, directory: &Path, text: &str) -> Result<Self, ConfigError> {
        let text = source::without_mark(text);
        let raw = source::document::<RawWeb>(file, text)?.unwrap_or_default();
        let origin = Source { file: file.to_owned(), text: text.to_owned() };
        validate::web(raw, directory, origin).map_err(|failure| source::failed(file, text, failure))
    }

    /// The error that what a key below `tls_server_config` names is wrong.
    #[must_use]
    pub fn refuse_tls(&self, name: &str, wrong: impl Into<String>, allowed: &str) -> ConfigError {
        let failure = Failure::new([key("tls_server_config"), key(name)], wrong, allowed);
        source::failed(&self.source.file, &self.source.text, failure)
    }
}
