//! What one value can be: each kind that it could be of is put to every question about it. Numbers are cut at the constants
//! they are compared with, so that all between two neighbours answer alike; texts are looked at in [`text`].

use std::cmp::Ordering;

use strait_protocol::jsonrpc::compare_numbers;
use strait_table::condition::{Comparison, Number, types};

use super::{
    Logic,
    clause::Wanted,
    text::{self, Test},
};
use crate::condition::tree::{Asks, Path, Possible, Question, Root, Tree, Value, turned};

/// Something that a value can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Missing,
    /// What should hold it is missing or no object; of a header: it is there twice.
    Broken,
    Null,
    Bool(bool),
    /// A number in this stretch of the cut line, written as a whole number or not.
    Number {
        stretch: usize,
        whole: bool,
    },
    /// A number whose exponent nobody follows.
    Wild,
    Text,
    List,
    Object,
}

/// What a candidate answers.
enum Answer<'t> {
    Is(Possible),
    /// What the text says decides.
    Text(Test<'t>),
    /// How much is in it decides.
    Count(Counted<'t>),
}

#[derive(Clone, Copy)]
enum Counted<'t> {
    Compared(Comparison, &'t Number),
    OneOf(&'t [Number]),
}

/// Every value has something left that it can be.
pub fn can_be(wanted: &[Wanted<'_>], logic: &mut Logic<'_>) -> bool {
    let mut subjects: Vec<&Value> = Vec::new();
    let mut lists: Vec<Value> = Vec::new();
    for one in wanted {
        each_subject(one, &mut |subject| match subject {
            Subject::Of(value) if !subjects.contains(&value) => subjects.push(value),
            Subject::At(path) => lists.push(Value::Path(path.clone())),
            Subject::Header(name) => lists.push(Value::Header(name.to_owned())),
            Subject::Of(_) => {}
        });
    }
    for value in &lists {
        if !subjects.contains(&value) {
            subjects.push(value);
        }
    }
    // Of every path: whether what should hold it is sure to be an object, and whether it can be one itself.
    let mut paths: Vec<(&Path, bool, bool)> = Vec::new();
    for subject in subjects {
        let left = candidates_left(subject, wanted, logic);
        if left.is_empty() {
            return false;
        }
        if let Value::Path(path) = subject {
            paths.push((path, !left.contains(&Candidate::Broken), left.contains(&Candidate::Object)));
        }
    }
    paths.iter().filter(|(_, held, _)| *held).all(|(inner, ..)| {
        paths.iter().all(|(outer, _, object)| {
            let leads = outer.from == inner.from
                && outer.keys.len() < inner.keys.len()
                && inner.keys.starts_with(&outer.keys);
            !leads || *object
        })
    })
}

enum Subject<'t> {
    Of(&'t Value),
    At(&'t Path),
    Header(&'t str),
}

fn each_subject<'t>(one: &Wanted<'t>, each: &mut impl FnMut(Subject<'t>)) {
    let mut of = |value: &'t Value| match value {
        Value::Size(path) => each(Subject::At(path)),
        value if !value.is_constant() => each(Subject::Of(value)),
        _ => {}
    };
    match one.tree {
        Tree::Each { list, .. } => each(Subject::At(list)),
        Tree::Ask(Question { asks, .. }) => match asks {
            Asks::Has(path) => each(Subject::At(path)),
            Asks::HasHeader(name) => each(Subject::Header(name)),
            Asks::IsType { of: value, .. }
            | Asks::In { of: value, .. }
            | Asks::InGroups(value)
            | Asks::Matches { of: value, .. } => of(value),
            Asks::Compare { left, right, .. } => {
                of(left);
                of(right);
            }
            Asks::Text { of: value, text, .. } => {
                of(value);
                of(text);
            }
            Asks::Holds { list, item } => {
                of(item);
                each(Subject::At(list));
            }
            Asks::Role(_) | Asks::Window(_) | Asks::AnyGroup { .. } | Asks::Network(_) => {}
            Asks::Scope(_) | Asks::StepUp => {}
        },
        _ => {}
    }
}

fn candidates_left(subject: &Value, wanted: &[Wanted<'_>], logic: &mut Logic<'_>) -> Vec<Candidate> {
    let line = Line::of(numbers_of(subject, wanted));
    let counts = Line::of(counts_of(subject, wanted));
    let mut left = candidates(subject, &line);
    left.retain(|candidate| {
        let (mut tests, mut counted) = (Vec::new(), Vec::new());
        for one in wanted {
            let goal = one.goal;
            match answer(one.tree, subject, *candidate, &line, logic) {
                Answer::Is(possible) if goal.common(possible).can_be(Possible::ANY) => {}
                Answer::Is(_) => return false,
                Answer::Text(test) => match goal.only() {
                    Some(is) => tests.push((test, is)),
                    None if goal.can_be(Possible::EITHER) => {}
                    None => return false,
                },
                Answer::Count(count) => match goal.only() {
                    Some(is) => counted.push((count, is)),
                    None if goal.can_be(Possible::EITHER) => {}
                    None => return false,
                },
            }
        }
        let fits = |stretch: usize| counted.iter().all(|(count, is)| count.holds(&counts, stretch) == *is);
        if *candidate == Candidate::Text {
            let letters = |count: usize| fits(counts.stretch_of(&count.to_string()));
            let letters: Option<&dyn Fn(usize) -> bool> =
                if counted.is_empty() { None } else { Some(&letters) };
            return counts.some_count(&fits)
                && text::can_be(&tests, letters, &mut |steps| logic.spend(steps));
        }
        counted.is_empty() || counts.some_count(&fits)
    });
    left
}

fn candidates(subject: &Value, line: &Line<'_>) -> Vec<Candidate> {
    match subject {
        Value::Path(path) if path.keys.is_empty() && path.from != Root::Element => vec![Candidate::Object],
        Value::Path(path) => {
            let is_element = path.from == Root::Element && path.keys.is_empty();
            let mut all = vec![Candidate::Null, Candidate::Bool(false), Candidate::Bool(true)];
            all.extend([Candidate::Wild, Candidate::Text, Candidate::List, Candidate::Object]);
            for stretch in 0..line.stretches() {
                all.push(Candidate::Number { stretch, whole: false });
                if line.holds_whole(stretch) {
                    all.push(Candidate::Number { stretch, whole: true });
                }
            }
            if !is_element {
                all.push(Candidate::Missing);
            }
            if path.keys.len() > 1 || (path.from == Root::Element && !is_element) {
                all.push(Candidate::Broken);
            }
            all
        }
        Value::Header(_) => vec![Candidate::Missing, Candidate::Broken, Candidate::Text],
        _ => vec![Candidate::Text],
    }
}

/// What a question comes to when `subject` is this; anything, when it does not ask for that alone.
fn answer<'t>(
    tree: &'t Tree,
    subject: &Value,
    is: Candidate,
    line: &Line<'_>,
    logic: &Logic<'t>,
) -> Answer<'t> {
    use Candidate::{Broken, List, Missing, Text};
    let is_path = |path: &Path| matches!(subject, Value::Path(other) if other == path);
    let is_size = |value: &Value| matches!(value, Value::Size(path) if is_path(path));
    let error = Answer::Is(Possible::ERROR);
    let any = Answer::Is(Possible::ANY);
    let asks = match tree {
        Tree::Each { list, .. } if is_path(list) && is != List => return error,
        Tree::Ask(Question { asks, .. }) => asks,
        _ => return any,
    };
    match asks {
        Asks::Has(path) if is_path(path) => Answer::Is(match is {
            Missing => Possible::FALSE,
            Broken => Possible::ERROR,
            _ => Possible::TRUE,
        }),
        Asks::HasHeader(name) if matches!(subject, Value::Header(other) if other == name) => {
            Answer::Is(Possible::truth(is != Missing))
        }
        Asks::IsType { of, types } if of == subject => match type_of(is) {
            Some(bit) => Answer::Is(Possible::truth(types & bit != 0)),
            None => error,
        },
        Asks::Compare { left, by, right } => {
            let (by, other, sized) = match () {
                () if left == subject => (*by, right, false),
                () if right == subject => (turned(*by), left, false),
                () if is_size(left) => (*by, right, true),
                () if is_size(right) => (turned(*by), left, true),
                () => return any,
            };
            match (sized, other) {
                (true, _) if !is_countable(is) => error,
                (true, Value::Number(number)) => Answer::Count(Counted::Compared(by, number)),
                (true, _) => any,
                (false, other) => compared(is, by, other, line),
            }
        }
        Asks::In { of, numbers, .. } if is_size(of) => match is_countable(is) {
            true => Answer::Count(Counted::OneOf(numbers)),
            false => error,
        },
        Asks::In { of, texts, numbers } if of == subject => match is {
            Text if !texts.is_empty() => Answer::Text(Test::OneOf(texts)),
            Candidate::Number { stretch, .. } if !numbers.is_empty() => {
                Answer::Is(Possible::truth(numbers.iter().any(|number| line.order(stretch, number).is_eq())))
            }
            _ => error,
        },
        Asks::Holds { list, .. } if is_path(list) && is != List => error,
        Asks::Holds { item, .. } if item == subject && matches!(is, Missing | Broken) => error,
        Asks::InGroups(of) if of == subject && is != Text => error,
        Asks::Text { of, test, text } if of == subject || text == subject => match text {
            _ if is != Text => error,
            Value::Text(text) if of == subject => Answer::Text(Test::Part(*test, text)),
            _ => any,
        },
        Asks::Matches { of, automaton } if of == subject => match logic.automata.get(usize::from(*automaton))
        {
            _ if is != Text => error,
            Some(automaton) => Answer::Text(Test::Matches(automaton)),
            None => any,
        },
        _ => any,
    }
}

fn compared<'t>(is: Candidate, by: Comparison, other: &'t Value, line: &Line<'_>) -> Answer<'t> {
    let ordered = !matches!(by, Comparison::Equal | Comparison::NotEqual);
    let equal = |equal: bool| match ordered {
        true => Answer::Is(Possible::ERROR),
        false => Answer::Is(Possible::truth(equal == (by == Comparison::Equal))),
    };
    match (is, other) {
        (Candidate::Missing | Candidate::Broken, _) => Answer::Is(Possible::ERROR),
        // Whether something is null can be asked of anything.
        (Candidate::Null, Value::Null) => equal(true),
        (_, Value::Null) => equal(false),
        (Candidate::Bool(one), Value::Bool(other)) => equal(one == *other),
        (Candidate::Number { stretch, .. }, Value::Number(number)) => {
            Answer::Is(Possible::truth(holds(by, line.order(stretch, number))))
        }
        (Candidate::Text, Value::Text(text)) => Answer::Text(Test::Order(by, text)),
        (_, constant) if constant.is_constant() => Answer::Is(Possible::ERROR),
        (Candidate::Number { .. } | Candidate::Text, _) => Answer::Is(Possible::ANY),
        _ if ordered => Answer::Is(Possible::ERROR),
        _ => Answer::Is(Possible::ANY),
    }
}

pub fn holds(by: Comparison, order: Ordering) -> bool {
    match by {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::More => order.is_gt(),
        Comparison::MoreOrEqual => order.is_ge(),
    }
}

fn is_countable(is: Candidate) -> bool {
    matches!(is, Candidate::Text | Candidate::List | Candidate::Object)
}

fn type_of(is: Candidate) -> Option<u8> {
    Some(match is {
        Candidate::Missing | Candidate::Broken => return None,
        Candidate::Null => types::NULL,
        Candidate::Bool(_) => types::BOOL,
        Candidate::Number { whole: true, .. } => types::INTEGER,
        Candidate::Number { .. } | Candidate::Wild => types::FRACTION,
        Candidate::Text => types::TEXT,
        Candidate::List => types::LIST,
        Candidate::Object => types::OBJECT,
    })
}

impl Counted<'_> {
    fn holds(&self, line: &Line<'_>, stretch: usize) -> bool {
        match self {
            Counted::Compared(by, number) => holds(*by, line.order(stretch, number)),
            Counted::OneOf(numbers) => numbers.iter().any(|number| line.order(stretch, number).is_eq()),
        }
    }
}

fn numbers_of<'t>(subject: &Value, wanted: &[Wanted<'t>]) -> Vec<&'t str> {
    let is = |value: &Value| value == subject;
    constants(wanted, &is)
}

/// With zero: nothing holds less than nothing.
fn counts_of<'t>(subject: &Value, wanted: &[Wanted<'t>]) -> Vec<&'t str> {
    let is =
        |value: &Value| matches!((value, subject), (Value::Size(path), Value::Path(other)) if path == other);
    let mut all = constants(wanted, &is);
    all.push("0");
    all
}

fn constants<'t>(wanted: &[Wanted<'t>], is: &dyn Fn(&Value) -> bool) -> Vec<&'t str> {
    let mut all = Vec::new();
    for one in wanted {
        match one.asks() {
            Some(Asks::Compare { left, right: Value::Number(number), .. }) if is(left) => {
                all.push(number.0.as_str())
            }
            Some(Asks::Compare { left: Value::Number(number), right, .. }) if is(right) => {
                all.push(number.0.as_str())
            }
            Some(Asks::In { of, numbers, .. }) if is(of) => {
                all.extend(numbers.iter().map(|number| number.0.as_str()))
            }
            _ => {}
        }
    }
    all
}

/// The line of numbers, cut at constants: stretch 0 is all below the first, 1 the first itself, 2 all up to the second.
struct Line<'t>(Vec<&'t str>);

impl<'t> Line<'t> {
    fn of(mut cuts: Vec<&'t str>) -> Line<'t> {
        cuts.sort_by(|one, other| order(one, other));
        cuts.dedup_by(|one, other| order(one, other).is_eq());
        Line(cuts)
    }

    fn stretches(&self) -> usize {
        self.0.len() * 2 + 1
    }

    fn stretch_of(&self, number: &str) -> usize {
        match self.0.binary_search_by(|cut| order(cut, number)) {
            Ok(at) => at * 2 + 1,
            Err(at) => at * 2,
        }
    }

    /// How the numbers of a stretch compare with one of the cuts.
    fn order(&self, stretch: usize, number: &Number) -> Ordering {
        stretch.cmp(&self.stretch_of(&number.0))
    }

    fn holds_whole(&self, stretch: usize) -> bool {
        let cut = |at: Option<usize>| at.and_then(|at| self.0.get(at)).copied();
        if stretch % 2 == 1 {
            return cut(Some(stretch / 2)).is_none_or(may_be_whole);
        }
        match (cut((stretch / 2).checked_sub(1)), cut(Some(stretch / 2))) {
            (Some(below), Some(above)) => next_whole(below).is_none_or(|next| order(&next, above).is_lt()),
            _ => true,
        }
    }

    /// Some count is in a stretch that fits.
    fn some_count(&self, fits: &impl Fn(usize) -> bool) -> bool {
        let zero = self.stretch_of("0");
        (zero..self.stretches()).any(|stretch| self.holds_whole(stretch) && fits(stretch))
    }
}

/// Constants of a condition can always be compared.
fn order(one: &str, other: &str) -> Ordering {
    compare_numbers(one.as_bytes(), other.as_bytes()).unwrap_or(Ordering::Equal)
}

/// Whether it can be written as a whole number; true where that takes more than a look.
fn may_be_whole(number: &str) -> bool {
    match number.split_once('.') {
        Some((_, fraction)) => fraction.contains(['e', 'E']) || fraction.bytes().all(|digit| digit == b'0'),
        None => true,
    }
}

/// The least whole number above this one, of those that are short.
fn next_whole(number: &str) -> Option<String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() > 18 || number.contains(['e', 'E']) {
        return None;
    }
    let value: i64 = whole.parse().ok()?;
    let is_below = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    Some(if is_below { value } else { value + 1 }.to_string())
}
