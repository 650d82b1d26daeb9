//! `mount` of a rule: another origin for its paths.

use super::{
    reader::{Place, Placed, Section},
    sites::unknown,
};
use crate::rules::{Access, Match, Mount, Policy, normalise, spelling};
use http::header;

/// Reads it; `origins` are the names there are.
pub(super) fn mount(
    section: &Section<'_>,
    when: &Match,
    (policy, access): (&Policy, &Access),
    origins: &[String],
) -> Option<Mount> {
    let table = section.table("mount")?;
    let place = table.place.clone();
    let origin = table.required("origin", "the name of an origin");
    if let Some(origin) = origin.as_ref().filter(|origin| !origins.iter().any(|known| known == origin.value))
    {
        unknown(section.reader, origin, "origin", origins.iter().map(String::as_str));
    }
    let host =
        table.required("host", "the host that the storage goes by").and_then(|text| host(section, &text));
    let path = table.required("path", "the path at the storage, as in \"/\" or \"/bucket/\"");
    if let Some(path) = &path {
        ends_in_slash(section, &path.place, path.value);
        if let Err(why) = spelling(path.value) {
            section.reader.error(&path.place, format!("`{}` is no path", path.value), why);
        }
    }
    table.finish();
    let Some(prefix) = when.prefix.clone() else {
        section.reader.error(
            &place,
            "the rule has no prefix that the path could take the place of",
            "write prefix",
        );
        return None;
    };
    ends_in_slash(section, &place, &prefix);
    if !(when.query.is_empty() && when.fields.is_empty() && when.cookies.is_empty()) {
        let wrong = "what the storage has would be stored for requests that the rule does not speak for, too";
        section.reader.error(&place, wrong, "drop its conditions on query, fields and cookies");
    }
    if matches!(access, Access::Asked(_)) {
        let right = "ask for a signature, or drop access = \"asked\"";
        section.reader.error(&place, "the storage would be asked with the LMS's own credentials", right);
    }
    if policy.forward.iter().any(|name| [header::COOKIE, header::AUTHORIZATION].contains(name)) {
        let right = "drop it from forward: what is mounted gets no credential of the LMS";
        section.reader.error(&place, "the storage would be told who is signed in to the LMS", right);
    }
    Some(Mount { origin: origin?.value.to_owned(), host: host?, prefix, path: path?.value.to_owned() })
}

fn host(section: &Section<'_>, text: &Placed<&str>) -> Option<String> {
    // As it is known again in redirects: the usual ports are left out there.
    match normalise::host(text.value, true) {
        Ok(host) => Some(host.into_owned()),
        Err(why) => {
            let right = "write a name, as in \"bucket.example\"";
            section.reader.error(&text.place, format!("`{}`: {why}", text.value), right);
            None
        }
    }
}

/// One segment must not become part of another.
fn ends_in_slash(section: &Section<'_>, place: &Place, path: &str) {
    if !path.ends_with('/') {
        let wrong = format!("`{path}` does not end in `/`");
        section.reader.error(place, wrong, "let prefix and path end in `/`");
    }
}
