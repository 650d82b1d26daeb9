//! What a scenario file says. `loadtest/scenario.toml` explains each setting.

use std::time::Duration;

use loadtest::content::package::Module;
use serde::Deserialize;

use super::units::{size_field, time_field};

/// Requests that a run may have at most; the plan is made beforehand and held in memory.
const MOST: f64 = 3_000_000.0;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) tenants: u32,
    pub(crate) learners: u32,
    pub(crate) sessions_per_second: f64,
    pub(crate) phase_seconds: f64,
    #[serde(rename = "phase")]
    pub(crate) phases: Vec<Phase>,
    pub(crate) mix: Mix,
    pub(crate) pace: Pace,
    pub(crate) film: Film,
    pub(crate) lms: Lms,
    pub(crate) edge: Edge,
    pub(crate) bounds: Bounds,
    #[serde(rename = "event", default)]
    pub(crate) events: Vec<Event>,
    smoke: Smoke,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    pub(crate) name: String,
    /// Of normal load.
    pub(crate) times: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mix {
    pub(crate) package: u32,
    pub(crate) film: u32,
    pub(crate) lecture: u32,
    pub(crate) handbook: u32,
    /// Of a hundred who open a package.
    pub(crate) outsiders: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pace {
    #[serde(deserialize_with = "time_field")]
    pub(crate) choose: Duration,
    #[serde(deserialize_with = "time_field")]
    pub(crate) parse: Duration,
    #[serde(deserialize_with = "time_field")]
    pub(crate) between: Duration,
    #[serde(deserialize_with = "time_field")]
    pub(crate) read: Duration,
    #[serde(deserialize_with = "time_field")]
    pub(crate) watch: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Film {
    #[serde(deserialize_with = "size_field")]
    pub(crate) length: u64,
    #[serde(deserialize_with = "size_field")]
    pub(crate) piece: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lms {
    pub(crate) fronts: usize,
    pub(crate) workers: usize,
    #[serde(deserialize_with = "time_field")]
    pub(crate) page: Duration,
    #[serde(deserialize_with = "time_field")]
    pub(crate) file: Duration,
    #[serde(deserialize_with = "time_field")]
    pub(crate) check: Duration,
    #[serde(deserialize_with = "time_field")]
    pub(crate) commit: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edge {
    pub(crate) in_flight: u64,
    pub(crate) checks: u64,
    #[serde(deserialize_with = "time_field")]
    pub(crate) kept: Duration,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bounds {
    pub(crate) connections: usize,
    #[serde(deserialize_with = "time_field")]
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub(crate) what: What,
    /// Of which module, for a release or a purge.
    pub(crate) module: Option<String>,
    /// Only in this phase; without it in each.
    pub(crate) phase: Option<String>,
    /// As a share of the phase.
    pub(crate) at: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// The largest tenant's LMS publishes a new version of a module; then the old one is purged.
    Release,
    /// A module of the largest tenant is purged.
    Purge,
    /// The last front dies, with its connections.
    FrontDies,
    /// It comes back.
    FrontIsBack,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Smoke {
    phase_seconds: f64,
    tenants: u32,
    sessions_per_second: f64,
}

impl Scenario {
    /// Reads and checks; the error says what would be right.
    pub(crate) fn read(text: &str) -> Result<Scenario, String> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
        scenario.check().map(|()| scenario)
    }

    /// With phases of another length.
    pub(crate) fn lasting(self, seconds: f64) -> Result<Scenario, String> {
        let scenario = Scenario { phase_seconds: seconds, ..self };
        scenario.check().map(|()| scenario)
    }

    /// The small one, to see that it holds at all.
    pub(crate) fn small(self) -> Result<Scenario, String> {
        let Smoke { phase_seconds, tenants, sessions_per_second } = self.smoke;
        let scenario = Scenario { phase_seconds, tenants, sessions_per_second, ..self };
        scenario.check().map(|()| scenario)
    }

    /// A time of a minute's phase as it is in these phases.
    pub(crate) fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.phase_seconds / 60.0)
    }

    /// When a phase begins, or, one behind the last, when all is over.
    pub(crate) fn begin_of(&self, phase: usize) -> Duration {
        Duration::from_secs_f64(self.phase_seconds * phase as f64)
    }

    /// How long all phases take.
    pub(crate) fn length(&self) -> Duration {
        self.begin_of(self.phases.len())
    }

    /// The phase that an instant lies in; the last one's end belongs to it.
    pub(crate) fn phase_at(&self, at: Duration) -> usize {
        let phase = (at.as_secs_f64() / self.phase_seconds) as usize;
        phase.min(self.phases.len() - 1)
    }

    /// When an event takes place: once, or in each phase.
    pub(crate) fn times_of<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Duration> + 'a {
        let phases = self.phases.iter().enumerate();
        let phases = phases.filter(|(_, phase)| event.phase.as_ref().is_none_or(|only| *only == phase.name));
        phases.map(|(n, _)| Duration::from_secs_f64(self.phase_seconds * (n as f64 + event.at)))
    }

    fn check(&self) -> Result<(), String> {
        let say = |wrong: bool, text: &str| if wrong { Err(text.to_owned()) } else { Ok(()) };
        let mix = &self.mix;
        say(!(1..=1000).contains(&self.tenants), "tenants: 1 to 1000")?;
        say(self.learners < self.tenants, "learners: at least one for each tenant")?;
        say(self.phases.is_empty() || self.phases.len() > 20, "phase: 1 to 20 of them")?;
        say(!(1.0..=3600.0).contains(&self.phase_seconds), "phase_seconds: 1 to 3600")?;
        say(mix.package + mix.film + mix.lecture + mix.handbook != 100, "mix: 100 together")?;
        say(mix.outsiders > 100, "mix.outsiders: at most 100")?;
        say(self.lms.fronts == 0 || self.lms.workers == 0, "lms: at least one front with a worker")?;
        say(self.bounds.connections == 0, "bounds.connections: at least 1")?;
        let pieces = self.film.piece > 0 && self.film.length >= 4 * self.film.piece;
        say(!pieces, "film: at least four pieces long")?;
        let sane = |times: f64| (0.0..=1000.0).contains(&times);
        say(!self.phases.iter().all(|phase| sane(phase.times)), "phase.times: 0 to 1000")?;
        say(!sane(self.sessions_per_second), "sessions_per_second: 0 to 1000")?;
        let times: f64 = self.phases.iter().map(|phase| phase.times).sum();
        let asks = 50.0 * times * self.sessions_per_second * self.phase_seconds;
        say(asks > MOST, "more than three million requests: fewer sessions, or shorter phases")?;
        self.events.iter().try_for_each(|event| self.check_event(event))
    }

    fn check_event(&self, event: &Event) -> Result<(), String> {
        if !(0.0..1.0).contains(&event.at) {
            return Err("event.at: a share of the phase, 0 to 1".to_owned());
        }
        if let Some(name) = &event.phase
            && !self.phases.iter().any(|phase| phase.name == *name)
        {
            return Err(format!("event.phase: there is no phase '{name}'"));
        }
        let module = event.module.as_deref().and_then(Module::named);
        match event.what {
            What::Release | What::Purge if module.is_none() => {
                Err("event.module: fire-safety or solar-system".to_owned())
            }
            What::FrontDies | What::FrontIsBack if self.lms.fronts < 2 => {
                Err("event: where a front dies, another must be left".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scenario;
    use std::time::Duration;

    const FOUNDING: &str = include_str!("../../scenario.toml");

    #[test]
    fn the_founding_case_is_read_and_scales() {
        let scenario = Scenario::read(FOUNDING).unwrap();
        assert_eq!((scenario.tenants, scenario.phases.len()), (94, 3));
        let short = scenario.clone().lasting(6.0).unwrap();
        assert_eq!(short.scaled(Duration::from_secs(1)), Duration::from_millis(100));
        assert_eq!(short.length(), Duration::from_secs(18));
        assert_eq!(short.phase_at(Duration::from_millis(6001)), 1);
        assert_eq!(short.phase_at(short.length()), 2);
        let dies = short.events.iter().find(|event| event.phase.is_some()).unwrap();
        assert_eq!(short.times_of(dies).collect::<Vec<_>>(), [Duration::from_secs(15)]);
        assert_eq!(short.times_of(&short.events[0]).count(), 3);
        assert!(scenario.small().is_ok());
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        let table = [
            ("tenants = 94", "tenants = 0", "tenants"),
            ("package = 50", "package = 49", "mix"),
            ("module = \"fire-safety\"", "module = \"fire\"", "event.module"),
            ("fronts = 4", "fronts = 1", "another must be left"),
            ("phase = \"x10\"", "phase = \"x11\"", "no phase 'x11'"),
            ("sessions_per_second = 4.0", "sessions_per_second = 900.0", "three million"),
            ("seed = 2020", "seed = 2020\nsede = 1", "unknown field `sede`"),
        ];
        for (right, wrong, says) in table {
            let error = Scenario::read(&FOUNDING.replacen(right, wrong, 1)).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
