//! Who may do what: bearer tokens (RFC 6750) with roles, kept as digests.
//!
//! A token is 256 random bits, so a plain BLAKE3 is enough at rest: there is nothing to guess. One line of the file is
//! `NAME blake3:HEX ROLE,ROLE`; `#` begins a comment.

use super::{
    Control, Problem,
    rate::{Calls, Exceeded, Rate},
    roles::{Role, Roles},
};
use arc_swap::ArcSwap;
use axum::extract::FromRequestParts;
use blake3::Hash;
use http::{HeaderMap, header, request::Parts};
use std::{
    fmt, io,
    marker::PhantomData,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A token of the file.
#[derive(Clone, Debug)]
struct Accepted {
    name: Arc<str>,
    digest: Hash,
    roles: Roles,
    calls: Arc<Calls>,
}

/// The accepted tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    accepted: ArcSwap<Vec<Accepted>>,
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
    pub fn load(file: Option<&Path>, rate: Rate) -> Result<Tokens, TokenError> {
        let tokens = Tokens::default();
        tokens.reload(file, rate)?;
        Ok(tokens)
    }

    /// Reads the file anew and swaps; on error nothing changes. Who is in it as before is counted on.
    ///
    /// # Errors
    /// As [`Tokens::load`].
    pub fn reload(&self, file: Option<&Path>, rate: Rate) -> Result<(), TokenError> {
        let written = match file {
            None => Vec::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| TokenError::Unreadable(path.into(), error))?;
                parse(&text).map_err(|lines| TokenError::Lines(path.into(), lines))?
            }
        };
        let before = self.accepted.load();
        let accepted = written.into_iter().map(|Written { name, digest, roles }| {
            let same = before.iter().find(|old| old.digest == digest && old.calls.is_of(rate));
            let calls = same.map_or_else(|| Arc::new(Calls::new(rate)), |old| old.calls.clone());
            Accepted { name, digest, roles, calls }
        });
        self.accepted.store(Arc::new(accepted.collect()));
        Ok(())
    }

    /// Whose token it is, if it is accepted. Takes the same time whichever token it is, or none.
    fn find(&self, token: &str) -> Option<Accepted> {
        let digest = blake3::hash(token.as_bytes());
        let mut found = None;
        for each in self.accepted.load().iter() {
            if each.digest == digest {
                found = Some(each.clone());
            }
        }
        found
    }

    /// Lets in whoever shows an accepted token that has one of the roles of `N` and did not call too often; counts the call.
    pub(super) fn admit<N: Needs>(&self, token: Option<&str>) -> Result<Caller<N>, Problem> {
        let token = token.map(str::trim).filter(|token| !token.is_empty()).ok_or_else(Problem::no_token)?;
        let Some(Accepted { name, roles, calls, .. }) = self.find(token) else {
            return Err(Problem::wrong_token(match self.accepted.load().is_empty() {
                true => "this node accepts no token: name a token file in its configuration",
                false => "it is not in this node's token file",
            }));
        };
        let caller = Caller { name, roles, calls, needs: PhantomData };
        caller.count(NonZeroU32::MIN)?;
        if !roles.any(N::ANY) {
            return Err(caller.lacks(N::ANY));
        }
        Ok(caller)
    }
}

/// A line of the file.
struct Written {
    name: Arc<str>,
    digest: Hash,
    roles: Roles,
}

fn parse(text: &str) -> Result<Vec<Written>, Vec<(usize, &'static str)>> {
    let mut accepted = Vec::<Written>::new();
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let digest = words.next().and_then(|word| word.strip_prefix(SCHEME)).map(Hash::from_hex);
        match (digest, words.next().map(Roles::named), words.next()) {
            _ if !is_name(name) => wrong.push((number, "a name has letters, digits, '.', '_' and '-' only")),
            _ if accepted.iter().any(|other| *other.name == *name) => {
                wrong.push((number, "the name stands in an earlier line already"));
            }
            (Some(Ok(digest)), Some(Some(roles)), None) => {
                accepted.push(Written { name: name.into(), digest, roles });
            }
            (Some(Ok(_)), ..) => {
                wrong.push((number, "the digest is followed by what the token may do, of read,purge,release,operate"));
            }
            _ => wrong.push((
                number,
                "a line is NAME blake3:HEX ROLES with 64 hex digits; `lectern token NAME --roles ROLES` makes one",
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
    /// Makes a token for `name` that may do this.
    ///
    /// # Errors
    /// If the name cannot stand in the file, or the system gives no random bits.
    pub fn new(name: &str, roles: Roles) -> Result<NewToken, TokenError> {
        if !is_name(name) {
            return Err(TokenError::Name(name.into()));
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(TokenError::Random)?;
        // a Hash knows how to write 32 bytes as hex
        let token = format!("{PREFIX}{}", Hash::from_bytes(secret).to_hex());
        let line = format!("{name} {SCHEME}{} {roles}", blake3::hash(token.as_bytes()).to_hex());
        Ok(NewToken { token, line })
    }
}

/// What a function of the API asks of a token.
pub(super) trait Needs {
    /// One of these roles.
    const ANY: Roles;
}

/// To read what happened, and what would.
pub(super) struct ToRead;
/// To purge at least something; which, is asked with [`Caller::may`].
pub(super) struct ToPurge;
/// To fetch beforehand.
pub(super) struct ToWarm;
/// To see which releases there are.
pub(super) struct ToSeeReleases;
/// To take a step of a release.
pub(super) struct ToRelease;
/// To change how the node runs.
pub(super) struct ToOperate;

impl Needs for ToRead {
    const ANY: Roles = Roles::of(&[Role::Read]);
}

impl Needs for ToPurge {
    const ANY: Roles = Roles::of(&[Role::Purge, Role::Release]);
}

impl Needs for ToWarm {
    const ANY: Roles = Roles::of(&[Role::Release, Role::Operate]);
}

impl Needs for ToSeeReleases {
    const ANY: Roles = Roles::of(&[Role::Read, Role::Release]);
}

impl Needs for ToRelease {
    const ANY: Roles = Roles::of(&[Role::Release]);
}

impl Needs for ToOperate {
    const ANY: Roles = Roles::of(&[Role::Operate]);
}

/// Whoever made this call. Asking for it in a function of the API refuses all who may not.
pub(super) struct Caller<N> {
    /// The name of the token.
    pub(super) name: Arc<str>,
    roles: Roles,
    calls: Arc<Calls>,
    needs: PhantomData<fn() -> N>,
}

impl<N> Caller<N> {
    /// Refuses who has none of these roles.
    pub(super) fn may(&self, any: Roles) -> Result<(), Problem> {
        if self.roles.any(any) { Ok(()) } else { Err(self.lacks(any)) }
    }

    fn lacks(&self, any: Roles) -> Problem {
        Problem::lacks_role(&self.name, &self.roles, &any)
    }

    /// Counts so many calls more.
    pub(super) fn count(&self, calls: NonZeroU32) -> Result<(), Problem> {
        self.calls.count(calls).map_err(|exceeded| match exceeded {
            Exceeded::Wait(wait) => Problem::too_many_calls(&self.name, wait),
            Exceeded::Never(most) => Problem::too_many_purges(most.get() as usize),
        })
    }
}

/// The token of `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

impl<N: Needs> FromRequestParts<Control> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Caller<N>, Problem> {
        control.tokens.admit(bearer(&parts.headers))
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
    use super::{NewToken, Rate, Role, Roles, TokenError, Tokens};

    const SOME: Roles = Roles::of(&[Role::Read, Role::Purge]);

    impl Tokens {
        fn name_of(&self, token: &str) -> Option<String> {
            self.find(token).map(|found| found.name.to_string())
        }
    }

    #[test]
    fn a_token_is_accepted_by_the_line_it_came_with_and_the_line_does_not_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let (made, other) = (NewToken::new("release", SOME).unwrap(), NewToken::new("other", SOME).unwrap());
        assert!(!made.line.contains(made.token.trim_start_matches("lectern_")));
        std::fs::write(&file, format!("# who\n\n{} # the pipeline\n", made.line)).unwrap();
        let tokens = Tokens::load(Some(&file), Rate::default()).unwrap();
        assert_eq!(tokens.name_of(&made.token).as_deref(), Some("release"));
        assert_eq!(tokens.find(&made.token).unwrap().roles, SOME);
        assert_eq!(tokens.name_of(&other.token), None);
        assert_eq!(tokens.name_of(""), None);

        std::fs::write(&file, &other.line).unwrap();
        tokens.reload(Some(&file), Rate::default()).unwrap();
        assert_eq!(tokens.name_of(&made.token), None, "taken out, taken back");
        assert_eq!(tokens.name_of(&other.token).as_deref(), Some("other"));
        assert!(NewToken::new("two words", SOME).is_err());
    }

    #[test]
    fn all_wrong_lines_are_named_and_what_was_accepted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let made = NewToken::new("release", SOME).unwrap();
        std::fs::write(&file, &made.line).unwrap();
        let tokens = Tokens::load(Some(&file), Rate::default()).unwrap();
        let digest = made.line.split(' ').nth(1).unwrap();
        let wrong = [
            format!("b {digest} read"),
            "c".to_owned(),
            format!("b {digest} read"),
            format!("d {} read", made.token),
            format!("e! {digest} read"),
            format!("f {digest} read x"),
            format!("g {digest}"),
            format!("h {digest} all"),
        ];
        std::fs::write(&file, wrong.join("\n")).unwrap();
        match tokens.reload(Some(&file), Rate::default()).unwrap_err() {
            TokenError::Lines(_, lines) => {
                assert_eq!(lines.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8]);
                assert!(lines[6].1.contains("read,purge,release,operate"), "{lines:?}");
            }
            other => panic!("{other}"),
        }
        assert!(tokens.name_of(&made.token).is_some());
        assert!(tokens.reload(Some(&dir.path().join("absent")), Rate::default()).is_err());
    }

    #[test]
    fn a_reload_forgives_no_calls() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let made = NewToken::new("release", SOME).unwrap();
        std::fs::write(&file, &made.line).unwrap();
        let one = std::num::NonZeroU32::MIN;
        let rate = Rate { per_second: one, at_once: one };
        let tokens = Tokens::load(Some(&file), rate).unwrap();
        let call =
            || tokens.admit::<super::ToRead>(Some(&made.token)).map_err(|problem| problem.status).err();
        assert_eq!((call(), call()), (None, Some(429)));
        tokens.reload(Some(&file), rate).unwrap();
        assert_eq!(call(), Some(429));
        tokens.reload(Some(&file), Rate::default()).unwrap();
        assert_eq!(call(), None, "another rate");
    }
}
