//! The two modules as packages: which files, of which size, and in which version each changed last.
//!
//! As in real packages most files outlive an update: version *n* of a file has the bytes of the version in which it
//! last changed. So a cache that names bodies by digest keeps one copy of what did not change.

use super::prose::{TRACKER, text};
use super::{document, noise, picture};

/// A module that the sample LMS offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Module {
    /// SCORM 1.2, in the path `fire-safety`.
    FireSafety,
    /// HTML5, in the path `solar-system`.
    SolarSystem,
}

impl Module {
    /// All of them.
    pub const ALL: [Module; 2] = [Module::FireSafety, Module::SolarSystem];

    /// Its name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Module::FireSafety => "fire-safety",
            Module::SolarSystem => "solar-system",
        }
    }

    /// Its title for people.
    pub fn title(self) -> &'static str {
        match self {
            Module::FireSafety => "Fire safety at work",
            Module::SolarSystem => "A walk through the solar system",
        }
    }

    /// By its name in paths.
    pub fn named(name: &str) -> Option<Module> {
        Module::ALL.into_iter().find(|module| module.name() == name)
    }

    /// Its files, in the order of the package.
    pub fn files(self) -> Vec<File> {
        let mut files = match self {
            Module::FireSafety => vec![
                File::new("imsmanifest.xml", Kind::Manifest, 0, 1),
                File::new("adlcp_rootv1p2.xsd", Kind::Text, 4_400, 0),
                File::new("imscp_rootv1p1p2.xsd", Kind::Text, 14_800, 0),
                File::new("index.html", Kind::Page, 2_000, 1),
                File::new("scripts/api.js", Kind::Tracker, 0, 0),
                File::new("scripts/player.js", Kind::Text, 38_000, 1),
                File::new("scripts/vendor/framework.min.js", Kind::Text, 310_000, 0),
                File::new("styles/course.css", Kind::Text, 21_000, 2),
                File::new("fonts/course.woff2", Kind::Noise, 46_000, 0),
                File::new("media/intro.mp3", Kind::Noise, 700_000, 0),
                File::new("documents/checklist.pdf", Kind::Document, 90_000, 3),
            ],
            Module::SolarSystem => vec![
                File::new("index.html", Kind::Page, 3_000, 1),
                File::new("app.webmanifest", Kind::Text, 600, 0),
                File::new("js/app.js", Kind::Text, 120_000, 1),
                File::new("js/vendor.js", Kind::Text, 640_000, 0),
                File::new("css/app.css", Kind::Text, 34_000, 1),
                File::new("models/planets.bin", Kind::Noise, 900_000, 0),
            ],
        };
        let (pages, folder, pictures) = match self {
            Module::FireSafety => (12, "pages/page", "images/slide"),
            Module::SolarSystem => (8, "chapters/chapter", "images/planet"),
        };
        for n in 1..=pages {
            // Every third page was edited in every second version.
            let every = if n % 3 == 0 { 2 } else { 0 };
            files.push(File::new(&format!("{folder}-{n:02}.html"), Kind::Page, 6_000 + 500 * n, every));
            files.push(File::new(&format!("{pictures}-{n:02}.png"), Kind::Png, 20_000 + 4_000 * n, 0));
        }
        for n in 1..=4 {
            files.push(File::new(&format!("images/photo-{n:02}.jpg"), Kind::Jpeg, 60_000 * n, 0));
        }
        files
    }

    /// A file's bytes in a version; `None` if the package has no such file.
    pub fn build(self, path: &str, version: u32) -> Option<Vec<u8>> {
        let files = self.files();
        let file = files.iter().find(|file| file.path == path)?;
        let stamp = file.changed_in(version);
        let seed = noise::seed(&[self.name(), path, &stamp.to_string()]);
        Some(match file.kind {
            Kind::Noise => noise::bytes(seed, file.size),
            Kind::Png => picture::png(seed, file.size),
            Kind::Jpeg => picture::jpeg(seed, file.size),
            Kind::Document => document::pdf(seed, self.title(), file.size),
            Kind::Text => text(path, stamp, seed, file.size),
            Kind::Tracker => TRACKER.as_bytes().to_vec(),
            Kind::Page => self.page(&files, path, stamp, seed, file.size),
            Kind::Manifest => self.manifest(&files, stamp).into_bytes(),
        })
    }

    fn page(self, files: &[File], path: &str, stamp: u32, seed: u64, size: usize) -> Vec<u8> {
        let up = "../".repeat(path.matches('/').count());
        let mut head = String::new();
        let mut list = String::new();
        for File { path: href, kind, .. } in files {
            match href.rsplit_once('.').map_or("", |(_, extension)| extension) {
                "css" => head += &format!("<link rel=\"stylesheet\" href=\"{up}{href}\">\n"),
                "js" => head += &format!("<script src=\"{up}{href}\" defer></script>\n"),
                "png" | "jpg" if path == "index.html" => list += &format!("<img src=\"{href}\" alt=\"\">\n"),
                _ if *kind == Kind::Page && path == "index.html" => {
                    list += &format!("<a href=\"{href}\">{href}</a>\n");
                }
                _ => {}
            }
        }
        let title = self.title();
        let prose = String::from_utf8_lossy(&text("", stamp, seed, size)).into_owned();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n{head}</head>\n\
             <body data-version=\"{stamp}\"><h1>{title}</h1><p>{path}, version {stamp}</p>\n{list}<pre>{prose}</pre>\
             </body></html>\n"
        )
        .into_bytes()
    }

    fn manifest(self, files: &[File], stamp: u32) -> String {
        let list: String = files
            .iter()
            .filter(|file| file.kind != Kind::Manifest)
            .map(|file| format!("      <file href=\"{}\"/>\n", file.path))
            .collect();
        let (name, title) = (self.name(), self.title());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <manifest identifier=\"{name}\" version=\"{stamp}\" \
             xmlns=\"http://www.imsproject.org/xsd/imscp_rootv1p1p2\" \
             xmlns:adlcp=\"http://www.adlnet.org/xsd/adlcp_rootv1p2\">\n  \
             <metadata><schema>ADL SCORM</schema><schemaversion>1.2</schemaversion></metadata>\n  \
             <organizations default=\"course\">\n    <organization identifier=\"course\"><title>{title}</title>\n      \
             <item identifier=\"item\" identifierref=\"sco\"><title>{title}</title></item>\n    </organization>\n  \
             </organizations>\n  <resources>\n    <resource identifier=\"sco\" type=\"webcontent\" \
             adlcp:scormtype=\"sco\" href=\"index.html\">\n{list}    </resource>\n  </resources>\n</manifest>\n"
        )
    }
}

/// A file of a package.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path inside the package.
    pub path: String,
    kind: Kind,
    /// Bytes, about.
    size: usize,
    /// It changes with every so many versions; 0: never.
    every: u32,
}

impl File {
    fn new(path: &str, kind: Kind, size: usize, every: u32) -> File {
        File { path: path.to_owned(), kind, size, every }
    }

    /// The version, at or below this one, in which its bytes last changed.
    pub fn changed_in(&self, version: u32) -> u32 {
        match self.every {
            0 => 1,
            every => version.saturating_sub(1) / every * every + 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Manifest,
    Page,
    Text,
    Tracker,
    Png,
    Jpeg,
    Document,
    Noise,
}

#[cfg(test)]
mod tests {
    use super::Module;

    #[test]
    fn most_files_outlive_an_update_and_the_entry_does_not() {
        for module in Module::ALL {
            let files = module.files();
            let changed: Vec<_> = files
                .iter()
                .filter(|file| module.build(&file.path, 1) != module.build(&file.path, 2))
                .map(|file| file.path.as_str())
                .collect();
            assert!(changed.contains(&"index.html"), "{changed:?}");
            assert!(changed.len() * 4 < files.len(), "{} of {} changed", changed.len(), files.len());
        }
    }

    #[test]
    fn the_manifest_lists_every_other_file_once() {
        let files = Module::FireSafety.files();
        let manifest = Module::FireSafety.build("imsmanifest.xml", 1).unwrap();
        let manifest = String::from_utf8(manifest).unwrap();
        for file in &files {
            let expected = usize::from(file.path != "imsmanifest.xml");
            assert_eq!(
                manifest.matches(&format!("<file href=\"{}\"/>", file.path)).count(),
                expected,
                "{file:?}"
            );
        }
    }
}
