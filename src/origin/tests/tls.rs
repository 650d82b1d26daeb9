//! Origins over TLS: the name is always sent and verified.

use super::*;
use crate::origin::{OriginConfigError, OriginHttp, OriginTls};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::io::Write;
use tokio_rustls::TlsAcceptor;

/// An authority as a file, and a server's configuration with a certificate of it for `name`.
fn authority(name: &str, alpn: &[&[u8]]) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(params.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    (file, TlsAcceptor::from(Arc::new(config)))
}

pub(super) fn tls_settings(
    address: SocketAddr,
    sni: &str,
    ca: Option<&tempfile::NamedTempFile>,
) -> OriginSettings {
    let mut settings = settings(&[address]);
    let ca = ca.map(|file| file.path().to_owned());
    settings.tls = Some(OriginTls { sni: Some(sni.to_owned()), ca, certificate: None });
    settings
}

/// Answers each connection's request with the name it was asked for.
pub(super) fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let name = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.read_u8().await;
            });
        }
    });
}

#[tokio::test]
async fn the_name_is_sent_and_verified_with_the_origins_own_authority() {
    let (ca, acceptor) = authority("lms.internal", &[]);
    let (listener, address) = listen().await;
    serve(listener, acceptor);
    let (origin, _) = origin_of(tls_settings(address, "lms.internal", Some(&ca)));
    let mut exchange = get(&origin, "/").await.unwrap();
    assert_eq!(collect(&mut exchange.body).await, (b"lms.internal".to_vec(), Ok(())));
    for (sni, ca) in [("other.internal", Some(&ca)), ("lms.internal", None)] {
        let (origin, metrics) = origin_of(tls_settings(address, sni, ca));
        assert_eq!(get(&origin, "/").await.err(), Some(OriginError::Tls), "{sni}");
        assert_eq!(metrics.origin_requests.with_label_values(&["lms", "error"]).get(), 1);
    }
    let (stranger, _) = authority("lms.internal", &[]);
    let (origin, _) = origin_of(tls_settings(address, "lms.internal", Some(&stranger)));
    assert_eq!(get(&origin, "/").await.err(), Some(OriginError::Tls));
}

#[tokio::test]
async fn tls_comes_from_aws_lc() {
    let (ca, acceptor) = authority("lms.internal", &[]);
    let (listener, address) = listen().await;
    serve(listener, acceptor);
    let (origin, _) = origin_of(tls_settings(address, "lms.internal", Some(&ca)));
    get(&origin, "/").await.unwrap();
    let installed = rustls::crypto::CryptoProvider::get_default().unwrap();
    let expected = rustls::crypto::aws_lc_rs::default_provider();
    assert_eq!(format!("{:?}", installed.key_provider), format!("{:?}", expected.key_provider));
    assert_eq!(format!("{:?}", installed.kx_groups), format!("{:?}", expected.kx_groups));
    assert!(format!("{:?}", installed.key_provider).contains("AwsLcRs"), "{:?}", installed.key_provider);
}

#[tokio::test]
async fn http2_is_spoken_if_the_server_takes_it() {
    let (ca, acceptor) = authority("lms.internal", &[b"h2"]);
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"two"), true).unwrap();
        }
    });
    let mut settings = tls_settings(address, "lms.internal", Some(&ca));
    settings.http = OriginHttp::H2;
    let (origin, _) = origin_of(settings);
    for _ in 0..2 {
        let mut exchange = get(&origin, "/").await.unwrap();
        assert_eq!(collect(&mut exchange.body).await, (b"two".to_vec(), Ok(())));
    }
    // One that takes only HTTP/1.1 is spoken to in that.
    let (ca, acceptor) = authority("lms.internal", &[b"http/1.1"]);
    let (listener, address) = listen().await;
    serve(listener, acceptor);
    let mut settings = tls_settings(address, "lms.internal", Some(&ca));
    settings.http = OriginHttp::H2;
    let (origin, _) = origin_of(settings);
    let mut exchange = get(&origin, "/").await.unwrap();
    assert_eq!(collect(&mut exchange.body).await, (b"lms.internal".to_vec(), Ok(())));
}

#[test]
fn what_cannot_be_verified_is_a_configuration_error() {
    let metrics = Metrics::new();
    let address: SocketAddr = "192.0.2.1:443".parse().unwrap();
    let mut unnamed = settings(&[address]);
    unnamed.tls = Some(OriginTls { sni: None, ca: None, certificate: None });
    let mut numbered = unnamed.clone();
    numbered.tls = Some(OriginTls { sni: Some("192.0.2.1".to_owned()), ca: None, certificate: None });
    for settings in [unnamed, numbered] {
        let error = Origin::new(settings, &metrics).unwrap_err();
        assert_eq!(error, OriginConfigError::NoServerName("192.0.2.1:443".to_owned()));
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"no certificate").unwrap();
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let mut broken = tempfile::NamedTempFile::new().unwrap();
    broken.write_all(garbage).unwrap();
    for path in [file.path(), broken.path(), std::path::Path::new("/nowhere.pem")] {
        let mut settings = OriginSettings::new("lms", vec![("lms.internal".to_owned(), 443)]);
        settings.tls = Some(OriginTls { sni: None, ca: Some(path.to_owned()), certificate: None });
        let error = Origin::new(settings, &metrics).unwrap_err();
        assert!(matches!(error, OriginConfigError::Authorities(..)), "{error}");
    }
    let none = Origin::new(OriginSettings::new("lms", Vec::new()), &metrics).unwrap_err();
    assert_eq!(none, OriginConfigError::NoServers);
}
