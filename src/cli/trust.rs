//! TLS towards a node's control listener: whom the command believes, and what it shows.
//!
//! Nobody is believed but who is named: the address of a control listener is no public name.

use super::{Exit, Streams};
use clap::Args;
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

#[derive(Args)]
pub(super) struct Trust {
    /// PEM file of the authority that the node's certificate comes from, for an address with https; else the environment's LECTERN_CA.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of the certificate to show to the node; else the environment's LECTERN_CERT.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file of its private key; else the environment's LECTERN_KEY.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Trust {
    /// What TLS takes; a file that cannot be used is told.
    pub(super) fn config(&self, streams: &mut Streams<'_>) -> Result<TlsConfig, Exit> {
        let given =
            |flag: &Option<PathBuf>, name| flag.clone().or_else(|| std::env::var_os(name).map(Into::into));
        let Some(ca) = given(&self.ca, "LECTERN_CA") else {
            let text = "an address with https takes --ca FILE, the authority of the node's certificate";
            return Err(streams.fail(Exit::Usage, format_args!("{text}")));
        };
        let own = match (given(&self.cert, "LECTERN_CERT"), given(&self.key, "LECTERN_KEY")) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => {
                let text = "--cert and --key go together";
                return Err(streams.fail(Exit::Usage, format_args!("{text}")));
            }
        };
        let mut config =
            TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates(&ca, streams)?));
        if let Some((cert, key)) = own {
            let (chain, key) = (certificates(&cert, streams)?, private_key(&key, streams)?);
            config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        Ok(config.build())
    }
}

fn certificates(file: &Path, streams: &mut Streams<'_>) -> Result<Vec<Certificate<'static>>, Exit> {
    let found: Vec<_> = items(file, streams)?
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    match found.is_empty() {
        true => {
            Err(streams
                .fail(Exit::NoInput, format_args!("{}: there is no certificate in it", file.display())))
        }
        false => Ok(found),
    }
}

fn private_key(file: &Path, streams: &mut Streams<'_>) -> Result<PrivateKey<'static>, Exit> {
    let key = items(file, streams)?.into_iter().find_map(|item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    });
    key.ok_or_else(|| {
        streams.fail(Exit::NoInput, format_args!("{}: there is no private key in it", file.display()))
    })
}

fn items(file: &Path, streams: &mut Streams<'_>) -> Result<Vec<PemItem<'static>>, Exit> {
    let text = std::fs::read(file)
        .map_err(|error| streams.fail(Exit::NoInput, format_args!("{}: {error}", file.display())))?;
    let items: Result<Vec<_>, _> = parse_pem(&text).collect();
    items.map_err(|error| streams.fail(Exit::NoInput, format_args!("{}: {error}", file.display())))
}
