//! HTTP/2 frame by frame (RFC 9113, RFC 7541): what h2, below hyper, makes of each kind of broken frame, stream state, window and
//! header block. A connection that is at fault ends with a GOAWAY, a stream that is at fault ends alone, and others are served.
//!
//! Where the standard has a finer code h2 often says PROTOCOL_ERROR, and it ends some connections where a stream's end would do
//! (RFC 9113 §5.4.2 lets it). What it does is what stands here, so that a change of it is seen.

use crate::support::{answer::Answer, client::Client, edge::Edge, gate::Gate, origin::Origin};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;

/// The marker that ends what is looked at: its acknowledgement comes after all that was said of what was sent before it.
const MARK: &[u8; 8] = b"the mark";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing (RFC 7541 §6.2.2).
fn literal(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// `:method: GET`, `:scheme: http` from the static table, and where to.
fn get(more: &[(&str, &str)]) -> Vec<u8> {
    [&[0x82, 0x86][..], &literal(&[(":authority", "lms-a.example"), (":path", "/a")]), &literal(more)]
        .concat()
}

/// A POST whose body is still to come.
fn post(more: &[(&str, &str)]) -> Vec<u8> {
    [&[0x83, 0x86][..], &literal(&[(":authority", "lms-a.example"), (":path", "/held")]), &literal(more)]
        .concat()
}

/// A request on this stream.
fn asks(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(&[]))
}

/// A request on this stream whose body is still to come.
fn begins(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &post(&[]))
}

fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// What became of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// It goes on, and no stream was reset.
    Fine,
    /// It goes on; these streams were reset, with this code.
    Reset(u32, u32),
    /// It was ended with this code.
    Ended(u32),
}
use Became::{Ended, Fine, Reset};

/// Frames as they come.
struct Heard {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

async fn hear(client: &mut Client) -> Option<Heard> {
    let head = client.raw(9).await;
    let [a, b, c, kind, flags, s1, s2, s3, s4] = head[..] else { return None };
    let payload = client.raw(u32::from_be_bytes([0, a, b, c]) as usize).await;
    Some(Heard { kind, flags, stream: u32::from_be_bytes([s1, s2, s3, s4]), payload })
}

fn code(payload: &[u8], at: usize) -> u32 {
    payload[at..at + 4].try_into().map_or(0, u32::from_be_bytes)
}

/// Opens a connection, sends this and the mark, and listens until both that and a request after it are answered, or the connection
/// ends. With `stream` until that one has ended too.
async fn plays(edge: &Edge, bytes: &[u8], stream: Option<u32>) -> (Became, Vec<Heard>) {
    const LAST: u32 = 9_999;
    let mut client = edge.client().await;
    let sent = [PREFACE, &frame(SETTINGS, 0, 0, &[]), bytes, &frame(PING, 0, 0, MARK)].concat();
    // The peer may have ended it in the middle.
    _ = client.try_send(&sent).await;
    let (mut became, mut all, mut open) = (Fine, Vec::new(), vec![LAST]);
    open.extend(stream);
    while !open.is_empty() {
        let Some(heard) = hear(&mut client).await else { panic!("it ended without a GOAWAY") };
        match heard.kind {
            GOAWAY => return (Ended(code(&heard.payload, 4)), all),
            RST_STREAM => became = Reset(heard.stream, code(&heard.payload, 0)),
            PING if heard.flags & ACK != 0 && heard.payload == MARK => _ = client.try_send(&asks(LAST)).await,
            _ => {}
        }
        let ends = matches!(heard.kind, DATA | HEADERS) && heard.flags & END_STREAM != 0;
        if ends || heard.kind == RST_STREAM {
            open.retain(|stream| *stream != heard.stream);
        }
        all.push(heard);
    }
    (became, all)
}

async fn stage() -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.on("/a", Answer::storable("a"));
    origin.on("/held", Answer::new(204, ""));
    let edge = Edge::before(&origin, "").await;
    edge.get("/a").await.expect_body(200, "a");
    (origin, edge)
}

/// Plays each row, and asks after it on a connection of its own whether others are served.
async fn holds(rows: &[(&str, Vec<u8>, Became)]) {
    let (_origin, edge) = stage().await;
    let good = edge.h2().await;
    let mut wrong = Vec::new();
    for (section, bytes, want) in rows {
        let stream = if let Reset(stream, _) = want { Some(*stream) } else { None };
        let (became, _) = plays(&edge, bytes, stream).await;
        if became != *want {
            wrong.push(format!("{section}: {became:?}, not {want:?}"));
        }
        good.get("/a").await.expect_body(200, "a");
    }
    assert_eq!(wrong, Vec::<String>::new());
    edge.outcomes("hit", edge.outcome("hit").await).await;
}

#[tokio::test]
async fn a_frame_has_the_size_and_the_stream_that_its_kind_has() {
    let long = vec![0; 16_385];
    holds(&[
        ("§4.1 an unknown kind is ignored", frame(0xfa, 0xff, 0, b"x"), Fine),
        ("§4.1 unknown flags are ignored", frame(PING, 0xf0, 0, b"12345678"), Fine),
        ("§4.1 the reserved bit is ignored", frame(PING, 0, 1 << 31, b"12345678"), Fine),
        (
            "§4.2 longer than SETTINGS_MAX_FRAME_SIZE",
            [begins(1), frame(DATA, 0, 1, &long)].concat(),
            Ended(FRAME_SIZE_ERROR),
        ),
        ("§4.2 a header block, too", frame(HEADERS, END_HEADERS, 1, &long), Ended(FRAME_SIZE_ERROR)),
        ("§6.1 DATA on the connection", frame(DATA, 0, 0, b"x"), Ended(PROTOCOL_ERROR)),
        (
            "§6.1 padding longer than the frame",
            [begins(1), frame(DATA, PADDED, 1, &[5, b'x'])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.2 HEADERS on the connection", frame(HEADERS, END_HEADERS, 0, &get(&[])), Ended(PROTOCOL_ERROR)),
        (
            "§6.2 padding longer than the frame",
            frame(HEADERS, PADDED | END_HEADERS, 1, &[200, 0x82]),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.3 PRIORITY on the connection", frame(PRIORITY, 0, 0, &[0; 5]), Ended(PROTOCOL_ERROR)),
        ("§6.3 PRIORITY of another length", frame(PRIORITY, 0, 1, &[0; 4]), Ended(PROTOCOL_ERROR)),
        ("§6.4 RST_STREAM on the connection", frame(RST_STREAM, 0, 0, &[0; 4]), Ended(PROTOCOL_ERROR)),
        (
            "§6.4 RST_STREAM of another length",
            [begins(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Ended(PROTOCOL_ERROR)),
        ("§6.5 SETTINGS of another length", frame(SETTINGS, 0, 0, &[0; 5]), Ended(PROTOCOL_ERROR)),
        (
            "§6.5 an acknowledgement that says something",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.6 PUSH_PROMISE from a client",
            frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            Ended(PROTOCOL_ERROR),
        ),
        ("§6.7 PING on a stream", frame(PING, 0, 1, b"12345678"), Ended(PROTOCOL_ERROR)),
        ("§6.7 PING of another length", frame(PING, 0, 0, b"1234567"), Ended(PROTOCOL_ERROR)),
        ("§6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Ended(PROTOCOL_ERROR)),
        ("§6.9 WINDOW_UPDATE of another length", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Ended(PROTOCOL_ERROR)),
        (
            "§6.10 CONTINUATION on the connection",
            frame(CONTINUATION, END_HEADERS, 0, &[]),
            Ended(PROTOCOL_ERROR),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_setting_has_a_value_that_it_can_have_and_is_acknowledged() {
    holds(&[
        ("§6.5.2 an unknown setting is ignored", setting(0xff, 1), Fine),
        ("§6.5.2 ENABLE_PUSH is 0 or 1", setting(2, 2), Ended(PROTOCOL_ERROR)),
        ("§6.5.2 INITIAL_WINDOW_SIZE up to 2^31-1", setting(4, 1 << 31), Ended(PROTOCOL_ERROR)),
        ("§6.5.2 MAX_FRAME_SIZE from 16384", setting(5, 16_383), Ended(PROTOCOL_ERROR)),
        ("§6.5.2 MAX_FRAME_SIZE up to 2^24-1", setting(5, 1 << 24), Ended(PROTOCOL_ERROR)),
        (
            "§6.5.3 an acknowledgement nobody waits for",
            [frame(SETTINGS, ACK, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
    ])
    .await;
    let (_origin, edge) = stage().await;
    let (_, heard) = plays(&edge, &[setting(4, 100), frame(PING, 0, 0, b"12345678")].concat(), None).await;
    let acknowledged = heard.iter().filter(|h| h.kind == SETTINGS && h.flags & ACK != 0).count();
    assert!(acknowledged >= 1, "§6.5.3");
    assert!(heard.iter().any(|h| h.kind == PING && h.flags & ACK != 0 && h.payload == b"12345678"), "§6.7");
    let (_, heard) = plays(&edge, &frame(PING, ACK, 0, b"12345678"), None).await;
    assert!(
        !heard.iter().any(|h| h.kind == PING && h.payload != MARK),
        "§6.7 an acknowledgement is not answered"
    );
}

#[tokio::test]
async fn a_stream_is_in_one_state_at_a_time() {
    let reset = |stream| frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    holds(&[
        ("§5.1 idle: DATA", frame(DATA, END_STREAM, 1, b"x"), Ended(PROTOCOL_ERROR)),
        ("§5.1 idle: RST_STREAM", reset(1), Ended(PROTOCOL_ERROR)),
        ("§5.1 idle: WINDOW_UPDATE", update(1, 1), Ended(PROTOCOL_ERROR)),
        ("§5.1 idle: PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]), Fine),
        (
            "§5.1 half-closed: DATA",
            [frame(HEADERS, END_STREAM | END_HEADERS, 1, &post(&[])), frame(DATA, 0, 1, b"x")].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        ("§5.1 reset by the client: WINDOW_UPDATE", [begins(1), reset(1), update(1, 1)].concat(), Fine),
        ("§5.1.1 a client's streams are odd", asks(2), Ended(PROTOCOL_ERROR)),
        (
            "§5.1.1 a stream's number is above those before",
            [asks(5), asks(3)].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§8.1 a second head is the end",
            [begins(1), frame(HEADERS, END_HEADERS, 1, &literal(&[("x", "y")]))].concat(),
            Reset(1, PROTOCOL_ERROR),
        ),
        (
            "§8.1 trailers are dropped unread, whatever they say",
            [begins(1), frame(HEADERS, END_STREAM | END_HEADERS, 1, &literal(&[(":path", "/b")]))].concat(),
            Fine,
        ),
    ])
    .await;
}

#[tokio::test]
async fn no_more_streams_are_open_than_was_said() {
    let (origin, edge) = stage().await;
    let gate = Gate::new();
    origin.on("/held", Answer::new(204, "").behind(&gate));
    let bytes: Vec<u8> = (0..257).flat_map(|n| begins(2 * n + 1)).collect();
    let (became, heard) = plays(&edge, &bytes, Some(513)).await;
    assert!(matches!(became, Reset(_, REFUSED_STREAM)), "§5.1.2 {became:?}");
    let refused = heard.iter().find(|h| h.kind == RST_STREAM).map(|h| h.stream);
    assert_eq!(refused, Some(513), "§5.1.2 and none before");
    let said = heard.iter().find(|h| h.kind == SETTINGS && h.flags & ACK == 0).unwrap();
    assert!(said.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 1, 0]), "256 was said");
}

#[tokio::test]
async fn windows_are_kept_on_both_levels() {
    let wide = (1u32 << 31) - 1;
    holds(&[
        ("§6.9 no increment on the connection", update(0, 0), Ended(PROTOCOL_ERROR)),
        ("§6.9 no increment on a stream", [begins(1), update(1, 0)].concat(), Ended(PROTOCOL_ERROR)),
        ("§6.9.1 more than 2^31-1 on the connection", update(0, wide), Ended(FLOW_CONTROL_ERROR)),
        (
            "§6.9.1 more than 2^31-1 on a stream",
            [begins(1), update(1, wide)].concat(),
            Reset(1, FLOW_CONTROL_ERROR),
        ),
        (
            "§6.9.2 a setting that makes one wider than 2^31-1",
            [begins(1), update(1, wide - 65_535), setting(4, wide)].concat(),
            Ended(FLOW_CONTROL_ERROR),
        ),
    ])
    .await;
    // What is sent fits the window, to the byte, and goes on when that widens.
    let (_origin, edge) = stage().await;
    let mut client = edge.client().await;
    client.send(&[PREFACE, &setting(4, 0), &asks(1)].concat()).await;
    let mut got = Vec::new();
    loop {
        let heard = hear(&mut client).await.unwrap();
        match (heard.kind, got.len()) {
            (HEADERS, _) => {
                assert_eq!(heard.flags & END_STREAM, 0);
                client.send(&[update(1, 1), frame(PING, 0, 0, MARK)].concat()).await;
            }
            (DATA, _) => {
                got.extend(heard.payload);
                if heard.flags & END_STREAM != 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    assert_eq!(got, b"a", "§6.9.2");
}

#[tokio::test]
async fn a_header_block_is_whole_and_can_be_read() {
    let cut = |stream| frame(HEADERS, END_STREAM, stream, &get(&[])[..2]);
    let rest = get(&[]);
    let whole =
        [cut(1), frame(CONTINUATION, 0, 1, &rest[2..4]), frame(CONTINUATION, END_HEADERS, 1, &rest[4..])]
            .concat();
    let head = |block: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, block);
    holds(&[
        ("§6.10 in three frames", whole, Fine),
        (
            "§6.10 another frame in between",
            [cut(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§5.5 an unknown frame in between",
            [cut(1), frame(0xfa, 0, 1, b"")].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.10 another stream's in between",
            [cut(1), frame(CONTINUATION, END_HEADERS, 3, &rest[2..])].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "§6.10 after the end of the block",
            [begins(1), frame(CONTINUATION, END_HEADERS, 1, b"")].concat(),
            Ended(PROTOCOL_ERROR),
        ),
        ("RFC 7541 §6.1 the index 0", head(&[0x80]), Ended(PROTOCOL_ERROR)),
        ("RFC 7541 §2.3.3 an index beyond both tables", head(&[0xff, 0x80, 0x01]), Ended(PROTOCOL_ERROR)),
        (
            "RFC 7541 §5.1 an integer without an end",
            head(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Ended(PROTOCOL_ERROR),
        ),
        ("RFC 7541 §5.2 a string longer than the block", head(&[0x00, 0x7e, b'x']), Ended(PROTOCOL_ERROR)),
        (
            "RFC 7541 §5.2 padding that is not of ones",
            head(&[0x00, 0x81, 0x00, 0x01, b'x']),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "RFC 7541 §5.2 padding longer than seven bits",
            head(&[0x00, 0x82, 0xff, 0xff, 0x01, b'x']),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "RFC 7541 §6.3 a table larger than was said",
            head(&[&[0x3f, 0xe2, 0x1f][..], &get(&[])].concat()),
            Ended(PROTOCOL_ERROR),
        ),
        (
            "RFC 7541 §4.2 a change of the table's size behind a field",
            head(&[&get(&[])[..], &[0x20]].concat()),
            Ended(PROTOCOL_ERROR),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_malformed_request_is_its_streams_fault_alone() {
    let head = |more: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(more));
    let bare = |fields: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &literal(fields));
    let (method, scheme, path) = ((":method", "GET"), (":scheme", "http"), (":path", "/a"));
    let body = |length: &str, data: &[u8]| {
        [
            frame(HEADERS, END_HEADERS, 1, &post(&[("content-length", length)])),
            frame(DATA, END_STREAM, 1, data),
        ]
        .concat()
    };
    holds(&[
        ("§8.2.1 a name in upper case", head(&[("Upper", "x")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.1 a value with a line feed", head(&[("x", "a\nb")]), Ended(PROTOCOL_ERROR)),
        ("§8.2.2 a field of one connection", head(&[("connection", "close")]), Reset(1, PROTOCOL_ERROR)),
        ("§8.2.2 another", head(&[("transfer-encoding", "chunked")]), Reset(1, PROTOCOL_ERROR)),
        ("§8.2.2 TE other than trailers", head(&[("te", "gzip")]), Reset(1, PROTOCOL_ERROR)),
        ("§8.2.2 TE: trailers", head(&[("te", "trailers")]), Fine),
        (
            "§8.3 a pseudo-field behind a field",
            head(&[("x", "y"), (":path", "/b")]),
            Reset(1, PROTOCOL_ERROR),
        ),
        ("§8.3 an unknown pseudo-field", head(&[(":x", "y")]), Ended(PROTOCOL_ERROR)),
        ("§8.3 one of responses", head(&[(":status", "200")]), Reset(1, PROTOCOL_ERROR)),
        ("§8.3.1 no method", bare(&[scheme, path]), Reset(1, PROTOCOL_ERROR)),
        ("§8.3.1 no scheme", bare(&[method, path]), Reset(1, PROTOCOL_ERROR)),
        (
            "§8.3.1 no path",
            bare(&[method, scheme, (":authority", "lms-a.example")]),
            Reset(1, PROTOCOL_ERROR),
        ),
        ("§8.3.1 an empty path", bare(&[method, scheme, (":path", "")]), Reset(1, PROTOCOL_ERROR)),
        ("§8.3.1 a method twice", bare(&[method, method, scheme, path]), Reset(1, PROTOCOL_ERROR)),
        ("§8.1.1 a body longer than it said", body("1", b"xy"), Reset(1, PROTOCOL_ERROR)),
        ("§8.1.1 a body shorter than it said", body("3", b"xy"), Reset(1, PROTOCOL_ERROR)),
    ])
    .await;
}

#[tokio::test]
async fn a_connection_begins_with_the_preface() {
    let (_origin, edge) = stage().await;
    let mut client = edge.client().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    client.reply("GET").await.expect(400);
    client.closed().await;
    // §3.4 wants SETTINGS first. h2 does not insist, which costs nobody anything.
    let mut client = edge.client().await;
    client.send(&[PREFACE, &frame(PING, 0, 0, MARK), &frame(SETTINGS, 0, 0, &[])].concat()).await;
    while hear(&mut client).await.is_some_and(|heard| heard.kind != PING || heard.payload != MARK) {}
    edge.get("/a").await.expect_body(200, "a");
    edge.outcomes("hit", 1).await;
}
