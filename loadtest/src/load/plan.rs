//! Who asks for what, and when: made from the seed before anything is asked, the same for every cache.
//!
//! Learners come as a Poisson process, whose rate is that of the phase. What one of them does follows from the moment she
//! comes: nothing waits for an answer, for learners who come to an LMS that is slow do not come any slower.

use std::time::Duration;

use fastrand::Rng;
use loadtest::Lms;
use loadtest::content::media::SEGMENTS;
use loadtest::content::package::Module;
use serde::Serialize;

use super::scenario::Scenario;

/// The one course of each tenant.
pub(crate) const COURSE: u32 = 1;
/// Segments of the lecture that a learner sees.
const SEEN: u32 = 8;

/// What a request is, as the generator tells requests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// A course's page, for one learner alone.
    Page,
    /// The first file of a package that a learner asks for: the LMS may have to be asked about her.
    Launch,
    /// The same by somebody who must not have it.
    Outsider,
    /// A further file of the package.
    Package,
    Film,
    Lecture,
    Handbook,
    Theme,
    Commit,
}

impl Part {
    pub(crate) const ALL: [Part; 9] = [
        Part::Page,
        Part::Launch,
        Part::Outsider,
        Part::Package,
        Part::Film,
        Part::Lecture,
        Part::Handbook,
        Part::Theme,
        Part::Commit,
    ];

    /// Can be answered without asking the LMS anything.
    pub(crate) fn can_hit(self) -> bool {
        !matches!(self, Part::Page | Part::Launch | Part::Outsider | Part::Commit)
    }

    /// Of the bytes that a cache is to take off the LMS: packages and the film.
    pub(crate) fn is_heavy(self) -> bool {
        matches!(self, Part::Launch | Part::Package | Part::Film)
    }

    /// For a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Page => "page",
            Part::Launch => "launch",
            Part::Outsider => "outsider",
            Part::Package => "package",
            Part::Film => "film",
            Part::Lecture => "lecture",
            Part::Handbook => "handbook",
            Part::Theme => "theme",
            Part::Commit => "commit",
        }
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    /// Its planned start, from the run's begin.
    pub(crate) at: Duration,
    pub(crate) part: Part,
    pub(crate) tenant: u32,
    /// The learner's name.
    pub(crate) learner: Box<str>,
    pub(crate) path: Box<str>,
    /// First and last byte, if not all are wanted.
    pub(crate) range: Option<(u64, u64)>,
    /// The name of a commit.
    pub(crate) commit: Option<Box<str>>,
}

impl Ask {
    /// A file that is wanted whole, by the account that warms a cache up.
    fn warming(part: Part, tenant: u32, path: &str) -> Ask {
        let learner = "learner-warms".into();
        Ask { at: Duration::ZERO, part, tenant, learner, path: path.into(), range: None, commit: None }
    }

    pub(crate) fn cookie(&self) -> String {
        Lms::cookie(&host(self.tenant), &self.learner)
    }
}

/// A tenant's host.
pub(crate) fn host(tenant: u32) -> String {
    format!("{}.lms.example", site(tenant))
}

/// A tenant's name.
pub(crate) fn site(tenant: u32) -> String {
    format!("tenant-{tenant:03}")
}

/// A file of a package in a tenant's course.
fn file(module: Module, path: &str) -> String {
    format!("/course/{COURSE}/package/{}/{path}", module.name())
}

/// All files of a module at a tenant.
pub(crate) fn module_files(tenant: u32, module: Module) -> Vec<Ask> {
    let files = module.files();
    files.iter().map(|known| Ask::warming(Part::Package, tenant, &file(module, &known.path))).collect()
}

/// Everything that may be stored, once: with it a cache is warm.
pub(crate) fn everything(scenario: &Scenario) -> Vec<Ask> {
    let of_tenant = |tenant| {
        let packages = Module::ALL.into_iter().flat_map(move |module| module_files(tenant, module));
        let segments = (0..SEGMENTS)
            .map(move |n| Ask::warming(Part::Lecture, tenant, &format!("/media/hls/seg-{n:03}.ts")));
        let single = [
            (Part::Lecture, "/media/hls/lecture.m3u8"),
            (Part::Film, "/media/film.mp4"),
            (Part::Handbook, "/media/handbook.pdf"),
            (Part::Theme, "/theme/site.css"),
            (Part::Theme, "/theme/logo.png"),
        ];
        let single = single.into_iter().map(move |(part, path)| Ask::warming(part, tenant, path));
        packages.chain(segments).chain(single)
    };
    (0..scenario.tenants).flat_map(of_tenant).collect()
}

/// All requests in the order of their planned starts.
pub(crate) fn plan(scenario: &Scenario) -> Vec<Ask> {
    let mut random = Rng::with_seed(scenario.seed);
    let towns = Tenants::new(scenario);
    let mut asks = Vec::new();
    for (n, phase) in scenario.phases.iter().enumerate() {
        let rate = phase.times * scenario.sessions_per_second;
        let (mut at, end) = (scenario.begin_of(n).as_secs_f64(), scenario.begin_of(n + 1).as_secs_f64());
        loop {
            // Without any load the next one comes never.
            at -= (1.0 - random.f64()).ln() / rate;
            if at >= end {
                break;
            }
            let (tenant, learner) = towns.somebody(&mut random);
            Session { scenario, tenant, learner, at: Duration::from_secs_f64(at), asks: &mut asks }
                .of(&mut random);
        }
    }
    asks.retain(|ask| ask.at < scenario.length());
    asks.sort_by_key(|ask| ask.at);
    for (n, ask) in asks.iter_mut().enumerate().filter(|(_, ask)| ask.part == Part::Commit) {
        ask.commit = Some(format!("{}-{n}", scenario.seed).into());
    }
    asks
}

/// How learners spread over tenants.
struct Tenants {
    /// Learners up to and with each tenant.
    up_to: Vec<u32>,
}

impl Tenants {
    fn new(scenario: &Scenario) -> Tenants {
        let sum: f64 = (1..=scenario.tenants).map(|rank| 1.0 / f64::from(rank)).sum();
        let mut up_to = Vec::new();
        let mut share = 0.0;
        for rank in 1..=scenario.tenants {
            share += 1.0 / f64::from(rank) / sum;
            up_to.push((share * f64::from(scenario.learners)).round() as u32);
        }
        Tenants { up_to }
    }

    fn somebody(&self, random: &mut Rng) -> (u32, u32) {
        let last = self.up_to.last().copied().unwrap_or(1).max(1);
        let learner = random.u32(0..last);
        (self.up_to.partition_point(|end| *end <= learner) as u32, learner)
    }
}

/// A learner's visit, as it is written down.
struct Session<'a> {
    scenario: &'a Scenario,
    tenant: u32,
    learner: u32,
    at: Duration,
    asks: &'a mut Vec<Ask>,
}

impl Session<'_> {
    fn of(mut self, random: &mut Rng) {
        let mix = &self.scenario.mix;
        let outside = random.u32(0..100) < mix.outsiders;
        let choice = random.u32(0..100);
        let page = format!("/course/{COURSE}");
        self.ask(Part::Page, &page);
        self.at += self.scenario.pace.between;
        self.ask(Part::Theme, "/theme/site.css");
        self.ask(Part::Theme, "/theme/logo.png");
        self.wait(self.scenario.pace.choose);
        match choice {
            _ if choice < mix.package && outside => return self.refused(random),
            _ if choice < mix.package => self.package(random),
            _ if choice < mix.package + mix.film => self.film(random),
            _ if choice < mix.package + mix.film + mix.lecture => self.lecture(random),
            _ => self.ask(Part::Handbook, "/media/handbook.pdf"),
        }
        self.at += self.scenario.pace.between;
        self.ask(Part::Commit, "/track/beacon");
    }

    fn refused(mut self, random: &mut Rng) {
        self.ask(Part::Outsider, &file(some_module(random), "index.html"));
    }

    /// The start page, what it needs, and page after page with its picture.
    fn package(&mut self, random: &mut Rng) {
        let module = some_module(random);
        let files = module.files();
        let (first, rest): (Vec<_>, Vec<_>) = files.iter().partition(|known| known.path == "index.html");
        let (pages, needed): (Vec<_>, Vec<_>) = rest.into_iter().partition(|known| known.path.contains('-'));
        for known in first {
            self.ask(Part::Launch, &file(module, &known.path));
        }
        self.at += self.scenario.pace.parse;
        for known in needed {
            self.ask(Part::Package, &file(module, &known.path));
            self.at += self.scenario.pace.between;
        }
        for (n, known) in pages.into_iter().enumerate() {
            // A page and its picture stand beside each other.
            if n % 2 == 0 {
                self.wait(self.scenario.pace.read);
            }
            self.ask(Part::Package, &file(module, &known.path));
            if n % 4 == 3 {
                self.ask(Part::Commit, "/track");
            }
        }
    }

    /// From the begin, then from two places that the learner jumps to.
    fn film(&mut self, random: &mut Rng) {
        let (length, piece) = (self.scenario.film.length, self.scenario.film.piece);
        let jump = |random: &mut Rng| random.u64(0..length - 2 * piece);
        for (from, pieces) in [(0, 4), (jump(random), 2), (jump(random), 2)] {
            for n in 0..pieces {
                let first = from + n * piece;
                self.ask(Part::Film, "/media/film.mp4");
                if let Some(ask) = self.asks.last_mut() {
                    ask.range = Some((first, first + piece - 1));
                }
                self.wait(self.scenario.pace.watch);
            }
            self.ask(Part::Commit, "/track");
        }
    }

    fn lecture(&mut self, random: &mut Rng) {
        self.ask(Part::Lecture, "/media/hls/lecture.m3u8");
        let first = random.u32(0..=SEGMENTS - SEEN);
        for n in first..first + SEEN {
            self.wait(self.scenario.pace.watch);
            self.ask(Part::Lecture, &format!("/media/hls/seg-{n:03}.ts"));
        }
        self.ask(Part::Commit, "/track");
    }

    fn ask(&mut self, part: Part, path: &str) {
        let who = if part == Part::Outsider { "outsider" } else { "learner" };
        self.asks.push(Ask {
            at: self.at,
            part,
            tenant: self.tenant,
            learner: format!("{who}-{}", self.learner).into(),
            path: path.into(),
            range: None,
            commit: None,
        });
    }

    /// A learner takes her time, as long as the phases allow; browsers are as fast as ever.
    fn wait(&mut self, time: Duration) {
        self.at += self.scenario.scaled(time);
    }
}

fn some_module(random: &mut Rng) -> Module {
    Module::ALL[random.usize(0..Module::ALL.len())]
}

#[cfg(test)]
mod tests {
    use super::{Ask, Part, everything, plan};
    use crate::load::scenario::Scenario;
    use loadtest::Kind;
    use std::collections::{BTreeMap, HashSet};

    fn scenario() -> Scenario {
        Scenario::read(include_str!("../../scenario.toml")).unwrap().lasting(20.0).unwrap()
    }

    #[test]
    fn a_seed_is_a_plan() {
        let scenario = scenario();
        assert_eq!(plan(&scenario), plan(&scenario));
        let mut other = scenario.clone();
        other.seed = 1;
        assert_ne!(plan(&other), plan(&scenario));
    }

    #[test]
    fn phases_have_their_load_and_all_kinds_of_things() {
        let scenario = scenario();
        let plan = plan(&scenario);
        assert!(plan.is_sorted_by_key(|ask| ask.at));
        let pages: Vec<_> = (0..3)
            .map(|n| {
                let of = |ask: &&Ask| ask.part == Part::Page && scenario.phase_at(ask.at) == n;
                plan.iter().filter(of).count() as f64 / scenario.phase_seconds
            })
            .collect();
        for (rate, expected) in pages.iter().zip([4.0, 12.0, 40.0]) {
            assert!((rate / expected - 1.0).abs() < 0.35, "{pages:?}");
        }
        let mut parts = BTreeMap::new();
        plan.iter().for_each(|ask| *parts.entry(ask.part).or_insert(0) += 1);
        assert_eq!(parts.len(), Part::ALL.len(), "{parts:?}");
        let per_session = plan.len() as f64 / parts[&Part::Page] as f64;
        assert!((20.0..40.0).contains(&per_session), "{per_session}");
    }

    #[test]
    fn every_commit_has_a_name_of_its_own() {
        let plan = plan(&scenario());
        let named: HashSet<_> = plan.iter().filter_map(|ask| ask.commit.as_deref()).collect();
        assert_eq!(named.len(), plan.iter().filter(|ask| ask.part == Part::Commit).count());
    }

    #[test]
    fn whoever_is_warm_has_all_that_learners_ask_for() {
        let scenario = scenario();
        let warm = everything(&scenario);
        let warm: HashSet<_> = warm.iter().map(|ask| (ask.tenant, &*ask.path)).collect();
        for ask in plan(&scenario) {
            let cacheable = Kind::of(&ask.path).cacheable();
            assert_eq!(warm.contains(&(ask.tenant, &*ask.path)), cacheable, "{ask:?}");
        }
    }

    #[test]
    fn the_largest_tenant_has_a_fifth_of_the_learners() {
        let plan = plan(&scenario());
        let largest = plan.iter().filter(|ask| ask.tenant == 0).count();
        let share = largest as f64 / plan.len() as f64;
        assert!((0.12..0.28).contains(&share), "{share}");
    }
}
