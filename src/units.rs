//! Durations and byte sizes as an operator writes them: `"10s"`, `"250ms"`, `"256MiB"`.
//!
//! Sizes are powers of 1024 (`KiB`, `MiB`, `GiB`, `TiB`; a bare number is bytes). Durations take
//! `ms`, `s`, `m`, `h`, `d`; a unit is required, so that no one has to guess.

use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes as written in configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// A span of time as written in configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// Why a text is not a size or a span: says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError(&'static str);

const KIB: u64 = 1 << 10;

impl Size {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Size {
        Size(n * KIB)
    }
    /// `n` MiB.
    pub const fn mib(n: u64) -> Size {
        Size(n * KIB * KIB)
    }
}

impl FromStr for Size {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Size, UnitError> {
        const WRONG: UnitError =
            UnitError("a size is a whole number with B, KiB, MiB, GiB or TiB, as in \"256MiB\"");
        let (number, unit) = split(text).ok_or(WRONG)?;
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => KIB,
            "MiB" => KIB.pow(2),
            "GiB" => KIB.pow(3),
            "TiB" => KIB.pow(4),
            _ => return Err(WRONG),
        };
        number.checked_mul(factor).map(Size).ok_or(WRONG)
    }
}

impl FromStr for Span {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Span, UnitError> {
        const WRONG: UnitError =
            UnitError("a duration is a whole number with ms, s, m, h or d, as in \"10s\"");
        let (number, unit) = split(text).ok_or(WRONG)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(WRONG),
        };
        number.checked_mul(millis).map(|ms| Span(Duration::from_millis(ms))).ok_or(WRONG)
    }
}

/// Digits, then the unit; spaces between are allowed.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut n, mut unit) = (self.0, 0);
        while n != 0 && n.is_multiple_of(KIB) && unit < 4 {
            n /= KIB;
            unit += 1;
        }
        write!(f, "{n}{}", ["B", "KiB", "MiB", "GiB", "TiB"][unit])
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms.is_multiple_of(1_000) { write!(f, "{}s", ms / 1_000) } else { write!(f, "{ms}ms") }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UnitError {}

#[cfg(test)]
mod tests {
    use super::{Size, Span};
    use std::time::Duration;

    #[test]
    fn sizes_are_powers_of_1024_with_a_unit() {
        let table = [
            ("0", Some(0)),
            ("17B", Some(17)),
            ("4 KiB", Some(4096)),
            ("1GiB", Some(1 << 30)),
            ("1TiB", Some(1 << 40)),
        ];
        for (text, bytes) in
            table.into_iter().chain([("", None), ("1GB", None), ("-1MiB", None), ("99999999TiB", None)])
        {
            assert_eq!(text.parse::<Size>().ok().map(|s| s.0), bytes, "{text:?}");
        }
        assert_eq!(Size::mib(3).to_string(), "3MiB");
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        for (text, ms) in [
            ("10s", Some(10_000)),
            ("250ms", Some(250)),
            ("2h", Some(7_200_000)),
            ("10", None),
            ("s", None),
            ("1.5s", None),
        ] {
            assert_eq!(text.parse::<Span>().ok().map(|s| s.0), ms.map(Duration::from_millis), "{text:?}");
        }
    }
}
