//! Listeners and the admin address. The decision here is what a listener accepts when its author says
//! nothing: only `Host` names that a browser page elsewhere cannot make its victim send (loopback
//! names on loopback, else the addresses it is known by), and only pages of this machine as `Origin`.

use std::net::SocketAddr;

use strait_table::rules::Listener;

use super::{ADMIN_BIND, LISTENER_BIND, blocks::Declared, scope::Scope, tls};
use crate::{
    diagnostic::{Finding, codes},
    source::{Node, Span},
    walk::{Walk, keys, scalar},
};

const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const LOOPBACK_ORIGINS: [&str; 3] = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];

/// A listener that others than this machine can reach.
pub struct Reachable {
    pub bind: String,
    pub span: Span,
}

pub fn lower(walk: &mut Walk<'_>, scope: &Scope<'_>) -> (Vec<Listener>, Vec<Reachable>) {
    let mut reachable = Vec::new();
    let mut listeners = scope.lower(walk, |walk, declared| listener(walk, declared, &mut reachable));
    for (at, listener) in listeners.iter().enumerate() {
        let earlier = listeners[..at].iter().position(|other| clash(&other.bind, &listener.bind));
        if let Some(first) = earlier.and_then(|first| span_of(scope, &listeners[first].name)) {
            let span = span_of(scope, &listener.name).unwrap_or(first);
            twice(walk, span, first, &listener.bind);
        }
    }
    if scope.declared.is_empty() {
        listeners.push(fallback());
    }
    (listeners, reachable)
}

/// The listener of a configuration that names none.
pub fn fallback() -> Listener {
    Listener {
        name: "main".to_owned(),
        bind: LISTENER_BIND.to_owned(),
        public: None,
        hosts: LOOPBACK_HOSTS.map(str::to_owned).to_vec(),
        origins: LOOPBACK_ORIGINS.map(str::to_owned).to_vec(),
        tls: None,
    }
}

fn listener(
    walk: &mut Walk<'_>,
    declared: &Declared<'_>,
    reachable: &mut Vec<Reachable>,
) -> Option<Listener> {
    let mut fields = walk.fields(declared.node, &keys::LISTENER)?;
    let bind_node = fields.required(
        walk,
        "bind",
        declared.name_span,
        "write the address, for example `bind: 127.0.0.1:8080`",
    );
    let bind = bind_node.and_then(|node| walk.address(node));
    let public = fields.get("public").and_then(|node| public_url(walk, node));
    let hosts = fields.get("hosts").map(|node| texts(walk, node, "host names", host));
    let origins = fields.get("origins").map(|node| texts(walk, node, "origins", origin));
    let tls = fields.get("tls").and_then(|node| tls::listener(walk, node));
    fields.finish();

    let (bind, bind_node) = (bind?, bind_node?);
    if !bind.ip().is_loopback() {
        reachable.push(Reachable { bind: bind.to_string(), span: bind_node.span });
    }
    let silent = ["hosts", "public"].iter().all(|key| declared.node.get(key).is_none());
    if bind.ip().is_unspecified() && silent {
        let finding = Finding::new(
            &codes::HOSTS,
            bind_node.span,
            format!(
                "listener `{}` listens on every address and accepts only loopback `Host` names",
                declared.name
            ),
        )
        .help(
            "write `public: http://NAME` or `hosts: [NAME]` with the names agents use, or `hosts: [\"*\"]`",
        );
        walk.report(finding);
    }
    let known = public.as_ref().map(|(_, host, origin)| (host.clone(), origin.clone()));
    Some(Listener {
        name: declared.name.to_owned(),
        hosts: hosts.filter(|hosts| !hosts.is_empty()).unwrap_or_else(|| hosts_of(bind, known.as_ref())),
        origins: origins.unwrap_or_else(|| origins_of(bind, known.as_ref(), tls.is_some())),
        bind: bind.to_string(),
        public: public.map(|(url, ..)| url),
        tls,
    })
}

fn hosts_of(bind: SocketAddr, public: Option<&(String, String)>) -> Vec<String> {
    let mut hosts: Vec<String> = match bind.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => LOOPBACK_HOSTS.map(str::to_owned).to_vec(),
        std::net::IpAddr::V6(ip) => vec![format!("[{ip}]")],
        std::net::IpAddr::V4(ip) => vec![ip.to_string()],
    };
    hosts.extend(public.map(|(host, _)| host.clone()));
    hosts
}

fn origins_of(bind: SocketAddr, public: Option<&(String, String)>, is_tls: bool) -> Vec<String> {
    let mut origins: Vec<String> = match bind.ip().is_loopback() {
        true if is_tls => LOOPBACK_ORIGINS.map(|origin| origin.replacen("http", "https", 1)).to_vec(),
        true => LOOPBACK_ORIGINS.map(str::to_owned).to_vec(),
        false => Vec::new(),
    };
    origins.extend(public.map(|(_, origin)| origin.clone()));
    origins
}

/// The URL, its host as a `Host` header has it, and its origin.
fn public_url(walk: &mut Walk<'_>, node: &Node) -> Option<(String, String, String)> {
    let url = walk.text(node)?;
    let Some((scheme, rest)) = split_scheme(&url) else {
        walk.bad_url(node, &url, "it begins with neither `http://` nor `https://`");
        return None;
    };
    if let Err(why) = scalar::split_url(rest, scheme == "https://") {
        walk.bad_url(node, &url, &why);
        return None;
    }
    let authority = rest.split(['/', '?']).next().unwrap_or(rest).to_ascii_lowercase();
    let host = without_port(&authority).to_owned();
    Some((url.trim_end_matches('/').to_owned(), host, format!("{scheme}{authority}")))
}

fn split_scheme(url: &str) -> Option<(&'static str, &str)> {
    ["http://", "https://"].into_iter().find_map(|scheme| Some((scheme, url.strip_prefix(scheme)?)))
}

fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

fn texts(
    walk: &mut Walk<'_>,
    node: &Node,
    of: &str,
    read: fn(&mut Walk<'_>, &Node) -> Option<String>,
) -> Vec<String> {
    let items = walk.list(node, of).unwrap_or_default();
    items.iter().filter_map(|item| read(walk, item)).collect()
}

fn host(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let text = walk.text(node)?.to_ascii_lowercase();
    if text == "*" {
        return Some(text);
    }
    match scalar::split_authority(&text) {
        Ok((_, None)) => Some(text),
        Ok((_, Some(_))) => {
            let name = without_port(&text);
            let finding = Finding::new(&codes::NAME, node.span, format!("`{text}` holds a port"))
                .help(format!("any port is accepted: write `{name}`"));
            walk.report(finding);
            None
        }
        Err(why) => {
            walk.report(Finding::new(&codes::NAME, node.span, format!("`{text}` cannot be a host: {why}")));
            None
        }
    }
}

fn origin(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let text = walk.text(node)?.to_ascii_lowercase();
    let legal = text == "*"
        || split_scheme(&text).is_some_and(|(_, rest)| {
            let authority = rest.strip_suffix(":*").unwrap_or(rest);
            !rest.contains(['/', '?', '@']) && scalar::split_authority(authority).is_ok()
        });
    if legal {
        return Some(text);
    }
    let finding = Finding::new(&codes::URL, node.span, format!("`{text}` is not an origin"))
        .help("an origin is `https://host` or `http://host:port`, without a path; `*` accepts any");
    walk.report(finding);
    None
}

pub fn admin(walk: &mut Walk<'_>, node: Option<&Node>, listeners: &[Listener], scope: &Scope<'_>) -> String {
    let mut bind = ADMIN_BIND.to_owned();
    let mut at = None;
    if let Some(mut fields) = node.and_then(|node| walk.fields(node, &keys::ADMIN)) {
        let written = fields.get("bind");
        if let Some((node, address)) = written.and_then(|node| Some((node, walk.address(node)?))) {
            bind = address.to_string();
            at = Some(node.span);
        }
        fields.finish();
    }
    if let Some(same) = listeners.iter().find(|listener| clash(&listener.bind, &bind)) {
        let listener = span_of(scope, &same.name);
        if let Some((span, other)) = at.zip(listener).or(listener.zip(listener)) {
            twice(walk, span, other, &bind);
        } else if let Some(span) = at {
            twice(walk, span, span, &bind);
        }
    }
    bind
}

fn span_of(scope: &Scope<'_>, name: &str) -> Option<Span> {
    scope.find(name).map(|at| scope.declared[at].name_span)
}

/// Port 0 is a new one each time.
fn clash(a: &str, b: &str) -> bool {
    a == b && !a.ends_with(":0")
}

fn twice(walk: &mut Walk<'_>, span: Span, other: Span, bind: &str) {
    let finding = Finding::new(&codes::DECLARED_TWICE, span, format!("`{bind}` is listened on twice"));
    walk.report(if other == span { finding } else { finding.note(other, "the other is here") });
}
