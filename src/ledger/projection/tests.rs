//! What a record covers, what folds, and what a reader sees beside the writer.

use super::{Covering, Projection, Projector, Standing, Subject};
use crate::{
    clock::{self, unix_millis},
    http_caching::{LISTS, Tags},
    ledger::{About, Purge, Record},
};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

fn of(site: &str, purge: Purge) -> Record {
    Record::purge(purge, About { sites: vec![site.into()], ..About::default() })
}

fn url(site: &str, path: &str, query: Option<&str>) -> Record {
    of(site, Purge::Url { path: path.into(), query: query.map(String::from) })
}

fn soft(mut record: Record, when: u64) -> Record {
    (record.about.soft, record.about.when) = (true, when);
    record
}

fn projector(bound: usize) -> (Arc<Projection>, Projector) {
    let projection = Arc::new(Projection::new());
    (projection.clone(), Projector::new(projection, bound))
}

fn tagged(tags: &[&str], module: Option<&str>) -> Tags {
    let mut lists: [_; LISTS] = Default::default();
    lists[LISTS - 2] = tags.iter().map(|tag| Box::from(*tag)).collect();
    Tags::new(lists, module.map(Box::from))
}

fn subject<'a>(path: &'a str, query: Option<&'a str>) -> Subject<'a> {
    Subject { path, query, tags: Tags::NONE, came: UNIX_EPOCH }
}

fn covered(projection: &Projection, site: &str, path: &str, query: Option<&str>, born: u64) -> bool {
    projection.standing(&projection.marks(site), &subject(path, query), born) == Standing::Outdated
}

#[test]
fn what_is_covered_is_covered_by_a_record_that_can_be_named() {
    use Covering::{ExactUrl, Module, Prefix, Site, Tag, Url};
    let (projection, mut projector) = projector(10);
    projector.apply(1, &url("a", "/x", None));
    projector.apply(2, &url("a", "/x", Some("q")));
    projector.apply(3, &of("b", Purge::Site {}));
    projector.apply(4, &url("b", "/x", Some("")));
    projector.apply(5, &of("c", Purge::Prefix { path: "/x".into() }));
    projector.apply(6, &soft(of("c", Purge::Prefix { path: "/x/y".into() }), 1));
    projector.apply(7, &of("c", Purge::Tag { tag: "t".into() }));
    projector.apply(8, &of("c", Purge::Module { module: "m".into() }));
    let (tags, module) = (tagged(&["s", "t"], None), tagged(&[], Some("m")));
    for (site, path, query, tags, born, records) in [
        ("a", "/x", Some("q"), Tags::NONE, 0, &[(Url, 1, false), (ExactUrl, 2, false)][..]),
        ("a", "/x", Some("q"), Tags::NONE, 1, &[(ExactUrl, 2, false)]),
        ("a", "/x", None, Tags::NONE, 0, &[(Url, 1, false)]),
        ("a", "/x", None, Tags::NONE, 1, &[]),
        ("a", "/y", None, Tags::NONE, 0, &[]),
        ("b", "/y", None, Tags::NONE, 2, &[(Site, 3, false)]),
        ("b", "/x", None, Tags::NONE, 2, &[(ExactUrl, 4, false), (Site, 3, false)]),
        ("b", "/x", None, Tags::NONE, 4, &[]),
        ("c", "/x/y/z", None, Tags::NONE, 4, &[(Prefix, 5, false), (Prefix, 6, true)]),
        ("c", "/x/y/z", None, Tags::NONE, 5, &[(Prefix, 6, true)]),
        ("c", "/", None, &tags, 4, &[(Tag, 7, false)]),
        ("c", "/", None, &tags, 7, &[]),
        ("c", "/", None, &module, 4, &[(Module, 8, false)]),
        ("a", "/", None, &tags, 4, &[]),
    ] {
        let (marks, subject) = (projection.marks(site), Subject { path, query, tags, came: UNIX_EPOCH });
        let found = projection.covering(&marks, &subject, born);
        assert_eq!(found, records, "{site} {path} {query:?} {born}");
        let current = projection.standing(&marks, &subject, born) == Standing::Current;
        assert_eq!(current, records.is_empty());
    }
}

#[test]
fn a_record_covers_what_it_names_and_nothing_else() {
    let (projection, mut projector) = projector(10);
    projector.apply(1, &url("a", "/x", None));
    projector.apply(2, &url("a", "/y", Some("q=1")));
    projector.apply(3, &url("a", "/z", Some("")));
    for (site, path, query, born, want) in [
        ("a", "/x", None, 0, true),
        ("a", "/x", Some("any"), 0, true),
        ("a", "/x", None, 1, false),
        ("a", "/x/", None, 0, false),
        ("b", "/x", None, 0, false),
        ("a", "/y", Some("q=1"), 1, true),
        ("a", "/y", Some("q=1"), 2, false),
        ("a", "/y", Some("q=2"), 0, false),
        ("a", "/y", None, 0, false),
        ("a", "/z", None, 2, true),
        ("a", "/z", Some("q"), 0, false),
    ] {
        assert_eq!(covered(&projection, site, path, query, born), want, "{site} {path} {query:?} {born}");
    }
}

#[test]
fn a_prefix_ends_where_a_segment_does() {
    for (prefix, path, want) in [
        ("/v2", "/v2", true),
        ("/v2", "/v2/", true),
        ("/v2", "/v2/app.js", true),
        ("/v2", "/v2/a/b/c", true),
        ("/v2", "/v2//a", true),
        ("/v2", "/v20/app.js", false),
        ("/v2", "/v", false),
        ("/v2", "/x/v2", false),
        ("/a/b/c", "/a/b", false),
        ("/a/b/c", "/a/b/c/d", true),
        ("", "/", true),
        ("", "/anything/at/all", true),
        ("/a/", "/a//b", true),
        ("/a/", "/a/b", false),
    ] {
        let (projection, mut projector) = projector(10);
        projector.apply(1, &of("a", Purge::Prefix { path: prefix.into() }));
        assert_eq!(covered(&projection, "a", path, Some("q"), 0), want, "{prefix} {path}");
        assert!(!covered(&projection, "a", path, None, 1), "{prefix} {path}");
    }
}

#[test]
fn a_soft_purge_makes_stale_and_a_hard_one_outdates_whichever_came_first() {
    let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
    let (projection, mut projector) = projector(10);
    let marks = projection.marks("a");
    let standing = |born| projection.standing(&marks, &subject("/x", None), born);
    projector.apply(1, &soft(url("a", "/x", None), 1000));
    assert_eq!(standing(0), Standing::Stale { since: at(1000) });
    projector.apply(2, &soft(of("a", Purge::Site {}), 2000));
    assert_eq!(standing(0), Standing::Stale { since: at(1000) }, "it was stale before already");
    assert_eq!(standing(1), Standing::Stale { since: at(2000) });
    projector.apply(3, &url("a", "/x", None));
    assert_eq!(
        [standing(0), standing(2), standing(3)],
        [Standing::Outdated, Standing::Outdated, Standing::Current]
    );
    projector.apply(4, &soft(url("a", "/x", None), 4000));
    assert_eq!([standing(2), standing(3)], [Standing::Outdated, Standing::Stale { since: at(4000) }]);
}

#[test]
fn what_comes_while_a_purge_settles_goes_when_it_has() {
    let now = unix_millis(clock::now());
    let at = |seconds: i64| now.checked_add_signed(seconds * 1000).unwrap();
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_millis(at(seconds));
    let settling = |record: Record, when: i64, settle: u16| {
        let about = About { when: at(when), settle, ..record.about };
        Record { about, ..record }
    };
    let (projection, mut projector) = projector(10);
    let by = |purge: Purge| of("a", purge);
    projector.apply(1, &settling(by(Purge::Tag { tag: "past".into() }), -100, 50));
    projector.apply(2, &settling(soft(by(Purge::Tag { tag: "soft".into() }), 0), -100, 50));
    projector.apply(3, &settling(by(Purge::Tag { tag: "present".into() }), -100, 700));
    projector.apply(4, &settling(soft(by(Purge::Tag { tag: "present".into() }), 0), -100, 800));
    projector.apply(5, &settling(by(Purge::Tag { tag: "at once".into() }), -100, 0));
    projector.apply(6, &settling(url("a", "/x", None), -100, 50));
    for (path, tag, came, standing) in [
        ("/", "past", -80, Standing::Outdated),
        ("/", "past", -51, Standing::Outdated),
        ("/", "past", -50, Standing::Current),
        ("/", "soft", -80, Standing::Stale { since: time(-50) }),
        ("/", "present", 0, Standing::Settling { until: time(600) }),
        ("/", "at once", -80, Standing::Current),
        ("/", "other", -80, Standing::Current),
        ("/x", "present", -80, Standing::Outdated),
        ("/x", "present", -40, Standing::Settling { until: time(600) }),
    ] {
        let tags = tagged(&[tag], None);
        let (marks, subject) =
            (projection.marks("a"), Subject { path, query: None, tags: &tags, came: time(came) });
        assert_eq!(projection.standing(&marks, &subject, 6), standing, "{path} {tag} {came}");
        let named = projection.covering(&marks, &subject, 6);
        assert_eq!(named.is_empty(), !standing.is_covered(), "{path} {tag} {came}: {named:?}");
    }
    // Of a whole site, of one that nobody asked for before, and of what was folded.
    projector.apply(7, &settling(of("b", Purge::Site {}), -100, 200));
    projector.apply(8, &settling(of("", Purge::All {}), -100, 50));
    for n in 0..20 {
        projector.apply(9 + n, &settling(url("c", &format!("/{n}"), None), -100, 600));
    }
    for (site, path, came, standing) in [
        ("b", "/", -80, Standing::Settling { until: time(100) }),
        ("b", "/", -40, Standing::Settling { until: time(100) }),
        ("new", "/", -80, Standing::Outdated),
        ("new", "/", -40, Standing::Current),
        ("c", "/0", -40, Standing::Settling { until: time(500) }),
        ("c", "/never purged", -40, Standing::Settling { until: time(500) }),
    ] {
        let subject = Subject { path, query: None, tags: Tags::NONE, came: time(came) };
        assert_eq!(
            projection.standing(&projection.marks(site), &subject, 100),
            standing,
            "{site} {path} {came}"
        );
    }
}

#[test]
fn a_purge_of_all_covers_sites_that_nobody_asked_for_yet() {
    let (projection, mut projector) = projector(10);
    assert!(!covered(&projection, "known", "/", None, 0));
    projector.apply(1, &of("none", Purge::All {}));
    for site in ["known", "new"] {
        assert!(covered(&projection, site, "/", None, 0), "{site}");
        assert!(!covered(&projection, site, "/", None, 1), "{site}");
    }
}

#[test]
fn the_oldest_entry_folds_into_its_site_and_errs_to_too_much() {
    let (projection, mut projector) = projector(2);
    projector.apply(1, &url("a", "/1", None));
    projector.apply(2, &of("b", Purge::Tag { tag: "t".into() }));
    assert!(!covered(&projection, "a", "/other", None, 0));
    projector.apply(3, &url("a", "/3", None));
    assert!(covered(&projection, "a", "/1", None, 0), "what was purged stays so");
    assert!(covered(&projection, "a", "/other", None, 0), "the site pays for the fold");
    assert!(!covered(&projection, "a", "/1", None, 1), "but only for what is older than the folded record");
    assert!(!covered(&projection, "b", "/other", None, 0), "another site does not");
    projector.apply(4, &soft(of("a", Purge::Prefix { path: "/p".into() }), 1));
    assert!(covered(&projection, "b", "/other", None, 0), "a tag folds as a url does");
    projector.apply(5, &url("a", "/5", None));
    projector.apply(6, &url("a", "/6", None));
    let standing = projection.standing(&projection.marks("a"), &subject("/q", None), 3);
    assert!(matches!(standing, Standing::Stale { .. }), "a soft one folds softly: {standing:?}");
}

#[test]
fn a_url_purged_again_and_again_costs_one_entry() {
    let (projection, mut projector) = projector(2);
    projector.apply(1, &url("a", "/1", None));
    for number in 2..10_000 {
        projector.apply(number, &url("a", "/2", None));
    }
    assert!(projector.order.len() <= 2 * 2 + super::SHARDS + 1, "{}", projector.order.len());
    assert_eq!(projector.kept, 2);
    assert!(covered(&projection, "a", "/1", None, 0) && covered(&projection, "a", "/2", None, 9_998));
    assert!(!covered(&projection, "a", "/other", None, 0), "nothing was folded");
}

#[test]
fn a_reader_beside_a_fold_finds_the_entry_or_the_site_number() {
    let (projection, mut projector) = projector(1);
    projector.apply(1, &url("a", "/0", None));
    let last = std::sync::atomic::AtomicU64::new(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 2..20_000 {
                projector.apply(number, &url("a", &format!("/{number}"), None));
                last.store(number, std::sync::atomic::Ordering::Release);
            }
        });
        while last.load(std::sync::atomic::Ordering::Acquire) < 19_999 {
            assert!(covered(&projection, "a", "/0", None, 0));
            let seen = last.load(std::sync::atomic::Ordering::Acquire);
            if seen > 1 {
                assert!(covered(&projection, "a", &format!("/{seen}"), None, seen - 1));
            }
        }
    });
}

/// Taken beside the writer, put together again, and with the records since taken in once more: nothing less is covered.
#[test]
fn a_state_taken_while_records_come_covers_what_they_do() {
    let purge = |n: u64| match n % 5 {
        0 => of("a", Purge::Site {}),
        1 => url("a", &format!("/{n}"), None),
        2 => of("b", Purge::Prefix { path: format!("/{n}") }),
        3 => soft(of("b", Purge::Tag { tag: n.to_string() }), n),
        _ => url("c", "/again", Some("q")),
    };
    for bound in [4, 1000] {
        let (projection, mut projector) = projector(bound);
        (1..=40).for_each(|n| projector.apply(n, &purge(n)));
        let (mut restoring, mut last) = (super::Restoring::new(), 40);
        let mut come = |last: &mut u64| {
            *last += 1;
            projector.apply(*last, &purge(*last));
        };
        let taken: Result<(), ()> = projection.entries(|entry| {
            restoring.entry(entry);
            come(&mut last);
            Ok(())
        });
        taken.unwrap();
        let all: Result<_, ()> = projection.sites(|site| {
            restoring.site(&site);
            Ok(())
        });
        restoring.all(all.unwrap());
        let mut restored = restoring.done(bound).unwrap();
        assert!(last > 40, "nothing came meanwhile");
        (41..=last).for_each(|n| restored.apply(n, &purge(n)));
        let restored = restored.projection();
        for n in 1..=last {
            let (path, tag) = (format!("/{n}"), n.to_string());
            for (site, path) in [("a", &*path), ("b", &path), ("c", "/again"), ("c", "/other")] {
                let tags = tagged(&[&tag], None);
                let subject = Subject { path, query: Some("q"), tags: &tags, came: UNIX_EPOCH };
                let before = projection.standing(&projection.marks(site), &subject, n - 1);
                let after = restored.standing(&restored.marks(site), &subject, n - 1);
                let less = before.is_covered() && !after.is_covered()
                    || before == Standing::Outdated && after != Standing::Outdated;
                assert!(!less, "{site} {path} {n}: {before:?} {after:?}");
                assert!(bound == 4 || before == after, "{site} {path} {n}: {before:?} {after:?}");
            }
        }
    }
}
