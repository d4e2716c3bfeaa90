//! From a tree to a program. Parts that depend on the principal alone become traits: they are worked out once per principal,
//! and a call finds a bit.

use std::collections::HashMap;

use strait_table::{
    condition::{
        Automaton, Condition, DEPTH_MAX, NONE, OPS_MAX, Op, Operand, READS_MAX, Read, Root as TableRoot,
    },
    rules::Trait,
    window::Window,
};

use super::syntax::Parsing;
use super::tree::{Asks, Needs, Path, Possible, Question, Root, Tree, Value};

/// What conditions share: each thing once, however many conditions ask for it.
#[derive(Default)]
pub struct Shared {
    pub parsing: Parsing,
    pub traits: Vec<Trait>,
    trait_numbers: HashMap<Trait, u16>,
    pub windows: Vec<Window>,
    window_numbers: HashMap<Window, u16>,
    pub automata: Vec<Automaton>,
    automaton_numbers: HashMap<String, u16>,
    /// By role: its trait, and the one that says that it cannot be decided.
    pub roles: Vec<(u16, u16)>,
}

/// A bound of the program that was passed.
#[derive(Debug, PartialEq, Eq)]
pub enum TooMuch {
    Steps,
    Reads,
    Depth,
    Traits,
}

impl TooMuch {
    pub fn says(&self) -> String {
        match self {
            TooMuch::Steps => format!("it comes to more than {OPS_MAX} steps"),
            TooMuch::Reads => format!("it reads more than {READS_MAX} values"),
            TooMuch::Depth => format!("it nests more than {DEPTH_MAX} deep"),
            TooMuch::Traits => {
                format!("the policy asks more than {} things of principals", strait_policy::TRAITS_MAX)
            }
        }
    }
}

impl Shared {
    pub fn window(&mut self, window: Window) -> u16 {
        let next = self.windows.len() as u16;
        *self.window_numbers.entry(window.clone()).or_insert_with(|| {
            self.windows.push(window);
            next
        })
    }

    /// The number of an expression's automaton, made when it is not there yet.
    pub fn automaton<E>(
        &mut self,
        pattern: &str,
        make: impl FnOnce(&str) -> Result<Automaton, E>,
    ) -> Result<u16, E> {
        if let Some(known) = self.automaton_numbers.get(pattern) {
            return Ok(*known);
        }
        let made = make(pattern)?;
        let number = self.automata.len() as u16;
        self.automata.push(made);
        self.automaton_numbers.insert(pattern.to_owned(), number);
        Ok(number)
    }

    fn one_trait(&mut self, condition: Condition, on_error: bool) -> Result<u16, TooMuch> {
        let one = Trait { condition, on_error };
        if let Some(known) = self.trait_numbers.get(&one) {
            return Ok(*known);
        }
        if self.traits.len() == strait_policy::TRAITS_MAX {
            return Err(TooMuch::Traits);
        }
        let number = self.traits.len() as u16;
        self.traits.push(one.clone());
        self.trait_numbers.insert(one, number);
        Ok(number)
    }

    /// The traits of a condition over a principal: that it is true, and that it cannot be decided.
    pub fn principal(&mut self, tree: &Tree) -> Result<(u16, u16), TooMuch> {
        // `principal.roles` inside is a bit already.
        if let Tree::Ask(Question { asks: Asks::Role(role), .. }) = tree {
            return Ok(self.roles.get(usize::from(*role)).copied().unwrap_or((NONE, NONE)));
        }
        let condition = self.program(tree, false)?;
        let certain = |question: &Question| match question.asks.is_certain() {
            true => Possible::EITHER,
            false => Possible::ANY,
        };
        let error = match tree.possible(&certain).can_be(Possible::ERROR) {
            true => self.one_trait(condition.clone(), true)?,
            false => NONE,
        };
        Ok((self.one_trait(condition, false)?, error))
    }

    /// The program of a rule's condition.
    pub fn rule(&mut self, tree: &Tree) -> Result<Condition, TooMuch> {
        self.program(tree, true)
    }

    fn program(&mut self, tree: &Tree, lift: bool) -> Result<Condition, TooMuch> {
        let mut emitter = Emitter { shared: self, lift, condition: Condition::default(), depth: 0 };
        emitter.tree(tree)?;
        let condition = emitter.condition;
        if condition.ops.len() > OPS_MAX {
            return Err(TooMuch::Steps);
        }
        Ok(condition)
    }
}

struct Emitter<'s> {
    shared: &'s mut Shared,
    /// Parts over the principal become traits.
    lift: bool,
    condition: Condition,
    depth: usize,
}

impl Emitter<'_> {
    fn push(&mut self, op: Op, grows: bool) -> Result<(), TooMuch> {
        self.condition.ops.push(op);
        self.depth += usize::from(grows);
        if self.depth >= DEPTH_MAX { Err(TooMuch::Depth) } else { Ok(()) }
    }

    fn tree(&mut self, tree: &Tree) -> Result<(), TooMuch> {
        if self.lift
            && !matches!(tree, Tree::Const(_))
            && tree.needs().has(Needs::PRINCIPAL)
            && tree.needs().within(Needs::PRINCIPAL)
        {
            // Of joined parts, each by itself: more of them are shared, and roles stay roles.
            if !matches!(tree, Tree::And(_) | Tree::Or(_) | Tree::Not(_)) || !holds_role(tree) {
                let (yes, error) = self.shared.principal(tree)?;
                return self.push(Op::Trait { yes, error }, true);
            }
        }
        match tree {
            Tree::Const(value) => self.push(Op::Const(*value), true),
            Tree::Ask(question) => self.question(&question.asks),
            Tree::Not(inner) => {
                self.tree(inner)?;
                self.push(Op::Not, false)
            }
            Tree::And(parts) => self.joined(parts, Op::And, Op::UnlessFalse),
            Tree::Or(parts) => self.joined(parts, Op::Or, Op::UnlessTrue),
            Tree::Each { list, quantifier, body, .. } => {
                let list = self.read(list)?;
                let place = self.condition.ops.len();
                self.push(Op::Each { list, quantifier: *quantifier, ops: 0 }, false)?;
                let (lift, depth) =
                    (std::mem::replace(&mut self.lift, false), std::mem::take(&mut self.depth));
                self.tree(body)?;
                (self.lift, self.depth) = (lift, depth);
                let ops = (self.condition.ops.len() - place - 1) as u16;
                self.condition.ops[place] = Op::Each { list, quantifier: *quantifier, ops };
                self.depth += 1;
                if self.depth >= DEPTH_MAX { Err(TooMuch::Depth) } else { Ok(()) }
            }
        }
    }

    /// What is cheap and known early is asked first; the order changes no outcome.
    fn joined(&mut self, parts: &[Tree], join: Op, unless: fn(u16) -> Op) -> Result<(), TooMuch> {
        let mut ordered: Vec<&Tree> = parts.iter().collect();
        ordered.sort_by_key(|part| weight(part));
        for (index, part) in ordered.into_iter().enumerate() {
            if index == 0 {
                self.tree(part)?;
                continue;
            }
            let place = self.condition.ops.len();
            self.push(unless(0), false)?;
            self.tree(part)?;
            self.push(join.clone(), false)?;
            self.depth -= 1;
            let ops = self.condition.ops.len() - place - 1;
            self.condition.ops[place] = unless(u16::try_from(ops).map_err(|_| TooMuch::Steps)?);
        }
        Ok(())
    }

    fn question(&mut self, asks: &Asks) -> Result<(), TooMuch> {
        let op = match asks {
            Asks::Role(role) => {
                let (yes, error) = self.shared.roles.get(usize::from(*role)).copied().unwrap_or((NONE, NONE));
                Op::Trait { yes, error }
            }
            Asks::Window(window) => Op::Window(*window),
            Asks::Has(path) => Op::Has(self.read(path)?),
            Asks::HasHeader(name) => Op::HasHeader(name.clone()),
            Asks::IsType { of, types } => Op::IsType { of: self.value(of)?, types: *types },
            Asks::Compare { left, by, right } => {
                Op::Compare { left: self.value(left)?, by: *by, right: self.value(right)? }
            }
            Asks::In { of, texts, numbers } => {
                Op::In { of: self.value(of)?, texts: texts.clone(), numbers: numbers.clone() }
            }
            Asks::Holds { list, item } => Op::Holds { list: self.read(list)?, item: self.value(item)? },
            Asks::InGroups(of) => Op::InGroups(self.value(of)?),
            Asks::AnyGroup { test, text } => Op::AnyGroup { test: *test, text: text.clone() },
            Asks::Text { of, test, text } => {
                Op::Text { of: self.value(of)?, test: *test, text: self.value(text)? }
            }
            Asks::Matches { of, automaton } => Op::Matches { of: self.value(of)?, automaton: *automaton },
            Asks::Network(networks) => Op::Network(networks.clone()),
            Asks::Scope(text) => {
                let claim = |name: &str| Path { from: Root::Claims, keys: vec![name.to_owned()] };
                let (scope, scp) = (self.read(&claim("scope"))?, self.read(&claim("scp"))?);
                Op::Scope { scope, scp, text: text.clone() }
            }
            Asks::StepUp => Op::StepUp,
        };
        self.push(op, true)
    }

    fn value(&mut self, value: &Value) -> Result<Operand, TooMuch> {
        Ok(match value {
            Value::Path(path) => Operand::Read(self.read(path)?),
            Value::Size(path) => Operand::Size(self.read(path)?),
            Value::Principal(fact) => Operand::Principal(*fact),
            Value::Call(fact) => Operand::Call(*fact),
            Value::Header(name) => Operand::Header(name.clone()),
            Value::Text(text) => Operand::Text(text.clone()),
            Value::Number(number) => Operand::Number(number.clone()),
            Value::Bool(value) => Operand::Bool(*value),
            Value::Null => Operand::Null,
        })
    }

    fn read(&mut self, path: &Path) -> Result<u16, TooMuch> {
        let from = match path.from {
            Root::Arguments => TableRoot::Arguments,
            Root::Claims => TableRoot::Claims,
            Root::Element => TableRoot::Element,
        };
        let read = Read::of(from, path.keys.clone());
        let reads = &mut self.condition.reads;
        if let Some(known) = reads.iter().position(|known| *known == read) {
            return Ok(known as u16);
        }
        if reads.len() == READS_MAX {
            return Err(TooMuch::Reads);
        }
        reads.push(read);
        Ok((reads.len() - 1) as u16)
    }
}

fn holds_role(tree: &Tree) -> bool {
    let mut found = false;
    tree.questions(&mut |question| found |= matches!(question.asks, Asks::Role(_)));
    found
}

/// Bits before comparisons, comparisons before texts that are walked, lists last.
fn weight(tree: &Tree) -> u8 {
    match tree {
        Tree::Const(_) => 0,
        Tree::Ask(question) => match &question.asks {
            Asks::Role(_) | Asks::Window(_) => 0,
            asks if asks.needs().within(Needs::PRINCIPAL) => 0,
            Asks::Matches { .. } | Asks::Holds { .. } => 3,
            Asks::Text { .. } | Asks::In { .. } => 2,
            _ => 1,
        },
        Tree::Not(inner) => weight(inner),
        Tree::And(parts) | Tree::Or(parts) => parts.iter().map(weight).max().unwrap_or(0),
        Tree::Each { .. } => 4,
    }
}
