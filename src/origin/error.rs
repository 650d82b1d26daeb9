//! What can go wrong towards an origin, whose fault it is, and its word in log and `Cache-Status`.

use crate::telemetry::Fault;
use pingora::{Error as PingoraError, ErrorType};
use std::{fmt, path::PathBuf};

/// Why an exchange with an origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginError {
    /// No address is known for any of its servers.
    Unresolved,
    /// All of its fronts failed of late; one may be tried again in so many seconds.
    Down(u16),
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed, or the certificate is not to be trusted.
    Tls,
    /// It made no progress for too long.
    Timeout(Phase),
    /// The connection ended before the answer did.
    Closed,
    /// The answer is not HTTP, contradicts itself, or is over a limit.
    Protocol,
    /// The request cannot be put into HTTP: its target or `Host` is not valid there.
    Unsendable,
    /// The client's body did not come whole.
    ClientBody,
    /// The client's body is longer than the rule allows.
    BodyLimit,
}

/// What was waited for when the time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A connection, its TLS handshake included.
    Connect,
    /// The origin to take what is sent.
    Send,
    /// The head of the answer.
    Head,
    /// The next piece of the answer's body.
    Body,
}

impl OriginError {
    /// Whose doing it is.
    pub const fn fault(&self) -> Fault {
        match self {
            OriginError::Unsendable | OriginError::ClientBody | OriginError::BodyLimit => Fault::Client,
            _ => Fault::Origin,
        }
    }

    /// The word.
    pub const fn word(&self) -> &'static str {
        match self {
            OriginError::Unresolved => "origin-unresolved",
            OriginError::Down(_) => "origin-down",
            OriginError::Connect => "origin-connect",
            OriginError::Tls => "origin-tls",
            OriginError::Timeout(_) => "origin-timeout",
            OriginError::Closed => "origin-closed",
            OriginError::Protocol => "origin-protocol",
            OriginError::Unsendable => "request-unsendable",
            OriginError::ClientBody => "client-body",
            OriginError::BodyLimit => "body-limit",
        }
    }

    /// Was no byte of the request sent, so that any method may go to another server?
    pub(super) const fn nothing_sent(&self) -> bool {
        matches!(self, OriginError::Connect | OriginError::Tls | OriginError::Timeout(Phase::Connect))
    }

    /// Does it say something of the front that was asked, rather than of what it was asked for?
    pub(super) const fn speaks_of_its_front(&self) -> bool {
        self.nothing_sent() || matches!(self, OriginError::Timeout(Phase::Head) | OriginError::Closed)
    }

    /// What Pingora's error means while `phase` was under way.
    pub(super) fn from_pingora(error: &PingoraError, phase: Phase) -> OriginError {
        match error.etype() {
            ErrorType::ConnectTimedout => OriginError::Timeout(Phase::Connect),
            ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::TLSWantX509Lookup
            | ErrorType::InvalidCert => OriginError::Tls,
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => OriginError::Timeout(phase),
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => OriginError::Closed,
            _ if phase == Phase::Connect => OriginError::Connect,
            ErrorType::H2Error => OriginError::Closed,
            _ => OriginError::Protocol,
        }
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for OriginError {}

/// Why an origin cannot be made from its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginConfigError {
    /// It has no server.
    NoServers,
    /// The file of authorities cannot be read, or holds something that is no certificate.
    Authorities(PathBuf, String),
    /// The edge's own certificate or key cannot be read, or the two do not belong together.
    Certificate(PathBuf, String),
    /// The system's own authorities cannot be read.
    SystemAuthorities(String),
    /// A server is given as an address, or the SNI is one: there is no name to verify.
    NoServerName(String),
}

impl fmt::Display for OriginConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OriginConfigError::NoServers => f.write_str("an origin needs at least one server"),
            OriginConfigError::Authorities(path, why) => {
                write!(
                    f,
                    "{}: {why}; a PEM file with the authorities' certificates is needed",
                    path.display()
                )
            }
            OriginConfigError::Certificate(path, why) => {
                let right = "a PEM file with the certificate, and one with its own key, are needed";
                write!(f, "{}: {why}; {right}", path.display())
            }
            OriginConfigError::SystemAuthorities(why) => {
                write!(f, "the system's authorities cannot be read ({why}); repair them, or set `ca`")
            }
            OriginConfigError::NoServerName(server) => write!(
                f,
                "{server}: TLS needs a host name to send and verify; name the server, or set `sni` to its name"
            ),
        }
    }
}

impl std::error::Error for OriginConfigError {}
