//! A mount that is ready: with the origin it names.

use crate::{origin::Origin, rules::Mount};
use http::{HeaderMap, HeaderValue, header};
use std::{ops::Deref, sync::Arc};

/// What the storage need not know of the LMS's clients. What it learned it could use.
const WITHHELD: [http::HeaderName; 3] = [header::COOKIE, header::AUTHORIZATION, header::REFERER];

/// A storage under the paths of a rule.
#[derive(Debug)]
pub struct Mounted {
    /// Where its paths lie.
    pub mount: Mount,
    /// Its `Host`.
    pub host: HeaderValue,
    /// Where it is fetched from.
    pub origin: Arc<Origin>,
}

impl Deref for Mounted {
    type Target = Mount;

    fn deref(&self) -> &Mount {
        &self.mount
    }
}

impl Mounted {
    /// A mount of this origin; `None` if its host cannot be sent.
    pub fn new(mount: &Mount, origin: Arc<Origin>) -> Option<Arc<Mounted>> {
        let host = HeaderValue::from_str(&mount.host).ok()?;
        Some(Arc::new(Mounted { mount: mount.clone(), host, origin }))
    }

    /// Takes out of a request what is the LMS's only.
    pub fn withhold(headers: &mut HeaderMap) {
        for name in &WITHHELD {
            headers.remove(name);
        }
    }

    /// Turns the fields of an answer back that speak of the storage's own URLs.
    pub fn turn_back(&self, headers: &mut HeaderMap) {
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            if let Some(back) = headers.get(&name).and_then(|reference| self.back(reference)) {
                headers.insert(name, back);
            }
        }
    }
}
