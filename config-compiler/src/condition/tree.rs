//! A condition as a tree of what it asks: the form in which it is looked at, cut apart and written out.
//!
//! [`super::meaning`] makes it from the author's text, [`super::emit`] writes it as a program. Nothing here knows a text any
//! more, but every question keeps the place it was asked at.

use std::ops::Range;

use strait_table::condition::{CallFact, Comparison, Network, Number, PrincipalFact, Quantifier, TextTest};

/// A condition, or a part of one.
#[derive(Clone, Debug)]
pub enum Tree {
    Const(bool),
    Ask(Question),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    /// Of the elements of a list. Inside, [`Root::Element`] is the element.
    Each {
        list: Path,
        quantifier: Quantifier,
        body: Box<Tree>,
        at: Range<usize>,
    },
}

/// Where it was asked makes no difference.
impl PartialEq for Tree {
    fn eq(&self, other: &Tree) -> bool {
        match (self, other) {
            (Tree::Const(one), Tree::Const(other)) => one == other,
            (Tree::Ask(one), Tree::Ask(other)) => one.asks == other.asks,
            (Tree::Not(one), Tree::Not(other)) => one == other,
            (Tree::And(one), Tree::And(other)) | (Tree::Or(one), Tree::Or(other)) => one == other,
            (
                Tree::Each { list, quantifier, body, .. },
                Tree::Each { list: other, quantifier: by, body: of, .. },
            ) => list == other && quantifier == by && body == of,
            _ => false,
        }
    }
}

/// One question, and where in the text it is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub asks: Asks,
    pub at: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Asks {
    /// A named role.
    Role(u16),
    /// A window of time.
    Window(u16),
    Has(Path),
    HasHeader(String),
    IsType {
        of: Value,
        types: u8,
    },
    Compare {
        left: Value,
        by: Comparison,
        right: Value,
    },
    In {
        of: Value,
        texts: Vec<String>,
        numbers: Vec<Number>,
    },
    Holds {
        list: Path,
        item: Value,
    },
    InGroups(Value),
    /// A group of the principal that the test is true of.
    AnyGroup {
        test: TextTest,
        text: String,
    },
    Text {
        of: Value,
        test: TextTest,
        text: Value,
    },
    Matches {
        of: Value,
        automaton: u16,
    },
    Network(Vec<Network>),
    /// The principal's token has this scope.
    Scope(String),
    /// What only another token of the same caller would make true.
    StepUp,
}

/// Something that is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Path(Path),
    Size(Path),
    Principal(PrincipalFact),
    Call(CallFact),
    Header(String),
    Text(String),
    Number(Number),
    Bool(bool),
    Null,
}

/// A way into a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    pub from: Root,
    pub keys: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    Arguments,
    Claims,
    Element,
}

/// When something can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    pub const NOTHING: Needs = Needs(0);
    /// The principal: once.
    pub const PRINCIPAL: Needs = Needs(1);
    /// The clock.
    pub const TIME: Needs = Needs(2);
    /// Which thing of which server is asked for.
    pub const THING: Needs = Needs(4);
    /// The call itself: its arguments, its request.
    pub const CALL: Needs = Needs(8);

    pub fn with(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// Nothing beyond `other`.
    pub fn within(self, other: Needs) -> bool {
        self.0 & !other.0 == 0
    }

    pub fn has(self, other: Needs) -> bool {
        self.0 & other.0 != 0
    }
}

/// Which values a part can come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Possible(u8);

impl Possible {
    pub const FALSE: Possible = Possible(1);
    pub const TRUE: Possible = Possible(2);
    pub const ERROR: Possible = Possible(4);
    pub const EITHER: Possible = Possible(3);
    pub const NOT_TRUE: Possible = Possible(5);
    pub const NOT_FALSE: Possible = Possible(6);
    pub const ANY: Possible = Possible(7);

    pub fn can_be(self, other: Possible) -> bool {
        self.0 & other.0 != 0
    }

    pub fn truth(value: bool) -> Possible {
        if value { Possible::TRUE } else { Possible::FALSE }
    }

    /// What both can come to.
    pub fn common(self, other: Possible) -> Possible {
        Possible(self.0 & other.0)
    }

    /// Everything else.
    pub fn others(self) -> Possible {
        Possible(!self.0 & Possible::ANY.0)
    }

    /// The one of true and false that is among them.
    pub fn only(self) -> Option<bool> {
        match self.common(Possible::EITHER) {
            Possible::TRUE => Some(true),
            Possible::FALSE => Some(false),
            _ => None,
        }
    }

    fn map(self, other: Possible, f: impl Fn(u8, u8) -> u8) -> Possible {
        let values = [1u8, 2, 4];
        let mut out = 0;
        for one in values.iter().filter(|one| self.0 & **one != 0) {
            for two in values.iter().filter(|two| other.0 & **two != 0) {
                out |= f(*one, *two);
            }
        }
        Possible(out)
    }

    fn and(self, other: Possible) -> Possible {
        self.map(other, |one, two| match (one, two) {
            (1, _) | (_, 1) => 1,
            (4, _) | (_, 4) => 4,
            _ => 2,
        })
    }

    pub fn negated(self) -> Possible {
        Possible((self.0 & 1) << 1 | (self.0 & 2) >> 1 | self.0 & 4)
    }

    fn or(self, other: Possible) -> Possible {
        self.negated().and(other.negated()).negated()
    }
}

impl Tree {
    pub fn ask(asks: Asks, at: Range<usize>) -> Tree {
        Tree::Ask(Question { asks, at })
    }

    pub fn negated(self) -> Tree {
        match self {
            Tree::Const(value) => Tree::Const(!value),
            Tree::Not(inner) => *inner,
            other => Tree::Not(Box::new(other)),
        }
    }

    pub fn and(parts: impl IntoIterator<Item = Tree>) -> Tree {
        Tree::joined(parts, true)
    }

    pub fn or(parts: impl IntoIterator<Item = Tree>) -> Tree {
        Tree::joined(parts, false)
    }

    /// `neutral` changes nothing, its opposite decides.
    fn joined(parts: impl IntoIterator<Item = Tree>, neutral: bool) -> Tree {
        let mut all = Vec::new();
        for part in parts {
            match (part, neutral) {
                (Tree::Const(value), _) if value == neutral => {}
                (Tree::Const(value), _) => return Tree::Const(value),
                (Tree::And(inner), true) | (Tree::Or(inner), false) => all.extend(inner),
                (other, _) => all.push(other),
            }
        }
        match (all.len(), neutral) {
            (0, _) => Tree::Const(neutral),
            (1, _) => all.remove(0),
            (_, true) => Tree::And(all),
            (_, false) => Tree::Or(all),
        }
    }

    pub fn needs(&self) -> Needs {
        match self {
            Tree::Const(_) => Needs::NOTHING,
            Tree::Ask(question) => question.asks.needs(),
            Tree::Not(inner) => inner.needs(),
            Tree::And(parts) | Tree::Or(parts) => {
                parts.iter().fold(Needs::NOTHING, |needs, part| needs.with(part.needs()))
            }
            Tree::Each { list, body, .. } => list.needs().with(body.needs()),
        }
    }

    /// What it can come to, given what each question can come to.
    pub fn possible(&self, of: &impl Fn(&Question) -> Possible) -> Possible {
        match self {
            Tree::Const(true) => Possible::TRUE,
            Tree::Const(false) => Possible::FALSE,
            Tree::Ask(question) => of(question),
            Tree::Not(inner) => inner.possible(of).negated(),
            Tree::And(parts) => parts.iter().fold(Possible::TRUE, |all, part| all.and(part.possible(of))),
            Tree::Or(parts) => parts.iter().fold(Possible::FALSE, |any, part| any.or(part.possible(of))),
            // The list may be no list; an empty one decides by itself.
            Tree::Each { list, quantifier, body, at } => {
                let list = of(&Question {
                    asks: Asks::IsType { of: Value::Path(list.clone()), types: 0 },
                    at: at.clone(),
                });
                let errors = Possible(list.0 & Possible::ERROR.0);
                let all = body.possible(of).0;
                let empty = if *quantifier == Quantifier::All { Possible::TRUE } else { Possible::FALSE };
                let every = match quantifier {
                    Quantifier::ExistsOne => all | Possible::EITHER.0,
                    _ => all,
                };
                Possible(every | empty.0 | errors.0)
            }
        }
    }

    /// Every question in it.
    pub fn questions<'t>(&'t self, each: &mut impl FnMut(&'t Question)) {
        match self {
            Tree::Const(_) => {}
            Tree::Ask(question) => each(question),
            Tree::Not(inner) => inner.questions(each),
            Tree::And(parts) | Tree::Or(parts) => parts.iter().for_each(|part| part.questions(each)),
            Tree::Each { body, .. } => body.questions(each),
        }
    }

    /// From its first question to its last.
    pub fn place(&self) -> Option<Range<usize>> {
        match self {
            Tree::Const(_) => None,
            Tree::Ask(question) => Some(question.at.clone()),
            Tree::Each { at, .. } => Some(at.clone()),
            Tree::Not(inner) => inner.place(),
            Tree::And(parts) | Tree::Or(parts) => {
                let all = || parts.iter().filter_map(Tree::place);
                Some(all().map(|at| at.start).min()?..all().map(|at| at.end).max()?)
            }
        }
    }

    /// Every path in it, with the place of the question that reads it.
    pub fn paths<'t>(&'t self, each: &mut impl FnMut(&'t Path, &'t Range<usize>)) {
        match self {
            Tree::Each { list, body, at, .. } => {
                each(list, at);
                body.paths(each);
            }
            Tree::Const(_) => {}
            Tree::Ask(question) => question.asks.paths(&mut |path| each(path, &question.at)),
            Tree::Not(inner) => inner.paths(each),
            Tree::And(parts) | Tree::Or(parts) => parts.iter().for_each(|part| part.paths(each)),
        }
    }
}

/// The same comparison with its sides changed.
pub fn turned(by: Comparison) -> Comparison {
    match by {
        Comparison::Less => Comparison::More,
        Comparison::LessOrEqual => Comparison::MoreOrEqual,
        Comparison::More => Comparison::Less,
        Comparison::MoreOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

impl Path {
    pub fn needs(&self) -> Needs {
        match self.from {
            Root::Claims => Needs::PRINCIPAL,
            Root::Arguments => Needs::CALL,
            // The list it is an element of says when.
            Root::Element => Needs::NOTHING,
        }
    }

    /// As an author writes it.
    pub fn written(&self) -> String {
        let mut out = match self.from {
            Root::Arguments => "args".to_owned(),
            Root::Claims => "principal.claims".to_owned(),
            Root::Element => "element".to_owned(),
        };
        for key in &self.keys {
            let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            match plain {
                true => out.push_str(&format!(".{key}")),
                false => out.push_str(&format!("[{key:?}]")),
            }
        }
        out
    }
}

impl Value {
    fn needs(&self) -> Needs {
        match self {
            Value::Path(path) | Value::Size(path) => path.needs(),
            Value::Principal(_) => Needs::PRINCIPAL,
            Value::Call(CallFact::Method) | Value::Header(_) => Needs::CALL,
            Value::Call(_) => Needs::THING,
            Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Null => Needs::NOTHING,
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Value::Path(path) | Value::Size(path) => Some(path),
            _ => None,
        }
    }

    pub fn is_constant(&self) -> bool {
        matches!(self, Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Null)
    }

    /// Whether it can be missing or of an unexpected type.
    fn is_certain(&self) -> bool {
        !matches!(self, Value::Path(_) | Value::Size(_) | Value::Header(_))
    }
}

impl Asks {
    pub fn needs(&self) -> Needs {
        match self {
            Asks::Role(_) | Asks::AnyGroup { .. } | Asks::Scope(_) => Needs::PRINCIPAL,
            Asks::Window(_) => Needs::TIME,
            Asks::Has(path) => path.needs(),
            Asks::HasHeader(_) | Asks::Network(_) | Asks::StepUp => Needs::CALL,
            Asks::IsType { of, .. } | Asks::In { of, .. } | Asks::Matches { of, .. } => of.needs(),
            Asks::InGroups(of) => of.needs().with(Needs::PRINCIPAL),
            Asks::Compare { left, right, .. } => left.needs().with(right.needs()),
            Asks::Text { of, text, .. } => of.needs().with(text.needs()),
            Asks::Holds { list, item } => list.needs().with(item.needs()),
        }
    }

    /// Whether it is never an error.
    pub fn is_certain(&self) -> bool {
        match self {
            Asks::Role(_)
            | Asks::AnyGroup { .. }
            | Asks::Window(_)
            | Asks::HasHeader(_)
            | Asks::Scope(_)
            | Asks::StepUp
            | Asks::Network(_) => true,
            // One key cannot be behind something that is no object.
            Asks::Has(path) => path.keys.len() == 1 && path.from != Root::Element,
            Asks::IsType { of, .. } | Asks::In { of, .. } | Asks::Matches { of, .. } | Asks::InGroups(of) => {
                of.is_certain()
            }
            Asks::Compare { left, right, .. } => left.is_certain() && right.is_certain(),
            Asks::Text { of, text, .. } => of.is_certain() && text.is_certain(),
            Asks::Holds { .. } => false,
        }
    }

    pub fn paths<'t>(&'t self, each: &mut impl FnMut(&'t Path)) {
        let values: [Option<&Value>; 2] = match self {
            Asks::Has(path) => {
                each(path);
                [None, None]
            }
            Asks::Holds { list, item } => {
                each(list);
                [Some(item), None]
            }
            Asks::IsType { of, .. } | Asks::In { of, .. } | Asks::Matches { of, .. } | Asks::InGroups(of) => {
                [Some(of), None]
            }
            Asks::Compare { left, right, .. } => [Some(left), Some(right)],
            Asks::Text { of, text, .. } => [Some(of), Some(text)],
            Asks::Role(_)
            | Asks::AnyGroup { .. }
            | Asks::Window(_)
            | Asks::HasHeader(_)
            | Asks::Scope(_)
            | Asks::StepUp
            | Asks::Network(_) => [None, None],
        };
        values.into_iter().flatten().filter_map(Value::path).for_each(each);
    }
}
