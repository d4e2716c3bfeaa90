//! A program back as an expression, for people who look at a table.

use super::{
    ArchivedCallFact, ArchivedComparison, ArchivedCondition, ArchivedNetwork, ArchivedOp, ArchivedOperand,
    ArchivedPrincipalFact, ArchivedQuantifier, ArchivedRoot, ArchivedTextTest, types,
};
use crate::rules::ArchivedRules;

/// What a condition asks, in the language it was written in. Not the author's own text: what the table does.
pub fn shown(condition: &ArchivedCondition, rules: &ArchivedRules) -> String {
    Shower { condition, rules }.program(&condition.ops)
}

struct Shower<'a> {
    condition: &'a ArchivedCondition,
    rules: &'a ArchivedRules,
}

impl Shower<'_> {
    fn program(&self, ops: &[ArchivedOp]) -> String {
        let mut stack: Vec<String> = Vec::new();
        let mut at = 0;
        while let Some(op) = ops.get(at) {
            at += 1;
            let text = match op {
                ArchivedOp::Not => format!("!({})", stack.pop().unwrap_or_default()),
                ArchivedOp::And | ArchivedOp::Or => {
                    let word = if matches!(op, ArchivedOp::And) { "&&" } else { "||" };
                    let (right, left) = (stack.pop().unwrap_or_default(), stack.pop().unwrap_or_default());
                    format!("({left} {word} {right})")
                }
                ArchivedOp::UnlessFalse(_) | ArchivedOp::UnlessTrue(_) => continue,
                ArchivedOp::Each { list, quantifier, ops: body } => {
                    let end = at + usize::from(body.to_native());
                    let body = self.program(ops.get(at..end).unwrap_or_default());
                    at = end;
                    let word = match quantifier {
                        ArchivedQuantifier::All => "all",
                        ArchivedQuantifier::Exists => "exists",
                        ArchivedQuantifier::ExistsOne => "exists_one",
                    };
                    format!("{}.{word}(element, {body})", self.read(list.to_native()))
                }
                other => self.question(other),
            };
            stack.push(text);
        }
        stack.pop().unwrap_or_default()
    }

    fn question(&self, op: &ArchivedOp) -> String {
        match op {
            ArchivedOp::Const(value) => value.to_string(),
            ArchivedOp::Trait { yes, .. } => self.of_trait(yes.to_native()),
            ArchivedOp::Window(window) => {
                let window = self.rules.windows.get(usize::from(window.to_native()));
                format!("during {:?}", window.map_or("", |window| window.text.as_str()))
            }
            ArchivedOp::Has(read) => format!("has({})", self.read(read.to_native())),
            ArchivedOp::HasHeader(name) => format!("{:?} in request.headers", name.as_str()),
            ArchivedOp::IsType { of, types } => format!("type({}) in [{}]", self.value(of), names_of(*types)),
            ArchivedOp::Compare { left, by, right } => {
                let by = match by {
                    ArchivedComparison::Equal => "==",
                    ArchivedComparison::NotEqual => "!=",
                    ArchivedComparison::Less => "<",
                    ArchivedComparison::LessOrEqual => "<=",
                    ArchivedComparison::More => ">",
                    ArchivedComparison::MoreOrEqual => ">=",
                };
                format!("{} {by} {}", self.value(left), self.value(right))
            }
            ArchivedOp::In { of, texts, numbers } => {
                let texts = texts.iter().map(|text| format!("{:?}", text.as_str()));
                let all: Vec<String> =
                    texts.chain(numbers.iter().map(|number| number.0.as_str().to_owned())).collect();
                format!("{} in [{}]", self.value(of), all.join(", "))
            }
            ArchivedOp::Holds { list, item } => {
                format!("{} in {}", self.value(item), self.read(list.to_native()))
            }
            ArchivedOp::InGroups(of) => format!("{} in principal.groups", self.value(of)),
            ArchivedOp::AnyGroup { test, text } => {
                format!("principal.groups.exists(group, group.{}({:?}))", word(test), text.as_str())
            }
            ArchivedOp::Text { of, test, text } => {
                format!("{}.{}({})", self.value(of), word(test), self.value(text))
            }
            ArchivedOp::Matches { of, automaton } => {
                let automaton = self.rules.automata.get(usize::from(automaton.to_native()));
                let pattern = automaton.map_or("", |automaton| automaton.pattern.as_str());
                format!("{}.matches({pattern:?})", self.value(of))
            }
            ArchivedOp::Network(networks) => {
                let all: Vec<String> = networks
                    .iter()
                    .map(|network| format!("cidr({:?}).containsIP(request.ip)", written(network)))
                    .collect();
                if all.len() == 1 { all.concat() } else { format!("({})", all.join(" || ")) }
            }
            ArchivedOp::Scope { text, .. } => format!("{:?} in principal.scopes", text.as_str()),
            ArchivedOp::StepUp => "another token".to_owned(),
            ArchivedOp::Not
            | ArchivedOp::And
            | ArchivedOp::Or
            | ArchivedOp::UnlessFalse(_)
            | ArchivedOp::UnlessTrue(_)
            | ArchivedOp::Each { .. } => String::new(),
        }
    }

    fn of_trait(&self, bit: u16) -> String {
        if let Some(role) = self.rules.roles.iter().find(|role| role.yes == bit) {
            return format!("{:?} in principal.roles", role.name.as_str());
        }
        match self.rules.traits.get(usize::from(bit)) {
            Some(one) => shown(&one.condition, self.rules),
            None => "?".to_owned(),
        }
    }

    fn read(&self, read: u16) -> String {
        let Some(read) = self.condition.reads.get(usize::from(read)) else { return "?".to_owned() };
        let root = match read.from {
            ArchivedRoot::Arguments => "args",
            ArchivedRoot::Claims => "principal.claims",
            ArchivedRoot::Element => "element",
        };
        let keys = read.path.iter().map(|key| {
            let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if plain { format!(".{}", key.as_str()) } else { format!("[{:?}]", key.as_str()) }
        });
        root.to_owned() + &keys.collect::<String>()
    }

    fn value(&self, operand: &ArchivedOperand) -> String {
        match operand {
            ArchivedOperand::Read(read) => self.read(read.to_native()),
            ArchivedOperand::Size(read) => format!("size({})", self.read(read.to_native())),
            ArchivedOperand::Principal(fact) => match fact {
                ArchivedPrincipalFact::Id => "principal.id",
                ArchivedPrincipalFact::User => "principal.user",
                ArchivedPrincipalFact::Agent => "principal.agent",
                ArchivedPrincipalFact::Tenant => "principal.tenant",
            }
            .to_owned(),
            ArchivedOperand::Call(fact) => match fact {
                ArchivedCallFact::Method => "call.method",
                ArchivedCallFact::Server => "call.server",
                ArchivedCallFact::Upstream => "call.upstream",
                ArchivedCallFact::Tool => "call.tool",
            }
            .to_owned(),
            ArchivedOperand::Header(name) => format!("request.headers[{:?}]", name.as_str()),
            ArchivedOperand::Text(text) => format!("{:?}", text.as_str()),
            ArchivedOperand::Number(number) => number.0.as_str().to_owned(),
            ArchivedOperand::Bool(value) => value.to_string(),
            ArchivedOperand::Null => "null".to_owned(),
        }
    }
}

fn word(test: &ArchivedTextTest) -> &'static str {
    match test {
        ArchivedTextTest::StartsWith => "startsWith",
        ArchivedTextTest::EndsWith => "endsWith",
        ArchivedTextTest::Contains => "contains",
    }
}

fn names_of(bits: u8) -> String {
    let all = [
        (types::NULL, "null_type"),
        (types::BOOL, "bool"),
        (types::INTEGER, "int"),
        (types::FRACTION, "double"),
        (types::TEXT, "string"),
        (types::LIST, "list"),
        (types::OBJECT, "map"),
    ];
    let names: Vec<&str> = all.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    names.join(", ")
}

fn written(network: &ArchivedNetwork) -> String {
    let v6 = std::net::Ipv6Addr::from(network.address);
    match v6.to_ipv4_mapped().filter(|_| network.bits >= 96) {
        Some(v4) => format!("{v4}/{}", network.bits - 96),
        None => format!("{v6}/{}", network.bits),
    }
}
