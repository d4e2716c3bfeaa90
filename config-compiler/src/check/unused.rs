//! Upstreams that no server shows, roles that no rule speaks to, identities that no server accepts.

use crate::{
    diagnostic::{Finding, codes},
    lower::scope::Scope,
    walk::Walk,
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
