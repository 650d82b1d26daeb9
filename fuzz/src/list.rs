//! Claims about lists of files: what is read of lines is what stands in them.

use lectern::release;

/// Any text as a list: refused, or one file for each line that says one, each a reference that no browser would spell otherwise.
pub fn list(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(entries) = release::read(text) else { return };
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        return;
    }
    let lines: Vec<_> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(entries.len(), lines.len());
    for (entry, line) in entries.iter().zip(lines) {
        match entry.digests.is_none() {
            true => assert_eq!(entry.path, line),
            false => {
                assert!(entry.path.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", entry.path);
                assert!(!entry.path.contains(['?', '#', '\\']), "{:?}", entry.path);
                assert!(line[..40].bytes().all(|byte| byte.is_ascii_hexdigit()), "{line:?}");
            }
        }
    }
}
