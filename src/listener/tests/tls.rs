//! TLS: the certificate by name, reload, broken pairs, versions, client certificates, ALPN, the handshake's deadline and cap.

use super::support::{Edge, GET, ask, rest, settings, soon, until};
use crate::listener::{
    Certificates, ClientAuth, ListenerSettings, Problem, TlsError, TlsSettings, TlsVersion,
    write_development_pair,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Writes a pair signed by itself; a client trusts it as its own authority.
fn pair(dir: &Path, name: &str, hosts: &[&str], key: &KeyPair) -> CertificateDer<'static> {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(hosts).unwrap().self_signed(key).unwrap();
    fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn ecdsa() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
}

fn tls(dir: &TempDir) -> TlsSettings {
    TlsSettings {
        certificates: dir.path().to_owned(),
        default: None,
        min_version: TlsVersion::V1_2,
        client_auth: ClientAuth::None,
        client_ca: None,
    }
}

fn with(tls: TlsSettings) -> ListenerSettings {
    ListenerSettings { tls: Some(tls), ..settings() }
}

/// A client that takes any certificate and says which it was shown.
#[derive(Debug)]
struct Shown(Vec<SignatureScheme>);

impl rustls::client::danger::ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

fn any() -> Vec<SignatureScheme> {
    aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
}

fn client(
    versions: &[&'static rustls::SupportedProtocolVersion],
    schemes: Vec<SignatureScheme>,
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Shown(schemes)))
        .with_no_client_auth()
}

async fn dial(edge: &Edge, config: ClientConfig, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, edge.connect().await)).await
}

/// The certificate shown for a name, if the handshake succeeds.
async fn shown(edge: &Edge, name: &str) -> Option<CertificateDer<'static>> {
    let stream = dial(edge, client(rustls::ALL_VERSIONS, any()), name).await.ok()?;
    Some(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
}

#[tokio::test]
async fn each_name_gets_its_certificate_and_an_unknown_one_the_default_or_none() {
    let dir = TempDir::new().unwrap();
    let a = pair(dir.path(), "a", &["a.example", "lms.example"], &ecdsa());
    let wild = pair(dir.path(), "wild", &["*.tenants.example"], &ecdsa());
    let none = Edge::start(with(tls(&dir))).await;
    let default = Edge::start(with(TlsSettings { default: Some("a".into()), ..tls(&dir) })).await;
    let table = [
        ("a.example", Some(&a), Some(&a)),
        ("LMS.example", Some(&a), Some(&a)),
        ("one.tenants.example", Some(&wild), Some(&wild)),
        ("x.one.tenants.example", None, Some(&a)),
        ("tenants.example", None, Some(&a)),
        ("other.example", None, Some(&a)),
        ("127.0.0.1", None, Some(&a)), // no name is sent
    ];
    for (name, without, with) in table {
        assert_eq!(shown(&none, name).await.as_ref(), without, "{name}");
        assert_eq!(shown(&default, name).await.as_ref(), with, "{name}");
    }
    assert_eq!(none.ended("tls-handshake"), 4);
}

#[tokio::test]
async fn the_clients_signature_schemes_choose_between_ecdsa_and_rsa() {
    let dir = TempDir::new().unwrap();
    let r = pair(dir.path(), "a-rsa", &["a.example"], &rsa());
    let e = pair(dir.path(), "b-ecdsa", &["a.example"], &ecdsa());
    let edge = Edge::start(with(tls(&dir))).await;
    let only = |scheme| client(&[&rustls::version::TLS13], vec![scheme]);
    for (config, expected) in [
        (client(rustls::ALL_VERSIONS, any()), &e),
        (only(SignatureScheme::ECDSA_NISTP256_SHA256), &e),
        (only(SignatureScheme::RSA_PSS_SHA256), &r),
    ] {
        let stream = dial(&edge, config, "a.example").await.unwrap();
        assert_eq!(&stream.get_ref().1.peer_certificates().unwrap()[0], expected);
    }
}

#[tokio::test]
async fn a_reload_shows_new_certificates_keeps_old_ones_for_broken_and_connections_go_on() {
    let dir = TempDir::new().unwrap();
    let old_a = pair(dir.path(), "a", &["a.example"], &ecdsa());
    let old_b = pair(dir.path(), "b", &["b.example"], &ecdsa());
    pair(dir.path(), "c", &["c.example"], &ecdsa());
    let edge = Edge::start(with(tls(&dir))).await;
    let mut running = dial(&edge, client(rustls::ALL_VERSIONS, any()), "a.example").await.unwrap();
    let new_a = pair(dir.path(), "a", &["a.example"], &ecdsa());
    fs::write(dir.path().join("b.crt"), "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    for gone in ["c.crt", "c.key"] {
        fs::remove_file(dir.path().join(gone)).unwrap();
    }
    let problems = edge.certificates.as_ref().unwrap().reload().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].file, dir.path().join("b.crt"));
    assert_ne!(new_a, old_a);
    assert_eq!(shown(&edge, "a.example").await, Some(new_a.clone()));
    assert_eq!(shown(&edge, "b.example").await, Some(old_b.clone()));
    assert_eq!(shown(&edge, "c.example").await, None);
    ask(&mut running, GET).await;
    for name in ["a.crt", "a.key", "b.crt", "b.key"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(matches!(edge.certificates.as_ref().unwrap().reload(), Err(TlsError::NoPair(_))));
    assert_eq!(shown(&edge, "a.example").await, Some(new_a));
}

#[test]
fn a_broken_pair_is_one_line_naming_the_file_while_the_others_serve() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| dir.path().join(name);
    pair(dir.path(), "good", &["good.example"], &ecdsa());
    pair(dir.path(), "mixed", &["mixed.example"], &ecdsa());
    fs::write(file("mixed.key"), ecdsa().serialize_pem()).unwrap();
    pair(dir.path(), "keyless", &["k.example"], &ecdsa());
    fs::remove_file(file("keyless.key")).unwrap();
    pair(dir.path(), "garbled", &["g.example"], &ecdsa());
    fs::write(file("garbled.key"), "not a key").unwrap();
    let mut over = CertificateParams::new(vec!["old.example".to_owned()]).unwrap();
    (over.not_before, over.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let key = ecdsa();
    fs::write(file("old.crt"), over.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(file("old.key"), key.serialize_pem()).unwrap();

    let (_, problems) = Certificates::load(&tls(&dir)).unwrap();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let files: Vec<_> = problems.iter().map(|p| p.file.clone()).collect();
    assert_eq!(files, ["garbled.key", "keyless.key", "mixed.key", "old.crt"].map(file), "{lines:?}");
    assert_eq!(problems[1].problem, Problem::Missing);
    assert_eq!(problems[2].problem, Problem::OtherKey);
    assert_eq!(problems[3].problem, Problem::Expired);
    assert!(lines.iter().all(|line| line.starts_with(dir.path().to_str().unwrap()) && !line.contains('\n')));

    let broken = Certificates::load(&TlsSettings { default: Some("mixed".into()), ..tls(&dir) });
    assert!(matches!(broken, Err(TlsError::Default(name)) if name == "mixed"));
}

#[tokio::test]
async fn the_lowest_version_is_obeyed() {
    let dir = TempDir::new().unwrap();
    pair(dir.path(), "a", &["a.example"], &ecdsa());
    let new_only = Edge::start(with(TlsSettings { min_version: TlsVersion::V1_3, ..tls(&dir) })).await;
    let both = Edge::start(with(tls(&dir))).await;
    let old = || client(&[&rustls::version::TLS12], any());
    assert!(dial(&new_only, old(), "a.example").await.is_err());
    let stream = dial(&both, old(), "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let stream = dial(&new_only, client(rustls::ALL_VERSIONS, any()), "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn client_certificates_are_required_verified_or_optional() {
    let (dir, people) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    pair(dir.path(), "a", &["a.example"], &ecdsa());
    let known = write_development_pair(people.path(), &["client.example".into()]).unwrap();
    // Not "serverAuth": what a client shows must be for clients.
    let authority =
        KeyPair::from_pem(&fs::read_to_string(people.path().join("development-ca-key.pem")).unwrap())
            .unwrap();
    let mut issuer = CertificateParams::new(Vec::new()).unwrap();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(rcgen::DnType::CommonName, "Lectern development authority");
    let (key, stranger) = (ecdsa(), ecdsa());
    let person = || CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    let mine = person().signed_by(&key, &rcgen::Issuer::new(issuer, authority)).unwrap().der().clone();
    let other = person().self_signed(&stranger).unwrap().der().clone();
    let config = |identity: Option<(&CertificateDer<'static>, &KeyPair)>| {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Shown(any())));
        match identity {
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![certificate.clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        }
    };
    for (auth, without, with, with_other) in
        [(ClientAuth::Required, false, true, false), (ClientAuth::Optional, true, true, false)]
    {
        let settings =
            TlsSettings { client_auth: auth, client_ca: Some(known.authority.clone()), ..tls(&dir) };
        let edge = Edge::start(with_tls(settings)).await;
        for (identity, expected) in
            [(None, without), (Some((&mine, &key)), with), (Some((&other, &stranger)), with_other)]
        {
            // In TLS 1.3 the client learns of a refusal at its first read.
            let served = edge.served();
            if let Ok(mut stream) = dial(&edge, config(identity), "a.example").await {
                let close = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(close.as_bytes()).await;
                rest(&mut stream).await;
            }
            assert_eq!(edge.served() > served, expected, "{auth:?} {}", identity.is_some());
        }
    }
    let lacking = TlsSettings { client_auth: ClientAuth::Required, ..tls(&dir) };
    let certificates = Certificates::load(&lacking).unwrap().0;
    assert!(matches!(crate::listener::tls::server_config(&lacking, certificates), Err(TlsError::NoClientCa)));
}

fn with_tls(tls: TlsSettings) -> ListenerSettings {
    with(tls)
}

#[tokio::test]
async fn alpn_chooses_the_protocol_and_without_it_the_preface_does() {
    let dir = TempDir::new().unwrap();
    pair(dir.path(), "a", &["a.example"], &ecdsa());
    let edge = Edge::start(with(tls(&dir))).await;
    for (offered, http2) in
        [(vec!["h2", "http/1.1"], true), (vec!["http/1.1"], false), (vec![], false), (vec![], true)]
    {
        let mut config = client(rustls::ALL_VERSIONS, any());
        config.alpn_protocols = offered.iter().map(|p| p.as_bytes().to_vec()).collect();
        let mut stream = dial(&edge, config, "a.example").await.unwrap();
        if http2 {
            let (mut send, connection) = soon(h2::client::handshake(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::builder().uri("https://a.example/").body(()).unwrap();
            let (answer, _) = send.send_request(request, true).unwrap();
            assert_eq!(soon(answer).await.unwrap().status(), 200);
        } else {
            ask(&mut stream, GET).await;
        }
    }
    assert_eq!(edge.served(), 4);
}

#[tokio::test]
async fn a_session_is_resumed_by_ticket_and_no_early_data_is_taken() {
    let dir = TempDir::new().unwrap();
    pair(dir.path(), "a", &["a.example"], &ecdsa());
    let edge = Edge::start(with(tls(&dir))).await;
    let mut config = client(rustls::ALL_VERSIONS, any());
    config.enable_early_data = true;
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = dial(&edge, config.clone(), "a.example").await.unwrap();
        ask(&mut stream, GET).await;
        assert!(!stream.get_ref().1.is_early_data_accepted());
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[tokio::test]
async fn a_stalled_handshake_is_cut_and_handshakes_are_capped() {
    let dir = TempDir::new().unwrap();
    pair(dir.path(), "a", &["a.example"], &ecdsa());
    let mut settings = with(tls(&dir));
    settings.deadlines.handshake = Duration::from_millis(200);
    settings.limits.handshakes = 1;
    let edge = Edge::start(settings).await;
    let mut stalled = edge.connect().await;
    stalled.write_all(&[0x16, 3, 1]).await.unwrap();
    until(|| edge.connections.open() == 1).await;
    assert!(dial(&edge, client(rustls::ALL_VERSIONS, any()), "a.example").await.is_err());
    assert_eq!(edge.ended("handshakes"), 1);
    assert_eq!(rest(&mut stalled).await, "");
    assert_eq!(edge.ended("handshake-timeout"), 1);
    until(|| edge.connections.open() == 0).await;
    assert!(shown(&edge, "a.example").await.is_some());
}

#[tokio::test]
async fn a_development_pair_is_trusted_by_its_authority_which_stays() {
    let dir = TempDir::new().unwrap();
    let names = ["localhost".to_owned(), "*.lms.localhost".to_owned(), "127.0.0.1".to_owned()];
    let first = fs::read(write_development_pair(dir.path(), &names).unwrap().authority).unwrap();
    let files = write_development_pair(dir.path(), &names).unwrap();
    assert_eq!(fs::read(&files.authority).unwrap(), first);
    let edge = Edge::start(with(TlsSettings { default: Some("development".into()), ..tls(&dir) })).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for name in ["localhost", "one.lms.localhost", "127.0.0.1"] {
        let mut stream = dial(&edge, config.clone(), name).await.unwrap();
        ask(&mut stream, GET).await;
    }
    assert!(dial(&edge, config, "other.example").await.is_err());
}
