//! Claims about the configuration: used as a whole or not at all, and every problem has its place.

use std::path::Path;

/// Any text as a configuration.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = Path::new("config/fuzz.toml");
    let (config, report) = lectern::config::parse(file, text);
    assert_eq!(config.is_some(), report.is_fine(), "{report}");
    let lines = text.split('\n').count();
    for problem in report.errors.iter().chain(&report.warnings) {
        assert!(problem.line <= lines, "line {} of {lines}: {problem}", problem.line);
        assert!(!problem.wrong.is_empty());
    }
    let told = report.to_string();
    assert_eq!(told.is_empty(), report.errors.is_empty() && report.warnings.is_empty());
    assert_eq!(lectern::config::parse(file, text), (config, report), "read twice it is another");
}
