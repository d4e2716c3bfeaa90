//! Gathers the files of a load: the root, then what each `include` names, depth first and sorted, so
//! that the order never depends on a file system's mood. A file that cannot be read or parsed is a
//! finding and the others are still read; `whole` then says that names may be declared in what is
//! missing. Text given in memory includes nothing: fuzzing must not wander the disk.

use std::{
    collections::HashSet,
    path::{Component, Path, PathBuf},
};

use super::{FileId, Node, SourceMap, Span, Value, parse, read, read::ReadError};
use crate::{
    diagnostic::{Finding, Findings, codes},
    limits::*,
};

/// Everything that was read.
#[derive(Default)]
pub struct Gathered {
    pub files: SourceMap,
    /// The trees of the files that could be parsed, in load order.
    pub documents: Vec<Document>,
    /// Every file that was named could be read and parsed.
    pub whole: bool,
    /// Files and folders whose change would change what was gathered.
    pub watched: Vec<PathBuf>,
}

pub struct Document {
    pub file: FileId,
    pub root: Node,
    /// What `policy.cedar` names: files that are no documents.
    pub cedar: Vec<FileId>,
}

pub fn gather(root: &Path, findings: &mut Findings) -> Gathered {
    let mut gatherer = Gatherer::new(findings);
    let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
    gatherer.file(root, name, None);
    gatherer.out
}

/// A configuration that is not in a file.
pub fn gather_text(name: &str, text: &str, findings: &mut Findings) -> Gathered {
    let mut gatherer = Gatherer::new(findings);
    match read::text(text.as_bytes().to_vec()) {
        Ok(text) => gatherer.parse(name.to_owned(), PathBuf::new(), text),
        Err(error) => gatherer.refuse(name, Path::new(""), None, &error),
    }
    gatherer.out
}

struct Gatherer<'f> {
    findings: &'f mut Findings,
    out: Gathered,
    /// Files being included right now, outermost first, by their real path.
    open: Vec<PathBuf>,
    done: HashSet<PathBuf>,
    bytes: u64,
}

impl<'f> Gatherer<'f> {
    fn new(findings: &'f mut Findings) -> Gatherer<'f> {
        let out = Gathered { whole: true, ..Gathered::default() };
        Gatherer { findings, out, open: Vec::new(), done: HashSet::new(), bytes: 0 }
    }

    /// Reads one file and all it includes. `named_at` is where another file spoke of it.
    fn file(&mut self, path: &Path, name: String, named_at: Option<Span>) {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if let (true, Some(span)) = (self.open.contains(&real), named_at) {
            let message = format!("`{name}` includes itself");
            self.findings.push(
                Finding::new(&codes::INCLUDE_CYCLE, span, message).help(
                    "let the pattern match other files only, for example those of a folder of their own",
                ),
            );
            return;
        }
        if !self.done.insert(real.clone()) {
            return;
        }
        if let Some(text) = self.text(path, &name, named_at) {
            self.open.push(real);
            self.parse(name, path.to_path_buf(), text);
            self.open.pop();
        }
    }

    fn text(&mut self, path: &Path, name: &str, named_at: Option<Span>) -> Option<String> {
        self.out.watched.push(path.to_path_buf());
        let left = FILE_BYTES_MAX.min(TOTAL_BYTES_MAX - self.bytes);
        match read::read(path, left) {
            Err(error) => {
                self.refuse(name, path, named_at, &error);
                None
            }
            Ok(text) => {
                self.bytes += text.len() as u64;
                Some(text)
            }
        }
    }

    fn parse(&mut self, name: String, path: PathBuf, text: String) {
        let file = self.out.files.add(name, path, text);
        for (start, end) in crate::check::clear_text::secrets_in(&self.out.files.file(file).text) {
            self.out.files.mask(Span::new(file, start, end));
        }
        let text = &self.out.files.file(file).text;
        let Some(root) = parse::parse(file, text, NODES_MAX, self.findings) else {
            self.out.whole = false;
            return;
        };
        let included = patterns(root.get("include"));
        let policies = patterns(root.get("policy").and_then(|policy| policy.get("cedar")));
        let cedar =
            policies.into_iter().flat_map(|(pattern, span)| self.cedar(file, &pattern, span)).collect();
        self.out.documents.push(Document { file, root, cedar });
        for (pattern, span) in included {
            self.include(file, &pattern, span);
        }
    }

    fn include(&mut self, from: FileId, pattern: &str, span: Span) {
        if self.open.len() > INCLUDE_DEPTH_MAX {
            let message = format!("includes are nested more than {INCLUDE_DEPTH_MAX} deep");
            self.findings.push(Finding::new(&codes::INCLUDE_LIMIT, span, message));
            self.out.whole = false;
            return;
        }
        for (path, name) in self.named(from, pattern, span) {
            if self.is_full(span) {
                return;
            }
            self.file(&path, name, Some(span));
        }
    }

    /// The files of policies that one document names. Each is read once, however often it is named.
    fn cedar(&mut self, from: FileId, pattern: &str, span: Span) -> Vec<FileId> {
        let mut read = Vec::new();
        for (path, name) in self.named(from, pattern, span) {
            if self.is_full(span) {
                break;
            }
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if !self.done.insert(real) {
                let message = format!("`{name}` is named twice");
                let finding = Finding::new(&codes::DECLARED_TWICE, span, message);
                self.findings.push(finding.help("a policy in it says the same as often as it is read"));
                continue;
            }
            if let Some(text) = self.text(&path, &name, Some(span)) {
                read.push(self.out.files.add(name, path, text));
            }
        }
        read
    }

    /// The files that a pattern names, and how they are called.
    fn named(&mut self, from: FileId, pattern: &str, span: Span) -> Vec<(PathBuf, String)> {
        let file = self.out.files.file(from);
        if file.path.as_os_str().is_empty() {
            let message = "text that is not in a file includes nothing";
            self.findings.push(Finding::new(&codes::UNREADABLE, span, message));
            return Vec::new();
        }
        let (base, from_name) = (file.folder().to_path_buf(), file.name.clone());
        let found = match expand(&base, pattern, &mut self.out.watched) {
            Ok(found) => found,
            Err(message) => {
                self.findings.push(Finding::new(&codes::INCLUDE_LIMIT, span, message));
                self.out.whole = false;
                return Vec::new();
            }
        };
        if found.is_empty() && pattern.contains('*') {
            let message = format!("`{pattern}` matches no file");
            self.findings.push(Finding::new(&codes::INCLUDE_NOTHING, span, message));
        }
        let name = |part: &PathBuf| seen_from_root(&from_name, &part.to_string_lossy());
        found.iter().map(|part| (base.join(part), name(part))).collect()
    }

    fn is_full(&mut self, span: Span) -> bool {
        let full = self.done.len() >= FILES_MAX;
        if full {
            let message = format!("there are more than {FILES_MAX} files");
            self.findings.push(Finding::new(&codes::INCLUDE_LIMIT, span, message));
            self.out.whole = false;
        }
        full
    }

    fn refuse(&mut self, name: &str, path: &Path, named_at: Option<Span>, error: &ReadError) {
        self.out.whole = false;
        // The root has no text to point into: an empty one gives at least its name.
        let at = named_at.unwrap_or_else(|| {
            Span::new(self.out.files.add(name.to_owned(), path.to_path_buf(), String::new()), 0, 0)
        });
        self.findings.push(error.finding(name, at));
    }
}

/// The texts of `include`, or of `policy.cedar`; anything else there is for the walker to complain about.
fn patterns(node: Option<&Node>) -> Vec<(String, Span)> {
    let text = |node: &Node| match &node.value {
        Value::Scalar(scalar) if !scalar.text.is_empty() => Some((scalar.text.clone(), node.span)),
        _ => None,
    };
    match node {
        Some(Node { value: Value::List(items), .. }) => items.iter().filter_map(text).collect(),
        Some(node) => text(node).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Files that `pattern` names, as seen from `base`, sorted. `*` stands for any characters of one part
/// of a path; names that begin with a dot must be spelled out.
fn expand(base: &Path, pattern: &str, watched: &mut Vec<PathBuf>) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    for part in Path::new(pattern).components() {
        let part_text = part.as_os_str().to_string_lossy();
        if !part_text.contains('*') {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        if part_text.contains("**") {
            return Err(format!("`{pattern}` holds `**`; name one folder at a time with `*`"));
        }
        let mut next = Vec::new();
        for folder in found {
            let real = base.join(&folder);
            for entry in real.read_dir().into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let hidden = name.starts_with('.') && !part_text.starts_with('.');
                if !hidden && strait_policy::glob::matches(&part_text, &name) {
                    next.push(folder.join(entry.file_name()));
                }
                if next.len() > FOLDER_ENTRIES_MAX {
                    return Err(format!("`{pattern}` matches more than {FOLDER_ENTRIES_MAX} entries"));
                }
            }
            watched.push(real);
        }
        next.sort();
        found = next;
    }
    if pattern.contains('*') {
        found.retain(|path| base.join(path).is_file());
    }
    Ok(found)
}

/// A path written in the file called `name`, as seen from the root's folder; absolute ones stay
/// absolute. Purely textual, so that a table does not depend on where its config lies. The root's
/// folder itself is `.`.
pub fn seen_from_root(name: &str, written: &str) -> String {
    let folded = fold(&Path::new(name).parent().unwrap_or(Path::new("")).join(written));
    if folded.as_os_str().is_empty() { ".".to_owned() } else { folded.to_string_lossy().into_owned() }
}

fn fold(path: &Path) -> PathBuf {
    let mut folded = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(folded.components().next_back(), Some(Component::Normal(_))) => {
                folded.pop();
            }
            _ => folded.push(part),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_roots_folder() {
        let check = |name: &str, written: &str, expected: &str| {
            assert_eq!(seen_from_root(name, written), expected, "{written} in {name}");
        };
        check("strait.yaml", "./keys.yaml", "keys.yaml");
        check("strait.yaml", "../keys.yaml", "../keys.yaml");
        check("strait.yaml", ".", ".");
        check("teams/a.yaml", "keys.yaml", "teams/keys.yaml");
        check("teams/a.yaml", "../keys.yaml", "keys.yaml");
        check("../shared/a.yaml", "../../keys.yaml", "../../keys.yaml");
        check("teams/a.yaml", "/srv/keys.yaml", "/srv/keys.yaml");
    }
}
