//! One call of a node's control API, and what its failure means for whoever waits.

use super::{Exit, Streams, trust::Trust};
use crate::{
    clock,
    control::{BatchProblem, UPGRADING},
    units::Span,
};
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    time::Duration,
};
use ureq::tls::TlsConfig;

/// Longest answer read: a report of a reload with many errors fits.
const ANSWER_BYTES: u64 = 4 << 20;
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait before a node that is being upgraded is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// What a pipeline decides by; stands at the end of the help of each command that calls.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done and in force; 64 wrong command line; 65 the node does not know \
    this host, site or URL; 66 a file cannot be read; 69 nobody answers, nothing was done; 75 not done, or the \
    answer was lost: ask again, twice is harmless; 77 the token is missing, not accepted or has not the role; 78 the configuration has \
    errors, what ran before goes on.";

/// Which node, and who asks.
#[derive(Args)]
pub(super) struct Node {
    /// Control listener of the node; else the environment's LECTERN_CONTROL.
    #[arg(long, value_name = "URL")]
    control: Option<String>,
    /// File with the token; else the environment's LECTERN_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    timeout: Span,
    #[command(flatten)]
    trust: Trust,
}

impl Node {
    /// Posts and gives the answer; a failure is told to `streams` and its exit code given. A node that is being upgraded is
    /// asked again: nothing was done, and the process that takes over will answer in a moment.
    pub(super) fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        streams: &mut Streams<'_>,
    ) -> Result<A, Exit> {
        self.post_with(path, body, &[], streams)
    }

    /// The same, with these fields.
    pub(super) fn post_with<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        fields: &[(&str, &str)],
        streams: &mut Streams<'_>,
    ) -> Result<A, Exit> {
        let body = serde_json::to_string(body)
            .map_err(|error| streams.fail(Exit::Usage, format_args!("{error}")))?;
        self.answer(path, streams, |agent, call| {
            let mut call = agent.post(&call.url).header("authorization", &call.bearer);
            for (name, value) in fields {
                call = call.header(*name, *value);
            }
            call.header("content-type", "application/json").send(&body)
        })
    }

    /// Gets, with this query and these fields, and gives the answer; a failure is told as by [`Node::post`].
    pub(super) fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        fields: &[(&str, String)],
        streams: &mut Streams<'_>,
    ) -> Result<A, Exit> {
        self.answer(path, streams, |agent, call| {
            let mut asking = agent.get(&call.url).header("authorization", &call.bearer);
            for (name, value) in query {
                asking = asking.query(name, value);
            }
            for (name, value) in fields {
                asking = asking.header(*name, value);
            }
            asking.call()
        })
    }

    /// Posts, and gives each line of the answer to `each` as it comes, for as long as that says so. The time to wait is that for the
    /// first of it; the end of the answer is for the caller to know.
    pub(super) fn post_for_lines(
        &self,
        path: &str,
        body: &impl Serialize,
        streams: &mut Streams<'_>,
        mut each: impl FnMut(&str, &mut Streams<'_>) -> Result<(), Exit>,
    ) -> Result<(), Exit> {
        let body = serde_json::to_string(body)
            .map_err(|error| streams.fail(Exit::Usage, format_args!("{error}")))?;
        let call = self.call(path, Some(self.timeout.0), None, streams)?;
        let asking = call.agent.post(&call.url).header("authorization", &call.bearer);
        let sent = asking.header("content-type", "application/json").send(&body);
        let mut answer = sent.map_err(|error| unanswered(&call.url, &error, streams))?;
        if answer.status() != 200 {
            let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
            let text = text.map_err(|error| unanswered(&call.url, &error, streams))?;
            return Err(match serde_json::from_str::<BatchProblem>(&text) {
                Ok(told) => refused(&told, streams),
                Err(_) => not_a_lectern(&call.url, answer.status().as_u16(), streams),
            });
        }
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.map_err(|error| unanswered(&call.url, &error.into(), streams))?;
            each(&line, streams)?;
        }
        Ok(())
    }

    fn answer<A: DeserializeOwned>(
        &self,
        path: &str,
        streams: &mut Streams<'_>,
        send: impl Fn(&ureq::Agent, &Call) -> Result<http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<A, Exit> {
        let (call, begun) = (self.call(path, None, Some(self.timeout.0), streams)?, clock::instant());
        loop {
            let sent = send(&call.agent, &call).and_then(|mut answer| {
                let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string()?;
                Ok((answer.status().as_u16(), text))
            });
            let (status, text) = sent.map_err(|error| unanswered(&call.url, &error, streams))?;
            if status == 200 {
                return serde_json::from_str(&text).map_err(|_| not_a_lectern(&call.url, status, streams));
            }
            match serde_json::from_str::<BatchProblem>(&text) {
                Ok(BatchProblem { problem, .. })
                    if problem.kind == UPGRADING && begun.elapsed() + AGAIN < self.timeout.0 =>
                {
                    pause();
                }
                Ok(told) => return Err(refused(&told, streams)),
                Err(_) => return Err(not_a_lectern(&call.url, status, streams)),
            }
        }
    }

    /// Whom to call, and as whom.
    fn call(
        &self,
        path: &str,
        head: Option<Duration>,
        whole: Option<Duration>,
        streams: &mut Streams<'_>,
    ) -> Result<Call, Exit> {
        let token = self.token(streams)?;
        let control = self.control.clone().or_else(|| std::env::var("LECTERN_CONTROL").ok());
        let control = control.unwrap_or_else(|| "http://127.0.0.1:9180".into());
        let tls = match control.split_once("://") {
            Some(("http", _)) => None,
            Some(("https", _)) => Some(self.trust.config(streams)?),
            _ => return Err(not_an_address(&control, streams)),
        };
        let url = format!("{}{path}", control.trim_end_matches('/'));
        Ok(Call { url, bearer: format!("Bearer {token}"), agent: Node::agent(tls, head, whole) })
    }

    /// An agent that waits so long for the head of an answer, and for the whole of it.
    fn agent(tls: Option<TlsConfig>, head: Option<Duration>, whole: Option<Duration>) -> ureq::Agent {
        // a proxy set for the outside world must not see the token, nor may a redirect carry it elsewhere
        ureq::Agent::config_builder()
            .tls_config(tls.unwrap_or_default())
            .max_idle_connections(0)
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(head)
            .timeout_global(whole)
            .build()
            .into()
    }

    fn token(&self, streams: &mut Streams<'_>) -> Result<String, Exit> {
        let token = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| streams.fail(Exit::NoInput, format_args!("{}: {error}", path.display())))?,
            None => std::env::var("LECTERN_TOKEN").unwrap_or_default(),
        };
        let token = token.trim();
        if token.is_empty() {
            let text = "a token is missing: give --token-file FILE, or set LECTERN_TOKEN";
            return Err(streams.fail(Exit::Permission, format_args!("{text}")));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = "the token is not one word on one line, as `lectern token` prints it";
            return Err(streams.fail(Exit::Permission, format_args!("{text}")));
        }
        Ok(token.to_string())
    }
}

/// One call: its URL, and the token that it shows.
struct Call {
    url: String,
    bearer: String,
    /// On a connection of its own each time: the process that took over listens for new ones.
    agent: ureq::Agent,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command has nothing to do meanwhile, and no event to wait for"
)]
fn pause() {
    std::thread::sleep(AGAIN);
}

/// The node said no, and of a batch what became of each: by its status, whether asking again can help.
fn refused(BatchProblem { problem, results }: &BatchProblem, streams: &mut Streams<'_>) -> Exit {
    for (at, result) in (1..).zip(results) {
        match (&result.purge, &result.problem) {
            (Some(purge), _) => streams.say(format_args!("{at}. applied: number {}", purge.number)),
            (None, Some(problem)) => {
                let _ = writeln!(streams.err, "lectern: {at}. {}: {}", problem.title, problem.detail);
            }
            (None, None) => {}
        }
    }
    let exit = match problem.status {
        401 | 403 => Exit::Permission,
        429 | 500..=599 => Exit::Temporary,
        _ if problem.kind == "urn:lectern:reload-refused" => Exit::Config,
        _ => Exit::Data,
    };
    streams.fail(exit, format_args!("{}: {}", problem.title, problem.detail))
}

fn not_a_lectern(url: &str, status: u16, streams: &mut Streams<'_>) -> Exit {
    streams.fail(
        Exit::Unavailable,
        format_args!("{url} answered {status}, but not as Lectern's control API does; check --control"),
    )
}

fn not_an_address(control: &str, streams: &mut Streams<'_>) -> Exit {
    let text = "is no address of a control listener, as in \"http://127.0.0.1:9180\" or, with TLS, \"https://edge-1:9180\"";
    streams.fail(Exit::Usage, format_args!("{control:?} {text}"))
}

/// Why TLS did not come about. Whoever is refused for her certificate may learn it when she reads the answer.
fn refused_by_tls(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(io) => io.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// The standard library has no kind for a name that cannot be resolved.
fn is_unresolved(error: &std::io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// No answer, or not whole: before anything was sent nothing was done, after it nobody knows.
fn unanswered(url: &str, error: &ureq::Error, streams: &mut Streams<'_>) -> Exit {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    use ureq::{Error, Timeout};
    match error {
        _ if refused_by_tls(error).is_some_and(|why| matches!(why, rustls::Error::AlertReceived(_))) => {
            let text = "the node takes no connection without a certificate that it knows: give --cert and --key; nothing was done";
            streams.fail(Exit::Permission, format_args!("{url}: {error}: {text}"))
        }
        _ if refused_by_tls(error).is_some() => streams.fail(
            Exit::Unavailable,
            format_args!("{url}: {error}; nothing was done; check --ca and --control"),
        ),
        Error::BadUri(_) | Error::Http(_) => not_an_address(url, streams),
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            streams.fail(Exit::Unavailable, format_args!("{url}: {error}; nothing was done"))
        }
        Error::Io(io)
            if matches!(io.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
                || is_unresolved(io) =>
        {
            streams.fail(Exit::Unavailable, format_args!("{url}: {error}; nothing was done"))
        }
        _ => streams.fail(
            Exit::Temporary,
            format_args!("{url}: no whole answer ({error}): it may have been done or not; ask again"),
        ),
    }
}
