//! Every change that can be made to a log is found, and what was changed is named.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::age::Recipient;
use crate::disk::Disk;
use crate::frame;
use crate::key::SigningKey;
use crate::reader::{Reader, payloads};
use crate::segment::{CHECKPOINTS, checkpoints_path};
use crate::testing::{self, Folder as Temporary, NOON_MS, Written, copy};
use crate::tree::Edge;

fn check(dir: &Path) -> Result<Report, LogError> {
    verify(dir, &Against::default())
}

/// What is wrong with a log that something was done to.
#[track_caller]
fn damage(dir: &Path) -> Damage {
    match check(dir) {
        Err(LogError::Damage { damage, .. }) => damage,
        Err(error) => panic!("{error}"),
        Ok(report) => panic!("nothing was found: {report:?}"),
    }
}

/// A log of so many records, in a folder of its own.
fn log(name: &str, records: u64) -> (Temporary, PathBuf) {
    let folder = Temporary::new(name);
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(records);
    log.close();
    drop(log);
    check(&dir).unwrap_or_else(|error| panic!("{error}"));
    (folder, dir)
}

/// Where the frames of a file begin.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut frames) = (0, Vec::new());
    while at < bytes.len() {
        frames.push(at);
        at += frame::read(&bytes[at..]).unwrap().1;
    }
    frames
}

/// Changes one bit of a byte of a file; the file that is blamed must be that, and of a segment the record.
fn sweep(dir: &Path, step: impl Fn(&str) -> usize) -> usize {
    let mut count = 0;
    for file in testing::files(dir) {
        let path = dir.join(&file);
        let whole = std::fs::read(&path).unwrap();
        let frames = if file.starts_with("entries/") { frames(&whole) } else { Vec::new() };
        for at in (0..whole.len()).step_by(step(&file)) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, &changed).unwrap();
            let found = damage(dir);
            assert_eq!(found.file, file, "byte {at}: {found}");
            if let Some(first) = file.strip_prefix("entries/") {
                let first: u64 = first.parse().unwrap();
                let place = frames.partition_point(|begin| *begin <= at) as u64 - 1;
                assert_eq!(found.index, Some(first + place), "byte {at}: {found}");
            }
            count += 1;
        }
        std::fs::write(&path, whole).unwrap();
    }
    check(dir).unwrap();
    count
}

#[test]
fn every_byte_of_every_file_is_covered() {
    let (_folder, dir) = log("sweep", 12);
    let files = testing::files(&dir);
    assert!(files.iter().filter(|file| file.starts_with("entries/")).count() > 1, "{files:?}");
    let bytes: u64 = files.iter().map(|file| std::fs::metadata(dir.join(file)).unwrap().len()).sum();
    assert_eq!(sweep(&dir, |_| 1) as u64, bytes);
}

#[test]
fn every_byte_of_whole_tiles_is_covered_and_every_file_is_missed() {
    let (_folder, dir) = log("sweep-tiles", 300);
    assert!(dir.join("tile/1/000.p/1").exists());
    let swept = sweep(&dir, |file| match file.split('/').next() {
        Some("entries" | "payload") => 211,
        Some("tile") => 7,
        _ => 13,
    });
    assert!(swept > 1_500, "{swept}");
    for file in testing::files(&dir) {
        let path = dir.join(&file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let found = damage(&dir);
        // Without the first segment, or the one in the middle, the records are missing, wherever they would lie.
        let is_named = found.file == file || file.starts_with(&found.file);
        assert!(is_named, "{file}: {found}");
        std::fs::write(&path, whole).unwrap();
    }
    for file in [
        "x",
        "entries/x",
        "entries/0",
        "checkpoints/x",
        "checkpoints/00000000000000000001",
        "tile/0/000.p/7",
        "tile/9/000",
        "payload/00000000000000000001",
        "sub/x",
        "tile/notes/x",
    ] {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        let found = damage(&dir);
        assert!(found.file == file || file.starts_with(&format!("{}/", found.file)), "{file}: {found}");
        std::fs::remove_file(&path).unwrap();
        let _ = std::fs::remove_dir(path.parent().unwrap());
    }
    check(&dir).unwrap();
}

#[test]
fn a_closed_log_has_no_torn_tail() {
    let (_folder, dir) = log("closed", 12);
    for file in testing::files(&dir) {
        let path = dir.join(&file);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let found = damage(&dir);
            assert_eq!(found.file, file, "{length}: {found}");
        }
        for more in ["\0", "{}"] {
            std::fs::write(&path, [&whole, more.as_bytes()].concat()).unwrap();
            // What follows the newest checkpoint may be a torn one.
            if is_newest_of_history(&dir, &file) {
                assert_eq!(check(&dir).unwrap().unfinished.len(), 1);
            } else {
                assert_eq!(damage(&dir).file, file);
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
}

/// Whether it is the file that the next checkpoint goes to.
fn is_newest_of_history(dir: &Path, file: &str) -> bool {
    let last = segment::firsts(dir, CHECKPOINTS).unwrap().last().map(|first| checkpoints_path(*first));
    last.is_some_and(|last| last == file)
}

#[test]
fn what_is_taken_out_of_the_history_is_missed_there() {
    let (folder, dir) = log("history", 300);
    let files = segment::firsts(&dir, CHECKPOINTS).unwrap();
    let path = |place: usize| checkpoints_path(files[place]);
    let read = |place: usize| std::fs::read_to_string(dir.join(path(place))).unwrap();
    assert!(files.len() > 4, "{files:?}");
    let changed = |change: &dyn Fn(&Path)| {
        let changed = folder.path().join("changed");
        copy(&dir, &changed);
        change(&changed);
        let found = damage(&changed);
        std::fs::remove_dir_all(&changed).unwrap();
        found
    };
    for place in 0..files.len() {
        let found = changed(&|dir| std::fs::remove_file(dir.join(path(place))).unwrap());
        assert_eq!(found.file, path(place), "removed: {found}");
        let begins: Vec<usize> = crate::note::notes(&read(place)).map(|(at, _)| at).collect();
        for at in begins {
            let found = changed(&|dir| std::fs::write(dir.join(path(place)), &read(place)[..at]).unwrap());
            assert_eq!(found.file, path(place), "cut at {at}: {found}");
        }
    }
    // Each of them is signed, and not where it was.
    let second = read(1);
    let (at, _) = crate::note::notes(&second).nth(1).unwrap();
    let found = changed(&|dir| std::fs::write(dir.join(path(1)), &second[at..]).unwrap());
    assert_eq!(found.file, path(1), "without its begin: {found}");
    let found = changed(&|dir| {
        std::fs::write(dir.join(path(0)), [&read(0)[..], &second[at..]].concat()).unwrap();
        std::fs::remove_file(dir.join(path(1))).unwrap();
    });
    assert_eq!(found.file, path(0), "in another file: {found}");
    let found = changed(&|dir| {
        std::fs::write(dir.join(path(1)), read(2)).unwrap();
        std::fs::write(dir.join(path(2)), &second).unwrap();
    });
    assert_eq!(found.file, path(1), "changed places: {found}");
}

#[test]
fn what_a_kill_leaves_is_told_and_no_damage() {
    let folder = Temporary::new("unfinished");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(20);
    let signed = log.folder().signed_size();
    log.add(0);
    log.add(1);
    log.commit();
    let report = check(&dir).unwrap();
    assert!(report.live && report.unfinished.is_empty(), "{report:?}");
    drop(log);
    let last = *segment::firsts(&dir, ENTRIES).unwrap().last().unwrap();
    let path = dir.join(entries_path(last));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let report = check(&dir).unwrap();
    assert_eq!(
        (report.records, report.signed, report.unfinished.len()),
        (signed + 1, signed, 1),
        "{report:?}"
    );
    std::fs::write(dir.join(crate::disk::NEW), "half").unwrap();
    assert_eq!(check(&dir).unwrap().unfinished.len(), 2);
    drop(Written::open(&dir));
    assert_eq!(check(&dir).unwrap().unfinished, Vec::<String>::new());
}

/// Changes a record as somebody would who knows the format: same length, checksum made right.
fn edit(dir: &Path, index: u64, from: &str, to: &str) {
    rewrite(dir, index, |records, place| {
        let text = String::from_utf8(records[place].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        records[place] = text.replacen(from, to, 1).into_bytes();
    });
}

/// Writes the segment of a record anew.
fn rewrite(dir: &Path, index: u64, change: impl FnOnce(&mut Vec<Vec<u8>>, usize)) {
    let firsts = segment::firsts(dir, ENTRIES).unwrap();
    let first = firsts[firsts.partition_point(|first| *first <= index) - 1];
    let path = dir.join(entries_path(first));
    let bytes = std::fs::read(&path).unwrap();
    let mut records: Vec<_> =
        frames(&bytes).into_iter().map(|at| frame::read(&bytes[at..]).unwrap().0.to_vec()).collect();
    change(&mut records, (index - first) as usize);
    let mut bytes = Vec::new();
    records.iter().for_each(|record| frame::append(&mut bytes, record));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn an_edited_record_is_the_one_that_is_named() {
    let (folder, dir) = log("edited", 300);
    for index in [0, 1, 2, 100, 256, 290, 301] {
        let edited = folder.path().join(format!("edited-{index}"));
        copy(&dir, &edited);
        let (from, to) = if index % 300 <= 1 && index != 1 {
            ("\"kind\":\"st", "\"kind\":\"ST")
        } else {
            ("2026", "2025")
        };
        edit(&edited, index, from, to);
        let found = damage(&edited);
        assert!(found.index == Some(index) || index == 0, "{index}: {found}");
        assert!(found.file.starts_with("entries/"), "{index}: {found}");
    }
}

#[test]
fn an_edited_payload_is_named_though_its_checksum_is_made_right() {
    let (folder, dir) = log("edited-payload", 40);
    for kept in payloads(&dir, 0, 1).unwrap() {
        let edited = folder.path().join("edited");
        copy(&dir, &edited);
        let bytes = vec![b'x'; kept.bytes.len()];
        let head = frame::PayloadHead::new(1, kept.which, kept.mode, kept.salt, &bytes).bytes();
        let file = std::fs::File::options().write(true).open(edited.join(payload_path(0))).unwrap();
        file.write_all_at(&[&head[..], &bytes].concat(), kept.at).unwrap();
        let found = damage(&edited);
        assert_eq!((&found.file, found.index, found.offset), (&payload_path(0), Some(1), Some(kept.at)));
        assert!(found.what.contains("not what the record commits to"), "{found}");
        std::fs::remove_dir_all(&edited).unwrap();
    }
}

#[test]
fn a_record_that_names_a_key_of_another_segment_is_named() {
    let folder = Temporary::new("other-key");
    let dir = folder.path().join("audit");
    let mut log = Written::try_open_for(&dir, &[Recipient::new([9; 32])]).unwrap();
    log.fill(60);
    log.close();
    drop(log);
    let (mut reader, mut last) = (Reader::open(&dir, 0).unwrap(), None);
    while let Some(entry) = reader.read().unwrap() {
        last =
            Known::read(entry.bytes).unwrap().arguments.and_then(|of| Some((entry.index, of.key?))).or(last);
    }
    let (index, by) = last.unwrap();
    edit(&dir, index, &format!("\"key\":{by}"), &format!("\"key\":{}", by - 1));
    let found = damage(&dir);
    let what = format!("no record of this segment is the key {}", by - 1);
    assert_eq!((found.index, found.what), (Some(index), what));
}

#[test]
fn records_out_of_order_missing_or_twice_are_found() {
    let (folder, dir) = log("reordered", 40);
    type Change = fn(&mut Vec<Vec<u8>>, usize);
    let changes: [(&str, Change); 3] = [
        ("swapped", |records, place| records.swap(place, place + 1)),
        ("removed", |records, place| drop(records.remove(place))),
        ("twice", |records, place| records.insert(place, records[place].clone())),
    ];
    for (name, change) in changes {
        for index in [5, 6, 20] {
            let changed = folder.path().join(format!("{name}-{index}"));
            copy(&dir, &changed);
            rewrite(&changed, index, change);
            let found = damage(&changed);
            assert!(
                found.index.is_some_and(|found| (index..=index + 1).contains(&found)),
                "{name} {index}: {found}"
            );
        }
    }
}

/// Makes all tiles anew for what the records are now, as somebody would who knows the format and has no key.
fn retile(dir: &Path) {
    let (mut edge, mut full) = (Edge::default(), Vec::new());
    for first in segment::firsts(dir, ENTRIES).unwrap() {
        let mut segment = Segment::open(dir, first).unwrap();
        while let Next::Frame(record) = segment.read().unwrap() {
            edge.push(hash::leaf(record), &mut full);
        }
    }
    let disk = Disk::new(dir);
    full.iter().for_each(|full| disk.replace(&full.tile.path(), &full.bytes).unwrap());
    edge.partials().for_each(|(tile, hashes)| disk.replace(&tile.path(), hashes.as_flattened()).unwrap());
}

#[test]
fn who_changes_tiles_as_well_needs_the_key() {
    let (_folder, dir) = log("retiled", 300);
    // The last record of a core: nothing follows it in its chain.
    edit(&dir, 300, "permit", "deny__");
    retile(&dir);
    let found = damage(&dir);
    assert!(found.file.starts_with("checkpoints/") && found.index == Some(281), "{found}");
    assert!(found.what.contains("from 281 to 300"), "{found}");
}

#[test]
fn who_has_the_key_as_well_is_found_by_a_checkpoint_from_outside() {
    let (folder, dir) = log("resigned", 60);
    let kept = std::fs::read_to_string(dir.join(CHECKPOINT)).unwrap();
    // A whole other log, by the same key.
    let other = folder.path().join("other");
    std::fs::copy(dir.with_extension("key"), other.with_extension("key")).unwrap();
    let mut log = Written::open(&other);
    log.n = [5, 5];
    log.fill(90);
    drop(log);
    let against = |note: &str| Against { checkpoints: vec![("kept".to_owned(), note.to_owned())], key: None };
    assert!(check(&other).is_ok());
    let Err(LogError::Damage { damage, .. }) = verify(&other, &against(&kept)) else {
        panic!("nothing was found")
    };
    assert_eq!(damage.file, "kept");
    assert!(verify(&dir, &against(&kept)).is_ok());
    // The log as it was before, brought back.
    let newer = std::fs::read_to_string(other.join(CHECKPOINT)).unwrap();
    let Err(LogError::Damage { damage, .. }) = verify(&dir, &against(&newer)) else {
        panic!("nothing was found")
    };
    assert!(damage.what.contains("its end is missing"), "{damage}");
    let strange = SigningKey::generate().unwrap().signer("gateway.example/audit").unwrap();
    let note = Checkpoint::empty("gateway.example/audit").sign(&strange);
    assert!(matches!(verify(&dir, &against(&note)), Err(LogError::Refused(_))));
    let key = Against { checkpoints: Vec::new(), key: Some(strange.public().clone()) };
    assert!(matches!(verify(&dir, &key), Err(LogError::Damage { .. })));
}

#[test]
fn what_was_retired_may_be_missing_and_nothing_else() {
    let folder = Temporary::new("retired");
    let dir = folder.path().join("audit");
    let mut log = Written::open(&dir);
    log.fill(300);
    log.folder().set_now(NOON_MS + 100_000);
    log.add(0);
    log.commit();
    let until = log.folder().retire(50_000).unwrap().unwrap();
    log.add(1);
    log.commit();
    log.checkpoint();
    log.close();
    drop(log);
    let report = check(&dir).unwrap();
    assert_eq!((report.first, report.records, report.signed), (until, 305, 305));
    sweep(&dir, |file| if file.starts_with("tile/") { 5 } else { 101 });
    let first = entries_path(segment::firsts(&dir, ENTRIES).unwrap()[0]);
    assert_eq!(segment::firsts(&dir, ENTRIES).unwrap().len(), 1, "nothing else is left");
    std::fs::remove_file(dir.join(&first)).unwrap();
    assert!(first.starts_with(&damage(&dir).file));
}

#[test]
fn a_log_without_records_is_sound_and_no_folder_is_none() {
    let folder = Temporary::new("empty");
    let dir = folder.path().join("audit");
    drop(Written::open(&dir));
    let report = check(&dir).unwrap();
    assert_eq!((report.records, report.signed, report.checkpoints), (0, 0, 1));
    assert!(matches!(check(folder.path()), Err(LogError::NoLog { .. })));
    assert!(matches!(check(Path::new("/none")), Err(LogError::NoLog { .. })));
}
