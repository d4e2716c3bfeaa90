//! A key file on disk. Read through the configuration's parser and walker, as YAML or JSON, with all
//! its mistakes in one go; written to a temporary file with mode 0600, synced and renamed, so that a
//! reader sees the old file or the new one, whatever happens in between.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde_json::json;
use strait_policy::Principal;

use super::{Key, KeyFile, KeyFileError, token};
use crate::{
    diagnostic::{Finding, Findings, codes, render},
    limits::{KEY_FILE_BYTES_MAX, KEY_FILE_NODES_MAX},
    source::{Node, SourceMap, parse, read, read::ReadError},
    walk::{
        Walk,
        keys::{KEY, KEY_FILE},
    },
};

pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let text = read::read(path, KEY_FILE_BYTES_MAX).map_err(|error| unreadable(path, error))?;
    self::parse(path, text)
}

fn unreadable(path: &Path, error: ReadError) -> KeyFileError {
    let why = match error {
        ReadError::Io(why) => why,
        ReadError::NotAFile(what) => format!("it is {what}"),
        ReadError::TooLarge { bytes, max } => format!("it has {bytes} bytes, more than {max}"),
        ReadError::NotText { why, .. } => why.to_owned(),
    };
    KeyFileError::Unreadable { path: path.to_path_buf(), why }
}

/// Reads a key file's text; `path` only names it.
pub fn parse(path: &Path, text: String) -> Result<KeyFile, KeyFileError> {
    let mut files = SourceMap::default();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let file = files.add(name, PathBuf::new(), text);
    files.conceal(file);
    let mut findings = Findings::default();
    let root = parse::parse(file, &files.file(file).text, KEY_FILE_NODES_MAX, &mut findings);
    let mut walk = Walk::new(&files, &mut findings, &|_| None, true);
    let keys = root.and_then(|root| key_file(&mut walk, &root));
    let has_errors = findings.has_errors();
    match keys {
        Some(keys) if !has_errors => Ok(keys),
        _ => {
            let (findings, _) = findings.finish();
            // Places and codes only for findings of the parser, whose words may quote the text.
            let line = |finding: &Finding| match finding.code.number {
                ..100 => {
                    let bare = Finding { message: finding.code.about.to_owned(), ..finding.clone() };
                    render::short(&Finding { notes: Vec::new(), help: None, ..bare }, &files)
                }
                _ => render::short(finding, &files),
            };
            let findings = findings.iter().map(|f| line(f).lines().next().unwrap_or_default().to_owned());
            Err(KeyFileError::Malformed { path: path.to_path_buf(), findings: findings.collect() })
        }
    }
}

fn key_file(walk: &mut Walk<'_>, root: &Node) -> Option<KeyFile> {
    let mut fields = walk.fields(root, &KEY_FILE)?;
    let help = "`strait keys new` writes it";
    let pepper = fields.required(walk, "pepper", root.span, help).and_then(|node| hex32(walk, node));
    let items =
        fields.get("keys").map(|node| walk.list(node, "keys").unwrap_or_default()).unwrap_or_default();
    let keys = items.iter().filter_map(|item| key(walk, item)).collect();
    fields.finish();
    Some(KeyFile { pepper: pepper?, keys })
}

fn key(walk: &mut Walk<'_>, node: &Node) -> Option<Key> {
    let help = "`strait keys new` writes it";
    let mut fields = walk.fields(node, &KEY)?;
    let id = fields.required(walk, "id", node.span, help).and_then(|node| plain(walk, node));
    let groups = match fields.get("groups") {
        Some(node) => {
            let items = walk.list(node, "groups").unwrap_or_default();
            items.iter().filter_map(|item| plain(walk, item)).collect()
        }
        None => Vec::new(),
    };
    // A fact that cannot be read is no fact left out: the finding refuses the file.
    let mut fact = |key| fields.get(key).and_then(|node| plain(walk, node)).unwrap_or_default();
    let (user, agent, tenant) = (fact("user"), fact("agent"), fact("tenant"));
    let claims = fields.get("claims").and_then(|node| walk.json_object(node, written)).unwrap_or_default();
    let digest = fields.required(walk, "digest", node.span, help).and_then(|node| hex32(walk, node));
    let created = fields.required(walk, "created", node.span, help).and_then(|node| time(walk, node));
    let revoked = fields.get("revoked").filter(|node| !node.is_nothing()).map(|node| time(walk, node));
    fields.finish();
    // A revocation that cannot be read must not bring a key back to life: the whole file is refused.
    let principal = Principal { id: id?, user, agent, tenant, groups, claims };
    Some(Key { principal, digest: digest?, created: created?, revoked: revoked.flatten() })
}

/// What `strait keys new --claims` is given, as a key holds it.
pub fn claims(text: &str) -> Result<String, KeyFileError> {
    let mut files = SourceMap::default();
    let file = files.add("--claims".to_owned(), PathBuf::new(), text.to_owned());
    let mut findings = Findings::default();
    let root = parse::parse(file, text, KEY_FILE_NODES_MAX, &mut findings);
    let mut walk = Walk::new(&files, &mut findings, &|_| None, true);
    let claims = root.and_then(|root| walk.json_object(&root, written));
    claims.filter(|_| !findings.has_errors()).ok_or_else(|| {
        let (findings, _) = findings.finish();
        let first = findings.first().map_or_else(String::new, |f| render::short(f, &files));
        KeyFileError::Refused { why: first.lines().next().unwrap_or_default().to_owned() }
    })
}

fn written(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    walk.scalar(node, "text").map(|scalar| scalar.text.clone())
}

/// A text without references: nothing in a key file comes from elsewhere.
fn plain(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let scalar = walk.scalar(node, "text")?;
    if scalar.text.is_empty() || scalar.text.chars().any(char::is_control) {
        walk.report(Finding::new(
            &codes::KEY_FILE,
            node.span,
            "this text is empty or holds a control character",
        ));
        return None;
    }
    Some(scalar.text.clone())
}

fn hex32(walk: &mut Walk<'_>, node: &Node) -> Option<[u8; 32]> {
    let scalar = walk.scalar(node, "64 hexadecimal digits")?;
    let hash = blake3::Hash::from_hex(scalar.text.as_bytes()).ok();
    if hash.is_none() {
        walk.report(Finding::new(&codes::KEY_FILE, node.span, "this is not 64 hexadecimal digits"));
    }
    hash.map(|hash| *hash.as_bytes())
}

fn time(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let scalar = walk.scalar(node, "a time like `2026-11-21T10:15:00Z`")?;
    if !token::is_rfc3339(&scalar.text) {
        let message = "this is not a time like `2026-11-21T10:15:00Z`";
        walk.report(Finding::new(&codes::KEY_FILE, node.span, message));
        return None;
    }
    Some(scalar.text.clone())
}

pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

pub fn write(path: &Path, file: &KeyFile) -> Result<(), KeyFileError> {
    // Through a symbolic link, the file it points to is replaced, not the link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let temporary = folder_of(&path).join(name);
    let written = replace(&temporary, &path, &text(&path, file));
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(|error| KeyFileError::Io { what: "write", path, error })
}

fn replace(temporary: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
    // The mode above counts only for a file that was not there.
    out.set_permissions(Permissions::from_mode(0o600))?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(temporary, path)?;
    File::open(folder_of(path))?.sync_all()
}

/// JSON where the name says so, else YAML whose values are written as JSON: both read the same.
fn text(path: &Path, file: &KeyFile) -> String {
    let pepper = hex(&file.pepper);
    let keys: Vec<String> = file.keys.iter().map(line).collect();
    if path.extension().is_some_and(|ext| ext == "json") {
        let keys = keys.join(",\n    ");
        return format!("{{\n  \"pepper\": \"{pepper}\",\n  \"keys\": [\n    {keys}\n  ]\n}}\n");
    }
    let mut out =
        String::from("# Written by `strait keys`: digests of API keys, never the keys themselves.\n");
    out.push_str(&format!("pepper: \"{pepper}\"\n"));
    out.push_str(if keys.is_empty() { "keys: []\n" } else { "keys:\n" });
    keys.iter().for_each(|key| out.push_str(&format!("  - {key}\n")));
    out
}

/// A key as JSON. Claims go out as they came in: their numbers are exact.
fn line(key: &Key) -> String {
    let Principal { id, user, agent, tenant, groups, claims } = &key.principal;
    let mut value = json!({ "id": id, "groups": groups, "digest": hex(&key.digest), "created": key.created });
    for (name, fact) in [("user", user), ("agent", agent), ("tenant", tenant)] {
        if !fact.is_empty() {
            value[name] = json!(fact);
        }
    }
    if let Some(revoked) = &key.revoked {
        value["revoked"] = json!(revoked);
    }
    let value = value.to_string();
    match claims.as_str() {
        "" => value,
        claims => format!("{},\"claims\":{claims}}}", value.strip_suffix('}').unwrap_or(&value)),
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}
