//! `strait explain-code ST0204`: what a finding means, with an example of what it is said of and one of what is meant instead.

use serde_json::json;
use strait_config_compiler::diagnostic::codes;
use strait_control::{Code, Failure};

use crate::output::Output;

#[derive(clap::Args)]
pub struct ExplainCode {
    /// As findings show it: `ST0204`. Without it, all of them in one line each.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

impl ExplainCode {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let facts = |code: &codes::Code| json!({ "code": code.to_string(), "severity": code.severity.label(), "about": code.about, "page": code.page });
        let Some(written) = self.code else {
            let all: Vec<_> = codes::ALL.iter().map(|code| facts(code)).collect();
            let line =
                |code: &&codes::Code| format!("{code}  {:<7}  {}\n", code.severity.label(), code.about);
            output.facts(&json!({ "codes": all }), || codes::ALL.iter().map(line).collect());
            return Ok(());
        };
        let Some(code) = codes::named(&written) else {
            let help = "`strait explain-code` lists them all";
            return Err(Failure::new(Code::Usage, format!("no finding has the code `{written}`")).help(help));
        };
        output.facts(&facts(code), || code.page.to_owned());
        Ok(())
    }
}
