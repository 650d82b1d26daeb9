//! Who asks, for what: the credentials that a rule names, and the content that it captures.

use crate::{rules::Asked, telemetry::AccessMetrics};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Digest of credentials: the first 16 bytes of the BLAKE3 of their lines, `NAME=VALUE` and a line feed for each cookie in the order
/// they came, `authorization: VALUE` and a line feed for the field. Told in the access log; forgotten by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    /// As it is told; more digits of the same BLAKE3 do no harm.
    fn from_str(text: &str) -> Result<Digest, &'static str> {
        let wrong = "a digest has 32 hexadecimal digits";
        let digits = text.get(..32).filter(|_| text.bytes().all(|b| b.is_ascii_hexdigit())).ok_or(wrong)?;
        let number = u128::from_str_radix(digits, 16).map_err(|_| wrong)?;
        Ok(Digest(number.to_be_bytes()))
    }
}

/// The credentials that a request shows, as far as its rule names them.
pub struct Shown {
    fields: Vec<(HeaderName, HeaderValue)>,
    digest: Digest,
}

impl Shown {
    /// Reads them; `None` if there is none: then nobody can be asked about.
    pub fn of(asked: &Asked, headers: &HeaderMap) -> Option<Shown> {
        let mut hasher = blake3::Hasher::new();
        let mut fields = Vec::new();
        let mut cookies = Vec::new();
        for pair in
            headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'))
        {
            let pair = pair.trim_ascii();
            let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
            if asked.cookies.iter().any(|known| known.as_bytes() == name) {
                hasher.update(pair).update(b"\n");
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(pair);
            }
        }
        if !cookies.is_empty() {
            fields.push((header::COOKIE, HeaderValue::from_bytes(&cookies).ok()?));
        }
        if asked.authorization {
            for value in headers.get_all(header::AUTHORIZATION) {
                hasher.update(b"authorization: ").update(value.as_bytes()).update(b"\n");
                fields.push((header::AUTHORIZATION, value.clone()));
            }
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        (!fields.is_empty()).then_some(Shown { fields, digest: Digest(digest) })
    }
}

/// A learner who asks for a content under a rule.
pub struct Learner {
    /// Whom and what a yes is for.
    key: [u8; 32],
    pub(super) site: Arc<str>,
    pub(super) content: Box<str>,
    pub(super) digest: Digest,
    /// What the LMS knows her by.
    fields: Vec<(HeaderName, HeaderValue)>,
    keep: Duration,
    unreachable: Duration,
    vouched: bool,
    metrics: Arc<AccessMetrics>,
}

/// What a learner asks for, beside her credentials.
pub struct For<'a> {
    /// Her site.
    pub site: &'a Arc<str>,
    /// Scope, scheme and host, as the cache key has them: two tenants know different people by the same cookie.
    pub tenant: (&'a str, bool, &'a str),
    /// The rule.
    pub rule: &'a str,
    /// Normalised path.
    pub path: &'a str,
    /// Query.
    pub query: Option<&'a str>,
}

impl Learner {
    /// The learner who shows these credentials. `own` are fields that only a request of hers has: from where it came.
    pub fn new(
        shown: Shown,
        asked: &Asked,
        what: &For<'_>,
        own: &HeaderMap,
        metrics: Arc<AccessMetrics>,
    ) -> Learner {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        let (scope, https, host) = what.tenant;
        for text in [&**what.site, scope, host, what.rule] {
            part(text.as_bytes());
        }
        part(&[u8::from(https)]);
        part(&shown.digest.0);
        let captured = asked
            .content
            .as_ref()
            .and_then(|content| Some((content.values(what.path)?, content.fill(what.path)?)));
        let content = match captured {
            Some((values, text)) => {
                values.iter().for_each(|value| part(value.as_bytes()));
                text
            }
            None => {
                part(what.path.as_bytes());
                part(what.query.unwrap_or_default().as_bytes());
                what.query.map_or_else(|| what.path.to_owned(), |query| format!("{}?{query}", what.path))
            }
        };
        let Shown { mut fields, digest } = shown;
        fields.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
        Learner {
            key: *hasher.finalize().as_bytes(),
            site: what.site.clone(),
            content: content.into(),
            digest,
            fields,
            keep: asked.keep,
            unreachable: asked.unreachable.unwrap_or_default(),
            vouched: asked.check.is_some(),
            metrics,
        }
    }

    /// Adds what the LMS knows her by to a request in her name.
    pub fn show(&self, headers: &mut HeaderMap) {
        for (name, _) in &self.fields {
            headers.remove(name);
        }
        for (name, value) in &self.fields {
            headers.append(name, value.clone());
        }
    }

    /// Digest of her credentials.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whom and what a yes is for.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Where what was asked for her is counted.
    pub fn metrics(&self) -> &AccessMetrics {
        &self.metrics
    }

    /// A check endpoint says whether she may have it.
    pub fn is_vouched(&self) -> bool {
        self.vouched
    }

    pub(super) fn keep(&self) -> Duration {
        self.keep
    }

    pub(super) fn unreachable(&self) -> Duration {
        self.unreachable
    }
}

/// A question put to the LMS for a learner.
#[derive(Clone)]
pub struct Asking {
    pub(super) learner: Arc<Learner>,
    pub(super) put: Instant,
    /// Forgets that had come by then.
    pub(super) forgets: u64,
}

impl Asking {
    /// For whom.
    pub fn learner(&self) -> &Arc<Learner> {
        &self.learner
    }
}

/// A learner for the tests of this part.
#[cfg(test)]
pub(super) fn test_learner() -> Arc<Learner> {
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, HeaderValue::from_static("Session=1"));
    let asked = tests::asked(Some("{course}"));
    let what =
        For { site: &"lms".into(), tenant: ("lms", true, ""), rule: "r", path: "/c/7/a/b", query: None };
    let shown = Shown::of(&asked, &headers);
    Arc::new(Learner::new(shown.unwrap(), &asked, &what, &HeaderMap::new(), tests::metrics()))
}

#[cfg(test)]
mod tests {
    use super::{Digest, For, Learner, Shown};
    use crate::{
        rules::{Asked, Pattern, Template},
        telemetry::{AccessMetrics, Metrics},
    };
    use http::{HeaderMap, HeaderName, HeaderValue};
    use std::{sync::Arc, time::Duration};

    pub(super) fn metrics() -> Arc<AccessMetrics> {
        Metrics::new().access("lms", "r")
    }

    pub(super) fn asked(content: Option<&str>) -> Asked {
        let pattern = Pattern::parse("/c/{course}/{part}/**").unwrap();
        Asked {
            cookies: vec!["Session".into(), "Course".into()],
            authorization: true,
            content: content.map(|text| Template::parse(text, &pattern).unwrap()),
            keep: Duration::from_secs(60),
            unreachable: None,
            timeout: Duration::from_secs(1),
            check: None,
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn credentials_are_those_that_the_rule_names_and_no_others() {
        let sent = |fields: &[(&'static str, &'static str)]| {
            let shown = Shown::of(&asked(None), &headers(fields))?;
            let told = shown.fields.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()));
            Some((told.collect::<Vec<_>>().join("\n"), shown.digest))
        };
        let told = |fields| sent(fields).map(|(told, _)| told);
        assert_eq!(
            told(&[("cookie", "lang=de; Session=1;Course=2 ; x=3")]).as_deref(),
            Some("cookie: Session=1; Course=2")
        );
        assert_eq!(told(&[("authorization", "Basic x")]).as_deref(), Some("authorization: Basic x"));
        for none in [&[("cookie", "session=1; SessionX=1; =Session")][..], &[("accept", "Session=1")], &[]] {
            assert_eq!(told(none), None, "{none:?}");
        }
        let digest = |fields| sent(fields).unwrap().1;
        let one = digest(&[("cookie", "Session=1")]);
        assert_eq!(one, digest(&[("cookie", "a=b; Session=1")]), "what is not named says nothing");
        for other in [
            &[("cookie", "Session=2")][..],
            &[("cookie", "Session=1; Course=2")],
            &[("cookie", "Course=1")],
            &[("cookie", "Session=1; Session=1")],
            &[("cookie", "Session=1"), ("authorization", "x")],
            &[("authorization", "Session=1")],
        ] {
            assert_ne!(one, digest(other), "{other:?}");
        }
        let lines = blake3::hash(b"Session=1\n").to_hex().to_string();
        assert_eq!(lines.parse::<Digest>().unwrap(), one, "anybody can tell it");
        assert_eq!(lines[..32], one.to_string());
        assert!("12".parse::<Digest>().is_err() && "zz".repeat(16).parse::<Digest>().is_err());
    }

    #[test]
    fn a_yes_is_for_one_tenant_rule_learner_and_content() {
        let site: Arc<str> = "lms".into();
        let key = |cookie: &'static str, tenant, rule, path, content| {
            let asked = asked(content);
            let shown = Shown::of(&asked, &headers(&[("cookie", cookie)])).unwrap();
            let what = For { site: &site, tenant, rule, path, query: None };
            *Learner::new(shown, &asked, &what, &HeaderMap::new(), metrics()).key()
        };
        let (tenant, path, content) = (("s", true, "a.example"), "/c/7/intro/a.js", Some("{course}"));
        let base = key("Session=1", tenant, "r", path, content);
        assert_eq!(base, key("Session=1", tenant, "r", "/c/7/end/b.js", content), "the same content");
        for other in [
            key("Session=2", tenant, "r", path, content),
            key("Session=1", ("s", true, "b.example"), "r", path, content),
            key("Session=1", ("s", false, "a.example"), "r", path, content),
            key("Session=1", tenant, "q", path, content),
            key("Session=1", tenant, "r", "/c/8/intro/a.js", content),
            key("Session=1", tenant, "r", path, None),
        ] {
            assert_ne!(base, other);
        }
        let file = |path| key("Session=1", tenant, "r", path, None);
        assert_ne!(
            file("/c/7/intro/a.js"),
            file("/c/7/intro/b.js"),
            "without a content each URL is asked about"
        );
    }
}
