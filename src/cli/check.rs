//! `lectern check`: is this file right, and if not, everything that is wrong with it.

use super::{Exit, Streams};
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
        let lines = [if found { report.to_string() } else { String::new() }, last];
        let mut lines = lines.iter().filter(|line| !line.is_empty());
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
