//! What is suspicious in what upstreams say of themselves, whoever they are: names that look alike, text that nobody sees,
//! words about another server's tools. One look at all of them, for a lock file and for lists that were learned.
//!
//! The decision: nothing here is refused. Servers that share a name are common and an emoji is no attack; what is found is
//! told once, to somebody who can look. So every rule is made to be quiet about what honest servers do.

mod hidden;
mod lookalike;
mod shadowing;

use strait_table::bound::Kind;
use strait_table::catalog::Lists;

use crate::diagnostic::Code;
use crate::lock::hidden::shown;

/// One upstream as it is looked at.
#[derive(Clone, Copy)]
pub struct Offered<'c> {
    pub name: &'c str,
    pub lists: &'c Lists,
}

/// Something that an upstream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Its place among those looked at.
    pub upstream: usize,
    pub part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// An item, by its place in the list of its kind.
    Item(Kind, usize),
    Instructions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub code: &'static Code,
    pub subject: Subject,
    /// What of it.
    pub at: At,
    /// The other side, of two.
    pub other: Option<Subject>,
    pub message: String,
}

/// Which of a subject's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    Name,
    /// The first character of a definition that nobody sees.
    FirstHidden,
    /// A word in it.
    Word(String),
}

/// Names that are offered, shared by what looks at them.
struct Name<'c> {
    subject: Subject,
    text: &'c str,
}

/// Everything suspicious, in the order of the upstreams.
pub fn suspicions(all: &[Offered<'_>]) -> Vec<Suspicion> {
    let mut names = Vec::new();
    for (upstream, offered) in all.iter().enumerate() {
        for kind in Kind::ALL {
            names.extend(offered.lists.of(kind).iter().enumerate().map(|(at, item)| Name {
                subject: Subject { upstream, part: Part::Item(kind, at) },
                text: item.name.as_str(),
            }));
        }
    }
    let mut found = Vec::new();
    lookalike::run(all, &names, &mut found);
    hidden::run(all, &names, &mut found);
    shadowing::run(all, &names, &mut found);
    found.sort_by(|one, other| {
        (one.subject, one.code.number, one.other).cmp(&(other.subject, other.code.number, other.other))
    });
    found
}

/// `tool `crm.refund``, `what `crm` says of itself`.
fn called(all: &[Offered<'_>], subject: Subject) -> String {
    let Some(offered) = all.get(subject.upstream) else { return String::new() };
    match subject.part {
        Part::Instructions => format!("what `{}` says of itself", shown(offered.name)),
        Part::Item(kind, at) => {
            let name = offered.lists.of(kind).get(at).map_or("", |item| item.name.as_str());
            format!("{} `{}.{}`", kind.word(), shown(offered.name), shown(name))
        }
    }
}

#[cfg(test)]
mod tests;
