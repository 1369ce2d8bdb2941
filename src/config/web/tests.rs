use super::*;

const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

fn parse(text: &str) -> Result<WebConfig, ConfigError> {
    WebConfig::parse("w", Path::new("/etc/web"), text)
}

fn tls(settings: &str) -> TlsSettings {
    let text = format!("tls_server_config: {{ cert_file: c.pem, key_file: /k.pem, {settings} }}");
    parse(&text).expect("it is valid").tls.expect("it encrypts")
}

#[test]
fn what_says_nothing_means_plain_http_for_everyone() {
    let texts = [
        "",
        "# nothing\n",
        "{}",
        "tls_server_config:",
        "tls_server_config: {}\nbasic_auth_users:\nrate_limit: { interval: 0 }",
        "tls_server_config: { cert_file: '', client_ca_file: \"\", client_auth_type: '' }",
        "http_server_config: { http2: true, headers: }",
    ];
    for text in texts {
        let config = parse(text).expect(text);
        assert_eq!((config.tls, config.http2, config.rate_limit), (None, true, None), "{text}");
        assert!(config.users.is_empty() && config.headers.is_empty(), "{text}");
    }
}

#[test]
fn all_keys_are_understood() {
    let text = format!(
        "tls_server_config:
  cert_file: server.crt
  key: |
    -----BEGIN PRIVATE KEY-----
    AAAA
    -----END PRIVATE KEY-----
  client_ca_file: /ca.crt
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [prometheus.example.net, 192.0.2.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP384, X25519]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: ''
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 100ms
  burst: 20
"
    );
    let config = parse(&text).expect("it is valid");
    let tls = config.tls.as_ref().expect("it encrypts");
    assert_eq!(tls.certificate.file(), Some(Path::new("/etc/web/server.crt")));
    assert_eq!((tls.key.key(), tls.key.file()), ("key", None));
    assert_eq!(tls.client_ca.as_ref().and_then(Pem::file), Some(Path::new("/ca.crt")));
    assert_eq!(tls.client_auth, ClientAuth::RequireAndVerify);
    assert_eq!(tls.client_allowed_sans, ["prometheus.example.net", "192.0.2.1"]);
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::Tls12, TlsVersion::Tls13));
    assert_eq!(tls.cipher_suites.as_deref(), Some(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"][..]));
    assert_eq!((tls.prefer_server_cipher_suites, config.http2), (false, false));
    assert_eq!(tls.curve_preferences, [Curve::P384, Curve::X25519]);
    let headers: Vec<_> = config.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("content-security-policy", "default-src 'self'"),
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "sameorigin"),
            ("x-xss-protection", ""),
        ]
    );
    assert_eq!(config.users["alice"].as_str(), HASH);
    let limit = RateLimit { interval: Duration::from_millis(100), burst: 20 };
    assert_eq!(config.rate_limit, Some(limit));
}

#[test]
fn each_kind_of_client_authentication_has_its_name() {
    let ca = "client_ca_file: ca.pem, client_auth_type";
    for (settings, expected) in [
        ("", ClientAuth::None),
        ("client_auth_type: NoClientCert", ClientAuth::None),
        ("client_auth_type: RequestClientCert", ClientAuth::Request),
        ("client_auth_type: RequireAnyClientCert", ClientAuth::RequireAny),
        ("client_auth_type: RequireClientCert", ClientAuth::RequireAny),
        (&format!("{ca}: RequestClientCert"), ClientAuth::Request),
        (&format!("{ca}: VerifyClientCertIfGiven"), ClientAuth::VerifyIfGiven),
        (&format!("{ca}: RequireAndVerifyClientCert"), ClientAuth::RequireAndVerify),
    ] {
        assert_eq!(tls(settings).client_auth, expected, "{settings}");
    }
}

/// The text below `tls_server_config` where it begins with a comma: behind a certificate and a key.
#[test]
fn what_is_wrong_is_told_with_its_place() {
    const SUITES: &str = "are TLS_ECDHE_ECDSA_WITH_ and TLS_ECDHE_RSA_WITH_ with each of AES_128_GCM_SHA256, \
                          AES_256_GCM_SHA384, CHACHA20_POLY1305_SHA256; those of TLS 1.3 are always there";
    const HASHES: &str = "is a bcrypt hash with a cost of 4 to 20, such as `htpasswd -nBC 10 NAME` prints";
    let cases = [
        (
            "[]",
            "1:1: (root): found a list; allowed is a mapping with the keys tls_server_config, http_server_config, \
          basic_auth_users, rate_limit",
        ),
        (
            "tls: {}",
            "1:1: tls: unknown key; allowed are tls_server_config, http_server_config, basic_auth_users, \
          rate_limit",
        ),
        (
            ", ca_file: x",
            "1:58: tls_server_config.ca_file: unknown key; allowed are cert, key, client_ca, cert_file, \
          key_file, client_ca_file, client_auth_type, client_allowed_sans, min_version, max_version, cipher_suites, \
          prefer_server_cipher_suites, curve_preferences",
        ),
        (
            "tls_server_config: { cert_file: c }",
            "1:20: tls_server_config.key_file: the value is missing; allowed is a \
          private key in key_file or key",
        ),
        (
            "tls_server_config: { key_file: c }",
            "1:20: tls_server_config.cert_file: the value is missing; allowed is a \
          certificate in cert_file or cert",
        ),
        (
            "tls_server_config: { min_version: TLS13 }",
            "1:20: tls_server_config.cert_file: the value is missing; \
          allowed is a certificate in cert_file or cert",
        ),
        (
            ", cert: '-----BEGIN CERTIFICATE-----'",
            "1:64: tls_server_config.cert: cert_file is there as well; allowed is \
          one of the two",
        ),
        (
            ", client_ca: secret",
            "1:69: tls_server_config.client_ca: the text is not PEM; allowed is text in PEM, which \
          begins with -----BEGIN",
        ),
        (
            ", client_ca_file: a/",
            "1:74: tls_server_config.client_ca_file: `a/` names no file; allowed is the path of a \
          file",
        ),
        (
            ", client_auth_type: Always",
            "1:76: tls_server_config.client_auth_type: unknown value `Always`; allowed are \
          NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert",
        ),
        (
            ", client_auth_type: RequireAndVerifyClientCert",
            "1:20: tls_server_config.client_ca_file: the value is \
          missing; allowed is the authorities of the clients' certificates in client_ca_file or client_ca",
        ),
        (
            ", client_ca_file: a",
            "1:74: tls_server_config.client_ca_file: client_auth_type asks for no certificate; \
          allowed is with another client_auth_type than NoClientCert",
        ),
        (
            ", client_allowed_sans: [a]",
            "1:79: tls_server_config.client_allowed_sans: client_auth_type requires no \
          certificate; allowed is with client_auth_type RequireAnyClientCert and RequireAndVerifyClientCert",
        ),
        (
            ", client_allowed_sans: [a, '']",
            "1:83: tls_server_config.client_allowed_sans[1]: the name is empty; allowed \
          is a DNS name, an IP address, an e-mail address or a URI, as the certificate has it",
        ),
        (
            ", min_version: TLS10",
            "1:71: tls_server_config.min_version: TLS10 is not supported: it is no longer safe \
          (RFC 8996); allowed are TLS12, TLS13",
        ),
        (
            ", max_version: SSL30",
            "1:71: tls_server_config.max_version: unknown value `SSL30`; allowed are TLS12, TLS13",
        ),
        (
            ", min_version: TLS13, max_version: TLS12",
            "1:71: tls_server_config.min_version: it is above max_version; \
          allowed is at most max_version",
        ),
        (
            ", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",
            &format!(
                "1:74: tls_server_config.cipher_suites[0]: \
          `TLS_RSA_WITH_AES_128_CBC_SHA` is not supported; allowed {SUITES}"
            ),
        ),
        (
            ", cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12",
            "1:73: tls_server_config.cipher_suites: no \
          suite of max_version is left; allowed is at least one suite of TLS 1.2, or max_version: TLS13",
        ),
        (
            ", curve_preferences: [CurveP521]",
            "1:78: tls_server_config.curve_preferences[0]: CurveP521 is not supported; \
          allowed are X25519, CurveP256, CurveP384",
        ),
        (
            "http_server_config: { headers: { Server: x } }",
            "1:34: http_server_config.headers.Server: unknown key; allowed \
          are Content-Security-Policy, X-Frame-Options, X-Content-Type-Options, X-XSS-Protection, \
          Strict-Transport-Security",
        ),
        (
            "http_server_config: { headers: { X-Frame-Options: all } }",
            "1:51: http_server_config.headers.X-Frame-Options: \
          unknown value `all`; allowed are deny, sameorigin, and nothing",
        ),
        (
            "http_server_config: { headers: { X-XSS-Protection: \"a\\nb\" } }",
            "1:52: \
          http_server_config.headers.X-XSS-Protection: `a\\nb` is no value of a header; allowed is one line of ASCII text",
        ),
        (
            "http_server_config: { http2: 2 }",
            "1:30: http_server_config.http2: found integer `2`; allowed is true or false",
        ),
        (
            "basic_auth_users: { alice: secret }",
            &format!(
                "1:28: basic_auth_users.alice: the text is no bcrypt hash; \
          allowed {HASHES}"
            ),
        ),
        (
            &format!("basic_auth_users: {{ alice: {} }}", HASH.replace("$10$", "$31$")),
            &format!(
                "1:28: \
          basic_auth_users.alice: the cost 31 is not supported; allowed {HASHES}"
            ),
        ),
        (
            "basic_auth_users: { alice: }",
            &format!("1:28: basic_auth_users.alice: the value is missing; allowed {HASHES}"),
        ),
        (
            &format!("basic_auth_users: {{ 'a:b': {HASH} }}"),
            "1:21: basic_auth_users.a:b: no client can send this name; \
          allowed is text without : and control characters (RFC 7617)",
        ),
        (
            "rate_limit: { interval: 1 }",
            "1:25: rate_limit.interval: `1` is no duration such as 500ms, 60s or 1m30s; \
          allowed is 1ms to 1d, and 0 for no limit",
        ),
        (
            "rate_limit: { interval: 1s }",
            "1:13: rate_limit.burst: with 0 no request would be answered; allowed is at \
          least 1",
        ),
    ];
    for (text, expected) in cases {
        let text = if text.starts_with(',') {
            format!("tls_server_config: {{ cert_file: c.pem, key_file: /k.pem{text} }}")
        } else {
            text.to_owned()
        };
        let line = parse(&text).expect_err(&text).to_string();
        assert_eq!(line, format!("w:{expected}"), "{text}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let text = format!(
        "tls_server_config: {{ cert_file: c.pem, key: '-----BEGIN PRIVATE KEY-----' }}\nbasic_auth_users: {{ alice: {HASH} }}"
    );
    let shown = format!("{:?}", parse(&text).expect("it is valid"));
    assert!(shown.contains("alice") && !shown.contains("BEGIN") && !shown.contains("$2y$"), "{shown}");
}

#[test]
fn what_is_found_later_has_its_place_too() {
    let config = parse("tls_server_config:\n  cert_file: c.pem\n  key_file: k.pem\n").expect("it is valid");
    assert_eq!(
        config.refuse_tls("key_file", "no private key", "one").to_string(),
        "w:3:13: tls_server_config.key_file: no private key; allowed is one"
    );
}
