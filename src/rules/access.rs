//! What a rule says of who may have what it speaks for, as plain types. Decides nothing; `access/` does.

use super::Template;
use jsonwebtoken::{Algorithm, DecodingKey};
use std::{fmt, sync::Arc, time::Duration};

/// Who may have what a rule speaks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who shows a valid signature.
    Signed(Arc<Signed>),
    /// To whom the LMS says yes.
    Asked(Arc<Asked>),
}

impl Access {
    /// Nobody is asked for anything.
    pub const fn is_open(&self) -> bool {
        matches!(self, Access::Open)
    }

    /// What the LMS is asked, if it is.
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Access::Asked(asked) => Some(asked),
            Access::Open | Access::Signed(_) => None,
        }
    }

    /// The query parameter that shows permission. It ends here: neither key nor origin nor log see it.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Access::Signed(signed) => signed.query.as_deref(),
            Access::Open | Access::Asked(_) => None,
        }
    }

    /// The cookie that shows permission and ends here.
    pub fn cookie(&self) -> Option<&str> {
        match self {
            Access::Signed(signed) => signed.cookie.as_deref(),
            Access::Open | Access::Asked(_) => None,
        }
    }
}

/// How the LMS is asked whether a learner may have something, and how long its yes holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Cookies that say who a learner is.
    pub cookies: Vec<String>,
    /// `Authorization` says it too.
    pub authorization: bool,
    /// What a yes holds for, captured from the path: the content id. Absent: for the one URL.
    pub content: Option<Template>,
    /// How long a yes is kept; zero: each request is asked about.
    pub keep: Duration,
    /// How long the last yes still counts where the LMS cannot be asked; absent: not at all.
    pub unreachable: Option<Duration>,
    /// How long the LMS may take to answer.
    pub timeout: Duration,
    /// Path and query that is asked in place of the learner's own: 2xx is a yes. For content without a validator.
    pub check: Option<Template>,
}

/// What is shown, where, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What is shown.
    pub kind: SignedKind,
    /// The query parameter it stands in.
    pub query: Option<String>,
    /// The cookie it stands in; looked at after the query.
    pub cookie: Option<String>,
    /// Keys, any of which may have signed it. New signatures are made with the first.
    pub keys: Vec<SigningKey>,
    /// How much the clocks of who signs and of this node may differ.
    pub tolerance: Duration,
    /// Of a JWT: who must have issued it; `None`: anybody with the key.
    pub issuer: Option<String>,
    /// Of a JWT: for whom it must be; `None`: for the host that is asked.
    pub audience: Option<String>,
}

impl Signed {
    /// What is asked for, in few words: for whoever reads the configuration.
    pub fn words(&self) -> String {
        let kind = match self.kind {
            SignedKind::Hmac => "a signature",
            SignedKind::Jwt => "a JWT",
        };
        let places = [("query parameter", &self.query), ("cookie", &self.cookie)];
        let places: Vec<_> =
            places.iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?))).collect();
        format!("{kind} in {}", places.join(" or "))
    }
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedKind {
    /// A signature of host, path prefix and time (HMAC with SHA-256).
    Hmac,
    /// A JSON Web Token (RFC 7519).
    Jwt,
}

/// A key that signatures are checked with.
#[derive(Clone)]
pub struct SigningKey {
    /// Its name (`kid`).
    pub name: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The key itself.
    pub key: DecodingKey,
    /// The secret that also signs, where there is one: a public key only checks. Kept apart from `key`, which does not
    /// give it back.
    pub secret: Option<Arc<[u8]>>,
    /// BLAKE3 of how it is written, by which two are compared.
    pub digest: [u8; 32],
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &SigningKey) -> bool {
        self.digest == other.digest && self.name == other.name && self.algorithm == other.algorithm
    }
}

impl Eq for SigningKey {}

/// Without the key: it must stand in no log.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {:?})", self.name, self.algorithm)
    }
}
