//! Certificates for a machine of one's own: an authority that a browser can be told to trust, and a pair signed by it.
//!
//! The authority is kept over calls, so that it is trusted once. Never for a server others reach.

use crate::clock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

const DAY: Duration = Duration::from_secs(86_400);
/// Browsers take at most 398 days from a leaf.
const LEAF_DAYS: u32 = 365;
const AUTHORITY_DAYS: u32 = 3_650;

/// The files written.
#[derive(Clone, Debug)]
pub struct DevelopmentPair {
    /// The authority to trust (`development-ca.pem`): not a pair of the directory, never shown to clients.
    pub authority: PathBuf,
    /// `development.crt`, the NAME to set as default pair being `development`.
    pub certificate: PathBuf,
    /// `development.key`, readable by its owner only.
    pub key: PathBuf,
}

/// Writes a pair for `names` (hosts, wildcards or addresses) into `dir`, and its authority if there is none yet.
///
/// # Errors
/// A file cannot be written or read, or a name is none (`InvalidInput`).
pub fn write_development_pair(dir: &Path, names: &[String]) -> io::Result<DevelopmentPair> {
    fs::create_dir_all(dir)?;
    let files = DevelopmentPair {
        authority: dir.join("development-ca.pem"),
        certificate: dir.join("development.crt"),
        key: dir.join("development.key"),
    };
    let authority_key = dir.join("development-ca-key.pem");
    let signer = if files.authority.exists() && authority_key.exists() {
        KeyPair::from_pem(&fs::read_to_string(&authority_key)?).map_err(wrong)?
    } else {
        let signer = KeyPair::generate().map_err(wrong)?;
        let authority = authority()?.self_signed(&signer).map_err(wrong)?;
        private(&authority_key, &signer.serialize_pem())?;
        fs::write(&files.authority, authority.pem())?;
        signer
    };
    let key = KeyPair::generate().map_err(wrong)?;
    let leaf = leaf(names)?.signed_by(&key, &Issuer::new(authority()?, signer)).map_err(wrong)?;
    private(&files.key, &key.serialize_pem())?;
    fs::write(&files.certificate, leaf.pem())?;
    Ok(files)
}

fn authority() -> io::Result<CertificateParams> {
    let mut params = dated(Vec::new(), AUTHORITY_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, "Lectern development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(names: &[String]) -> io::Result<CertificateParams> {
    let mut params = dated(names.to_vec(), LEAF_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("localhost", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Valid from yesterday (clocks differ) for so many days.
fn dated(names: Vec<String>, days: u32) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(wrong)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = (clock::now() - DAY).into();
    params.not_after = (clock::now() + DAY * days).into();
    Ok(params)
}

fn private(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

fn wrong(e: rcgen::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, e.to_string())
}
