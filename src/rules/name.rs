//! Names as keys of a map, without a second place in memory for the usual ones: on a hit that saves a cache miss each.

use hashbrown::{Equivalent, HashMap};
use std::hash::{Hash, Hasher};

/// Longest name that stands in the map itself.
const INLINE: usize = 30;

/// A name as a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Short(u8, [u8; INLINE]),
    Long(Box<str>),
}

/// A name that is looked up.
struct Asked<'a>(&'a [u8]);

/// Map from names.
#[derive(Clone, Debug)]
pub struct Names<T>(HashMap<Name, T>);

impl Name {
    fn new(text: &str) -> Name {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Name::Short(text.len() as u8, bytes)
            }
            None => Name::Long(text.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Name::Short(length, bytes) => &bytes[..usize::from(*length).min(INLINE)],
            Name::Long(text) => text.as_bytes(),
        }
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.bytes());
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

impl Equivalent<Name> for Asked<'_> {
    fn equivalent(&self, key: &Name) -> bool {
        self.0 == key.bytes()
    }
}

impl<T> Default for Names<T> {
    fn default() -> Names<T> {
        Names(HashMap::new())
    }
}

impl<T> Names<T> {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands under `name`.
    pub fn named(&self, name: &str) -> Option<&T> {
        self.0.get(&Asked(name.as_bytes()))
    }

    /// Puts `value` under `name`; gives back what stood there.
    pub fn put(&mut self, name: &str, value: T) -> Option<T> {
        self.0.insert(Name::new(name), value)
    }

    /// What stands under `name`, put there now if nothing did.
    pub fn named_or(&mut self, name: &str, value: T) -> &mut T {
        self.0.entry(Name::new(name)).or_insert(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn short_and_long_names_are_told_apart() {
        let mut names = Names::default();
        let all = ["", "a", "b", "a\0", &"x".repeat(30), &"x".repeat(31), &"x".repeat(300)];
        for (at, name) in all.iter().enumerate() {
            assert_eq!(names.put(name, at), None);
        }
        for (at, name) in all.iter().enumerate() {
            assert_eq!(names.named(name), Some(&at), "{name}");
            assert_eq!(*names.named_or(name, 99), at, "{name}");
        }
        assert_eq!(names.named(&"x".repeat(29)), None);
        assert_eq!(names.put("a", 7), Some(1));
    }
}
