//! `PURGE` to a site, as other caches take it: the records that `lectern purge` writes, for clients whose address the site names.
//!
//! Whoever else sends it is refused and changes nothing, and in no case does it go on to the origin.

use crate::{
    clock,
    edge::{Edge, Otherwise, answer, route},
    ledger::{About, Fact, Purge, Record, SETTLE},
    response::{Account, Body, Plain},
    rules::{Facts, normalise},
    site::{Site, Sites},
    telemetry::{Fault, Outcome},
};
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use std::time::Duration;

/// Stands as `who` in the record. No token can be called so.
const WHO: &str = "PURGE by address";
/// Most tags of one request.
const MOST: usize = 256;
/// When to come again where the ledger takes no records.
const AGAIN: Duration = Duration::from_secs(5);

/// A request that may be done.
pub(super) struct Purging {
    account: Box<Account>,
    records: Vec<Record>,
}

/// Whether a request is one.
pub(super) fn is_one(method: &Method) -> bool {
    method.as_str() == "PURGE"
}

/// What becomes of it: done, or refused.
pub(super) fn received<B>(
    sites: &Sites,
    request: &Request<B>,
    from: &route::Sender,
    mut account: Box<Account>,
) -> Otherwise {
    match records(sites, request, from, &mut account) {
        Ok(records) => Otherwise::Purges(Box::new(Purging { account, records })),
        Err(plain) => {
            let refused = answer::plain(account, Outcome::Refused, Some(Fault::Client), plain);
            Otherwise::Refused(Box::new(refused))
        }
    }
}

/// What it has written, or why not.
pub(super) fn records<B>(
    sites: &Sites,
    request: &Request<B>,
    from: &route::Sender,
    account: &mut Account,
) -> Result<Vec<Record>, Plain> {
    let site = route::site(sites, request, from.https, account)?.site;
    let client = from.client.ip().to_canonical();
    if !site.purge_from.iter().any(|net| net.contains(&client)) {
        return Err(Plain::new(StatusCode::FORBIDDEN, "purge-not-allowed"));
    }
    let about = About {
        sites: sites.purged_with(&site),
        soft: soft(request.headers())?,
        settle: SETTLE,
        who: WHO.to_owned(),
        when: clock::unix_millis(account.time),
        from: from.client.to_string(),
        ..About::default()
    };
    let purges = match tags(request.headers())? {
        Some(tags) => tags.into_iter().map(|tag| Purge::Tag { tag }).collect(),
        None => vec![url(&site, request)?],
    };
    Ok(purges.into_iter().map(|purge| Record::purge(purge, about.clone())).collect())
}

/// The URL of the request, with its own query or none, all variants.
fn url<B>(site: &Site, request: &Request<B>) -> Result<Purge, Plain> {
    let path = normalise::target(request.uri().path())
        .map_err(|bad| Plain::new(StatusCode::BAD_REQUEST, bad.word()))?;
    let query = request.uri().query();
    let facts = Facts { method: &Method::GET, path: &path, query, headers: request.headers() };
    let query = match site.rules.find(&facts) {
        Some((_, rule)) => rule.query(query).map(|query| query.into_owned()),
        None => query.map(str::to_owned),
    };
    Ok(Purge::Url { path: path.into_owned(), query: Some(query.unwrap_or_default()) })
}

/// The tags to purge in the place of the URL.
fn tags(headers: &HeaderMap) -> Result<Option<Vec<String>>, Plain> {
    let bad = || Plain::new(StatusCode::BAD_REQUEST, "bad-surrogate-key");
    let mut tags = None;
    for line in headers.get_all("surrogate-key") {
        let words = line.to_str().map_err(|_| bad())?.split([' ', '\t', ',']);
        tags.get_or_insert_with(Vec::new).extend(words.filter(|tag| !tag.is_empty()).map(str::to_owned));
    }
    match &tags {
        Some(tags) if tags.is_empty() || tags.len() > MOST => Err(bad()),
        _ => Ok(tags),
    }
}

/// Whether what is covered becomes stale, not gone.
fn soft(headers: &HeaderMap) -> Result<bool, Plain> {
    let mut lines = headers.get_all("fastly-soft-purge").iter();
    match (lines.next().map(|line| line.as_bytes()), lines.next()) {
        (None, _) => Ok(false),
        (Some(b"1"), None) => Ok(true),
        _ => Err(Plain::new(StatusCode::BAD_REQUEST, "bad-soft-purge")),
    }
}

impl Edge {
    /// Writes the records; in force when this answers.
    pub(super) async fn purge(&self, Purging { account, records }: Purging) -> Response<Body> {
        let ledger = &self.0.ledger;
        let written = join_all(records.iter().cloned().map(|record| ledger.append(record))).await;
        let mut ids = serde_json::Map::new();
        for (record, receipt) in records.iter().zip(written) {
            let Ok(receipt) = receipt else {
                let plain = Plain {
                    retry_after: Some(AGAIN),
                    ..Plain::new(StatusCode::SERVICE_UNAVAILABLE, "ledger-refuses")
                };
                return answer::plain(account, Outcome::Failed, Some(Fault::Edge), plain);
            };
            let number = receipt.number;
            tracing::info!(number = number.n, kind = record.kind(), sites = ?record.sites(), "purged");
            let id = format!("{}-{}", number.identity, number.n).into();
            match &record.fact {
                Fact::Purge(Purge::Tag { tag }) => _ = ids.insert(tag.clone(), id),
                _ => ids.extend([("status".to_owned(), "ok".into()), ("id".to_owned(), id)]),
            }
        }
        answer::purged(account, &serde_json::Value::Object(ids))
    }
}
