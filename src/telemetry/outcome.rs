//! The words for what became of a request, the same in code, log, metric and `Cache-Status`.

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered from a fresh stored response.
    Hit,
    /// Answered from a stale stored response that may still serve.
    Stale,
    /// A stored response was validated with the origin and served.
    Revalidated,
    /// This request caused a fill and was answered from it.
    Miss,
    /// Answered from a fill that another request caused.
    Joined,
    /// Relayed to the origin; or a `PURGE`, which the edge does by itself.
    Pass,
    /// Answered by the edge with an error before anything was looked up or sent.
    Refused,
    /// The answer could not be given, or not whole.
    Failed,
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The client went away, or sent what cannot be understood.
    Client,
    /// The origin is down, slow, or answered what cannot be understood.
    Origin,
    /// The edge could not do its part: a limit reached, a tier failed.
    Edge,
}

impl Outcome {
    /// All outcomes, in the order of their discriminants.
    pub const ALL: [Outcome; 8] = [
        Outcome::Hit,
        Outcome::Stale,
        Outcome::Revalidated,
        Outcome::Miss,
        Outcome::Joined,
        Outcome::Pass,
        Outcome::Refused,
        Outcome::Failed,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::Stale => "stale",
            Outcome::Revalidated => "revalidated",
            Outcome::Miss => "miss",
            Outcome::Joined => "joined",
            Outcome::Pass => "pass",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

impl Fault {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Origin => "origin",
            Fault::Edge => "edge",
        }
    }
}
