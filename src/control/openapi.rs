//! The description of the API, made from its code; `docs/openapi.json` is the copy that clients are built from.

use super::{
    Control, explain, forget, health, ledger, purge, release, reload,
    shapes::{cloudflare, fastly},
    switches, warm,
};
use axum::{Json, extract::DefaultBodyLimit};
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Lectern control API", description = "Purges with a number, forgetting of access, warm-up, switches, reload, explain, metrics, health."),
    modifiers(&Token),
    tags((name = "purge", description = "What is outdated"), (name = "shapes", description = "Purges as other products take them; off unless `control.shapes` names them"), (name = "access", description = "Who is let in"), (name = "warm-up", description = "What is fetched beforehand"), (name = "release", description = "Which release of a module learners get"), (name = "node", description = "This node"))
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token made by `lectern token NAME --roles ROLES`. It must have one of the roles named with a call"))
            .build();
        let key = ApiKeyValue::with_description("fastly-key", "The same token, where Fastly has its key");
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        components.add_security_scheme("fastly_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

/// All paths of the API with their descriptions.
pub(super) fn documented() -> OpenApiRouter<Control> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(purge::purge))
        .routes(routes!(ledger::ledger))
        .routes(routes!(fastly::purge_key))
        .routes(routes!(fastly::purge_keys))
        .routes(routes!(fastly::purge_all))
        .routes(routes!(cloudflare::purge_cache))
        .routes(routes!(forget::forget))
        .routes(UtoipaMethodRouterExt::layer(routes!(warm::warm), DefaultBodyLimit::max(warm::BODY_BYTES)))
        .routes(routes!(switches::switches, switches::switch))
        .routes(routes!(release::module))
        .routes(UtoipaMethodRouterExt::layer(
            routes!(release::stage),
            DefaultBodyLimit::max(release::BODY_BYTES),
        ))
        .routes(routes!(release::warm_release))
        .routes(routes!(release::activate))
        .routes(routes!(release::roll_back))
        .routes(routes!(release::abort))
        .routes(routes!(reload::reload))
        .routes(routes!(explain::explain))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(description))
}

static DESCRIPTION: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(|| documented().split_for_parts().1);

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "node",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
async fn description() -> Json<&'static utoipa::openapi::OpenApi> {
    Json(&DESCRIPTION)
}

/// The description as it is committed: indented, with a line end.
#[expect(clippy::expect_used, reason = "the description is made of strings and maps with string keys")]
pub fn openapi_json() -> String {
    let mut text = serde_json::to_string_pretty(&*DESCRIPTION).expect("the description has a JSON form");
    text.push('\n');
    text
}
