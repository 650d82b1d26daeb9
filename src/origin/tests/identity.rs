//! Who the edge says it is, to servers that ask.

use super::{
    tls::{serve, tls_settings},
    *,
};
use crate::origin::{OriginCertificate, OriginConfigError, OriginTls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use std::{io::Write, path::Path};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

/// An authority, a server of it that wants clients of it, and such a client.
struct Mutual {
    authority: NamedTempFile,
    acceptor: TlsAcceptor,
    chain: NamedTempFile,
    key: NamedTempFile,
}

impl Mutual {
    fn new() -> Mutual {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let pair = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, server_key) = pair("lms.internal");
        let server_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.der().clone()], server_key)
            .unwrap();
        let (client, key) = pair("edge.internal");
        Mutual {
            authority: file(&root.pem()),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            chain: file(&client.pem()),
            key: file(&key.serialize_pem()),
        }
    }

    fn client(&self) -> OriginCertificate {
        of(self.chain.path(), self.key.path())
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn of(chain: &Path, key: &Path) -> OriginCertificate {
    OriginCertificate { chain: chain.to_owned(), key: key.to_owned() }
}

#[tokio::test]
async fn the_edges_own_certificate_is_shown_to_a_server_that_asks_for_it() {
    let (ours, others) = (Mutual::new(), Mutual::new());
    let (listener, address) = listen().await;
    serve(listener, ours.acceptor.clone());
    for (certificate, served) in [(Some(ours.client()), true), (None, false), (Some(others.client()), false)]
    {
        let mut settings = tls_settings(address, "lms.internal", Some(&ours.authority));
        settings.tls.as_mut().unwrap().certificate = certificate;
        let (origin, _) = origin_of(settings);
        let answer = get(&origin, "/").await;
        assert_eq!(answer.is_ok(), served, "{:?}", answer.err());
    }
}

#[test]
fn a_certificate_without_its_own_key_is_a_configuration_error() {
    let metrics = Metrics::new();
    let (ours, others) = (Mutual::new(), Mutual::new());
    let (chain, key, other) = (ours.chain.path(), ours.key.path(), others.key.path());
    let nowhere = Path::new("/nowhere.pem");
    for (chain, key, named) in [
        (chain, other, other),
        (key, key, key),
        (chain, chain, chain),
        (nowhere, key, nowhere),
        (chain, nowhere, nowhere),
    ] {
        let mut settings = OriginSettings::new("lms", vec![("lms.internal".to_owned(), 443)]);
        let certificate = Some(of(chain, key));
        settings.tls = Some(OriginTls { sni: None, ca: None, certificate });
        let error = Origin::new(settings, &metrics).unwrap_err();
        assert!(matches!(&error, OriginConfigError::Certificate(path, _) if path == named), "{error}");
    }
}
