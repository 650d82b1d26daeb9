//! The coded variants of a stored response: its content in other codings.
//!
//! They hang on its *body*. Freshening keeps the body, so they stay; whatever is stored in its place has another body, so
//! nothing of the old one can be reached any more, whatever a coder was doing meanwhile. Nothing has to be removed.
//!
//! A variant's head is its source's present one, but for coding, length and tag ([`recoded`]), made when it is first wanted.

use crate::{
    cache::{Body, StoredParts, StoredResponse},
    http_caching::{
        Coding, Recodable,
        coding::{self, recoded},
    },
};
use arc_swap::ArcSwapOption;
use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU32, Ordering},
};

/// So often must a response have been asked for that the highest level of a coding is worth its time.
const OFTEN: u32 = 16;

/// How much time a coder takes for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// A level that is fast.
    Fast,
    /// The highest level: for what is asked for often.
    Best,
}

impl Effort {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Effort::Fast => "fast",
            Effort::Best => "best",
        }
    }
}

/// A body in another coding.
#[derive(Debug)]
pub struct Made {
    /// Its bytes.
    pub body: Arc<Body>,
    /// How many.
    pub length: u64,
    /// How it was made.
    pub effort: Effort,
}

impl Made {
    /// A whole body of this length.
    pub fn new(body: Arc<Body>, length: u64, effort: Effort) -> Made {
        Made { body, length, effort }
    }

    /// What tells its bytes from those of another level or version of a coder.
    fn mark(&self) -> [u8; 4] {
        let mut hasher = blake3::Hasher::new();
        for name in self.body.whole().unwrap_or_default() {
            hasher.update(name.as_bytes());
        }
        let mut mark = [0; 4];
        hasher.finalize_xof().fill(&mut mark);
        mark
    }
}

/// The variants of one body, by [`Coding`].
#[derive(Debug, Default)]
pub(super) struct Variants {
    made: [ArcSwapOption<Made>; 4],
    /// How often it was asked for while a better variant was wanted.
    asked: AtomicU32,
    /// A bit for each coding and effort that a coder was told of.
    told: AtomicU8,
}

const fn place(coding: Coding) -> usize {
    coding as usize
}

const fn bit(coding: Coding, effort: Effort) -> u8 {
    let fast = 1 << place(coding);
    match effort {
        Effort::Fast => fast,
        Effort::Best => fast << 4,
    }
}

impl Body {
    /// Whether it was made in any coding; no is certain.
    pub fn has_variants(&self) -> bool {
        self.variants.get().is_some()
    }

    /// This body in a coding, if that was made.
    pub fn made(&self, coding: Coding) -> Option<Arc<Made>> {
        self.variants.get()?.made[place(coding)].load_full()
    }

    /// Somebody asked for it who takes this coding: tells what is to be made, once.
    pub fn wants(&self, coding: Coding) -> Option<Effort> {
        let variants = self.variants.get_or_init(Box::default);
        let told = variants.told.load(Ordering::Relaxed);
        if told & bit(coding, Effort::Best) != 0 {
            return None;
        }
        let asked = variants.asked.fetch_add(1, Ordering::Relaxed) + 1;
        // One level is all that decoding has.
        let best = asked >= OFTEN || coding == Coding::Identity;
        let effort = if best { Effort::Best } else { Effort::Fast };
        let bit = bit(coding, effort);
        (variants.told.fetch_or(bit, Ordering::Relaxed) & bit == 0).then_some(effort)
    }

    /// It was made. What is better already stays.
    pub fn is_made(&self, coding: Coding, made: Made) {
        let variants = self.variants.get_or_init(Box::default);
        let effort = made.effort;
        variants.told.fetch_or(bit(coding, effort), Ordering::Relaxed);
        let made = Arc::new(made);
        variants.made[place(coding)].rcu(|there| match there {
            Some(there) if there.effort == Effort::Best && effort == Effort::Fast => Some(there.clone()),
            _ => Some(made.clone()),
        });
    }

    /// It will not be made, at no effort: what comes of it is of no use.
    pub fn is_not_worth(&self, coding: Coding) {
        let variants = self.variants.get_or_init(Box::default);
        variants.told.fetch_or(bit(coding, Effort::Fast) | bit(coding, Effort::Best), Ordering::Relaxed);
    }

    /// No coder could be told: whoever asks next tells it.
    pub fn is_untold(&self, coding: Coding, effort: Effort) {
        if let Some(variants) = self.variants.get() {
            variants.told.fetch_and(!bit(coding, effort), Ordering::Relaxed);
        }
    }

    /// It is not there any more: whoever asks next has it made again.
    pub fn is_lost(&self, coding: Coding) {
        if let Some(variants) = self.variants.get() {
            variants.made[place(coding)].store(None);
            self.is_untold(coding, Effort::Fast);
            self.is_untold(coding, Effort::Best);
        }
    }
}

/// The heads of the variants of one stored response, made when they are wanted.
#[derive(Debug)]
pub(super) struct Heads {
    recodable: Recodable,
    heads: [ArcSwapOption<StoredResponse>; 4],
}

impl Heads {
    /// Of a response with this head; none if it can have no variant.
    pub(super) fn of(parts: &StoredParts) -> Option<Box<Heads>> {
        let recodable = coding::recodable(parts.status, &parts.headers)?;
        Some(Box::new(Heads { recodable, heads: Default::default() }))
    }
}

impl StoredResponse {
    /// Whether it may be given another coding.
    pub fn recodable(&self) -> Option<Recodable> {
        self.heads.as_ref().map(|heads| heads.recodable)
    }

    /// Its variant in a coding, if that was made.
    pub fn coded(&self, coding: Coding) -> Option<Arc<StoredResponse>> {
        let heads = self.heads.as_ref()?;
        let made = self.body.made(coding)?;
        let head = &heads.heads[place(coding)];
        if let Some(variant) = head.load_full().filter(|variant| Arc::ptr_eq(&variant.body, &made.body)) {
            return Some(variant);
        }
        let variant = Arc::new(self.variant(coding, &made));
        head.store(Some(variant.clone()));
        Some(variant)
    }

    /// It has no validator that the origin could be asked by: nobody but a coder has its bytes.
    fn variant(&self, coding: Coding, made: &Made) -> StoredResponse {
        let bytes = coding::Bytes::There { length: made.length, mark: made.mark() };
        StoredResponse::without_variants(StoredParts {
            status: self.status,
            headers: recoded(&self.headers, coding, bytes),
            selecting: self.selecting.clone(),
            etag: None,
            last_modified: None,
            length: made.length,
            body: made.body.clone(),
            tags: self.tags.clone(),
            freshness: self.freshness,
            born: self.born,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Effort, Made, OFTEN};
    use crate::{
        cache::{Body, ChunkId, Selecting, StoredParts, StoredResponse},
        http_caching::{Coding, Directives, Freshness, Lifetime, Source, Tags},
        ledger::{Identity, Number},
    };
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use std::{sync::Arc, time::SystemTime};

    fn made(bytes: &[u8], effort: Effort) -> Made {
        let length = bytes.len() as u64;
        Made::new(Arc::new(Body::of(length, vec![ChunkId::of(bytes)])), length, effort)
    }

    fn stored(tag: &'static str, body: &Arc<Body>) -> StoredResponse {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css"));
        headers.insert(header::ETAG, HeaderValue::from_static(tag));
        let lifetime = Lifetime { secs: 60, source: Source::Explicit };
        StoredResponse::new(StoredParts {
            status: StatusCode::OK,
            headers,
            selecting: Selecting::default(),
            etag: Some(HeaderValue::from_static(tag)),
            last_modified: None,
            length: 1000,
            body: body.clone(),
            freshness: Freshness::new(lifetime, &Directives::default(), 0, SystemTime::UNIX_EPOCH),
            born: Number { identity: Identity([0; 16]), n: 1 },
            tags: Tags::default(),
        })
    }

    #[test]
    fn a_coder_is_told_once_and_once_more_of_what_is_asked_for_often() {
        let body = Body::new(Some(1000));
        let told: Vec<_> = (0..2 * OFTEN).filter_map(|_| body.wants(Coding::Brotli)).collect();
        assert_eq!(told, [Effort::Fast, Effort::Best]);
        assert_eq!(body.wants(Coding::Gzip), Some(Effort::Best), "it is asked for often, in whatever coding");
        body.is_untold(Coding::Brotli, Effort::Best);
        assert_eq!(body.wants(Coding::Brotli), Some(Effort::Best), "nobody was told");
        body.is_made(Coding::Brotli, made(b"best", Effort::Best));
        assert_eq!(body.wants(Coding::Brotli), None);
        body.is_lost(Coding::Brotli);
        assert!(body.made(Coding::Brotli).is_none());
        assert_eq!(body.wants(Coding::Brotli), Some(Effort::Best), "it was lost");
        body.is_not_worth(Coding::Zstd);
        assert_eq!(body.wants(Coding::Zstd), None);
        assert_eq!(Body::new(Some(1)).wants(Coding::Identity), Some(Effort::Best), "decoding has one level");
    }

    #[test]
    fn a_head_that_may_have_variants_weighs_no_more_for_it() {
        // What memory, and the disk's pending changes, have room for.
        assert!(stored("\"a\"", &Arc::new(Body::new(Some(1000)))).weight() < 1024);
    }

    #[test]
    fn what_is_better_stays() {
        let body = Body::new(Some(1000));
        let effort = || body.made(Coding::Brotli).map(|made| made.effort);
        assert_eq!(effort(), None);
        body.is_made(Coding::Brotli, made(b"fast", Effort::Fast));
        assert_eq!(effort(), Some(Effort::Fast));
        body.is_made(Coding::Brotli, made(b"best", Effort::Best));
        body.is_made(Coding::Brotli, made(b"fast", Effort::Fast));
        assert_eq!(effort(), Some(Effort::Best));
        assert!(body.made(Coding::Gzip).is_none());
    }

    #[test]
    fn a_variant_has_the_head_of_its_source_and_follows_its_freshening() {
        let body = Arc::new(Body::new(Some(1000)));
        let source = stored("\"a\"", &body);
        assert!(source.coded(Coding::Brotli).is_none());
        body.is_made(Coding::Brotli, made(b"fast", Effort::Fast));
        let fast = source.coded(Coding::Brotli).unwrap();
        assert_eq!(
            (fast.length, &fast.headers[header::CONTENT_ENCODING]),
            (4, &HeaderValue::from_static("br"))
        );
        assert_eq!((fast.born, fast.freshness), (source.born, source.freshness));
        assert!(fast.content_tag().is_none(), "the origin has none of its bytes");
        assert!(fast.recodable().is_none(), "nothing is coded twice");
        assert!(Arc::ptr_eq(&fast, &source.coded(Coding::Brotli).unwrap()), "its head is made once");
        body.is_made(Coding::Brotli, made(b"better", Effort::Best));
        let best = source.coded(Coding::Brotli).unwrap();
        assert_ne!(best.headers[header::ETAG], fast.headers[header::ETAG], "other bytes, another strong tag");
        let freshened = stored("\"a\"", &body);
        assert!(Arc::ptr_eq(&freshened.coded(Coding::Brotli).unwrap().body, &best.body));
        let another = stored("\"a\"", &Arc::new(Body::new(Some(1000))));
        assert!(another.coded(Coding::Brotli).is_none(), "the same content brought again has another body");
    }
}
