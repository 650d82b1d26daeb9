//! The text of scripts, style sheets and pages: readable, compressible, of a wanted length.

use super::noise;

/// Finds the run-time's API as SCORM 1.2 says; without one it reports to the sample LMS by itself.
pub(super) const TRACKER: &str = r#"(function () {
  var w = window, hops = 0;
  while (!w.API && w.parent && w.parent !== w && hops++ < 7) { w = w.parent; }
  var values = { "cmi.core.lesson_status": "incomplete" };
  var api = w.API || {
    LMSInitialize: function () { return "true"; },
    LMSSetValue: function (name, value) { values[name] = value; return "true"; },
    LMSCommit: function () {
      fetch("/track", { method: "POST", body: new URLSearchParams(values) });
      return "true";
    }
  };
  window.course = api;
  window.addEventListener("load", function () { api.LMSInitialize(""); api.LMSCommit(""); });
  window.addEventListener("pagehide", function () {
    navigator.sendBeacon("/track/beacon", new URLSearchParams(values));
  });
})();
"#;

/// Readable, compressible lines within a comment that suits the extension.
pub(super) fn text(path: &str, stamp: u32, seed: u64, size: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "learner", "course", "module", "exit", "alarm", "orbit", "planet", "light", "door", "smoke", "sun",
        "distance", "check", "answer", "question", "page",
    ];
    let (open, close) = match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "js" | "css" => ("/* ", " */\n"),
        "xml" | "xsd" => ("<?xml version=\"1.0\"?><!-- ", " --><schema/>\n"),
        "webmanifest" => ("{\"name\": \"", "\"}\n"),
        _ => ("", "\n"),
    };
    let mut out = format!("{open}version {stamp}:");
    for byte in noise::bytes(seed, size / 5) {
        if out.len() + close.len() >= size {
            break;
        }
        // The high bits now and then end a line, so that no file is one endless one.
        let end = if byte >> 4 == 0 && !path.ends_with(".webmanifest") { "\n" } else { " " };
        out.push_str(WORDS[usize::from(byte & 15)]);
        out.push_str(end);
    }
    out.push_str(close);
    out.into_bytes()
}
