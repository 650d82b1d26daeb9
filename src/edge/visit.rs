//! A request on its way: what it says, and what it would have of a fill.

use crate::{
    access::{For, Learner, Leave, Shown},
    cache::{Slot, StoredResponse},
    edge::route::{Query, Route},
    fill::{FillHead, Span, Wanted, says_more},
    http_caching::{
        Directives, Fwd, RequestDirectives,
        range::{self, Requested, Spec},
    },
    listener::RequestBody,
    origin::Origin,
    release::Part,
    response::{Account, coding::Recode, fields},
    rules::{Class, Policy, Said, Verdict},
    site::Mode,
};
use http::{Method, StatusCode, header};
use std::{net::IpAddr, sync::Arc};

/// A request on its way, from its verdict on.
pub(super) struct Visit {
    pub(super) parts: http::request::Parts,
    /// Until it is relayed; a warm-up has none.
    pub(super) body: Option<RequestBody>,
    pub(super) route: Route,
    pub(super) account: Box<Account>,
    pub(super) trusted: bool,
    /// The slot that was found on disk.
    pub(super) raised: Option<Arc<Slot>>,
    /// It was looked for there.
    pub(super) looked_below: bool,
    /// Who asks, where the rule leaves to the LMS who may have it; none: nobody it could be asked about.
    pub(super) learner: Option<Arc<Learner>>,
    /// Leave to be answered from what is stored.
    pub(super) leave: Option<Leave>,
    /// What becomes of the body on its way to the client.
    pub(super) recode: Option<Recode>,
    /// What it is answered with may be old, and may not be kept without asking.
    pub(super) settles: bool,
    /// It is answered with bytes that nothing proves before their end to be of the release.
    pub(super) unproven: bool,
    /// Who is connected: the client, or a proxy before the edge.
    pub(super) peer: IpAddr,
    /// How its site was switched when its head was there.
    pub(super) mode: Mode,
}

/// What the verdict leaves to do.
pub(super) enum Course {
    Refuses(StatusCode),
    Relays(Fwd),
    /// Whatever the rules store: its site relays everything.
    Switched,
    LooksUp,
}

/// From where a request came.
pub(super) struct Peer {
    /// Who is connected.
    pub(super) address: IpAddr,
    /// A proxy whose word on where its clients come from is taken.
    pub(super) trusted: bool,
}

impl Visit {
    /// A request that may go its way; `body` is none where none can be sent on.
    pub(super) fn new(
        mut parts: http::request::Parts,
        body: Option<RequestBody>,
        route: Route,
        account: Box<Account>,
        peer: Peer,
    ) -> Visit {
        route.strip(&mut parts.headers);
        let (Peer { address, trusted }, mode) = (peer, route.site.switch.mode());
        let mut visit = Visit {
            parts,
            body,
            route,
            account,
            trusted,
            raised: None,
            looked_below: false,
            learner: None,
            leave: None,
            recode: None,
            settles: false,
            unproven: false,
            peer: address,
            mode,
        };
        visit.meet();
        visit
    }

    /// Path, as the origin is asked and the key has it.
    pub(super) fn path(&self) -> &str {
        match &self.route.listed {
            Some(listed) => &listed.put.0,
            None => self.route.path.as_deref().unwrap_or(self.parts.uri.path()),
        }
    }

    /// Query, as the origin is asked and the key has it.
    pub(super) fn query(&self) -> Option<&str> {
        if let Some(listed) = &self.route.listed {
            return listed.put.1.as_deref();
        }
        match &self.route.query {
            Query::AsSent => self.parts.uri.query(),
            Query::Changed(query) => query.as_deref(),
        }
    }

    /// Path and query as they were asked for, where what is stored goes by others: those of the release. A purge of either covers it.
    pub(super) fn asked(&self) -> Option<(&str, Option<&str>)> {
        let listed = self.route.listed.as_ref()?;
        let path = self.route.path.as_deref().unwrap_or(self.parts.uri.path());
        let query = match &self.route.query {
            Query::AsSent => self.parts.uri.query(),
            Query::Changed(query) => query.as_deref(),
        };
        (path != listed.put.0 || query != listed.put.1.as_deref()).then_some((path, query))
    }

    /// Where it is fetched from.
    pub(super) fn origin(&self) -> &Arc<Origin> {
        self.route.mount.as_ref().map_or(&self.route.site.origin, |mount| &mount.origin)
    }

    /// Whose turn it is at the origin.
    pub(super) fn class(&self) -> Class {
        self.route.class.unwrap_or_else(|| Class::of_path(self.path()))
    }

    /// Takes out what ends at this hop, before anything goes on.
    pub(super) fn end_hop(&mut self) {
        fields::strip_hop_by_hop(&mut self.parts.headers);
        fields::join_cookies(&mut self.parts.headers);
    }

    /// What it wants of a stored response, where a rule heeds that.
    pub(super) fn wishes(&self) -> RequestDirectives {
        // A class that reloads would reach the origin all the same.
        let heeded =
            self.mode != Mode::Spare && self.policy().is_some_and(|policy| policy.request_directives);
        if heeded { Directives::request(&self.parts.headers) } else { RequestDirectives::default() }
    }

    pub(super) fn course(&self) -> Course {
        match &self.route.verdict {
            Verdict::Refuse(status) => Course::Refuses(*status),
            Verdict::Pass => Course::Relays(Fwd::Bypass),
            Verdict::Cache(_) if self.route.access.asked().is_some() && self.learner.is_none() => {
                Course::Relays(Fwd::Request)
            }
            Verdict::Cache(_) | Verdict::Obey if self.may_be_stored() && self.mode == Mode::Relay => {
                Course::Switched
            }
            Verdict::Cache(_) | Verdict::Obey if self.may_be_stored() => Course::LooksUp,
            Verdict::Cache(_) | Verdict::Obey => Course::Relays(Fwd::Method),
        }
    }

    /// Whether a body comes with it; of a request that is only talked about, whether it announces one.
    pub(super) fn has_body(&self) -> bool {
        match &self.body {
            Some(body) => !http_body::Body::is_end_stream(body),
            None => self.announced().is_some(),
        }
    }

    /// The length of the body it announces, if that has one.
    pub(super) fn announced(&self) -> Option<u64> {
        let length = self.parts.headers.get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok().filter(|length| *length > 0)
    }

    pub(super) fn may_be_stored(&self) -> bool {
        matches!(self.parts.method, Method::GET | Method::HEAD) && self.route.upgrade.is_none()
    }

    pub(super) fn policy(&self) -> Option<&Arc<Policy>> {
        match &self.route.verdict {
            Verdict::Cache(policy) => Some(policy),
            _ => None,
        }
    }

    /// A fill carries less than this request says. If what comes can be shared that does not matter; if not, the origin had better
    /// be asked by the request itself.
    pub(super) fn says_more(&self) -> bool {
        self.says_fields() || self.says_credentials()
    }

    /// It says a range, or a field that no fill carries.
    pub(super) fn says_fields(&self) -> bool {
        self.parts.headers.contains_key(header::RANGE) || self.says_own_fields()
    }

    /// Where no rule speaks: a field beyond a browser's standard ones.
    pub(super) fn says_own_fields(&self) -> bool {
        matches!(self.route.verdict, Verdict::Obey) && says_more(&self.parts.headers)
    }

    pub(super) fn says_credentials(&self) -> bool {
        // A storage is told none, whoever asks it.
        let told = self.route.mount.is_none();
        told && (self.withholds(header::COOKIE) || self.withholds(header::AUTHORIZATION))
    }

    /// Whether this request, whose fill brought what is for nobody else, is sent by itself as well. What a stranger is refused,
    /// or a page made for one, is no answer to a learner who showed her cookie; a file is.
    pub(super) fn asks_again(&self, head: &FillHead) -> bool {
        self.says_fields() || (self.says_credentials() && head.is_for_a_stranger())
    }

    /// The rule keeps this credential from a fill. Not where the fill is made in the name of who shows it.
    pub(super) fn withholds(&self, name: http::HeaderName) -> bool {
        self.parts.headers.contains_key(&name)
            && self.learner.is_none()
            && self.policy().is_some_and(|policy| !policy.forward.contains(&name))
    }

    /// Whether its client may be told why it was answered as it was: not where the LMS has not let it in, for that would tell what
    /// is stored.
    pub(super) fn is_told_why(&self) -> bool {
        self.leave.is_some() || self.route.access.asked().is_none()
    }

    /// Finds out who asks, where the rule leaves to the LMS who may have it, and gives leave where it asks nothing.
    fn meet(&mut self) {
        self.leave = Leave::unasked(&self.route.access);
        let Some(asked) = self.route.access.asked() else { return };
        let learner = Shown::of(asked, &self.parts.headers).and_then(|shown| {
            let (site, at) = match &self.account.matched {
                Some((site, Some(at))) => (site, *at),
                _ => return None,
            };
            let rule = site.rules.rules().get(at)?;
            let key = self.route.key.parts()?;
            let (path, query) = (self.path(), self.query());
            let what = For {
                site: &site.name,
                tenant: (key.scope, key.https, key.host),
                rule: &rule.name,
                path,
                query,
            };
            let metrics = site.access_metrics(at)?.clone();
            Some(Learner::new(shown, asked, &what, &self.own_forward(), metrics))
        });
        self.account.access = learner.is_none().then_some("none");
        self.account.learner = learner.as_ref().map(Learner::digest);
        self.learner = learner.map(Arc::new);
    }

    /// The fields that tell from where a request of this learner came, as a relay of it would have them.
    fn own_forward(&self) -> http::HeaderMap {
        const OWN: [&str; 2] = ["x-forwarded-for", "forwarded"];
        let mut own = http::HeaderMap::new();
        for name in OWN {
            for value in self.parts.headers.get_all(name) {
                own.append(name, value.clone());
            }
        }
        fields::forward(&mut own, &self.asker());
        let others: Vec<_> = own.keys().filter(|name| !OWN.contains(&name.as_str())).cloned().collect();
        for name in others {
            own.remove(name);
        }
        own
    }

    /// The file of a release that it is for.
    pub(super) fn part(&self) -> Option<&Part> {
        self.route.listed.as_ref().map(|listed| &listed.part)
    }

    /// Whether what is stored with these fields is proven to be of the release that is asked for: it needs not to be asked about.
    pub(super) fn is_proven(&self, headers: &http::HeaderMap) -> bool {
        self.part().is_some_and(|part| part.proof.proves(headers))
    }

    /// Whether an answer with these fields is not proven to be of the version that its URL names. A browser asks again before it
    /// uses it, unless the rule says for how long it may not; what says to be of another version it always asks about.
    pub(super) fn may_be_another_version(&self, headers: &http::HeaderMap) -> bool {
        let Some(policy) = self.policy() else { return self.route.unlisted };
        if let Some(part) = self.part() {
            return !(part.named && part.proof.proves(headers)) && policy.browser_lifetime.is_none();
        }
        let Some(rule) = &policy.version else { return false };
        match rule.said(headers, rule.named(self.path(), self.query())) {
            Said::Same => false,
            Said::Other => true,
            Said::Nothing => policy.browser_lifetime.is_none(),
        }
    }

    pub(super) fn wanted(
        &self,
        validates: Option<Arc<StoredResponse>>,
        selecting: Vec<http::HeaderName>,
    ) -> Wanted<'_> {
        let route = &self.route;
        let mut added = http::HeaderMap::new();
        fields::shared_forward(&mut added, &self.asker());
        for state in self.parts.headers.get_all("tracestate") {
            added.append("tracestate", state.clone());
        }
        self.account.trace.apply(&mut added);
        Wanted {
            key: &route.key,
            site: &route.site,
            policy: self.policy(),
            path: self.path(),
            query: self.query(),
            class: self.class(),
            mount: route.mount.as_ref(),
            origin_host: route.mount.as_ref().map_or(&route.host, |mount| &mount.host).clone(),
            added,
            client: &self.parts.headers,
            selecting,
            validates,
            wishes: self.wishes(),
            lacks: None,
            looked_below: self.looked_below,
            span: self.span(),
            learner: self.learner.clone(),
            leave: self.leave.clone(),
            named: route.site.marks.named(),
            part: self.part(),
            asked: self.asked(),
            current: None,
        }
    }

    /// The part of a body that this request can be answered with, before anything is known of the body.
    pub(super) fn span(&self) -> Option<Span> {
        match range::parse(&self.parts.headers) {
            Requested::Ranges(specs) if self.parts.method == Method::GET => match specs[..] {
                [Spec::From { first, last }] => Some(Span { first, last }),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn asker(&self) -> fields::Asker<'_> {
        fields::Asker {
            peer: self.peer,
            trusted: self.trusted,
            host: self.route.host.to_str().unwrap_or_default(),
            https: self.route.https,
        }
    }
}
