//! Releases: what a record says of one, and what the records of a module add up to.
//!
//! A module is *released* from its first activation on: then one release of it is active, the one before may be gone back to, and
//! one may be staged. Each step is one record, so that after a crash between any two the module is as the last of them says.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{fmt, str::FromStr, sync::Arc};

/// The name of a manifest: the BLAKE3 digest of its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ManifestId(pub [u8; 32]);

impl ManifestId {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> ManifestId {
        ManifestId(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

impl fmt::Debug for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ManifestId {
    type Err = blake3::HexError;
    fn from_str(text: &str) -> Result<ManifestId, blake3::HexError> {
        Ok(ManifestId(*blake3::Hash::from_hex(text)?.as_bytes()))
    }
}

impl Serialize for ManifestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ManifestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ManifestId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A step of a release: of a module of the sites that the record is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Step {
    /// It is known what belongs to a release. Takes the place of what was staged before.
    #[serde(rename = "release-stage")]
    Stage {
        /// The module, as the rule makes it of the path.
        module: String,
        /// The release, as URLs name its version.
        release: String,
        /// What belongs to it.
        manifest: ManifestId,
    },
    /// What is staged is what learners get from here on.
    #[serde(rename = "release-activate")]
    Activate {
        /// The module.
        module: String,
        /// The release.
        release: String,
        /// Though it is not stored whole.
        #[serde(default, skip_serializing_if = "is_false")]
        cold: bool,
    },
    /// Learners get the release that was active before.
    #[serde(rename = "release-roll-back")]
    RollBack {
        /// The module.
        module: String,
        /// The release that is active again.
        release: String,
    },
    /// What is staged is given up.
    #[serde(rename = "release-abort")]
    Abort {
        /// The module.
        module: String,
        /// The release.
        release: String,
    },
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Step {
    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Step::Stage { .. } => "release-stage",
            Step::Activate { .. } => "release-activate",
            Step::RollBack { .. } => "release-roll-back",
            Step::Abort { .. } => "release-abort",
        }
    }

    /// Module and release.
    pub fn of(&self) -> (&str, &str) {
        match self {
            Step::Stage { module, release, .. }
            | Step::Activate { module, release, .. }
            | Step::RollBack { module, release }
            | Step::Abort { module, release } => (module, release),
        }
    }
}

/// Which record says something, and whose wish that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its number.
    pub number: u64,
    /// Name of the token.
    pub who: Box<str>,
    /// The reason given, or empty.
    pub why: Box<str>,
    /// When it was asked, milliseconds since the Unix epoch.
    pub when: u64,
}

/// A release of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The module.
    pub module: Box<str>,
    /// Its name, as URLs name its version.
    pub name: Box<str>,
    /// What belongs to it.
    pub manifest: ManifestId,
    /// By which record it was staged.
    pub staged: Told,
}

/// What the records of a module add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// What learners get, and by which record.
    pub active: Option<(Arc<Release>, Told)>,
    /// What is made ready.
    pub staged: Option<Arc<Release>>,
    /// What was active before.
    pub previous: Option<Arc<Release>>,
    /// The last record that was taken in: what is taken in twice moves nothing.
    pub last: u64,
}

impl Module {
    /// The release that learners get.
    pub fn active(&self) -> Option<&Arc<Release>> {
        self.active.as_ref().map(|(release, _)| release)
    }

    /// All of them.
    pub fn releases(&self) -> impl Iterator<Item = &Arc<Release>> {
        self.active().into_iter().chain(&self.staged).chain(&self.previous)
    }

    /// The module after one more step. A step that names what is not there changes nothing.
    #[must_use]
    pub fn after(&self, step: &Step, told: Told) -> Module {
        let named =
            |release: &Option<Arc<Release>>, name: &str| release.clone().filter(|of| *of.name == *name);
        let mut after = self.clone();
        if told.number <= self.last {
            return after;
        }
        after.last = told.number;
        match step {
            Step::Stage { module, release, manifest } => {
                let (module, name, manifest) = (module.as_str().into(), release.as_str().into(), *manifest);
                after.staged = Some(Arc::new(Release { module, name, manifest, staged: told }));
            }
            Step::Activate { release, .. } => {
                if let Some(staged) = named(&self.staged, release) {
                    after.previous = self.active().cloned();
                    (after.active, after.staged) = (Some((staged, told)), None);
                }
            }
            Step::RollBack { release, .. } => {
                if let Some(previous) = named(&self.previous, release) {
                    // What was left can be activated again.
                    after.staged = self.active().cloned();
                    (after.active, after.previous) = (Some((previous, told)), None);
                }
            }
            Step::Abort { release, .. } => {
                if named(&self.staged, release).is_some() {
                    after.staged = None;
                }
            }
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::{ManifestId, Module, Step, Told};

    fn told(number: u64) -> Told {
        Told { number, who: "release".into(), why: "".into(), when: 5 }
    }

    fn stage(release: &str) -> Step {
        Step::Stage {
            module: "m".into(),
            release: release.into(),
            manifest: ManifestId::of(release.as_bytes()),
        }
    }

    fn activate(release: &str) -> Step {
        Step::Activate { module: "m".into(), release: release.into(), cold: false }
    }

    fn roll_back(release: &str) -> Step {
        Step::RollBack { module: "m".into(), release: release.into() }
    }

    fn abort(release: &str) -> Step {
        Step::Abort { module: "m".into(), release: release.into() }
    }

    /// Active, staged and previous release after these steps.
    fn after(steps: &[Step]) -> [String; 3] {
        let module =
            (1..).zip(steps).fold(Module::default(), |module, (n, step)| module.after(step, told(n)));
        let name = |release: Option<&std::sync::Arc<super::Release>>| {
            release.map(|release| release.name.to_string()).unwrap_or_default()
        };
        [name(module.active()), name(module.staged.as_ref()), name(module.previous.as_ref())]
    }

    #[test]
    fn what_is_taken_in_twice_moves_nothing() {
        let steps =
            [stage("1"), activate("1"), stage("2"), activate("2"), roll_back("1"), stage("3"), abort("3")];
        let take = |module: Module, from: usize, to: usize| {
            (from..to).fold(module, |module, at| module.after(&steps[at], told(at as u64 + 1)))
        };
        for seen in 0..=steps.len() {
            for known in 0..=seen {
                let once = take(Module::default(), 0, seen);
                assert_eq!(take(once.clone(), known, seen), once, "{known} to {seen}");
            }
        }
    }

    #[test]
    fn each_step_moves_one_release_and_what_names_none_moves_nothing() {
        let (one, two) = ([stage("1"), activate("1")], [stage("2"), activate("2")]);
        let steps = |more: &[Step]| after(&[&one[..], &two[..], more].concat());
        assert_eq!(after(&one[..1]), ["", "1", ""]);
        assert_eq!(after(&one), ["1", "", ""]);
        assert_eq!(steps(&[]), ["2", "", "1"]);
        assert_eq!(steps(&[roll_back("1")]), ["1", "2", ""]);
        assert_eq!(steps(&[roll_back("1"), activate("2")]), ["2", "", "1"]);
        assert_eq!(steps(&[roll_back("1"), roll_back("1")]), ["1", "2", ""]);
        assert_eq!(
            steps(&[stage("3"), stage("4"), activate("3")]),
            ["2", "4", "1"],
            "3 is not staged any more"
        );
        assert_eq!(steps(&[stage("3"), abort("3"), activate("3")]), ["2", "", "1"]);
        assert_eq!(steps(&[abort("2"), roll_back("2")]), ["2", "", "1"]);
    }
}
