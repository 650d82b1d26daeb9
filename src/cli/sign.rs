//! `lectern sign`: a URL, or a cookie, that a rule with signed access lets in. Asks no node: the key is in the configuration.

use super::{Exit, Streams};
use crate::{
    access::signed::{self, Grant},
    clock,
    config::{self, Config},
    rules::{Access, Facts, RuleSet, Signed, normalise},
    site::Hosts,
    units::Span,
};
use clap::Args;
use http::{HeaderMap, Method, Uri};
use std::{net::IpAddr, path::PathBuf, sync::Arc};

#[derive(Args)]
pub(super) struct Sign {
    /// The whole URL as a learner's browser has it.
    url: String,
    /// The configuration whose rule speaks for the URL and names the keys.
    #[arg(long, default_value = "/etc/lectern/lectern.toml")]
    config: PathBuf,
    /// How long it is valid.
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    valid: Span,
    /// Open all paths that begin so, rather than the URL's alone; it ends in `/`.
    #[arg(long, value_name = "PREFIX")]
    under: Option<String>,
    /// Open it to this client address only.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Sign with the key of this name, rather than with the first that can.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Print the cookie rather than the URL.
    #[arg(long)]
    cookie: bool,
}

/// What is signed, as the configuration sees it.
struct Meant {
    signed: Arc<Signed>,
    host: String,
    path: String,
}

impl Sign {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Exit {
        let config = match config::load(&self.config) {
            Ok(config) => config,
            Err(report) => {
                let exit = if report.unreadable { Exit::NoInput } else { Exit::Config };
                return streams.fail(exit, format_args!("{report}"));
            }
        };
        match self.sign(&config) {
            Ok(line) => {
                streams.say(format_args!("{line}"));
                Exit::Done
            }
            Err(why) => streams.fail(Exit::Data, format_args!("{}: {why}", self.url)),
        }
    }

    /// The URL or cookie with its signature.
    fn sign(&self, config: &Config) -> Result<String, String> {
        let uri: Uri = self.url.parse().map_err(|why: http::uri::InvalidUri| why.to_string())?;
        let Meant { signed, host, path } = meant(config, &uri)?;
        let prefix = self.under.as_deref().unwrap_or(&path);
        if prefix != path && !(prefix.ends_with('/') && path.starts_with(prefix)) {
            return Err(format!("`{prefix}` is no beginning of its path that ends in `/`"));
        }
        let until = (clock::unix_millis(clock::now()) / 1000).saturating_add(self.valid.0.as_secs());
        let grant = Grant { host: &host, prefix, until, client: self.client };
        let token = signed::make(&signed, &grant, self.key.as_deref()).map_err(|why| why.to_string())?;
        match (&signed.query, &signed.cookie) {
            (_, Some(cookie)) if self.cookie => Ok(format!("{cookie}={token}")),
            (Some(parameter), _) if !self.cookie => Ok(with_parameter(&uri, parameter, &token)),
            (None, _) => Err("its rule reads a cookie only: ask for it with --cookie".to_owned()),
            (Some(_), _) => Err("its rule reads no cookie".to_owned()),
        }
    }
}

/// What a URL means by the configuration: the rule that speaks for a GET of it.
fn meant(config: &Config, uri: &Uri) -> Result<Meant, String> {
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("it does not begin with http:// or https://".to_owned()),
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = normalise::host(authority, https).map_err(|why| why.to_string())?.into_owned();
    let path = normalise::target(uri.path()).map_err(|why| why.to_string())?.into_owned();
    let default = config.sites.iter().find(|site| Some(&site.name) == config.default_site.as_ref());
    let mut hosts = Hosts::new(default);
    for site in &config.sites {
        for host in &site.hosts {
            hosts.set(host, site);
        }
    }
    let site = hosts.find(&host).ok_or_else(|| format!("no site answers for {host}"))?;
    let rules = RuleSet::compile(site.rules.clone()).map_err(|_| "its site has broken rules".to_owned())?;
    let none = HeaderMap::new();
    let facts = Facts { method: &Method::GET, path: &path, query: uri.query(), headers: &none };
    match rules.find(&facts) {
        Some((_, rule)) => match &rule.access {
            Access::Signed(signed) => Ok(Meant { signed: signed.clone(), host, path }),
            Access::Open | Access::Asked(_) => Err(format!("rule {} asks for no signature", rule.name)),
        },
        None => Err("no rule speaks for it".to_owned()),
    }
}

/// The URL with this parameter, in place of one that it has.
fn with_parameter(uri: &Uri, parameter: &str, token: &str) -> String {
    let scheme = uri.scheme_str().unwrap_or("https");
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let query = uri.query().and_then(|query| normalise::without(query, parameter));
    let query = query.map_or_else(String::new, |query| format!("{query}&"));
    format!("{scheme}://{authority}{}?{query}{parameter}={token}", uri.path())
}
