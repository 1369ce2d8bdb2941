//! Encryption: from the settings and the files that they name to what the TLS library wants.

mod clients;

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use rustls::{
    InconsistentKeys, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject as _},
    },
    version::{TLS12, TLS13},
};

use self::clients::Clients;
use crate::config::{ConfigError, Curve, Pem, TlsSettings, TlsVersion, WebConfig};

/// The largest file with certificates that is read, in bytes.
const MAX_SIZE: u64 = 16 << 20;

const CERTIFICATE: &str = "a certificate in PEM, and behind it what leads to its authority";
const KEY: &str = "the certificate's private key in PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted";
const AUTHORITIES: &str = "certificates of authorities in PEM";

/// What the TLS library wants for settings of a web configuration. Reads the files that they name.
pub(super) fn server(config: &WebConfig, settings: &TlsSettings) -> Result<Arc<ServerConfig>, ConfigError> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites(settings),
        kx_groups: groups(&settings.curve_preferences),
        ..ring::default_provider()
    });
    let certificates = certificates(config, &settings.certificate, CERTIFICATE)?;
    let key = private_key(config, &settings.key)?;
    let authorities = match &settings.client_ca {
        Some(pem) => certificates_of(config, pem)?,
        None => Vec::new(),
    };
    let clients = Clients::new(settings, authorities, &provider).map_err(|wrong| {
        let name = settings.client_ca.as_ref().map_or("client_auth_type", Pem::key);
        config.refuse_tls(name, wrong, AUTHORITIES)
    })?;

    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions(settings)).map_err(
            |error| config.refuse_tls("cipher_suites", error.to_string(), "suites of the versions"),
        )?;
    let mut server = builder
        .with_client_cert_verifier(Arc::new(clients))
        .with_single_cert(certificates, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                config.refuse_tls(settings.key.key(), "it is not the key of the certificate", KEY)
            }
            rustls::Error::InvalidCertificate(_) => {
                config.refuse_tls(settings.certificate.key(), error.to_string(), CERTIFICATE)
            }
            _ => config.refuse_tls(settings.key.key(), error.to_string(), KEY),
        })?;
    server.ignore_client_order = settings.prefer_server_cipher_suites;
    server.alpn_protocols = if config.http2 { vec![b"h2".to_vec()] } else { Vec::new() };
    server.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(Arc::new(server))
}

fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)];
    let allowed = settings.min_version..=settings.max_version;
    all.into_iter().filter(|(version, _)| allowed.contains(version)).map(|(_, version)| version).collect()
}

/// All suites of TLS 1.3, and those of TLS 1.2 that are wanted, in the order wanted.
fn suites(settings: &TlsSettings) -> Vec<SupportedCipherSuite> {
    let is_tls13 = |suite: &&SupportedCipherSuite| suite.tls13().is_some();
    let (tls13, tls12): (Vec<&SupportedCipherSuite>, Vec<&SupportedCipherSuite>) =
        ring::ALL_CIPHER_SUITES.iter().partition(is_tls13);
    let tls12 = match &settings.cipher_suites {
        None => tls12,
        Some(names) => {
            let named =
                |name: &&str| tls12.iter().copied().find(|suite| suite.suite().as_str() == Some(*name));
            names.iter().filter_map(named).collect()
        }
    };
    tls13.into_iter().chain(tls12).copied().collect()
}

fn groups(curves: &[Curve]) -> Vec<&'static dyn SupportedKxGroup> {
    if curves.is_empty() {
        return ring::ALL_KX_GROUPS.to_vec();
    }
    let group = |curve: &Curve| match curve {
        Curve::X25519 => ring::kx_group::X25519,
        Curve::P256 => ring::kx_group::SECP256R1,
        Curve::P384 => ring::kx_group::SECP384R1,
    };
    curves.iter().map(group).collect()
}

fn certificates_of(config: &WebConfig, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    certificates(config, pem, AUTHORITIES)
}

fn certificates(
    config: &WebConfig,
    pem: &Pem,
    allowed: &str,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let bytes = bytes(config, pem)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let wrong = match found {
        Ok(certificates) if certificates.is_empty() => "there is no certificate in PEM".to_owned(),
        Ok(certificates) => return Ok(certificates),
        Err(error) => format!("it is damaged: {error}"),
    };
    Err(config.refuse_tls(pem.key(), named(pem, &wrong), allowed))
}

fn private_key(config: &WebConfig, pem: &Pem) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let bytes = bytes(config, pem)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let is_encrypted = bytes.windows(9).any(|word| word == b"ENCRYPTED");
        let wrong = match error {
            PemError::NoItemsFound if is_encrypted => "the private key is encrypted",
            PemError::NoItemsFound => "there is no private key in PEM",
            // What is damaged could be a part of the key.
            _ => "it is damaged",
        };
        config.refuse_tls(pem.key(), named(pem, wrong), KEY)
    })
}

fn bytes(config: &WebConfig, pem: &Pem) -> Result<Vec<u8>, ConfigError> {
    match pem {
        Pem::Inline { text, .. } => Ok(text.clone().into_bytes()),
        Pem::File { path, .. } => read(path).map_err(|error| {
            config.refuse_tls(
                pem.key(),
                named(pem, &format!("cannot read: {error}")),
                "a file that can be read",
            )
        }),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is wrong, behind the name of the file where it is one.
fn named(pem: &Pem, wrong: &str) -> String {
    pem.file().map_or_else(|| wrong.to_owned(), |path| format!("{}: {wrong}", path.display()))
}
