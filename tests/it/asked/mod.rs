//! Asked access: the LMS keeps deciding who may have what is stored, and the edge serves the bytes.
//!
//! - `checks`: what counts as yes, as new, as no; what is asked, and what is not.
//! - `class`: what a class that starts costs the LMS.
//! - `coded`: a coded variant is for those who are let in.
//! - `kept`: how long a yes holds, for whom, and that it is forgotten at once.
//! - `sponsors`: whose credentials a fill, its rest and its missing chunks are asked by.
//! - `matrix`: who gets not one byte.
//! - `standards`: what makes outdated, freshens or stands in for what is stored says nothing of who may have it.

mod checks;
mod class;
mod coded;
mod kept;
mod matrix;
mod sponsors;
mod standards;

use crate::support::{
    edge::Edge,
    film::Film,
    message::Request,
    moodle::{FILM, Moodle},
};

/// The rules for the package and the film, asked for by context, and for a forum's files, each its own question; with `more` in
/// the table of each.
pub(crate) fn rules(more: &str) -> String {
    let rule = |name: &str, path: &str, asked: &str| {
        format!(
            "[[site.rule]]\nname = \"{name}\"\npath = \"{path}\"\nverdict = \"cache\"\nlift_private = true\naccess = \"asked\"\n\
             [site.rule.asked]\ncookies = [\"MoodleSession\"]\n{asked}\n{more}\n"
        )
    };
    let content = "content = \"{context}\"";
    rule("scorm", "/pluginfile.php/{context}/mod_scorm/content/**", content)
        + &rule("files", "/pluginfile.php/{context}/mod_resource/content/**", content)
        + &rule(
            "forum",
            "/pluginfile.php/{context}/mod_forum/**",
            if more.contains("keep") { "" } else { "keep = \"0s\"" },
        )
}

/// A Moodle, and an edge before it that asks it.
async fn school() -> (Moodle, Edge) {
    school_with("", "").await
}

/// The same, with more in each rule's table, and more behind the site.
async fn school_with(asked: &str, rest: &str) -> (Moodle, Edge) {
    let moodle = Moodle::start().await;
    let edge = Edge::before(&moodle.origin, &format!("{}{rest}", rules(asked))).await;
    (moodle, edge)
}

/// A request for a file in somebody's name.
pub(crate) fn of(cookie: &str, target: &str) -> Request {
    Request::get(target).field("Cookie", &format!("lang=de; {cookie}; MOODLEID1_=x"))
}

/// The film's bytes.
pub(crate) fn film() -> Vec<u8> {
    Film::new(1, FILM).bytes(0, FILM)
}

/// Checks so far that came to this.
pub(crate) async fn checks(edge: &Edge, result: &str) -> u64 {
    edge.metric("lectern_access_checks_total", &[&format!("result=\"{result}\"")]).await as u64
}
