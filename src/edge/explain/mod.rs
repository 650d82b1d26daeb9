//! What would become of a request, without anything coming of it.
//!
//! A dry run: the request is led on by the functions that lead every request ([`route::route`], [`Edge::look_up`],
//! [`Edge::way`], [`Visit::wanted`], [`Visit::relayed`], [`Fills::rehearse`](crate::fill::Fills::rehearse)), and at each turn it
//! is noted where it would go. No line, no counter, no memo, no fill, nothing sent, nothing moved; only what is looked at counts
//! as used once in its tier.

mod asked;
mod rule;
mod words;

use crate::{
    cache::{Slot, StoredResponse, Tier, Use},
    edge::{Course, Edge, Found, Peer, Reach, Serving, Visit, Way, answer, is_partial, purge, route},
    fill::Rehearsed,
    http_caching::{Coding, Directives},
    ledger::{Covering, Number, Standing},
    response::{
        Account, AnswerTold, Arrival, CodedTold, Explanation, FieldTold, KeyTold, NumberTold, OriginTold,
        Part, Plain, StoredTold,
    },
    rules::normalise,
};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

/// Fields of a stored response that are told: what its use depends on.
const TOLD: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::DATE,
    header::VARY,
];

impl Edge {
    /// Explains what would become of `request` (its target a path, its host a field) if it came now, over TLS or not, from a
    /// client at this address that is connected directly.
    pub async fn explain(&self, request: Request<()>, https: bool, client: IpAddr) -> Explanation {
        let arrival = Arrival { listener: &Arc::from("explain"), client: SocketAddr::new(client, 0), https };
        let mut account = Box::new(Account::untold(&self.0.accounts, &arrival, &request));
        let sites = self.0.sites.load();
        let purges = purge::is_one(request.method()).then(|| {
            let from = route::Sender { client: SocketAddr::new(client, 0), https };
            purge::records(&sites, &request, &from, &mut account)
        });
        let routed = route::route(&self.known(&sites), &request, https, &mut account);
        let mut told = Explanation {
            method: request.method().to_string(),
            url: as_given(&request, https),
            ledger: number(self.0.ledger.last()),
            ..Explanation::default()
        };
        rule::tell(&mut told, &request, &account);
        let hide = account.hide_path;
        match routed {
            _ if let Some(purges) = purges => {
                told.answer =
                    purges.map_or_else(|plain| words::refused(&plain), |records| words::purges(&records));
            }
            Err(plain) => {
                told.answer = words::refused(&plain);
                if let Err(bad) = normalise::target(request.uri().path()) {
                    told.answer.why = format!("{bad} ({})", plain.word);
                }
            }
            Ok(route) => {
                let (parts, ()) = request.into_parts();
                let peer = Peer { address: client, trusted: false };
                let mut visit = Visit::new(parts, None, route, account, peer);
                visit.looked_below = true;
                self.tell_course(&mut told, visit).await;
            }
        }
        if hide {
            hide_path(&mut told);
        }
        told
    }

    /// From the key to the answer.
    async fn tell_course(&self, told: &mut Explanation, mut visit: Visit) {
        let now = visit.account.time;
        told.url = url(&visit);
        told.key = visit.route.key.parts().map(|parts| KeyTold {
            scope: parts.scope.to_owned(),
            scheme: scheme(parts.https).to_owned(),
            host: parts.host.to_owned(),
            path: parts.path.to_owned(),
            query: parts.query.map(str::to_owned),
        });
        let slot = self.0.tiers.look_at(&visit.route.key).await;
        let looks_up = matches!(visit.course(), Course::LooksUp);
        let selected = slot.as_ref().filter(|_| looks_up).and_then(|slot| slot.select(&visit.parts.headers));
        for stored in slot.iter().flat_map(|slot| slot.responses()) {
            let selected = selected.is_some_and(|selected| Arc::ptr_eq(selected, stored));
            told.stored.push(StoredTold { selected, ..self.stored(&visit, stored, now).await });
        }
        let found = match visit.course() {
            Course::Refuses(status) => {
                told.answer = words::refused(&Plain::new(status, "rule"));
                return;
            }
            Course::Relays(why) => Found::Relays(why),
            Course::Switched => Found::Switched,
            Course::LooksUp => {
                self.look_up(&visit, slot.as_deref(), now, |stored| self.standing_now(&visit, stored))
            }
        };
        (told.answer, told.origin) = if looks_up && self.would_ask(&mut visit) {
            let stored = match found {
                Found::Serves { stored, .. } | Found::Asks { validates: Some(stored), .. } => Some(stored),
                _ => None,
            };
            self.unasked(&mut visit, stored, slot.as_deref())
        } else {
            self.answered(&mut visit, found, slot.as_deref()).await
        };
        told.answer.fill_under_way = self.0.fills.under_way(&visit.route.key);
        told.answer.pass_mark = self.0.fills.passes(&visit.route.key, &visit.parts.headers);
    }

    /// The answer to a request for which this was found, and what the origin would be sent.
    async fn answered(
        &self,
        visit: &mut Visit,
        found: Found,
        slot: Option<&Slot>,
    ) -> (AnswerTold, Option<OriginTold>) {
        if let Found::Serves { stored, ttl, how } = &found {
            let (coding, shown, part, there) = self.would_show(visit, stored).await;
            let partial = is_partial(&part, &shown);
            let only_stored = Directives::request(&visit.parts.headers).only_if_cached;
            if there && !partial {
                let origin = (*how == Serving::Refreshing).then(|| {
                    visit.end_hop();
                    self.refreshed(visit, stored, slot)
                });
                let coding = coding.map(|coding| coding.as_str().to_owned());
                let served = words::served(stored, &part, *ttl, *how);
                return (AnswerTold { coding, ..served }, origin);
            }
            if there || !only_stored {
                visit.end_hop();
                if let Some(origin) = self.completed(visit, stored, slot) {
                    return (words::completed(stored, &part), Some(origin));
                }
            }
        }
        visit.end_hop();
        let found = self.on_reflection(found).await;
        self.asked(visit, found, slot)
    }

    /// What the request would be shown of a stored response, in which coding of the edge's own, which part of it, and whether
    /// that is there just now.
    async fn would_show(
        &self,
        visit: &mut Visit,
        stored: &Arc<StoredResponse>,
    ) -> (Option<Coding>, Arc<StoredResponse>, Part, bool) {
        let part = |visit: &Visit, shown: &StoredResponse| {
            answer::part_of(visit, shown.status, &shown.headers, Some(shown.length))
        };
        if let Some((coding, variant)) = self.variant(visit, stored) {
            let part = part(visit, &variant);
            if self.would_have(visit, &variant, &part).await {
                return (Some(coding), variant, part, true);
            }
        }
        visit.recode = self.on_the_way(visit, stored);
        let part = part(visit, stored);
        let there = self.would_have(visit, stored, &part).await;
        (visit.recode.as_ref().map(|recode| recode.to), stored.clone(), part, there)
    }

    /// Whether the bytes that the request would get, or the first of them, are there just now.
    async fn would_have(&self, visit: &Visit, stored: &StoredResponse, part: &Part) -> bool {
        let (first, last) = match self.reach(visit, stored, part) {
            Reach::Nothing | Reach::Reader { there: true, .. } => return true,
            Reach::Reader { first, .. } if stored.content_tag().is_some() => (first, first),
            Reach::Pieces(first, last) | Reach::Reader { first, last, .. } => (first, last),
        };
        self.0.tiers.tier(&stored.body, first, last).await != Tier::None
    }

    /// What the origin would be asked for of a stored body, if parts of it can be had by its validator.
    fn completed(&self, visit: &Visit, stored: &StoredResponse, slot: Option<&Slot>) -> Option<OriginTold> {
        let request = self.0.fills.rehearse_part(&visit.wanted(None, selecting(slot)), stored)?;
        let mut told = words::sent(visit, "part", &request, false);
        told.fields.push(FieldTold { name: "range".to_owned(), value: "(the missing bytes)".to_owned() });
        Some(told)
    }

    /// The fill that would bring a new response while the stale one serves.
    fn refreshed(&self, visit: &Visit, stored: &Arc<StoredResponse>, slot: Option<&Slot>) -> OriginTold {
        match self.0.fills.rehearse(&visit.wanted(Some(stored.clone()), selecting(slot)), false) {
            Rehearsed::Joins { request, conditional } => words::sent(visit, "joined", &request, conditional),
            Rehearsed::Begins { request, conditional, .. } => {
                words::sent(visit, "refresh", &request, conditional)
            }
        }
    }

    /// The answer to a request that nothing stored answers, and what the origin would be sent.
    fn asked(&self, visit: &Visit, found: Found, slot: Option<&Slot>) -> (AnswerTold, Option<OriginTold>) {
        let (validates, fallback, why) = match self.way(visit, found) {
            Way::Refuses => {
                return (words::refused(&Plain::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached")), None);
            }
            Way::Relays { why, own } => {
                let sent = words::sent(visit, "relay", &visit.relayed(), false);
                return (words::relayed(visit, why, own), Some(sent));
            }
            Way::Obtains { validates, fallback, why } => (validates, fallback, why),
        };
        let (validated, stale) = (validates.is_some(), fallback.is_some());
        match self.0.fills.rehearse(&visit.wanted(validates, selecting(slot)), true) {
            Rehearsed::Joins { request, conditional } => {
                (words::joined(why, stale), Some(words::sent(visit, "joined", &request, conditional)))
            }
            Rehearsed::Begins { request, conditional, alone } => {
                let sentence = words::fill_sentence(why, validated, conditional, alone);
                let answer = words::filled(visit, why, sentence, (conditional, alone, stale));
                (answer, Some(words::sent(visit, "fill", &request, conditional)))
            }
        }
    }

    /// What is told of a stored response, but for whether it is selected.
    async fn stored(&self, visit: &Visit, stored: &StoredResponse, now: SystemTime) -> StoredTold {
        let tier = match stored.length {
            0 => Tier::Memory,
            length => self.0.tiers.tier(&stored.body, 0, length - 1).await,
        };
        let (freshness, ttl) = (&stored.freshness, stored.freshness.ttl(now));
        let standing = self.standing_now(visit, stored);
        let usable = match standing {
            Standing::Stale { since } => stored.usable_since(since, &visit.wishes(), now),
            Standing::Current | Standing::Settling { .. } | Standing::Outdated => {
                stored.usable(&visit.wishes(), now)
            }
        };
        let word = match usable {
            Use::Fresh { .. } | Use::AsWished { .. } if ttl > 0 => "fresh",
            Use::Validate { .. } if ttl > 0 => "validate",
            _ => "stale",
        };
        let validator = |value: &Option<HeaderValue>, name| {
            value.as_ref().map(|value| FieldTold::new(&name, value.as_bytes()))
        };
        let fields = TOLD.iter().flat_map(|name| {
            stored.headers.get_all(name).iter().map(move |value| FieldTold::new(name, value.as_bytes()))
        });
        StoredTold {
            selected: false,
            status: stored.status.as_u16(),
            length: stored.length,
            whole: tier != Tier::None,
            coded: coded(stored),
            tier: tier.as_str().to_owned(),
            selecting: stored.selecting.pairs().map(selecting_field).collect(),
            fields: fields.collect(),
            age: freshness.age(now),
            lifetime: freshness.lifetime,
            ttl,
            freshness: word.to_owned(),
            stale_while_revalidate: if freshness.forbid_stale { 0 } else { freshness.stale_while_revalidate },
            stale_if_error: if freshness.forbid_stale { 0 } else { freshness.stale_if_error },
            validator: validator(&stored.etag, header::ETAG)
                .or_else(|| validator(&stored.last_modified, header::LAST_MODIFIED)),
            born: number(stored.born),
            outdated: standing == Standing::Outdated,
            outdated_by: if standing.is_covered() { self.outdated_by(visit, stored) } else { Vec::new() },
        }
    }

    /// As a request would find it, without the memo of its last check.
    fn standing_now(&self, visit: &Visit, stored: &StoredResponse) -> Standing {
        if self.0.fills.groups().covers(&visit.route.key, stored) {
            return Standing::Outdated;
        }
        self.recorded(visit, stored)
    }

    /// What outdates a response, or makes it stale: which kinds of record, or one of its groups.
    fn outdated_by(&self, visit: &Visit, stored: &StoredResponse) -> Vec<String> {
        let born = stored.born;
        let (ledger, marks) = (&self.0.ledger, &visit.route.site.marks);
        if born.identity != ledger.last().identity {
            return vec!["other-ledger".to_owned()];
        }
        let records = ledger.covering(marks, &visit.subject(stored), born);
        let mut told: Vec<_> = records
            .into_iter()
            .map(|(kind, number, soft)| {
                let soft = if soft { " soft" } else { "" };
                format!("{} {number}{soft}", word(kind))
            })
            .collect();
        if self.0.fills.groups().covers(&visit.route.key, stored) {
            told.push("group".to_owned());
        }
        if told.is_empty() {
            told.push("above-last".to_owned());
        }
        told
    }
}

/// The kind of a record, in one word.
const fn word(kind: Covering) -> &'static str {
    match kind {
        Covering::Url => "url",
        Covering::ExactUrl => "url-exact",
        Covering::Prefix => "prefix",
        Covering::Tag => "tag",
        Covering::Module => "module",
        Covering::Site => "site",
    }
}

/// The variants that were made.
fn coded(stored: &StoredResponse) -> Vec<CodedTold> {
    let made = Coding::ALL.into_iter().filter_map(|coding| Some((coding, stored.body.made(coding)?)));
    let told = made.map(|(coding, made)| CodedTold {
        coding: coding.as_str().to_owned(),
        effort: made.effort.as_str().to_owned(),
        length: made.length,
    });
    told.collect()
}

fn selecting_field((name, value): (&HeaderName, Option<&[u8]>)) -> FieldTold {
    match value {
        Some(value) => FieldTold::new(name, value),
        None => FieldTold { name: name.to_string(), value: "absent".to_owned() },
    }
}

fn selecting(slot: Option<&Slot>) -> Vec<HeaderName> {
    slot.map_or_else(Vec::new, Slot::selecting_names)
}

fn number(number: Number) -> NumberTold {
    NumberTold { ledger: number.identity.to_string(), number: number.n }
}

fn scheme(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

fn as_given(request: &Request<()>, https: bool) -> String {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("{}://{host}{}", scheme(https), request.uri())
}

fn url(visit: &Visit) -> String {
    let host = visit.route.host.to_str().unwrap_or_default();
    let mut url = format!("{}://{host}{}", scheme(visit.route.https), visit.path());
    if let Some(query) = visit.query() {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// A rule hides the path: it stands nowhere in what is told.
fn hide_path(told: &mut Explanation) {
    let hidden = |text: &str| format!("(hidden, {} bytes)", text.len());
    let after_host = told.url.find("://").and_then(|at| Some(at + 3 + told.url[at + 3..].find('/')?));
    if let Some(at) = after_host {
        let path = hidden(&told.url[at..]);
        told.url.replace_range(at.., &format!("/{path}"));
    }
    if let Some(key) = &mut told.key {
        key.path = hidden(&key.path);
        key.query = key.query.as_deref().map(hidden);
    }
    if let Some(origin) = &mut told.origin {
        origin.target = hidden(&origin.target);
        for field in origin.fields.iter_mut().filter(|field| field.name == header::REFERER.as_str()) {
            field.value = format!("(sent, {} bytes)", field.value.len());
        }
    }
}
