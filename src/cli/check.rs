//! `lectern check`: is this file right, and if not, everything that is wrong with it; if so, what it stores, and for whom.

use super::{Exit, Streams, table::Table};
use crate::config::{self, Config};
use std::{collections::HashSet, path::PathBuf, sync::Arc};

/// What is asked of `lectern check`.
#[derive(clap::Args, Debug)]
pub(super) struct Check {
    /// The configuration.
    #[arg(long, default_value = "/etc/lectern/lectern.toml")]
    pub config: PathBuf,
}

impl Check {
    /// Checks the file and tells what was found. Warnings are no failure.
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> Exit {
        let (config, report) = config::check(&self.config);
        let found = !report.errors.is_empty() || !report.warnings.is_empty();
        let (last, exit) = match (&config, report.unreadable) {
            (Some(config), _) => {
                (format!("{}: fine: {}", self.config.display(), summary(config)), Exit::Done)
            }
            (None, true) => (String::new(), Exit::NoInput),
            (None, false) => (counted(report.errors.len(), "error"), Exit::Config),
        };
        let table = config.as_ref().map_or_else(String::new, |config| Table(config).to_string());
        let lines = [if found { report.to_string() } else { String::new() }, table, last];
        let mut lines = lines.iter().map(|lines| lines.trim_end()).filter(|lines| !lines.is_empty());
        // The report is all there is to it: what nobody could read was not checked.
        if lines.try_for_each(|line| writeln!(streams.out, "{line}")).is_ok() { exit } else { Exit::Output }
    }
}

fn summary(config: &Config) -> String {
    let rules: HashSet<_> = config.sites.iter().flat_map(|site| &site.rules).map(Arc::as_ptr).collect();
    [
        counted(config.listeners.len(), "listener"),
        counted(config.origins.len(), "origin"),
        counted(config.sites.len(), "site"),
        counted(rules.len(), "rule"),
    ]
    .join(", ")
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{Check, Exit, Streams};
    use std::{fs, path::Path};

    fn checked(path: &Path) -> (u8, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = Check { config: path.to_owned() }.run(&mut Streams { out: &mut out, err: &mut err });
        (exit as u8, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_exit_code_tells_fine_wrong_and_not_there_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("l.toml");
        fs::write(&file, "[[listener]]\nname = \"a\"\naddress = \"[::1]:0\"\n").unwrap();
        let name = file.display();
        let warning =
            format!("{name}:1: warning: there is no site: every request is refused; write a [[site]]\n");
        let fine = format!("{warning}{name}: fine: 1 listener, 0 origins, 0 sites, 0 rules\n");
        assert_eq!(checked(&file), (0, fine));

        fs::write(&file, "[nod]\n[[site]]\n").unwrap();
        let (code, told) = checked(&file);
        assert_eq!(code, 78);
        assert!(told.contains(":1: nod: there is no such setting; did you mean `node`?\n"), "{told}");
        assert!(told.ends_with("\n5 errors\n"), "{told}");

        fs::remove_file(&file).unwrap();
        let (code, told) = checked(&file);
        assert_eq!((code, told.lines().count()), (66, 1), "{told}");
    }

    #[test]
    fn a_table_tells_what_is_stored_for_whom_and_what_is_private_loudly() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("l.toml");
        fs::copy(
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/access/signed/test_keys.json"),
            folder.path().join("keys.json"),
        )
        .unwrap();
        let text = r#"
            [[listener]]
            name = "a"
            address = "[::1]:0"
            [[origin]]
            name = "lms"
            servers = ["127.0.0.1:1"]
            [[rule_set]]
            name = "set"
            [[rule_set.rule]]
            name = "packages"
            prefix = "/packages/"
            verdict = "cache"
            lift_private = true
            access = "signed"
            signed = { kind = "hmac", keys = "keys.json", query = "sig" }
            [[rule_set.rule]]
            name = "theme"
            path = "/theme/**"
            extension = ["css", "js"]
            method = ["GET", "HEAD"]
            verdict = "cache"
            lifetime = "1h"
            shared = true
            [[rule_set.rule]]
            name = "tracking"
            path = "/track"
            method = "POST"
            query = "v=1"
            field = "Authorization: secret"
            verdict = "pass"
            [[rule_set.rule]]
            name = "closed"
            cookie = "old"
            verdict = "refuse"
            [[site]]
            name = "a"
            hosts = "a.example"
            origin = "lms"
            use = "set"
            [[site]]
            name = "b"
            hosts = "b.example"
            origin = "lms"
            use = "set"
            [[site]]
            name = "c"
            hosts = "c.example"
            origin = "lms"
        "#;
        fs::write(&file, text).unwrap();
        let (code, told) = checked(&file);
        let rows: Vec<_> =
            told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(code, 0, "{told}");
        assert_eq!(
            rows[..rows.len() - 1],
            [
                "PRIVATE: site a, b: rule set/packages stores what the origin marks private, /packages/…, for who shows a \
                 signature in query parameter sig",
                "site a, b, from origin lms:",
                "paths stored for whom decided by",
                "/packages/… yes, PRIVATE TOO, as long as the origin says who shows a signature in query parameter sig rule \
                 set/packages; key new or old or public",
                "/theme/** *.css *.js yes, whoever asks for it, for 3600s everybody rule set/theme",
                "/track POST with parameter v=1 with field authorization nothing: always the origin's whom the origin lets in \
                 rule set/tracking",
                "all with cookie old nothing: refused with 403 nobody rule set/closed",
                "all else what says it is for everybody everybody the origin",
                "site c, from origin lms:",
                "paths stored for whom decided by",
                "all what says it is for everybody everybody the origin",
            ],
            "{told}"
        );
        let ends = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count());
        let last: Vec<_> = told
            .lines()
            .skip(2)
            .take(5)
            .filter_map(|line| ends(line, "rule set/").or(ends(line, "decided by")))
            .collect();
        assert!(last.windows(2).all(|two| two[0] == two[1]), "the columns stand under each other: {told}");
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn an_unwritable_output_is_no_silent_success() {
        struct Full;
        impl std::io::Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let check = Check { config: "/nowhere".into() };
        assert_eq!(check.run(&mut Streams { out: &mut Full, err: &mut Vec::new() }), Exit::Output);
    }
}
