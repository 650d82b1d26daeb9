//! The examples decide of the requests that were recorded of real learning platforms.

use super::*;

/// What the rules of an example say of recorded requests: site, rule and verdict.
fn says(example: &str, requests: &[(&str, Method, &str, &str, &str, &str)]) {
    let config = loaded(example);
    assert_eq!(
        check(&repository(example)).1.warnings.iter().filter(|w| !w.key.ends_with("certificates")).count(),
        0
    );
    for (host, method, target, site, rule, verdict) in requests {
        let (path, query) =
            target.split_once('?').map_or((*target, None), |(path, query)| (path, Some(query)));
        let found = config.sites.iter().find(|site| site.hosts.iter().any(|h| h == host)).unwrap();
        assert_eq!(found.name, *site, "{host}");
        let rules = RuleSet::compile(found.rules.clone()).unwrap();
        let path = normalise::target(path).unwrap();
        let hit = rules.find(&Facts { method, path: &path, query, headers: &HeaderMap::new() });
        let said = match hit.map(|(_, rule)| &rule.verdict) {
            Some(Verdict::Cache(_)) => "cache",
            Some(Verdict::Pass) => "pass",
            Some(Verdict::Refuse(_)) => "refuse",
            Some(Verdict::Obey) | None => "obey",
        };
        let name = hit.map_or("", |(_, rule)| &rule.name);
        assert_eq!((name, said), (*rule, *verdict), "{method} {host} {target}");
    }
}

#[test]
fn the_kolibri_example_fits_the_recorded_exchanges() {
    let (main, zip) = ("kolibri.example", "packages.kolibri.example");
    let (get, post) = (|| Method::GET, || Method::POST);
    says(
        "config/examples/kolibri.toml",
        &[
            (
                main,
                get(),
                "/content/storage/3/8/386257056262d43d25aa9cc0557d1df9.mp4",
                "kolibri",
                "kolibri-content/storage",
                "cache",
            ),
            (
                main,
                Method::HEAD,
                "/content/storage/3/8/386257056262d43d25aa9cc0557d1df9.mp4",
                "kolibri",
                "kolibri-content/storage",
                "cache",
            ),
            (
                zip,
                get(),
                "/content/storage/7/d/7d8b791f5050214ef55db0cb3ce6ba05.pdf",
                "kolibri-packages",
                "kolibri-content/storage",
                "cache",
            ),
            (
                zip,
                get(),
                "/content/zipcontent/d2f58d25cbf6713e9e5d205d75e7a800.zip/css/site.css",
                "kolibri-packages",
                "zipcontent",
                "cache",
            ),
            (
                "kolibri.example:9443",
                get(),
                "/content/zipcontent/d2f58d25cbf6713e9e5d205d75e7a800.zip/index.html",
                "kolibri-packages",
                "zipcontent",
                "cache",
            ),
            (
                zip,
                get(),
                "/content/static/sandbox/sandbox-8bed43fcfebfe1862b17.html",
                "kolibri-packages",
                "sandbox",
                "cache",
            ),
            (
                main,
                get(),
                "/static/kolibri.plugins.learn.app/kolibri.plugins.learn.app-0.19.5.js",
                "kolibri",
                "kolibri-content/static",
                "cache",
            ),
            (main, get(), "/static/../api/content/channel/", "kolibri", "api", "pass"),
            (main, post(), "/api/logger/trackprogress/", "kolibri", "tracking", "pass"),
            (main, Method::PUT, "/api/auth/session/current/", "kolibri", "session", "pass"),
            (main, get(), "/api/content/channel/?available=true", "kolibri", "api", "pass"),
            (main, get(), "/en/learn/", "kolibri", "", "obey"),
            (main, get(), "/learn/api/state", "kolibri", "", "obey"),
            (main, get(), "/", "kolibri", "", "obey"),
        ],
    );
}

#[test]
fn the_moodle_example_fits_the_recorded_exchanges() {
    let host = "moodle.example";
    let get = |target, rule, says| (host, Method::GET, target, "moodle", rule, says);
    says(
        "config/examples/moodle.toml",
        &[
            get("/theme/styles.php/boost/1795618195_1795618203/all", "moodle/theme-styles", "cache"),
            get("/theme/image.php/boost/theme/1795618195/favicon", "moodle/theme-image", "cache"),
            get("/theme/font.php/boost/core/1795618195/fa-solid-900.woff2", "moodle/theme-font", "cache"),
            get("/lib/javascript.php/1795618195/mod/scorm/request.js", "moodle/javascript", "cache"),
            get("/lib/requirejs.php/1795618195/core/first.js", "moodle/requirejs", "cache"),
            get("/theme/yui_combo.php?rollup/3.18.1/yui-moodlesimple-min.js", "moodle/yui-combo", "cache"),
            get(
                "/lib/ajax/service-nologin.php?info=6-method-calls&cachekey=1795618198&args=%5B%5D",
                "moodle/ajax-public",
                "cache",
            ),
            get("/lib/ajax/service-nologin.php?info=x", "moodle/pages", "pass"),
            get("/h5p/h5plib/v127/joubel/core/js/h5p.js?ver=1795618195", "moodle/h5p-player", "cache"),
            get("/pluginfile.php/14/mod_scorm/content/1/Playing/Par.html", "moodle/scorm", "cache"),
            get("/pluginfile.php/16/mod_resource/content/0/lecture.mp4", "moodle/resource", "cache"),
            get("/pluginfile.php/21/mod_forum/attachment/5/photo.jpg", "moodle/forum", "cache"),
            get("/pluginfile.php/21/mod_assign/intro/0/task.pdf", "moodle/assignment", "cache"),
            get(
                "/pluginfile.php/21/assignsubmission_file/submission_files/7/a.pdf",
                "moodle/submission",
                "cache",
            ),
            get("/pluginfile.php/21/user/private/a.pdf", "moodle/course-files", "pass"),
            get("/pluginfile.php/14/mod_scorm/package/0/a.zip", "moodle/course-files", "pass"),
            get(
                "/pluginfile.php/1/core_h5p//cachedassets/7a737f932fc17cdac6915f0ec5680af83e39b38a.js",
                "moodle/course-files",
                "pass",
            ),
            get("/tokenpluginfile.php/0123456789abcdef/14/user/private/a.pdf", "moodle/token-files", "pass"),
            (
                host,
                Method::POST,
                "/mod/scorm/datamodel.php?api=beacon",
                "moodle",
                "moodle/scorm-tracking",
                "pass",
            ),
            (host, Method::POST, "/lib/ajax/service.php?sesskey=x", "moodle", "moodle/ajax", "pass"),
            (host, Method::POST, "/mod/scorm/player.php", "moodle", "moodle/pages", "pass"),
            get("/course/view.php?id=2", "moodle/pages", "pass"),
            get("/mod/scorm/loadSCO.php?a=1&scoid=4", "moodle/pages", "pass"),
            get("/h5p/embed.php?url=x", "moodle/pages", "pass"),
            get("/my/", "", "obey"),
        ],
    );
    let config = loaded("config/examples/moodle.toml");
    let hidden: Vec<_> =
        config.sites[0].rules.iter().filter(|rule| rule.hide_path).map(|rule| &*rule.name).collect();
    assert_eq!(hidden, ["moodle/token-files"]);
    // What is private is kept for those only whom Moodle lets in, and where it decides per file it is asked each time.
    let asked: Vec<_> = config.sites[0]
        .rules
        .iter()
        .filter_map(|rule| match (&rule.access, &rule.verdict) {
            (Access::Asked(asked), Verdict::Cache(policy)) if policy.lift_private => {
                Some((&*rule.name, asked.keep.as_secs(), asked.content.is_some()))
            }
            (Access::Open, Verdict::Cache(policy)) if policy.lift_private => panic!("{}", rule.name),
            _ => None,
        })
        .collect();
    let expected = [
        ("moodle/scorm", 60, true),
        ("moodle/resource", 60, true),
        ("moodle/forum", 0, false),
        ("moodle/assignment", 0, false),
        ("moodle/submission", 0, false),
    ];
    assert_eq!(asked, expected);
}
