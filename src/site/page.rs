//! The site's own page for what the origin could not answer.

use std::{fs, io, path::Path};

/// Bytes that a page may have at most: it is held for each site and sent when there is trouble.
const LARGEST: u64 = 256 << 10;

/// A page with places for what is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailurePage(String);

impl FailurePage {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, is no text in UTF-8, or is too long.
    pub fn read(path: &Path) -> io::Result<FailurePage> {
        if fs::metadata(path)?.len() > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 256 KiB"));
        }
        fs::read_to_string(path).map(FailurePage)
    }

    /// The page with what is told in its places.
    pub fn filled(&self, status: u16, reason: &str, retry_after: Option<u64>) -> String {
        let seconds = retry_after.map_or_else(String::new, |seconds| seconds.to_string());
        self.0
            .replace("{status}", &status.to_string())
            .replace("{reason}", reason)
            .replace("{retry_after}", &seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::{FailurePage, LARGEST};
    use std::io::Write;

    fn read(bytes: &[u8]) -> std::io::Result<FailurePage> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        FailurePage::read(file.path())
    }

    #[test]
    fn its_places_are_filled() {
        let page = read(b"<p>{status} {reason}, {retry_after} s, {other}</p>").unwrap();
        assert_eq!(page.filled(503, "origin-busy", Some(7)), "<p>503 origin-busy, 7 s, {other}</p>");
        assert_eq!(page.filled(502, "origin-closed", None), "<p>502 origin-closed,  s, {other}</p>");
    }

    #[test]
    fn what_is_no_page_is_refused() {
        assert!(read(b"\xff\xfe").is_err());
        assert!(read(&vec![b' '; LARGEST as usize + 1]).is_err());
        assert!(FailurePage::read(std::path::Path::new("/nowhere.html")).is_err());
    }
}
