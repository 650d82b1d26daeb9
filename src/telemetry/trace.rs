//! Trace context: `traceparent` is passed on, made if absent, replaced if malformed (W3C Trace Context §3).
//!
//! The edge reports no spans, so it takes no place in the trace: a valid context goes to the origin as it came, with the
//! client's parent id. One that is made here says "not sampled", which is true of us; the origin may decide anew.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::Cell;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;
/// Where the trace id stands.
const ID: std::ops::Range<usize> = 3..35;

/// The trace context of one request. Held without an allocation: on a hit only its id is needed, by the log line.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Always ASCII: a `traceparent` of version 00.
    text: [u8; LENGTH],
    passed: bool,
}

impl Trace {
    /// The client's trace context, or a new one where it sent none, two, or a malformed one.
    pub fn from(headers: &HeaderMap) -> Trace {
        let mut sent = headers.get_all(TRACEPARENT).iter();
        match (sent.next(), sent.next()) {
            (Some(value), None) => parsed(value.as_bytes())
                .map_or_else(|| Trace::made(random), |text| Trace { text, passed: true }),
            _ => Trace::made(random),
        }
    }

    /// A new trace from random bits.
    fn made(mut random: impl FnMut() -> u64) -> Trace {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // An id of only zeroes is invalid (§3.2.2.3, §3.2.2.4); one bit set keeps 191 random ones.
        hex(&mut text[3..19], random() | 1);
        hex(&mut text[19..35], random());
        hex(&mut text[36..52], random() | 1);
        Trace { text, passed: false }
    }

    /// The trace id, 32 hex digits.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.text[ID]).unwrap_or_default()
    }

    /// The value of `traceparent` for the origin.
    pub fn header(&self) -> HeaderValue {
        // ASCII by construction, so the second value is never taken.
        HeaderValue::from_bytes(&self.text).unwrap_or(HeaderValue::from_static(""))
    }

    /// Puts the context into the fields of a request to the origin. `tracestate` belongs to the `traceparent` it came with,
    /// and goes where that was replaced (§3.3).
    pub fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.header());
        if !self.passed {
            headers.remove(TRACESTATE);
        }
    }
}

/// A valid `traceparent` as version 00. Of a later version the known front part is taken (§3.2.4, "Versioning").
fn parsed(value: &[u8]) -> Option<[u8; LENGTH]> {
    let (front, rest) = value.split_at_checked(LENGTH)?;
    let mut text: [u8; LENGTH] = front.try_into().ok()?;
    let digits =
        |range: std::ops::Range<usize>| text[range].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zeroes = |range: std::ops::Range<usize>| text[range].iter().all(|b| *b == b'0');
    let shaped = digits(0..2) && digits(ID) && digits(36..52) && digits(53..55);
    let dashed = text[2] == b'-' && text[35] == b'-' && text[52] == b'-';
    if !shaped || !dashed || zeroes(ID) || zeroes(36..52) || text[..2] == *b"ff" {
        return None;
    }
    if text[..2] == *b"00" {
        return rest.is_empty().then_some(text);
    }
    if !rest.is_empty() && rest[0] != b'-' {
        return None;
    }
    // Of the flags only "sampled" is known to mean the same there.
    let sampled = matches!(text[54], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f');
    text[..2].copy_from_slice(b"00");
    text[53..].copy_from_slice(if sampled { b"01" } else { b"00" });
    Some(text)
}

fn hex(out: &mut [u8], bits: u64) {
    for (i, digit) in out.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(bits >> (4 * i)) as usize & 15];
    }
}

/// 64 random bits from this thread's own generator (xoshiro256++), seeded by the system once. Ids need to be unlike each
/// other, not secret.
fn random() -> u64 {
    thread_local!(static STATE: Cell<[u64; 4]> = Cell::new(seed()));
    STATE.with(|state| {
        let [mut a, mut b, mut c, mut d] = state.get();
        let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        d = d.rotate_left(45);
        state.set([a, b, c, d]);
        drawn
    })
}

fn seed() -> [u64; 4] {
    let mut state = [0u64; 4];
    for part in &mut state {
        // A system without random numbers still serves: its ids then come from the clock and the place of this thread.
        *part = getrandom::u64().unwrap_or_else(|_| {
            crate::clock::unix_millis(crate::clock::now()) ^ (std::ptr::from_ref(part).addr() as u64) << 16
        });
    }
    state[0] |= 1; // all zeroes would stay all zeroes
    state
}

#[cfg(test)]
mod tests {
    use super::{TRACEPARENT, TRACESTATE, Trace};
    use http::{HeaderMap, HeaderValue};
    use std::collections::HashSet;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn sent(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        headers
    }

    /// What the origin is sent for what the client sent.
    fn onward(values: &[&str]) -> (String, bool) {
        let mut headers = sent(values);
        let trace = Trace::from(&headers);
        trace.apply(&mut headers);
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        let text = headers[TRACEPARENT].to_str().unwrap().to_owned();
        assert_eq!(text[3..35], *trace.id());
        (text, headers.contains_key(TRACESTATE))
    }

    #[test]
    fn a_valid_context_is_passed_unchanged_with_its_state() {
        for value in [VALID, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff"] {
            assert_eq!(onward(&[value]), (value.to_owned(), true));
        }
    }

    #[test]
    fn of_a_later_version_the_known_part_is_passed() {
        let front = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        for (version, flags, rest, ours) in
            [("01", "01", "", "01"), ("cc", "03", "-what-the-future-holds", "01"), ("fe", "02", "-", "00")]
        {
            let (text, state) = onward(&[&format!("{version}-{front}-{flags}{rest}")]);
            assert_eq!((text, state), (format!("00-{front}-{ours}"), true), "version {version}");
        }
    }

    #[test]
    fn a_malformed_context_is_replaced_and_its_state_dropped() {
        let table = [
            "",
            "00",
            "nonsense",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\u{e9}",
        ];
        for value in table {
            let (text, state) = onward(&[value]);
            assert!(!value.contains(&text[3..35]), "{value} became {text}");
            assert!(!state, "{value} kept its state");
            assert_eq!(onward(&[&text]), (text.clone(), true), "what is made is valid");
        }
    }

    #[test]
    fn two_contexts_are_none() {
        let (text, state) = onward(&[VALID, VALID]);
        assert!(!text.contains("4bf92f3577b34da6a3ce929d0e0e4736") && !state);
    }

    #[test]
    fn ids_made_here_differ_between_requests_and_threads() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..10_000).map(|_| Trace::from(&HeaderMap::new()).id().to_owned()).collect::<Vec<_>>()
                })
            })
            .collect();
        let ids: HashSet<String> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert_eq!(ids.len(), 40_000);
    }

    #[test]
    fn an_id_is_never_all_zeroes() {
        let made = Trace::made(|| 0);
        assert_eq!(onward(&[made.header().to_str().unwrap()]).0, made.header().to_str().unwrap());
    }
}
