//! Upstreams that no server shows, roles that no rule speaks to, identities that no server accepts, secrets that nothing refers to.

use crate::{
    diagnostic::{Finding, codes},
    lower::scope::Scope,
    walk::{Walk, suggest},
};

pub fn run(walk: &mut Walk<'_>, scopes: &[&Scope<'_>]) {
    // Whoever speaks of it may be in a file that could not be read.
    if !walk.whole {
        return;
    }
    for scope in scopes {
        let whom = match scope.what {
            "upstream" => "no server shows anything of it",
            "role" => "no rule or limit speaks to it",
            _ => "no server accepts it",
        };
        for (declared, used) in scope.declared.iter().zip(&scope.used) {
            if !used {
                let message = format!("{} `{}` is never used", scope.what, declared.name);
                walk.report(Finding::new(&codes::UNUSED, declared.name_span, message).label(whom));
            }
        }
    }
}

/// A secret that nothing refers to is mostly one whose name was mistyped: what is referred to and not declared is looked for in the
/// gateway's own folder, and nobody knows here what is in that.
pub fn secrets(walk: &mut Walk<'_>, scope: &Scope<'_>) {
    if !walk.whole {
        return;
    }
    let is_declared = |name: &str| scope.declared.iter().any(|declared| declared.name == name);
    for declared in &scope.declared {
        if walk.spoken.iter().any(|(name, _)| name == declared.name) {
            continue;
        }
        let message = format!("secret `{}` is never used", declared.name);
        let mut finding =
            Finding::new(&codes::UNUSED, declared.name_span, message).label("nothing refers to it");
        let elsewhere = walk.spoken.iter().filter(|(name, _)| !is_declared(name));
        let nearly =
            suggest::nearest(declared.name, elsewhere.map(|(name, _)| name.as_str())).filter(|name| {
                suggest::nearest(name, scope.declared.iter().map(|one| one.name)) == Some(declared.name)
            });
        if let Some((name, at)) = walk.spoken.iter().find(|(name, _)| Some(name.as_str()) == nearly) {
            finding = finding
                .note(*at, format!("`{name}` is not declared: it is looked for in the gateway's own folder"))
                .meant(Some(name));
        }
        walk.report(finding);
    }
}
