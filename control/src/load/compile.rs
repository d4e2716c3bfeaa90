//! Compiling in a child, beside a gateway that serves.
//!
//! The child is this program's own `strait compile --confined`, with this process's environment: it takes
//! its limits before it reads anything, comes last in line for the processor, writes a table like any
//! other, and reports on stdout what it read and found. A deadline ends it whatever it does. Of its table
//! nothing is believed: it is opened and checked like one from anywhere.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use serde_json::{Value, json};
use strait_config_compiler::{Outcome, render};
use strait_table::Snapshot;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::{Refused, kept};
use crate::limits::{
    COMPILE_CPU_S_MAX, COMPILE_FILE_BYTES_MAX, COMPILE_MEMORY_BYTES_MAX, COMPILE_NICE,
    COMPILE_REPORT_BYTES_MAX, COMPILE_WITHIN,
};
use crate::state::State;

/// The program that runs, whatever its file's name means by now: another version might write tables that this one
/// does not read.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// What a compilation gave.
pub struct Compiled {
    pub table: Result<Arc<Snapshot>, Refused>,
    /// What it was made from, as far as it was read.
    pub watched: Vec<PathBuf>,
}

/// Takes the limits of a confined compilation; called by the child, first of all.
pub fn confine() -> std::io::Result<()> {
    let at_most = |max| Rlimit { current: Some(max), maximum: Some(max) };
    setrlimit(Resource::As, at_most(COMPILE_MEMORY_BYTES_MAX))?;
    setrlimit(Resource::Cpu, at_most(COMPILE_CPU_S_MAX))?;
    setrlimit(Resource::Fsize, at_most(COMPILE_FILE_BYTES_MAX))?;
    setrlimit(Resource::Core, at_most(0))?;
    nice(COMPILE_NICE)?;
    Ok(())
}

/// What the child says on stdout.
pub fn report(outcome: &Outcome) -> Value {
    let watched: Vec<String> =
        outcome.watched.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let findings = (!outcome.findings.is_empty()).then(|| render(outcome, false));
    json!({ "watched": watched, "findings": findings })
}

/// Compiles `config` in a child.
pub async fn confined(config: &Path, state: &State) -> Compiled {
    let output = output_for(state.root(), config);
    let ended = child("compilation", |command| {
        command.args(["compile", "--confined", "--output"]).arg(&output).arg("--").arg(config);
    });
    let (report, ended) = match ended.await {
        Ok(ended) => ended,
        Err(why) => return Compiled { table: Err(refused(why)), watched: Vec::new() },
    };
    let paths = report["watched"].as_array().into_iter().flatten();
    let watched = paths.filter_map(|path| path.as_str().map(PathBuf::from)).collect();
    let table = match ended {
        Ok(()) => open(output.clone()).await,
        Err(why) => Err(refused(report["findings"].as_str().map_or(why, |text| text.trim_end().to_owned()))),
    };
    // It was copied when it was opened; a leftover is replaced by the next compilation.
    let _ = std::fs::remove_file(&output);
    Compiled { table, watched }
}

/// Several gateways may share a state folder: none must open what was compiled for another.
fn output_for(root: &Path, config: &Path) -> PathBuf {
    let kept = kept::path(root, config);
    let name = kept.file_name().unwrap_or_default().to_string_lossy();
    root.join(format!("candidate-{}-{name}", std::process::id()))
}

async fn open(path: PathBuf) -> Result<Arc<Snapshot>, Refused> {
    let opened = tokio::task::spawn_blocking(move || Snapshot::open(&path)).await.map_err(super::bug)?;
    opened.map(Arc::new).map_err(|error| refused(format!("the compiled table does not open: {error}")))
}

/// Runs a verb of this program that takes limits before it reads anything. Gives its report and how it ended; the error of one that
/// cannot even be heard.
pub async fn child(
    what: &str,
    arguments: impl FnOnce(&mut Command),
) -> Result<(Value, Result<(), String>), String> {
    let mut command = Command::new(THIS_PROGRAM);
    arguments(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start a {what}: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let heard = async {
        let (out, err) = tokio::join!(hear(stdout), hear(stderr));
        (out, err, child.wait().await)
    };
    let Ok((out, err, ended)) = tokio::time::timeout(COMPILE_WITHIN, heard).await else {
        return Err(format!("the {what} took over {} s and was ended", COMPILE_WITHIN.as_secs()));
    };
    let ended = ended.map_err(|error| format!("cannot wait for the {what}: {error}"))?;
    let report = serde_json::from_slice(&out).unwrap_or(Value::Null);
    if ended.success() {
        return Ok((report, Ok(())));
    }
    let said = String::from_utf8_lossy(&err).trim().to_owned();
    let how = match (said.is_empty(), std::os::unix::process::ExitStatusExt::signal(&ended)) {
        (false, _) => said,
        (true, Some(signal)) => format!(
            "the {what} was ended by signal {signal}; it may use {COMPILE_CPU_S_MAX} s of processor time, {} MiB \
             of memory and write {} MiB",
            COMPILE_MEMORY_BYTES_MAX >> 20,
            COMPILE_FILE_BYTES_MAX >> 20
        ),
        (true, None) => format!("the {what} ended without a word ({ended})"),
    };
    Ok((report, Err(how)))
}

async fn hear(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let mut heard = Vec::new();
    if let Some(stream) = stream {
        // A report that is too long is no report.
        let _ = stream.take(COMPILE_REPORT_BYTES_MAX).read_to_end(&mut heard).await;
    }
    heard
}

fn refused(why: String) -> Refused {
    Refused { why, candidate: None, not_kept: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_gateways_compile_into_one_file() {
        let output = |config: &str| output_for(Path::new("/state"), Path::new(config));
        assert_ne!(output("/etc/a/strait.yaml"), output("/etc/b/strait.yaml"));
        let name = output("/etc/a/strait.yaml").to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("/state/candidate-{}-", std::process::id())), "{name}");
    }
}
