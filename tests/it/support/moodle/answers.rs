//! The recorded sets of fields, by what they were an answer to.

use std::time::Duration;

use lectern::clock;

use super::super::answer::Answer;
use super::super::message::Framing;
use super::super::origin::Seen;
use super::files::tag;

pub(super) const SERVER: &str = "nginx/1.22.1";
/// An `Expires` that is not over; beside `max-age` it says nothing.
pub(super) const LATER: &str = "Sat, 20 Nov 2060 15:06:09 GMT";
/// The number of theme and scripts.
pub(crate) const REVISION: &str = "1795618195";
const PAST: &str = "Thu, 19 Nov 1981 08:52:00 GMT";
const PAGE: &str = "private, pre-check=0, post-check=0, max-age=0, no-transform";

fn html(status: u16, body: impl AsRef<[u8]>) -> Answer {
    let answer = Answer::new(status, body).chunked().field("Server", SERVER);
    answer.field("Content-Type", "text/html; charset=utf-8")
}

fn never_stored(answer: Answer) -> Answer {
    let answer = answer.field("Expires", PAST);
    answer.field("Cache-Control", "no-store, no-cache, must-revalidate").field("Pragma", "no-cache")
}

/// A new session, of nobody.
fn with_session(answer: Answer) -> Answer {
    answer.field("Set-Cookie", "MoodleSession=9f86d081884c7d659a2feaa0c5; path=/; HttpOnly")
}

/// To whom is not signed in, no `Range` being asked for.
pub(super) fn sign_in() -> Answer {
    with_session(redirect("http://lms-a.example/login/index.php", 1501))
}

/// To whom is signed in and not enrolled, no `Range` being asked for.
pub(super) fn enrol(course: u32) -> Answer {
    redirect(&format!("http://lms-a.example/enrol/index.php?id={course}"), 1506)
}

fn redirect(to: &str, length: usize) -> Answer {
    never_stored(html(303, filled("<html>This page should automatically redirect.", length)))
        .field("X-Redirect-By", "Moodle")
        .field("Location", to)
        .field("Content-Language", "en")
}

/// To either of them with a `Range`: the page of an error, as 407.
pub(super) fn no_proxy(stranger: bool) -> Answer {
    let answer = html(407, filled("<html>no", if stranger { 26_252 } else { 127_820 }));
    let answer = if stranger { with_session(answer) } else { answer };
    page_fields(answer.field("Content-Language", "en").field("X-UA-Compatible", "IE=edge"))
}

/// To whom may see the activity, and asks for what is not in it or not theirs.
pub(super) fn not_found() -> Answer {
    never_stored(html(404, ""))
}

/// An error as 200, to a stranger's `loadSCO.php`.
pub(super) fn no_sco() -> Answer {
    with_session(never_stored(html(200, "The requested SCO does not exist. Contact your administrator.")))
}

/// The way to the package, by the revision of today.
pub(super) fn launch(revision: u32) -> Answer {
    let to = format!("/pluginfile.php/14/mod_scorm/content/{revision}/Playing/Par.html");
    never_stored(html(200, format!("<html><script>location = '{to}';</script></html>")))
}

/// A page.
pub(super) fn page(text: &str) -> Answer {
    page_fields(html(200, format!("<html>{text}</html>")))
}

fn page_fields(answer: Answer) -> Answer {
    answer
        .field("Cache-Control", PAGE)
        .field("Pragma", "no-cache")
        .field("Expires", "")
        .field("Accept-Ranges", "none")
        .field("X-Frame-Options", "sameorigin")
}

/// What a call or a commit of tracking comes back with.
pub(super) fn call(body: &str) -> Answer {
    let kind =
        if body.starts_with('[') { "application/json; charset=utf-8" } else { "text/html; charset=utf-8" };
    never_stored(Answer::ok(body).field("Server", SERVER).field("Content-Type", kind))
}

/// Texts and templates, asked without signing in: public, and without a validator.
pub(super) fn texts(seen: &Seen) -> Answer {
    Answer::ok(format!("texts of {}", seen.target))
        .field("Server", SERVER)
        .field("Content-Type", "application/json; charset=utf-8")
        .field("Cache-Control", "public, max-age=7776000, immutable")
        .field("Expires", LATER)
        .field("Pragma", "")
        .field("Accept-Ranges", "none")
}

/// A file of the H5P player, which the web server sends by itself.
pub(super) fn plain_file(seen: &Seen) -> Answer {
    Answer::ok(format!("player {}", seen.path()))
        .field("Server", SERVER)
        .field("Content-Type", "application/javascript")
        .field("Last-Modified", "Fri, 13 Dec 2024 01:58:16 GMT")
        .field("Etag", "\"675b94b8-15c81\"")
        .field("Accept-Ranges", "bytes")
        .conditional()
        .ranges()
}

/// Theme, scripts, fonts: public for a revision that it knows. To any `If-None-Match` it says 304; for another revision
/// what it says lives for seconds.
pub(super) fn public_file(seen: &Seen, short_lived: u64) -> Answer {
    let gzip = seen.field("accept-encoding").is_some_and(|accepts| accepts.contains("gzip"));
    let combined = seen.path() == "/theme/yui_combo.php";
    if !combined && !seen.path().contains(REVISION) {
        let now = clock::now();
        return sent(seen, "of no revision")
            .field("Last-Modified", httpdate::fmt_http_date(now))
            .field("Expires", httpdate::fmt_http_date(now + Duration::from_secs(short_lived)))
            .field("Pragma", "")
            .field("Accept-Ranges", "none");
    }
    let (body, age) = (format!("public {}", seen.target), if combined { 31_104_000 } else { 7_776_000 });
    if seen.field("if-none-match").is_some() {
        return Answer { framing: Framing::Nothing, ..Answer::new(304, "") }
            .field("Server", SERVER)
            .field("Expires", LATER)
            .field("Cache-Control", format!("public, max-age={age}"))
            .field("Etag", tag(&body))
            .field("Last-Modified", "Wed, 25 Nov 2026 15:07:29 GMT");
    }
    let answer = sent(seen, &if gzip { format!("zipped {body}") } else { body.clone() })
        .field("Etag", tag(&body))
        .field("Last-Modified", "Wed, 25 Nov 2026 14:50:04 GMT")
        .field("Expires", LATER)
        .field("Pragma", "")
        .field("Cache-Control", format!("public, max-age={age}, immutable"))
        .field("Accept-Ranges", "none")
        .field("Vary", "Accept-Encoding");
    if gzip { answer.field("Content-Encoding", "gzip") } else { answer }
}

fn sent(seen: &Seen, body: &str) -> Answer {
    let (name, kind) = match seen.path().split('/').nth(2) {
        Some("styles.php") => ("styles.php", "text/css; charset=utf-8"),
        Some("font.php") => ("fa-solid-900.woff2", "font/woff2"),
        Some("image.php") => ("favicon.ico", "image/vnd.microsoft.icon"),
        Some("yui_combo.php") => ("combo", "application/javascript"),
        _ => ("javascript.php", "application/javascript; charset=utf-8"),
    };
    Answer::ok(body)
        .chunked()
        .field("Server", SERVER)
        .field("Content-Type", kind)
        .field("Content-Disposition", format!("inline; filename=\"{name}\""))
}

/// So many bytes that begin so.
fn filled(start: &str, length: usize) -> String {
    start.chars().chain(std::iter::repeat('.')).take(length).collect()
}
