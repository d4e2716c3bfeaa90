//! Configurations of other tools as ours: `strait import`.
//!
//! One file per form. Each reads the tree of a foreign file through [`report::Reader`], which accounts for every key:
//! mapped, ignored with the reason, or asked about. What is understood goes into a [`draft::Draft`], and [`write`] makes
//! our text of it. Three things hold whatever the file says: what cannot be carried whole is left out, never carried
//! half; a rule that cannot be said is never replaced by a wider one; a secret becomes a reference and is never repeated.

mod agentgateway;
mod clients;
mod docker;
pub mod draft;
mod entry;
mod envoy;
mod mcp_proxy;
mod registry;
pub mod report;
mod rules;
mod secret;
mod variables;
mod vscode;
mod write;

use std::path::Path;

use crate::{
    diagnostic::{Finding, Findings, codes},
    limits::{FILE_BYTES_MAX, NODES_MAX},
    load::Outcome,
    source::{
        FileId, Node, SourceFile, SourceMap, Span, Value, jsonc, parse,
        read::{self, ReadError},
        toml,
    },
};
use draft::Draft;
use report::{Reader, Report};
use variables::Variables;

/// The forms that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    McpServers,
    VsCode,
    Registry,
    Docker,
    Agentgateway,
    Envoy,
    McpProxy,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Form::McpServers => "mcpServers",
            Form::VsCode => "VS Code",
            Form::Registry => "MCP registry",
            Form::Docker => "Docker",
            Form::Agentgateway => "agentgateway",
            Form::Envoy => "Envoy AI Gateway",
            Form::McpProxy => "mcp-proxy",
        }
    }
}

/// What came of an import.
pub struct Imported {
    pub form: Form,
    /// The configuration; `None` when nothing could be carried.
    pub config: Option<String>,
    pub report: Report,
    /// The file that was read, for places. Nothing of its text may be shown.
    pub sources: SourceMap,
    /// Variables that must be set when the configuration is compiled.
    pub variables: Vec<String>,
}

/// A line of a client's file as it may be shown: quoted texts that look like secrets are left out.
pub fn hidden(line: &str) -> String {
    let mut out = String::new();
    let mut after_secret_name = false;
    for (at, part) in line.split('"').enumerate() {
        if at > 0 {
            out.push('"');
        }
        let is_quoted = at % 2 == 1;
        let refers = part.contains("${");
        let is_value = is_quoted && after_secret_name && !part.is_empty() && !refers;
        if secret::looks_like_one(part) || is_value {
            out.push_str("***");
        } else {
            out.push_str(part);
        }
        // `"TOKEN": "…"`: a name, then a colon, then its value.
        after_secret_name = match is_quoted {
            true => secret::is_named_like_one(part),
            false => after_secret_name && part.trim() == ":",
        };
    }
    out
}

/// Reads a file. `form`: what it is, where that is not to be found out.
pub fn file(path: &Path, form: Option<Form>) -> Result<Imported, Box<Outcome>> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    match read::read(path, FILE_BYTES_MAX) {
        Ok(text) => text_of(name, path, text, form),
        Err(error) => Err(unreadable(name, path, &error)),
    }
}

/// Reads bytes that are in no file.
pub fn bytes(name: &str, bytes: &[u8], form: Option<Form>) -> Result<Imported, Box<Outcome>> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let error = ReadError::TooLarge { bytes: bytes.len() as u64, max: FILE_BYTES_MAX };
        return Err(unreadable(name.to_owned(), Path::new(""), &error));
    }
    match read::text(bytes.to_vec()) {
        Ok(text) => text_of(name.to_owned(), Path::new(""), text, form),
        Err(error) => Err(unreadable(name.to_owned(), Path::new(""), &error)),
    }
}

fn unreadable(name: String, path: &Path, error: &ReadError) -> Box<Outcome> {
    let mut files = SourceMap::default();
    let file = files.add(name, path.to_owned(), String::new());
    let mut findings = Findings::default();
    findings.push(error.finding(&files.file(file).name, Span::new(file, 0, 0)));
    Box::new(Outcome::of_findings(findings, files, Vec::new()))
}

fn text_of(name: String, path: &Path, text: String, form: Option<Form>) -> Result<Imported, Box<Outcome>> {
    let mut files = SourceMap::default();
    let file = files.add(name, path.to_owned(), text);
    // It may hold keys in clear text anywhere.
    files.conceal(file);
    let mut findings = Findings::default();
    let roots = trees(&files, file, &mut findings);
    if findings.has_errors() || roots.is_empty() {
        return Err(Box::new(Outcome::of_findings(findings, files, Vec::new())));
    }
    let Some(form) = form.or_else(|| detect(&roots)) else {
        let message = "this is none of the forms that are imported";
        let help = "say which it is with `--from`; `strait import --help` lists them";
        findings.push(Finding::new(&codes::MISSING, Span::new(file, 0, 0), message).help(help));
        return Err(Box::new(Outcome::of_findings(findings, files, Vec::new())));
    };
    let (draft, report) = understood(&files, file, &roots, form);
    let config = (!draft.upstreams.is_empty()).then(|| write::text(&draft, &files.file(file).name));
    Ok(Imported { form, config, report, sources: files, variables: draft.variables.into_iter().collect() })
}

fn understood(files: &SourceMap, file: FileId, roots: &[Node], form: Form) -> (Draft, Report) {
    let mut reader = Reader::new(files);
    let mut draft = Draft::default();
    let variables = Variables { workspace: workspace(&files.file(file).path), ..Variables::default() };
    if form == Form::Envoy {
        envoy::read(&mut reader, roots, &mut draft);
        return (draft, reader.finish(&roots.iter().collect::<Vec<_>>()));
    }
    if let Some(root) = roots.first() {
        match form {
            Form::McpServers => clients::read(&mut reader, root, &mut draft, &variables),
            Form::VsCode => {
                let variables = Variables { workspace: variables.workspace.clone(), ..Variables::default() };
                vscode::read(&mut reader, root, &mut draft, variables);
            }
            Form::Registry => registry::read(&mut reader, root, &mut draft),
            Form::Docker => docker::read(&mut reader, root, &mut draft),
            Form::Agentgateway => agentgateway::read(&mut reader, root, &mut draft),
            Form::McpProxy => mcp_proxy::read(&mut reader, root, &mut draft),
            // Several documents together.
            Form::Envoy => {}
        }
    }
    let roots: Vec<&Node> = roots.iter().collect();
    (draft, reader.finish(&roots))
}

/// The folder of a project whose `.vscode` or `.cursor` the file is in.
fn workspace(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let folder = path.parent()?;
    let is_settings = matches!(folder.file_name()?.to_str()?, ".vscode" | ".cursor");
    is_settings.then(|| folder.parent()?.to_str().map(str::to_owned))?
}

/// JSON with comments where the text begins like it, TOML where the file is called so or begins with a table, else YAML.
fn trees(files: &SourceMap, file: FileId, findings: &mut Findings) -> Vec<Node> {
    let SourceFile { name, text, .. } = files.file(file);
    let first =
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
    let is_table = first.starts_with("[[")
        || (first.starts_with('[') && first.ends_with(']') && !first.contains(['"', ',', '{']));
    if name.ends_with(".toml") || (is_table && !name.ends_with(".json")) {
        return toml::parse(file, text, NODES_MAX, findings).into_iter().collect();
    }
    if first.starts_with(['{', '[', '/']) {
        return jsonc::parse(file, text, NODES_MAX, findings).into_iter().collect();
    }
    let mut roots = parse::documents(file, text, NODES_MAX, DOCUMENTS_MAX, findings).unwrap_or_default();
    roots.retain(|root| !root.is_nothing());
    if roots.is_empty() && !findings.has_errors() {
        findings.push(Finding::new(&codes::EMPTY, Span::new(file, 0, 0), "this file says nothing"));
    }
    roots
}

/// Documents of one file of a cluster.
const DOCUMENTS_MAX: usize = 1_024;

fn detect(roots: &[Node]) -> Option<Form> {
    let is_of =
        |kind: &str| roots.iter().any(|root| root.get("kind").and_then(report::text_of) == Some(kind));
    if is_of("MCPRoute") {
        return Some(Form::Envoy);
    }
    // Any other form is one document.
    let [root] = roots else { return None };
    let is_map = |key: &str| root.get(key).is_some_and(|node| matches!(node.value, Value::Map(_)));
    if is_map("mcpServers") {
        return Some(Form::McpServers);
    }
    let has = |key: &str| root.get(key).is_some();
    let is_list = |key: &str| root.get(key).is_some_and(|node| matches!(node.value, Value::List(_)));
    let inner = root.get("server");
    if is_list("packages") || is_list("remotes") || inner.is_some_and(|node| node.get("name").is_some()) {
        return Some(Form::Registry);
    }
    if is_map("registry") || is_list("servers") || (has("type") && (has("image") || is_map("remote"))) {
        return Some(Form::Docker);
    }
    if is_list("backends") && is_map("proxy") {
        return Some(Form::McpProxy);
    }
    if is_list("binds") || root.get("mcp").is_some_and(|mcp| mcp.get("targets").is_some()) {
        return Some(Form::Agentgateway);
    }
    if is_map("servers") || root.get("mcp").is_some_and(|mcp| mcp.get("servers").is_some()) {
        return Some(Form::VsCode);
    }
    None
}
