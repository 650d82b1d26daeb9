//! Reads tables key by key, and remembers every problem with its line. A key that nobody asked for is unknown.

use super::report::{Problem, Report};
use crate::units::{Size, Span};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One file while it is read.
pub(super) struct Reader {
    /// Offsets at which lines begin.
    lines: Vec<usize>,
    /// Folder that paths in the file are relative to.
    folder: PathBuf,
    report: RefCell<Report>,
    /// Every setting that was asked for, dotted.
    pub(super) settings: RefCell<BTreeSet<String>>,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) key: String,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl Reader {
    pub(super) fn new(file: &Path, text: &str) -> Reader {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Reader {
            lines: std::iter::once(0).chain(after_breaks).collect(),
            folder: file.parent().unwrap_or(Path::new("")).to_owned(),
            report: RefCell::new(Report::new(file)),
            settings: RefCell::default(),
        }
    }

    pub(super) fn place(&self, offset: usize, key: &str) -> Place {
        Place { line: self.lines.partition_point(|start| *start <= offset), key: key.to_owned() }
    }

    /// A path of the file, as seen from where the process runs.
    pub(super) fn in_folder(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn error(&self, place: &Place, wrong: impl Display, right: impl Display) {
        self.report.borrow_mut().errors.push(problem(place, &wrong, &right));
    }

    pub(super) fn warning(&self, place: &Place, wrong: impl Display, right: impl Display) {
        self.report.borrow_mut().warnings.push(problem(place, &wrong, &right));
    }

    /// Problems by line.
    pub(super) fn finish(self) -> Report {
        let mut report = self.report.into_inner();
        for problems in [&mut report.errors, &mut report.warnings] {
            problems.sort_by_key(|problem| problem.line);
            // A table that is read twice is not wrong twice.
            problems.dedup();
        }
        report
    }
}

fn problem(place: &Place, wrong: &dyn Display, right: &dyn Display) -> Problem {
    Problem { line: place.line, key: place.key.clone(), wrong: wrong.to_string(), right: right.to_string() }
}

/// One table while it is read.
pub(super) struct Section<'d> {
    pub(super) reader: &'d Reader,
    table: &'d DeTable<'d>,
    /// Its header.
    pub(super) place: Place,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    pub(super) fn new(reader: &'d Reader, table: &'d DeTable<'d>, place: Place) -> Section<'d> {
        Section { reader, table, place, asked: RefCell::new(Vec::new()) }
    }

    fn key(&self, key: &str) -> String {
        if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) }
    }

    fn known(&self, key: &'static str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
    }

    fn placed<T>(&self, key: &str, offset: usize, value: T) -> Placed<T> {
        Placed { value, place: self.reader.place(offset, &self.key(key)) }
    }

    /// The value of a key, which is known from now on.
    pub(super) fn value(&self, key: &'static str) -> Option<Placed<&'d DeValue<'d>>> {
        self.known(key);
        let value: &'d Spanned<DeValue<'d>> = self.table.get(key)?;
        Some(self.placed(key, value.span().start, value.get_ref()))
    }

    fn wrong_kind(&self, place: &Place, value: &DeValue<'_>, right: &str) {
        self.reader.error(place, format!("this is {}", kind(value)), format!("write {right}"));
    }

    pub(super) fn text(&self, key: &'static str) -> Option<Placed<&'d str>> {
        let Placed { value, place } = self.value(key)?;
        match value {
            DeValue::String(text) => Some(Placed { value: text, place }),
            value => {
                self.wrong_kind(&place, value, "a text in quotes");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, key: &'static str, right: &str) -> Option<Placed<&'d str>> {
        if !self.table.contains_key(key) {
            self.known(key);
            self.missing(key, right);
            return None;
        }
        self.text(key)
    }

    pub(super) fn missing(&self, key: &str, right: &str) {
        let place = Place { line: self.place.line, key: self.key(key) };
        self.reader.error(&place, "it is missing", format!("write {right}"));
    }

    /// A text that is read as something else.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, key: &'static str, right: &str) -> Option<T> {
        let Placed { value, place } = self.text(key)?;
        value
            .parse()
            .inspect_err(|why| {
                self.reader.error(
                    &place,
                    format!("`{value}` cannot be read: {why}"),
                    format!("write {right}"),
                )
            })
            .ok()
    }

    /// A duration within bounds.
    pub(super) fn span(&self, key: &'static str, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let Placed { value, place } = self.value(key)?;
        let read = match value {
            DeValue::String(text) => {
                text.parse::<Span>().map_err(|why| (format!("`{text}` is no duration"), why.to_string()))
            }
            value => Err((format!("this is {}", kind(value)), "write a duration, as in \"10s\"".to_owned())),
        };
        let Span(span) = self.reported(&place, read)?;
        if bounds.contains(&span) {
            return Some(span);
        }
        let (low, high) = (Span(*bounds.start()), Span(*bounds.end()));
        self.reader.error(
            &place,
            format!("{} is out of bounds", Span(span)),
            format!("write \"{low}\" to \"{high}\""),
        );
        None
    }

    /// A number of bytes within bounds, as a text with a unit or a bare number.
    pub(super) fn size(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let Placed { value, place } = self.value(key)?;
        let read = match value {
            DeValue::String(text) => {
                text.parse::<Size>().map_err(|why| (format!("`{text}` is no size"), why.to_string()))
            }
            DeValue::Integer(number) if number.radix() == 10 => number
                .as_str()
                .parse::<Size>()
                .map_err(|why| (format!("{number} is no size"), why.to_string())),
            value => Err((format!("this is {}", kind(value)), "write a size, as in \"64MiB\"".to_owned())),
        };
        let Size(size) = self.reported(&place, read)?;
        if bounds.contains(&size) {
            return Some(size);
        }
        let (low, high) = (Size(*bounds.start()), Size(*bounds.end()));
        self.reader.error(
            &place,
            format!("{} is out of bounds", Size(size)),
            format!("write \"{low}\" to \"{high}\""),
        );
        None
    }

    /// A whole number within bounds.
    pub(super) fn count<T>(&self, key: &'static str, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + PartialOrd + Display + TryFrom<u64>,
    {
        let Placed { value, place } = self.value(key)?;
        let number = match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let read =
            number.and_then(|number| T::try_from(number).ok()).filter(|number| bounds.contains(number));
        if read.is_none() {
            let wrong = match value {
                DeValue::Integer(number) => format!("{number} is out of bounds"),
                value => format!("this is {}", kind(value)),
            };
            self.reader.error(
                &place,
                wrong,
                format!("write a whole number from {} to {}", bounds.start(), bounds.end()),
            );
        }
        read
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let Placed { value, place } = self.value(key)?;
        match value {
            DeValue::Boolean(flag) => Some(*flag),
            value => {
                self.wrong_kind(&place, value, "true or false");
                None
            }
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let Placed { value, place } = self.text(key)?;
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == value) {
            return Some(*meant);
        }
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.reader.error(
            &place,
            format!("`{value}` is none of the words that may stand here"),
            format!("write {}", all.join(", ")),
        );
        None
    }

    /// A path, relative to the folder of the file.
    pub(super) fn path(&self, key: &'static str) -> Option<Placed<PathBuf>> {
        let Placed { value, place } = self.text(key)?;
        if value.is_empty() {
            self.reader.error(&place, "the path is empty", "write a path, or leave the key out");
            return None;
        }
        Some(Placed { value: self.reader.in_folder(Path::new(value)), place })
    }

    /// Like [`Section::path`]; a warning where nothing is there.
    pub(super) fn existing_path(&self, key: &'static str) -> Option<PathBuf> {
        let Placed { value, place } = self.path(key)?;
        if !value.exists() {
            self.reader.warning(
                &place,
                format!("there is no {}", value.display()),
                "the node will not start without it",
            );
        }
        Some(value)
    }

    /// A list of texts; a single one may stand without brackets.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Placed<&'d str>> {
        let Some(Placed { value, place }) = self.value(key) else { return Vec::new() };
        let right = "a text in quotes, or a list of them";
        match value {
            DeValue::String(text) => vec![Placed { value: text, place }],
            DeValue::Array(list) => list
                .iter()
                .filter_map(|value| {
                    let place = self.reader.place(value.span().start, &place.key);
                    match value.get_ref() {
                        DeValue::String(text) => Some(Placed { value: &**text, place }),
                        value => {
                            self.wrong_kind(&place, value, right);
                            None
                        }
                    }
                })
                .collect(),
            value => {
                self.wrong_kind(&place, value, right);
                Vec::new()
            }
        }
    }

    /// A list of texts that are read as something else.
    pub(super) fn all_parsed<T: FromStr<Err: Display>>(&self, key: &'static str, right: &str) -> Vec<T> {
        let read = |text: Placed<&str>| {
            text.value
                .parse()
                .inspect_err(|why| {
                    let wrong = format!("`{}` cannot be read: {why}", text.value);
                    self.reader.error(&text.place, wrong, format!("write {right}"));
                })
                .ok()
        };
        self.texts(key).into_iter().filter_map(read).collect()
    }

    /// A table inside.
    pub(super) fn table(&self, key: &'static str) -> Option<Section<'d>> {
        let Placed { value, place } = self.value(key)?;
        match value {
            DeValue::Table(table) => Some(Section::new(self.reader, table, place)),
            value => {
                self.wrong_kind(&place, value, &format!("[{}]", place.key));
                None
            }
        }
    }

    /// A list of tables inside.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'d>> {
        let Some(Placed { value, place }) = self.value(key) else { return Vec::new() };
        let right = format!("[[{}]]", place.key);
        let DeValue::Array(list) = value else {
            self.wrong_kind(&place, value, &right);
            return Vec::new();
        };
        let inner = list.iter().filter_map(|value| {
            let place = self.reader.place(value.span().start, &place.key);
            match value.get_ref() {
                DeValue::Table(table) => Some(Section::new(self.reader, table, place)),
                value => {
                    self.wrong_kind(&place, value, &right);
                    None
                }
            }
        });
        inner.collect()
    }

    /// Says which keys nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        self.reader.settings.borrow_mut().extend(asked.iter().map(|key| self.key(key)));
        for key in self.table.keys().filter(|key| !asked.contains(&key.get_ref().as_ref())) {
            let place = self.reader.place(key.span().start, &self.key(key.get_ref()));
            let right = match nearest(key.get_ref(), asked.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", asked.join(", ")),
            };
            self.reader.error(&place, "there is no such setting", right);
        }
    }

    fn reported<T>(&self, place: &Place, read: Result<T, (String, String)>) -> Option<T> {
        read.inspect_err(|(wrong, right)| self.reader.error(place, wrong, right)).ok()
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known word that a mistyped one most likely meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let farthest = 1 + word.len() / 4;
    known
        .into_iter()
        .map(|known| (distance(word, known), known))
        .filter(|(distance, _)| *distance <= farthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other, by bytes.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_mistyped_word_finds_the_one_that_was_meant() {
        let known = ["lifetime", "browser_lifetime", "shared", "path", "prefix"];
        for (word, meant) in [
            ("lifetme", Some("lifetime")),
            ("life_time", Some("lifetime")),
            ("browser-lifetime", Some("browser_lifetime")),
            ("pth", Some("path")),
            ("ptah", Some("path")),
            ("ttl", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
