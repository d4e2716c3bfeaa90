//! The chains of cores, as they are checked: who follows whom, and that nobody is missing.

use std::collections::BTreeMap;

use crate::hash::Hash;
use crate::record::{self, FIRST, Gap, Known, Link, Retired, WRITER};

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub index: u64,
    /// Of its segment.
    pub first: u64,
    pub offset: u64,
}

/// A record does not stand where it says.
#[derive(Debug)]
pub struct Fault {
    pub what: String,
    /// The record that it is bound to, if that one may be the one that was changed.
    pub before: Option<(At, u64)>,
}

/// The end of a chain. What lies before the first segment is not known.
#[derive(Clone, Copy, Default)]
struct End {
    n: Option<u64>,
    link: Option<(Link, At)>,
}

#[derive(Default)]
pub struct Chains {
    start: Option<u64>,
    own: End,
    cores: BTreeMap<u16, End>,
    /// The record `start`, which each core's first is bound to.
    root: Option<(Link, At)>,
    last: Option<(Link, At)>,
    pub starts: u64,
    /// Records that cores have counted and the log says it has not.
    pub lost: u64,
    /// Before which record everything may be missing.
    pub retired: u64,
    /// Whether the last record says that the gateway stopped.
    pub is_closed: bool,
}

impl Chains {
    /// Takes the next record, whose hash in the tree is `leaf`.
    pub fn take(&mut self, at: At, known: &Known<'_>, bytes: &[u8], leaf: &Hash) -> Result<(), Fault> {
        let link = record::link(leaf);
        if known.is_own("start") {
            self.begin(at, known, link)?;
        } else {
            self.follow(at, known, link)?;
        }
        match &*known.kind {
            "gap" if known.core == WRITER => self.gap(bytes)?,
            "retired" if known.core == WRITER => {
                let retired: Retired = read(bytes)?;
                self.retired = self.retired.max(retired.until);
            }
            _ => {}
        }
        self.is_closed = known.is_own("stop");
        self.last = Some((link, at));
        Ok(())
    }

    fn begin(&mut self, at: At, known: &Known<'_>, link: Link) -> Result<(), Fault> {
        if (known.start, known.n) != (at.index, 0) {
            return fault(format!(
                "a start that is record {} says that it is record {}",
                at.index, known.start
            ));
        }
        let is_first = at.index == 0;
        // Behind what was removed, nobody knows what it was bound to.
        let before = if is_first { Some((FIRST, at)) } else { self.last };
        if let Some((expected, of)) = before
            && !known.follows(&expected)
        {
            return Err(unbound(of, at.index));
        }
        *self = Chains {
            start: Some(known.start),
            own: End { n: Some(1), link: Some((link, at)) },
            cores: BTreeMap::new(),
            root: Some((link, at)),
            last: None,
            starts: self.starts + 1,
            lost: self.lost,
            retired: self.retired,
            is_closed: false,
        };
        Ok(())
    }

    fn follow(&mut self, at: At, known: &Known<'_>, link: Link) -> Result<(), Fault> {
        let start = *self.start.get_or_insert(known.start);
        if known.start != start || start > at.index {
            return fault(format!("it says that it is of the start {}: expected {start}", known.start));
        }
        let root = End { n: self.root.map(|_| 0), link: self.root };
        let end = match known.core {
            WRITER => &mut self.own,
            core => self.cores.entry(core).or_insert(root),
        };
        if let Some((expected, of)) = end.link
            && !known.follows(&expected)
        {
            return Err(unbound(of, at.index));
        }
        if let Some(expected) = end.n.filter(|expected| *expected != known.n) {
            let (core, n) = (known.core, known.n);
            return fault(format!(
                "core {core} counts {n} where {expected} is next: records are missing, or out of order"
            ));
        }
        *end = End { n: Some(known.n + 1), link: Some((link, at)) };
        Ok(())
    }

    fn gap(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let gap: Gap = read(bytes)?;
        let root = End { n: self.root.map(|_| 0), link: self.root };
        let end = self.cores.entry(gap.of).or_insert(root);
        if gap.to < gap.from || end.n.is_some_and(|n| n != gap.from) {
            return fault(format!(
                "a gap of core {} from {} to {} does not fit what it counted",
                gap.of, gap.from, gap.to
            ));
        }
        end.n = Some(gap.to.saturating_add(1));
        self.lost = self.lost.saturating_add(gap.to - gap.from + 1);
        Ok(())
    }
}

fn read<'r, T: serde::Deserialize<'r>>(bytes: &'r [u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault { what: format!("it does not say what its kind says: {error}"), before: None })
}

fn fault(what: String) -> Result<(), Fault> {
    Err(Fault { what, before: None })
}

fn unbound(of: At, by: u64) -> Fault {
    let what = format!("`prev` is not the hash of record {}, which comes before it in its chain", of.index);
    Fault { what, before: (of.index != by).then_some((of, by)) }
}
