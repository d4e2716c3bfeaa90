//! What an upstream offers: its lists, page by page, reported to control, which binds them to the
//! rules. One worker asks for each upstream, over the same path as any call; it asks again when the
//! server says that a list changed, from time to time, and soon after a failure.

use std::rc::Rc;
use std::time::Duration;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Members, unescape};
use strait_protocol::mcp::{Method, codes};
use strait_table::Kind;
use strait_table::bound::Capabilities;
use strait_table::catalog::{Announced, Definition, FreshUntil, Known, Lists, Scopes};

use super::ask::ask;
use super::handshake::{self, Freshness};
use super::{Era, Upstream, UpstreamFault, Whom, hearing};
use crate::changes::ListSet;
use crate::core::Core;
use crate::handle::Event;
use crate::io::runtime;
use crate::limits::{ASKED_BYTES_MAX, LIST_PAGES_MAX, RELIST_FAILED_MS, RELIST_FRESH_MS_MIN, RELIST_MS};

/// Sessions and children that serve our own questions belong to nobody.
pub const NOBODY: u64 = 0;
/// Servers announce several changed lists in a row: wait for the last.
const SETTLE_MS: u64 = 100;

/// Whether this worker asks: for stdio it is the owner of the shared child.
pub fn is_asker(core: &Core, upstream: &Upstream) -> bool {
    asker(core, upstream) == core.id
}

/// The worker that asks.
pub fn asker(core: &Core, upstream: &Upstream) -> usize {
    core.owner_of(upstream.id.0.into())
}

/// Keeps control told of what an upstream offers, until no edition names it any more.
pub async fn keep(core: Rc<Core>, upstream: Rc<Upstream>) {
    let mut wait_ms = RELIST_FAILED_MS.0;
    // Announced, and not reported since; and how often each was reported.
    let (mut news, mut announced) = (ListSet::default(), Announced::default());
    loop {
        news = news.or(upstream.takes_up_news());
        let outcome = tokio::select! {
            biased;
            outcome = lists(&core, &upstream) => outcome,
            () = upstream.retired.wait() => return,
        };
        let pause_ms = match &outcome {
            Ok(lists) => {
                wait_ms = RELIST_FAILED_MS.0;
                pause(lists, core.clock.now_ms())
            }
            Err(_) => {
                let pause_ms = wait_ms;
                wait_ms = (wait_ms * 2).min(RELIST_FAILED_MS.1);
                pause_ms
            }
        };
        if outcome.is_ok() {
            hearing::hear(&core, &upstream);
            std::mem::take(&mut news).count(&mut announced);
        }
        let outcome = outcome.map(|lists| Lists { announced, ..lists }).map_err(|fault| fault.to_string());
        let report = Event::Learned { upstream: upstream.id, outcome };
        if core.events.send(report).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            () = upstream.relist.wait() => runtime::sleep(Duration::from_millis(SETTLE_MS)).await,
            () = runtime::sleep(Duration::from_millis(pause_ms)) => {}
            () = upstream.retired.wait() => return,
        }
    }
}

/// Until lists are asked for again, unless the upstream says before that they changed: as long as it lets them be kept.
fn pause(lists: &Lists, now_ms: u64) -> u64 {
    let kept = lists.fresh_until.first().map(|until| until.saturating_sub(now_ms));
    kept.map_or(RELIST_MS, |kept| kept.clamp(RELIST_FRESH_MS_MIN, RELIST_MS))
}

async fn lists(core: &Rc<Core>, upstream: &Rc<Upstream>) -> Result<Lists, UpstreamFault> {
    let asked_ms = core.clock.now_ms();
    super::greet(core, upstream).await?;
    let said = upstream.said.borrow().clone();
    let about = given(upstream, said.freshness).until(asked_ms);
    // Who does not say what it has may have anything.
    let everything = Capabilities { tools: true, prompts: true, resources: true, ..Capabilities::default() };
    let declared = said.capabilities.unwrap_or(everything);
    let list = async |kind| match declared.lists(kind) {
        true => list(core, upstream, kind).await,
        // That there is none is part of what it says of itself.
        false => Ok(Listed { definitions: Vec::new(), fresh_until: about.0, public: about.1 }),
    };
    let tools = list(Kind::Tool).await?;
    let prompts = list(Kind::Prompt).await?;
    let resources = list(Kind::Resource).await?;
    let templates = list(Kind::Template).await?;
    Ok(Lists {
        known: Known::Fresh,
        older: upstream.known_era() == Some(Era::Legacy),
        scopes: Scopes {
            tools: tools.public,
            prompts: prompts.public,
            resources: resources.public,
            templates: templates.public,
            about: about.1,
        },
        fresh_until: FreshUntil {
            tools: tools.fresh_until,
            prompts: prompts.fresh_until,
            resources: resources.fresh_until,
            templates: templates.fresh_until,
            about: about.0,
        },
        tools: tools.definitions,
        prompts: prompts.definitions,
        resources: resources.definitions,
        templates: templates.definitions,
        instructions: said.instructions,
        capabilities: said.capabilities.unwrap_or_default(),
        announced: Announced::default(),
    })
}

/// A list that was asked for, page by page.
struct Listed {
    definitions: Vec<Definition>,
    fresh_until: u64,
    public: bool,
}

/// How a kind of things is asked for, and where a page has them and each its name.
fn words(kind: Kind) -> (Method, &'static str, &'static str) {
    match kind {
        Kind::Tool => (Method::ToolsList, "tools", "name"),
        Kind::Prompt => (Method::PromptsList, "prompts", "name"),
        Kind::Resource => (Method::ResourcesList, "resources", "uri"),
        Kind::Template => (Method::ResourcesTemplatesList, "resourceTemplates", "uriTemplate"),
    }
}

/// What an upstream said of an answer; one that speaks a revision without a word for it is configured.
fn given(upstream: &Upstream, said: Freshness) -> Freshness {
    match upstream.known_era() {
        Some(Era::Modern) => said,
        Some(Era::Legacy) | None => Freshness { ttl_ms: upstream.list_ttl_ms, public: false },
    }
}

async fn list(core: &Rc<Core>, upstream: &Rc<Upstream>, kind: Kind) -> Result<Listed, UpstreamFault> {
    let (method, items, name) = words(kind);
    let mut listed = Listed { definitions: Vec::new(), fresh_until: u64::MAX, public: true };
    let mut cursor: Option<Vec<u8>> = None;
    let mut bytes_left = ASKED_BYTES_MAX;
    for _ in 0..LIST_PAGES_MAX {
        let asked_ms = core.clock.now_ms();
        let mut members = Vec::new();
        if let Some(cursor) = &cursor {
            members.extend_from_slice(b"\"cursor\":");
            members.extend_from_slice(cursor);
        }
        let answered = ask(core, upstream, Whom::of(NOBODY, None), method, &members).await?;
        let (page, envelope) = (answered.bytes(), &answered.envelope);
        bytes_left =
            bytes_left.checked_sub(page.len()).ok_or(UpstreamFault::TooLarge { limit: ASKED_BYTES_MAX })?;
        let Some(result) = envelope.result else {
            return match envelope.error_code {
                // It has no such list.
                Some(codes::METHOD_NOT_FOUND | codes::INVALID_PARAMS) if cursor.is_none() => {
                    Ok(Listed { fresh_until: 0, public: false, ..listed })
                }
                code => Err(UpstreamFault::NotMcp(format!(
                    "{} was answered with an error ({})",
                    method.as_str(),
                    code.map_or_else(|| "no code".to_owned(), |code| code.to_string())
                ))),
            };
        };
        let (until, public) = given(upstream, handshake::freshness(page, result)).until(asked_ms);
        listed.fresh_until = listed.fresh_until.min(until);
        listed.public &= public;
        read_page(page, result, items, name, &mut listed.definitions).ok_or_else(|| {
            UpstreamFault::NotMcp(format!("{} has no `{items}` array of objects", method.as_str()))
        })?;
        let next =
            Members::find(page, result, "nextCursor").ok().flatten().map(|span| span.of(page).to_vec());
        match next {
            // A cursor that repeats would be followed for ever.
            Some(next) if next.starts_with(b"\"") && cursor.as_ref() != Some(&next) => cursor = Some(next),
            _ => break,
        }
    }
    Ok(listed)
}

fn read_page(page: &[u8], result: Span, items: &str, name: &str, into: &mut Vec<Definition>) -> Option<()> {
    let array = Members::find(page, result, items).ok()??;
    for element in Elements::of(page, array) {
        let element = element.ok()?;
        let Some(raw) = Members::find(page, element, name).ok()? else { continue };
        let inner = raw.of(page).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let mut text = Vec::new();
        unescape(inner, &mut text);
        let (Ok(name), Ok(json)) = (String::from_utf8(text), std::str::from_utf8(element.of(page))) else {
            continue;
        };
        into.push(Definition { name, json: json.to_owned() });
    }
    Some(())
}
