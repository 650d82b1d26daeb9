//! Any bytes as a path: refused, or normal and then stable.

#![no_main]

use lectern::rules::normalise::target;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let Ok(normal) = target(path) else { return };
    assert!(normal.starts_with('/'));
    assert!(!normal.split('/').any(|segment| matches!(segment, "." | "..")));
    assert_eq!(target(&normal).as_deref(), Ok(&*normal));
});
