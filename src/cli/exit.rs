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
    /// What was asked cannot be: a host, site or URL that the node does not know, a store with faults or of another
    /// format. Asking again will not help.
    Data = 65,
    /// A file named on the command line cannot be read.
    NoInput = 66,
    /// Nobody answers, or not a Lectern. Nothing was done.
    Unavailable = 69,
    /// A file or folder cannot be written.
    CantCreate = 73,
    /// What was to be told could not be written, or a file system failed.
    Output = 74,
    /// It could not be done now, or the node's answer was lost. Ask again: doing it twice is harmless.
    Temporary = 75,
    /// The token is missing or not accepted; files are another user's.
    Permission = 77,
    /// The configuration has errors.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
