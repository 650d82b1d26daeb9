//! What a request is for, told from its path: so that fills, checks, pages and commits can be counted apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A page of one learner, or one that announces something: never to be stored.
    Page,
    /// A tracking commit.
    Commit,
    /// A question whether a learner may have a course's content, without the content.
    Access,
    /// A file of a package, whoever may have it.
    Package,
    /// The film.
    Film,
    /// The lecture: its list and segments.
    Lecture,
    /// The handbook.
    Handbook,
    /// Style sheet and logo of a tenant.
    Theme,
    /// Everything else.
    Other,
}

impl Kind {
    /// By path.
    pub fn of(path: &str) -> Kind {
        match path {
            _ if path.starts_with("/my/") || path.starts_with("/launch/") => Kind::Page,
            "/login" | "/logout" | "/api/me" => Kind::Page,
            _ if path.starts_with("/track") => Kind::Commit,
            _ if path.starts_with("/access/") => Kind::Access,
            _ if path.starts_with("/content/") => Kind::Package,
            _ if path.starts_with("/course/") && path.contains("/package/") => Kind::Package,
            _ if path.starts_with("/course/") => Kind::Page,
            "/media/film.mp4" => Kind::Film,
            "/media/handbook.pdf" => Kind::Handbook,
            _ if path.starts_with("/media/hls/") => Kind::Lecture,
            _ if path.starts_with("/theme/") => Kind::Theme,
            _ => Kind::Other,
        }
    }

    /// May a cache store it, be it under a check of who asks?
    pub fn cacheable(self) -> bool {
        matches!(self, Kind::Package | Kind::Film | Kind::Lecture | Kind::Handbook | Kind::Theme)
    }
}

/// What came in for one kind of thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Share {
    /// Requests.
    pub requests: u64,
    /// Those of them with `If-None-Match` or `If-Modified-Since`.
    pub conditional: u64,
    /// Those without, whose learner was told that she may not have it (403, or 303 to the login).
    pub refused: u64,
    /// Body bytes sent.
    pub bytes: u64,
}

/// What came in, by kind: the figures that a load test reads often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Load {
    /// By kind; a kind that was never asked for is not there.
    pub by_kind: BTreeMap<Kind, Share>,
    /// Requests under way now, and the most there were at once: from the request's head to the last byte that is taken to be sent.
    pub in_flight: u64,
    /// See `in_flight`; over several fronts it is the most at once, not the sum.
    pub in_flight_max: u64,
    /// Checks of one learner for one course that came sooner after the one before than [`crate::Options::kept`].
    pub checks_early: u64,
}

impl Load {
    /// Requests for what may be stored, without a condition and not in vain.
    pub fn fills(&self) -> u64 {
        self.cacheable().map(|(_, share)| share.requests - share.conditional - share.refused).sum()
    }

    /// Conditional requests for what anybody may have: is it still the same?
    pub fn revalidations(&self) -> u64 {
        self.cacheable().filter(|(kind, _)| *kind != Kind::Package).map(|(_, share)| share.conditional).sum()
    }

    /// Questions whether a learner may have something: at the place made for it, by a condition on the thing itself, or in vain.
    pub fn checks(&self) -> u64 {
        let package = self.of(Kind::Package);
        self.of(Kind::Access).requests + package.conditional + package.refused
    }

    /// What came in for one kind.
    pub fn of(&self, kind: Kind) -> Share {
        self.by_kind.get(&kind).copied().unwrap_or_default()
    }

    fn cacheable(&self) -> impl Iterator<Item = (Kind, Share)> {
        self.by_kind.iter().map(|(kind, share)| (*kind, *share)).filter(|(kind, _)| kind.cacheable())
    }

    pub(crate) fn begin(&mut self, kind: Kind, conditional: bool) {
        let share = self.by_kind.entry(kind).or_default();
        share.requests += 1;
        share.conditional += u64::from(conditional);
    }

    pub(crate) fn refused(&mut self, kind: Kind) {
        self.by_kind.entry(kind).or_default().refused += 1;
    }

    pub(crate) fn sent(&mut self, kind: Kind, bytes: u64) {
        self.by_kind.entry(kind).or_default().bytes += bytes;
    }

    pub(crate) fn enter(&mut self) {
        self.in_flight += 1;
        self.in_flight_max = self.in_flight_max.max(self.in_flight);
    }

    pub(crate) fn leave(&mut self) {
        self.in_flight -= 1;
    }

    pub(crate) fn add(&mut self, other: &Load) {
        for (kind, more) in &other.by_kind {
            let share = self.by_kind.entry(*kind).or_default();
            share.requests += more.requests;
            share.conditional += more.conditional;
            share.refused += more.refused;
            share.bytes += more.bytes;
        }
        self.in_flight += other.in_flight;
        self.in_flight_max = self.in_flight_max.max(other.in_flight_max);
        self.checks_early += other.checks_early;
    }

    /// From nothing again; what is under way stays counted.
    pub(crate) fn again(&self) -> Load {
        Load { in_flight: self.in_flight, in_flight_max: self.in_flight, ..Load::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Load};

    #[test]
    fn paths_tell_what_is_asked_for() {
        let table = [
            ("/my/", Kind::Page),
            ("/course/7", Kind::Page),
            ("/course/7/package/fire-safety/index.html", Kind::Package),
            ("/content/fire-safety/1/index.html", Kind::Package),
            ("/access/7", Kind::Access),
            ("/track", Kind::Commit),
            ("/track/beacon", Kind::Commit),
            ("/media/film.mp4", Kind::Film),
            ("/media/hls/seg-001.ts", Kind::Lecture),
            ("/media/handbook.pdf", Kind::Handbook),
            ("/theme/site.css", Kind::Theme),
            ("/", Kind::Other),
        ];
        for (path, kind) in table {
            assert_eq!(Kind::of(path), kind, "{path}");
        }
    }

    #[test]
    fn a_condition_on_a_package_or_a_no_is_a_check_and_a_condition_on_anything_else_a_revalidation() {
        let mut load = Load::default();
        load.begin(Kind::Package, false);
        load.begin(Kind::Package, true);
        load.begin(Kind::Package, false);
        load.refused(Kind::Package);
        load.begin(Kind::Access, false);
        load.begin(Kind::Film, true);
        load.begin(Kind::Page, false);
        assert_eq!((load.fills(), load.checks(), load.revalidations()), (1, 3, 1));
    }
}
