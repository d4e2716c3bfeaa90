//! # strait: the one binary
//!
//! Arguments in, a verb run, an exit code out. Each verb is one file under `verb/`: its options and the
//! few lines that call the crate which does the work. `output.rs` decides how results and failures look
//! for a person, a pipe and a program.
#![forbid(unsafe_code)]

mod output;
mod verb;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use strait_control::{Code, Failure};

use output::{Output, When};

/// Measured on the compiler's and the control side's allocation-heavy paths; workers reuse buffers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What scripts rely on; `--help` and the manual page tell them.
const EXIT_CODES: [(u8, &str); 11] = [
    (0, "ok"),
    (1, "a check failed (findings, a damaged table, a limit)"),
    (2, "something differs and `--detailed-exitcode` was asked for"),
    (3, "this machine cannot do it or settles nothing"),
    (4, "a target is unreachable"),
    (5, "not authorised there"),
    (6, "an address or a name is taken or another generation is running"),
    (7, "an agent of a load was lost, so that nothing was measured"),
    (64, "called wrongly or a file is not there"),
    (70, "a bug in strait"),
    (130, "interrupted before the end"),
];

fn exit_codes() -> String {
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, about)| format!("{code} {about}")).collect();
    format!("Exit codes: {}.", codes.join(", "))
}

/// The MCP gateway for products where a person hears the delay.
#[derive(Parser)]
#[command(name = "strait", version, after_help = exit_codes(), propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    verb: verb::Verb,
    /// Print facts as JSON, and a failure as one line of JSON on stderr.
    #[arg(long, global = true)]
    json: bool,
    /// Colours: on a terminal without NO_COLOR, always, or never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: When,
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| output::error_line(&format!("internal error: {panic}"))));
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let output = Output { json: arguments.json, color: arguments.color };
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| arguments.verb.run(&output)));
    match done.unwrap_or_else(|_| Err(Failure::bug("strait ended because of a bug"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.code.exit())
        }
    }
}

/// `--help` and `--version` arrive here too, and are no failure.
fn usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if !error.use_stderr() || !wants_json {
        // A closed pipe leaves nobody to tell.
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let failure = Failure::new(Code::Usage, message).help("`strait --help` lists verbs and options");
        Output { json: true, color: When::Never }.failure(&failure);
    }
    if error.use_stderr() { ExitCode::from(Code::Usage.exit()) } else { ExitCode::SUCCESS }
}
