//! Runs a condition. HOT where a call meets one: no allocation in the usual case, no recursion but into the one level that a
//! quantifier has.
//!
//! The decision: what a condition reads is picked first, all of it in one walk over the arguments, by keys whose sketches stand in the
//! table; its steps then only look at what was found.

use std::cmp::Ordering;
use std::net::IpAddr;

use strait_policy::{Principal, Traits, Truth};
use strait_protocol::Span;
use strait_protocol::jsonrpc::{DecodeFault, Elements, Paths, Picked, Picker, Unescape};

use super::value::{self, Value, compare, is_true_of, json, order, plain, size, type_of};
use super::{
    ArchivedCallFact, ArchivedComparison, ArchivedCondition, ArchivedOp, ArchivedOperand,
    ArchivedPrincipalFact, ArchivedQuantifier, ArchivedRead, ArchivedRoot, DEPTH_MAX, ELEMENTS_MAX, NONE,
    READS_MAX, automaton::ArchivedAutomaton,
};

/// Texts of a list that are compared one by one before halving it is cheaper.
const FEW_TEXTS: usize = 8;

/// What is known when something is decided. What is `None` is not known yet, and makes a condition that asks for it
/// [`Truth::Unknown`].
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub traits: Option<&'a Traits>,
    pub windows: Option<&'a Traits>,
    pub principal: Option<&'a Principal>,
    pub thing: Option<Thing<'a>>,
    pub asked: Option<&'a Asked<'a>>,
}

/// What a rule is asked about.
#[derive(Clone, Copy)]
pub struct Thing<'a> {
    pub server: &'a str,
    pub upstream: &'a str,
    /// As its upstream calls it.
    pub name: &'a str,
}

/// A call, whole.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a str,
    /// The body that was accepted, and where in it the arguments are.
    pub body: &'a [u8],
    pub arguments: Option<Span>,
    pub request: &'a dyn Request,
    /// What would be, had the caller's token every scope that a rule asks for.
    pub with_scopes: bool,
}

/// What a condition may ask of the request that brought a call.
pub trait Request {
    /// The header of this name, given in lower case.
    fn header(&self, name: &str) -> Header<'_>;
    fn ip(&self) -> IpAddr;
}

/// What there is of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header<'a> {
    Missing,
    One(&'a [u8]),
    /// Several of the name: whose it is, nobody can say.
    Several,
}

/// Reused from call to call. One per worker.
#[derive(Default)]
pub struct Workspace {
    picker: Picker,
    /// Where the reads of the condition led. Of those whose root is not known yet: nothing that may be looked at.
    picked: [Picked; READS_MAX],
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Workspace {
    /// Fills the places of the reads that start from `root`.
    #[inline]
    fn pick(
        &mut self,
        reads: &[ArchivedRead],
        from: ArchivedRoot,
        body: &[u8],
        at: Span,
    ) -> Result<(), DecodeFault> {
        self.picker.pick(body, at, &Reads { all: reads, from }, &mut self.picked)
    }
}

/// Those that start from one root.
struct Reads<'a> {
    all: &'a [ArchivedRead],
    from: ArchivedRoot,
}

impl Paths for Reads<'_> {
    #[inline]
    fn all(&self) -> impl Iterator<Item = (usize, usize)> {
        let of_root = |(_, read): &(usize, &ArchivedRead)| read.from == self.from;
        self.all.iter().enumerate().filter(of_root).map(|(number, read)| (number, read.path.len()))
    }

    #[inline]
    fn sketched(&self, folded: u64, mut each: impl FnMut(usize, u64)) {
        for (number, read) in self.all.iter().enumerate() {
            if read.first.folded == folded && read.from == self.from && !read.path.is_empty() {
                each(number, read.first.head.to_native());
            }
        }
    }

    fn keys(&self, number: usize) -> impl Iterator<Item = &str> {
        self.all.get(number).into_iter().flat_map(|read| read.path.iter().map(|key| key.as_str()))
    }
}

/// Decides. An error is that an object on the way can be read in two ways: the call is refused, whatever else is true of it.
pub fn evaluate(
    condition: &ArchivedCondition,
    automata: &[ArchivedAutomaton],
    moment: &Moment<'_>,
    workspace: &mut Workspace,
) -> Result<Truth, DecodeFault> {
    evaluate_part(condition, &condition.ops, automata, moment, workspace)
}

/// The same of a part of its steps that comes to one answer by itself.
pub fn evaluate_part(
    condition: &ArchivedCondition,
    part: &[ArchivedOp],
    automata: &[ArchivedAutomaton],
    moment: &Moment<'_>,
    workspace: &mut Workspace,
) -> Result<Truth, DecodeFault> {
    let reads = condition.reads.as_slice();
    let mut bodies = Bodies::default();
    if let Some((body, arguments)) = moment.asked.map(arguments) {
        workspace.pick(reads, ArchivedRoot::Arguments, body, arguments)?;
        bodies.arguments = Some(body);
    }
    if let Some(claims) = moment.principal.map(claims) {
        workspace.pick(reads, ArchivedRoot::Claims, claims, all(claims))?;
        bodies.claims = Some(claims);
    }
    let mut run = Run { reads, automata, moment, bodies, workspace };
    run.program(part)
}

/// Whoever brings no arguments, or has no claims, has an object with nothing in it.
const NOTHING: &[u8] = b"{}";

fn arguments<'a>(asked: &Asked<'a>) -> (&'a [u8], Span) {
    asked.arguments.map_or((NOTHING, all(NOTHING)), |arguments| (asked.body, arguments))
}

fn claims(principal: &Principal) -> &[u8] {
    if principal.claims.is_empty() { NOTHING } else { principal.claims.as_bytes() }
}

fn all(bytes: &[u8]) -> Span {
    Span::between(0, bytes.len())
}

/// What is read from, where it is known. The element: what it is part of.
#[derive(Default)]
struct Bodies<'a> {
    arguments: Option<&'a [u8]>,
    claims: Option<&'a [u8]>,
    element: Option<&'a [u8]>,
}

struct Run<'a, 'w> {
    reads: &'a [ArchivedRead],
    automata: &'a [ArchivedAutomaton],
    moment: &'a Moment<'a>,
    bodies: Bodies<'a>,
    workspace: &'w mut Workspace,
}

impl<'a> Run<'a, '_> {
    fn program(&mut self, ops: &'a [ArchivedOp]) -> Result<Truth, DecodeFault> {
        let mut stack = Stack::default();
        let mut at = 0;
        while let Some(op) = ops.get(at) {
            at += 1;
            let truth = match op {
                ArchivedOp::Not => stack.pop().negated(),
                ArchivedOp::And => {
                    let (right, left) = (stack.pop(), stack.pop());
                    left.and(right)
                }
                ArchivedOp::Or => {
                    let (right, left) = (stack.pop(), stack.pop());
                    left.or(right)
                }
                ArchivedOp::UnlessFalse(skip) => {
                    if stack.top() == Truth::False {
                        at += usize::from(skip.to_native());
                    }
                    continue;
                }
                ArchivedOp::UnlessTrue(skip) => {
                    if stack.top() == Truth::True {
                        at += usize::from(skip.to_native());
                    }
                    continue;
                }
                ArchivedOp::Each { list, quantifier, ops: body } => {
                    let end = at + usize::from(body.to_native());
                    let body = ops.get(at..end).unwrap_or_default();
                    at = end;
                    self.each(usize::from(list.to_native()), quantifier, body)?
                }
                other => self.step(other),
            };
            if !stack.push(truth) {
                return Ok(Truth::Error);
            }
        }
        Ok(if stack.depth == 1 { stack.top() } else { Truth::Error })
    }

    fn step(&mut self, op: &'a ArchivedOp) -> Truth {
        match op {
            ArchivedOp::Const(value) => Truth::of(*value),
            ArchivedOp::Trait { yes, error } => match self.moment.traits {
                None => Truth::Unknown,
                Some(traits) if traits.contains(usize::from(yes.to_native())) => Truth::True,
                Some(traits) if *error != NONE && traits.contains(usize::from(error.to_native())) => {
                    Truth::Error
                }
                Some(_) => Truth::False,
            },
            ArchivedOp::Window(window) => match self.moment.windows {
                None => Truth::Unknown,
                Some(windows) => Truth::of(windows.contains(usize::from(window.to_native()))),
            },
            ArchivedOp::Has(read) => self.has(usize::from(read.to_native())),
            ArchivedOp::IsType { of, types } => match type_of(self.value(of)) {
                Some(Some(found)) => Truth::of(types & found != 0),
                Some(None) => Truth::Error,
                None => Truth::Unknown,
            },
            ArchivedOp::Compare { left, by, right } => compare(self.value(left), by, self.value(right)),
            ArchivedOp::In { of, texts, numbers } => match self.value(of) {
                Value::Unknown => Truth::Unknown,
                Value::Text { bytes, escaped: false } if (1..=FEW_TEXTS).contains(&texts.len()) => {
                    Truth::of(texts.iter().any(|text| text.as_bytes() == bytes))
                }
                Value::Text { bytes, escaped } if !texts.is_empty() => {
                    let found = texts.binary_search_by(|text| order(text.as_bytes(), false, bytes, escaped));
                    Truth::of(found.is_ok())
                }
                number @ (Value::Number(_) | Value::Count(_)) if !numbers.is_empty() => {
                    let mut any = Truth::False;
                    for listed in numbers.iter() {
                        any = any.or(compare(
                            number,
                            &ArchivedComparison::Equal,
                            Value::Number(listed.0.as_bytes()),
                        ));
                    }
                    any
                }
                // Of mixed lists, the other half.
                Value::Text { .. } | Value::Number(_) | Value::Count(_)
                    if !texts.is_empty() && !numbers.is_empty() =>
                {
                    Truth::False
                }
                _ => Truth::Error,
            },
            ArchivedOp::Holds { list, item } => self.holds(usize::from(list.to_native()), item),
            ArchivedOp::InGroups(of) => match (self.value(of), self.moment.principal) {
                (Value::Unknown, _) | (_, None) => Truth::Unknown,
                (Value::Text { bytes, escaped }, Some(principal)) => Truth::of(
                    principal
                        .groups
                        .iter()
                        .any(|group| order(group.as_bytes(), false, bytes, escaped) == Ordering::Equal),
                ),
                _ => Truth::Error,
            },
            ArchivedOp::AnyGroup { test, text } => match self.moment.principal {
                None => Truth::Unknown,
                Some(principal) => Truth::of(
                    principal.groups.iter().any(|group| is_true_of(test, group.as_bytes(), text.as_bytes())),
                ),
            },
            ArchivedOp::HasHeader(name) => match self.moment.asked {
                None => Truth::Unknown,
                Some(asked) => Truth::of(asked.request.header(name) != Header::Missing),
            },
            ArchivedOp::Text { of, test, text } => {
                let (of, text) = (self.value(of), self.value(text));
                let Workspace { one, other, .. } = &mut *self.workspace;
                match (plain(of, one), plain(text, other)) {
                    (Ok(of), Ok(text)) => Truth::of(is_true_of(test, of, text)),
                    (Err(Truth::Unknown), _) | (_, Err(Truth::Unknown)) => Truth::Unknown,
                    _ => Truth::Error,
                }
            }
            ArchivedOp::Matches { of, automaton } => {
                let automaton = self.automata.get(usize::from(automaton.to_native()));
                match (self.value(of), automaton) {
                    (Value::Unknown, _) => Truth::Unknown,
                    (Value::Text { bytes, escaped: false }, Some(automaton)) => {
                        Truth::of(automaton.matches(bytes.iter().copied()))
                    }
                    (Value::Text { bytes, escaped: true }, Some(automaton)) => {
                        Truth::of(automaton.matches(Unescape::new(bytes)))
                    }
                    _ => Truth::Error,
                }
            }
            ArchivedOp::Network(networks) => match self.moment.asked {
                None => Truth::Unknown,
                Some(asked) => {
                    let ip = asked.request.ip();
                    Truth::of(networks.iter().any(|network| network.holds(ip)))
                }
            },
            ArchivedOp::Scope { scope, scp, text } => {
                let at_scope = self.has_scope(usize::from(scope.to_native()), text);
                at_scope.or(self.has_scope(usize::from(scp.to_native()), text))
            }
            ArchivedOp::StepUp => match self.moment.asked {
                None => Truth::Unknown,
                Some(asked) => Truth::of(asked.with_scopes),
            },
            ArchivedOp::Not
            | ArchivedOp::And
            | ArchivedOp::Or
            | ArchivedOp::UnlessFalse(_)
            | ArchivedOp::UnlessTrue(_)
            | ArchivedOp::Each { .. } => Truth::Error,
        }
    }

    fn has(&self, read: usize) -> Truth {
        match self.found(read) {
            None => Truth::Unknown,
            Some((_, Picked::Value { .. })) => Truth::True,
            Some((_, Picked::Missing)) => Truth::False,
            Some((_, Picked::Broken)) => Truth::Error,
        }
    }

    /// Where a read led, and in which bytes. None: not known yet.
    #[inline]
    fn found(&self, read: usize) -> Option<(&'a [u8], Picked)> {
        let (root, picked) = (&self.reads.get(read)?.from, self.workspace.picked.get(read).copied()?);
        let body = match root {
            ArchivedRoot::Arguments => self.bodies.arguments,
            ArchivedRoot::Claims => self.bodies.claims,
            ArchivedRoot::Element => self.bodies.element,
        };
        body.map(|body| (body, picked))
    }

    #[inline]
    fn read(&self, read: usize) -> Value<'a> {
        match self.found(read) {
            None => Value::Unknown,
            Some((body, Picked::Value { at, escaped })) => json(body, at, escaped),
            Some(_) => Value::Error,
        }
    }

    fn value(&self, operand: &'a ArchivedOperand) -> Value<'a> {
        let text = |text: &'a str| Value::Text { bytes: text.as_bytes(), escaped: false };
        match operand {
            ArchivedOperand::Read(read) => self.read(usize::from(read.to_native())),
            ArchivedOperand::Size(read) => size(self.read(usize::from(read.to_native()))),
            ArchivedOperand::Principal(fact) => self.moment.principal.map_or(Value::Unknown, |principal| {
                text(match fact {
                    ArchivedPrincipalFact::Id => &principal.id,
                    ArchivedPrincipalFact::User => &principal.user,
                    ArchivedPrincipalFact::Agent => &principal.agent,
                    ArchivedPrincipalFact::Tenant => &principal.tenant,
                })
            }),
            ArchivedOperand::Call(ArchivedCallFact::Method) => {
                self.moment.asked.map_or(Value::Unknown, |asked| text(asked.method))
            }
            ArchivedOperand::Call(fact) => self.moment.thing.map_or(Value::Unknown, |thing| {
                text(match fact {
                    ArchivedCallFact::Server => thing.server,
                    ArchivedCallFact::Upstream => thing.upstream,
                    ArchivedCallFact::Tool | ArchivedCallFact::Method => thing.name,
                })
            }),
            ArchivedOperand::Header(name) => match self.moment.asked {
                None => Value::Unknown,
                Some(asked) => match asked.request.header(name) {
                    Header::One(bytes) => Value::Text { bytes, escaped: false },
                    Header::Missing | Header::Several => Value::Error,
                },
            },
            ArchivedOperand::Text(constant) => text(constant),
            ArchivedOperand::Number(number) => Value::Number(number.0.as_bytes()),
            ArchivedOperand::Bool(value) => Value::Bool(*value),
            ArchivedOperand::Null => Value::AskedNull,
        }
    }

    /// Whether an element of the list equals the item. Elements of other types are others.
    fn holds(&mut self, list: usize, item: &'a ArchivedOperand) -> Truth {
        let item = self.value(item);
        let (body, list) = match (self.read(list), item) {
            (Value::Unknown, _) | (_, Value::Unknown) => return Truth::Unknown,
            (_, Value::Error) => return Truth::Error,
            (Value::List(body, span), _) => (body, span),
            _ => return Truth::Error,
        };
        for (count, element) in Elements::of(body, list).enumerate() {
            match element {
                Ok(_) if count == ELEMENTS_MAX => return Truth::Error,
                Err(_) => return Truth::Error,
                Ok(element) => {
                    if compare(value::element(body, element), &ArchivedComparison::Equal, item) == Truth::True
                    {
                        return Truth::True;
                    }
                }
            }
        }
        Truth::False
    }

    /// Whether what is read names the scope: a text with spaces between them, or a list. Anything else names none.
    fn has_scope(&mut self, read: usize, scope: &'a str) -> Truth {
        match self.read(read) {
            Value::Unknown => Truth::Unknown,
            Value::List(body, span) => Truth::of(Elements::of(body, span).flatten().any(|element| {
                let scope = Value::Text { bytes: scope.as_bytes(), escaped: false };
                compare(value::element(body, element), &ArchivedComparison::Equal, scope) == Truth::True
            })),
            named @ Value::Text { .. } => {
                Truth::of(plain(named, &mut self.workspace.one).is_ok_and(|text| {
                    text.split(u8::is_ascii_whitespace).any(|named| named == scope.as_bytes())
                }))
            }
            _ => Truth::False,
        }
    }

    fn each(
        &mut self,
        list: usize,
        quantifier: &ArchivedQuantifier,
        ops: &'a [ArchivedOp],
    ) -> Result<Truth, DecodeFault> {
        let (body, list) = match self.read(list) {
            Value::Unknown => return Ok(Truth::Unknown),
            Value::List(body, span) if self.bodies.element.is_none() => (body, span),
            _ => return Ok(Truth::Error),
        };
        self.bodies.element = Some(body);
        let outcome = self.elements(body, list, quantifier, ops);
        self.bodies.element = None;
        outcome
    }

    fn elements(
        &mut self,
        body: &'a [u8],
        list: Span,
        quantifier: &ArchivedQuantifier,
        ops: &'a [ArchivedOp],
    ) -> Result<Truth, DecodeFault> {
        let (mut all, mut any, mut ones) = (Truth::True, Truth::False, 0);
        let mut undecided = None;
        for (count, element) in Elements::of(body, list).enumerate() {
            let Ok(element) = element else { return Ok(Truth::Error) };
            if count == ELEMENTS_MAX {
                return Ok(Truth::Error);
            }
            self.workspace.pick(self.reads, ArchivedRoot::Element, body, element)?;
            let truth = self.program(ops)?;
            match truth {
                Truth::True => ones += 1,
                Truth::False => {}
                Truth::Error | Truth::Unknown => undecided = undecided.or(Some(truth)),
            }
            all = all.and(truth);
            any = any.or(truth);
        }
        Ok(match quantifier {
            ArchivedQuantifier::All => all,
            ArchivedQuantifier::Exists => any,
            // As CEL has it: what cannot be decided of one element cannot be decided of the list.
            ArchivedQuantifier::ExistsOne => undecided.unwrap_or(Truth::of(ones == 1)),
        })
    }
}

/// A program of a table that was opened never goes beneath or above.
struct Stack {
    truths: [Truth; DEPTH_MAX],
    depth: usize,
}

impl Default for Stack {
    fn default() -> Stack {
        Stack { truths: [Truth::Error; DEPTH_MAX], depth: 0 }
    }
}

impl Stack {
    #[inline]
    fn push(&mut self, truth: Truth) -> bool {
        let Some(slot) = self.truths.get_mut(self.depth) else { return false };
        *slot = truth;
        self.depth += 1;
        true
    }

    #[inline]
    fn pop(&mut self) -> Truth {
        let top = self.top();
        self.depth = self.depth.saturating_sub(1);
        top
    }

    #[inline]
    fn top(&self) -> Truth {
        self.truths.get(self.depth.wrapping_sub(1)).copied().unwrap_or(Truth::Error)
    }
}
