//! A Cedar file as a tree: what its text says, before anything is known of what it means here.
//!
//! Places are offsets in the file. Chains of `&&` and `||` are lists, so that a long one is not a deep one.

use std::ops::Range;

/// One `permit` or `forbid`.
#[derive(Debug)]
pub struct Policy {
    pub at: Range<usize>,
    /// What `@id("…")` says.
    pub id: Option<(String, Range<usize>)>,
    pub permits: bool,
    pub effect_at: Range<usize>,
    pub principal: Head,
    pub action: Head,
    pub resource: Head,
    pub clauses: Vec<Clause>,
}

/// What a policy's head says of one of its three variables.
#[derive(Debug)]
pub struct Head {
    pub at: Range<usize>,
    pub is: Option<(String, Range<usize>)>,
    /// `==` (false) or `in` (true), and what stands behind it.
    pub related: Option<(bool, Expr)>,
}

/// `when { … }`, or `unless { … }`.
#[derive(Debug)]
pub struct Clause {
    pub negated: bool,
    pub asks: Expr,
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: Kind,
    pub at: Range<usize>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Bool(bool),
    Long(i64),
    Text(String),
    Entity {
        of: String,
        id: String,
    },
    /// `?principal`, `?resource`.
    Slot(String),
    Variable(Variable),
    Set(Vec<Expr>),
    Record,
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    If(Box<[Expr; 3]>),
    /// `==` `!=` `<` `<=` `>` `>=` `in`.
    Relation(&'static str, Box<[Expr; 2]>),
    /// With one key, or with several: `has a.b.c`.
    Has(Box<Expr>, Vec<String>),
    /// The pattern as written between its quotes: `\*` means something in it.
    Like(Box<Expr>, String),
    Is(Box<Expr>, String, Option<Box<Expr>>),
    /// `+` `-` `*`.
    Arithmetic(&'static str),
    Field(Box<Expr>, String),
    Method(Box<Expr>, String, Vec<Expr>),
    Function(String, Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    Principal,
    Action,
    Resource,
    Context,
}
