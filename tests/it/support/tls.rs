//! Certificates made on the spot, and a client side that believes any of them.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedProtocolVersion};

/// A self-signed certificate with its key.
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    pub(crate) der: Vec<u8>,
    key_der: Vec<u8>,
}

impl Certificate {
    /// For these names or addresses; ECDSA.
    pub(crate) fn new(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate {
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            der: made.cert.der().to_vec(),
            key_der: made.signing_key.serialize_der(),
        }
    }

    /// For these names; RSA.
    pub(crate) fn rsa(names: &[&str]) -> Certificate {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (params, key) = (rcgen::CertificateParams::new(names).unwrap(), key.unwrap());
        Certificate::made(&params.self_signed(&key).unwrap(), &key)
    }

    fn made(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> Certificate {
        Certificate {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    /// A server that shows it and offers these protocols (`h2`, `http/1.1`).
    pub(crate) fn server(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let (chain, key) = self.pair();
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn pair(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::try_from(self.key_der.clone()).unwrap();
        (vec![CertificateDer::from(self.der.clone())], key)
    }
}

/// Whose word a server takes for its clients.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A client's certificate.
    pub(crate) fn issue(&self, name: &str) -> Certificate {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        Certificate::made(&params.signed_by(&key, &self.issuer).unwrap(), &key)
    }
}

/// How a client shakes hands.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) name: Option<String>,
    versions: Vec<&'static SupportedProtocolVersion>,
    own: Option<Arc<Certificate>>,
    rsa_only: bool,
}

impl Tls {
    /// Asks for this name, with TLS 1.2 or 1.3.
    pub(crate) fn named(name: &str) -> Tls {
        Tls {
            name: Some(name.to_owned()),
            versions: rustls::ALL_VERSIONS.to_vec(),
            own: None,
            rsa_only: false,
        }
    }

    /// Sends no name.
    pub(crate) fn nameless() -> Tls {
        Tls { name: None, ..Tls::named("") }
    }

    /// Offers only one version (`&rustls::version::TLS12`).
    pub(crate) fn only(self, version: &'static SupportedProtocolVersion) -> Tls {
        Tls { versions: vec![version], ..self }
    }

    /// Knows only RSA.
    pub(crate) fn rsa_only(self) -> Tls {
        Tls { rsa_only: true, ..self }
    }

    /// Shows a certificate of its own if asked.
    pub(crate) fn own(self, certificate: &Arc<Certificate>) -> Tls {
        Tls { own: Some(Arc::clone(certificate)), ..self }
    }

    /// The library's settings, with the protocols to offer.
    pub(crate) fn config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(&self.versions).unwrap();
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believing { rsa_only: self.rsa_only }));
        let mut config = match &self.own {
            Some(own) => {
                let (chain, key) = own.pair();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = self.name.is_some();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Takes every certificate.
#[derive(Debug)]
struct Believing {
    rsa_only: bool,
}

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let schemes = aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes();
        let rsa = |scheme: &SignatureScheme| format!("{scheme:?}").starts_with("RSA");
        schemes.into_iter().filter(|scheme| !self.rsa_only || rsa(scheme)).collect()
    }
}
