//! The control API behind a listener, and how it finds what a purge names.

use crate::{
    cache::{Disk, KeyParts},
    control::{
        Api, ApiBody, Count, Counts, Explain, HasOf, List, Listing, PurgeTarget, ResolveSite, ResolveUrl,
        UnknownTarget, Unlisted, Warm,
    },
    edge::{Edge, Parts},
    ledger::Subject,
    listener::{Connection, RequestBody, Serve},
    release::{Manifest, Place},
    response::Warmed,
    rules::{Facts, Rule, Verdict, normalise},
};
use http::{HeaderMap, Method, Request, Response};
use std::{net::Ipv4Addr, sync::Arc};

/// The control API as a service of a listener.
#[derive(Clone)]
pub(super) struct ControlApi(pub Api);

impl Serve for ControlApi {
    type Body = ApiBody;

    async fn serve(&self, request: Request<RequestBody>, connection: Arc<Connection>) -> Response<ApiBody> {
        self.0.answer(request, connection.peer).await
    }
}

/// Finds the sites and the normalised path and query of a URL, as a request for it would be looked up.
pub(super) fn resolve_url(edge: &Edge) -> ResolveUrl {
    let edge = edge.clone();
    Arc::new(move |url| {
        let sites = edge.parts().sites.load();
        let host = normalise::host(url.host, url.https).map_err(|bad| UnknownTarget::Url(bad.to_string()))?;
        let site = sites.find(&host).ok_or(UnknownTarget::Host)?;
        let path = normalise::target(url.path).map_err(|bad| UnknownTarget::Url(bad.to_string()))?;
        let facts = Facts { method: &Method::GET, path: &path, query: url.query, headers: &HeaderMap::new() };
        let query = match site.rules.find(&facts) {
            Some((_, rule)) => rule.query(url.query).map(|query| query.into_owned()),
            None => url.query.map(str::to_owned),
        };
        Ok(PurgeTarget { sites: sites.purged_with(site), path: path.into_owned(), query })
    })
}

/// Finds the sites that share stored responses with a site.
pub(super) fn resolve_site(edge: &Edge) -> ResolveSite {
    let edge = edge.clone();
    Arc::new(move |name| {
        let sites = edge.parts().sites.load();
        sites.named(name).map(|site| sites.purged_with(site))
    })
}

/// Finds the sites of a scope.
pub(super) fn resolve_scope(edge: &Edge) -> ResolveSite {
    let edge = edge.clone();
    Arc::new(move |name| {
        let sites = edge.parts().sites.load();
        sites.iter().find(|site| *site.scope == *name).map(|site| sites.purged_with(site))
    })
}

/// Tells whether a rule of a site, or of one that shares with it, names modules.
pub(super) fn names_modules(edge: &Edge) -> Arc<dyn Fn(&str) -> bool + Send + Sync> {
    let edge = edge.clone();
    let names = |rule: &Rule| matches!(&rule.verdict, Verdict::Cache(policy) if policy.module.is_some());
    Arc::new(move |name| {
        let sites = edge.parts().sites.load();
        let site = sites.named(name);
        site.is_some_and(|site| {
            sites.sharing(site).any(|site| site.rules.rules().iter().any(|rule| names(rule)))
        })
    })
}

/// Counts what a record would cover. On a thread of its own: as many are looked at as are in memory.
pub(super) fn count(edge: &Edge) -> Count {
    let edge = edge.clone();
    Arc::new(move |record| {
        let edge = edge.clone();
        Box::pin(async move {
            let counted = tokio::task::spawn_blocking(move || {
                let Parts { tiers, ledger, .. } = edge.parts();
                let covers = ledger.would_cover(&record);
                let at_least = tiers.count(|key, stored| {
                    key.parts().is_some_and(|KeyParts { scope, path, query, .. }| {
                        let (tags, came) = (&stored.tags, stored.freshness.received);
                        covers(scope, &Subject { path, query, tags, came }, stored.born)
                    })
                });
                Counts { at_least, at_most: at_least + tiers.disk().map_or(0, Disk::responses) }
            });
            // It does not panic; and if it did, this is what is known.
            counted.await.unwrap_or(Counts { at_least: 0, at_most: u64::MAX })
        })
    })
}

/// Explains a request by a dry run of the edge.
pub(super) fn explain(edge: &Edge) -> Explain {
    let edge = edge.clone();
    Arc::new(move |request, https, client| {
        let edge = edge.clone();
        Box::pin(async move { edge.explain(request, https, client).await })
    })
}

/// Warms what a request would be answered with, for as long as the node is not about to end.
pub(super) fn warm(edge: &Edge, stopping: impl Fn() -> bool + Send + Sync + 'static) -> Warm {
    let edge = edge.clone();
    Arc::new(move |request, https, client, release| {
        let (edge, stopping) = (edge.clone(), stopping());
        Box::pin(async move {
            match stopping {
                true => Warmed::refused("stopping"),
                false => edge.warm(request, https, client, release.as_ref()).await,
            }
        })
    })
}

/// Tells whether a file of a release is stored, after what another release has of it was taken over.
pub(super) fn has_of(edge: &Edge) -> HasOf {
    let edge = edge.clone();
    Arc::new(move |request, https, release| {
        let edge = edge.clone();
        let client = (Ipv4Addr::LOCALHOST, 0).into();
        Box::pin(async move { edge.has_of(&request, https, client, &release).await })
    })
}

/// Makes the manifest of a release by the configuration of this moment.
pub(super) fn list(edge: &Edge) -> List {
    let edge = edge.clone();
    Arc::new(move |listing: &Listing<'_>| {
        let sites = edge.parts().sites.load();
        let Listing { site, release, base, entries, open } = *listing;
        let asked = sites.named(site).ok_or(Unlisted::Site)?;
        let host = normalise::host(base.host, base.https).map_err(|bad| Unlisted::Base(bad.to_string()))?;
        let site = sites.find(&host).ok_or(Unlisted::Host)?;
        if site.scope != asked.scope {
            return Err(Unlisted::Host);
        }
        let path = normalise::target(base.path).map_err(|bad| Unlisted::Base(bad.to_string()))?;
        let place = Place { https: base.https, host: &host, path: &path };
        Manifest::of(site, release, place, entries, open).map_err(Unlisted::Files)
    })
}
