use super::{Asked, CannotSign, Grant, KeyError, Refusal, admit, keys, make};
use crate::rules::{Signed, SignedKind};
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Two secrets, and a public key whose private one nobody has.
const KEYS: &str = include_str!("test_keys.json");
const UNTIL: u64 = 1_800_000_000;

fn signed(kind: SignedKind) -> Signed {
    Signed {
        kind,
        query: Some("signature".to_owned()),
        cookie: Some("course".to_owned()),
        keys: keys(KEYS).unwrap(),
        tolerance: Duration::from_secs(30),
        issuer: None,
        audience: None,
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn client() -> IpAddr {
    [192, 0, 2, 7].into()
}

/// A request for `/content/14/a.js` of `lms.example`, with this in its query.
fn asked<'a>(query: &'a str, headers: &'a HeaderMap) -> Asked<'a> {
    Asked { host: "lms.example", path: "/content/14/a.js", query: Some(query), headers, client: client() }
}

/// What becomes of a request for this host and path from this client, with this in its query, as that time.
fn judged(
    rule: &Signed,
    shown: &str,
    (host, path, client): (&str, &str, IpAddr),
    now: u64,
) -> Result<(), Refusal> {
    let (query, headers) = (format!("v=1&signature={shown}"), HeaderMap::new());
    admit(rule, &Asked { host, path, query: Some(&query), headers: &headers, client }, at(now))
}

fn grant() -> Grant<'static> {
    Grant { host: "lms.example", prefix: "/content/14/", until: UNTIL, client: None }
}

#[test]
fn a_signature_opens_its_prefix_of_its_host_until_its_time() {
    let here = ("lms.example", "/content/14/a.js", client());
    for kind in [SignedKind::Hmac, SignedKind::Jwt] {
        let rule = signed(kind);
        let of = |grant: Grant<'_>| make(&rule, &grant, None).unwrap();
        let (whole, one) = (of(grant()), of(Grant { prefix: "/content/14/a.js", ..grant() }));
        let mine = of(Grant { client: Some(client()), ..grant() });
        let half = of(Grant { prefix: "/content/1", ..grant() });
        let (forged, jwt) = (Refusal::Forged, kind == SignedKind::Jwt);
        let or = |other: Refusal| if jwt { other } else { forged };
        let rows = [
            (&whole, here, UNTIL, Ok(())),
            (&whole, ("lms.example", "/content/14/", client()), UNTIL, Ok(())),
            (&whole, ("lms.example", "/content/14", client()), UNTIL, Err(or(Refusal::Path))),
            (&whole, ("lms.example", "/content/15/a.js", client()), UNTIL, Err(or(Refusal::Path))),
            (&whole, ("lms.example", "/c", client()), UNTIL, Err(or(Refusal::Path))),
            (&whole, ("other.example", "/content/14/a.js", client()), UNTIL, Err(or(Refusal::Audience))),
            (&whole, ("lms.example:8443", "/content/14/a.js", client()), UNTIL, Err(or(Refusal::Audience))),
            (&one, here, UNTIL, Ok(())),
            (&one, ("lms.example", "/content/14/a.js/b", client()), UNTIL, Err(or(Refusal::Path))),
            (&one, ("lms.example", "/content/14/b.js", client()), UNTIL, Err(or(Refusal::Path))),
            (&half, here, UNTIL, Err(or(Refusal::Path))),
            (&mine, here, UNTIL, Ok(())),
            (&mine, (here.0, here.1, "::ffff:192.0.2.7".parse().unwrap()), UNTIL, Ok(())),
            (&mine, (here.0, here.1, [192, 0, 2, 8].into()), UNTIL, Err(or(Refusal::Client))),
            // The clocks may differ by thirty seconds.
            (&whole, here, UNTIL + 30, Ok(())),
            (&whole, here, UNTIL + 31, Err(Refusal::Expired)),
            (&whole, here, 0, Ok(())),
        ];
        for (n, (shown, asks, now, expected)) in rows.into_iter().enumerate() {
            assert_eq!(judged(&rule, shown, asks, now), expected, "{kind:?}, row {n}: {shown}");
        }
    }
}

#[test]
fn a_changed_signature_opens_nothing() {
    let here = ("lms.example", "/content/14/a.js", client());
    let (hmac, jwt) = (signed(SignedKind::Hmac), signed(SignedKind::Jwt));
    let token = make(&hmac, &grant(), None).unwrap();
    let [key, until, length, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    assert_eq!((key, until, length), ("new", "1800000000", "12"));
    for (changed, refusal) in [
        (format!("new.1900000000.12.{signature}"), Refusal::Forged),
        (format!("new.1800000000.9.{signature}"), Refusal::Forged),
        (format!("new.1800000000.12a.{signature}"), Refusal::Forged),
        (format!("new.1800000000.999.{signature}"), Refusal::Forged),
        (format!("old.1800000000.12.{signature}"), Refusal::Forged),
        (format!("gone.1800000000.12.{signature}"), Refusal::Key),
        (format!("public.1800000000.12.{signature}"), Refusal::Key),
        (format!("new.+1800000000.12.{signature}"), Refusal::Malformed),
        (format!("new..12.{signature}"), Refusal::Malformed),
        (format!("{token}.x"), Refusal::Malformed),
        ("new.1800000000.12".to_owned(), Refusal::Malformed),
        ("new.1800000000.12.".to_owned(), Refusal::Forged),
        ("new.1800000000.12.AAAA".to_owned(), Refusal::Forged),
        ("new.1800000000.12.%%%%".to_owned(), Refusal::Forged),
        ("x".to_owned(), Refusal::Malformed),
    ] {
        assert_eq!(judged(&hmac, &changed, here, UNTIL), Err(refusal), "{changed}");
    }
    let token = make(&jwt, &grant(), None).unwrap();
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = rest.split_once('.').unwrap();
    for (changed, refusal) in [
        (format!("{rest}."), Refusal::Forged),
        (format!("{rest}.AAAA"), Refusal::Forged),
        (format!("{header}.e30.{signature}"), Refusal::Forged),
        (rest.to_owned(), Refusal::Malformed),
        ("a.b.c".to_owned(), Refusal::Malformed),
        (make(&hmac, &grant(), None).unwrap(), Refusal::Malformed),
    ] {
        assert_eq!(judged(&jwt, &changed, here, UNTIL), Err(refusal), "{changed}");
    }
}

/// A token with these claims, signed by the secret of `new`.
fn token(header: &Header, claims: &Value) -> String {
    let rule = signed(SignedKind::Jwt);
    encode(header, claims, &EncodingKey::from_secret(rule.keys[0].secret.as_ref().unwrap()).unwrap()).unwrap()
}

#[test]
fn a_jwt_says_all_that_it_must_and_its_key_chooses_the_algorithm() {
    let here = ("lms.example", "/content/14/a.js", client());
    let mut rule = signed(SignedKind::Jwt);
    let full = json!({"exp": UNTIL, "aud": "lms.example", "path": "/content/14/"});
    let with = |more: Value| {
        let mut claims = full.clone();
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        token(&Header { kid: Some("new".to_owned()), ..Header::default() }, &claims)
    };
    for (more, expected) in [
        (json!({}), Ok(())),
        (json!({"path": ["/x/", "/content/"]}), Ok(())),
        (json!({"path": "/"}), Ok(())),
        (json!({"path": []}), Err(Refusal::Path)),
        (json!({"path": ""}), Err(Refusal::Path)),
        (json!({"path": null}), Err(Refusal::Malformed)),
        (json!({"path": 7}), Err(Refusal::Malformed)),
        (json!({"exp": null}), Err(Refusal::Malformed)),
        (json!({"exp": "later"}), Err(Refusal::Malformed)),
        (json!({"exp": 1_800_000_000.5}), Ok(())),
        (json!({"exp": -1}), Err(Refusal::Expired)),
        (json!({"exp": 1e300}), Ok(())),
        (json!({"nbf": UNTIL + 30}), Ok(())),
        (json!({"nbf": UNTIL + 31}), Err(Refusal::Early)),
        (json!({"aud": ["x", "lms.example"]}), Ok(())),
        (json!({"aud": "other.example"}), Err(Refusal::Audience)),
        (json!({"aud": null}), Err(Refusal::Audience)),
        (json!({"ip": "192.0.2.7"}), Ok(())),
        (json!({"ip": "192.0.2.8"}), Err(Refusal::Client)),
        (json!({"ip": "everywhere"}), Err(Refusal::Malformed)),
        (json!({"iss": "anybody"}), Ok(())),
    ] {
        assert_eq!(judged(&rule, &with(more.clone()), here, UNTIL), expected, "{more}");
    }
    rule.issuer = Some("lms".to_owned());
    rule.audience = Some("packages".to_owned());
    let told = |iss: &str, aud: &str| judged(&rule, &with(json!({"iss": iss, "aud": aud})), here, UNTIL);
    assert_eq!(told("lms", "packages"), Ok(()));
    assert_eq!(told("x", "packages"), Err(Refusal::Issuer));
    assert_eq!(told("lms", "lms.example"), Err(Refusal::Audience));

    let rule = signed(SignedKind::Jwt);
    let unnamed = token(&Header::default(), &full);
    assert_eq!(judged(&rule, &unnamed, here, UNTIL), Ok(()), "without a `kid` each key is tried");
    for (header, refusal) in [
        (Header { kid: Some("old".to_owned()), ..Header::default() }, Refusal::Forged),
        (Header { kid: Some("gone".to_owned()), ..Header::default() }, Refusal::Key),
        (Header { kid: Some("public".to_owned()), ..Header::default() }, Refusal::Key),
        (Header { kid: Some("new".to_owned()), ..Header::new(Algorithm::HS512) }, Refusal::Key),
    ] {
        assert_eq!(judged(&rule, &token(&header, &full), here, UNTIL), Err(refusal), "{header:?}");
    }
    // {"alg":"none"}
    let none = format!("eyJhbGciOiJub25lIn0.{}.", unnamed.split('.').nth(1).unwrap());
    assert_eq!(judged(&rule, &none, here, UNTIL), Err(Refusal::Malformed));
}

#[test]
fn a_token_of_a_public_key_is_checked_with_it() {
    // RFC 8037, appendix A: key and signature of the same pair; the payload is no set of claims.
    let rule = signed(SignedKind::Jwt);
    let (signed, payload) = ("eyJhbGciOiJFZERTQSJ9", "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let here = ("lms.example", "/content/14/a.js", client());
    let told = |signature: &str| judged(&rule, &format!("{signed}.{payload}.{signature}"), here, UNTIL);
    assert_eq!(told(signature), Err(Refusal::Malformed), "genuine, and it claims nothing");
    assert_eq!(told(&signature.replace("hgyY", "hgyZ")), Err(Refusal::Forged));
    assert_eq!(make(&rule, &grant(), Some("public")), Err(CannotSign::NoSecret));
    assert_eq!(make(&rule, &grant(), Some("gone")), Err(CannotSign::NoKey("gone".to_owned())));
}

#[test]
fn one_of_several_that_are_shown_is_enough() {
    let rule = signed(SignedKind::Hmac);
    let good = make(&rule, &grant(), Some("old")).unwrap();
    let other = make(&rule, &Grant { prefix: "/content/15/", ..grant() }, None).unwrap();
    let many = [other.as_str(); 8].join("; course=");
    for (query, cookies, expected) in [
        ("", vec![], Err(Refusal::Missing)),
        ("signature", vec![], Err(Refusal::Missing)),
        ("signature=", vec!["course="], Err(Refusal::Missing)),
        ("v=1", vec!["a=1", "other=x"], Err(Refusal::Missing)),
        ("signature=x", vec![], Err(Refusal::Malformed)),
        (&format!("s%69gnature={good}"), vec![], Ok(())),
        (&format!("signature={other}&signature={good}"), vec![], Ok(())),
        ("signature=x", vec![&format!("course={good}")], Ok(())),
        ("v=1", vec!["a=1", &format!("b=2;course={good}; c")], Ok(())),
        ("v=1", vec![&format!("course={other}; course={good}")], Ok(())),
        // So many are not looked at.
        ("v=1", vec![&format!("course={many}; course={good}")], Err(Refusal::Forged)),
    ] {
        let mut headers = HeaderMap::new();
        for line in &cookies {
            headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
        }
        assert_eq!(admit(&rule, &asked(query, &headers), at(UNTIL)), expected, "{query} {cookies:?}");
    }
    let only_cookie = Signed { query: None, ..rule };
    let headers = HeaderMap::new();
    let query = format!("signature={good}");
    assert_eq!(admit(&only_cookie, &asked(&query, &headers), at(UNTIL)), Err(Refusal::Missing));
}

#[test]
fn another_program_signs_as_the_page_says() {
    // hash_hmac('sha256', "lectern-1\nlms.example\n/content/14/\n1800000000\n192.0.2.7\n", $secret), bytes 0 to 31 being the
    // secret.
    let mine = "new.1800000000.12a.NmKfRRohf66dbGeF9XicIbCTIJblU2pehUbAU_EPHqY";
    let rule = signed(SignedKind::Hmac);
    assert_eq!(make(&rule, &Grant { client: Some(client()), ..grant() }, None).unwrap(), mine);
}

#[test]
fn a_file_of_keys_is_right_or_says_what_is_wrong_and_never_shows_a_key() {
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let of = |list: &str| keys(&format!("{{\"keys\": [{list}]}}"));
    let oct = |more: &str| format!("{{\"kty\": \"oct\", \"k\": \"{secret}\", {more}}}");
    let point = "\"x\": \"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\", \"y\": \"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"";
    for (text, wrong) in [
        (of(&oct("\"kid\": \"a\"")), None),
        (of(&format!("{{\"kty\": \"EC\", \"crv\": \"P-256\", \"kid\": \"a\", {point}}}")), None),
        (
            of("{\"kty\": \"RSA\", \"kid\": \"a\", \"n\": \"AQAB\", \"e\": \"AQAB\", \"alg\": \"PS256\"}"),
            None,
        ),
        (of(""), Some(KeyError::Empty)),
        (keys("[]"), Some(KeyError::NoSet { line: 1, column: 2 })),
        (keys(&format!("{{\n{secret}")), Some(KeyError::NoSet { line: 2, column: 1 })),
        (of(&oct("\"use\": \"sig\"")), Some(KeyError::Name(1))),
        (of(&oct("\"kid\": \"a.b\"")), Some(KeyError::Name(1))),
        (
            of(&[oct("\"kid\": \"a\""), oct("\"kid\": \"a\"")].join(",")),
            Some(KeyError::Twice("a".to_owned())),
        ),
        (of(&oct("\"kid\": \"a\", \"alg\": \"HS512\"")), Some(KeyError::Short("a".to_owned(), 64))),
        (
            of("{\"kty\": \"oct\", \"kid\": \"a\", \"k\": \"AAEC\"}"),
            Some(KeyError::Short("a".to_owned(), 32)),
        ),
        (of(&oct("\"kid\": \"a\", \"alg\": \"RS256\"")), Some(KeyError::Unsupported("a".to_owned()))),
        (of(&oct("\"kid\": \"a\", \"alg\": \"RSA-OAEP\"")), Some(KeyError::Unsupported("a".to_owned()))),
        (
            of(&format!("{{\"kty\": \"EC\", \"crv\": \"P-521\", \"kid\": \"a\", {point}}}")),
            Some(KeyError::Unsupported("a".to_owned())),
        ),
    ] {
        let told = text.as_ref().err().map_or_else(String::new, ToString::to_string);
        assert_eq!(text.as_ref().err(), wrong.as_ref(), "{told}");
        assert!(!told.contains(secret) && !format!("{text:?}").contains(secret), "{told}");
    }
}

#[test]
fn each_reason_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.word()).collect();
    assert_eq!(words.len(), Refusal::ALL.len());
    let new = |refusal: &&Refusal| refusal.status() == 401;
    assert_eq!(Refusal::ALL.iter().filter(new).collect::<Vec<_>>(), [&Refusal::Missing, &Refusal::Expired]);
}
