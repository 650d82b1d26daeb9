//! The class of a request: which of those that wait for a place at an origin goes first.

/// What a learner waits for most comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A page: nothing is seen before it is there.
    Page,
    /// A part of one: a style sheet, a picture, a file of a package.
    Part,
    /// A film or a recording: a player has some of it in hand.
    Film,
    /// Nobody waits for it yet.
    WarmUp,
}

/// Extensions of films and recordings, and of what is streamed in pieces.
const FILM: [&str; 15] = [
    "aac", "avi", "flac", "m4a", "m4s", "m4v", "mkv", "mov", "mp3", "mp4", "mpg", "ogg", "ogv", "ts", "webm",
];
/// Extensions of what a script on the server may answer as a page.
const PAGE: [&str; 9] = ["asp", "aspx", "cgi", "do", "htm", "html", "jsp", "php", "xhtml"];

impl Class {
    /// All, the first to go first.
    pub const ALL: [Class; 4] = [Class::Page, Class::Part, Class::Film, Class::WarmUp];

    /// The class of a path that no rule gives one: its extension tells.
    pub fn of_path(path: &str) -> Class {
        let last = path.rsplit('/').next().unwrap_or_default();
        let Some((_, extension)) = last.rsplit_once('.') else { return Class::Page };
        let among = |known: &[&str]| known.iter().any(|known| known.eq_ignore_ascii_case(extension));
        match () {
            () if among(&FILM) => Class::Film,
            () if among(&PAGE) => Class::Page,
            () => Class::Part,
        }
    }

    /// Its word in configuration, metrics and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Page => "page",
            Class::Part => "part",
            Class::Film => "film",
            Class::WarmUp => "warm-up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn an_extension_tells_the_class() {
        for (path, class) in [
            ("/", Class::Page),
            ("/course/view.php", Class::Page),
            ("/mod/scorm/INDEX.HTML", Class::Page),
            ("/login", Class::Page),
            ("/v1.2/course", Class::Page),
            ("/a/site.css", Class::Part),
            ("/a/book.pdf", Class::Part),
            ("/a/film.MP4", Class::Film),
            ("/a/seg-12.m4s", Class::Film),
            ("/a.mp4/", Class::Page),
        ] {
            assert_eq!(Class::of_path(path), class, "{path}");
        }
    }
}
