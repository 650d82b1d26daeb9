//! Moodle 4.5 as it was recorded: who may see a file is decided at each request, and what is not allowed looks odd.
//!
//! Its files are named by the SHA-1 of their bytes (`Etag`), whatever the revision in the URL says; neither `If-Range` nor
//! `If-Modified-Since` is read. Its school begins with course 2 and two users: `student` is enrolled, `outsider` is not.
//! In it lie a SCORM package (context 14), a film (16), a PDF (17) and a forum (21) whose files are each reader's own
//! question. Bodies are short, and not what was recorded; statuses and fields are.

mod answers;
mod files;
mod school;

use std::sync::{Arc, Mutex, MutexGuard};

use super::answer::Answer;
use super::film::Film;
use super::origin::{Origin, Seen};
use school::{Asked, School};

pub(crate) use answers::REVISION;
pub(crate) use files::tag;

/// The package's first page, and a script of it.
pub(crate) const ENTRY: &str = "/pluginfile.php/14/mod_scorm/content/1/Playing/Par.html";
pub(crate) const SCRIPT: &str = "/pluginfile.php/14/mod_scorm/content/1/shared/scormfunctions.js";
pub(crate) const LECTURE: &str = "/pluginfile.php/16/mod_resource/content/0/lecture.mp4";
pub(crate) const NOTES: &str = "/pluginfile.php/17/mod_resource/content/0/notes.pdf";
/// A file of one post, which `student` may see.
pub(crate) const POST: &str = "/pluginfile.php/21/mod_forum/attachment/5/photo.jpg";
pub(crate) const STYLES: &str = "/theme/styles.php/boost/1795618195_1795618203/all";
/// The SCO's launch, which tells the package's revision.
pub(crate) const LAUNCH: &str =
    "/mod/scorm/loadSCO.php?a=1&scoid=4&currentorg=golf_sample_default_org&mode=&attempt=1";
/// Bytes of the film.
pub(crate) const FILM: u64 = 1_000_003;

/// A running Moodle.
pub(crate) struct Moodle {
    pub(crate) origin: Origin,
    school: Arc<Mutex<School>>,
}

impl Moodle {
    pub(crate) async fn start() -> Moodle {
        let origin = Origin::start().await;
        let school = Arc::new(Mutex::new(School::default()));
        let moodle = Moodle { origin, school };
        for path in ["/pluginfile.php/*", "/tokenpluginfile.php/*"] {
            moodle.answers(path, School::file);
        }
        for (path, short_lived) in
            [("/theme/*", 10), ("/lib/javascript.php/*", 2), ("/lib/requirejs.php/*", 2)]
        {
            moodle.answers(path, move |_, seen| answers::public_file(seen, short_lived));
        }
        moodle.answers("/h5p/h5plib/*", |_, seen| answers::plain_file(seen));
        moodle.answers("/lib/ajax/service-nologin.php", |_, seen| answers::texts(seen));
        moodle.answers("/lib/ajax/service.php", |_, _| answers::call("[{\"error\":false}]"));
        moodle.answers("/mod/scorm/datamodel.php", |_, _| answers::call("true\n0"));
        moodle.answers("/mod/scorm/loadSCO.php", School::launch);
        moodle.answers("/login/index.php", |_, _| answers::page("sign in"));
        for path in ["/", "/my/", "/course/view.php", "/mod/*", "/h5p/embed.php"] {
            moodle.answers(path, School::page);
        }
        moodle.opens();
        moodle
    }

    fn opens(&self) {
        self.enrols("student", 2);
        self.publishes(ENTRY, "text/html;charset=UTF-8", "<html>the first page</html>");
        self.publishes(SCRIPT, "application/x-javascript", "function ScormProcess() {}");
        self.publishes_film(LECTURE, &Film::new(1, FILM));
        self.publishes(NOTES, "application/pdf", "%PDF the notes");
        self.publishes(POST, "image/jpeg", "a photo of the post");
        self.shows_to(POST, &["student"]);
        let h5p = "/pluginfile.php/1/core_h5p//cachedassets/7a737f932fc17cdac6915f0ec5680af83e39b38a.js";
        self.publishes(h5p, "application/x-javascript", "H5P");
    }

    /// Answers so, as every bend says.
    fn answers(&self, path: &str, answer: impl Fn(&School, &Seen) -> Answer + Send + Sync + 'static) {
        let school = Arc::clone(&self.school);
        self.origin.on_call(path, move |seen, _| {
            let school = lock(&school);
            let answer = answer(&school, seen);
            school.bends.iter().fold(answer, |answer, bend| bend(seen, answer))
        });
    }

    /// Changes what is answered from here on: held at a gate, cut, aged, lied about.
    pub(crate) fn bends(&self, bend: impl Fn(&Seen, Answer) -> Answer + Send + Sync + 'static) {
        lock(&self.school).bends.push(Arc::new(bend));
    }

    /// Answers as it should again.
    pub(crate) fn straightens(&self) {
        lock(&self.school).bends.clear();
    }

    /// Signs in, and tells the value of the `Cookie` field that shows it.
    pub(crate) fn signs_in(&self, user: &str) -> String {
        let mut school = lock(&self.school);
        school.signed_in += 1;
        let session = format!("{user}s{:022}", school.signed_in);
        school.sessions.insert(session.clone(), user.to_owned());
        format!("MoodleSession={session}")
    }

    /// Ends the session that this `Cookie` field shows: by its learner, or because its time is over.
    pub(crate) fn signs_out(&self, cookie: &str) {
        lock(&self.school).sessions.retain(|session, _| !cookie.contains(session.as_str()));
    }

    /// A key of the user's own, as `tokenpluginfile.php` takes it in the path.
    pub(crate) fn token(&self, user: &str) -> String {
        let mut school = lock(&self.school);
        let token = format!("{:032x}", 0x5f4d_cc3b_5aa7_65d6_u64 + school.tokens.len() as u64);
        school.tokens.insert(token.clone(), user.to_owned());
        token
    }

    pub(crate) fn enrols(&self, user: &str, course: u32) {
        lock(&self.school).enrolled.insert((user.to_owned(), course));
    }

    pub(crate) fn unenrols(&self, user: &str, course: u32) {
        lock(&self.school).enrolled.remove(&(user.to_owned(), course));
    }

    /// Gives an enrolled user a role that may not view this activity: its files are "not found".
    pub(crate) fn takes_role(&self, user: &str, context: u32) {
        lock(&self.school).without_role.insert((user.to_owned(), context));
    }

    /// Only these may see this file, of those who may see its activity.
    pub(crate) fn shows_to(&self, url: &str, users: &[&str]) {
        let users = users.iter().map(|&user| user.to_owned()).collect();
        lock(&self.school).own.insert(files::name(url), users);
    }

    /// Puts a file where this URL leads, whatever its revision. Returns its ETag.
    pub(crate) fn publishes(&self, url: &str, kind: &str, body: impl AsRef<[u8]>) -> String {
        self.keeps(url, files::File::new(kind, Answer::ok(&body), tag(body)))
    }

    /// The same with a film.
    pub(crate) fn publishes_film(&self, url: &str, film: &Film) -> String {
        self.keeps(url, files::File::new("video/mp4", film.bare(), tag(film.bytes(0, film.length))))
    }

    fn keeps(&self, url: &str, file: files::File) -> String {
        let (mut school, tag) = (lock(&self.school), file.tag.clone());
        school.files.insert(files::name(url), file);
        tag
    }

    /// Takes the file away.
    pub(crate) fn deletes(&self, url: &str) {
        lock(&self.school).files.remove(&files::name(url));
    }

    /// Raises the package's number, as an update does, and a save that failed half-way.
    pub(crate) fn revises(&self) {
        lock(&self.school).revision += 1;
    }

    /// Whether it lets this request have the file at `url`: what a check endpoint of its own would say.
    pub(crate) fn allows(&self, seen: &Seen, url: &str) -> bool {
        lock(&self.school).may(seen, url) == Asked::Yes
    }
}

/// A script that panics fails its own test; the lock stays good.
fn lock(school: &Mutex<School>) -> MutexGuard<'_, School> {
    school.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
