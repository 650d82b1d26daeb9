//! What an operator sets of coded variants: `[cache.coding]`.

use super::reader::Section;
use crate::cache::CodingSettings;

/// Bounds of the bodies that are coded: a coder holds one of them, as it is and as it becomes, in memory.
const BODY: std::ops::RangeInclusive<u64> = 256..=64 << 20;

pub(super) fn coding(section: Section<'_>) -> CodingSettings {
    let default = CodingSettings::default();
    let settings = CodingSettings {
        budget: section.size("budget", 0..=1 << 40).unwrap_or(default.budget),
        threads: section.count("threads", 1..=64).unwrap_or(default.threads),
        smallest: section.size("smallest", BODY).unwrap_or(default.smallest),
        largest: section.size("largest", BODY).unwrap_or(default.largest),
    };
    if settings.smallest > settings.largest {
        let place = section.value("largest").or_else(|| section.value("smallest"));
        let place = place.map_or_else(|| section.place.clone(), |value| value.place);
        section.reader.error(&place, "`smallest` is above `largest`", "with budget = 0 nothing is coded");
    }
    section.finish();
    settings
}
