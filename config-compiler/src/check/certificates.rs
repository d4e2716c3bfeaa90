//! Identities that certificates show, at listeners that ask for none: nobody is known there by them.

use strait_table::rules::{AuthMethod, Identity, Listener, Server};

use crate::{
    diagnostic::{Finding, codes},
    lower::scope::Scope,
    walk::Walk,
};

const HELP: &str = "give the listener `tls: { cert: …, key: …, client_ca: FILE }`, with `client_auth: optional` where others \
                    come without a certificate";

pub fn run(
    walk: &mut Walk<'_>,
    listeners: &[Listener],
    servers: &[Server],
    identities: &[Identity],
    (server_names, identity_names): (&Scope<'_>, &Scope<'_>),
) {
    let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    // By name: those that could not be read are not among them.
    let shown = |at: &u16| {
        let name = identity_names.declared.get(usize::from(*at))?.name;
        let is_shown = |of: &&Identity| of.name == name && matches!(of.method, AuthMethod::Mtls(_));
        identities.iter().find(is_shown)
    };
    for server in servers {
        let of_name = server_names.declared.iter().find(|declared| declared.name == server.name);
        let (Some(identity), Some(at)) = (server.auth.iter().find_map(shown), of_name) else { continue };
        let (name, by) = (&identity.name, &server.name);
        if !listeners.iter().any(asks) {
            let message =
                format!("server `{by}` accepts certificates of `{name}`, and no listener asks for any");
            let finding = Finding::new(&codes::CERTIFICATE_UNASKED, at.name_span, message)
                .label("nobody can come in by it");
            walk.report(finding.help(HELP));
        } else if server.auth.iter().all(|at| shown(at).is_some()) {
            for listener in listeners.iter().filter(|listener| !asks(listener)) {
                let message = format!(
                    "nobody comes in to server `{by}` at listener `{}`, which asks for no certificate",
                    listener.name
                );
                walk.report(Finding::new(&codes::CERTIFICATE_NOT_HERE, at.name_span, message).help(HELP));
            }
        }
    }
}
