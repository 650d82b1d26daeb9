//! Login by cookie, and pages for one learner alone. They say nothing about storing, so that a careless cache would.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::asset::modified;
use super::front::Front;
use super::pages::{Tenant, bare, escape};
use crate::content::hex;

const COOKIE: &str = "lms_session";
const ANSWER: HeaderName = HeaderName::from_static("x-answer");

/// The login form.
pub(crate) async fn form() -> Response {
    bare(
        "Log in",
        "<form method=\"post\" action=\"/login\"><label>Name <input name=\"username\"></label>\n\
         <label>Password <input name=\"password\" type=\"password\"></label><button>Log in</button></form>\n",
    )
}

#[derive(Deserialize)]
pub(crate) struct Login {
    username: String,
}

/// Any name and any password are right: the sample has no secrets.
pub(crate) async fn login(Tenant(tenant): Tenant, Form(login): Form<Login>) -> Response {
    let name: String = login.username.chars().filter(|c| c.is_alphanumeric() || *c == '-').take(40).collect();
    let cookie = format!("{}; Path=/; HttpOnly; SameSite=Lax", cookie(&tenant, &name));
    ([(header::SET_COOKIE, cookie)], Redirect::to("/my/")).into_response()
}

/// The cookie of a learner who is logged in, as a client sends it back.
pub(crate) fn cookie(tenant: &str, name: &str) -> String {
    format!("{COOKIE}={}.{}", hex(name.as_bytes()), seal(tenant, name))
}

/// Takes the cookie back.
pub(crate) async fn logout() -> Response {
    ([(header::SET_COOKIE, format!("{COOKIE}=; Path=/; Max-Age=0"))], Redirect::to("/")).into_response()
}

/// The learner's own page, under `/my/` and any path below it, whatever that looks like. `/my/` sets a cookie each
/// time, the others do not; none says anything about storing, and all have a `Last-Modified` long past.
pub(crate) async fn mine(
    State(front): State<Front>,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    uri: axum::http::Uri,
) -> Response {
    let Some(name) = learner(&tenant, &headers) else {
        return Redirect::to("/login").into_response();
    };
    let content = format!(
        "<p>Hello, {name}. This page is yours alone.</p>\n<ul>\n\
         <li><a href=\"/launch/fire-safety\">Fire safety at work</a>: begun</li>\n</ul>\n\
         <form method=\"post\" action=\"/logout\"><button>Log out</button></form>\n",
        name = escape(&name)
    );
    let mut response = own(&front, "My courses", &content);
    if uri.path() == "/my/" {
        set(&mut response, header::SET_COOKIE, format!("lms_seen={}; Path=/", hex(name.as_bytes())));
    }
    response
}

/// A learner's own page. `X-Answer` is a number that no other answer has: who sees one twice knows that somebody stored it.
pub(crate) fn own(front: &Front, title: &str, content: &str) -> Response {
    let mut response = bare(title, content);
    set(&mut response, header::LAST_MODIFIED, httpdate::fmt_http_date(modified(1)));
    set(&mut response, ANSWER, front.shared.answers.fetch_add(1, Ordering::Relaxed).to_string());
    response
}

/// Who is asking, as JSON.
pub(crate) async fn me(State(_): State<Front>, Tenant(tenant): Tenant, headers: HeaderMap) -> Response {
    let name = learner(&tenant, &headers);
    let mut response = Json(serde_json::json!({ "learner": name, "tenant": tenant })).into_response();
    set(&mut response, header::LAST_MODIFIED, httpdate::fmt_http_date(modified(1)));
    response
}

fn set(response: &mut Response, name: HeaderName, value: String) {
    if let Ok(value) = value.parse() {
        response.headers_mut().append(name, value);
    }
}

/// The name in a cookie that this tenant gave out.
pub(super) fn learner(tenant: &str, headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies =
        lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    let (name, seal_sent) = cookies.find(|(name, _)| *name == COOKIE)?.1.split_once('.')?;
    let name =
        name.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let name = String::from_utf8(name.collect::<Option<Vec<_>>>()?).ok()?;
    (seal_sent == seal(tenant, &name)).then_some(name)
}

/// Binds a name to a tenant. A learner's cookie is the same at every front and after a restart.
fn seal(tenant: &str, name: &str) -> String {
    hex(&Sha256::digest(format!("sample LMS\n{tenant}\n{name}")))[..24].to_owned()
}
