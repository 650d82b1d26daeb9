//! `GET /v1/explain`: what would become of a request. Changes nothing.

use super::{
    Control, Peer, Problem,
    tokens::{Caller, ToRead},
};
use crate::response::Explanation;
use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use utoipa::IntoParams;

/// The field of the call that names a field of the request to explain. Not in the query: what logs targets must not see
/// a learner's cookie.
pub static FIELD: HeaderName = HeaderName::from_static("lectern-field");

/// Explains a request with a path as its target and its host as a field, over TLS or not, from a client at this address. The
/// node hands it in: what finds out belongs to the edge.
pub type Explain =
    std::sync::Arc<dyn Fn(Request<()>, bool, IpAddr) -> BoxFuture<'static, Explanation> + Send + Sync>;

/// The request to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// The whole URL as a learner's browser has it.
    #[param(example = "https://lms.example/theme/site.css")]
    url: String,
    /// Its method; absent: GET.
    #[param(example = "HEAD")]
    method: Option<String>,
}

/// Explain what would become of a request.
///
/// Site, rule and why those before it do not speak, normalised URL, key, what is stored, how the request would be answered and
/// what the origin would be sent, if it came now from where the call comes from, without a proxy between. Nothing is changed,
/// counted or sent. Values that may let somebody in are told by their length only.
#[utoipa::path(get, path = "/v1/explain", tag = "node", security(("token" = ["read"])),
    params(
        Asked,
        ("lectern-field" = Option<Vec<String>>, Header,
            description = "A field of the request as `Name: value`; once for each. `Host` takes the place of the URL's host",
            example = json!(["Accept-Language: de"])),
    ),
    responses(
        (status = 200, description = "What would become of it", body = Explanation),
        (status = 401, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is not accepted, or has not the role", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "URL, method or a field is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The token calls too often; nothing was done", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn explain(
    State(control): State<Control>,
    Caller { name: who, .. }: Caller<ToRead>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Explanation>, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::wrong_question(error.body_text()))?;
    let (request, https) = request(&asked, &headers).map_err(Problem::wrong_question)?;
    tracing::debug!(%who, "explain asked by the control API");
    let client = peer.map_or(Ipv4Addr::LOCALHOST.into(), |Extension(Peer(peer))| peer.ip());
    Ok(Json((control.explain)(request, https, client).await))
}

/// The request that is asked about, and whether it comes over TLS. The error says what would be right, and repeats nothing that
/// may be secret.
fn request(asked: &Asked, call: &HeaderMap) -> Result<(Request<()>, bool), String> {
    let (mut request, https) = get(&asked.url)?;
    let method = asked.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "the method is no method")?;
    *request.method_mut() = method;
    let fields = request.headers_mut();
    let host = fields.remove(header::HOST);
    for line in call.get_all(&FIELD) {
        let (name, value) = field(line)?;
        if name == header::TRANSFER_ENCODING {
            return Err("say how long a body is by Content-Length".into());
        }
        if fields.contains_key(&name) && [header::HOST, header::CONTENT_LENGTH].contains(&name) {
            return Err(format!("there are two of the field {name}"));
        }
        fields.append(name, value);
    }
    if let Some(host) = host.filter(|_| !fields.contains_key(header::HOST)) {
        fields.insert(header::HOST, host);
    }
    Ok((request, https))
}

/// The GET of a whole URL with its host as a field, and whether it comes over TLS. The error says what would be right, and does not
/// repeat the URL.
pub(super) fn get(url: &str) -> Result<(Request<()>, bool), String> {
    let uri: Uri = url.parse().map_err(|error| format!("the URL: {error}"))?;
    let https = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("the URL is to be whole, as in \"https://lms.example/course/1?page=2\"".into()),
    };
    let host = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let host = host.ok_or("the URL has no host, or a user name before it")?.as_str();
    let host = HeaderValue::from_str(host).map_err(|_| "the URL's host is no host")?;
    let mut request = Request::new(());
    *request.uri_mut() = uri.path_and_query().cloned().map_or(Uri::from_static("/"), Uri::from);
    request.headers_mut().insert(header::HOST, host);
    Ok((request, https))
}

/// `Name: value`.
fn field(line: &HeaderValue) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || "a field is written as \"Name: value\"".to_owned();
    let line = line.as_bytes();
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(line[..colon].trim_ascii()).map_err(|_| wrong())?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| wrong())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::{Asked, FIELD, request};
    use http::{HeaderMap, HeaderValue};

    fn asked(url: &str, method: Option<&str>, fields: &[&'static str]) -> Result<String, String> {
        let mut call = HeaderMap::new();
        for field in fields {
            call.append(&FIELD, HeaderValue::from_static(field));
        }
        let asked = Asked { url: url.into(), method: method.map(Into::into) };
        request(&asked, &call).map(|(request, https)| {
            let fields: Vec<_> =
                request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
            format!("{} {} {https} {}", request.method(), request.uri(), fields.join(", "))
        })
    }

    #[test]
    fn a_url_and_fields_make_the_request_that_a_browser_would_send() {
        for (url, method, fields, made) in [
            ("https://A.example:8443/a//b?q#x", None, &[][..], "GET /a//b?q true host: A.example:8443"),
            ("http://a.example", Some("HEAD"), &["Accept: */*"], "HEAD / false accept: */*, host: a.example"),
            ("http://a/", None, &["host:b", "X-A:  1:2 "], "GET / false host: b, x-a: 1:2"),
            ("http://a?q", None, &[], "GET /?q false host: a"),
        ] {
            assert_eq!(asked(url, method, fields).as_deref(), Ok(made), "{url}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_without_repeating_it() {
        for (url, method, fields, says) in [
            ("/a?secret", None, &[][..], "whole"),
            ("ftp://a/secret", None, &[], "whole"),
            ("http://secret@a/", None, &[], "user name"),
            ("http://a/secret b", None, &[], "URL"),
            ("http://a/", Some("secret it"), &[], "method"),
            ("http://a/", None, &["secret"], "Name: value"),
            ("http://a/", None, &["se cret: 1"], "Name: value"),
            ("http://a/", None, &["Host: secret", "host: b"], "two"),
            ("http://a/", None, &["Transfer-Encoding: chunked"], "Content-Length"),
        ] {
            let told = asked(url, method, fields).unwrap_err();
            assert!(told.contains(says) && !told.contains("secret"), "{url}: {told}");
        }
    }
}
