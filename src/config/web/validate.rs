//! From what is written to what is meant: defaults filled in, and what two keys say about each other checked.

use std::{collections::BTreeMap, path::Path};

use super::{
    super::{
        field::{NameKey, Switch, Text, Within},
        validate::{Failure, list, present},
        yaml::{
            Step::{self, Index},
            key,
        },
    },
    ClientAuth, Curve, Pem, RateLimit, Source, TlsSettings, TlsVersion, WebConfig,
    raw::{
        CipherSuite, PemFile, PemText, RateInterval, RawHeaders, RawRateLimit, RawTls, RawWeb, San, UserName,
    },
};

/// The web configuration that a file in a directory means.
pub(super) fn web(raw: RawWeb, directory: &Path, source: Source) -> Result<WebConfig, Failure> {
    let tls =
        raw.tls_server_config.filter(RawTls::says_something).map(|raw| tls(raw, directory)).transpose()?;
    let http = raw.http_server_config.unwrap_or_default();
    let users =
        raw.basic_auth_users.unwrap_or_default().into_iter().map(|(NameKey(UserName(name)), hash)| {
            let hash = present(hash, || vec![key("basic_auth_users"), key(&name)])?;
            Ok((name, hash))
        });
    Ok(WebConfig {
        tls,
        http2: http.http2.is_none_or(|Switch(value)| value),
        headers: headers(http.headers.unwrap_or_default()),
        users: users.collect::<Result<_, _>>()?,
        rate_limit: rate_limit(&raw.rate_limit.unwrap_or_default())?,
        source,
    })
}

fn at(name: &str) -> [Step; 2] {
    [key("tls_server_config"), key(name)]
}

fn tls(raw: RawTls, directory: &Path) -> Result<TlsSettings, Failure> {
    let pem = |names, text, file| pem(names, text, file, directory);
    let certificate = pem(["cert", "cert_file"], raw.cert, raw.cert_file)?;
    let private_key = pem(["key", "key_file"], raw.key, raw.key_file)?;
    let client_ca = pem(["client_ca", "client_ca_file"], raw.client_ca, raw.client_ca_file)?;
    let client_auth = raw.client_auth_type.map_or(ClientAuth::None, |Text(value)| value);
    let sans =
        list(raw.client_allowed_sans, |index| [&at("client_allowed_sans")[..], &[Index(index)]].concat())?;
    let client_allowed_sans: Vec<_> = sans.into_iter().map(|San(name)| name).collect();
    check_clients(client_auth, client_ca.as_ref(), &client_allowed_sans)?;

    let min_version = raw.min_version.map_or(TlsVersion::Tls12, |Text(value)| value);
    let max_version = raw.max_version.map_or(TlsVersion::Tls13, |Text(value)| value);
    if min_version > max_version {
        return Err(Failure::new(at("min_version"), "it is above max_version", "at most max_version"));
    }
    let suites: Vec<CipherSuite> =
        list(raw.cipher_suites, |index| [&at("cipher_suites")[..], &[Index(index)]].concat())?;
    let tls12 = suites.iter().filter_map(|suite| match suite {
        CipherSuite::Tls12(name) => Some(*name),
        CipherSuite::Tls13 => None,
    });
    let cipher_suites = (!suites.is_empty()).then(|| tls12.collect::<Vec<_>>());
    if max_version == TlsVersion::Tls12 && cipher_suites.as_ref().is_some_and(Vec::is_empty) {
        let allowed = "at least one suite of TLS 1.2, or max_version: TLS13";
        return Err(Failure::new(at("cipher_suites"), "no suite of max_version is left", allowed));
    }
    let curves = |index| [&at("curve_preferences")[..], &[Index(index)]].concat();
    let curve_preferences: Vec<Curve> = list(raw.curve_preferences, curves)?;

    let missing = |what: &str, allowed: &str| Failure::new(at(what), "the value is missing", allowed);
    Ok(TlsSettings {
        certificate: certificate.ok_or_else(|| missing("cert_file", "a certificate in cert_file or cert"))?,
        key: private_key.ok_or_else(|| missing("key_file", "a private key in key_file or key"))?,
        client_auth,
        client_ca,
        client_allowed_sans,
        min_version,
        max_version,
        cipher_suites,
        prefer_server_cipher_suites: raw.prefer_server_cipher_suites.is_none_or(|Switch(value)| value),
        curve_preferences,
    })
}

/// What is given as text or as a file, but not as both.
fn pem(
    [in_text, in_file]: [&'static str; 2],
    text: Option<Text<PemText>>,
    file: Option<Text<PemFile>>,
    directory: &Path,
) -> Result<Option<Pem>, Failure> {
    let text = text.map(|Text(PemText(text))| text).filter(|text| !text.is_empty());
    let file = file.map(|Text(PemFile(file))| file).filter(|file| !file.is_empty());
    match (text, file) {
        (Some(_), Some(_)) => {
            let wrong = format!("{in_file} is there as well");
            Err(Failure::new(at(in_text), wrong, "one of the two"))
        }
        (Some(text), None) => Ok(Some(Pem::Inline { key: in_text, text })),
        (None, file) => Ok(file.map(|file| Pem::File { key: in_file, path: directory.join(file) })),
    }
}

fn check_clients(auth: ClientAuth, ca: Option<&Pem>, sans: &[String]) -> Result<(), Failure> {
    match ca {
        None if auth.verifies() => {
            let allowed = "the authorities of the clients' certificates in client_ca_file or client_ca";
            return Err(Failure::new(at("client_ca_file"), "the value is missing", allowed));
        }
        Some(ca) if auth == ClientAuth::None => {
            let wrong = "client_auth_type asks for no certificate";
            return Err(Failure::new(at(ca.key()), wrong, "with another client_auth_type than NoClientCert"));
        }
        _ => {}
    }
    if !sans.is_empty() && !auth.requires() {
        let wrong = "client_auth_type requires no certificate";
        let allowed = "with client_auth_type RequireAnyClientCert and RequireAndVerifyClientCert";
        return Err(Failure::new(at("client_allowed_sans"), wrong, allowed));
    }
    Ok(())
}

fn headers(raw: RawHeaders) -> BTreeMap<&'static str, String> {
    let headers = [
        ("content-security-policy", raw.content_security_policy.map(|Text(value)| value.0)),
        ("x-frame-options", raw.x_frame_options.map(|Text(value)| value.0)),
        ("x-content-type-options", raw.x_content_type_options.map(|Text(value)| value.0)),
        ("x-xss-protection", raw.x_xss_protection.map(|Text(value)| value.0)),
        ("strict-transport-security", raw.strict_transport_security.map(|Text(value)| value.0)),
    ];
    headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn rate_limit(raw: &RawRateLimit) -> Result<Option<RateLimit>, Failure> {
    let Some(Text(RateInterval(interval))) = raw.interval else {
        return Ok(None);
    };
    let burst = raw.burst.as_ref().map_or(0, |Within(value)| *value);
    match burst {
        _ if interval.is_zero() => Ok(None),
        0 => {
            let wrong = "with 0 no request would be answered";
            Err(Failure::new([key("rate_limit"), key("burst")], wrong, "at least 1"))
        }
        burst => Ok(Some(RateLimit { interval, burst })),
    }
}

impl RawTls {
    /// Whether any key has a value that is not the one that it has anyway.
    fn says_something(&self) -> bool {
        let texts = [&self.cert, &self.key, &self.client_ca];
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        texts.into_iter().flatten().any(|Text(text)| !text.0.is_empty())
            || files.into_iter().flatten().any(|Text(file)| !file.0.is_empty())
            || self.client_auth_type.as_ref().is_some_and(|Text(auth)| *auth != ClientAuth::None)
            || self.client_allowed_sans.is_some()
            || self.min_version.is_some()
            || self.max_version.is_some()
            || self.cipher_suites.is_some()
            || self.prefer_server_cipher_suites.is_some()
            || self.curve_preferences.is_some()
    }
}
