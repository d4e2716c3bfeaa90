//! `strait test CONFIG`: puts the cases beside a configuration to its policy, and tells which rules they have tried.

use std::path::{Path, PathBuf};

use serde_json::Value;
use strait_config_compiler::cases::{self, Case};
use strait_control::answers::asked::plain;
use strait_control::answers::cases::{Report, run};
use strait_control::{Code, Failure, Source, source, whole};

use crate::output::{Output, count, hanging};

#[derive(clap::Args)]
pub struct Test {
    /// The configuration. Its cases are its `tests`, and those of every `*.test.yaml` beside it.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Write the results as JUnit XML, too.
    #[arg(long, value_name = "OUT")]
    junit: Option<PathBuf>,
    /// Tell of every rule whether a case has tried it.
    #[arg(long)]
    coverage: bool,
    /// Fail when the cases have tried less than this, in percent: each rule once speaking, and each with a condition once silent.
    #[arg(long, value_name = "PCT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
}

impl Test {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let source = Source::detect(&self.config)?;
        if let Source::Table(path) = &source {
            let message =
                format!("`{}` is a table, which has no cases: expected a configuration", path.display());
            return Err(Failure::new(Code::Usage, message));
        }
        let mut opened = source.open()?;
        let outcome = opened.outcome.as_mut();
        let mut all = outcome.map(|outcome| std::mem::take(&mut outcome.cases)).unwrap_or_default();
        all.extend(self.beside()?);
        if all.is_empty() {
            let message = format!("`{}` has no cases", self.config.display());
            let help = "write `tests: [{ as: ann, call: upstream.tool, expect: allow }]` into it, or into a `*.test.yaml` beside it";
            return Err(Failure::new(Code::Failed, message).help(help));
        }
        let report = run(&opened, &all);
        if let Some(path) = &self.junit {
            let xml = report.to_junit(&self.config.display().to_string());
            whole::write(path, xml.as_bytes()).map_err(|error| {
                Failure::new(Code::Unfit, format!("cannot write `{}`: {error}", path.display()))
            })?;
        }
        let facts = if output.json { report.to_json() } else { Value::Null };
        output.facts(&facts, || self.text(&report));
        let is_enough = self.min_coverage.is_none_or(|least| report.percent() >= usize::from(least));
        if report.failed() > 0 || !is_enough { Err(Failure::silent(Code::Failed)) } else { Ok(()) }
    }

    fn beside(&self) -> Result<Vec<Case>, Failure> {
        let unreadable =
            |error| Failure::new(Code::Unfit, format!("cannot look for files of cases: {error}"));
        let mut all = Vec::new();
        for path in cases::beside(&self.config).map_err(unreadable)? {
            if is_same(&path, &self.config) {
                continue;
            }
            let outcome = cases::load(&path, &|name| std::env::var(name).ok());
            if outcome.errors() > 0 {
                return Err(source::findings(&path, outcome));
            }
            all.extend(outcome.cases);
        }
        Ok(all)
    }

    fn text(&self, report: &Report) -> String {
        let mut out = String::new();
        for result in &report.results {
            let word = if result.failed.is_empty() { "pass" } else { "FAIL" };
            out.push_str(&plain(&format!("{word}  {}  ({})", result.name, result.at)));
            out.push('\n');
            let mut lines = result.failed.iter();
            if let Some(first) = lines.next() {
                out.push_str(&hanging(6, "wanted", &plain(&result.expected)));
                out.push_str(&hanging(6, result.decided.word(), &plain(first)));
                lines.for_each(|line| out.push_str(&hanging(6, "", &plain(line))));
            }
        }
        if self.coverage {
            out.push_str("\nwhat the cases have tried\n");
            for rule in &report.coverage {
                let said = match (rule.conditional, rule.spoke, rule.silent) {
                    (false, true, _) | (true, true, true) => "tried",
                    (true, true, false) => "its condition was always met",
                    (true, false, true) => "its condition was never met",
                    _ => "not tried",
                };
                out.push_str(&plain(&format!("  {}: {said}  ({})", rule.rule, rule.at)));
                out.push('\n');
            }
        }
        let passed = report.results.len() - report.failed();
        out.push_str(&format!(
            "\n{}: {passed} passed, {} failed",
            count(report.results.len(), "case"),
            report.failed()
        ));
        let (covered, points) = report.covered();
        out.push_str(&format!("; coverage {}% ({covered} of {points})", report.percent()));
        if let Some(least) = self.min_coverage.filter(|least| report.percent() < usize::from(*least)) {
            out.push_str(&format!(", less than {least}%"));
        }
        out.push('\n');
        out
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
