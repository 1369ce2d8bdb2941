//! Which clients' certificates are accepted.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_cert::{
    Certificate,
    der::{Decode as _, asn1::Ia5StringRef},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::config::{ClientAuth, TlsSettings};

/// Looks at what clients show. That a client has the key of its certificate is checked with every kind of authentication.
#[derive(Debug)]
pub(super) struct Clients {
    auth: ClientAuth,
    /// Holds certificates against the authorities.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// The authorities' names, for clients that have several certificates.
    hints: Vec<DistinguishedName>,
    allowed_sans: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    /// # Errors
    /// What is wrong with the authorities.
    pub(super) fn new(
        settings: &TlsSettings,
        authorities: Vec<CertificateDer<'_>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| error.to_string())?;
        }
        let hints = roots.subjects();
        let auth = settings.client_auth;
        let verifier = if auth.verifies() {
            let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
            Some(builder.build().map_err(|error| error.to_string())?)
        } else {
            None
        };
        Ok(Self {
            auth,
            verifier,
            hints,
            allowed_sans: settings.client_allowed_sans.clone(),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.auth != ClientAuth::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.auth.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(verifier) = &self.verifier {
            verifier.verify_client_cert(end_entity, intermediates, now)?;
        }
        if self.allowed_sans.is_empty() || sans(end_entity).iter().any(|san| self.allowed_sans.contains(san))
        {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The subject alternative names of a certificate as text; none where it is damaged.
fn sans(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate().get_extension() else {
        return Vec::new();
    };
    names.iter().filter_map(text).collect()
}

fn text(name: &GeneralName) -> Option<String> {
    let plain = |name: Ia5StringRef<'_>| Some(name.as_str().to_owned());
    match name {
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => plain(name.into()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
            Some(address.to_canonical().to_string())
        }
        _ => None,
    }
}
