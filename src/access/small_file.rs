//! Files of keys and credentials: small, and read whole.

use std::{fs, path::Path};

/// The longest that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// The text of a regular file: what never ends is none.
///
/// # Errors
/// It cannot be read, is no file or too long, in words.
pub fn small_file(path: &Path) -> Result<String, String> {
    let about = fs::metadata(path).map_err(|why| why.to_string())?;
    if !about.is_file() || about.len() > LONGEST {
        return Err("it is no file, or longer than 1MiB".to_owned());
    }
    fs::read_to_string(path).map_err(|why| why.to_string())
}
