//! Conditions: what `when`, `unless` and roles become. A postfix program over truths, read in place from the table.
//!
//! The decision: a condition never walks a syntax tree. Its program is a flat list, its stack is bits, everything it may read
//! of a JSON object is listed beside it and picked out in one guarded pass; so its worst case is known when it is compiled
//! ([`cost`]), and nothing a caller sends can make it recurse or allocate.
//!
//! [`evaluate`] runs it, on values that [`value`] compares; [`automaton`] is the form of its regular expressions; [`cost`] says what it can cost;
//! [`show`] writes it out for people.

pub mod automaton;
pub mod cost;
pub mod evaluate;
pub mod show;
mod value;

use rkyv::{Archive, Deserialize, Serialize};
use strait_protocol::jsonrpc::KeySketch;

pub use automaton::Automaton;
pub use evaluate::{Asked, Moment, Request, Workspace};

/// Truths a program may have on its stack at once.
pub const DEPTH_MAX: usize = 64;
/// Steps of a program.
pub const OPS_MAX: usize = 1_024;
/// Values that a program may read; they are picked together.
pub const READS_MAX: usize = strait_protocol::jsonrpc::PICKED_MAX;
/// Elements of a list that a quantifier looks at; a condition over a longer list is an error.
pub const ELEMENTS_MAX: usize = 1_024;

#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Condition {
    pub reads: Vec<Read>,
    pub ops: Vec<Op>,
}

/// A value of a JSON object.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash)]
pub struct Read {
    pub from: Root,
    /// Keys, outermost first. Empty: the root itself.
    pub path: Vec<String>,
    /// What the first key is found by, worked out beforehand.
    pub first: Sketch,
}

impl Read {
    pub fn of(from: Root, path: Vec<String>) -> Read {
        let first = Sketch::of(path.first().map_or("", String::as_str));
        Read { from, path, first }
    }
}

/// A [`KeySketch`], kept.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sketch {
    folded: u64,
    head: u64,
}

impl Sketch {
    fn of(key: &str) -> Sketch {
        let KeySketch { folded, head } = KeySketch::of(key);
        Sketch { folded, head }
    }
}

impl ArchivedSketch {
    #[inline]
    fn key(&self) -> KeySketch {
        KeySketch { folded: self.folded.to_native(), head: self.head.to_native() }
    }
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[rkyv(derive(PartialEq, Eq))]
pub enum Root {
    /// Of the call.
    Arguments,
    /// Of the principal.
    Claims,
    /// The element that a quantifier looks at.
    Element,
}

/// One step. What it gives is a truth; what a comparison needs is an error where it is missing or of another type.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    Const(bool),
    /// A role, or a part of a condition that depends on the principal alone. `error`: the bit that says that the part cannot
    /// be decided; [`NONE`] where it always can.
    Trait {
        yes: u16,
        error: u16,
    },
    /// A window of time.
    Window(u16),
    /// The read leads to a value.
    Has(u16),
    /// Its type is one of [`types`].
    IsType {
        of: Operand,
        types: u8,
    },
    Compare {
        left: Operand,
        by: Comparison,
        right: Operand,
    },
    /// One of these texts, sorted, or of these numbers. Wants a text when only texts are listed, a number when only numbers are.
    In {
        of: Operand,
        texts: Vec<String>,
        numbers: Vec<Number>,
    },
    /// The list read at `list` holds what `item` says.
    Holds {
        list: u16,
        item: Operand,
    },
    /// The principal is in the group that the text names.
    InGroups(Operand),
    /// The principal is in a group that the test is true of.
    AnyGroup {
        test: TextTest,
        text: String,
    },
    /// There is a header of this name, which is in lower case.
    HasHeader(String),
    Text {
        of: Operand,
        test: TextTest,
        text: Operand,
    },
    /// Somewhere in the text; the number of an automaton of the table.
    Matches {
        of: Operand,
        automaton: u16,
    },
    /// The caller's address is in one of these.
    Network(Vec<Network>),
    /// The principal's token has this scope: claims have them at `scope`, or at `scp`.
    Scope {
        scope: u16,
        scp: u16,
        text: String,
    },
    /// What only another token of the same caller would make true: unknown until a call comes, and then false
    /// ([`Asked::with_scopes`]).
    StepUp,
    /// The program of the next `ops` steps, over the elements of the list at `list`.
    Each {
        list: u16,
        quantifier: Quantifier,
        ops: u16,
    },
    Not,
    And,
    Or,
    /// Before the right side of `&&`, which has `ops` steps with its `And`: skipped when the left side is false.
    UnlessFalse(u16),
    /// The same for `||`, when the left side is true.
    UnlessTrue(u16),
}

/// No bit.
pub const NONE: u16 = u16::MAX;

#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operand {
    Read(u16),
    /// How much is in it: letters of a text, elements of a list, members of an object.
    Size(u16),
    Principal(PrincipalFact),
    Call(CallFact),
    /// The first header of this name, which is in lower case.
    Header(String),
    Text(String),
    Number(Number),
    Bool(bool),
    Null,
}

/// A number as the author wrote it.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number(pub String);

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalFact {
    Id,
    User,
    Agent,
    Tenant,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallFact {
    Method,
    Server,
    Upstream,
    /// The name of the tool or prompt, or the URI of the resource, as its upstream calls it.
    Tool,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

/// Bits of [`Op::IsType`].
pub mod types {
    pub const NULL: u8 = 1;
    pub const BOOL: u8 = 2;
    /// A number written without fraction and exponent.
    pub const INTEGER: u8 = 4;
    /// Any other number.
    pub const FRACTION: u8 = 8;
    pub const TEXT: u8 = 16;
    pub const LIST: u8 = 32;
    pub const OBJECT: u8 = 64;
}

/// Addresses that share their first bits. IPv4 is kept as IPv6 (`::ffff:a.b.c.d`).
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    pub address: [u8; 16],
    pub bits: u8,
}

impl ArchivedNetwork {
    pub fn holds(&self, ip: std::net::IpAddr) -> bool {
        let ip = match ip {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            std::net::IpAddr::V6(v6) => v6,
        };
        let (ip, network) = (u128::from_be_bytes(ip.octets()), u128::from_be_bytes(self.address));
        let shift = 128 - u32::from(self.bits.min(128));
        ip.checked_shr(shift).unwrap_or(0) == network.checked_shr(shift).unwrap_or(0)
    }
}

/// What is wrong with a program that does not come to one answer, or points at something that is not there. A table with
/// one is not opened.
pub(crate) fn fault(
    condition: &ArchivedCondition,
    traits: usize,
    windows: usize,
    automata: usize,
) -> Option<&'static str> {
    if condition.ops.len() > OPS_MAX || condition.reads.len() > READS_MAX {
        return Some("a condition is longer than its bounds");
    }
    let is_sketched = |read: &ArchivedRead| {
        read.first.key() == KeySketch::of(read.path.first().map_or("", |key| key.as_str()))
    };
    if !condition.reads.iter().all(is_sketched) {
        return Some("a condition looks for a key by what does not find it");
    }
    let reads = condition.reads.len();
    for op in condition.ops.iter() {
        let operands: [Option<&ArchivedOperand>; 2] = match op {
            ArchivedOp::Compare { left, right, .. } => [Some(left), Some(right)],
            ArchivedOp::Text { of, text, .. } => [Some(of), Some(text)],
            ArchivedOp::IsType { of, .. } | ArchivedOp::In { of, .. } | ArchivedOp::InGroups(of) => {
                [Some(of), None]
            }
            ArchivedOp::Matches { of, automaton } => {
                if usize::from(automaton.to_native()) >= automata {
                    return Some("a condition uses a regular expression that is not there");
                }
                [Some(of), None]
            }
            ArchivedOp::Holds { list, item } => {
                if usize::from(list.to_native()) >= reads {
                    return Some("a condition reads what is not listed");
                }
                [Some(item), None]
            }
            ArchivedOp::Scope { scope, scp, .. }
                if [scope, scp].iter().any(|read| usize::from(read.to_native()) >= reads) =>
            {
                return Some("a condition reads what is not listed");
            }
            ArchivedOp::Has(read) | ArchivedOp::Each { list: read, .. }
                if usize::from(read.to_native()) >= reads =>
            {
                return Some("a condition reads what is not listed");
            }
            ArchivedOp::Trait { yes, error } => {
                let there = |bit: u16| usize::from(bit) < traits;
                if !there(yes.to_native()) || (*error != NONE && !there(error.to_native())) {
                    return Some("a condition asks for a trait that is not there");
                }
                [None, None]
            }
            ArchivedOp::Window(window) if usize::from(window.to_native()) >= windows => {
                return Some("a condition asks for a window that is not there");
            }
            _ => [None, None],
        };
        for operand in operands.into_iter().flatten() {
            if let ArchivedOperand::Read(read) | ArchivedOperand::Size(read) = operand
                && usize::from(read.to_native()) >= reads
            {
                return Some("a condition reads what is not listed");
            }
        }
    }
    match is_whole(&condition.ops, false) {
        true => None,
        false => Some("a condition does not come to one answer"),
    }
}

/// Does the program leave exactly one truth, within the depth that its evaluation has, with every skip inside it?
fn is_whole(ops: &[ArchivedOp], inside: bool) -> bool {
    let mut depth = 0usize;
    let mut at = 0;
    // Where a skip lands, and the depth there must be then.
    let mut landings: Vec<(usize, usize)> = Vec::new();
    while let Some(op) = ops.get(at) {
        at += 1;
        match op {
            ArchivedOp::Not if depth >= 1 => {}
            ArchivedOp::And | ArchivedOp::Or if depth >= 2 => depth -= 1,
            ArchivedOp::Not | ArchivedOp::And | ArchivedOp::Or => return false,
            ArchivedOp::UnlessFalse(skip) | ArchivedOp::UnlessTrue(skip) => {
                if depth == 0 {
                    return false;
                }
                landings.push((at + usize::from(skip.to_native()), depth));
            }
            ArchivedOp::Each { ops: body, .. } => {
                let end = at + usize::from(body.to_native());
                match ops.get(at..end) {
                    Some(body) if !inside && is_whole(body, true) => at = end,
                    _ => return false,
                }
                depth += 1;
            }
            _ => depth += 1,
        }
        if depth > DEPTH_MAX {
            return false;
        }
        landings.retain(|(landing, expected)| *landing > at || (*landing == at && *expected != depth));
        if landings.iter().any(|(landing, _)| *landing <= at) {
            return false;
        }
    }
    depth == 1 && landings.is_empty()
}
