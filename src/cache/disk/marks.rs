//! Which frames of a segment were read since it was written: what reclaim carries on.
//!
//! A bit per frame, in pages that come into being with the first mark in them: a segment that nobody reads costs nothing.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Words of a page: 32,768 frames.
const WORDS: usize = 512;
const PAGE: u32 = WORDS as u32 * 64;
/// Frames of a segment at most.
pub(super) const FRAMES: u32 = PAGE * 128;

type Page = Box<[AtomicU64]>;

pub(super) struct Marks {
    pages: Box<[OnceLock<Page>]>,
    /// Whether a mark was set since [`Marks::save`].
    changed: AtomicBool,
}

impl Marks {
    pub(super) fn none() -> Marks {
        let pages = (0..FRAMES / PAGE).map(|_| OnceLock::new()).collect();
        Marks { pages, changed: AtomicBool::new(false) }
    }

    /// As they were saved.
    pub(super) fn saved(bytes: &[u8]) -> Marks {
        let marks = Marks::none();
        for (at, byte) in bytes.iter().enumerate().take(FRAMES as usize / 8) {
            if *byte != 0 {
                let page = marks.pages[at / (WORDS * 8)].get_or_init(page);
                let word = at / 8 % WORDS;
                page[word].fetch_or(u64::from(*byte) << (at % 8 * 8), Ordering::Relaxed);
            }
        }
        marks
    }

    /// The frame was read. Sequentially consistent: see [`super::segment::Segment::is_passed`].
    pub(super) fn set(&self, ordinal: u32) {
        let Some(page_of) = self.pages.get((ordinal / PAGE) as usize) else { return };
        let bit = 1 << (ordinal % 64);
        let word = &page_of.get_or_init(page)[(ordinal % PAGE / 64) as usize];
        if word.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_set(&self, ordinal: u32) -> bool {
        let page = self.pages.get((ordinal / PAGE) as usize).and_then(OnceLock::get);
        page.is_some_and(|page| {
            page[(ordinal % PAGE / 64) as usize].load(Ordering::SeqCst) & (1 << (ordinal % 64)) != 0
        })
    }

    /// Whether there is something to save.
    pub(super) fn have_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    /// As bytes, without the zeros at the end; they count as saved.
    pub(super) fn save(&self) -> Vec<u8> {
        self.changed.store(false, Ordering::Relaxed);
        let mut bytes = Vec::new();
        for (number, page) in self.pages.iter().enumerate() {
            if let Some(page) = page.get() {
                bytes.resize(number * WORDS * 8, 0);
                bytes.extend(page.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()));
            }
        }
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    }
}

fn page() -> Page {
    (0..WORDS).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::{FRAMES, Marks};

    #[test]
    fn marks_are_there_again_as_they_were_saved() {
        let set = [0, 7, 8, 63, 64, 32_767, 32_768, 100_001, FRAMES - 1];
        let marks = Marks::none();
        assert!(marks.save().is_empty() && !marks.have_changed());
        set.iter().for_each(|ordinal| marks.set(*ordinal));
        assert!(marks.have_changed());
        let again = Marks::saved(&marks.save());
        assert!(!marks.have_changed());
        marks.set(7);
        assert!(!marks.have_changed(), "it was set before");
        for ordinal in (0..200_000).chain([FRAMES - 2, FRAMES - 1]) {
            assert_eq!(again.is_set(ordinal), set.contains(&ordinal), "{ordinal}");
        }
        marks.set(FRAMES);
        assert!(!marks.is_set(FRAMES), "no segment has as many");
    }
}
