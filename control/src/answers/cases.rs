//! Runs cases: each is decided as [`super::call`] decides it, and held against what its author expects. Beside that, which rules
//! the cases have put to the test.

use serde_json::{Value, json};
use strait_config_compiler::cases::{Case, Expect, Who};
use strait_policy::{Truth, Verdict};
use strait_table::Snapshot;
use strait_table::condition::ArchivedOp;
use strait_table::decide::effect_of;
use strait_table::rules::ArchivedRule;

use super::asked::{Thing, place};
use super::call::{Call, Decided, From, decide, reason, why};
use super::people::{self, Person, known};
use crate::source::Opened;

/// What came of the cases.
pub struct Report {
    pub results: Vec<Outcome>,
    pub coverage: Vec<Covered>,
}

/// What came of one case.
pub struct Outcome {
    pub name: String,
    pub at: String,
    pub expected: String,
    pub decided: Found,
    /// Why it failed, a line each; empty: it passed.
    pub failed: Vec<String>,
}

/// What was decided; empty where the case could not be put.
#[derive(Default)]
pub struct Found {
    pub verdict: &'static str,
    pub rule: Option<String>,
    pub at: Option<String>,
    pub reason: String,
    pub listed: bool,
}

impl Found {
    /// What stands before why a case failed.
    pub fn word(&self) -> &'static str {
        if self.verdict.is_empty() { "not put" } else { "decided" }
    }
}

/// What the cases have seen of a rule.
pub struct Covered {
    pub rule: String,
    pub at: String,
    /// A rule without a condition has only one way to be.
    pub conditional: bool,
    /// A case was decided as it says, while it spoke.
    pub spoke: bool,
    /// A case concerned it and whom it speaks to, and its condition was not met.
    pub silent: bool,
}

impl Covered {
    /// What can be seen of it, and what was.
    fn points(&self) -> (usize, usize) {
        (
            1 + usize::from(self.conditional),
            usize::from(self.spoke) + usize::from(self.conditional && self.silent),
        )
    }
}

pub fn run(opened: &Opened, cases: &[Case]) -> Report {
    let snapshot = &*opened.snapshot;
    let people = known(opened).known;
    let mut coverage: Vec<Covered> = snapshot
        .rules()
        .policy
        .rules
        .iter()
        .map(|rule| Covered {
            rule: rule.id.as_str().to_owned(),
            at: place(snapshot, rule),
            conditional: rule.condition.is_some(),
            spoke: false,
            silent: false,
        })
        .collect();
    let results = cases.iter().map(|case| {
        let expected = match &case.by {
            Some(rule) => format!("{} by rule `{rule}`", case.expect.word()),
            None => case.expect.word().to_owned(),
        };
        let (decided, failed) = match put(snapshot, &people, case) {
            Err(why) => (Found::default(), vec![why]),
            Ok(decided) => {
                cover(snapshot, &decided, &mut coverage);
                let failed = held_against(snapshot, case, &decided);
                (found(snapshot, &decided), failed)
            }
        };
        Outcome { name: case.name.clone(), at: case.at.clone(), expected, decided, failed }
    });
    Report { results: results.collect(), coverage }
}

/// Decides a case, or says why it cannot be put.
fn put(snapshot: &Snapshot, people: &[Person], case: &Case) -> Result<Decided, String> {
    let principal = match &case.principal {
        Who::Described(principal) => principal.clone(),
        Who::Id(id) if *id == Person::anonymous().principal.id => Person::anonymous().principal,
        Who::Id(id) => {
            let with_key = people.iter().find(|person| person.principal.id == *id).cloned();
            let person = with_key.or_else(|| people::by_certificate(snapshot, id));
            let nobody = || {
                format!("no key has the id `{id}`: describe the principal, as `{{ id: {id}, groups: [] }}`")
            };
            person.ok_or_else(nobody)?.principal
        }
    };
    let rules = &snapshot.rules().policy.rules;
    if let Some(by) = case.by.as_deref().filter(|by| !rules.iter().any(|rule| rule.id == *by)) {
        return Err(format!("there is no rule `{by}`"));
    }
    let thing = Thing::of(snapshot, case.kind, &case.thing).map_err(|failure| failure.message)?;
    let server = thing.server(snapshot, case.server.as_deref()).map_err(|failure| failure.message)?;
    let Some(server) = server else {
        let nothing =
            Decided { verdict: Verdict::Deny(None), listed: false, standings: Vec::new(), refused: None };
        return Ok(Decided { refused: Some("no server shows it".to_owned()), ..nothing });
    };
    let from = From { headers: case.headers.clone(), ip: case.ip };
    let call = Call { args: case.args.clone(), at: case.moment.unwrap_or_default(), from };
    let decided = decide(snapshot, &principal, server, &thing, &call).map_err(|failure| failure.message)?;
    // What is decided by the time of day must not pass in the morning and fail at night.
    let timed =
        rules.iter().zip(&decided.standings).find(|(rule, standing)| standing.concerns && is_timed(rule));
    match (case.moment, timed) {
        (None, Some((rule, _))) => Err(format!("rule `{}` asks for the time: write `at`", rule.id.as_str())),
        _ => Ok(decided),
    }
}

fn is_timed(rule: &ArchivedRule) -> bool {
    let ops = rule.condition.iter().flat_map(|condition| condition.ops.iter());
    ops.into_iter().any(|op| matches!(op, ArchivedOp::Window(_)))
}

fn found(snapshot: &Snapshot, decided: &Decided) -> Found {
    let verdict = decided.verdict;
    let rule = verdict.rule().and_then(|rule| snapshot.rules().policy.rules.get(rule as usize));
    Found {
        verdict: match verdict {
            Verdict::Permit(_) => "allow",
            Verdict::Hold(_) => "hold",
            Verdict::Deny(_) => "deny",
        },
        rule: rule.map(|rule| rule.id.as_str().to_owned()),
        at: rule.map(|rule| place(snapshot, rule)),
        reason: decided.refused.clone().unwrap_or_else(|| reason(snapshot, verdict)),
        listed: decided.listed,
    }
}

/// Why a case failed.
fn held_against(snapshot: &Snapshot, case: &Case, decided: &Decided) -> Vec<String> {
    let as_expected = match (case.expect, decided.verdict) {
        (Expect::Allow, verdict) => verdict.is_permit(),
        (Expect::Hold, verdict) => matches!(verdict, Verdict::Hold(_)),
        (Expect::Deny, verdict) => matches!(verdict, Verdict::Deny(_)),
        (Expect::Hidden, verdict) => !verdict.is_permit() && !decided.listed,
    };
    let rules = &snapshot.rules().policy.rules;
    let by = case.by.as_deref().and_then(|by| rules.iter().position(|rule| rule.id == by));
    let decides = by.is_none_or(|by| decided.verdict.rule() == Some(by as u32));
    if as_expected && decides {
        return Vec::new();
    }
    let found = found(snapshot, decided);
    let at = found.at.map(|at| format!(" ({at})")).unwrap_or_default();
    let listed = if case.expect == Expect::Hidden && found.listed { "; it is listed" } else { "" };
    let mut lines = vec![format!("{}: {}{at}{listed}", found.verdict, found.reason)];
    // Why the rule that was expected did not decide; where none was named, why those did not that could have.
    let told =
        rules.iter().zip(&decided.standings).enumerate().filter(|(index, (rule, standing))| match by {
            Some(by) => by == *index && !decides,
            None => {
                standing.concerns && decided.verdict.rule() != Some(*index as u32) && is_of(rule, case.expect)
            }
        });
    lines.extend(told.map(|(_, (rule, standing))| {
        let why = why(snapshot, rule, standing, decided.verdict);
        format!("rule `{}`: {why} ({})", rule.id.as_str(), place(snapshot, rule))
    }));
    lines
}

fn is_of(rule: &ArchivedRule, expect: Expect) -> bool {
    use strait_policy::Effect;
    matches!(
        (effect_of(&rule.effect), expect),
        (Effect::Allow, Expect::Allow)
            | (Effect::Hold, Expect::Hold)
            | (Effect::Deny, Expect::Deny | Expect::Hidden)
    )
}

fn cover(snapshot: &Snapshot, decided: &Decided, coverage: &mut [Covered]) {
    let rules = snapshot.rules().policy.rules.iter();
    for ((rule, standing), covered) in rules.zip(&decided.standings).zip(coverage) {
        if !standing.concerns || standing.to == Truth::False {
            continue;
        }
        let effect = effect_of(&rule.effect);
        let speaks = effect.speaks(standing.speaks) == Some(true);
        covered.spoke |= speaks && Verdict::of(effect, None).label() == decided.verdict.label();
        covered.silent |= !speaks;
    }
}

impl Report {
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|result| !result.failed.is_empty()).count()
    }

    /// What was seen, of what there is to see.
    pub fn covered(&self) -> (usize, usize) {
        self.coverage
            .iter()
            .map(Covered::points)
            .fold((0, 0), |(seen, all), (of, was)| (seen + was, all + of))
    }

    /// In hundredths, rounded down: 100 is all of it. Of no rules, all.
    pub fn percent(&self) -> usize {
        let (seen, all) = self.covered();
        (100 * seen).checked_div(all).unwrap_or(100)
    }

    pub fn to_json(&self) -> Value {
        let cases = self.results.iter().map(|result| {
            let decided = &result.decided;
            let found = json!({
                "verdict": decided.verdict,
                "rule": decided.rule,
                "at": decided.at,
                "reason": decided.reason,
                "listed": decided.listed,
            });
            json!({
                "name": result.name,
                "at": result.at,
                "passed": result.failed.is_empty(),
                "expected": result.expected,
                "decided": if decided.verdict.is_empty() { Value::Null } else { found },
                "why": result.failed,
            })
        });
        let rules = self.coverage.iter().map(|rule| {
            json!({
                "rule": rule.rule,
                "at": rule.at,
                "conditional": rule.conditional,
                "spoke": rule.spoke,
                "silent": rule.silent,
            })
        });
        let (covered, points) = self.covered();
        json!({
            "passed": self.results.len() - self.failed(),
            "failed": self.failed(),
            "cases": cases.collect::<Vec<_>>(),
            "coverage": {
                "percent": self.percent(),
                "covered": covered,
                "points": points,
                "rules": rules.collect::<Vec<_>>(),
            },
        })
    }

    /// JUnit's XML, as CI systems read it.
    pub fn to_junit(&self, suite: &str) -> String {
        let counts = format!("tests=\"{}\" failures=\"{}\"", self.results.len(), self.failed());
        let suite = escaped(suite);
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts} errors=\"0\">\n  <testsuite name=\"{suite}\" {counts} errors=\"0\" skipped=\"0\">\n"
        );
        for result in &self.results {
            let name = escaped(&result.name);
            // A place has a file, a line and a column.
            let mut place = result.at.rsplitn(3, ':');
            let (_, line, file) =
                (place.next(), place.next().unwrap_or("0"), place.next().unwrap_or_default());
            let case = format!(
                "<testcase name=\"{name}\" classname=\"{suite}\" file=\"{}\" line=\"{line}\"",
                escaped(file)
            );
            match result.failed.first() {
                None => out.push_str(&format!("    {case}/>\n")),
                Some(first) => {
                    let word = result.decided.word();
                    let all = format!("expected {}\n{word} {}", result.expected, result.failed.join("\n"));
                    let message = escaped(&format!("expected {}, {word} {first}", result.expected));
                    out.push_str(&format!(
                        "    {case}>\n      <failure message=\"{message}\" type=\"policy\">{}</failure>\n    </testcase>\n",
                        escaped(&all)
                    ));
                }
            }
        }
        out.push_str("  </testsuite>\n</testsuites>\n");
        out
    }
}

/// A text as XML has it. What XML 1.0 cannot say at all is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
