//! What verbs about policy are asked with: a thing by its name, a server, a principal.

use strait_config_compiler::keys;
use strait_control::{Code, Failure, source::Opened};
use strait_policy::Principal;
use strait_table::rules::{ArchivedAuthMethod, ArchivedEffect, ArchivedPattern, ArchivedRule};
use strait_table::{Kind, Snapshot};

/// What is asked for.
pub struct Thing<'t> {
    pub kind: Kind,
    pub upstream: usize,
    pub name: &'t str,
}

impl<'t> Thing<'t> {
    /// By its full name, `upstream.name`.
    pub fn of(snapshot: &Snapshot, kind: Kind, full: &'t str) -> Result<Thing<'t>, Failure> {
        let Some((upstream, name)) = full.split_once('.') else {
            return Err(usage(format!("`{full}` is not written as `upstream.name`")));
        };
        let upstreams = &snapshot.rules().upstreams;
        match upstreams.iter().position(|known| known.name == upstream) {
            Some(upstream) => Ok(Thing { kind, upstream, name }),
            None => {
                let names: Vec<&str> = upstreams.iter().map(|known| known.name.as_str()).collect();
                Err(usage(format!("there is no upstream `{upstream}`; declared: {}", names.join(", "))))
            }
        }
    }

    /// The server that is asked: the one that is named, or the first whose patterns speak of it. None: it does not show it.
    pub fn server(&self, snapshot: &Snapshot, named: Option<&str>) -> Result<Option<usize>, Failure> {
        let rules = snapshot.rules();
        let full = format!("{}.{}", rules.upstreams[self.upstream].name.as_str(), self.name);
        let shows = |patterns: &[ArchivedPattern]| {
            patterns.iter().any(|pattern| strait_table::bind::speaks(pattern, self.kind, &full, self.name))
        };
        let of = |index: usize| match self.kind {
            Kind::Tool => shows(&rules.servers[index].tools),
            Kind::Prompt => shows(&rules.servers[index].prompts),
            Kind::Resource | Kind::Template => shows(&rules.servers[index].resources),
        };
        match named {
            None => Ok((0..rules.servers.len()).find(|index| of(*index))),
            Some(name) => match rules.servers.iter().position(|server| server.name == name) {
                Some(index) => Ok(Some(index).filter(|index| of(*index))),
                None => Err(usage(format!("there is no server `{name}`"))),
            },
        }
    }
}

/// Everybody who has a key that is not revoked, each id once.
pub fn known(opened: &Opened) -> Vec<Principal> {
    let mut known: Vec<Principal> = Vec::new();
    for identity in opened.snapshot.rules().identities.iter() {
        match &identity.method {
            ArchivedAuthMethod::Generated { keys } => known.extend(keys.iter().map(|key| key.principal())),
            ArchivedAuthMethod::KeyFile { path } => {
                let path = opened.base.join(path.as_str());
                let file = if path.exists() { keys::load(&path).ok() } else { None };
                let valid = file.into_iter().flat_map(|file| file.keys).filter(|key| key.revoked.is_none());
                known.extend(valid.map(|key| key.principal));
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    known.retain(|principal| seen.insert(principal.id.clone()));
    known
}

/// A principal by the id of a key, or as it is described.
pub fn who(opened: &Opened, text: &str) -> Result<Principal, Failure> {
    if text.trim_start().starts_with('{') {
        return described(text);
    }
    if text == Principal::anonymous().id {
        return Ok(Principal::anonymous());
    }
    if let Some(principal) = known(opened).into_iter().find(|principal| principal.id == text) {
        return Ok(principal);
    }
    let failure = usage(format!("no key has the id `{text}`"));
    Err(failure.help("describe the principal instead: `--as '{\"id\":\"ann\",\"groups\":[\"staff\"]}'`"))
}

fn described(text: &str) -> Result<Principal, Failure> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Described {
        id: String,
        #[serde(default)]
        user: String,
        #[serde(default)]
        agent: String,
        #[serde(default)]
        tenant: String,
        #[serde(default)]
        groups: Vec<String>,
        claims: Option<Box<serde_json::value::RawValue>>,
    }
    let described: Described =
        serde_json::from_str(text).map_err(|error| usage(format!("`--as` is not a principal: {error}")))?;
    let claims = described.claims.map(|claims| claims.get().to_owned()).unwrap_or_default();
    if !claims.is_empty() && !claims.starts_with('{') {
        return Err(usage("`claims` of `--as` must be an object".to_owned()));
    }
    let Described { id, user, agent, tenant, groups, .. } = described;
    Ok(Principal { id, user, agent, tenant, groups, claims })
}

pub fn usage(message: String) -> Failure {
    Failure::new(Code::Usage, message)
}

pub fn effect(rule: &ArchivedRule) -> &'static str {
    match rule.effect {
        ArchivedEffect::Allow => "allow",
        ArchivedEffect::Hold => "hold",
        ArchivedEffect::Deny => "deny",
    }
}

pub fn place(snapshot: &Snapshot, rule: &ArchivedRule) -> String {
    let source = snapshot.rules().sources.get(usize::from(rule.place.source.to_native()));
    format!("{}:{}:{}", source.map_or("?", |source| source.path.as_str()), rule.place.line, rule.place.column)
}
