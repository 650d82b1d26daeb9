//! Lists of the files of a release, as pipelines make them: JSON, or one file a line.
//!
//! A line is a path, or a digest, spaces and a file name, as `sha256sum` and `sha1sum` print them. Paths are references as a page
//! has them (`%20` for a space); file names behind a digest are as the disk has them, and are encoded here.

use super::digest::{Digests, from_hex};
use serde::Deserialize;
use std::fmt;

/// Longest list, bytes.
const LONGEST: usize = 16 << 20;

/// A file of a list: where it lies, seen from the base of the release, and what it hashes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative, or from the root of the host.
    pub path: String,
    /// What it hashes to, as far as the list says.
    pub digests: Digests,
}

/// Why a list cannot be read.
#[derive(Debug)]
pub enum ListError {
    /// It is longer than [`LONGEST`].
    TooLong,
    /// A line is wrong: number from 1, and what would be right.
    Line(usize, &'static str),
    /// It is no such JSON.
    Json(serde_json::Error),
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListError::TooLong => write!(f, "the list has more than {} MiB", LONGEST >> 20),
            ListError::Line(number, right) => write!(f, "line {number}: {right}"),
            ListError::Json(error) => write!(f, "line {}: {error}", error.line()),
        }
    }
}

impl std::error::Error for ListError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    files: Vec<File>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Path(String),
    Proven(Proven),
}

#[derive(Deserialize)]
struct Proven {
    path: String,
    #[serde(flatten)]
    digests: Digests,
}

/// Reads a list: JSON if it begins with `{`, else lines.
///
/// # Errors
/// [`ListError`], with the line.
pub fn read(text: &str) -> Result<Vec<Entry>, ListError> {
    if text.len() > LONGEST {
        return Err(ListError::TooLong);
    }
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        let Json { files } = serde_json::from_str(text).map_err(ListError::Json)?;
        return Ok(files.into_iter().map(Entry::from).collect());
    }
    let lines = (1..).zip(text.lines().map(str::trim_end));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, text)| line(number, text)).collect()
}

impl From<File> for Entry {
    fn from(file: File) -> Entry {
        match file {
            File::Path(path) => Entry { path, digests: Digests::default() },
            File::Proven(Proven { path, digests }) => Entry { path, digests },
        }
    }
}

fn line(number: usize, text: &str) -> Result<Entry, ListError> {
    let is_digest = |word: &str| word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((word, name)) = text.split_once(' ').filter(|(word, _)| is_digest(word)) else {
        if text.contains(char::is_whitespace) {
            let right = "write a path with `%20` for a space, or `DIGEST  NAME` as sha256sum prints it";
            return Err(ListError::Line(number, right));
        }
        return Ok(Entry { path: text.to_owned(), digests: Digests::default() });
    };
    let digests = Digests { sha256: from_hex(word), sha1: from_hex(word) };
    if digests.is_none() {
        return Err(ListError::Line(number, "a digest is SHA-256 or SHA-1"));
    }
    // `*` stands before the name of a file that was read as binary.
    let name = name.strip_prefix([' ', '*']).unwrap_or(name);
    Ok(Entry { path: encoded(name.strip_prefix("./").unwrap_or(name)), digests })
}

/// A file name as a reference.
fn encoded(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'%' | b'?' | b'#' | b'\\' => path.push_str(&format!("%{byte:02X}")),
            _ => super::manifest::push(&mut path, byte),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{Digests, Entry, from_hex, read};

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const SHA1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

    fn entry(path: &str, sha256: Option<&str>, sha1: Option<&str>) -> Entry {
        let digests = Digests { sha256: sha256.and_then(from_hex), sha1: sha1.and_then(from_hex) };
        Entry { path: path.to_owned(), digests }
    }

    #[test]
    fn lines_and_json_say_the_same() {
        let lines = format!("# of 2\n\nindex.html\n{SHA256}  ./a b/ü%.js\n{SHA1} *c.css\r\n");
        let listed = [
            entry("index.html", None, None),
            entry("a%20b/%C3%BC%25.js", Some(SHA256), None),
            entry("c.css", None, Some(SHA1)),
        ];
        assert_eq!(read(&lines).unwrap(), listed);
        let json = format!(
            r#" {{"files": ["index.html", {{"path": "a%20b/%C3%BC%25.js", "sha256": "{SHA256}"}}, {{"path": "c.css", "sha1": "{SHA1}"}}]}}"#
        );
        assert_eq!(read(&json).unwrap(), listed);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, told) in [
            ("a\nb c\n", "line 2: write a path"),
            ("d41d8cd98f00b204e9800998ecf8427e  a", "line 1: a digest is SHA-256 or SHA-1"),
            ("{\n\"files\": [3]}", "line 2: "),
            ("{\"filse\": []}", "line 1: unknown field"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(told), "{text}: {error}");
        }
        assert!(read(&"a\n".repeat(9 << 20)).is_err());
    }
}
