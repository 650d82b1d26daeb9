//! Times and sizes as a scenario writes them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// Bytes, with KiB, MiB or GiB behind the number if wanted.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = parts(text);
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => 1u64 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("'{other}' is no unit; say KiB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|_| "a size begins with a number".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

/// A time, with ms, s or m behind the number.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = parts(text);
    let number: u64 = number.parse().map_err(|_| "a time begins with a number".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" if number <= 1_000_000 => Ok(Duration::from_secs(60 * number)),
        other => Err(format!("'{other}' is no unit; say ms, s or m")),
    }
}

fn parts(text: &str) -> (&str, &str) {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    (number, unit.trim())
}

pub(crate) fn size_field<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    size(&String::deserialize(from)?).map_err(D::Error::custom)
}

pub(crate) fn time_field<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    time(&String::deserialize(from)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::{size, time};
    use std::time::Duration;

    #[test]
    fn units() {
        assert_eq!(size("8MiB"), Ok(8 << 20));
        assert_eq!(size("17"), Ok(17));
        assert_eq!(time("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(time("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["", "MiB", "1TB", "99999999999GiB", "-1s"] {
            assert!(size(wrong).is_err() && time(wrong).is_err(), "{wrong}");
        }
    }
}
