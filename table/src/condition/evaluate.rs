//! Runs a condition. HOT where a call meets one: no allocation in the usual case, no recursion but into the one level that a
//! quantifier has.
//!
//! The decision: comparisons are typed. A number never equals a text, it is an error, and an error never lets a deny be
//! passed: whoever sends `"500"` where a rule asks for a number has not found a way round it.

use std::cmp::Ordering;
use std::net::IpAddr;

use memchr::{memchr, memmem};
use strait_policy::{Principal, Traits, Truth};
use strait_protocol::Span;
use strait_protocol::jsonrpc::{
    DecodeFault, Elements, Members, Picked, Picker, Unescape, compare_numbers, is_integer,
};

use super::{
    ArchivedCallFact, ArchivedComparison, ArchivedCondition, ArchivedOp, ArchivedOperand,
    ArchivedPrincipalFact, ArchivedQuantifier, ArchivedRead, ArchivedRoot, ArchivedTextTest, DEPTH_MAX,
    ELEMENTS_MAX, NONE, READS_MAX, automaton::ArchivedAutomaton, types,
};

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
        root: &ArchivedRoot,
        body: &[u8],
        at: Span,
    ) -> Result<(), DecodeFault> {
        let of_root = |(_, read): &(usize, &ArchivedRead)| read.from == *root;
        if !reads.iter().any(|read| read.from == *root) {
            return Ok(());
        }
        let paths = reads.iter().enumerate().filter(of_root);
        let paths = paths.map(|(place, read)| (place, read.path.iter().map(|key| key.as_str())));
        self.picker.pick(body, at, paths, &mut self.picked)
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
    if let Some((body, arguments)) = moment.asked.map(arguments) {
        workspace.pick(reads, &ArchivedRoot::Arguments, body, arguments)?;
    }
    if let Some(claims) = moment.principal.map(claims) {
        workspace.pick(reads, &ArchivedRoot::Claims, claims, all(claims))?;
    }
    let mut run = Run { reads, automata, moment, element: None, workspace };
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

/// A value as it is compared.
#[derive(Clone, Copy)]
enum Value<'a> {
    Null,
    /// The author's own `null`: whether something is null can be asked of anything.
    AskedNull,
    Bool(bool),
    Number(&'a [u8]),
    Count(usize),
    /// `escaped`: it is written with escapes of JSON.
    Text {
        bytes: &'a [u8],
        escaped: bool,
    },
    List(&'a [u8], Span),
    Object(&'a [u8], Span),
    /// Missing, or of a type that nothing can be said about.
    Error,
    Unknown,
}

struct Run<'a, 'w> {
    reads: &'a [ArchivedRead],
    automata: &'a [ArchivedAutomaton],
    moment: &'a Moment<'a>,
    /// What the element that is looked at is part of.
    element: Option<&'a [u8]>,
    workspace: &'w mut Workspace,
}

impl<'a> Run<'a, '_> {
    fn program(&mut self, ops: &'a [ArchivedOp]) -> Result<Truth, DecodeFault> {
        // Two bits a truth. A program of a table that was opened never goes beneath or above.
        let mut stack = 0u128;
        let mut depth = 0usize;
        let mut at = 0;
        while let Some(op) = ops.get(at) {
            at += 1;
            let truth = match op {
                ArchivedOp::Not => {
                    let truth = pop(&mut stack, &mut depth);
                    truth.negated()
                }
                ArchivedOp::And => {
                    let (right, left) = (pop(&mut stack, &mut depth), pop(&mut stack, &mut depth));
                    left.and(right)
                }
                ArchivedOp::Or => {
                    let (right, left) = (pop(&mut stack, &mut depth), pop(&mut stack, &mut depth));
                    left.or(right)
                }
                ArchivedOp::UnlessFalse(skip) => {
                    if top(stack, depth) == Truth::False {
                        at += usize::from(skip.to_native());
                    }
                    continue;
                }
                ArchivedOp::UnlessTrue(skip) => {
                    if top(stack, depth) == Truth::True {
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
            if depth == DEPTH_MAX {
                return Ok(Truth::Error);
            }
            stack = stack << 2 | truth as u128;
            depth += 1;
        }
        Ok(if depth == 1 { top(stack, depth) } else { Truth::Error })
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
            Some((_, Picked::Value(_))) => Truth::True,
            Some((_, Picked::Missing)) => Truth::False,
            Some((_, Picked::Broken)) => Truth::Error,
        }
    }

    /// Where a read led, and in which bytes. None: not known yet.
    fn found(&self, read: usize) -> Option<(&'a [u8], Picked)> {
        let (root, picked) = (&self.reads.get(read)?.from, self.workspace.picked.get(read).copied()?);
        match root {
            ArchivedRoot::Arguments => self.moment.asked.map(|asked| (arguments(asked).0, picked)),
            ArchivedRoot::Claims => self.moment.principal.map(|principal| (claims(principal), picked)),
            ArchivedRoot::Element => self.element.map(|body| (body, picked)),
        }
    }

    fn read(&self, read: usize) -> Value<'a> {
        match self.found(read) {
            None => Value::Unknown,
            Some((body, Picked::Value(span))) => json(body, span),
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
                    if compare(json(body, element), &ArchivedComparison::Equal, item) == Truth::True {
                        return Truth::True;
                    }
                }
            }
        }
        Truth::False
    }

    fn each(
        &mut self,
        list: usize,
        quantifier: &ArchivedQuantifier,
        ops: &'a [ArchivedOp],
    ) -> Result<Truth, DecodeFault> {
        let (body, list) = match self.read(list) {
            Value::Unknown => return Ok(Truth::Unknown),
            Value::List(body, span) if self.element.is_none() => (body, span),
            _ => return Ok(Truth::Error),
        };
        self.element = Some(body);
        let outcome = self.elements(body, list, quantifier, ops);
        self.element = None;
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
            self.workspace.pick(self.reads, &ArchivedRoot::Element, body, element)?;
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

fn pop(stack: &mut u128, depth: &mut usize) -> Truth {
    let truth = top(*stack, *depth);
    *stack >>= 2;
    *depth = depth.saturating_sub(1);
    truth
}

fn top(stack: u128, depth: usize) -> Truth {
    match (depth, stack & 3) {
        (0, _) => Truth::Error,
        (_, 0) => Truth::False,
        (_, 1) => Truth::True,
        (_, 2) => Truth::Error,
        _ => Truth::Unknown,
    }
}

fn json(body: &[u8], span: Span) -> Value<'_> {
    let raw = span.of(body);
    match raw {
        [b'"', bytes @ .., b'"'] => Value::Text { bytes, escaped: memchr(b'\\', bytes).is_some() },
        [b'{', ..] => Value::Object(body, span),
        [b'[', ..] => Value::List(body, span),
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        b"null" => Value::Null,
        [b'-' | b'0'..=b'9', ..] => Value::Number(raw),
        _ => Value::Error,
    }
}

fn size(value: Value<'_>) -> Value<'_> {
    let count = match value {
        Value::Unknown => return Value::Unknown,
        Value::Text { bytes, escaped: false } => letters(bytes.iter().copied()),
        Value::Text { bytes, escaped: true } => letters(Unescape::new(bytes)),
        Value::List(body, span) => Elements::of(body, span).count(),
        Value::Object(body, span) => Members::of(body, span).count(),
        _ => return Value::Error,
    };
    Value::Count(count)
}

/// Code points, as CEL counts.
fn letters(bytes: impl Iterator<Item = u8>) -> usize {
    bytes.filter(|byte| byte & 0xc0 != 0x80).count()
}

/// The bit of a value's type. None: not known yet; Some(None): there is no value.
fn type_of(value: Value<'_>) -> Option<Option<u8>> {
    Some(Some(match value {
        Value::Unknown => return None,
        Value::Error => return Some(None),
        Value::Null | Value::AskedNull => types::NULL,
        Value::Bool(_) => types::BOOL,
        Value::Number(number) if is_integer(number) => types::INTEGER,
        Value::Number(_) => types::FRACTION,
        Value::Count(_) => types::INTEGER,
        Value::Text { .. } => types::TEXT,
        Value::List(..) => types::LIST,
        Value::Object(..) => types::OBJECT,
    }))
}

fn compare(left: Value<'_>, by: &ArchivedComparison, right: Value<'_>) -> Truth {
    let mut digits = itoa_buffer();
    let ordering = match (left, right) {
        (Value::Unknown, _) | (_, Value::Unknown) => return Truth::Unknown,
        (Value::Error, _) | (_, Value::Error) => return Truth::Error,
        (Value::Text { bytes: one, escaped }, Value::Text { bytes: other, escaped: also }) => {
            Some(order(one, escaped, other, also))
        }
        (Value::Number(one), Value::Number(other)) => compare_numbers(one, other),
        (Value::Count(one), Value::Count(other)) => Some(one.cmp(&other)),
        (Value::Count(one), Value::Number(other)) => compare_numbers(written(&mut digits, one), other),
        (Value::Number(one), Value::Count(other)) => compare_numbers(one, written(&mut digits, other)),
        // Without order.
        (Value::Bool(one), Value::Bool(other)) => return equality(by, one == other),
        (Value::Null | Value::AskedNull, Value::Null | Value::AskedNull) => return equality(by, true),
        (Value::AskedNull, _) | (_, Value::AskedNull) => return equality(by, false),
        _ => None,
    };
    let Some(ordering) = ordering else { return Truth::Error };
    Truth::of(match by {
        ArchivedComparison::Equal => ordering.is_eq(),
        ArchivedComparison::NotEqual => ordering.is_ne(),
        ArchivedComparison::Less => ordering.is_lt(),
        ArchivedComparison::LessOrEqual => ordering.is_le(),
        ArchivedComparison::More => ordering.is_gt(),
        ArchivedComparison::MoreOrEqual => ordering.is_ge(),
    })
}

fn is_true_of(test: &ArchivedTextTest, of: &[u8], text: &[u8]) -> bool {
    match test {
        ArchivedTextTest::StartsWith => of.starts_with(text),
        ArchivedTextTest::EndsWith => of.ends_with(text),
        ArchivedTextTest::Contains => memmem::find(of, text).is_some(),
    }
}

fn equality(by: &ArchivedComparison, equal: bool) -> Truth {
    match by {
        ArchivedComparison::Equal => Truth::of(equal),
        ArchivedComparison::NotEqual => Truth::of(!equal),
        _ => Truth::Error,
    }
}

/// By code points, which for UTF-8 is by bytes.
fn order(one: &[u8], escaped: bool, other: &[u8], also_escaped: bool) -> Ordering {
    match (escaped, also_escaped) {
        (false, false) => one.cmp(other),
        (true, false) => Unescape::new(one).cmp(other.iter().copied()),
        (false, true) => one.iter().copied().cmp(Unescape::new(other)),
        (true, true) => Unescape::new(one).cmp(Unescape::new(other)),
    }
}

/// What a text says, in one piece.
fn plain<'b>(value: Value<'b>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Truth> {
    match value {
        Value::Text { bytes, escaped: false } => Ok(bytes),
        Value::Text { bytes, escaped: true } => {
            buffer.clear();
            buffer.extend(Unescape::new(bytes));
            Ok(buffer)
        }
        Value::Unknown => Err(Truth::Unknown),
        _ => Err(Truth::Error),
    }
}

const fn itoa_buffer() -> [u8; 20] {
    [0; 20]
}

fn written(digits: &mut [u8; 20], mut value: usize) -> &[u8] {
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return digits.get(from..).unwrap_or_default();
        }
    }
}
