//! Opening a log after everything that may have happened to it: kills at every byte and at every step, and damage.

use std::path::Path;

use super::*;
use crate::folder::{AddError, Step};
use crate::record::Known;
use crate::testing::{Folder as Temporary, NOON_MS, Written, copy, options};
use crate::tree::tests::mth;

/// Every record of a log as text.
fn records(dir: &Path) -> Vec<String> {
    let mut records = Vec::new();
    for first in segment::firsts(dir, ENTRIES).unwrap() {
        let mut segment = Segment::open(dir, first).unwrap();
        assert_eq!(first, records.len() as u64, "a segment is named by its first record");
        while let Next::Frame(record) = segment.read().unwrap() {
            records.push(String::from_utf8(record.to_vec()).unwrap());
        }
    }
    records
}

fn checkpoint(dir: &Path) -> Checkpoint {
    let key = std::fs::read_to_string(dir.join(KEY)).unwrap();
    let note = std::fs::read_to_string(dir.join(CHECKPOINT)).unwrap();
    Checkpoint::open_own(&note, &PublicKey::parse(key.trim_end()).unwrap()).unwrap()
}

#[test]
fn a_log_goes_on_where_it_was_left() {
    let folder = Temporary::new("goes-on");
    let dir = folder.path().join("audit");
    for round in 0..3 {
        let mut log = Written::open(&dir);
        assert_eq!(log.opened.cut, None, "round {round}");
        log.fill(300);
    }
    let records = records(&dir);
    assert_eq!(records.len(), 903);
    let leaves: Vec<_> = records.iter().map(|record| hash::leaf(record.as_bytes())).collect();
    let signed = checkpoint(&dir);
    assert_eq!((signed.size, signed.root), (903, mth(&leaves)));
    assert!(segment::firsts(&dir, ENTRIES).unwrap().len() > 5, "rotation");
    assert!(dir.join("tile/0/002").exists() && !dir.join("tile/0/002.p").exists());
    let known: Vec<_> = records.iter().map(|record| Known::read(record.as_bytes()).unwrap()).collect();
    let starts: Vec<u64> =
        known.iter().filter(|known| known.is_own("start")).map(|known| known.start).collect();
    assert_eq!(starts, [0, 301, 602]);
    assert!(
        known[301].follows(&record::link(&hash::leaf(records[300].as_bytes()))),
        "a start hangs on the record before it"
    );
    assert!(
        known[302].follows(&record::link(&hash::leaf(records[301].as_bytes()))),
        "and a core's first on the start"
    );
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    torn(|log| {
        for core in [0, 1, 0, 1] {
            log.add(core);
        }
        log.commit();
    });
}

#[test]
fn what_was_written_ahead_is_torn_no_worse() {
    torn(|log| {
        for core in [0, 1, 0, 1] {
            log.add(core);
            log.write_ahead();
        }
    });
}

/// Tears what `write` has written behind what is signed.
fn torn(write: fn(&mut Written)) {
    let folder = Temporary::new("torn");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(40);
    let signed = log.folder().signed_size();
    write(&mut log);
    drop(log);
    let whole = records(&dir);
    let last = *segment::firsts(&dir, ENTRIES).unwrap().last().unwrap();
    for file in [entries_path(last), payload_path(last)] {
        let bytes = std::fs::read(dir.join(&file)).unwrap();
        let mut found = 0;
        for length in (0..bytes.len()).rev() {
            let torn = folder.path().join("torn");
            copy(&dir, &torn);
            std::fs::write(torn.join(&file), &bytes[..length]).unwrap();
            match Written::try_open(&torn) {
                Ok(mut log) => {
                    let size = log.folder().start();
                    assert!(size >= signed && size < whole.len() as u64 + 1, "{file} {length}");
                    assert_eq!(log.opened.cut.is_some(), log.folder().size() == size + 2, "the log says so");
                    log.commit();
                    let again = records(&torn);
                    assert_eq!(again[..size as usize], whole[..size as usize], "{file} {length}");
                    found += 1;
                }
                Err(LogError::Damage { damage, .. }) => {
                    // What is signed is never cut off.
                    assert!(damage.index.is_some_and(|index| index < signed), "{file} {length}: {damage}");
                }
                Err(error) => panic!("{file} {length}: {error}"),
            }
            std::fs::remove_dir_all(&torn).unwrap();
        }
        assert!(found > 0, "{file}");
    }
}

#[test]
fn a_batch_is_what_was_written_ahead_and_the_rest() {
    let folder = Temporary::new("ahead");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    for round in 0..60u64 {
        log.add(0);
        log.write_ahead();
        assert!(log.folder().ahead().is_none(), "nothing is written ahead twice");
        log.add(1);
        if round % 3 == 0 {
            log.write_ahead();
        }
        if log.folder().is_batch_due() || round % 20 == 0 {
            let mut batch = log.folder().batch().unwrap();
            log.add(0);
            assert!(log.folder().ahead().is_none(), "one is on its way");
            if round % 40 == 0 {
                // A sync has failed, and the disk has lost what was written ahead.
                let lost =
                    std::fs::OpenOptions::new().write(true).open(dir.join(batch.rest().entries_path()));
                let rest = batch.rest().entries_offset;
                batch.again();
                let all = batch.rest();
                assert!(all.entries_offset < rest && all.payload_offset <= batch.rest().payload_offset);
                lost.unwrap().set_len(all.entries_offset).unwrap();
            }
            log.opened.disk.write(&batch).unwrap();
            log.folder().committed(batch);
        }
    }
    log.close();
    drop(log);
    assert!(segment::firsts(&dir, ENTRIES).unwrap().len() > 3, "segments end where they should");
    let report = crate::verify::verify(&dir, &crate::verify::Against::default()).unwrap();
    assert_eq!(report.records as usize, records(&dir).len());
}

#[test]
fn a_kill_at_any_step_of_a_checkpoint_costs_nothing() {
    let folder = Temporary::new("steps");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(250);
    for _ in 0..20 {
        log.add(0);
    }
    log.commit();
    let steps = log.folder().checkpoint().unwrap();
    let disk = log.opened.disk.clone();
    drop(log);
    assert!(steps.iter().any(|step| matches!(step, Step::Remove { .. })), "{steps:?}");
    for done in 0..=steps.len() {
        let killed = folder.path().join(format!("killed-{done}"));
        copy(disk.path(), &killed);
        let copied = Disk::new(&killed);
        steps[..done].iter().for_each(|step| copied.apply(step).unwrap());
        // Half of the step that follows, too.
        match steps.get(done) {
            Some(Step::Append { path, offset, bytes }) => {
                let half = Step::Append {
                    path: path.clone(),
                    offset: *offset,
                    bytes: bytes[..bytes.len() / 2].to_vec(),
                };
                copied.apply(&half).unwrap();
            }
            Some(Step::Write { bytes, .. }) => {
                std::fs::write(killed.join(NEW), &bytes[..bytes.len() / 2]).unwrap()
            }
            Some(Step::WriteAll { files }) => {
                let (half, rest) = files.split_at(files.len() / 2);
                copied.apply(&Step::WriteAll { files: half.to_vec() }).unwrap();
                // Unlike a kill, a crash of the machine may tear one.
                let (path, bytes) = &rest[0];
                copied
                    .apply(&Step::Write { path: path.clone(), bytes: bytes[..bytes.len() / 2].to_vec() })
                    .unwrap();
            }
            _ => {}
        }
        let mut log = Written::try_open(&killed).unwrap_or_else(|error| panic!("after {done}: {error}"));
        assert_eq!((log.opened.cut, log.folder().start()), (None, 271), "after {done}");
        log.commit();
        log.checkpoint();
        drop(log);
        let leaves: Vec<_> = records(&killed).iter().map(|record| hash::leaf(record.as_bytes())).collect();
        assert_eq!(checkpoint(&killed).root, mth(&leaves), "after {done}");
        assert!(!killed.join(NEW).exists() && !killed.join("tile/0/000.p").exists(), "after {done}");
        let partial: Vec<_> = std::fs::read_dir(killed.join("tile/0/001.p")).unwrap().collect();
        assert_eq!(partial.len(), 1, "after {done}");
    }
}

#[test]
fn what_is_signed_and_missing_is_damage() {
    let folder = Temporary::new("damage");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(60);
    drop(log);
    let segments = segment::firsts(&dir, ENTRIES).unwrap();
    let last = *segments.last().unwrap();
    let refused = |what: &dyn Fn(&Path), file: &str| {
        let damaged = folder.path().join("damaged");
        copy(&dir, &damaged);
        what(&damaged);
        let error = Written::try_open(&damaged).err().unwrap_or_else(|| panic!("{file} opens"));
        std::fs::remove_dir_all(&damaged).unwrap();
        assert!(error.to_string().contains(file), "{error}: expected {file}");
    };
    let cut = |path: String| {
        move |dir: &Path| {
            let path = dir.join(&path);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        }
    };
    refused(&cut(entries_path(last)), &entries_path(last));
    refused(&|dir| std::fs::remove_file(dir.join(entries_path(last))).unwrap(), "entries");
    refused(&|dir| std::fs::remove_dir_all(dir.join(ENTRIES)).unwrap(), "entries");
    refused(&cut("tile/0/000.p/61".to_owned()), "tile/0/000.p/61");
    refused(&|dir| std::fs::remove_file(dir.join("tile/0/000.p/61")).unwrap(), "tile/0/000.p/61");
    refused(&cut(CHECKPOINT.to_owned()), CHECKPOINT);
    refused(&|dir| std::fs::remove_file(dir.join(CHECKPOINT)).unwrap(), CHECKPOINT);
    refused(&|dir| std::fs::remove_dir_all(dir.join(CHECKPOINTS)).unwrap(), CHECKPOINTS);
    let newest = checkpoints_path(*segment::firsts(&dir, CHECKPOINTS).unwrap().last().unwrap());
    refused(&cut(newest.clone()), &newest);
    refused(&|dir| std::fs::remove_file(dir.join(&newest)).unwrap(), CHECKPOINTS);
    refused(&cut(KEY.to_owned()), KEY);
    refused(&|dir| std::fs::write(dir.join(LOCK), "7").unwrap(), LOCK);
}

#[test]
fn one_process_writes() {
    let folder = Temporary::new("lock");
    let dir = folder.path().join("audit");
    let log = Written::open(&dir);
    assert!(Lock::is_held(&dir));
    assert!(matches!(Written::try_open(&dir), Err(LogError::Locked { .. })));
    drop(log);
    assert!(!Lock::is_held(&dir));
    Written::open(&dir);
    let key = SigningKey::generate().unwrap();
    assert!(matches!(Log::open(&dir, &key, &options()), Err(LogError::OtherKey { .. })));
}

#[test]
fn a_hole_in_what_a_core_counts_is_told() {
    let folder = Temporary::new("gap");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.add(0);
    log.n[0] = 4;
    assert_eq!(log.add(0), 3, "the gap is a record of its own");
    log.n[0] = 2;
    let again = log.opened.folder.add(0, 2, b"{}", &[]);
    assert_eq!(again, Err(AddError::Backwards));
    assert_eq!(log.opened.folder.add(9, 0, b"{}", &[]), Err(AddError::NoSuchCore));
    assert_eq!(log.opened.folder.add(1, 0, b"{\n}", &[]), Err(AddError::NoObject));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(65_500));
    assert_eq!(log.opened.folder.add(1, 0, long.as_bytes(), &[]), Err(AddError::TooLong));
    log.opened.folder.lost(1, 7).unwrap();
    log.commit();
    let records = records(&dir);
    assert!(records[2].contains(r#""kind":"gap","of":0,"from":1,"to":3,"#), "{}", records[2]);
    assert!(records[4].contains(r#""kind":"gap","of":1,"from":0,"to":6,"#), "{}", records[4]);
    assert_eq!(records.len(), 5);
}

#[test]
fn old_segments_are_removed_once_the_log_says_so_and_that_is_signed() {
    let folder = Temporary::new("retire");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(100);
    let before = segment::firsts(&dir, ENTRIES).unwrap();
    assert_eq!(log.folder().retire(86_400_000), Ok(None), "nothing is old");
    log.folder().set_now(NOON_MS + 86_400_000 + 30_000);
    log.add(0);
    log.commit();
    let until = log.folder().retire(86_400_000).unwrap().unwrap();
    assert_eq!(log.folder().removals(), [], "before it is on the disk and signed");
    log.commit();
    log.checkpoint();
    let after = segment::firsts(&dir, ENTRIES).unwrap();
    assert!(after.len() < before.len() && after[0] == until, "{before:?} {after:?} {until}");
    assert_eq!(segment::firsts(&dir, segment::PAYLOAD).unwrap(), after);
    drop(log);
    let mut log = Written::open(&dir);
    log.fill(10);
}

#[test]
fn a_kill_while_a_file_of_the_history_is_begun_costs_nothing() {
    let folder = Temporary::new("history-begun");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(40);
    let files = segment::firsts(&dir, CHECKPOINTS).unwrap();
    // Until another segment has records.
    let (begun, before) = loop {
        log.add(0);
        log.commit();
        let steps = log.folder().checkpoint().unwrap();
        let begins = |step: &&Step| matches!(step, Step::Append { offset: 0, .. });
        if let Some(begun) = steps.iter().find(begins) {
            let place = steps.iter().position(|step| step == begun).unwrap();
            break (begun.clone(), steps[..place].to_vec());
        }
        steps.iter().for_each(|step| log.opened.disk.apply(step).unwrap());
    };
    let size = log.folder().signed_size();
    before.iter().for_each(|step| log.opened.disk.apply(step).unwrap());
    drop(log);
    let Step::Append { path, bytes, .. } = &begun else { unreachable!() };
    assert!(!dir.join(path).exists() && files.len() < path.len(), "{path}");
    for length in 0..=bytes.len() {
        let killed = folder.path().join("killed");
        copy(&dir, &killed);
        std::fs::write(killed.join(path), &bytes[..length]).unwrap();
        let report = crate::verify::verify(&killed, &crate::verify::Against::default());
        assert!(report.unwrap().unfinished.len() <= 2, "{length}: parts of a note, and tiles");
        let mut log = Written::try_open(&killed).unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!((log.opened.cut, log.folder().start()), (None, size), "{length}");
        assert_eq!(log.folder().signed_size() == size, length == bytes.len(), "{length}");
        log.fill(90);
        log.close();
        drop(log);
        let report = crate::verify::verify(&killed, &crate::verify::Against::default()).unwrap();
        assert_eq!((report.unfinished, report.signed), (vec![], size + 92), "{length}");
        std::fs::remove_dir_all(&killed).unwrap();
    }
}

const DAY_MS: u64 = 86_400_000;

#[test]
fn a_kill_while_old_segments_are_removed_is_no_damage_and_the_next_start_removes_the_rest() {
    let folder = Temporary::new("removals");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(100);
    log.folder().set_now(NOON_MS + 2 * DAY_MS);
    log.fill(20);
    let until = log.folder().retire(DAY_MS).unwrap().unwrap();
    log.commit();
    log.folder().checkpoint().unwrap().iter().for_each(|step| log.opened.disk.apply(step).unwrap());
    let removals = log.folder().removals();
    drop(log);
    assert!(removals.len() >= 6, "more than one segment: {removals:?}");
    for done in 0..=removals.len() {
        let killed = folder.path().join("killed");
        copy(&dir, &killed);
        removals[..done].iter().for_each(|step| Disk::new(&killed).apply(step).unwrap());
        crate::verify::verify(&killed, &crate::verify::Against::default())
            .unwrap_or_else(|error| panic!("after {done}: {error}"));
        let mut log = Written::try_open(&killed).unwrap_or_else(|error| panic!("after {done}: {error}"));
        log.folder().set_now(NOON_MS + 2 * DAY_MS + 60_000);
        let again = log.folder().retire(DAY_MS).unwrap();
        assert!(again.is_some_and(|again| again >= until), "after {done}: {again:?}");
        log.close();
        drop(log);
        for kind in [ENTRIES, PAYLOAD, CHECKPOINTS] {
            assert!(segment::firsts(&killed, kind).unwrap()[0] >= until, "after {done}: {kind}");
        }
        let report = crate::verify::verify(&killed, &crate::verify::Against::default()).unwrap();
        assert!(report.first >= until && report.unfinished.is_empty(), "after {done}: {report:?}");
        std::fs::remove_dir_all(&killed).unwrap();
    }
}

#[test]
fn what_is_kept_of_a_log_that_goes_on_for_months_does_not_grow() {
    let folder = Temporary::new("months");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    let mut bytes = Vec::new();
    for day in 0..90 {
        log.folder().set_now(NOON_MS + day * DAY_MS);
        for _ in 0..30 {
            log.add(0);
            log.commit();
            log.checkpoint();
        }
        log.folder().retire(7 * DAY_MS).unwrap();
        log.commit();
        log.checkpoint();
        let history = segment::firsts(&dir, CHECKPOINTS).unwrap();
        assert_eq!(history, segment::firsts(&dir, ENTRIES).unwrap(), "day {day}");
        let of = |first: &u64| std::fs::metadata(dir.join(checkpoints_path(*first))).unwrap().len();
        bytes.push(history.iter().map(of).sum::<u64>());
    }
    let later = bytes[30..].iter();
    assert!(later.clone().max().unwrap() * 10 < later.min().unwrap() * 13, "{bytes:?}");
    log.close();
    drop(log);
    let report = crate::verify::verify(&dir, &crate::verify::Against::default()).unwrap();
    assert!(report.first > 2_000 && report.checkpoints < 400, "{report:?}");
}

#[test]
fn an_end_of_the_history_that_begins_within_a_letter_is_read_as_it_is() {
    let folder = Temporary::new("letters");
    let dir = folder.path().join("audit");
    let (key, path) = (SigningKey::generate().unwrap(), dir.join(checkpoints_path(0)));
    let options = Options { origin: "strait".to_owned(), rotate_bytes: 1 << 30, ..options() };
    let (mut cut_letters, mut before) = (0, None);
    for start in 0..40 {
        let mut opened = Log::open(&dir, &key, &options).unwrap();
        let history = std::fs::read(&path).unwrap();
        assert!(before.is_none_or(|before| before == history), "start {start} has changed the history");
        let batch = opened.folder.batch().unwrap();
        opened.disk.write(&batch).unwrap();
        opened.folder.committed(batch);
        opened.folder.checkpoint().unwrap().iter().for_each(|step| opened.disk.apply(step).unwrap());
        let history = std::fs::read(&path).unwrap();
        // A byte that goes on with a letter.
        let begin = history.len().saturating_sub(HISTORY_BYTES as usize);
        cut_letters += u32::from(history[begin] & 0xC0 == 0x80);
        before = Some(history);
    }
    assert!(cut_letters > 0);
}
