//! The command line: one file a command, exit codes as in `sysexits.h`.

mod call;
mod certs;
mod check;
mod exit;
mod explain;
mod forget;
mod ledger;
mod openapi;
mod progress;
mod purge;
mod release;
mod reload;
mod serve;
mod sign;
mod store;
mod switch;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod trust;
mod warm;

pub use exit::Exit;

use clap::{Parser, Subcommand};
use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

/// An edge cache for learning platforms.
#[derive(Parser)]
#[command(name = "lectern", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node in the foreground.
    Serve(serve::Serve),
    /// Check a configuration and print all that is wrong with it.
    Check(check::Check),
    /// Purge a URL, a prefix, a tag, a module, a site, a scope or all; ends when the purge is in force.
    #[command(after_help = call::EXIT_CODES)]
    Purge(purge::Purge),
    /// Read the ledger of purges: what, by whom, why and when.
    Ledger(ledger::Ledger),
    /// Forget whom the LMS let in: it is asked again. Ends when that is in force.
    #[command(after_help = call::EXIT_CODES)]
    Forget(forget::Forget),
    /// Fetch and store what learners will ask for; ends when all of it is stored.
    #[command(after_help = call::EXIT_CODES)]
    Warm(warm::Warm),
    /// Relay everything, or spare the origin: for a site or the node; ends when that is in force.
    #[command(after_help = call::EXIT_CODES)]
    Switch(switch::Switch),
    /// Take a step of the release of a module.
    Release(release::Release),
    /// Show which release of a module learners get, who activated it, and how much of each is stored.
    #[command(after_help = call::EXIT_CODES)]
    Module(release::Show),
    /// Load the configuration anew; with errors in it what runs goes on.
    #[command(after_help = call::EXIT_CODES)]
    Reload(reload::Reload),
    /// Explain what would become of a request; changes nothing.
    #[command(after_help = call::EXIT_CODES)]
    Explain(explain::Explain),
    /// Make a URL, or a cookie, that a rule with signed access lets in.
    Sign(sign::Sign),
    /// Look after the disk tier's folders while no node uses them.
    Store(store::Store),
    /// Make a token for the control API; it is shown once.
    Token(token::Token),
    /// Make a certificate for a machine of one's own, and the authority to trust for it.
    Certs(certs::Certs),
    /// Print the description of the control API (OpenAPI 3.1).
    Openapi,
}

/// Where a command writes: its answer, and what went wrong.
struct Streams<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Streams<'_> {
    /// Writes the answer. Nobody listens at the other end: that is no reason to take back what was done.
    fn say(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{text}");
    }

    /// Says what is to be known beside the answer.
    fn warn(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.err, "lectern: {text}");
    }

    /// Says why the command ends as it does.
    fn fail(&mut self, exit: Exit, text: std::fmt::Arguments<'_>) -> Exit {
        let _ = writeln!(self.err, "lectern: {text}");
        exit
    }
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    run_with(std::env::args_os(), &mut Streams { out: &mut stdout(), err: &mut stderr() }).into()
}

fn run_with(args: impl IntoIterator<Item = std::ffi::OsString>, streams: &mut Streams<'_>) -> Exit {
    match Cli::try_parse_from(args) {
        Ok(Cli { command }) => match command {
            Command::Serve(serve) => serve.run(streams),
            Command::Check(check) => check.run(streams),
            Command::Purge(purge) => purge.run(streams),
            Command::Ledger(ledger) => ledger.run(streams),
            Command::Forget(forget) => forget.run(streams),
            Command::Warm(warm) => warm.run(streams),
            Command::Switch(switch) => switch.run(streams),
            Command::Release(release) => release.run(streams),
            Command::Module(module) => module.run(streams),
            Command::Reload(reload) => reload.run(streams),
            Command::Explain(explain) => explain.run(streams),
            Command::Sign(sign) => sign.run(streams),
            Command::Store(store) => store.run(streams),
            Command::Token(token) => token.run(streams),
            Command::Certs(certs) => certs.run(streams),
            Command::Openapi => openapi::run(streams),
        },
        Err(error) if error.use_stderr() => {
            let _ = write!(streams.err, "{}", error.render());
            Exit::Usage
        }
        Err(asked) => {
            let _ = write!(streams.out, "{}", asked.render());
            Exit::Done
        }
    }
}
