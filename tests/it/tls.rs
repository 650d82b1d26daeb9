//! TLS towards clients: every setting is really used (G53), and HTTP/1.1 and HTTP/2 over it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use crate::support::{
    answer::Answer,
    client::Client,
    deadline::eventually,
    dial::Dial,
    edge::Edge,
    gate::Gate,
    message::Request,
    origin::Origin,
    tls::{Authority, Certificate, Tls},
};

/// A folder of pairs `NAME.crt`, `NAME.key`.
struct Pairs(TempDir);

impl Pairs {
    fn new(pairs: &[(&str, &Certificate)]) -> Pairs {
        let pairs_ = Pairs(tempfile::tempdir().unwrap());
        for (name, certificate) in pairs {
            pairs_.put(name, certificate);
        }
        pairs_
    }

    fn put(&self, name: &str, certificate: &Certificate) {
        self.write(&format!("{name}.crt"), &certificate.pem);
        self.write(&format!("{name}.key"), &certificate.key_pem);
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// An edge whose listener `web` speaks TLS with these; `rest` stands in `[listener.tls]`.
    async fn edge(&self, origin: &Origin, rest: &str) -> Edge {
        Edge::with(&self.config(origin, rest)).await
    }

    fn config(&self, origin: &Origin, rest: &str) -> String {
        format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [listener.tls]\ncertificates = \"{}\"\n{rest}\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n",
            self.path().display(),
            origin.addr()
        )
    }
}

/// The certificate that a client is shown, or nothing if the handshake is refused.
async fn shown(to: SocketAddr, tls: Tls) -> Option<Vec<u8>> {
    let mut client = Dial::to(to).tls(tls).try_client().await.ok()?;
    // With TLS 1.3 the client learns of the server's refusal only after its own end of the handshake.
    let reply = client.get("/").await;
    (reply.status == 200).then(|| client.server_certificate().unwrap())
}

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on("/", Answer::storable("hello"));
    origin
}

async fn handshakes_failed(edge: &Edge) -> f64 {
    edge.metric("lectern_connections_ended_total", &["reason=\"tls-handshake\""]).await
}

#[tokio::test]
async fn g53_the_name_asked_for_chooses_the_certificate() {
    let origin = origin().await;
    let a = Certificate::new(&["a.example"]);
    let b = Certificate::new(&["b.example", "also-b.example"]);
    let (wild, exact) = (Certificate::new(&["*.c.example"]), Certificate::new(&["www.c.example"]));
    let pairs = Pairs::new(&[("a", &a), ("b", &b), ("wild", &wild), ("exact", &exact)]);
    let edge = pairs.edge(&origin, "").await;
    let web = edge.address("web").await;
    for (name, expected) in [
        ("a.example", &a),
        ("A.Example", &a),
        ("b.example", &b),
        ("also-b.example", &b),
        ("x.c.example", &wild),
        ("www.c.example", &exact),
    ] {
        for version in [&TLS12, &TLS13] {
            let got = shown(web, Tls::named(name).only(version)).await;
            assert!(got.as_ref() == Some(&expected.der), "{name}");
        }
    }
    // Without a default pair, those that no pair is for are refused: a wildcard stands for one label.
    assert_eq!(handshakes_failed(&edge).await, 0.0);
    for tls in
        [Tls::nameless(), Tls::named("d.example"), Tls::named("x.y.c.example"), Tls::named("c.example")]
    {
        assert!(shown(web, tls).await.is_none());
    }
    eventually("four failed handshakes", async || handshakes_failed(&edge).await == 4.0).await;
    assert_eq!(origin.hits("/"), 1);
    edge.outcomes("hit", 11).await;
}

#[tokio::test]
async fn g53_who_sends_no_name_or_an_unknown_one_gets_the_default_pair() {
    let origin = origin().await;
    let (a, b) = (Certificate::new(&["a.example"]), Certificate::new(&["b.example"]));
    let pairs = Pairs::new(&[("a", &a), ("b", &b)]);
    let edge = pairs.edge(&origin, "default = \"b\"").await;
    let web = edge.address("web").await;
    for tls in [Tls::nameless(), Tls::named("d.example")] {
        assert!(shown(web, tls).await.as_ref() == Some(&b.der));
    }
    assert!(shown(web, Tls::named("a.example")).await.as_ref() == Some(&a.der));
    assert_eq!((origin.hits("/"), handshakes_failed(&edge).await), (1, 0.0));
    edge.outcomes("hit", 2).await;
}

#[tokio::test]
async fn g53_of_two_pairs_for_one_name_the_clients_schemes_choose() {
    let origin = origin().await;
    let (ecdsa, rsa) = (Certificate::new(&["a.example"]), Certificate::rsa(&["a.example"]));
    let pairs = Pairs::new(&[("a-rsa", &rsa), ("b-ecdsa", &ecdsa)]);
    let edge = pairs.edge(&origin, "").await;
    let web = edge.address("web").await;
    let tls = Tls::named("a.example");
    assert!(shown(web, tls.clone()).await.as_ref() == Some(&ecdsa.der), "ECDSA is cheaper");
    assert!(shown(web, tls.rsa_only()).await.as_ref() == Some(&rsa.der));
    assert_eq!((origin.hits("/"), handshakes_failed(&edge).await), (1, 0.0));
    edge.outcomes("hit", 1).await;
}

#[tokio::test]
async fn g53_client_certificates_are_asked_for_and_checked() {
    let origin = origin().await;
    let a = Certificate::new(&["a.example"]);
    let authority = Authority::new("learners");
    let known = Arc::new(authority.issue("learner.example"));
    let stranger = Arc::new(Authority::new("others").issue("learner.example"));
    let pairs = Pairs::new(&[("a", &a)]);
    pairs.write("clients.pem", &authority.pem);
    for (mode, bare) in [("required", false), ("optional", true)] {
        let hits = origin.requests().len();
        let ca = pairs.path().join("clients.pem");
        let rest = format!("client_auth = \"{mode}\"\nclient_ca = \"{}\"", ca.display());
        let edge = pairs.edge(&origin, &rest).await;
        let web = edge.address("web").await;
        for version in [&TLS12, &TLS13] {
            let tls = Tls::named("a.example").only(version);
            assert_eq!(shown(web, tls.clone()).await.is_some(), bare, "{mode}: without a certificate");
            assert!(shown(web, tls.clone().own(&known)).await.is_some(), "{mode}: a known one");
            assert!(shown(web, tls.own(&stranger)).await.is_none(), "{mode}: a stranger's");
        }
        let refused = if bare { 2.0 } else { 4.0 };
        eventually("the failed handshakes", async || handshakes_failed(&edge).await == refused).await;
        assert_eq!(origin.requests().len() - hits, 1, "{mode}");
        edge.outcomes("hit", if bare { 3 } else { 1 }).await;
    }
}

#[tokio::test]
async fn g53_the_lowest_version_is_enforced() {
    let origin = origin().await;
    let a = Certificate::new(&["a.example"]);
    let pairs = Pairs::new(&[("a", &a)]);
    let edge = pairs.edge(&origin, "min_version = \"1.3\"").await;
    let web = edge.address("web").await;
    assert!(shown(web, Tls::named("a.example").only(&TLS12)).await.is_none());
    assert!(shown(web, Tls::named("a.example").only(&TLS13)).await.is_some());
    eventually("a failed handshake", async || handshakes_failed(&edge).await == 1.0).await;
    assert_eq!(origin.hits("/"), 1);
    edge.outcomes("miss", 1).await;
}

#[tokio::test]
async fn g53_a_replaced_certificate_is_shown_after_the_signal_and_a_download_goes_on() {
    let (origin, gate) = (origin().await, Gate::new());
    let body: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
    origin.on("/film", Answer::storable(&body).pause(1_000_000, &gate));
    let (old, new) = (Certificate::new(&["a.example"]), Certificate::new(&["a.example"]));
    let other = Certificate::new(&["b.example"]);
    let pairs = Pairs::new(&[("a", &old), ("b", &other)]);
    let edge = pairs.edge(&origin, "").await;
    let web = edge.address("web").await;
    let (tls_a, tls_b) = (Tls::named("a.example"), Tls::named("b.example"));
    let mut download = Dial::to(web).tls(tls_a.clone()).client().await;
    download.send(&Request::get("/film").bytes()).await;
    let mut reply = download.head("GET").await;
    download.at_least(&mut reply, 500_000).await;
    assert!(shown(web, tls_a.clone()).await.as_ref() == Some(&old.der));

    let reloads = async || edge.metric("lectern_config_reloads_total", &["result=\"applied\""]).await;
    pairs.put("a", &new);
    edge.signal("HUP");
    eventually("a reload", async || reloads().await == 1.0).await;
    assert!(shown(web, tls_a.clone()).await.as_ref() == Some(&new.der));

    // Broken files: what was read before stays, each is told with its name, once a reload.
    let errors = || {
        let of = |line: &String| line.contains("ERROR") && line.contains(&pairs.path().display().to_string());
        edge.said().into_iter().filter(of).collect::<Vec<_>>()
    };
    assert!(errors().is_empty(), "{:?}", errors());
    pairs.write("a.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    edge.signal("HUP");
    eventually("a second reload", async || reloads().await == 2.0).await;
    edge.says("a.crt").await;
    pairs.put("a", &new);
    pairs.write("b.key", &old.key_pem);
    edge.signal("HUP");
    eventually("a third reload", async || reloads().await == 3.0).await;
    edge.says("b.key").await;
    assert_eq!(errors().len(), 2, "{:#?}", errors());
    assert!(shown(web, tls_a).await.as_ref() == Some(&new.der));
    assert!(shown(web, tls_b).await.as_ref() == Some(&other.der));

    gate.open();
    download.rest(&mut reply).await;
    reply.expect_body(200, &body);
    assert_eq!((origin.hits("/film"), handshakes_failed(&edge).await), (1, 0.0));
}

#[tokio::test]
async fn g53_a_broken_pair_at_the_start_is_one_line_with_its_file_and_the_others_serve() {
    let origin = origin().await;
    let (a, b) = (Certificate::new(&["a.example"]), Certificate::new(&["b.example"]));
    let pairs = Pairs::new(&[("a", &a), ("b", &b)]);
    pairs.write("b.crt", "no certificate");
    pairs.write("c.crt", &Certificate::new(&["c.example"]).pem);
    let edge = pairs.edge(&origin, "").await;
    let web = edge.address("web").await;
    assert!(shown(web, Tls::named("a.example")).await.as_ref() == Some(&a.der));
    assert!(shown(web, Tls::named("b.example")).await.is_none());
    let errors: Vec<_> = edge.said().into_iter().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors.iter().any(|line| line.contains("b.crt")), "{errors:#?}");
    assert!(errors.iter().any(|line| line.contains("c.key") && line.contains("missing")), "{errors:#?}");
    assert_eq!(origin.hits("/"), 1);
    assert_eq!(edge.metric("lectern_certificates", &["state=\"broken\""]).await, 2.0);
    // Mended, it is taken without a restart.
    pairs.put("b", &b);
    fs::remove_file(pairs.path().join("c.crt")).unwrap();
    edge.control("POST", "/v1/reload", "").await.expect(200);
    assert!(shown(web, Tls::named("b.example")).await.as_ref() == Some(&b.der));
    assert_eq!(edge.metric("lectern_certificates", &["state=\"broken\""]).await, 0.0);
}

#[tokio::test]
async fn both_protocols_miss_and_hit_over_tls_and_share_what_is_stored() {
    let origin = Origin::start().await;
    let body = vec![b'x'; 700_000];
    origin.on("/one", Answer::storable(&body));
    origin.on("/two", Answer::storable(&body));
    let pairs = Pairs::new(&[("a", &Certificate::new(&["lms-a.example"]))]);
    let edge = pairs.edge(&origin, "").await;
    let dial = Dial::to(edge.address("web").await).tls(Tls::named("lms-a.example"));
    let (mut h1, h2) = (dial.clone().client().await, dial.h2().await);
    let miss = h1.get("/one").await.expect_body(200, &body);
    assert!(
        miss.field("cache-status").unwrap().starts_with("lectern; fwd=uri-miss; fwd-status=200; ttl="),
        "{miss}"
    );
    h2.get("/two").await.expect_body(200, &body);
    for path in ["/one", "/two"] {
        for reply in [h1.get(path).await, h2.get(path).await] {
            let reply = reply.expect_body(200, &body);
            assert!(reply.field("cache-status").unwrap().starts_with("lectern; hit"), "{reply}");
        }
        assert_eq!(origin.hits(path), 1);
        assert_eq!(origin.last(path).field("x-forwarded-proto"), Some("https"));
    }
    edge.outcomes("hit", 4).await;
    edge.outcomes("miss", 2).await;
    let log = edge.log(6).await;
    assert!(log.iter().all(|line| line["scheme"] == "https" && line["complete"] == true), "{log:#?}");
    let of = |protocol: &str| log.iter().filter(|line| line["protocol"] == protocol).count();
    assert_eq!((of("HTTP/1.1"), of("HTTP/2")), (3, 3));
}

#[tokio::test]
async fn a_client_that_offers_no_protocol_is_served_and_cleartext_is_no_tls() {
    let origin = origin().await;
    let pairs = Pairs::new(&[("a", &Certificate::new(&["a.example"]))]);
    let edge = pairs.edge(&origin, "").await;
    let web = edge.address("web").await;
    let wire = Dial::to(web).tls(Tls::named("a.example")).wire(&[]).await.unwrap();
    Client::new(wire).get("/").await.expect_body(200, "hello");
    let mut plain = Client::connect(web).await;
    plain.send(&Request::get("/").bytes()).await;
    plain.closed().await;
    assert!(!plain.leftover().starts_with(b"HTTP/"), "{:?}", plain.leftover());
    eventually("a failed handshake", async || handshakes_failed(&edge).await == 1.0).await;
    assert_eq!(origin.hits("/"), 1);
}

#[tokio::test]
async fn g53_what_cannot_be_obeyed_ends_the_start_with_its_reason() {
    let origin = origin().await;
    let pairs = Pairs::new(&[("a", &Certificate::new(&["a.example"]))]);
    pairs.write("clients.pem", "no certificate");
    let ca = pairs.path().join("clients.pem").display().to_string();
    let ca = format!("client_auth = \"required\"\nclient_ca = \"{ca}\"");
    let empty = tempfile::tempdir().unwrap();
    let folder = pairs.path().display().to_string();
    for (rest, code, says) in [
        ("default = \"b\"", 69, "\"b\""),
        (&*ca, 69, "clients.pem"),
        ("client_auth = \"required\"", 78, "listener.tls.client_ca"),
        ("min_version = \"1.1\"", 78, "listener.tls.min_version"),
        ("ciphers = \"all\"", 78, "listener.tls.ciphers"),
        ("", 69, &*empty.path().display().to_string()),
    ] {
        let config = pairs.config(&origin, rest);
        let config = if rest.is_empty() { config.replace(&folder, says) } else { config };
        let node = tempfile::tempdir().unwrap();
        let file = node.path().join("l.toml");
        fs::write(&file, config + "[control]\naddress = \"127.0.0.1:0\"\n").unwrap();
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_lectern"))
            .args(["serve", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{rest}: {said}");
        assert_eq!(said.lines().filter(|line| line.contains(says)).count(), 1, "{rest}: {said}");
    }
}
