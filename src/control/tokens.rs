//! Who may change something: bearer tokens (RFC 6750), kept as digests.
//!
//! A token is 256 random bits, so a plain BLAKE3 is enough at rest: there is nothing to guess. One line of the file is
//! `NAME blake3:HEX`; `#` begins a comment.

use super::{Control, Problem};
use arc_swap::ArcSwap;
use axum::extract::FromRequestParts;
use blake3::Hash;
use http::{header, request::Parts};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Names and digests.
type Accepted = Vec<(Arc<str>, Hash)>;

/// The accepted tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    accepted: ArcSwap<Accepted>,
}

/// Why the token file cannot be used. What was accepted before stays so.
#[derive(Debug)]
pub enum TokenError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// Lines of the file are wrong: number from 1, and what would be right.
    Lines(PathBuf, Vec<(usize, &'static str)>),
    /// A name for a new token has other characters than letters, digits, `.`, `_`, `-`.
    Name(String),
    /// The system gives no random bits.
    Random(getrandom::Error),
}

/// Begins every token, so that one found in a log or a repository is recognised.
const PREFIX: &str = "lectern_";
const SCHEME: &str = "blake3:";

impl Tokens {
    /// Reads the file; without one, no token is accepted.
    ///
    /// # Errors
    /// If the file cannot be read, or has wrong lines (all are named).
    pub fn load(file: Option<&Path>) -> Result<Tokens, TokenError> {
        let tokens = Tokens::default();
        tokens.reload(file)?;
        Ok(tokens)
    }

    /// Reads the file anew and swaps; on error nothing changes.
    ///
    /// # Errors
    /// As [`Tokens::load`].
    pub fn reload(&self, file: Option<&Path>) -> Result<(), TokenError> {
        let accepted = match file {
            None => Vec::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| TokenError::Unreadable(path.into(), error))?;
                parse(&text).map_err(|lines| TokenError::Lines(path.into(), lines))?
            }
        };
        self.accepted.store(Arc::new(accepted));
        Ok(())
    }

    /// The name of a token, if it is accepted. Takes the same time whichever token it is, or none.
    fn name_of(&self, token: &str) -> Option<Arc<str>> {
        let digest = blake3::hash(token.as_bytes());
        let mut name = None;
        for (each, accepted) in self.accepted.load().iter() {
            if *accepted == digest {
                name = Some(each.clone());
            }
        }
        name
    }
}

fn parse(text: &str) -> Result<Accepted, Vec<(usize, &'static str)>> {
    let mut accepted = Accepted::new();
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let digest = words.next().and_then(|word| word.strip_prefix(SCHEME)).map(Hash::from_hex);
        match (digest, words.next()) {
            _ if !is_name(name) => wrong.push((number, "a name has letters, digits, '.', '_' and '-' only")),
            _ if accepted.iter().any(|(other, _)| **other == *name) => {
                wrong.push((number, "the name stands in an earlier line already"));
            }
            (Some(Ok(digest)), None) => accepted.push((name.into(), digest)),
            _ => wrong.push((
                number,
                "a line is NAME blake3:HEX with 64 hex digits; `lectern token NAME` makes one",
            )),
        }
    }
    if wrong.is_empty() { Ok(accepted) } else { Err(wrong) }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A token just made. It is shown once and kept nowhere.
pub struct NewToken {
    /// What the caller sends.
    pub token: String,
    /// What is appended to the token file.
    pub line: String,
}

impl NewToken {
    /// Makes a token for `name`.
    ///
    /// # Errors
    /// If the name cannot stand in the file, or the system gives no random bits.
    pub fn new(name: &str) -> Result<NewToken, TokenError> {
        if !is_name(name) {
            return Err(TokenError::Name(name.into()));
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(TokenError::Random)?;
        // a Hash knows how to write 32 bytes as hex
        let token = format!("{PREFIX}{}", Hash::from_bytes(secret).to_hex());
        let line = format!("{name} {SCHEME}{}", blake3::hash(token.as_bytes()).to_hex());
        Ok(NewToken { token, line })
    }
}

/// Whoever made this call, by the name of the token. Asking for it in a function of the API refuses all others.
pub(super) struct Caller(pub(super) Arc<str>);

impl FromRequestParts<Control> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Caller, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(Problem::no_token)?;
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(Problem::no_token)?;
        match control.tokens.name_of(token) {
            Some(name) => Ok(Caller(name)),
            None if control.tokens.accepted.load().is_empty() => Err(Problem::wrong_token(
                "this node accepts no token: name a token file in its configuration",
            )),
            None => Err(Problem::wrong_token("it is not in this node's token file")),
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            TokenError::Lines(path, lines) => {
                for (at, (number, what)) in lines.iter().enumerate() {
                    let end = if at + 1 < lines.len() { "\n" } else { "" };
                    write!(f, "{}:{number}: {what}{end}", path.display())?;
                }
                Ok(())
            }
            TokenError::Name(name) => {
                write!(f, "{name:?}: a name has letters, digits, '.', '_' and '-' only")
            }
            TokenError::Random(error) => write!(f, "no random bits for a token: {error}"),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::{NewToken, TokenError, Tokens};

    #[test]
    fn a_token_is_accepted_by_the_line_it_came_with_and_the_line_does_not_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let (made, other) = (NewToken::new("release").unwrap(), NewToken::new("other").unwrap());
        assert!(!made.line.contains(made.token.trim_start_matches("lectern_")));
        std::fs::write(&file, format!("# who\n\n{} # the pipeline\n", made.line)).unwrap();
        let tokens = Tokens::load(Some(&file)).unwrap();
        assert_eq!(tokens.name_of(&made.token).as_deref(), Some("release"));
        assert_eq!(tokens.name_of(&other.token), None);
        assert_eq!(tokens.name_of(""), None);

        std::fs::write(&file, &other.line).unwrap();
        tokens.reload(Some(&file)).unwrap();
        assert_eq!(tokens.name_of(&made.token), None, "taken out, taken back");
        assert_eq!(tokens.name_of(&other.token).as_deref(), Some("other"));
        assert!(NewToken::new("two words").is_err());
    }

    #[test]
    fn all_wrong_lines_are_named_and_what_was_accepted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let made = NewToken::new("release").unwrap();
        std::fs::write(&file, &made.line).unwrap();
        let tokens = Tokens::load(Some(&file)).unwrap();
        let digest = made.line.split(' ').next_back().unwrap();
        std::fs::write(
            &file,
            format!("a {digest}\nb\na {digest}\nc {}\nd! {digest}\ne {digest} x\n", made.token),
        )
        .unwrap();
        match tokens.reload(Some(&file)).unwrap_err() {
            TokenError::Lines(_, lines) => {
                assert_eq!(lines.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
            }
            other => panic!("{other}"),
        }
        assert!(tokens.name_of(&made.token).is_some());
        assert!(tokens.reload(Some(&dir.path().join("absent"))).is_err());
    }
}
