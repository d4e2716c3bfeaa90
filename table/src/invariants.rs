//! What must be true of a table beyond its layout: bytecheck proves that reading is memory-safe, these
//! prove that every number points at something. A table that passes cannot make a worker look past
//! the end of anything.

use strait_policy::TRAITS_MAX;

use crate::audit::{ArchivedAudit, Audit};
use crate::bound::{ArchivedBound, ArchivedItem, ArchivedShelf, Kind};
use crate::condition::{ArchivedCondition, NONE, fault};
use crate::file::OpenError;
use crate::rules::{
    ArchivedCredential, ArchivedPer, ArchivedRules, ArchivedShown, ArchivedStdio, ArchivedTo,
    ArchivedTransport, ArchivedUpstream,
};
use crate::shape::{ARGUMENTS_MAX, ArchivedArgument, ArchivedShape, ArchivedStep, DROPS_MAX, PATH_KEYS_MAX};
use crate::telemetry::ArchivedTelemetry;

/// Servers, upstreams, identities and traits are numbered with 16 bits.
pub const NUMBERED_MAX: usize = u16::MAX as usize;
/// Rules are numbered with 32 bits; no table of [`crate::file::TABLE_BYTES_MAX`] holds so many.
pub const RULES_MAX: usize = 1 << 24;

pub(crate) fn rules(rules: &ArchivedRules) -> Result<(), OpenError> {
    let numbered = [rules.upstreams.len(), rules.servers.len(), rules.identities.len(), rules.automata.len()];
    ensure(rules.limits.len() <= NUMBERED_MAX, "more than 65,535 limits")?;
    ensure(numbered.iter().all(|count| *count <= NUMBERED_MAX), "more than 65,535 of one kind")?;
    ensure(rules.policy.rules.len() <= RULES_MAX, "more rules than can be numbered")?;
    let bits = [rules.traits.len(), rules.windows.len(), rules.roles.len()];
    ensure(bits.iter().all(|count| *count <= TRAITS_MAX), "more traits than a set holds")?;
    ensure(rules.paths.is_sound(rules.servers.len()), "the path index points at a server that is not there")?;
    for (index, server) in rules.servers.iter().enumerate() {
        ensure(
            server.auth.iter().all(|identity| (identity.to_native() as usize) < rules.identities.len()),
            "a server names an identity that is not there",
        )?;
        ensure(server.path.starts_with('/'), "a server's path does not begin with `/`")?;
        let found = rules.paths.find(server.path.as_bytes(), |at| rules.servers[at].path == server.path);
        ensure(found == Some(index), "a server is not found by its path")?;
        ensure(server.shapes.len() <= NUMBERED_MAX, "more than 65,535 of one kind")?;
        server.shapes.iter().try_for_each(|shape| self::shape(rules, shape))?;
    }
    ensure(rules.automata.iter().all(|automaton| automaton.is_sound()), "a regular expression is not sound")?;
    ensure(rules.windows.iter().all(|window| window.is_sound()), "a window of time is not in order")?;
    // A malformed condition would be a rule that never speaks, and a deny would be silent.
    let traits = rules.traits.iter().map(|one| (&one.condition, 0));
    let policy = rules.policy.rules.iter();
    let conditions = policy.filter_map(|rule| rule.condition.as_ref()).map(|one| (one, rules.traits.len()));
    for (condition, traits) in traits.chain(conditions) {
        self::condition(rules, condition, traits)?;
    }
    for role in rules.roles.iter() {
        let there = |bit: u16| usize::from(bit) < rules.traits.len();
        ensure(
            there(role.yes.to_native()) && (role.error == NONE || there(role.error.to_native())),
            "a role stands for a trait that is not there",
        )?;
    }
    for rule in rules.policy.rules.iter() {
        if let ArchivedTo::Roles(roles) = &rule.to {
            ensure(
                roles.iter().all(|role| (role.to_native() as usize) < rules.roles.len()),
                "a rule speaks to a role that is not there",
            )?;
        }
        ensure(
            usize::from(rule.place.source.to_native()) < rules.sources.len().max(1),
            "a rule was written in a source that is not there",
        )?;
    }
    for limit in rules.limits.iter() {
        ensure(limit.policy().is_some(), "a limit's numbers come to nothing")?;
        if let ArchivedTo::Roles(roles) = &limit.to {
            ensure(
                roles.iter().all(|role| (role.to_native() as usize) < rules.roles.len()),
                "a limit is for a role that is not there",
            )?;
        }
    }
    for upstream in rules.upstreams.iter() {
        // The first dot of `upstream.name` is where patterns are read from.
        ensure(
            !upstream.name.is_empty() && !upstream.name.contains('.'),
            "an upstream's name is empty or has a dot",
        )?;
        ensure(
            upstream.identity_header.is_none()
                || matches!(upstream.transport, ArchivedTransport::Http { .. }),
            "an upstream that is not reached by a URL is told who calls",
        )?;
        credential(rules, upstream)?;
        if let ArchivedTransport::Http { endpoints } = &upstream.transport {
            ensure(!endpoints.is_empty(), "an http upstream has no endpoint")?;
            let rooted = endpoints.iter().all(|endpoint| endpoint.path.starts_with('/'));
            ensure(rooted, "an endpoint's path does not begin with `/`")?;
        }
    }
    ensure(
        rules.pins.is_empty() || rules.pins.len() == rules.upstreams.len(),
        "what is pinned is of other upstreams than the rules",
    )?;
    let mut tls = rules.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    ensure(tls.all(|tls| !tls.certificates.is_empty()), "a listener speaks TLS without a certificate")?;
    telemetry(&rules.telemetry)?;
    rules.audit.as_ref().map_or(Ok(()), audit)?;
    for price in rules.prices.iter() {
        ensure(
            price.up_to_micro_usd.is_some() == (price.kib_micro_usd > 0 || price.told.is_some())
                && price.most() >= price.micro_usd.to_native(),
            "a price that is known only after the call has no bound, or one below what each call costs",
        )?;
    }
    ensure(!rules.listeners.is_empty(), "there is no listener")
}

fn audit(audit: &ArchivedAudit) -> Result<(), OpenError> {
    let ids: Vec<&str> = audit.ship.iter().map(|ship| ship.id.as_str()).collect();
    let is_told_apart = |(at, id): (usize, &&str)| !id.is_empty() && !ids[..at].contains(id);
    ensure(ids.iter().enumerate().all(is_told_apart), "two collectors have one id, or one has none")?;
    ensure(
        audit.encrypt.len() <= Audit::RECIPIENTS_MAX,
        "payloads are encrypted for more than may open them",
    )?;
    ensure(audit.anchors.iter().all(|anchor| anchor.every_ms > 0), "an anchor is sent to without a pause")
}

fn telemetry(telemetry: &ArchivedTelemetry) -> Result<(), OpenError> {
    let share = telemetry.traces.as_ref().map_or(0, |traces| traces.sample_ppm.to_native());
    ensure(share <= 1_000_000, "more than all traces are sampled")?;
    let Some(otlp) = telemetry.otlp.as_ref() else {
        return ensure(telemetry.traces.is_none(), "traces go nowhere");
    };
    let is_url = ["http://", "https://"].iter().any(|scheme| otlp.endpoint.starts_with(scheme));
    ensure(is_url, "a collector has no URL")?;
    ensure(otlp.every_ms.to_native() > 0, "a collector is told of figures without a pause")
}

fn credential(rules: &ArchivedRules, upstream: &ArchivedUpstream) -> Result<(), OpenError> {
    let shown = match upstream.credential.as_ref() {
        Some(ArchivedCredential::OAuth { shown, .. }) => shown,
        Some(ArchivedCredential::Exchange { shown, identities, .. }) => {
            ensure(
                identities.iter().all(|identity| (identity.to_native() as usize) < rules.identities.len()),
                "an upstream takes tokens of an identity that is not there",
            )?;
            shown
        }
        _ => return Ok(()),
    };
    let is_child = matches!(&upstream.transport, ArchivedTransport::Stdio(_));
    ensure(
        matches!(shown, ArchivedShown::Variable(_)) == is_child,
        "a token is shown to a child in a header, or to a URL in a variable",
    )?;
    let is_everybodys = matches!(
        (&upstream.transport, upstream.credential.as_ref()),
        (
            ArchivedTransport::Stdio(ArchivedStdio { per: ArchivedPer::Shared, .. }),
            Some(ArchivedCredential::Exchange { .. })
        )
    );
    ensure(!is_everybodys, "a child that everybody shares would get one caller's token")
}

fn shape(rules: &ArchivedRules, shape: &ArchivedShape) -> Result<(), OpenError> {
    ensure(
        (shape.upstream.to_native() as usize) < rules.upstreams.len(),
        "a shape is of an upstream that is not there",
    )?;
    ensure(
        shape.arguments.len() <= ARGUMENTS_MAX && shape.drops.len() <= DROPS_MAX,
        "a shape says more than a worker looks at",
    )?;
    let deep = |keys: usize| (1..=PATH_KEYS_MAX).contains(&keys);
    ensure(
        shape.arguments.iter().all(|argument| deep(argument.path.len()))
            && shape
                .drops
                .iter()
                .all(|path| deep(path.len()) && matches!(path.last(), Some(ArchivedStep::Key(_)))),
        "a path of a shape is empty, longer than a worker walks, or ends in nothing",
    )?;
    // Arguments that have a key in common stand together, and no one is inside of another.
    let in_order = |one: &ArchivedArgument, other: &ArchivedArgument| {
        one.path < other.path && !other.path.starts_with(&one.path)
    };
    ensure(
        shape.arguments.is_sorted_by(in_order),
        "the arguments of a shape are not in their order, or one is inside of another",
    )
}

fn condition(rules: &ArchivedRules, condition: &ArchivedCondition, traits: usize) -> Result<(), OpenError> {
    match fault(condition, traits, rules.windows.len(), rules.automata.len()) {
        None => Ok(()),
        Some(what) => Err(OpenError::Meaning { what }),
    }
}

pub(crate) fn bound(rules: &ArchivedRules, bound: &ArchivedBound) -> Result<(), OpenError> {
    ensure(bound.servers.len() == rules.servers.len(), "the catalog is of other servers than the rules")?;
    let is_upstream = |upstream: &rkyv::rend::u16_le| (upstream.to_native() as usize) < rules.upstreams.len();
    ensure(
        bound.upstreams.len() == rules.upstreams.len(),
        "the catalog is of other upstreams than the rules",
    )?;
    for (server, said) in bound.servers.iter().zip(rules.servers.iter()) {
        ensure(
            server.sections.iter().all(|section| is_upstream(&section.upstream))
                && [&server.upstreams, &server.renamed_uris]
                    .into_iter()
                    .flat_map(|all| all.iter())
                    .all(is_upstream),
            "a server speaks of an upstream that is not there",
        )?;
        let mut last = None;
        for held in server.held.iter() {
            ensure(is_upstream(&held.upstream), "what is quarantined is of an upstream that is not there")?;
            ensure(
                held.rules.iter().all(|rule| (rule.to_native() as usize) < rules.policy.rules.len()),
                "what is quarantined is spoken of by a rule that is not there",
            )?;
            let key = Some((Kind::from(&held.kind), held.exposed.as_bytes()));
            ensure(last < key, "what is quarantined is not in its order")?;
            last = key;
        }
        for shelf in [&server.tools, &server.prompts, &server.resources, &server.templates] {
            self::shelf(rules, bound, shelf)?;
        }
        let unshaped = [&server.prompts, &server.resources, &server.templates];
        ensure(
            unshaped.into_iter().flat_map(|shelf| shelf.items.iter()).all(|item| item.shape.is_none()),
            "something else than a tool has a shape",
        )?;
        // A tool without the shape that its server gives it would be the powerful one.
        ensure(
            server.tools.items.iter().all(|item| has_its_shape(&said.shapes, item)),
            "a tool has not the shape that its server gives it",
        )?;
    }
    Ok(())
}

fn has_its_shape(shapes: &[ArchivedShape], item: &ArchivedItem) -> bool {
    match item.shape.as_ref() {
        Some(shape) => shapes.get(usize::from(shape.to_native())).is_some_and(|shape| shape.is_of(item)),
        None => !shapes.iter().any(|shape| shape.is_of(item)),
    }
}

fn shelf(rules: &ArchivedRules, bound: &ArchivedBound, shelf: &ArchivedShelf) -> Result<(), OpenError> {
    ensure(shelf.index.is_sound(shelf.items.len()), "a name index points at an item that is not there")?;
    ensure(
        shelf.upstreams.iter().all(|upstream| (upstream.to_native() as usize) < rules.upstreams.len()),
        "a list is made of an upstream that is not there",
    )?;
    for (index, item) in shelf.items.iter().enumerate() {
        // Also says that names are distinct: what a list shows is what a call finds.
        ensure(shelf.find(item.exposed.as_bytes()) == Some(index), "an item is not found by its name")?;
        ensure(
            (item.upstream.to_native() as usize) < rules.upstreams.len(),
            "an item belongs to an upstream that is not there",
        )?;
        ensure(
            [&item.fragment, &item.modern_fragment]
                .into_iter()
                .all(|fragment| (fragment.to_native() as usize) < bound.fragments.len()),
            "an item shows a fragment that is not there",
        )?;
        ensure(
            item.rules.iter().all(|rule| (rule.to_native() as usize) < rules.policy.rules.len()),
            "an item is spoken of by a rule that is not there",
        )?;
        ensure(
            item.rules.is_sorted_by(|a, b| a < b),
            "the rules that speak of an item are not in their order",
        )?;
        ensure(
            item.limits.iter().all(|limit| (limit.to_native() as usize) < rules.limits.len()),
            "an item is spoken of by a limit that is not there",
        )?;
        ensure(
            item.price.as_ref().is_none_or(|price| usize::from(price.to_native()) < rules.prices.len()),
            "an item has a price that is not there",
        )?;
    }
    Ok(())
}

fn ensure(holds: bool, what: &'static str) -> Result<(), OpenError> {
    if holds { Ok(()) } else { Err(OpenError::Meaning { what }) }
}
