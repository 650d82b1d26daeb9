//! `access` of a rule and the table of what it asks for: read, and whether it makes sense.

use super::{
    asked,
    reader::{Place, Placed, Section},
};
use crate::{
    access::{credential, signed, small_file},
    rules::{Access, Match, Policy, Signed, SignedKind, SigningKey},
};
use std::{ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

/// Bounds of how much two clocks may differ.
const TOLERANCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
/// How much they may differ if nothing is said.
const TOLERATED: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Nothing,
    Signature,
    Lms,
}

/// Reads who may have what a rule speaks for. A rule that cannot be read so is open, and the configuration has an error.
pub(super) fn access(section: &Section<'_>, when: &Match) -> Access {
    let words = [("open", Asks::Nothing), ("signed", Asks::Signature), ("asked", Asks::Lms)];
    let asks = section.choice("access", &words);
    let lms = section.table("asked").map(|table| asked::asked(table, when));
    match (asks, lms) {
        (Some(Asks::Lms), Some(asked)) => return Access::Asked(Arc::new(asked)),
        (Some(Asks::Lms), None) => {
            let right = "a table with the credentials, as in asked = { cookies = [\"MoodleSession\"] }";
            section.missing("asked", right);
        }
        (_, Some(_)) => {
            let place = section.value("asked").map_or_else(|| section.place.clone(), |value| value.place);
            let right = "set access = \"asked\", or drop it";
            section.reader.error(&place, "the rule does not ask the LMS", right);
        }
        (_, None) => {}
    }
    let table = section.table("signed").map(signed);
    match (asks, table) {
        (Some(Asks::Signature), Some(signed)) => signed.map_or(Access::Open, Access::Signed),
        (Some(Asks::Signature), None) => {
            if section.value("signed").is_none() {
                section.missing("signed", "a table with `kind`, `keys`, and `query` or `cookie`");
            }
            Access::Open
        }
        (Some(Asks::Nothing | Asks::Lms) | None, Some(_)) => {
            let place = section.value("signed").map_or_else(|| section.place.clone(), |value| value.place);
            section.reader.error(
                &place,
                "the rule asks for no signature",
                "set access = \"signed\", or drop it",
            );
            Access::Open
        }
        (Some(Asks::Nothing | Asks::Lms) | None, None) => Access::Open,
    }
}

fn signed(section: Section<'_>) -> Option<Arc<Signed>> {
    let words = [("hmac", SignedKind::Hmac), ("jwt", SignedKind::Jwt)];
    let kind = section.choice("kind", &words);
    if kind.is_none() && section.value("kind").is_none() {
        section.missing("kind", "\"hmac\" or \"jwt\"");
    }
    let keys = keys(&section, kind);
    let signed = Signed {
        kind: kind.unwrap_or(SignedKind::Hmac),
        query: name(&section, "query"),
        cookie: name(&section, "cookie"),
        keys: keys.unwrap_or_default(),
        tolerance: section.span("tolerance", TOLERANCE).unwrap_or(TOLERATED),
        issuer: section.text("issuer").map(|text| text.value.to_owned()),
        audience: section.text("audience").map(|text| text.value.to_owned()),
    };
    if section.value("query").is_none() && section.value("cookie").is_none() {
        section.missing("query", "`query` or `cookie`: where the signature stands");
    }
    for key in ["issuer", "audience"] {
        if let (Some(SignedKind::Hmac), Some(value)) = (kind, section.value(key)) {
            section.reader.error(&value.place, "only a JWT has it", "drop it, or set kind = \"jwt\"");
        }
    }
    let complete = kind.is_some() && !signed.keys.is_empty();
    section.finish();
    complete.then(|| Arc::new(signed))
}

/// The name of a query parameter or a cookie.
fn name(section: &Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if text.value.is_empty() || !text.value.bytes().all(fits) {
        let wrong = format!("`{}` is no name", text.value);
        section.reader.error(&text.place, wrong, "write letters, digits, `-` and `_`, as in \"signature\"");
    }
    Some(text.value.to_owned())
}

/// Reads the file of keys, so that it is checked with the configuration and changes with it.
fn keys(section: &Section<'_>, kind: Option<SignedKind>) -> Option<Vec<SigningKey>> {
    if section.value("keys").is_none() {
        section.missing("keys", "the path of a JWK Set");
        return None;
    }
    let Placed { value: path, place } = section.path("keys")?;
    let error = |wrong: String, right: &str| section.reader.error(&place, wrong, right);
    let text = match small_file(&path) {
        Ok(text) => text,
        Err(why) => {
            error(format!("{} cannot be read: {why}", path.display()), "write the path of a JWK Set");
            return None;
        }
    };
    match signed::keys(&text) {
        Ok(keys) if kind == Some(SignedKind::Hmac) && !keys.iter().any(signed::is_for_hmac) => {
            error(format!("{}: no key is for HS256", path.display()), "add one with \"kty\": \"oct\"");
            None
        }
        Ok(keys) => Some(keys),
        Err(why) => {
            error(format!("{}: {why}", path.display()), "see docs/access.md");
            None
        }
    }
}

/// The file of a site's service credential. It is read at each warm-up, and no learner depends on it: what is wrong with it now is
/// worth a warning.
pub(super) fn service_credential(section: &Section<'_>) -> Option<PathBuf> {
    let Placed { value: path, place } = section.path("service_credential")?;
    if let Err(why) = small_file(&path).and_then(|text| credential(&text)) {
        let right = "without it no warm-up gets what the LMS is asked about; see docs/warm-up.md";
        section.reader.warning(&place, format!("{} cannot be used: {why}", path.display()), right);
    }
    Some(path)
}

/// What is allowed key by key, but lets in who should not be.
pub(super) fn makes_sense(section: &Section<'_>, when: &Match, access: &Access, policy: &Policy) {
    let place =
        |key| -> Place { section.value(key).map_or_else(|| section.place.clone(), |value| value.place) };
    let parameter = |name: &str| access.parameter() == Some(name);
    if when.query.iter().any(|(name, _)| parameter(name)) {
        let wrong =
            "the rule speaks only for requests that show a signature: others fall to the rules after it";
        section.reader.error(&place("query"), wrong, "drop the condition");
    }
    if when.cookies.iter().any(|name| access.cookie() == Some(name)) {
        let wrong =
            "the rule speaks only for requests that show a signature: others fall to the rules after it";
        section.reader.error(&place("cookie"), wrong, "drop the condition");
    }
    if policy.lift_private {
        lifts_soundly(section, when, access, place("lift_private"));
    }
}

/// A rule that lifts `private` says for which paths, and asks whoever wants them.
fn lifts_soundly(section: &Section<'_>, when: &Match, access: &Access, place: Place) {
    // A table that cannot be read has its own errors.
    if access.is_open() && section.value("signed").is_none() && section.value("asked").is_none() {
        let wrong = "what is private to one learner would be given to everybody";
        section.reader.error(&place, wrong, "set access = \"signed\" or \"asked\", or drop it");
    }
    let anywhere = when.path.as_deref().is_none_or(|path| path == "/**")
        && when.prefix.as_deref().is_none_or(|prefix| prefix == "/");
    if anywhere {
        let wrong = "it lifts `private` for every page of the site";
        section.reader.error(&place, wrong, "say by path or prefix what it is for");
    }
}
