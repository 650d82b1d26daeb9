//! The control listener over TLS, with certificates on both sides: who has none that it knows changes nothing.

use std::fs;

use crate::support::{
    edge::Edge,
    origin::Origin,
    tls::{Authority, Certificate},
};

/// An edge whose control listener speaks TLS to those who have a certificate of this authority.
async fn edge(pipelines: &Authority) -> (Edge, Certificate, tempfile::TempDir) {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Origin::start().await);
    let own = Certificate::new(&["127.0.0.1"]);
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("control.crt", &own.pem);
    write("control.key", &own.key_pem);
    write("ca.pem", &pipelines.pem);
    let at = folder.path().display();
    let tls = format!(
        "[control.tls]\ncertificates = \"{at}\"\ndefault = \"control\"\nclient_auth = \"required\"\nclient_ca = \"{at}/ca.pem\""
    );
    (Edge::before(&origin, &tls).await, own, folder)
}

#[tokio::test]
async fn who_has_no_certificate_that_the_control_listener_knows_changes_nothing() {
    let pipelines = Authority::new("pipelines");
    let (edge, own, _folder) = edge(&pipelines).await;
    let control = edge.address("control").await;
    let write = |name: &str, text: &str| {
        fs::write(edge.path(name), text).unwrap();
        edge.path(name).display().to_string()
    };
    let pair = |name: &str, authority: &Authority| {
        let issued = authority.issue("pipeline.example");
        (write(&format!("{name}.crt"), &issued.pem), write(&format!("{name}.key"), &issued.key_pem))
    };
    let (known, stranger) = (pair("known", &pipelines), pair("stranger", &Authority::new("others")));
    let (ca, other_ca) = (write("edge.pem", &own.pem), write("other.pem", &Authority::new("others").pem));
    let url = format!("https://{control}");
    let asks = async |rest: &[&str]| {
        let args = [&["purge", "--site", "lms", "--control", &url][..], rest].concat();
        let done = edge.run(&args).await;
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let wrong = write("wrong", "lectern_00");
    // Who is refused for her certificate may find the connection closed before she reads why.
    const REFUSED: &[i32] = &[77, 75];
    for (rest, codes, says) in [
        (vec![], &[64][..], "--ca FILE"),
        (vec!["--ca", &ca, "--cert", &known.0], &[64], "go together"),
        (vec!["--ca", "/absent"], &[66], "/absent"),
        (vec!["--ca", &known.1], &[66], "no certificate"),
        (vec!["--ca", &ca, "--cert", &known.0, "--key", &ca], &[66], "no private key"),
        (vec!["--ca", &other_ca, "--cert", &known.0, "--key", &known.1], &[69], "check --ca"),
        (vec!["--ca", &ca], REFUSED, ""),
        (vec!["--ca", &ca, "--cert", &stranger.0, "--key", &stranger.1], REFUSED, ""),
        // A certificate is no token.
        (
            vec!["--ca", &ca, "--cert", &known.0, "--key", &known.1, "--token-file", &wrong],
            &[77],
            "not accepted",
        ),
    ] {
        let (found, err) = asks(&rest).await;
        assert!(
            codes.iter().any(|code| found == Some(*code)) && err.contains(says),
            "{rest:?}: {found:?} {err}"
        );
    }
    let mine = ["--ca", &ca, "--cert", &known.0, "--key", &known.1];
    let records = async || {
        let args = [&["ledger", "log", "--json", "--control", &url][..], &mine].concat();
        let log = edge.run(&args).await;
        assert_eq!(log.status.code(), Some(0), "{}", String::from_utf8_lossy(&log.stderr));
        let told: serde_json::Value = serde_json::from_slice(&log.stdout).unwrap();
        told["records"].as_array().unwrap().len()
    };
    assert_eq!(records().await, 0);
    assert_eq!(asks(&mine).await.0, Some(0));
    // What a listener that speaks TLS answers to plain HTTP is taken for nothing done.
    let plain = edge.run(&["purge", "--site", "lms", "--control", &format!("http://{control}")]).await;
    assert!(matches!(plain.status.code(), Some(69 | 75)), "{plain:?}");
    assert_eq!(records().await, 1);
}
