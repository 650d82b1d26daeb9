//! The school: who is signed in, enrolled and allowed, what lies where, and the answer that follows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::answer::Answer;
use super::super::origin::Seen;
use super::answers;
use super::files::{self, File};

type Bend = Arc<dyn Fn(&Seen, Answer) -> Answer + Send + Sync>;

/// The one course that there is.
const COURSE: u32 = 2;
/// The context of what is everybody's.
const SYSTEM: u32 = 1;

/// Its state.
pub(super) struct School {
    /// Sessions, and whose they are.
    pub(super) sessions: HashMap<String, String>,
    pub(super) signed_in: usize,
    pub(super) tokens: HashMap<String, String>,
    pub(super) enrolled: HashSet<(String, u32)>,
    /// Users, and the activities that they may not view all the same.
    pub(super) without_role: HashSet<(String, u32)>,
    pub(super) files: HashMap<String, File>,
    /// Files that are shown to some only.
    pub(super) own: HashMap<String, HashSet<String>>,
    /// The package's number, as `loadSCO.php` tells it.
    pub(super) revision: u32,
    pub(super) bends: Vec<Bend>,
}

impl Default for School {
    fn default() -> School {
        School {
            sessions: HashMap::new(),
            signed_in: 0,
            tokens: HashMap::new(),
            enrolled: HashSet::new(),
            without_role: HashSet::new(),
            files: HashMap::new(),
            own: HashMap::new(),
            revision: 1,
            bends: Vec::new(),
        }
    }
}

/// What it says to one who asks for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Yes,
    SignIn,
    Enrol,
    NotFound,
}

impl School {
    /// Whose session the request shows.
    fn user(&self, seen: &Seen) -> Option<&String> {
        let cookies = seen.all("cookie").join("; ");
        let session = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("MoodleSession="))?;
        self.sessions.get(session)
    }

    /// Whether the request may have what `url` leads to. Login and enrolment come first, then whether it is there.
    pub(super) fn may(&self, seen: &Seen, url: &str) -> Asked {
        self.may_user(self.user(seen), &files::name(url))
    }

    fn may_user(&self, user: Option<&String>, name: &str) -> Asked {
        let context = name.split('/').next().and_then(|id| id.parse::<u32>().ok()).unwrap_or_default();
        let there = || if self.files.contains_key(name) { Asked::Yes } else { Asked::NotFound };
        if context == SYSTEM {
            return there();
        }
        let Some(user) = user else { return Asked::SignIn };
        if !self.enrolled.contains(&(user.clone(), COURSE)) {
            return Asked::Enrol;
        }
        let own = self.own.get(name).is_none_or(|users| users.contains(user));
        match own && !self.without_role.contains(&(user.clone(), context)) {
            true => there(),
            false => Asked::NotFound,
        }
    }

    /// `/pluginfile.php/…` by cookie, `/tokenpluginfile.php/TOKEN/…` by the key in the path.
    pub(super) fn file(&self, seen: &Seen) -> Answer {
        let own = seen.path().strip_prefix("/tokenpluginfile.php/").and_then(|rest| rest.split_once('/'));
        let (user, name) = match own {
            Some((token, rest)) => (self.tokens.get(token), files::name(&format!("/pluginfile.php/{rest}"))),
            None => (self.user(seen), files::name(&seen.target)),
        };
        let answer = match (self.may_user(user, &name), self.files.get(&name)) {
            (Asked::Yes, Some(file)) => file.to(seen),
            (Asked::SignIn, _) if seen.field("range").is_some() => answers::no_proxy(true),
            (Asked::Enrol, _) if seen.field("range").is_some() => answers::no_proxy(false),
            (Asked::SignIn, _) => answers::sign_in(),
            (Asked::Enrol, _) => answers::enrol(COURSE),
            (Asked::Yes | Asked::NotFound, _) => answers::not_found(),
        };
        if own.is_some() { answer.field("Access-Control-Allow-Origin", "*") } else { answer }
    }

    /// `loadSCO.php`: an error with status 200 for a stranger, else the way to the package's files.
    pub(super) fn launch(&self, seen: &Seen) -> Answer {
        match self.user(seen) {
            None => answers::no_sco(),
            Some(_) => answers::launch(self.revision),
        }
    }

    /// A page of the user's own, or of nobody.
    pub(super) fn page(&self, seen: &Seen) -> Answer {
        match self.user(seen) {
            Some(user) => answers::page(&format!("a page of {user}")),
            None => answers::sign_in(),
        }
    }
}
