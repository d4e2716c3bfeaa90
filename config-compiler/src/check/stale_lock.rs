//! A configuration and a lock file that do not speak of the same upstreams: of one that is not pinned nothing is exposed,
//! which its author should hear before the first caller does.

use crate::{
    diagnostic::{Finding, codes},
    lower::scope::Scope,
    source::Span,
    walk::Walk,
};

pub fn run(walk: &mut Walk<'_>, upstreams: &Scope<'_>) {
    for declared in &upstreams.declared {
        is_pinned(walk, declared.name, declared.name_span);
    }
    // Others may be declared in a file that could not be read.
    let Some(lock) = walk.lock.filter(|_| walk.whole) else { return };
    for locked in lock.upstreams.iter().filter(|locked| upstreams.find(&locked.pinned.name).is_none()) {
        let message = format!("upstream `{}` is pinned and declared nowhere", locked.pinned.name);
        walk.report(Finding::new(&codes::LOCK_STALE, locked.name_at, message).help("run `strait lock`"));
    }
}

pub fn is_pinned(walk: &mut Walk<'_>, name: &str, at: Span) {
    if walk.lock.is_some_and(|lock| lock.find(name).is_none()) {
        let message = format!("upstream `{name}` is not in the lock file: nothing of it is exposed");
        let help = "run `strait lock`: it asks the upstream and writes down what it offers";
        walk.report(Finding::new(&codes::LOCK_STALE, at, message).label("not pinned").help(help));
    }
}
