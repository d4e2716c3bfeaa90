//! Before the first slot: both ends are greeted in the same era, and one call is found that both answer.
//!
//! The decision: unless told otherwise, only a tool that says it is read-only is called, because it will
//! be called some ten thousand times. A gateway that joins several servers shows `crm__get` where the
//! server says `get`; that name, and what the gateway asks of its callers, is all that differs between arms.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use strait_protocol::mcp::Method;

use super::schedule::Arm;
use super::wire::End;
use crate::load::arguments;
use crate::target::{Call, Era, EraChoice, Patience, Peer, Target, Template, Tool, Unreached, greet};

/// Whom to meet, and what to ask them.
#[derive(Clone, Debug)]
pub struct Ask {
    pub direct: Target,
    pub through: Target,
    /// The gateway with everything on.
    pub policy: Option<Target>,
    /// Somebody else's.
    pub rival: Option<Target>,
    pub era: EraChoice,
    /// The tool to call; the first read-only one that both show when not said.
    pub tool: Option<String>,
    /// Its name at the gateways, where that cannot be guessed.
    pub through_tool: Option<String>,
    /// A JSON object; `{{seq}}` in it is the request's number.
    pub arguments: Option<String>,
    /// So many bytes more of them.
    pub size: usize,
    pub timeout: Duration,
}

/// Ends to send the same request to, in the order of [`Arm`].
pub struct Met {
    pub ends: Vec<(Arm, End)>,
    /// What is called, for reports.
    pub call: String,
}

/// Why the arms cannot be compared.
#[derive(Debug)]
pub enum Unmet {
    /// An end does not answer as an MCP server does.
    Unreached { arm: Arm, url: String, unreached: Unreached },
    /// There is nothing to call, or no way to say it.
    Nothing(String),
}

impl Ask {
    pub fn meet(&self, stop: &AtomicBool) -> Result<Met, Unmet> {
        let patience = Patience { timeout: self.timeout, stop };
        let direct = self.greet(Arm::Direct, self.era, patience)?;
        // Two eras are two different requests.
        let era = if direct.era.is_modern() { EraChoice::Modern } else { EraChoice::Legacy };
        let through = self.greet(Arm::Through, era, patience)?;
        let (tool, through_tool) = self.tools(&direct, &through, patience)?;
        let mut further = Vec::new();
        for arm in self.arms().filter(|arm| *arm > Arm::Through) {
            let peer = self.greet(arm, era, patience)?;
            let shown = self.shown(arm, &peer, patience)?;
            let name =
                self.name_at_gateway(&tool.name, &shown).ok_or_else(|| self.unknown(arm, &tool.name))?;
            further.push((arm, peer, name));
        }
        let again =
            direct.again(&self.direct, patience).map_err(|fault| self.unreached(Arm::Again, fault))?;
        let given = match &self.arguments {
            Some(arguments) => arguments.clone(),
            None => arguments::for_schema(&tool.schema),
        };
        let arguments = arguments::padded(&given, self.size);
        let end = |target: &Target, era: &Era, name: &str| {
            let call =
                Call { method: Method::ToolsCall, name: Some(name), arguments: &arguments, progress: false };
            let request =
                Template::build(target, era, &call).map_err(|fault| Unmet::Nothing(fault.to_string()))?;
            Ok(End { target: target.clone(), request })
        };
        let direct_end = end(&self.direct, &direct.era, &tool.name)?;
        let bytes = direct_end.request.bytes().len();
        let mut ends = vec![
            (Arm::Direct, direct_end),
            (Arm::Again, end(&self.direct, &again, &tool.name)?),
            (Arm::Through, end(&self.through, &through.era, &through_tool)?),
        ];
        for (arm, peer, name) in further {
            ends.push((arm, end(self.target(arm), &peer.era, &name)?));
        }
        let revision = direct.era.revision();
        Ok(Met { ends, call: format!("tools/call {} ({bytes} bytes, {})", tool.name, revision.as_str()) })
    }

    fn greet(&self, arm: Arm, era: EraChoice, patience: Patience<'_>) -> Result<Peer, Unmet> {
        greet(self.target(arm), era, patience).map_err(|fault| self.unreached(arm, fault))
    }

    /// The arms of this run, in their order.
    pub fn arms(&self) -> impl Iterator<Item = Arm> {
        let is_there = |arm: &Arm| match arm {
            Arm::Direct | Arm::Again | Arm::Through => true,
            Arm::Policy => self.policy.is_some(),
            Arm::Rival => self.rival.is_some(),
        };
        Arm::ALL.into_iter().filter(is_there)
    }

    pub fn target(&self, arm: Arm) -> &Target {
        match arm {
            Arm::Direct | Arm::Again => &self.direct,
            Arm::Through => &self.through,
            // An arm that is not there is asked for nothing.
            Arm::Policy => self.policy.as_ref().unwrap_or(&self.through),
            Arm::Rival => self.rival.as_ref().unwrap_or(&self.through),
        }
    }

    fn unreached(&self, arm: Arm, unreached: Unreached) -> Unmet {
        Unmet::Unreached { arm, url: self.target(arm).url.clone(), unreached }
    }

    /// A tool of the server, and its name at the gateway.
    fn tools(&self, direct: &Peer, through: &Peer, patience: Patience<'_>) -> Result<(Tool, String), Unmet> {
        let wanted = |tool: &Tool| match &self.tool {
            Some(name) => tool.name == *name,
            None => tool.read_only,
        };
        let listed = direct.tools(&self.direct, patience, |tools| tools.iter().any(wanted));
        let listed = listed.map_err(|fault| self.unreached(Arm::Direct, fault))?;
        let mut candidates = listed.into_iter().filter(wanted).peekable();
        if candidates.peek().is_none() {
            return Err(Unmet::Nothing(match &self.tool {
                Some(name) => format!("{} shows no tool `{name}`", self.direct.url),
                None => {
                    format!("{} shows no tool annotated read-only: name one with --tool", self.direct.url)
                }
            }));
        }
        let shown = self.shown(Arm::Through, through, patience)?;
        let mut missing = None;
        for tool in candidates {
            match self.name_at_gateway(&tool.name, &shown) {
                Some(name) => return Ok((tool, name)),
                None => missing = missing.or(Some(tool.name)),
            }
        }
        Err(self.unknown(Arm::Through, &missing.unwrap_or_default()))
    }

    fn shown(&self, arm: Arm, peer: &Peer, patience: Patience<'_>) -> Result<Vec<Tool>, Unmet> {
        peer.tools(self.target(arm), patience, |_| false).map_err(|fault| self.unreached(arm, fault))
    }

    fn unknown(&self, arm: Arm, missing: &str) -> Unmet {
        let url = &self.target(arm).url;
        Unmet::Nothing(format!(
            "{url} shows no tool `{missing}` and none that ends in `__{missing}`: name it with --through-tool, \
             or let this caller see it"
        ))
    }

    fn name_at_gateway(&self, name: &str, shown: &[Tool]) -> Option<String> {
        let joined = format!("__{name}");
        let guess = |fits: &dyn Fn(&str) -> bool| shown.iter().find(|tool| fits(&tool.name));
        let guessed = || guess(&|found| found == name).or_else(|| guess(&|found| found.ends_with(&joined)));
        match &self.through_tool {
            Some(said) => Some(said.clone()),
            None => guessed().map(|tool| tool.name.clone()),
        }
    }
}
