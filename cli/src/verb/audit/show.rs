//! `strait audit show DIR`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use strait_audit::age::Identity;
use strait_audit::export::indexed;
use strait_audit::reader::{Entry, KeptPayload, Reader, payloads};
use strait_audit::seal::Opener;
use strait_audit::view::{Filter, HEADS, json_line, line, plain};
use strait_audit::{Damage, LogError, Mode, moment, segment};
use strait_control::{Code, Failure};
use zeroize::Zeroizing;

use super::{failed, read};
use crate::output::Output;

/// How often a log is looked at that is followed.
const FOLLOW: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub struct Show {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    filters: Filters,
    /// Go on with what is written from now on, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Show what is kept of arguments and results.
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    reading: Reading,
}

/// Who reads what is encrypted.
#[derive(clap::Args)]
pub struct Reading {
    /// Open encrypted payloads with the identities in this file, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl Reading {
    /// `None`: what is encrypted stays closed.
    pub fn opener(&self, dir: &Path) -> Result<Option<Opener>, Failure> {
        let Some(path) = &self.identity else { return Ok(None) };
        let text = Zeroizing::new(read(path)?);
        let identities = Identity::read(&text).ok_or_else(|| {
            let message =
                format!("`{}` holds no identities: expected lines `AGE-SECRET-KEY-1…`", path.display());
            Failure::new(Code::Usage, message)
                .help("`age-keygen -o FILE` makes one; a public key (`age1…`) opens nothing")
        })?;
        Ok(Some(Opener::new(dir, identities)))
    }
}

/// Which records.
#[derive(clap::Args)]
pub struct Filters {
    /// Records of this principal; `*` at the end stands for any end, here and below.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Records about this tool, prompt or resource.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// `permit`, `deny`, …
    #[arg(long, value_name = "WORD")]
    verdict: Option<String>,
    /// `exchange`, `start`, `gap`, …
    #[arg(long, value_name = "WORD")]
    kind: Option<String>,
    /// From this moment on (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// From this index on.
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
}

impl Filters {
    pub fn read(self) -> Result<(Filter, u64), Failure> {
        let time = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => moment::parse(&text).map(Some).ok_or_else(|| {
                let message = format!(
                    "`{}` is no moment: expected RFC 3339, such as 2026-11-22T12:00:00Z",
                    text.escape_debug()
                );
                Failure::new(Code::Usage, message)
            }),
        };
        let Filters { principal, tool, verdict, kind, since, until, from } = self;
        let (since_ms, until_ms) = (time(since)?, time(until)?);
        Ok((Filter { principal, tool, verdict, kind, since_ms, until_ms }, from))
    }
}

impl Show {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let mut opener = self.reading.opener(&self.dir)?;
        let (filter, from) = self.filters.read()?;
        let mut reader = Reader::open(&self.dir, from).map_err(failed)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        if self.follow {
            let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, interrupted.clone());
        }
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        // A closed pipe: whoever closed it has seen enough.
        if !output.json && writeln!(out, "{HEADS}").is_err() {
            return Ok(());
        }
        while !interrupted.load(Ordering::Relaxed) {
            let Some(entry) = reader.read().map_err(failed)? else {
                if out.flush().is_err() || !self.follow {
                    break;
                }
                std::thread::sleep(FOLLOW);
                continue;
            };
            let record = record(&self.dir, &entry)?;
            if !filter.takes(&record) {
                continue;
            }
            let kept = if self.payload { kept(&self.dir, &entry, opener.as_mut())? } else { Vec::new() };
            if write(&mut out, output.json, entry.index, &record, &kept).is_err() {
                break;
            }
        }
        let _ = out.flush();
        Ok(())
    }
}

/// A payload: its name, how it is kept, and what.
type Kept = (&'static str, Mode, String);

fn write(out: &mut impl Write, json: bool, index: u64, record: &Value, kept: &[Kept]) -> std::io::Result<()> {
    if json {
        let mut whole = indexed(index, record);
        for (which, mode, text) in kept {
            // Beside what the record says of it.
            whole["kept"][*which] = json!({ "mode": mode.word(), "text": text });
        }
        return writeln!(out, "{}", json_line(&whole));
    }
    writeln!(out, "{}", line(index, record))?;
    kept.iter().try_for_each(|(which, mode, text)| {
        let text = if text.is_empty() { format!("({})", mode.word()) } else { plain(text) };
        writeln!(out, "{:>10}{which}: {text}", "")
    })
}

/// What was kept, where it can be opened.
pub fn opened(
    opener: Option<&mut Opener>,
    entry: &Entry<'_>,
    payload: KeptPayload,
) -> Result<KeptPayload, Failure> {
    match opener {
        Some(opener) => opener.open(entry.bytes, entry.index, payload).map_err(failed),
        None => Ok(payload),
    }
}

/// Digests are no text and are not shown: the record has what commits to them.
fn kept(dir: &Path, entry: &Entry<'_>, mut opener: Option<&mut Opener>) -> Result<Vec<Kept>, Failure> {
    let payloads = payloads(dir, entry.first, entry.index).map_err(failed)?;
    let kept = payloads.into_iter().map(|payload| {
        let was = payload.mode;
        let payload = opened(opener.as_deref_mut(), entry, payload)?;
        let text = match payload.mode {
            Mode::Redacted | Mode::Full => String::from_utf8_lossy(&payload.bytes).into_owned(),
            Mode::Hash | Mode::Erased | Mode::Sealed => String::new(),
        };
        Ok((payload.which.word(), was, text))
    });
    kept.collect()
}

/// A record as JSON.
pub fn record(dir: &Path, entry: &Entry<'_>) -> Result<Value, Failure> {
    serde_json::from_slice(entry.bytes).map_err(|error| {
        let file = segment::entries_path(entry.first);
        let damage =
            Damage::of(file, format!("it is no record: {error}")).at(entry.offset).record(entry.index);
        failed(LogError::Damage { folder: dir.to_owned(), damage })
    })
}
