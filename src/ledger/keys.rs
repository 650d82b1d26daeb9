//! Idempotency keys: who asks a second time with the key of a record is given that record, and none is written.
//!
//! The key stands in the record, so that it holds over a restart and an upgrade. Bounded: the oldest keys are forgotten, after
//! which the same call writes a record of its own, which outdates once more and harms nothing.

use super::{Entry, chain::digest_text, record::Record};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::VecDeque, sync::Arc};

/// Keys that are remembered.
const KEYS: usize = 100_000;

/// What is known of the key of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The same was asked, and is the record with this number.
    Same(u64),
    /// Something else was asked with it, which is the record with this number.
    Other(u64),
}

/// The keys of the youngest records that have one.
#[derive(Clone, Default)]
pub(super) struct Keys {
    known: HashMap<Key, (u64, [u8; 32])>,
    order: VecDeque<Key>,
}

/// Whose key it is, and the key: two tokens do not know of each other's keys.
type Key = (Arc<str>, Arc<str>);

/// A key as it is written down: whose it is, the key, its record, and what that means in hexadecimal digits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeyState<'a>(Cow<'a, str>, Cow<'a, str>, u64, String);

fn key(record: &Record) -> Option<Key> {
    let key = record.about.key.as_deref()?;
    Some((record.about.who.as_str().into(), key.into()))
}

/// Whether both have the same key.
pub(super) fn shared(one: &Record, other: &Record) -> bool {
    one.about.key.is_some() && key(one) == key(other)
}

/// What two calls must agree in that are the same: what is purged and how, not why, when and from where.
fn meaning(record: &Record) -> [u8; 32] {
    let mut same = record.clone();
    (same.about.why, same.about.from, same.about.when) = (String::new(), String::new(), 0);
    *blake3::hash(&same.encode()).as_bytes()
}

impl Keys {
    /// What is known of a record's key; nothing if it has none.
    pub(super) fn of(&self, record: &Record) -> Option<Known> {
        let (number, as_before) = self.known.get(&key(record)?)?;
        Some(if *as_before == meaning(record) { Known::Same(*number) } else { Known::Other(*number) })
    }

    /// A record was written.
    pub(super) fn learn(&mut self, number: u64, record: &Record) {
        if let Some(key) = key(record) {
            self.take(key, number, meaning(record));
        }
    }

    /// All of them, oldest first.
    pub(super) fn states(&self) -> impl Iterator<Item = KeyState<'_>> {
        self.order.iter().filter_map(|key| {
            let (number, meaning) = self.known.get(key)?;
            Some(KeyState(Cow::Borrowed(&key.0), Cow::Borrowed(&key.1), *number, digest_text(meaning)))
        })
    }

    /// Takes up what was written down, after all that is older.
    pub(super) fn restore(&mut self, KeyState(who, key, number, meaning): KeyState<'_>) {
        if let Some(meaning) = Entry::digest_of(&meaning) {
            self.take((who.into(), key.into()), number, meaning);
        }
    }

    fn take(&mut self, key: Key, number: u64, meaning: [u8; 32]) {
        if self.known.insert(key.clone(), (number, meaning)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS, Keys, Known};
    use crate::ledger::{About, Purge, Record};

    fn record(key: &str, who: &str, tag: &str, when: u64) -> Record {
        let about = About { who: who.into(), key: Some(key.into()), when, ..About::default() };
        Record::purge(Purge::Tag { tag: tag.into() }, about)
    }

    #[test]
    fn a_key_is_of_one_token_and_one_meaning() {
        let mut keys = Keys::default();
        assert_eq!(keys.of(&record("k", "a", "t", 1)), None);
        keys.learn(1, &record("k", "a", "t", 1));
        assert_eq!(keys.of(&record("k", "a", "t", 2)), Some(Known::Same(1)), "asked again later");
        assert_eq!(keys.of(&record("k", "a", "u", 2)), Some(Known::Other(1)));
        assert_eq!(keys.of(&record("k", "b", "u", 2)), None, "another token's");
        let none = Record::purge(Purge::All {}, About::default());
        keys.learn(2, &none);
        assert_eq!(keys.of(&none), None, "without a key");
    }

    #[test]
    fn the_oldest_keys_are_forgotten() {
        let mut keys = Keys::default();
        for n in 0..=KEYS as u64 {
            keys.learn(n, &record(&n.to_string(), "a", "t", 1));
        }
        assert_eq!(keys.of(&record("0", "a", "t", 1)), None);
        assert_eq!(keys.of(&record("1", "a", "t", 1)), Some(Known::Same(1)));
        assert_eq!((keys.known.len(), keys.order.len()), (KEYS, KEYS));
    }
}
