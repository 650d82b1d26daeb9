//! Exit codes, the numbers of `sysexits.h`: a pipeline decides by them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done: a purge is in force, a configuration has no error.
    Done = 0,
    /// The command line is wrong.
    Usage = 64,
    /// What was asked cannot be: a host, site or URL that the node does not know. Asking again will not help.
    Data = 65,
    /// A file named on the command line cannot be read.
    NoInput = 66,
    /// Nobody answers, or not a Lectern. Nothing was done.
    Unavailable = 69,
    /// A file cannot be written.
    CantCreate = 73,
    /// What was to be told could not be written.
    Output = 74,
    /// The node could not do it now, or its answer was lost. Ask again: doing it twice is harmless.
    Temporary = 75,
    /// The token is missing or not accepted.
    Permission = 77,
    /// The configuration has errors.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
