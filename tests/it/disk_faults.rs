//! A medium that is full, read-only, broken or does not answer: what it would have kept is not kept, and every answer is right.
//!
//! The disk folder lies on the medium of `tests/faults`. Bodies that were committed before the fault are on disk, those that
//! came later may be; the origin is asked for what is not, and once the medium works again, things are kept again.

use std::ops::Range;

use crate::support::{
    deadline::eventually,
    edge::Edge,
    film::Film,
    medium::{FOLDER, Medium},
    origin::Origin,
};

/// Committed before the fault, come during it, and come after it.
const BEFORE: Range<u64> = 0..6;
const DURING: Range<u64> = 6..12;
const AFTER: Range<u64> = 12..18;

struct Scene {
    origin: Origin,
    edge: Edge,
    medium: Medium,
}

/// Bodies of one chunk and of some.
fn body(n: u64) -> Film {
    Film::new(n + 1, if n.is_multiple_of(2) { 100_000 } else { 600_000 })
}

impl Scene {
    /// An edge whose folder holds the first bodies. What is written is committed soon; the memory holds a few of them.
    async fn begin() -> Scene {
        Scene::with("", &[FOLDER], BEFORE).await
    }

    /// The same with other folders and bodies, and this said of the disk tier.
    async fn with(disk: &str, folders: &[&str], bodies: Range<u64>) -> Scene {
        let folder = |path: &&str| format!("[[disk.folder]]\npath = \"{path}\"\nlimit = \"128MiB\"\n");
        let folders: String = folders.iter().map(folder).collect();
        let origin = Origin::start().await;
        origin.on_call("/d/*", |seen, _| body(seen.path()[3..].parse().unwrap()).answer());
        let (edge, medium) = Edge::on_medium(&format!(
            "default_site = \"lms\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
             [[origin]]\nname = \"lms\"\nservers = [\"{}\"]\n\
             [[site]]\nname = \"lms\"\nhosts = [\"lms.example\"]\norigin = \"lms\"\n\
             [cache]\nmemory = \"2MiB\"\nfill_window = \"1MiB\"\n\
             [disk]\nflush_interval = \"50ms\"\n{disk}{folders}",
            origin.addr()
        ))
        .await;
        let scene = Scene { origin, edge, medium };
        let count = bodies.end - bodies.start;
        assert_eq!(scene.get(bodies.clone()).await as u64, count);
        scene.edge.settled().await;
        // The index names only what is on the medium.
        let chunks = bodies.map(|n| body(n).length.div_ceil(256 << 10)).sum::<u64>();
        eventually("first bodies on disk", async || {
            scene.count("lectern_disk_chunks").await == chunks
                && scene.count("lectern_disk_responses").await == count
        })
        .await;
        scene
    }

    /// Asks for them; each answer is right, wherever it comes from. Tells how many requests the origin saw.
    async fn get(&self, bodies: Range<u64>) -> usize {
        let before = self.origin.requests().len();
        let mut client = self.edge.client().await;
        for n in bodies {
            client.get(&format!("/d/{n}")).await.expect_body(200, body(n).bytes(0, body(n).length));
        }
        self.origin.requests().len() - before
    }

    async fn count(&self, name: &str) -> u64 {
        self.edge.metric(name, &[]).await as u64
    }

    /// Whether the folder is used for `reads` or `writes`.
    async fn is_up(&self, what: &str) -> bool {
        self.edge.metric("lectern_disk_up", &[&format!("what=\"{what}\"")]).await == 1.0
    }

    /// The same of one of several.
    async fn reads(&self, folder: &str) -> bool {
        self.edge.metric("lectern_disk_up", &[&format!("{folder}\""), "what=\"reads\""]).await == 1.0
    }

    /// Look-ups and reads that had no answer in time.
    async fn slow(&self) -> u64 {
        self.edge.metric("lectern_disk_reads_total", &["result=\"slow\""]).await as u64
    }

    async fn works(&self) {
        eventually("a folder that works", async || self.is_up("writes").await && self.is_up("reads").await)
            .await;
    }

    /// Lines of the error log that tell of the folder's failure.
    fn complaints(&self) -> usize {
        let of_folder = format!("folder=\"{FOLDER}\"");
        let complains =
            |line: &&String| line.contains(&of_folder) && (line.contains("ERROR") || line.contains("WARN"));
        self.edge.said().iter().filter(complains).count()
    }

    /// Nobody's request failed, and the node is ready.
    async fn healthy(&self) {
        assert_eq!(self.count("lectern_requests_failed_total").await, 0);
        self.edge.control("GET", "/readyz", "").await.expect(200);
    }

    /// Stops and starts it: its memory is empty then.
    async fn again(&mut self) {
        self.edge.signal("TERM");
        assert_eq!(self.edge.ended().await.code(), Some(0), "{:#?}", self.edge.said());
        self.edge.start_again().await;
    }
}

/// Writing fails as the order says, until it is lifted.
async fn a_medium_that_takes_nothing(order: &str) {
    let mut scene = Scene::begin().await;
    scene.medium.order(order).await;
    assert_eq!(scene.get(DURING).await, 6);
    eventually("end of the writes", async || !scene.is_up("writes").await).await;
    assert!(scene.medium.refused() > 0);
    // What is on disk is read on, and what is not kept comes from the origin as often as it must.
    assert_eq!(scene.get(BEFORE).await, 0);
    scene.get(DURING).await;
    assert!(scene.is_up("reads").await);
    assert!(scene.count("lectern_disk_not_kept_total").await > 0);
    scene.healthy().await;
    assert_eq!(scene.complaints(), 1, "{:#?}", scene.edge.said());
    scene.medium.order("none").await;
    scene.works().await;
    assert_eq!(scene.get(AFTER).await, 6);
    scene.edge.settled().await;
    scene.again().await;
    assert_eq!(scene.get(BEFORE).await, 0, "kept before");
    assert_eq!(scene.get(AFTER).await, 0, "kept again");
    scene.get(DURING).await;
    scene.healthy().await;
}

#[tokio::test]
async fn a_full_medium() {
    a_medium_that_takes_nothing("fail ENOSPC on=write,open").await;
}

#[tokio::test]
async fn a_medium_that_became_read_only() {
    a_medium_that_takes_nothing("fail EROFS on=write,open,name").await;
}

#[tokio::test]
async fn a_medium_that_fails_to_write() {
    a_medium_that_takes_nothing("fail EIO on=write").await;
}

#[tokio::test]
async fn a_medium_that_fails_to_sync() {
    a_medium_that_takes_nothing("fail EIO on=sync").await;
}

#[tokio::test]
async fn a_medium_that_is_full_in_the_middle_of_a_chunk() {
    a_medium_that_takes_nothing("fail ENOSPC on=write,open after=150000").await;
}

#[tokio::test]
async fn an_index_that_failed_once_to_sync_is_opened_anew() {
    let mut scene = Scene::begin().await;
    scene.medium.order("fail EIO on=sync path=/index/ times=1").await;
    assert_eq!(scene.get(DURING).await, 6);
    eventually("the failed sync", async || scene.complaints() == 1).await;
    assert_eq!(scene.medium.refused(), 1);
    scene.medium.order("none").await;
    assert_eq!(scene.get(BEFORE).await, 0);
    // fjall takes no writes after a failed one until it is opened anew.
    scene.edge.says("the disk folder works again").await;
    assert_eq!(scene.get(AFTER).await, 6);
    scene.edge.settled().await;
    scene.healthy().await;
    scene.again().await;
    assert_eq!(scene.get(BEFORE).await + scene.get(AFTER).await, 0);
    scene.get(DURING).await;
    scene.healthy().await;
}

#[tokio::test]
async fn a_medium_that_fails_to_read() {
    let mut scene = Scene::begin().await;
    scene.again().await;
    scene.medium.order("fail EIO on=read").await;
    assert!(scene.get(BEFORE).await >= 6, "nothing comes from disk");
    assert!(scene.medium.refused() > 0);
    scene.healthy().await;
    assert!(scene.complaints() <= 2, "{:#?}", scene.edge.said());
    scene.medium.order("none").await;
    scene.works().await;
    scene.get(BEFORE).await;
    scene.edge.settled().await;
    scene.again().await;
    assert_eq!(scene.get(BEFORE).await, 0);
}

#[tokio::test]
async fn chunks_that_cannot_be_read_are_had_from_the_origin_until_reading_ends() {
    let mut scene = Scene::begin().await;
    scene.again().await;
    scene.medium.order("fail EIO on=read path=/segments/").await;
    for _ in 0..4 {
        assert!(scene.get(BEFORE).await <= 12);
    }
    assert!(scene.edge.metric("lectern_disk_reads_total", &["result=\"error\""]).await > 0.0);
    scene.healthy().await;
    assert!(scene.complaints() <= 2, "{:#?}", scene.edge.said());
    scene.medium.order("none").await;
    scene.works().await;
    scene.get(BEFORE).await;
    scene.edge.settled().await;
    scene.again().await;
    assert_eq!(scene.get(BEFORE).await, 0, "had again and kept");
}

#[tokio::test]
async fn a_medium_that_writes_in_small_pieces_loses_nothing() {
    let mut scene = Scene::begin().await;
    scene.medium.order("fail SHORT on=write").await;
    assert_eq!(scene.get(DURING).await, 6);
    scene.edge.settled().await;
    assert!(scene.is_up("writes").await);
    scene.again().await;
    assert!(scene.medium.refused() > 0);
    assert_eq!(scene.get(BEFORE).await + scene.get(DURING).await, 0);
}

#[tokio::test]
async fn a_medium_that_is_bad_from_the_start_is_used_when_it_works() {
    let mut scene = Scene::begin().await;
    scene.medium.order("fail EROFS on=write,open,name").await;
    scene.edge.kill().await;
    scene.edge.start_again().await;
    scene.get(BEFORE).await;
    assert_eq!(scene.get(DURING).await, 6);
    scene.healthy().await;
    assert!(!scene.is_up("writes").await);
    scene.medium.order("none").await;
    scene.works().await;
    assert_eq!(scene.get(AFTER).await, 6);
    scene.edge.settled().await;
    scene.again().await;
    assert_eq!((scene.get(BEFORE).await, scene.get(AFTER).await), (0, 0));
}

/// What is on two folders before one of them hangs, and what comes meanwhile.
const TWO: [&str; 2] = ["disk/one", "disk/two"];
const MANY: Range<u64> = 0..24;
const MORE: Range<u64> = 24..48;

#[tokio::test]
async fn a_folder_whose_reads_hang_costs_a_deadline_each_thread_and_then_nothing() {
    let mut scene = Scene::with("readers = 2\nread_deadline = \"200ms\"\n", &TWO, MANY).await;
    scene.again().await;
    scene.medium.order("hang on=read path=/one/").await;
    let asked = scene.get(MANY).await;
    assert!((1..24).contains(&asked), "{asked}: the other folder serves");
    assert!(scene.medium.refused() > 0 && scene.slow().await > 0);
    eventually("a folder that is off", async || !scene.reads("one").await).await;
    assert!(scene.reads("two").await);
    let ready = scene.edge.control("GET", "/readyz", "").await.expect(200).text();
    assert!(ready.contains("one") && ready.contains("does not answer"), "{ready}");
    // Nobody waits for it any more, and what comes is kept in the other one.
    let slow = scene.slow().await;
    scene.get(MANY).await;
    scene.get(MORE).await;
    assert_eq!(scene.slow().await, slow);
    scene.healthy().await;
    scene.medium.order("none").await;
    eventually("a folder that answers", async || scene.reads("one").await).await;
    scene.get(MORE).await;
    scene.edge.settled().await;
    scene.again().await;
    assert_eq!(scene.get(MANY).await + scene.get(MORE).await, 0);
    scene.healthy().await;
}

#[tokio::test]
async fn a_writer_that_hangs_in_a_sync_is_waited_for_by_nobody() {
    let mut scene = Scene::with("", &TWO, MANY).await;
    scene.medium.order("hang on=sync path=/one/").await;
    assert_eq!(scene.get(MORE).await, 24);
    eventually("the sync", async || scene.medium.refused() > 0).await;
    // Written or not: it is read from where it is, though the memory holds few of them.
    assert_eq!(scene.get(MORE).await + scene.get(MANY).await, 0);
    assert!(scene.reads("one").await && scene.reads("two").await);
    assert_eq!(scene.slow().await, 0);
    scene.healthy().await;
    scene.medium.order("none").await;
    scene.edge.settled().await;
    scene.again().await;
    assert_eq!(scene.get(MORE).await + scene.get(MANY).await, 0);
}
