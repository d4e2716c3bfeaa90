//! The evidence of a run as a folder that anybody can check: `strait prove --bundle FOLDER` writes it,
//! `strait prove verify FOLDER` judges it again.
//!
//! The decision: everything but `raw.csv` is made of `raw.csv`, byte for byte, so checking is making it all
//! again and comparing. A changed byte in a derived file differs from what is made; a changed byte in the raw
//! data differs from its checksum, and where the checksum was changed as well, from the reports. Whoever makes
//! all of it anew, consistently, has made another bundle: its id, the hash over the checksums, is another one,
//! and the id is what to publish. `sha256sum --check SHA256SUMS` needs nothing of ours.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::{Deserialize, Serialize};

use super::raw;
use super::result::{Context, Proof};
use super::samples::Samples;

/// What a bundle has, beside the checksums of these.
const RAW: &str = "raw.csv";
const JSON: &str = "report.json";
const TEXT: &str = "report.txt";
const HTML: &str = "report.html";
const HISTOGRAMS: &str = "latency.hlog";
const SUMS: &str = "SHA256SUMS";
/// A recording of the most slots there can be takes a good deal less.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// 1 ns to 60 s with three digits; what is longer counts as 60 s.
const HIGHEST_NS: u64 = 60_000_000_000;

/// A file that the run depended on, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// `tool`, `gateway`, `table`.
    pub what: String,
    /// As it was named; a hash means the same under any name.
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

impl Subject {
    /// Reads a file to its end.
    pub fn of(what: &str, name: &str, path: &Path) -> Result<Subject, String> {
        let broken = |error: std::io::Error| format!("`{name}` cannot be read: {error}");
        let mut file = fs::File::open(path).map_err(broken)?;
        let (mut digest, mut bytes, mut piece) = (Digest::new(&SHA256), 0, vec![0; 1 << 16]);
        loop {
            let read = file.read(&mut piece).map_err(broken)?;
            if read == 0 {
                break;
            }
            digest.update(piece.get(..read).unwrap_or_default());
            bytes += read as u64;
        }
        Ok(Subject {
            what: what.to_owned(),
            name: name.to_owned(),
            bytes,
            sha256: hex(digest.finish().as_ref()),
        })
    }
}

/// A bundle that is what it says.
pub struct Verified {
    pub id: String,
    pub proof: Proof,
}

/// Writes a bundle into a folder that is new or empty; gives its id.
pub fn write(folder: &Path, context: &Context, samples: &Samples) -> Result<String, String> {
    let broken = |error: std::io::Error| format!("cannot write `{}`: {error}", folder.display());
    fs::create_dir_all(folder).map_err(broken)?;
    if fs::read_dir(folder).map_err(broken)?.next().is_some() {
        return Err(format!("`{}` is not empty: a bundle wants a folder of its own", folder.display()));
    }
    let raw = raw::print(context, samples).map_err(|error| error.to_string())?;
    // From what was written, so that the reports are of the very same data.
    let (context, samples) =
        raw::parse(&raw).map_err(|fault| format!("the recording does not read back: {fault}"))?;
    let mut files = vec![(RAW, raw)];
    files.extend(derived(&Proof::of(context, &samples), &samples)?);
    let sums = sums(&files);
    files.push((SUMS, sums.clone()));
    for (name, contents) in &files {
        fs::write(folder.join(name), contents).map_err(broken)?;
    }
    Ok(id(&sums))
}

/// Judges a bundle again; what does not fit is named.
pub fn verify(folder: &Path) -> Result<Verified, String> {
    let told = read(folder, SUMS)?;
    let raw = read(folder, RAW)?;
    let (context, samples) = raw::parse(&raw).map_err(|fault| format!("`{RAW}`: {fault}"))?;
    let made_by = context.made_by.clone();
    let proof = Proof::of(context, &samples);
    let mut files = vec![(RAW, raw)];
    for (name, made) in derived(&proof, &samples)? {
        if read(folder, name)? != made {
            let other = match made_by == super::result::made_by() {
                true => String::new(),
                false => format!(" (it was made by {made_by}, this is {})", super::result::made_by()),
            };
            return Err(format!("`{name}` is not what `{RAW}` gives{other}"));
        }
        files.push((name, made));
    }
    let expected = sums(&files);
    if told != expected {
        let odd = files.iter().find(|(name, contents)| !told.contains(&sum(name, contents)));
        let (name, why) = match odd {
            Some((name, _)) => (*name, "has another checksum than"),
            None => (SUMS, "says more than"),
        };
        return Err(format!("`{name}` {why} `{SUMS}` says"));
    }
    Ok(Verified { id: id(&told), proof })
}

/// What is made of the recording.
fn derived(proof: &Proof, samples: &Samples) -> Result<Vec<(&'static str, String)>, String> {
    Ok(vec![
        (HISTOGRAMS, histograms(proof, samples).ok_or("the histograms cannot be written")?),
        (HTML, proof.to_html(samples)),
        (JSON, format!("{:#}\n", proof.to_json())),
        (TEXT, proof.to_text()),
    ])
}

/// One interval, the whole run, for each arm, as tools for such logs read it.
fn histograms(proof: &Proof, samples: &Samples) -> Option<String> {
    let (context, whole) = (&proof.context, samples.whole());
    let (mut out, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let start = UNIX_EPOCH + Duration::from_secs(context.started_unix_s);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(start)
        .with_base_time(start)
        // As other tools' logs: milliseconds.
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut out, &mut serializer)
        .ok()?;
    for arm in context.arms() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, HIGHEST_NS, 3).ok()?;
        for ns in &whole.arms[arm.index()] {
            histogram.saturating_record(u64::try_from(*ns).unwrap_or(0).clamp(1, HIGHEST_NS));
        }
        let wall = Duration::from_millis(context.environment.wall_ms);
        log.write_histogram(&histogram, Duration::ZERO, wall, Tag::new(arm.name())).ok()?;
    }
    drop(log);
    String::from_utf8(out).ok()
}

fn read(folder: &Path, name: &str) -> Result<String, String> {
    let broken = |error: std::io::Error| format!("`{name}` cannot be read: {error}");
    let file = fs::File::open(folder.join(name)).map_err(broken)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(broken)?;
    Ok(text)
}

/// As `sha256sum` writes them.
fn sums(files: &[(&str, String)]) -> String {
    files.iter().map(|(name, contents)| sum(name, contents)).collect()
}

fn sum(name: &str, contents: &str) -> String {
    format!("{}  {name}\n", sha256(contents))
}

fn id(sums: &str) -> String {
    sha256(sums)
}

fn sha256(text: &str) -> String {
    let mut digest = Digest::new(&SHA256);
    digest.update(text.as_bytes());
    hex(digest.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
