//! Stored responses as bytes and back (`docs/disk-format.md`).
//!
//! Whatever the bytes, reading them ends in a slot or in [`DiskError::Damaged`]: each value ends in a check over all of
//! it, and no number in it is believed further than bytes are there.

use crate::{
    cache::{Body, ChunkId, DiskError, Key, Selecting, Slot, StoredParts, StoredResponse},
    http_caching::{Freshness, LISTS, SelectingValue, Tags},
    ledger::{Identity, Number},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Form of a slot's value.
const FORMAT: u8 = 2;
/// The form before, which has tags among the fields.
const TAGS_IN_FIELDS: u8 = 1;
/// First bytes of a BLAKE3 over the rest of a value.
const CHECK: usize = 8;
/// Bodies of at most so many chunks have their names in the slot's value.
const INLINE: usize = 8;
/// Names in a page.
pub(super) const PAGE: usize = 256;
const NAME: usize = 32;

const VALIDATE_ALWAYS: u8 = 1;
const FORBID_STALE: u8 = 2;
const ETAG: u8 = 4;
const LAST_MODIFIED: u8 = 8;
const MODULE: u8 = 16;

const TORN: DiskError = DiskError::Damaged("a value ends too early");
const WRONG: DiskError = DiskError::Damaged("a value says what it cannot say");

/// A body as it stands in a slot's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRecord {
    /// What tells it from every other.
    pub identity: u128,
    /// Bytes of the whole.
    pub length: u64,
}

impl BodyRecord {
    /// The pages that hold its names; none if they stand in the slot's value.
    pub(super) fn pages(&self) -> u32 {
        let names = Body::count(self.length);
        if names <= INLINE { 0 } else { u32::try_from(names.div_ceil(PAGE)).unwrap_or(u32::MAX) }
    }
}

/// What is needed of a slot's value to replace or remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) order: u64,
    pub(super) bodies: Vec<BodyRecord>,
}

/// The value of a slot. `order` is its number in the order of writing.
pub fn encode_slot(key: &Key, order: u64, slot: &Slot) -> Vec<u8> {
    let responses = slot.responses();
    let mut out = Vec::with_capacity(256 + key.as_bytes().len() + 768 * responses.len());
    out.push(FORMAT);
    out.extend_from_slice(&order.to_le_bytes());
    // A slot holds 64 at most.
    out.push(responses.len() as u8);
    for stored in responses {
        out.extend_from_slice(&stored.body.identity().to_le_bytes());
        out.extend_from_slice(&stored.length.to_le_bytes());
    }
    put_long(&mut out, key.as_bytes());
    for stored in responses {
        put_response(&mut out, stored);
    }
    seal(out)
}

/// The same value under another number of the order.
pub(super) fn renumber(value: &[u8], order: u64) -> Result<Vec<u8>, DiskError> {
    let mut value = unseal(value)?.to_vec();
    value.get_mut(1..9).ok_or(TORN)?.copy_from_slice(&order.to_le_bytes());
    Ok(seal(value))
}

/// What a slot's value begins with.
pub(super) fn outline(value: &[u8]) -> Result<Outline, DiskError> {
    let mut rest = Bytes(unseal(value)?);
    Ok(read_outline(&mut rest)?.1)
}

/// The cache key in a slot's value.
pub(super) fn key(value: &[u8]) -> Result<Key, DiskError> {
    let mut rest = Bytes(unseal(value)?);
    read_outline(&mut rest)?;
    Ok(Key::from(rest.long()?.to_vec()))
}

/// Reads a slot's value. `body` gives each body in turn: its record, and its names as far as they stand in the value.
pub fn decode_slot(
    value: &[u8],
    mut body: impl FnMut(BodyRecord, Vec<Option<ChunkId>>) -> Result<Arc<Body>, DiskError>,
) -> Result<(Key, Slot), DiskError> {
    let mut rest = Bytes(unseal(value)?);
    let (form, outline) = read_outline(&mut rest)?;
    let key = Key::from(rest.long()?.to_vec());
    let mut responses = Vec::with_capacity(outline.bodies.len());
    for record in outline.bodies {
        let parts = read_response(&mut rest, form, record, &mut body)?;
        responses.push(Arc::new(StoredResponse::new(parts)));
    }
    if rest.0.is_empty() { Ok((key, Slot::of(responses))) } else { Err(WRONG) }
}

/// A page of the names of a body; zeros stand for a name that is not known.
pub(super) fn encode_page(identity: u128, page: u32, names: &[Option<ChunkId>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(names.len() * NAME + CHECK);
    put_names(&mut out, names);
    let check = page_check(identity, page, &out);
    out.extend_from_slice(&check);
    out
}

/// Reads a page.
pub(super) fn decode_page(
    identity: u128,
    page: u32,
    value: &[u8],
) -> Result<Vec<Option<ChunkId>>, DiskError> {
    let (names, check) = value.split_last_chunk::<CHECK>().ok_or(TORN)?;
    let (whole, torn) = names.as_chunks::<NAME>();
    if *check != page_check(identity, page, names) || whole.len() > PAGE || !torn.is_empty() {
        return Err(DiskError::Damaged("a page of names is not what was written"));
    }
    Ok(whole.iter().map(name).collect())
}

/// `value` with a check behind it.
pub fn seal(mut value: Vec<u8>) -> Vec<u8> {
    let check = blake3::hash(&value);
    value.extend_from_slice(&check.as_bytes()[..CHECK]);
    value
}

fn unseal(value: &[u8]) -> Result<&[u8], DiskError> {
    let (value, check) = value.split_last_chunk::<CHECK>().ok_or(TORN)?;
    if blake3::hash(value).as_bytes()[..CHECK] == *check {
        Ok(value)
    } else {
        Err(DiskError::Damaged("a value is not what was written"))
    }
}

fn page_check(identity: u128, page: u32, names: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&identity.to_be_bytes()).update(&page.to_be_bytes()).update(names);
    let mut check = [0; CHECK];
    hasher.finalize_xof().fill(&mut check);
    check
}

fn put_response(out: &mut Vec<u8>, stored: &StoredResponse) {
    let freshness = &stored.freshness;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.extend_from_slice(&stored.status.as_u16().to_le_bytes());
    out.push(
        flag(freshness.validate_always, VALIDATE_ALWAYS)
            | flag(freshness.forbid_stale, FORBID_STALE)
            | flag(stored.etag.is_some(), ETAG)
            | flag(stored.last_modified.is_some(), LAST_MODIFIED)
            | flag(stored.tags.module().is_some(), MODULE),
    );
    out.extend_from_slice(&nanos(freshness.received).to_le_bytes());
    let Freshness { lifetime, initial_age, stale_while_revalidate, stale_if_error, .. } = *freshness;
    for seconds in [lifetime, initial_age, stale_while_revalidate, stale_if_error] {
        out.extend_from_slice(&seconds.to_le_bytes());
    }
    out.extend_from_slice(&stored.born.identity.0);
    out.extend_from_slice(&stored.born.n.to_le_bytes());
    for validator in stored.etag.iter().chain(&stored.last_modified) {
        put_long(out, validator.as_bytes());
    }
    put_tags(out, &stored.tags);
    put_count(out, stored.selecting.names().len());
    for (name, value) in stored.selecting.pairs() {
        put_short(out, name.as_str().as_bytes());
        out.push(u8::from(value.is_some()));
        put_long(out, value.unwrap_or_default());
    }
    put_count(out, stored.headers.len());
    for (name, value) in &stored.headers {
        put_short(out, name.as_str().as_bytes());
        put_long(out, value.as_bytes());
    }
    let count = Body::count(stored.length);
    if count <= INLINE {
        stored.body.with_names(|known| {
            let known = &known[..known.len().min(count)];
            put_names(out, known);
            out.resize(out.len() + (count - known.len()) * NAME, 0);
        });
    }
}

fn put_tags(out: &mut Vec<u8>, tags: &Tags) {
    for names in (0..LISTS).map(|list| tags.list(list)) {
        put_count(out, names.len());
        names.iter().for_each(|name| put_long(out, name.as_bytes()));
    }
    if let Some(module) = tags.module() {
        put_long(out, module.as_bytes());
    }
}

fn put_names(out: &mut Vec<u8>, names: &[Option<ChunkId>]) {
    for name in names {
        out.extend_from_slice(name.as_ref().map_or(&[0; NAME], |name| name.as_bytes()));
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // `HeaderMap` holds at most 2^15, and a head is too short for more tags.
    out.extend_from_slice(&(count as u16).to_le_bytes());
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    // The longest name of a field has 2^16 - 1 bytes.
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    // A head is bounded far below 4 GiB.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The form of a slot's value, and what it begins with.
fn read_outline(rest: &mut Bytes<'_>) -> Result<(u8, Outline), DiskError> {
    let form = rest.byte()?;
    if ![FORMAT, TAGS_IN_FIELDS].contains(&form) {
        return Err(DiskError::Damaged(
            "or of a newer version: a value has a form that this one does not know",
        ));
    }
    let order = u64::from_le_bytes(rest.array()?);
    let count = rest.byte()?;
    let body = |_| -> Result<BodyRecord, DiskError> {
        Ok(BodyRecord {
            identity: u128::from_le_bytes(rest.array()?),
            length: u64::from_le_bytes(rest.array()?),
        })
    };
    Ok((form, Outline { order, bodies: (0..count).map(body).collect::<Result<_, _>>()? }))
}

fn read_response(
    rest: &mut Bytes<'_>,
    form: u8,
    record: BodyRecord,
    body: &mut impl FnMut(BodyRecord, Vec<Option<ChunkId>>) -> Result<Arc<Body>, DiskError>,
) -> Result<StoredParts, DiskError> {
    let status = StatusCode::from_u16(u16::from_le_bytes(rest.array()?)).map_err(|_| WRONG)?;
    let flags = rest.byte()?;
    let received = time(i64::from_le_bytes(rest.array()?)).ok_or(WRONG)?;
    let mut seconds = [0; 4];
    for seconds in &mut seconds {
        *seconds = u64::from_le_bytes(rest.array()?);
    }
    let [lifetime, initial_age, stale_while_revalidate, stale_if_error] = seconds;
    let born = Number { identity: Identity(rest.array()?), n: u64::from_le_bytes(rest.array()?) };
    let mut validator = |flag| (flags & flag != 0).then(|| field_value(rest.long()?)).transpose();
    let (etag, last_modified) = (validator(ETAG)?, validator(LAST_MODIFIED)?);
    let tags = if form == FORMAT { read_tags(rest, flags & MODULE != 0)? } else { Tags::default() };
    let selecting = read_selecting(rest)?;
    let mut headers = read_headers(rest)?;
    let tags = if form == FORMAT { tags } else { Tags::taken(&mut headers, None) };
    let count = Body::count(record.length);
    let names = if count <= INLINE { rest.take(count * NAME)? } else { &[] };
    let names = names.as_chunks::<NAME>().0.iter().map(name).collect();
    Ok(StoredParts {
        status,
        headers,
        selecting,
        etag,
        last_modified,
        length: record.length,
        body: body(record, names)?,
        freshness: Freshness {
            lifetime,
            initial_age,
            received,
            validate_always: flags & VALIDATE_ALWAYS != 0,
            forbid_stale: flags & FORBID_STALE != 0,
            stale_while_revalidate,
            stale_if_error,
        },
        born,
        tags,
    })
}

fn read_tags(rest: &mut Bytes<'_>, has_module: bool) -> Result<Tags, DiskError> {
    let text = |rest: &mut Bytes<'_>| -> Result<Box<str>, DiskError> {
        std::str::from_utf8(rest.long()?).map(Box::from).map_err(|_| WRONG)
    };
    let mut lists: [Vec<Box<str>>; LISTS] = Default::default();
    for names in &mut lists {
        let count = u16::from_le_bytes(rest.array()?);
        *names = (0..count).map(|_| text(rest)).collect::<Result<_, _>>()?;
    }
    Ok(Tags::new(lists, has_module.then(|| text(rest)).transpose()?))
}

fn read_selecting(rest: &mut Bytes<'_>) -> Result<Selecting, DiskError> {
    let mut pairs = Vec::new();
    for _ in 0..u16::from_le_bytes(rest.array()?) {
        let name = field_name(rest.short()?)?;
        let present = rest.byte()? != 0;
        let value = rest.long()?;
        pairs.push((name, SelectingValue::written(present.then_some(value))));
    }
    Ok(Selecting::written(pairs.into_iter()))
}

fn read_headers(rest: &mut Bytes<'_>) -> Result<HeaderMap, DiskError> {
    let mut headers = HeaderMap::new();
    for _ in 0..u16::from_le_bytes(rest.array()?) {
        let name = field_name(rest.short()?)?;
        headers.try_append(name, field_value(rest.long()?)?).map_err(|_| WRONG)?;
    }
    Ok(headers)
}

fn field_name(bytes: &[u8]) -> Result<HeaderName, DiskError> {
    HeaderName::from_bytes(bytes).map_err(|_| WRONG)
}

fn field_value(bytes: &[u8]) -> Result<HeaderValue, DiskError> {
    HeaderValue::from_bytes(bytes).map_err(|_| WRONG)
}

fn name(bytes: &[u8; NAME]) -> Option<ChunkId> {
    (*bytes != [0; NAME]).then(|| ChunkId::from_bytes(*bytes))
}

/// Nanoseconds since 1970; what lies more than 292 years from it is taken to lie just that far.
fn nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

fn time(nanos: i64) -> Option<SystemTime> {
    let span = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DiskError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TORN)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DiskError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TORN)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, DiskError> {
        self.array().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<&'a [u8], DiskError> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(length.into())
    }

    fn long(&mut self) -> Result<&'a [u8], DiskError> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(length as usize)
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
pub(super) mod tests;
