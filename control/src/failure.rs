//! Why a verb or the gateway ended without doing what it was asked, with the exit code that scripts
//! rely on. A message states what was expected and found; the help says what to do about it.

use strait_config_compiler::Outcome;

/// The kinds of ending, one per exit code (`strait --help` lists them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 1: what was checked is wrong: findings, a damaged table, a key that is not there.
    Failed,
    /// 2: two things differ, and the exit code was asked to say so.
    Differs,
    /// 3: this machine cannot do it (no permission, no io_uring where it was demanded), or a measurement
    /// on it settles nothing.
    Unfit,
    /// 4: somebody else does not answer, or not in time.
    Unreachable,
    /// 5: somebody else answers that this caller may not.
    NotAuthorised,
    /// 6: somebody else has it: an address in use.
    Conflict,
    /// 7: a machine that drove a load with others was lost, so that nothing was measured.
    AgentLost,
    /// 64: asked wrongly: unknown option, a file that is not there.
    Usage,
    /// 70: our bug.
    Bug,
    /// 130: stopped before it was done.
    Interrupted,
}

impl Code {
    pub fn exit(self) -> u8 {
        match self {
            Code::Failed => 1,
            Code::Differs => 2,
            Code::Unfit => 3,
            Code::Unreachable => 4,
            Code::NotAuthorised => 5,
            Code::Conflict => 6,
            Code::AgentLost => 7,
            Code::Usage => 64,
            Code::Bug => 70,
            Code::Interrupted => 130,
        }
    }

    /// The word in `--json` errors.
    pub fn word(self) -> &'static str {
        match self {
            Code::Failed => "failed",
            Code::Differs => "differs",
            Code::Unfit => "unfit",
            Code::Unreachable => "unreachable",
            Code::NotAuthorised => "not_authorised",
            Code::Conflict => "conflict",
            Code::AgentLost => "agent_lost",
            Code::Usage => "usage",
            Code::Bug => "bug",
            Code::Interrupted => "interrupted",
        }
    }
}

pub struct Failure {
    pub code: Code,
    pub message: String,
    pub help: Option<String>,
    /// What the compiler found, to be rendered for whoever reads.
    pub outcome: Option<Box<Outcome>>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), help: None, outcome: None }
    }

    /// Everything was told already: only the exit code is left to give.
    pub fn silent(code: Code) -> Failure {
        Failure::new(code, "")
    }

    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// All of it as text, findings rendered: for a log.
    pub fn told(&self) -> String {
        let mut text = self.message.clone();
        if let Some(outcome) = &self.outcome {
            text.push('\n');
            text.push_str(strait_config_compiler::render(outcome, false).trim_end());
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("\nhelp: {help}"));
        }
        text
    }

    /// Something of ours went wrong; asks for a report.
    pub fn bug(message: impl Into<String>) -> Failure {
        Failure::new(Code::Bug, message).help("this is a bug in strait: please report it with this message")
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {} (help: {:?})", self.code, self.message, self.help)
    }
}
