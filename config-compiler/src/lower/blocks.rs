//! Several files, one configuration: blocks of names are joined, rules are put one after another, and
//! what can only be said once is only said once. The root must say which version of the language it
//! is written in; included files may.

use crate::{
    diagnostic::{Finding, codes},
    source::{FileId, Node, Span, include::Document},
    walk::{Walk, keys},
};

/// Something with a name, before it is looked into.
#[derive(Clone, Copy)]
pub struct Declared<'n> {
    pub name: &'n str,
    pub name_span: Span,
    pub node: &'n Node,
}

#[derive(Default)]
pub struct Blocks<'n> {
    pub listeners: Vec<Declared<'n>>,
    pub upstreams: Vec<Declared<'n>>,
    pub servers: Vec<Declared<'n>>,
    pub identities: Vec<Declared<'n>>,
    pub roles: Vec<Declared<'n>>,
    pub secrets: Vec<Declared<'n>>,
    pub admin: Option<&'n Node>,
    pub policies: Vec<&'n Node>,
    /// Files of Cedar policies, in the order they are named.
    pub cedar: Vec<FileId>,
    pub limits: Vec<&'n Node>,
    /// Patterns, as names.
    pub prices: Vec<Declared<'n>>,
    pub access_log: Option<&'n Node>,
    pub audit: Option<&'n Node>,
    pub telemetry: Option<&'n Node>,
    pub body_max: Option<&'n Node>,
    pub caps: Option<&'n Node>,
    pub catalog: Option<&'n Node>,
    /// Where the root file begins, for what is missing from all of them.
    pub begin: Option<Span>,
}

impl<'n> Blocks<'n> {
    pub fn collect(walk: &mut Walk<'_>, documents: &'n [Document]) -> Blocks<'n> {
        let mut blocks = Blocks::default();
        for document in documents {
            blocks.add(walk, document);
        }
        blocks
    }

    fn add(&mut self, walk: &mut Walk<'_>, document: &'n Document) {
        let Some(mut fields) = walk.fields(&document.root, &keys::ROOT) else { return };
        let begin = walk.files.first_line(document.root.span);
        let is_root = document.file == FileId(0);
        if is_root {
            self.begin = Some(begin);
        }
        let version = match is_root {
            true => fields.required(walk, "strait", begin, "begin the file with `strait: 1`"),
            false => fields.get("strait"),
        };
        if let Some(node) = version {
            language_version(walk, node);
        }
        if let Some(node) = fields.get("include") {
            for item in walk.one_or_many(node) {
                walk.scalar(item, "the path of a file");
            }
        }
        names(walk, fields.get("listeners"), &mut self.listeners, "listeners by name");
        names(walk, fields.get("upstreams"), &mut self.upstreams, "upstreams by name");
        names(walk, fields.get("servers"), &mut self.servers, "servers by name");
        names(walk, fields.get("identity"), &mut self.identities, "identities by name");
        names(walk, fields.get("roles"), &mut self.roles, "roles by name");
        names(walk, fields.get("secrets"), &mut self.secrets, "secrets by name");
        self.policies.extend(fields.get("policy"));
        self.cedar.extend(&document.cedar);
        self.limits.extend(fields.get("limits").filter(|node| !node.is_nothing()));
        names(walk, fields.get("prices"), &mut self.prices, "prices by pattern");
        once(walk, &mut self.admin, fields.get("admin"), "admin");
        once(walk, &mut self.access_log, fields.get("access_log"), "access_log");
        once(walk, &mut self.audit, fields.get("audit"), "audit");
        once(walk, &mut self.telemetry, fields.get("telemetry"), "telemetry");
        once(walk, &mut self.body_max, fields.get("body_max"), "body_max");
        once(walk, &mut self.caps, fields.get("caps"), "caps");
        once(walk, &mut self.catalog, fields.get("catalog"), "catalog");
        // Read by `crate::cases`: nothing of it is in a table.
        fields.get("tests");
        fields.finish();
    }
}

fn language_version(walk: &mut Walk<'_>, node: &Node) {
    let Some(scalar) = walk.scalar(node, "the version of the language: `1`") else { return };
    if scalar.text != "1" {
        let quoted = walk.quote(node.span.file, &scalar.text);
        let message = format!("{quoted} is not a version of the language that this Strait reads");
        walk.report(Finding::new(&codes::LANGUAGE_VERSION, node.span, message).help("write `strait: 1`"));
    }
}

fn names<'n>(walk: &mut Walk<'_>, node: Option<&'n Node>, into: &mut Vec<Declared<'n>>, of: &str) {
    let Some(node) = node else { return };
    // `roles:` with everything below commented out is an empty block, not a mistake.
    if node.is_nothing() {
        return;
    }
    let entries = walk.map(node, &format!("a mapping of {of}")).unwrap_or_default();
    let declared = entries.iter().map(|entry| Declared {
        name: &entry.key,
        name_span: entry.key_span,
        node: &entry.value,
    });
    into.extend(declared);
}

fn once<'n>(walk: &mut Walk<'_>, slot: &mut Option<&'n Node>, node: Option<&'n Node>, key: &str) {
    match (slot.as_ref(), node) {
        (Some(first), Some(second)) => {
            let span = walk.files.first_line(second.span);
            let finding =
                Finding::new(&codes::DECLARED_TWICE, span, format!("`{key}` is written in two files"))
                    .note(walk.files.first_line(first.span), "first here");
            walk.report(finding);
        }
        (None, Some(node)) => *slot = Some(node),
        (_, None) => {}
    }
}
