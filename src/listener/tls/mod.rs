//! TLS towards clients: our own rustls configuration, on aws-lc-rs whatever other provider the process has.
//!
//! Resumption is by tickets whose keys rotate (nothing is kept per client), early data is off: a replayed request must not
//! reach an origin.

mod certificates;
mod development;

pub use certificates::{Certificates, PairProblem, Problem};
pub use development::{DevelopmentPair, write_development_pair};

use crate::listener::settings::{ClientAuth, TlsSettings, TlsVersion};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use std::{fmt, path::PathBuf, sync::Arc};

/// Why a listener's TLS cannot be had.
#[derive(Debug)]
pub enum TlsError {
    /// The directory of certificates cannot be read.
    Directory(PathBuf, std::io::Error),
    /// No pair in the directory serves.
    NoPair(PathBuf),
    /// The pair named as default is missing or broken.
    Default(String),
    /// Client certificates are asked for but no authority is named.
    NoClientCa,
    /// The file of authorities cannot be read, or has none.
    ClientCa(PathBuf, String),
    /// rustls refuses.
    Rustls(rustls::Error),
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// The configuration of one listener. `certificates` may be reloaded under it; the rest stands until a restart.
pub(super) fn server_config(
    settings: &TlsSettings,
    certificates: Arc<Certificates>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(TlsError::Rustls)?;
    let builder = match settings.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        asked => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(settings)?), provider());
            let verifier =
                if asked == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build();
            builder.with_client_cert_verifier(verifier.map_err(|e| {
                TlsError::ClientCa(settings.client_ca.clone().unwrap_or_default(), e.to_string())
            })?)
        }
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Rustls)?;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn authorities(settings: &TlsSettings) -> Result<RootCertStore, TlsError> {
    let file = settings.client_ca.as_ref().ok_or(TlsError::NoClientCa)?;
    let wrong = |e: &dyn fmt::Display| TlsError::ClientCa(file.clone(), e.to_string());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))? {
        store.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
    }
    if store.is_empty() { Err(wrong(&"no certificate in it")) } else { Ok(store) }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Directory(path, e) => write!(f, "{}: {e}", path.display()),
            TlsError::NoPair(path) => write!(
                f,
                "{}: no certificate in it serves; pairs are NAME.crt (chain) and NAME.key, PEM",
                path.display()
            ),
            TlsError::Default(name) => {
                write!(
                    f,
                    "the default certificate {name:?} is missing or broken: name a pair of the directory"
                )
            }
            TlsError::NoClientCa => f.write_str(
                "client_auth asks for client certificates: set client_ca to the file of their authorities",
            ),
            TlsError::ClientCa(path, e) => write!(f, "{}: {e}", path.display()),
            TlsError::Rustls(e) => write!(f, "TLS: {e}"),
        }
    }
}

impl std::error::Error for TlsError {}
