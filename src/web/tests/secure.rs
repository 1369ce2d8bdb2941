//! TLS, passwords and headers as a web configuration has them, seen from outside.

use std::{fs, net::TcpStream, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;
/// What a client may speak.
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const OLD: &[&SupportedProtocolVersion] = &[&TLS12];

/// Certificate and key in PEM.
type Identity = (String, String);

fn authority() -> Issuer {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("a certificate")
}

fn identity(authority: &Issuer, sans: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> Identity {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.subject_alt_names = sans;
    parameters.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.signed_by(&key, authority).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

fn server_identity(authority: &Issuer) -> Identity {
    identity(authority, vec![dns("localhost")], ExtendedKeyUsagePurpose::ServerAuth)
}

fn client_identity(authority: &Issuer, san: SanType) -> Identity {
    identity(authority, vec![san], ExtendedKeyUsagePurpose::ClientAuth)
}

fn write(directory: &Path, (certificate, key): &Identity) {
    // As careful operators do: each file is replaced in one step.
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        fs::write(directory.join("new"), text).expect("a file");
        fs::rename(directory.join("new"), directory.join(name)).expect("a file");
    }
}

/// A server secured by a text, which finds `server.crt`, `server.key` and `ca.crt` beside it.
fn secured(directory: &Path, authority: &Issuer, text: &str) -> Server {
    write(directory, &server_identity(authority));
    fs::write(directory.join("ca.crt"), authority.pem()).expect("a file");
    fs::write(directory.join("web.yaml"), text).expect("a file");
    let security = Security::load(Some(&directory.join("web.yaml"))).expect("it is valid");
    let mut server = Server::start(&targets());
    server.restart(|state| state.with_security(security));
    server
}

struct Client<'a> {
    authority: &'a Issuer,
    identity: Option<Identity>,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl<'a> Client<'a> {
    fn new(authority: &'a Issuer) -> Self {
        Self { authority, identity: None, versions: BOTH }
    }

    fn with(authority: &'a Issuer, identity: &Identity) -> Self {
        Self { identity: Some(identity.clone()), ..Self::new(authority) }
    }

    /// A connection that speaks this protocol.
    fn connect(&self, server: &Server, protocol: &[u8]) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![certificate], key).expect("an identity")
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = "localhost".try_into().expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        StreamOwned::new(connection, server.connect())
    }

    /// The status of a page, the version of TLS and the server's certificate; the error where there is none.
    fn ask(&self, server: &Server) -> Result<(u16, ProtocolVersion, Vec<u8>), String> {
        let mut stream = self.connect(server, b"http/1.1");
        let fail = |error: std::io::Error| error.to_string();
        stream
            .write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .map_err(fail)?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).map_err(fail)?;
        let status = String::from_utf8_lossy(&start[9..]).parse().map_err(|_| "no status".to_owned())?;
        let certificate = stream.conn.peer_certificates().expect("a certificate")[0].to_vec();
        Ok((status, stream.conn.protocol_version().expect("a version"), certificate))
    }

    fn is_served(&self, server: &Server) -> bool {
        self.ask(server).is_ok_and(|(status, ..)| status == 200)
    }
}

const TLS: &str = "tls_server_config: { cert_file: server.crt, key_file: server.key";

#[test]
fn versions_are_kept_to() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let old = Client { versions: OLD, ..Client::new(&authority) };
    let any = Client::new(&authority);
    let cases = [
        ("", Some(ProtocolVersion::TLSv1_2), Some(ProtocolVersion::TLSv1_3)),
        (", min_version: TLS13", None, Some(ProtocolVersion::TLSv1_3)),
        (", max_version: TLS12", Some(ProtocolVersion::TLSv1_2), Some(ProtocolVersion::TLSv1_2)),
        (
            ", max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256], \
             curve_preferences: [CurveP384]",
            Some(ProtocolVersion::TLSv1_2),
            Some(ProtocolVersion::TLSv1_2),
        ),
        // The certificate's key is an elliptic one.
        (", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", None, Some(ProtocolVersion::TLSv1_3)),
    ];
    for (settings, with_old, with_any) in cases {
        let server = secured(directory.path(), &authority, &format!("{TLS}{settings} }}"));
        let version = |client: &Client<'_>| client.ask(&server).ok().map(|(_, version, _)| version);
        assert_eq!((version(&old), version(&any)), (with_old, with_any), "{settings}");
    }
}

#[test]
fn clients_show_what_is_asked_of_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let [authority, stranger] = [(); 2].map(|()| authority());
    let none = Client::new(&authority);
    let ours = Client::with(&authority, &client_identity(&authority, dns("prometheus.example.net")));
    let other = Client::with(&authority, &client_identity(&stranger, dns("prometheus.example.net")));
    let by_address =
        Client::with(&authority, &client_identity(&authority, SanType::IpAddress([192, 0, 2, 1].into())));
    let by_uri = Client::with(
        &authority,
        &client_identity(&authority, SanType::URI("spiffe://a/b".try_into().expect("a URI"))),
    );
    let wrong_usage = Client::with(&authority, &server_identity(&authority));
    let clients = [&none, &ours, &other, &by_address, &by_uri, &wrong_usage];
    let any = "RequireAnyClientCert";
    let verified = "RequireAndVerifyClientCert, client_ca_file: ca.crt";
    let cases = [
        ("NoClientCert".to_owned(), [true; 6]),
        ("RequestClientCert".to_owned(), [true; 6]),
        (any.to_owned(), [false, true, true, true, true, true]),
        (
            "VerifyClientCertIfGiven, client_ca_file: ca.crt".to_owned(),
            [true, true, false, true, true, false],
        ),
        (verified.to_owned(), [false, true, false, true, true, false]),
        (
            format!("{verified}, client_allowed_sans: [prometheus.example.net]"),
            [false, true, false, false, false, false],
        ),
        (
            format!("{verified}, client_allowed_sans: [192.0.2.1, 'spiffe://a/b']"),
            [false, false, false, true, true, false],
        ),
        (
            format!("{any}, client_allowed_sans: [prometheus.example.net]"),
            [false, true, true, false, false, false],
        ),
    ];
    for (settings, expected) in cases {
        let server =
            secured(directory.path(), &authority, &format!("{TLS}, client_auth_type: {settings} }}"));
        assert_eq!(clients.map(|client| client.is_served(&server)), expected, "{settings}");
    }
}

#[test]
fn replaced_files_are_taken_over_and_broken_ones_are_not() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let server = secured(directory.path(), &authority, &format!("{TLS} }}"));
    let client = Client::new(&authority);
    let shown = || client.ask(&server).map(|(_, _, certificate)| certificate);
    let first = shown().expect("it is served");
    assert_eq!(shown().as_ref(), Ok(&first));

    write(directory.path(), &server_identity(&authority));
    let second = shown().expect("it is served");
    assert_ne!(first, second, "the new certificate is shown");

    let (certificate, _) = server_identity(&authority);
    fs::write(directory.path().join("server.crt"), certificate).expect("a file");
    assert_eq!(shown().as_ref(), Ok(&second), "a certificate without its key is not");
    fs::write(directory.path().join("web.yaml"), "tls_server_config: {}").expect("a file");
    assert_eq!(shown().as_ref(), Ok(&second), "encryption does not end in passing");
    fs::remove_file(directory.path().join("web.yaml")).expect("it was there");
    assert_eq!(shown().as_ref(), Ok(&second), "nor is it open without the file");

    write(directory.path(), &server_identity(&authority));
    fs::write(directory.path().join("web.yaml"), format!("{TLS}, min_version: TLS13 }}")).expect("a file");
    let third = shown().expect("it is served");
    assert!(third != second && third != first, "what is right again is taken over");
    let old = Client { versions: OLD, ..Client::new(&authority) };
    assert!(old.ask(&server).is_err(), "with what else is new");
}

#[test]
fn who_does_not_encrypt_is_told() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let server = secured(directory.path(), &authority, &format!("{TLS} }}"));
    let response = server.ask("GET", "/metrics");
    assert_eq!((response.status, &*response.body), (400, "this port speaks HTTPS\n"));
}

#[test]
fn a_handshake_that_does_not_come_does_not_keep_its_connection() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let mut server = secured(directory.path(), &authority, &format!("{TLS} }}"));
    let bounds = Bounds { header_timeout: Duration::from_millis(100), ..Bounds::default() };
    server.restart(|state| State { bounds, ..state });
    for part in [&b""[..], &[22, 3, 1]] {
        let mut stream: TcpStream = server.connect();
        stream.write_all(part).expect("a part of a handshake");
        let _ = stream.read_to_end(&mut Vec::new()).map(|_| ()).map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        });
    }
}

/// Reads frames of HTTP/2 (RFC 9113, section 4.1) until one of each of these types has come.
fn read_frames(stream: &mut impl Read, types: [u8; 2]) {
    let mut seen = Vec::new();
    while !types.iter().all(|wanted| seen.contains(wanted)) {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap_or_else(|error| panic!("{error} behind {seen:?}"));
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length.try_into().expect("it fits")]).expect("a frame");
        seen.push(head[3]);
    }
}

#[test]
fn connections_of_http_2_end_with_their_requests_while_others_wait() {
    const DATA: u8 = 0;
    const GOAWAY: u8 = 7;
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let mut server = secured(directory.path(), &authority, &format!("{TLS} }}"));
    let bounds = Bounds {
        connections: 1,
        header_timeout: PATIENCE * 10,
        crowded_timeout: PATIENCE * 10,
        ..Bounds::default()
    };
    server.restart(|state| State { bounds, ..state });
    let mut stream = Client::new(&authority).connect(&server, b"h2");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("a connection");
    let waiting = server.connect();
    std::thread::sleep(Duration::from_millis(100));
    // GET https://h/ on stream 1, with END_STREAM and END_HEADERS.
    stream.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01h").expect("a request");
    read_frames(&mut stream, [DATA, GOAWAY]);
    drop((stream, waiting));
    assert!(Client::new(&authority).is_served(&server));
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), authority());
    let at = |name: &str| directory.path().join(name);
    write(directory.path(), &server_identity(&authority));
    fs::write(at("other.key"), server_identity(&authority).1).expect("a file");
    fs::write(at("empty"), "").expect("a file");
    fs::write(at("damaged"), "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n")
        .expect("a file");
    fs::write(
        at("locked"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .expect("a file");
    let server = "cert_file: server.crt, key_file: server.key";
    let dir = directory.path().display();
    let cases = [
        (
            "cert_file: no.crt, key_file: server.key",
            format!(
                "1:33: tls_server_config.cert_file: {dir}/no.crt: cannot \
          read: No such file or directory (os error 2); allowed is a file that can be read"
            ),
        ),
        (
            "cert_file: empty, key_file: server.key",
            format!(
                "1:33: tls_server_config.cert_file: {dir}/empty: there is no \
          certificate in PEM; allowed is a certificate in PEM, and behind it what leads to its authority"
            ),
        ),
        (
            "cert_file: damaged, key_file: server.key",
            format!(
                "1:33: tls_server_config.cert_file: {dir}/damaged: it is \
          damaged: "
            ),
        ),
        (
            "cert_file: server.crt, key_file: other.key",
            "1:55: tls_server_config.key_file: it is not the key of the \
          certificate; allowed is the certificate's private key in PEM"
                .to_owned(),
        ),
        (
            "cert_file: server.crt, key_file: server.crt",
            format!(
                "1:55: tls_server_config.key_file: {dir}/server.crt: \
          there is no private key in PEM; allowed is "
            ),
        ),
        (
            "cert_file: server.crt, key_file: locked",
            format!(
                "1:55: tls_server_config.key_file: {dir}/locked: the private \
          key is encrypted; allowed is "
            ),
        ),
        (
            &format!("{server}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: empty"),
            format!(
                "1:129: \
          tls_server_config.client_ca_file: {dir}/empty: there is no certificate in PEM; allowed is certificates of \
          authorities in PEM"
            ),
        ),
    ];
    for (settings, expected) in cases {
        fs::write(at("web.yaml"), format!("tls_server_config: {{ {settings} }}")).expect("a file");
        let error = Security::load(Some(&at("web.yaml"))).expect_err(settings).to_string();
        let expected = format!("{}:{expected}", at("web.yaml").display());
        assert!(
            error.starts_with(&expected) && error.lines().count() == 1,
            "{settings}:\n{error}\n{expected}"
        );
    }
}

#[test]
fn passwords_headers_and_rates_hold_for_every_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let text = format!(
        "basic_auth_users: {{ alice: '{hash}' }}\nhttp_server_config: {{ headers: {{ X-Frame-Options: deny, \
         Content-Security-Policy: \"default-src 'self'\", X-Content-Type-Options: '' }} }}\n"
    );
    let server = secured(directory.path(), &authority(), &text);
    let ask = |path: &str, credentials: Option<&str>| {
        let mut stream = server.connect();
        let credentials =
            credentials.map(|text| format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(text)));
        let credentials = credentials.unwrap_or_default();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n{credentials}Connection: close\r\n\r\n")
            .expect("a request");
        respond(&mut stream)
    };
    for path in ["/", "/metrics", "/-/healthy", "/nowhere"] {
        for credentials in [None, Some("alice:wrong"), Some("bob:secret")] {
            let response = ask(path, credentials);
            assert_eq!(response.status, 401, "{path} {credentials:?}");
            assert_eq!(response.headers["www-authenticate"], "Basic realm=\"traceflow_exporter\"");
            assert_eq!(response.headers["x-frame-options"], "deny");
        }
    }
    let response = ask("/metrics", Some("alice:secret"));
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["content-security-policy"], "default-src 'self'");
    assert!(!response.headers.contains_key("x-content-type-options"), "it is taken out");

    let limited = format!("{text}rate_limit: {{ interval: 1h, burst: 2 }}\n");
    fs::write(directory.path().join("web.yaml"), limited).expect("a file");
    let statuses = [(); 4].map(|()| ask("/-/healthy", Some("alice:secret")).status);
    assert_eq!(statuses, [200, 200, 429, 429]);

    fs::write(directory.path().join("web.yaml"), "").expect("a file");
    assert_eq!(ask("/metrics", None).status, 200, "without users everyone may ask");
}
