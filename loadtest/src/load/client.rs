//! One learner's request, sent and its answer read to the end, over connections that are kept as a browser keeps them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::plan::{Ask, Part, host};

/// The longest body of a page that is looked into.
const PAGE: usize = 64 << 10;

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The cache says that it asked nobody for it.
    pub(crate) hit: bool,
    /// Of the body.
    pub(crate) bytes: u64,
    /// The number of a learner's own page: no other answer has it.
    pub(crate) number: Option<u64>,
    /// Version of the module that the file is of.
    pub(crate) version: Option<u32>,
    /// A learner's own page with another name in it.
    pub(crate) of_another: bool,
}

/// Asks one server, under the names of all tenants.
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    server: SocketAddr,
}

impl Client {
    /// Keeps so many connections at most; the caller sees to it that no more requests are under way.
    pub(crate) fn new(server: SocketAddr, connections: usize) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            // What fails is an error, and is not tried again behind the back of who counts.
            .retry_canceled_requests(false)
            .pool_max_idle_per_host(connections)
            // Sooner than any server gives an idle connection up.
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        Client { pool, server }
    }

    /// The error is in words.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answer, String> {
        let mut request = Request::builder()
            .uri(format!("http://{}{}", self.server, ask.path))
            .header(header::HOST, host(ask.tenant))
            .header(header::COOKIE, ask.cookie());
        if let Some((first, last)) = ask.range {
            request = request.header(header::RANGE, format!("bytes={first}-{last}"));
        }
        let body = match &ask.commit {
            Some(id) => {
                request = request.method(Method::POST);
                format!("id={id}&learner={}&status=incomplete&score=7", ask.learner)
            }
            None => String::new(),
        };
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let response = self.pool.request(request).await.map_err(|error| chain(&error))?;
        read(ask, response).await
    }

    /// A request of the test itself, as to a control page; the answer must be a success.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: String,
    ) -> Result<Bytes, String> {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.server)).header(
                header::CONTENT_TYPE,
                if body.starts_with(['{', '[']) { "application/json" } else { "text/plain" },
            );
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let response = self.pool.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| chain(&error))?.to_bytes();
        match status.is_success() {
            true => Ok(body),
            false => Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body))),
        }
    }

    /// The same request as a learner's, with a field that has nginx fetch anew what it has stored.
    pub(crate) async fn refresh(&self, ask: &Ask) -> Result<(), String> {
        let request = Request::builder()
            .uri(format!("http://{}{}", self.server, ask.path))
            .header(header::HOST, host(ask.tenant))
            .header(header::COOKIE, ask.cookie())
            .header("x-refresh", "1")
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let response = self.pool.request(request).await.map_err(|error| chain(&error))?;
        let answer = read(ask, response).await?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{}: {}", ask.path, answer.status)) }
    }
}

async fn read(ask: &Ask, response: Response<Incoming>) -> Result<Answer, String> {
    let (head, mut body) = response.into_parts();
    let (mut bytes, mut page) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| chain(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        bytes += data.len() as u64;
        if ask.part == Part::Page && page.len() < PAGE {
            page.extend_from_slice(data);
        }
    }
    let success = head.status.is_success();
    Ok(Answer {
        status: head.status.as_u16(),
        hit: is_hit(&head.headers),
        bytes,
        number: number(&head.headers, "x-answer"),
        version: number(&head.headers, "x-content-version"),
        of_another: ask.part == Part::Page && success && !greets(&page, &ask.learner),
    })
}

/// The page is addressed to this learner.
fn greets(page: &[u8], learner: &str) -> bool {
    let greeting = format!("Hello, {learner}.");
    page.windows(greeting.len()).any(|window| window == greeting.as_bytes())
}

fn number<T: std::str::FromStr>(fields: &HeaderMap, name: &'static str) -> Option<T> {
    fields.get(HeaderName::from_static(name))?.to_str().ok()?.parse().ok()
}

/// By `Cache-Status` of Lectern, or by the field that our nginx sends; what is stale and served without asking is a hit in both.
fn is_hit(fields: &HeaderMap) -> bool {
    let says = |name: &'static str, word: &str| {
        fields.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with(word))
    };
    let words = ["HIT", "STALE", "UPDATING"];
    says("cache-status", "lectern; hit") || words.iter().any(|word| says("x-cache", word))
}

/// An error with what lies behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
