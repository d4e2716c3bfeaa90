//! `scale files FOLDER` writes a configuration as large as Strait promises to carry; `scale measure TABLE` says what decisions cost
//! there beside those of a small one, and opening the table beside copying it. `bench/scale` runs both, and `strait compile` between.

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use strait_bench::decisions::{ARGUMENTS, Decisions};
use strait_bench::large::{self, File, PRINCIPALS, ROLES, Small};
use strait_bench::rounds::{Arm, measure};
use strait_table::Snapshot;

const DECISION_ROUNDS: usize = 1_001;
const OPEN_ROUNDS: usize = 21;
/// Names that are asked for in turn.
const ASKED: usize = 1_024;
/// As many as a small configuration has.
const FEW: usize = 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["files", folder] => write(Path::new(folder), large::files()),
        ["measure", table] => measured(Path::new(table)),
        _ => {
            eprintln!("usage: scale files FOLDER | measure TABLE");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, files: Vec<File>) -> std::io::Result<()> {
    for (path, text) in files {
        let path = folder.join(path);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn measured(table: &Path) -> std::io::Result<()> {
    let bytes = std::fs::read(table)?;
    let large = Snapshot::from_bytes(&bytes).map_err(std::io::Error::other)?;
    decisions(&large);
    open(&bytes, large);
    Ok(())
}

fn decisions(large: &Snapshot) {
    println!(
        "{:<36} {:>22} {:>22} {:>20} {:>20}",
        "a decision", "10 tools and rules, ns", "large, ns", "ratio", "ratio, 10 tools"
    );
    for (small, open) in [(Small::Settled, 0), (Small::OneEach, 1), (Small::TenEach, 10)] {
        // Somebody of three teams; only who is in all of them has ten rules to be asked of one tool.
        let teams: Vec<usize> = if open == 10 { (0..ROLES).collect() } else { vec![1, 7, 13] };
        let mut of_large = Decisions::new(large.clone(), teams.into_iter());
        let mut again = Decisions::new(large.clone(), if open == 10 { 0..ROLES } else { 1..2 });
        let mut of_small = Decisions::new(large::small(small), 0..1);
        let names =
            [of_small.with_open(open), shuffled(of_large.with_open(open)), shuffled(again.with_open(open))];
        let [few, many, mut same] = names;
        same.truncate(FEW);
        assert!(
            few.len() == FEW && same.len() == FEW,
            "{} and {} tools of {open} rules",
            few.len(),
            same.len()
        );
        let mut arms = [
            Arm { name: "small", run: Box::new(|count| run(&mut of_small, &few, count)) },
            Arm { name: "large", run: Box::new(|count| run(&mut of_large, &many, count)) },
            Arm { name: "large, 10 tools", run: Box::new(|count| run(&mut again, &same, count)) },
        ];
        let measured = measure(&mut arms, DECISION_ROUNDS);
        drop(arms);
        let what = match open {
            0 => "settled by the view".to_owned(),
            _ => format!("{open} rule(s) asked, 3 arguments each"),
        };
        println!(
            "{what:<36} {:>22} {:>22} {:>20} {:>20}  ({} tools)",
            measured.cost(0).to_string(),
            measured.cost(1).to_string(),
            measured.ratio(1, 0).to_string(),
            measured.ratio(2, 0).to_string(),
            many.len()
        );
    }
}

fn run(decisions: &mut Decisions, names: &[String], count: usize) {
    for at in 0..count {
        black_box(decisions.decide(black_box(&names[at % names.len()]), black_box(ARGUMENTS)));
    }
}

/// In an order that no prefetcher guesses.
fn shuffled(mut names: Vec<String>) -> Vec<String> {
    names.sort_by_key(|name| blake3::hash(name.as_bytes()).to_hex().to_string());
    names.truncate(ASKED);
    names
}

fn open(bytes: &[u8], large: Snapshot) {
    let mut copy = vec![0u8; bytes.len()];
    let mut current = Arc::new(large);
    let mut known = vec![None::<[u64; 5]>; PRINCIPALS];
    let mut arms = [
        Arm {
            name: "copy",
            run: Box::new(|count| {
                (0..count).for_each(|_| black_box(&mut copy).copy_from_slice(black_box(bytes)))
            }),
        },
        Arm {
            name: "open, validate, swap",
            run: Box::new(|count| {
                for _ in 0..count {
                    let next = Snapshot::from_bytes(black_box(bytes)).map(Arc::new);
                    // The old one goes, and a worker forgets what it knew of every principal.
                    current = next.unwrap_or_else(|error| panic!("{error}"));
                    known = vec![None; PRINCIPALS];
                    black_box((&current, &known));
                }
            }),
        },
    ];
    let measured = measure(&mut arms, OPEN_ROUNDS);
    drop(arms);
    println!(
        "\na table of {:.1} MB: copied in {:.2} ms; opened, validated and swapped in {:.1} ms; ratio {}",
        bytes.len() as f64 / 1e6,
        measured.cost(0).median / 1e6,
        measured.cost(1).median / 1e6,
        measured.ratio(1, 0)
    );
}
