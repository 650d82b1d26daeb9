//! Whom an origin must prove to be, and who the edge says it is: files, read and checked before Pingora, which panics on bad ones.

use super::{OriginCertificate, OriginConfigError};
use pingora::{
    protocols::tls::CaType,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{path::Path, sync::Arc};

/// The authorities in a file.
pub(super) fn authorities(path: &Path) -> Result<Arc<CaType>, OriginConfigError> {
    let bad = |why: String| OriginConfigError::Authorities(path.to_owned(), why);
    let mut found = Vec::new();
    for certificate in certificates(path).map_err(bad)? {
        let trusted = rustls::RootCertStore::empty().add(certificate.clone());
        trusted.map_err(|error| bad(error.to_string()))?;
        found.push(WrappedX509::new(certificate.to_vec(), parse_x509));
    }
    Ok(found.into())
}

/// The certificate that the edge shows, and its key.
pub(super) fn certificate(files: &OriginCertificate) -> Result<Arc<CertKey>, OriginConfigError> {
    let OriginCertificate { chain, key } = files;
    let chain_bad = |why: String| OriginConfigError::Certificate(chain.clone(), why);
    let key_bad = |why: String| OriginConfigError::Certificate(key.clone(), why);
    let certificates = certificates(chain).map_err(chain_bad)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| key_bad(error.to_string()))?;
    // As Pingora reads it, and as rustls takes it: it tells a key that is not the certificate's.
    let again = PrivateKeyDer::try_from(secret.secret_der().to_vec());
    let again = again.map_err(|error| key_bad(error.to_owned()))?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_auth_cert(certificates.clone(), again)
        .map_err(|error| key_bad(error.to_string()))?;
    let certificates = certificates.iter().map(|certificate| certificate.to_vec()).collect();
    Ok(Arc::new(CertKey::new(certificates, secret.secret_der().to_vec())))
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        x509_parser::parse_x509_certificate(&certificate).map_err(|error| error.to_string())?;
        found.push(certificate);
    }
    if found.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(found) }
}
