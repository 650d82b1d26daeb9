//! What a run came to, for people: a table for the terminal, and a page that needs nothing else.

use std::fmt::Write;

use super::figures::{Figure, Found};
use super::judge::Verdict;
use super::plan::Part;
use super::plot::{Line, chart};
use super::scenario::Scenario;
use super::series::Series;

/// The table.
pub(crate) fn table(scenario: &Scenario, results: &[Found]) -> String {
    let mut text = format!(
        "{:8} {:7} {:>7} {:>8} {:>8} {:>8} {:>7} {:>9} {:>9} {:>10} {:>7} {:>6} {:>5}\n",
        "server",
        "phase",
        "asked/s",
        "fills/s",
        "checks/s",
        "pages/s",
        "hits %",
        "hit p50",
        "hit p99",
        "launch p99",
        "errors",
        "lag",
        "busy"
    );
    for result in results {
        for (name, figure) in phases(scenario, result) {
            let launch = figure.parts.get(&Part::Launch).map_or(0.0, |part| part.p99_ms);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{:8} {name:7} {:7.0} {:8.2} {:8.2} {:8.2} {:7.2} {:9.2} {:9.2} {launch:10.1} {:7} {:6.2} {:4.0}%",
                result.which.name(),
                figure.requests_per_s,
                figure.origin_fills_per_s,
                figure.origin_checks_per_s,
                figure.origin_pages_per_s,
                100.0 * figure.hit_ratio,
                figure.hit_p50_ms,
                figure.hit_p99_ms,
                figure.errors,
                figure.lag_p99_ms,
                100.0 * figure.generator_busy,
            );
        }
    }
    for result in results {
        let whole = &result.figures.whole;
        let cap = whole.origin_in_flight_cap.map_or("no cap".to_owned(), |cap| format!("cap {cap}"));
        let _ = writeln!(
            text,
            "{:8} commits {} sent, {} answered, {} counted, {} lost, {} doubled; private stored {}; in flight {} ({cap}); offload {:.2} %",
            result.which.name(),
            whole.commits_sent,
            whole.commits_answered,
            whole.commits_counted,
            whole.commits_lost,
            whole.commits_doubled,
            whole.private_stored,
            whole.origin_in_flight_max,
            100.0 * whole.offload_bytes,
        );
    }
    text
}

/// Verdicts, one a line.
pub(crate) fn sentences(verdicts: &[Verdict], yes: &str, no: &str) -> String {
    let line = |verdict: &Verdict| {
        let word = if verdict.holds { yes } else { no };
        format!("{word}: {}: {}\n", verdict.what, verdict.found)
    };
    verdicts.iter().map(line).collect()
}

fn phases<'a>(scenario: &'a Scenario, result: &'a Found) -> impl Iterator<Item = (&'a str, &'a Figure)> {
    let of = |name: &'a String| Some((name.as_str(), result.figures.phases.get(name)?));
    scenario.phases.iter().filter_map(move |phase| of(&phase.name))
}

/// The page.
pub(crate) fn page(
    scenario: &Scenario,
    results: &[Found],
    verdicts: &[Verdict],
    targets: &[Verdict],
) -> Result<String, String> {
    let mut body = format!(
        "<h1>Load test</h1>\n<p>{} tenants, {} learners, phases of {} s, {} sessions a second at normal load, seed {}.</p>\n\
         <pre>{}</pre>\n<h2>What must hold</h2><pre>{}</pre>\n<h2>What is aimed at</h2><pre>{}</pre>\n",
        scenario.tenants,
        scenario.learners,
        scenario.phase_seconds,
        scenario.sessions_per_second,
        scenario.seed,
        table(scenario, results),
        sentences(verdicts, "holds", "BROKEN"),
        sentences(targets, "met", "MISSED"),
    );
    body += "<h2>Side by side</h2>\n";
    for chart in side_by_side(scenario, results)? {
        body += &chart;
    }
    for result in results {
        let _ = writeln!(body, "<h2>{}</h2>", result.which.name());
        for chart in alone(scenario, result)? {
            body += &chart;
        }
        body += &parts(scenario, result);
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Load test</title>\n\
         <style>body {{ font: 15px sans-serif; margin: 2em; }} svg {{ margin: 4px; }} td, th {{ padding: 2px 8px; text-align: right; }}\n\
         pre {{ overflow-x: auto; }}</style></head>\n<body>\n{body}</body></html>\n"
    ))
}

/// A chart of what, in what, and where the values of one server are.
type Chart = (&'static str, &'static str, fn(&Series) -> &Vec<f64>);
type Charts = Result<Vec<String>, String>;

fn side_by_side(scenario: &Scenario, results: &[Found]) -> Charts {
    let named: [Chart; 5] = [
        ("Load", "requests/s", |series| &series.requests),
        ("Hit ratio of what can be stored", "share", |series| &series.hit_ratio),
        ("Fills at the origin", "requests/s", |series| &series.fills),
        ("Pages at the origin", "requests/s", |series| &series.pages),
        ("Errors", "requests/s", |series| &series.errors),
    ];
    let of = |(title, unit, get): Chart| {
        let line = |result: &'_ Found| result.which.name().to_owned();
        let lines: Vec<_> =
            results.iter().map(|result| Line { name: line(result), values: get(&result.series) }).collect();
        draw(scenario, title, unit, results.first().map(|result| &result.series), &lines)
    };
    named.into_iter().map(of).collect()
}

fn alone(scenario: &Scenario, result: &Found) -> Charts {
    let series = &result.series;
    let line = |name: &str, values| Line { name: name.to_owned(), values };
    let named = |values: &'_ std::collections::BTreeMap<Part, Vec<f64>>| {
        values.keys().map(|part| part.name().to_owned()).collect::<Vec<_>>()
    };
    let origin = [
        line("fills", series.fills.as_slice()),
        line("checks", series.checks.as_slice()),
        line("pages", series.pages.as_slice()),
        line("commits", series.commits.as_slice()),
    ];
    let commits = [
        line("sent", series.commits_sent_so_far.as_slice()),
        line("counted", series.commits_counted_so_far.as_slice()),
    ];
    let of_parts = |values: &'static str| {
        let map = if values == "p50" { &series.p50 } else { &series.p99 };
        let names = named(map);
        names.into_iter().zip(map.values()).map(|(name, values)| Line { name, values }).collect::<Vec<_>>()
    };
    Ok(vec![
        draw(scenario, "Requests at the origin by kind", "requests/s", Some(series), &origin)?,
        draw(scenario, "Commits sent and counted", "commits", Some(series), &commits)?,
        draw(scenario, "Median by kind", "ms", Some(series), &of_parts("p50"))?,
        draw(scenario, "99th percentile by kind", "ms", Some(series), &of_parts("p99"))?,
    ])
}

fn draw(
    scenario: &Scenario,
    title: &str,
    unit: &str,
    series: Option<&Series>,
    lines: &[Line<'_>],
) -> Result<String, String> {
    let bounds: Vec<_> = (1..scenario.phases.len()).map(|n| scenario.begin_of(n).as_secs_f64()).collect();
    chart(title, unit, series.map_or(&[], |series| &series.at), &bounds, lines)
}

/// p50 and p99 of each kind in each phase.
fn parts(scenario: &Scenario, result: &Found) -> String {
    let mut text = "<table><tr><th>kind</th>".to_owned();
    for (name, _) in phases(scenario, result) {
        let _ = write!(text, "<th>{name}: requests</th><th>errors</th><th>p50 ms</th><th>p99 ms</th>");
    }
    text += "</tr>\n";
    for part in Part::ALL {
        let _ = write!(text, "<tr><td>{}</td>", part.name());
        for (_, figure) in phases(scenario, result) {
            let of = figure.parts.get(&part).cloned().unwrap_or_default();
            let _ = write!(
                text,
                "<td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td>",
                of.requests, of.errors, of.p50_ms, of.p99_ms
            );
        }
        text += "</tr>\n";
    }
    text + "</table>\n"
}
