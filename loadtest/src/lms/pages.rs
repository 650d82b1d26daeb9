//! Whose site it is, and its public pages: the front page, the theme, and where a module is launched.

use std::fmt::Write;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::asset::{self, Asset, Source};
use super::content::built;
use super::front::Front;
use crate::content::package::Module;
use crate::content::{noise, picture};

/// A tenant: the host that was asked for, in lower case and without a port.
pub(crate) struct Tenant(pub(crate) String);

impl FromRequestParts<Front> for Tenant {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, front: &Front) -> Result<Tenant, Response> {
        tenant(front, &parts.uri, &parts.headers).ok_or_else(no_tenant)
    }
}

pub(crate) fn tenant_of(front: &Front, request: &Request) -> Option<Tenant> {
    tenant(front, request.uri(), request.headers())
}

fn tenant(front: &Front, uri: &Uri, headers: &HeaderMap) -> Option<Tenant> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = uri.authority().map(|authority| authority.as_str()).or(host)?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let tenants = &front.shared.options.tenants;
    (tenants.is_empty() || tenants.contains(&name)).then_some(Tenant(name))
}

pub(crate) fn no_tenant() -> Response {
    (StatusCode::NOT_FOUND, "No tenant of this name.\n").into_response()
}

/// `&`, `<`, `>` and quotes as references.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A page of the LMS.
pub(crate) fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/theme/site.css\"></head>\n\
         <body><img src=\"/theme/logo.png\" alt=\"\" height=\"48\"><h1>{title}</h1>\n{content}</body></html>\n"
    )
}

/// The public front page: the same for everybody, for a minute.
pub(crate) async fn home(State(front): State<Front>, Tenant(tenant): Tenant, headers: HeaderMap) -> Response {
    let mut list = String::from("<ul>\n");
    for module in Module::ALL {
        let (name, title) = (module.name(), module.title());
        // Writing to a string does not fail.
        let _ = writeln!(list, "<li><a href=\"/launch/{name}\">{title}</a></li>");
    }
    list += "<li><a href=\"/media/film.mp4\">The film</a></li>\n\
             <li><a href=\"/media/hls/lecture.m3u8\">The lecture</a></li>\n\
             <li><a href=\"/media/handbook.pdf\">The handbook</a></li>\n\
             <li><a href=\"/my/\">My courses</a></li>\n</ul>\n";
    let body = page(&format!("Courses of {}", escape(&tenant)), &list);
    let etag = crate::content::Built::new(body.clone()).etag;
    asset::answer(
        &headers,
        Asset {
            source: Source::Whole(body.into()),
            media_type: "text/html; charset=utf-8",
            cache_control: Some("public, max-age=60"),
            etag: Some(etag),
            version: front.version("site"),
        },
    )
}

/// The tenant's own style sheet and logo under the same paths for all tenants, with `Last-Modified` alone.
pub(crate) async fn theme(
    State(front): State<Front>,
    Tenant(tenant): Tenant,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let version = front.version("site");
    let seed = noise::seed(&["theme", &tenant, &version.to_string()]);
    let (media_type, body) = match file.as_str() {
        "site.css" => {
            let sheet = format!(
                "/* {tenant}, version {version} */\nbody {{ font: 16px sans-serif; margin: 2em; }}\n\
                 h1 {{ color: #{:06x}; }}\n",
                seed & 0x7f_7f7f
            );
            ("text/css; charset=utf-8", Some(sheet.into_bytes()))
        }
        "logo.png" => ("image/png", Some(picture::png(seed, 6_000))),
        _ => ("", None),
    };
    let Some(built) = built(&front.shared, &format!("{tenant}/{file}"), version, || body) else {
        return (StatusCode::NOT_FOUND, "No such file.\n").into_response();
    };
    let (source, cache_control) = (Source::Whole(built.body), Some("public, max-age=3600"));
    asset::answer(&headers, Asset { source, media_type, cache_control, etag: None, version })
}

/// Where a module begins in the version published now: the one place that announces it.
pub(crate) async fn launch(State(front): State<Front>, Path(module): Path<String>) -> Response {
    let Some(module) = Module::named(&module).map(Module::name) else {
        return (StatusCode::NOT_FOUND, "No such module.\n").into_response();
    };
    let target = format!("/content/{module}/{}/index.html", front.version(module));
    ([(header::CACHE_CONTROL, "no-store")], Redirect::to(&target)).into_response()
}

/// A page that says nothing about storing.
pub(crate) fn bare(title: &str, content: &str) -> Response {
    Html(page(title, content)).into_response()
}
