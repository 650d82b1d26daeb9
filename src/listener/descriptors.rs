//! How many files and sockets the process may have open.

use rlimit::Resource;

/// Raises the limit on open descriptors as far as it goes, beyond the hard limit to `needed` where the system lets us; says
/// how many there are now.
///
/// # Errors
/// One line for the operator: less than `needed` could be had. The limit was raised as far as it went all the same.
pub fn raise_descriptor_limit(needed: u64) -> Result<u64, String> {
    let (soft, hard) =
        Resource::NOFILE.get().map_err(|e| format!("the limit on open files cannot be read: {e}"))?;
    if hard < needed && Resource::NOFILE.set(needed, needed).is_ok() {
        return Ok(needed);
    }
    if soft < hard {
        Resource::NOFILE
            .set(hard, hard)
            .map_err(|e| format!("the limit on open files cannot be raised from {soft} to {hard}: {e}"))?;
    }
    if hard < needed {
        return Err(format!(
            "{needed} open files may be needed but the hard limit is {hard}: raise LimitNOFILE= of the unit (or `ulimit -Hn`)"
        ));
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::raise_descriptor_limit;

    #[test]
    fn the_limit_is_raised_to_what_is_allowed_and_too_much_is_one_line() {
        let now = raise_descriptor_limit(64).unwrap();
        assert!(now >= 64);
        assert_eq!(raise_descriptor_limit(now).unwrap(), now);
        let line = raise_descriptor_limit(u64::MAX - 1).unwrap_err();
        assert!(line.contains("LimitNOFILE") && !line.contains('\n'), "{line}");
    }
}
