//! From the head of a request to its site, its normalised target, its verdict and its key.

use crate::{
    access::signed,
    cache::{Key, KeyParts},
    edge::released::{Belongs, Known, Listed, belongs},
    listener::Connection,
    response::{Account, Plain, fields},
    rules::{Access, Class, Facts, Rule, Verdict, normalise},
    site::{Mounted, Site, Sites},
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Where a request goes.
pub(super) struct Route {
    pub site: Arc<Site>,
    pub verdict: Verdict,
    /// Who may have it.
    pub access: Access,
    /// The storage it is fetched from, if not from the site's origin.
    pub mount: Option<Arc<Mounted>>,
    /// The path in its normal spelling, if the request has another.
    pub path: Option<String>,
    /// What of the query goes on.
    pub query: Query,
    /// Host asked for, normalised, as `X-Forwarded-Host` says it.
    pub host: HeaderValue,
    pub https: bool,
    pub key: Key,
    /// Longest request body let through.
    pub body_limit: Option<u64>,
    /// Its class at the origin, if the rule says it.
    pub class: Option<Class>,
    /// The protocol it asks to change to.
    pub upgrade: Option<HeaderValue>,
    /// The file of a release that it is for.
    pub listed: Option<Box<Listed>>,
    /// The active release of its module does not know it: nothing proves of which version it is.
    pub unlisted: bool,
}

/// The query as the origin is asked, beside the one that was sent.
pub(super) enum Query {
    AsSent,
    Changed(Option<String>),
}

impl Route {
    /// Takes what showed permission out of what goes on.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        if let Some(name) = self.access.cookie() {
            fields::drop_cookie(headers, name);
        }
    }
}

/// Who sent a request, and by which scheme: the peer's word, or a trusted proxy's.
pub(super) struct Sender {
    pub client: SocketAddr,
    pub https: bool,
}

/// Reads it. `X-Forwarded-For` and `X-Forwarded-Proto` count only from a trusted proxy.
pub(super) fn sender(headers: &HeaderMap, connection: &Connection) -> Sender {
    let mut sender = Sender { client: connection.peer, https: connection.tls };
    if connection.trusted {
        let last = |name| headers.get_all(name).iter().next_back().and_then(|v| v.to_str().ok());
        if let Some(client) =
            last("x-forwarded-for").and_then(|v| v.rsplit(',').next()?.trim().parse::<IpAddr>().ok())
        {
            sender.client = SocketAddr::new(client, 0);
        }
        if let Some(scheme) = last("x-forwarded-proto") {
            sender.https = scheme.trim().eq_ignore_ascii_case("https");
        }
    }
    sender
}

/// Whose request it is.
pub(super) struct Asked<'r> {
    pub site: Arc<Site>,
    /// Host asked for, normalised.
    pub host: Cow<'r, str>,
    /// The same, as `X-Forwarded-Host` says it.
    pub field: HeaderValue,
}

/// Finds the site of a request.
pub(super) fn site<'r, B>(
    sites: &Sites,
    request: &'r Request<B>,
    https: bool,
    account: &mut Account,
) -> Result<Asked<'r>, Plain> {
    let (asked, field) = host(request).ok_or(Plain::new(StatusCode::BAD_REQUEST, "no-host"))?;
    let bad_host = || Plain::new(StatusCode::BAD_REQUEST, "bad-host");
    account.host = field.or_else(|| HeaderValue::from_str(asked).ok());
    let host = normalise::host(asked, https).map_err(|_| bad_host())?;
    let field = match &account.host {
        Some(field) if field == &*host => field.clone(),
        _ => HeaderValue::from_str(&host).map_err(|_| bad_host())?,
    };
    let Some(site) = sites.find(&host) else {
        return Err(Plain::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host"));
    };
    account.matched = Some((site.clone(), None));
    Ok(Asked { site: site.clone(), host, field })
}

/// Finds the way of a request that may go it, or says why it has none or may not.
pub(super) fn route<B>(
    known: &Known<'_>,
    request: &Request<B>,
    https: bool,
    account: &mut Account,
) -> Result<Route, Plain> {
    let route = find(known, request, https, account)?;
    if let Access::Signed(signed) = &route.access {
        let asked = signed::Asked {
            host: route.host.to_str().unwrap_or_default(),
            path: route.path.as_deref().unwrap_or(request.uri().path()),
            query: request.uri().query(),
            headers: request.headers(),
            client: account.client(),
        };
        signed::admit(signed, &asked, account.time)
            .map_err(|refusal| Plain::new(refusal.status(), refusal.word()))?;
    }
    Ok(route)
}

/// Finds the way of a request, whoever sends it.
pub(super) fn find<B>(
    known: &Known<'_>,
    request: &Request<B>,
    https: bool,
    account: &mut Account,
) -> Result<Route, Plain> {
    if request.method() == Method::CONNECT {
        return Err(Plain::new(StatusCode::METHOD_NOT_ALLOWED, "connect"));
    }
    let Asked { site, host, field: host_field } = site(known.sites, request, https, account)?;
    let target = request.uri().path();
    // `OPTIONS *` speaks of the server, not of a path (RFC 9110 §9.3.7); no other method does.
    let path = if target == "*" && request.method() == Method::OPTIONS {
        target.into()
    } else {
        normalise::target(target).map_err(|bad| Plain::new(StatusCode::BAD_REQUEST, bad.word()))?
    };
    let query = request.uri().query();
    let facts = Facts { method: request.method(), path: &path, query, headers: request.headers() };
    let rule = site.rules.find(&facts);
    let body_limit = rule.and_then(|(_, rule)| rule.body_limit).or(site.body_limit);
    let (mut verdict, access) = match rule {
        Some((index, rule)) => {
            account.matched = Some((site.clone(), Some(index)));
            account.hide_path = rule.hide_path;
            (rule.verdict.clone(), rule.access.clone())
        }
        None => (Verdict::Obey, Access::Open),
    };
    if let Some((query, name)) = query.zip(access.parameter()) {
        account.masked = Some(format!("{target}?{}", normalise::masked(query, name)));
    }
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if body_limit.zip(announced).is_some_and(|(limit, length)| length > limit) {
        return Err(Plain { close: true, ..Plain::new(StatusCode::PAYLOAD_TOO_LARGE, "body-limit") });
    }
    let mount = site.mount(rule.map(|(index, _)| index)).cloned();
    let of = |rule: Option<(usize, &Arc<Rule>)>| match rule {
        Some((_, rule)) => (rule.query(query), !rule.access.is_open()),
        None => (query.map(Cow::Borrowed), false),
    };
    let (kept, _) = of(rule);
    // What an unsafe method outdates is what a GET of its target finds, by the rule that speaks for that.
    let speaks = match request.method().is_safe() {
        true => rule,
        false => site.rules.find(&Facts { method: &Method::GET, ..facts }),
    };
    let (keyed, guarded) = of(speaks);
    let mut belongs = belongs(known, &site, speaks.map(|(_, rule)| &**rule), &path, keyed.as_deref());
    let parts = KeyParts {
        scope: &site.scope,
        https,
        guarded,
        host: site.keyed_host(&host),
        path: &path,
        query: keyed.as_deref(),
    };
    let key = match &belongs {
        Belongs::Listed(listed) => {
            let Listed { part, cut: (path, query), .. } = &**listed;
            KeyParts { path, query: query.as_deref(), ..parts }.key().of_release(&part.release)
        }
        Belongs::Nowhere | Belongs::Unlisted => parts.key(),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        belongs = Belongs::Nowhere;
    }
    let (listed, unlisted) = match belongs {
        Belongs::Listed(listed) => (Some(listed), false),
        Belongs::Unlisted => (None, true),
        Belongs::Nowhere => (None, false),
    };
    if unlisted {
        verdict = Verdict::Pass;
    }
    account.release = listed.as_ref().map(|listed| listed.part.release.clone());
    let query =
        if kept.as_deref() == query { Query::AsSent } else { Query::Changed(kept.map(Cow::into_owned)) };
    let path = if *path == *target { None } else { Some(path.into_owned()) };
    let (upgrade, class) = (upgrade(request), rule.and_then(|(_, rule)| rule.class));
    let host = host_field;
    Ok(Route {
        verdict,
        access,
        mount,
        key,
        path,
        query,
        host,
        https,
        body_limit,
        class,
        upgrade,
        site,
        listed,
        unlisted,
    })
}

/// The key of what a GET of another target of the same host finds, path and query as they are written; `None` if it is no
/// target.
pub(super) fn key_of_get(
    site: &Site,
    https: bool,
    host: &str,
    target: &str,
    headers: &HeaderMap,
) -> Option<Key> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = normalise::target(path).ok()?;
    let facts = Facts { method: &Method::GET, path: &path, query, headers };
    let (query, guarded) = match site.rules.find(&facts) {
        Some((_, rule)) => (rule.query(query), !rule.access.is_open()),
        None => (query.map(Cow::Borrowed), false),
    };
    let host = site.keyed_host(host);
    Some(KeyParts { scope: &site.scope, https, guarded, host, path: &path, query: query.as_deref() }.key())
}

/// The host a request asks for: the target's, if it names one (RFC 9112 §3.2.2), else the field's; and that field.
fn host<B>(request: &Request<B>) -> Option<(&str, Option<HeaderValue>)> {
    match request.uri().authority() {
        Some(authority) => Some((authority.as_str(), None)),
        None => {
            let field = request.headers().get(header::HOST)?;
            Some((field.to_str().ok()?, Some(field.clone())))
        }
    }
}

/// The protocol a request asks to change to (RFC 9110 §7.8), but for HTTP/2, which the listener speaks anyhow.
fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let mut named = request.headers().get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let asks = named.any(|v| v.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")));
    let protocol = request.headers().get(header::UPGRADE).filter(|_| asks)?;
    (!protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}
