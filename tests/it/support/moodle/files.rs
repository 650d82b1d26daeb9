//! Files: where a URL leads, and how one is sent.

use sha1::{Digest, Sha1};

use super::super::answer::Answer;
use super::super::message::Framing;
use super::super::origin::Seen;
use super::answers::{LATER, SERVER};

/// The boundary it always takes.
const BOUNDARY: &str = "s1k2o3d4a5k6s7";

/// A file as it lies there.
pub(super) struct File {
    kind: String,
    bytes: Answer,
    pub(super) tag: String,
}

/// What a body is called: its SHA-1, quoted.
pub(crate) fn tag(body: impl AsRef<[u8]>) -> String {
    let digest: String = Sha1::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digest}\"")
}

/// What a URL of a file names: context, component, area and path. The revision of what has one is not looked at.
pub(super) fn name(url: &str) -> String {
    let path = url.split('?').next().unwrap_or_default();
    let path = path.trim_start_matches("/pluginfile.php/");
    match path.splitn(5, '/').collect::<Vec<_>>()[..] {
        [context, component @ ("mod_scorm" | "mod_resource"), area, _, file] => {
            [context, component, area, file].join("/")
        }
        _ => path.to_owned(),
    }
}

impl File {
    pub(super) fn new(kind: &str, bytes: Answer, tag: String) -> File {
        File { kind: kind.to_owned(), bytes, tag }
    }

    /// How it is sent to one who may have it.
    pub(super) fn to(&self, seen: &Seen) -> Answer {
        if seen.field("if-none-match") == Some(&self.tag) {
            return Answer { framing: Framing::Nothing, ..self.head(seen, Answer::new(304, "")) };
        }
        let whole = self.head(seen, self.bytes.clone().field("Content-Type", &self.kind));
        match seen.field("range").map(|range| range.split(',').count()) {
            None => whole,
            Some(1) => match whole.clone().cut_to(seen.field("range").unwrap_or_default()) {
                // Beyond the end it is the whole.
                part if part.status == 206 => part,
                _ => whole,
            },
            Some(_) => self.parts(seen).unwrap_or(whole),
        }
    }

    fn head(&self, seen: &Seen, answer: Answer) -> Answer {
        let package = seen.path().contains("/mod_scorm/content/");
        let control = match package {
            true => "private, max-age=7776000, no-transform, immutable",
            false => "private, max-age=21600, no-transform",
        };
        let file = seen.path().rsplit('/').next().unwrap_or_default();
        answer
            .field("Server", SERVER)
            .field("Content-Disposition", format!("inline; filename=\"{file}\""))
            .field("Cache-Control", control)
            .field("Expires", LATER)
            .field("Pragma", "")
            .field("Etag", &self.tag)
            .field("Accept-Ranges", "bytes")
            .field("Last-Modified", "Wed, 25 Nov 2026 14:54:11 GMT")
    }

    /// Several ranges, a part each.
    fn parts(&self, seen: &Seen) -> Option<Answer> {
        let mut body = Vec::new();
        for range in seen.field("range")?.strip_prefix("bytes=")?.split(',') {
            let part = self.bytes.clone().cut_to(&format!("bytes={}", range.trim()));
            let place = super::super::message::field(&part.fields, "content-range")?.to_owned();
            let kind = &self.kind;
            let head = format!("\r\n--{BOUNDARY}\r\nContent-Type: {kind}\r\nContent-Range: {place}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            let mut at = 0;
            while at < part.length() {
                let piece = part.piece(at, part.length());
                body.extend_from_slice(piece);
                at += piece.len();
            }
        }
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let kind = format!("multipart/byteranges; boundary={BOUNDARY}");
        Some(self.head(seen, Answer::new(206, body).field("Content-Type", kind)))
    }
}
