//! The web configuration as it is written: every key optional, every value in range on its own.
//!
//! Its keys are those of Prometheus' exporter-toolkit. A key with an empty text is as good as no key, as it is there.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{
    super::{
        duration::parse_duration,
        field::{FromText, NameKey, Switch, Text, Within, quote},
    },
    ClientAuth, Curve, PasswordHash, TlsVersion,
};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a mapping with the keys tls_server_config, http_server_config, basic_auth_users, rate_limit"
)]
pub(super) struct RawWeb {
    pub(super) tls_server_config: Option<RawTls>,
    pub(super) http_server_config: Option<RawHttp>,
    pub(super) basic_auth_users: Option<BTreeMap<NameKey<UserName>, Option<Text<PasswordHash>>>>,
    pub(super) rate_limit: Option<RawRateLimit>,
}

/// `tls_server_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of settings")]
pub(super) struct RawTls {
    pub(super) cert: Option<Text<PemText>>,
    pub(super) key: Option<Text<PemText>>,
    pub(super) client_ca: Option<Text<PemText>>,
    pub(super) cert_file: Option<Text<PemFile>>,
    pub(super) key_file: Option<Text<PemFile>>,
    pub(super) client_ca_file: Option<Text<PemFile>>,
    pub(super) client_auth_type: Option<Text<ClientAuth>>,
    pub(super) client_allowed_sans: Option<Vec<Option<Text<San>>>>,
    pub(super) min_version: Option<Text<TlsVersion>>,
    pub(super) max_version: Option<Text<TlsVersion>>,
    pub(super) cipher_suites: Option<Vec<Option<Text<CipherSuite>>>>,
    pub(super) prefer_server_cipher_suites: Option<Switch>,
    pub(super) curve_preferences: Option<Vec<Option<Text<Curve>>>>,
}

/// `http_server_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping with the keys http2, headers")]
pub(super) struct RawHttp {
    pub(super) http2: Option<Switch>,
    pub(super) headers: Option<RawHeaders>,
}

/// `http_server_config.headers`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of headers")]
pub(super) struct RawHeaders {
    #[serde(rename = "Content-Security-Policy")]
    pub(super) content_security_policy: Option<Text<HeaderText>>,
    #[serde(rename = "X-Frame-Options")]
    pub(super) x_frame_options: Option<Text<FrameOptions>>,
    #[serde(rename = "X-Content-Type-Options")]
    pub(super) x_content_type_options: Option<Text<ContentTypeOptions>>,
    #[serde(rename = "X-XSS-Protection")]
    pub(super) x_xss_protection: Option<Text<HeaderText>>,
    #[serde(rename = "Strict-Transport-Security")]
    pub(super) strict_transport_security: Option<Text<HeaderText>>,
}

/// `rate_limit`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping with the keys interval, burst")]
pub(super) struct RawRateLimit {
    pub(super) interval: Option<Text<RateInterval>>,
    pub(super) burst: Option<Within<u32, 0, 1_000_000>>,
}

/// PEM in the configuration itself; may be empty. Errors never quote it: it may be a private key.
#[derive(Debug)]
pub(super) struct PemText(pub(super) String);

impl FromText for PemText {
    const ALLOWED: &'static str = "text in PEM, which begins with -----BEGIN";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains("-----BEGIN ") {
            Ok(Self(text.to_owned()))
        } else {
            Err("the text is not PEM".to_owned())
        }
    }
}

/// The path of a file with PEM; may be empty.
#[derive(Debug)]
pub(super) struct PemFile(pub(super) String);

impl FromText for PemFile {
    const ALLOWED: &'static str = "the path of a file";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('\0') || text.ends_with('/') {
            return Err(format!("{} names no file", quote(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A subject alternative name.
#[derive(Debug)]
pub(super) struct San(pub(super) String);

impl FromText for San {
    const ALLOWED: &'static str =
        "a DNS name, an IP address, an e-mail address or a URI, as the certificate has it";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("the name is empty".to_owned()) } else { Ok(Self(text.to_owned())) }
    }
}

impl FromText for ClientAuth {
    const ALLOWED: &'static str = "are NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, \
         RequireAndVerifyClientCert";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "" | "NoClientCert" => Ok(Self::None),
            "RequestClientCert" => Ok(Self::Request),
            // The second name is an old one of the toolkit.
            "RequireAnyClientCert" | "RequireClientCert" => Ok(Self::RequireAny),
            "VerifyClientCertIfGiven" => Ok(Self::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::RequireAndVerify),
            _ => Err(format!("unknown value {}", quote(text))),
        }
    }
}

impl FromText for TlsVersion {
    const ALLOWED: &'static str = "are TLS12, TLS13";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            "TLS10" | "TLS11" => Err(format!("{text} is not supported: it is no longer safe (RFC 8996)")),
            _ => Err(format!("unknown value {}", quote(text))),
        }
    }
}

/// A cipher suite.
#[derive(Debug)]
pub(super) enum CipherSuite {
    /// Of TLS 1.2.
    Tls12(&'static str),
    /// Of TLS 1.3, all of which are always there.
    Tls13,
}

/// The cipher suites of TLS 1.2 that the TLS library has.
const TLS12_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

const TLS13_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

impl FromText for CipherSuite {
    const ALLOWED: &'static str = "are TLS_ECDHE_ECDSA_WITH_ and TLS_ECDHE_RSA_WITH_ with each of AES_128_GCM_SHA256, \
         AES_256_GCM_SHA384, CHACHA20_POLY1305_SHA256; those of TLS 1.3 are always there";

    fn from_text(text: &str) -> Result<Self, String> {
        if TLS13_SUITES.contains(&text) {
            return Ok(Self::Tls13);
        }
        let known = TLS12_SUITES.into_iter().find(|name| *name == text);
        known.map(Self::Tls12).ok_or_else(|| format!("{} is not supported", quote(text)))
    }
}

impl FromText for Curve {
    const ALLOWED: &'static str = "are X25519, CurveP256, CurveP384";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "X25519" => Ok(Self::X25519),
            "CurveP256" => Ok(Self::P256),
            "CurveP384" => Ok(Self::P384),
            "CurveP521" => Err("CurveP521 is not supported".to_owned()),
            _ => Err(format!("unknown value {}", quote(text))),
        }
    }
}

/// The value of a header; may be empty.
#[derive(Debug)]
pub(super) struct HeaderText(pub(super) String);

impl FromText for HeaderText {
    const ALLOWED: &'static str = "one line of ASCII text";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.chars().all(|letter| letter == ' ' || letter.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{} is no value of a header", quote(text)))
        }
    }
}

/// The value of `X-Frame-Options`; may be empty.
#[derive(Debug)]
pub(super) struct FrameOptions(pub(super) String);

impl FromText for FrameOptions {
    const ALLOWED: &'static str = "are deny, sameorigin, and nothing";

    fn from_text(text: &str) -> Result<Self, String> {
        if matches!(text, "" | "deny" | "sameorigin") {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("unknown value {}", quote(text)))
        }
    }
}

/// The value of `X-Content-Type-Options`; may be empty.
#[derive(Debug)]
pub(super) struct ContentTypeOptions(pub(super) String);

impl FromText for ContentTypeOptions {
    const ALLOWED: &'static str = "are nosniff, and nothing";

    fn from_text(text: &str) -> Result<Self, String> {
        if matches!(text, "" | "nosniff") {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("unknown value {}", quote(text)))
        }
    }
}

/// The name of a user.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UserName(pub(super) String);

impl FromText for UserName {
    const ALLOWED: &'static str = "text without : and control characters (RFC 7617)";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains(':') || text.chars().any(char::is_control) {
            return Err("no client can send this name".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromText for PasswordHash {
    const ALLOWED: &'static str =
        "a bcrypt hash with a cost of 4 to 20, such as `htpasswd -nBC 10 NAME` prints";

    fn from_text(text: &str) -> Result<Self, String> {
        // The text may be a password that somebody forgot to hash: it is never quoted.
        match text.parse::<bcrypt::HashParts>() {
            Err(_) => Err("the text is no bcrypt hash".to_owned()),
            Ok(hash) if !(4..=20).contains(&hash.get_cost()) => {
                Err(format!("the cost {} is not supported", hash.get_cost()))
            }
            Ok(_) => Ok(Self(text.to_owned())),
        }
    }
}

/// Between two requests; zero for no limit.
#[derive(Debug)]
pub(super) struct RateInterval(pub(super) Duration);

impl FromText for RateInterval {
    const ALLOWED: &'static str = "1ms to 1d, and 0 for no limit";

    fn from_text(text: &str) -> Result<Self, String> {
        let interval = if text == "0" { Some(Duration::ZERO) } else { parse_duration(text) };
        match interval {
            None => Err(format!("{} is no duration such as 500ms, 60s or 1m30s", quote(text))),
            Some(interval) if interval > Duration::from_secs(86_400) => Err(format!("{text} is too long")),
            Some(interval) => Ok(Self(interval)),
        }
    }
}
