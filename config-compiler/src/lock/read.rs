//! A lock file's text as pins. It is written by a machine and spoiled by people: merged badly, cut short, mended by hand.
//! Whatever is wrong is told at its place, and then there is no lock: a pin that is only half believed pins nothing.
//!
//! Size and depth are bounded before the JSON parser sees anything.

use std::collections::HashSet;
use std::path::Path;

use strait_protocol::Span as Place;
use strait_protocol::jsonrpc::{Elements, Members, unescape};
use strait_table::bound::{Capabilities, Kind};
use strait_table::catalog::{Definition, Known, Lists};
use strait_table::pins;

use super::write::hex;
use super::{Lock, Locked, Pinned, VERSION, compact, list_word};
use crate::{
    diagnostic::{Code, Finding, Findings, codes},
    limits::{LOCK_BYTES_MAX, LOCK_DEPTH_MAX},
    load::Outcome,
    source::{FileId, SourceMap, Span, read::ReadError},
    walk::suggest,
};

const AGAIN: &str = "run `strait lock` to write it anew, and review what changed";

/// Reads the lock file at `path` into `files`. `None`, with at least one finding, when it is not to be used.
pub fn read(path: &Path, files: &mut SourceMap, findings: &mut Findings) -> Option<Lock> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    match crate::source::read::read(path, LOCK_BYTES_MAX) {
        Ok(text) => {
            let file = files.add(name, path.to_path_buf(), text);
            of_text(file, &files.file(file).text, findings)
        }
        Err(error) => {
            let file = files.add(name.clone(), path.to_path_buf(), String::new());
            let at = Span::new(file, 0, 0);
            findings.push(match error {
                ReadError::Io(why) => {
                    Finding::new(&codes::UNREADABLE, at, format!("cannot read `{name}`: {why}"))
                }
                ReadError::NotAFile(what) => {
                    Finding::new(&codes::UNREADABLE, at, format!("cannot read `{name}`: it is {what}"))
                }
                ReadError::TooLarge { bytes, max } => {
                    let message = format!("`{name}` has {bytes} bytes; a lock file may have {max}");
                    Finding::new(&codes::TOO_LARGE, at, message)
                }
                ReadError::NotText { offset, why } => {
                    let message = format!("`{name}` is not UTF-8 text: {why}, at byte {offset}");
                    Finding::new(&codes::NOT_TEXT, at, message).help(AGAIN)
                }
            });
            None
        }
    }
}

/// The lock file at `path` by itself, without the configuration it belongs to.
pub fn read_alone(path: &Path) -> (Option<Lock>, Outcome) {
    let (mut files, mut findings) = (SourceMap::default(), Findings::default());
    let lock = read(path, &mut files, &mut findings);
    (lock, Outcome::of_findings(findings, files, vec![path.to_path_buf()]))
}

/// The same of a text that is in no file.
pub fn read_text(name: &str, text: String) -> (Option<Lock>, Outcome) {
    let (mut files, mut findings) = (SourceMap::default(), Findings::default());
    let file = files.add(name.to_owned(), std::path::PathBuf::new(), text);
    let lock = of_text(file, &files.file(file).text, &mut findings);
    (lock, Outcome::of_findings(findings, files, Vec::new()))
}

fn of_text(file: FileId, text: &str, findings: &mut Findings) -> Option<Lock> {
    let mut reader = Reader { bytes: text.as_bytes(), file, findings, whole: true };
    reader.no_conflicts(text)?;
    reader.no_depths()?;
    reader.is_json(text)?;
    let begin = text.len() - text.trim_start().len();
    let all = Place::between(begin, begin + text.trim().len());
    let upstreams = reader.root(all);
    let span = reader.at(all);
    upstreams.filter(|_| reader.whole).map(|upstreams| Lock::new(span, upstreams))
}

struct Reader<'t> {
    bytes: &'t [u8],
    file: FileId,
    findings: &'t mut Findings,
    /// Nothing was wrong.
    whole: bool,
}

impl Reader<'_> {
    fn at(&self, place: Place) -> Span {
        Span::new(self.file, place.start as usize, place.end() as usize)
    }

    fn report(&mut self, finding: Finding) {
        self.whole = false;
        self.findings.push(finding);
    }

    fn wrong(&mut self, code: &'static Code, place: Place, message: String) {
        let span = self.at(place);
        self.report(Finding::new(code, span, message).help(AGAIN));
    }

    /// Each conflict is told once, at its first mark.
    fn no_conflicts(&mut self, text: &str) -> Option<()> {
        let mut at = 0;
        let mut open: Option<Span> = None;
        for line in text.split_inclusive('\n') {
            let shown = line.trim_end();
            let is = |mark: &str| shown.starts_with(mark);
            let span = Span::new(self.file, at, at + shown.len());
            at += line.len();
            match open {
                None if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].into_iter().any(is) => open = Some(span),
                Some(first) if is(">>>>>>>") => {
                    self.conflict(first, Some(span));
                    open = None;
                }
                _ => {}
            }
        }
        if let Some(first) = open {
            self.conflict(first, None);
        }
        self.whole.then_some(())
    }

    fn conflict(&mut self, first: Span, last: Option<Span>) {
        let finding = Finding::new(&codes::LOCK_CONFLICT, first, "a merge conflict is left in the lock file")
            .label("begins here")
            .help(
                "take either side, then run `strait lock`: it asks the upstreams and writes what they offer",
            );
        self.report(match last {
            Some(last) => finding.note(last, "ends here"),
            None => finding,
        });
    }

    fn no_depths(&mut self) -> Option<()> {
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        for (at, byte) in self.bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > LOCK_DEPTH_MAX {
                let message = format!("a lock file is not nested more than {LOCK_DEPTH_MAX} deep");
                self.wrong(&codes::TOO_DEEP, Place::between(at, at + 1), message);
                return None;
            }
        }
        Some(())
    }

    fn is_json(&mut self, text: &str) -> Option<()> {
        let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return Some(()) };
        let before: usize =
            text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = (before + error.column().saturating_sub(1)).min(text.len());
        let at = text.floor_char_boundary(at);
        if error.is_eof() {
            let message = match text.trim().is_empty() {
                true => "the lock file is empty",
                false => "the lock file ends too early: it was cut short",
            };
            self.wrong(&codes::LOCK_FORM, Place::between(text.len(), text.len()), message.to_owned());
            return None;
        }
        let width = text[at..].chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        let why = error.to_string();
        let why = why.split(" at line").next().unwrap_or_default();
        let place = Place::between(at, at + width);
        self.wrong(&codes::LOCK_FORM, place, format!("the lock file is not JSON: {why}"));
        None
    }

    fn root(&mut self, all: Place) -> Option<Vec<Locked>> {
        // Another version may have other keys: it is looked at first.
        if let Some(version) = Members::find(self.bytes, all, "strait_lock").ok().flatten()
            && version.of(self.bytes) != VERSION.to_string().as_bytes()
        {
            let message = format!(
                "the lock file is of another version than {VERSION}, which is the one that is read here"
            );
            self.wrong(&codes::LOCK_VERSION, version, message);
            return None;
        }
        let [version, _, upstreams] =
            self.fields(all, "a lock file", ["strait_lock", "about", "upstreams"], &["about"])?;
        version?;
        let mut seen = HashSet::new();
        let mut read = Vec::new();
        for upstream in self.elements(upstreams?, "upstreams")? {
            let Some(locked) = self.upstream(upstream) else { continue };
            if !seen.insert(locked.pinned.name.clone()) {
                let message = format!("upstream `{}` is pinned twice", locked.pinned.name);
                self.report(Finding::new(&codes::LOCK_FORM, locked.name_at, message).help(AGAIN));
            }
            read.push(locked);
        }
        Some(read)
    }

    fn upstream(&mut self, at: Place) -> Option<Locked> {
        let keys =
            ["name", "era", "capabilities", "tools", "prompts", "resources", "templates", "instructions"];
        let [name, era, capabilities, tools, prompts, resources, templates, instructions] =
            self.fields(at, "an upstream of a lock file", keys, &["instructions"])?;
        let name_at = name?;
        let name = self.text(name_at)?;
        let older = match self.text(era?)?.as_str() {
            "legacy" => true,
            "modern" => false,
            _ => {
                self.wrong(&codes::LOCK_FORM, era?, "expected `legacy` or `modern`".to_owned());
                return None;
            }
        };
        let mut lists = Lists {
            known: Known::Fresh,
            older,
            capabilities: self.capabilities(capabilities?)?,
            ..Lists::default()
        };
        let instructions_at = instructions.map(|place| self.at(place));
        if let Some(place) = instructions {
            lists.instructions = Some(self.instructions(&name, place)?);
        }
        let mut places = [const { Vec::new() }; 4];
        for ((kind, list), places) in
            Kind::ALL.into_iter().zip([tools, prompts, resources, templates]).zip(&mut places)
        {
            let mut seen = HashSet::new();
            for item in self.elements(list?, list_word(kind))? {
                let Some((definition, place)) = self.item(&name, kind, item) else { continue };
                if !seen.insert(definition.name.clone()) {
                    let message = format!("{} `{name}.{}` is pinned twice", kind.word(), definition.name);
                    self.report(Finding::new(&codes::LOCK_FORM, place.name, message).help(AGAIN));
                }
                lists.of_mut(kind).push(definition);
                places.push(place);
            }
        }
        let name_at = self.at(name_at);
        Some(Locked::new(Pinned { name, lists }, name_at, instructions_at, places))
    }

    fn capabilities(&mut self, list: Place) -> Option<Capabilities> {
        let mut declared = Capabilities::default();
        for element in self.elements(list, "capabilities")? {
            let word = self.text(element)?;
            let mut flags = Capabilities::WORDS.into_iter().zip(declared.flags());
            match flags.find(|(known, _)| *known == word) {
                Some((_, flag)) => *flag = true,
                None => {
                    let message = format!("`{word}` is not one of {}", suggest::listed(&Capabilities::WORDS));
                    self.wrong(&codes::LOCK_FORM, element, message);
                }
            }
        }
        Some(declared)
    }

    fn instructions(&mut self, upstream: &str, at: Place) -> Option<String> {
        let [hash, lines] = self.fields(at, "pinned instructions", ["blake3", "lines"], &[])?;
        let (hash, mut all) = (hash?, Vec::new());
        for line in self.elements(lines?, "lines")? {
            all.push(self.text(line)?);
        }
        let text = all.join("\n");
        let found = pins::hash_of_text(&text);
        self.fits(hash, &found, &format!("the text of the instructions of `{upstream}`"), at);
        Some(text)
    }

    fn item(&mut self, upstream: &str, kind: Kind, at: Place) -> Option<(Definition, super::Place)> {
        let what = format!("a pinned {}", kind.word());
        let [name_at, hash, definition] = self.fields(at, &what, ["name", "blake3", "definition"], &[])?;
        let (name_at, hash, definition) = (name_at?, hash?, definition?);
        let name = self.text(name_at)?;
        let json = std::str::from_utf8(definition.of(self.bytes)).ok()?;
        let what = format!("the definition of {} `{upstream}.{name}`", kind.word());
        let Some(found) = pins::hash(json).filter(|_| json.starts_with('{')) else {
            let message = format!("{what} is not a JSON object that every client can read");
            self.wrong(&codes::LOCK_FORM, definition, message);
            return None;
        };
        self.fits(hash, &found, &what, definition);
        let key = match kind {
            Kind::Tool | Kind::Prompt => "name",
            Kind::Resource => "uri",
            Kind::Template => "uriTemplate",
        };
        let named = Members::find(self.bytes, definition, key).ok().flatten();
        if named.and_then(|place| unquoted(place.of(self.bytes))).as_deref() != Some(&name) {
            let message = format!("{what} does not call itself `{name}`");
            self.wrong(&codes::LOCK_EDITED, name_at, message);
        }
        let place = super::Place { name: self.at(name_at), definition: self.at(definition) };
        Some((Definition { name, json: compact(json) }, place))
    }

    fn fits(&mut self, written: Place, found: &[u8; 32], what: &str, of: Place) {
        if unquoted(written.of(self.bytes)).is_some_and(|text| text == hex(found)) {
            return;
        }
        let (span, of) = (self.at(written), self.at(of));
        let message = format!("{what} does not fit its hash: it was edited by hand, or merged badly");
        let finding = Finding::new(&codes::LOCK_EDITED, span, message)
            .label("not the hash of what stands beside it")
            .note(Span { end: of.start + 1, ..of }, "begins here");
        self.report(finding.help(AGAIN));
    }

    fn text(&mut self, at: Place) -> Option<String> {
        let text = unquoted(at.of(self.bytes));
        if text.is_none() {
            self.wrong(&codes::LOCK_FORM, at, "expected a text".to_owned());
        }
        text
    }

    fn elements(&mut self, list: Place, of: &str) -> Option<Vec<Place>> {
        let elements: Result<Vec<Place>, _> = Elements::of(self.bytes, list).collect();
        if elements.is_err() {
            let begin = Place { len: list.len.min(1), ..list };
            self.wrong(&codes::LOCK_FORM, begin, format!("expected a list of {of}"));
        }
        elements.ok()
    }

    /// The values of these keys, each of which is there once unless it is `optional`, and no others.
    fn fields<const N: usize>(
        &mut self,
        object: Place,
        what: &str,
        keys: [&'static str; N],
        optional: &[&str],
    ) -> Option<[Option<Place>; N]> {
        let mut found = [None; N];
        let begin = Place { len: object.len.min(1), ..object };
        for member in Members::of(self.bytes, object) {
            let Ok(member) = member else {
                self.wrong(&codes::LOCK_FORM, begin, format!("expected {what}: an object"));
                return None;
            };
            let key = String::from_utf8_lossy(&member.key_text(self.bytes)).into_owned();
            match keys.iter().position(|known| *known == key) {
                None => {
                    self.wrong(&codes::LOCK_FORM, member.key, format!("unknown key `{key}` in {what}"));
                }
                Some(index) if found[index].is_some() => {
                    self.wrong(&codes::LOCK_FORM, member.key, format!("the key `{key}` is written twice"));
                }
                Some(index) => found[index] = Some(member.value),
            }
        }
        let missing: Vec<&str> = keys
            .into_iter()
            .zip(&found)
            .filter(|(key, found)| found.is_none() && !optional.contains(key))
            .map(|(key, _)| key)
            .collect();
        if !missing.is_empty() {
            self.wrong(&codes::LOCK_FORM, begin, format!("{what} needs {}", suggest::listed(&missing)));
            return None;
        }
        Some(found)
    }
}

fn unquoted(raw: &[u8]) -> Option<String> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut text = Vec::with_capacity(inner.len());
    unescape(inner, &mut text).then(|| String::from_utf8(text).ok())?
}
