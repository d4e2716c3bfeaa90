//! Payloads that are kept whole, encrypted, so that whoever has the folder, and the gateway that wrote it, cannot read them back.
//!
//! The decision: a key for many payloads, wrapped once for all recipients (`age.rs`) in a record of the kind `key`; each payload
//! costs one AES-256-GCM. That record lies in the same segment, before what it opens: it is signed and proven like every other, and
//! goes when its payloads go. A key lives in one process, for one segment and not longer than an hour, and is never written
//! down. Under one key no record has two payloads of a kind, so where a payload stands is its nonce and no two are the same.
//!
//! What the record commits to is the encrypted form: `verify`, `prove` and `erase` need no key. Whoever opens it knows by the
//! cipher's own tag that it is what was kept, of this record and no other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::age::{self, AgeError, Identity, Recipient, Secret};
use crate::error::{Damage, LogError};
use crate::folder::AddError;
use crate::frame::{Mode, Which};
use crate::hash;
use crate::limits::SEAL_MS_MAX;
use crate::reader::{KeptPayload, Name, find};
use crate::record::{self, Known};
use crate::segment::{damaged, payload_path};

/// What sealing adds to a payload.
pub const TAG_BYTES: usize = 16;

/// Encrypts what is kept whole.
pub struct Sealer {
    recipients: Vec<Recipient>,
    current: Option<Current>,
}

/// A key in use.
struct Current {
    key: LessSafeKey,
    /// The record that says it.
    record: u64,
    segment: u64,
    made_ms: u64,
}

impl Sealer {
    /// Tries whether a key can be wrapped for these: what cannot be encrypted is not found out with the first payload.
    pub fn new(recipients: &[Recipient]) -> Result<Sealer, LogError> {
        for recipient in recipients {
            if age::wrap(&Zeroizing::new([0; 32]), &[*recipient]).is_none() {
                return Err(LogError::Refused(format!("`{recipient}` is no key that one can encrypt for")));
            }
        }
        Ok(Sealer { recipients: recipients.to_vec(), current: None })
    }

    /// Whether what goes into this segment now is to be sealed with a new key.
    pub fn is_key_due(&self, segment: u64, now_ms: u64) -> bool {
        !self.current.as_ref().is_some_and(|current| {
            current.segment == segment && now_ms.abs_diff(current.made_ms) < SEAL_MS_MAX
        })
    }

    /// A new key, and what the record says that it is about to be said by.
    pub fn renew(&mut self) -> Result<(NewKey, String), AddError> {
        let mut secret: Secret = Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).map_err(|_| AddError::Sealing)?;
        let wrapped = age::wrap(&secret, &self.recipients).ok_or(AddError::Sealing)?;
        let recipients: Vec<String> = self.recipients.iter().map(Recipient::to_string).collect();
        let facts = serde_json::json!({ "recipients": recipients, "age": STANDARD.encode(wrapped) });
        Ok((NewKey(key(&secret).ok_or(AddError::Sealing)?), facts.to_string()))
    }

    /// The record that says it is in the log.
    pub fn is_said(&mut self, NewKey(key): NewKey, record: u64, segment: u64, made_ms: u64) {
        self.current = Some(Current { key, record, segment, made_ms });
    }

    /// Seals the end of a buffer where it lies, from `from` on. Gives the record that says its key.
    pub fn seal(&self, out: &mut Vec<u8>, from: usize, index: u64, which: Which) -> Result<u64, AddError> {
        let current = self.current.as_ref().ok_or(AddError::Sealing)?;
        let plain = out.get_mut(from..).ok_or(AddError::Sealing)?;
        let tag = current.key.seal_in_place_separate_tag(nonce(index, which), Aad::empty(), plain);
        out.extend_from_slice(tag.map_err(|_| AddError::Sealing)?.as_ref());
        Ok(current.record)
    }
}

/// A key that no record says yet.
pub struct NewKey(LessSafeKey);

fn key(secret: &Secret) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &**secret).ok()?))
}

/// Where a payload stands: the index of its record (u64, little endian), which of the two, three zeros.
fn nonce(index: u64, which: Which) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    nonce[8] = which as u8;
    Nonce::assume_unique_for_key(nonce)
}

/// What a record of the kind `key` says.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    recipients: Vec<String>,
    age: String,
}

/// Opens sealed payloads of a log.
pub struct Opener {
    dir: PathBuf,
    identities: Vec<Identity>,
    /// By the record that says them. A key is of one segment and one hour: as many as are read of these.
    keys: BTreeMap<u64, LessSafeKey>,
}

impl Opener {
    pub fn new(dir: &Path, identities: Vec<Identity>) -> Opener {
        Opener { dir: dir.to_owned(), identities, keys: BTreeMap::new() }
    }

    /// What was kept, as it was; of what is not sealed, what lies there. It is held against what the record commits to.
    pub fn open(&mut self, record: &[u8], index: u64, payload: KeptPayload) -> Result<KeptPayload, LogError> {
        if payload.mode != Mode::Sealed {
            return Ok(payload);
        }
        let known = Known::read(record).map_err(LogError::Refused)?;
        let committed = known.committed().find(|(which, _)| *which == payload.which);
        let damage = |what: &str| {
            let file = payload_path(payload.first);
            damaged(&self.dir, Damage::of(file, what).at(payload.at).record(index))
        };
        let said = committed.and_then(|(_, committed)| Some((committed.hash()?, committed.key?)));
        let (hash, by) = said.ok_or_else(|| damage("its record does not say with which key it is sealed"))?;
        if hash::commitment(&payload.salt, &payload.bytes) != hash {
            return Err(damage("it is not what the record commits to"));
        }
        let changed =
            damage("it does not open with the key that its record names: it was sealed with another");
        let key = self.key(by)?;
        let mut bytes = payload.bytes.clone();
        let opened = key.open_in_place(nonce(index, payload.which), Aad::empty(), &mut bytes);
        let length = opened.map_err(|_| changed)?.len();
        bytes.truncate(length);
        Ok(KeptPayload { mode: Mode::Full, bytes, ..payload })
    }

    fn key(&mut self, by: u64) -> Result<&LessSafeKey, LogError> {
        if !self.keys.contains_key(&by) {
            let found = find(&self.dir, Name::Index(by))?;
            let damage = |what: &str| LogError::Refused(format!("record {by} opens no payload: {what}"));
            let is_key = Known::read(&found.bytes).is_ok_and(|known| known.is_own(record::KEY));
            let said: Option<Said> = serde_json::from_slice(&found.bytes).ok().filter(|_| is_key);
            let said = said.ok_or_else(|| damage("it says no key"))?;
            let wrapped = STANDARD.decode(&said.age).map_err(|_| damage("its `age` is no base64"))?;
            let secret = age::unwrap(&wrapped, &self.identities).map_err(|error| match error {
                AgeError::Form => damage("its `age` is no file of age"),
                AgeError::Changed => damage("the key in it was changed"),
                AgeError::NotFor => {
                    let mine: Vec<String> =
                        self.identities.iter().map(|of| format!("`{}`", of.recipient())).collect();
                    let theirs: Vec<String> =
                        said.recipients.iter().map(|of| format!("`{}`", of.escape_debug())).collect();
                    let (mine, theirs) = (mine.join(", "), theirs.join(", "));
                    damage(&format!("the identity is of {mine}, and it is encrypted for {theirs}"))
                }
            })?;
            let key = key(&secret).ok_or_else(|| damage("its key is none of AES-256"))?;
            self.keys.insert(by, key);
        }
        self.keys.get(&by).ok_or(LogError::Random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::{Word, erase};
    use crate::proof::Proof;
    use crate::reader::{Beside, Reader, payloads};
    use crate::testing::{self, Folder, Written};
    use crate::verify::{Against, verify};

    /// Made by `age-keygen`.
    const IDENTITY: &str = "AGE-SECRET-KEY-12UF6PXU7T5JWDC74RT6J27GRSAAYGFD4KFP5H8N0TQQ5SE53A3MQLUCFNW";
    const OTHER: &str = "AGE-SECRET-KEY-1H3W2QLY66M79GTCFATG2XZDPUEXXVH0QWQJS87YDC736XWAV4HRQSWNUX5";

    fn identity(text: &str) -> Identity {
        Identity::parse(text).unwrap()
    }

    fn written(dir: &Path) -> Written {
        Written::try_open_for(dir, &[identity(IDENTITY).recipient()]).unwrap()
    }

    /// What opens of all that is kept whole.
    fn opened(dir: &Path, by: &str) -> Result<Vec<String>, LogError> {
        let (mut reader, mut beside) = (Reader::open(dir, 0)?, Beside::new(dir));
        let mut opener = Opener::new(dir, vec![identity(by)]);
        let mut texts = Vec::new();
        while let Some(entry) = reader.read()? {
            for payload in beside.of(entry.first, entry.index)? {
                if payload.which == Which::Arguments && payload.mode == Mode::Sealed {
                    let opened = opener.open(entry.bytes, entry.index, payload)?;
                    assert_eq!(opened.mode, Mode::Full);
                    texts.push(String::from_utf8(opened.bytes).unwrap());
                }
            }
        }
        Ok(texts)
    }

    #[test]
    fn what_is_sealed_is_in_no_file_and_opens_for_its_recipient_alone() {
        let folder = Folder::new("sealed");
        let dir = folder.path().join("audit");
        let mut log = written(&dir);
        log.fill(90);
        drop(log);
        // Another start, another key; and one without keys that are asked for: then nothing is sealed.
        let mut log = written(&dir);
        log.fill(30);
        log.close();
        drop(log);
        let segments = std::fs::read_dir(dir.join("entries")).unwrap().count();
        assert!(segments > 3, "{segments}");
        for file in testing::files(&dir) {
            let bytes = std::fs::read(dir.join(&file)).unwrap();
            assert!(!bytes.windows(8).any(|part| part == b"number 3"), "{file}");
        }
        let texts = opened(&dir, IDENTITY).unwrap();
        // Every third of each core's, from the first on: 45 and 15 of each.
        assert_eq!((texts.len(), &texts[0][..]), (40, r#"{"q":"number 0"}"#));
        let error = opened(&dir, OTHER).unwrap_err().to_string();
        let theirs = identity(IDENTITY).recipient().to_string();
        assert!(error.contains(&theirs) && error.contains("encrypted for"), "{error}");
        let report = verify(&dir, &Against::default()).unwrap();
        assert_eq!((report.records, report.payloads), (report.signed, 80));
    }

    /// Whoever can read may also seal: what opens well need not be what was recorded.
    #[test]
    fn what_a_recipient_has_sealed_anew_does_not_open() {
        let folder = Folder::new("sealed-anew");
        let dir = folder.path().join("audit");
        written(&dir).fill(10);
        let (mut reader, mut beside) = (Reader::open(&dir, 0).unwrap(), Beside::new(&dir));
        let mut opener = Opener::new(&dir, vec![identity(IDENTITY)]);
        while let Some(entry) = reader.read().unwrap() {
            let Some(by) = Known::read(entry.bytes).unwrap().arguments.and_then(|of| of.key) else {
                continue;
            };
            let kept = beside.of(entry.first, entry.index).unwrap().swap_remove(0);
            assert_eq!(opener.open(entry.bytes, entry.index, kept.clone()).unwrap().mode, Mode::Full);
            let mut bytes = br#"{"q":"number 7"}"#.to_vec();
            let key = opener.key(by).unwrap();
            key.seal_in_place_append_tag(nonce(entry.index, kept.which), Aad::empty(), &mut bytes).unwrap();
            let error = opener.open(entry.bytes, entry.index, KeptPayload { bytes, ..kept }).unwrap_err();
            assert!(error.to_string().contains("not what the record commits to"), "{error}");
            return;
        }
        panic!("nothing is sealed");
    }

    #[test]
    fn a_key_is_in_the_segment_of_what_it_opens() {
        let folder = Folder::new("sealed-segments");
        let dir = folder.path().join("audit");
        let mut log = written(&dir);
        log.fill(120);
        drop(log);
        let (mut reader, mut keys) = (Reader::open(&dir, 0).unwrap(), BTreeMap::new());
        let mut sealed = 0;
        while let Some(entry) = reader.read().unwrap() {
            let known = Known::read(entry.bytes).unwrap();
            if known.is_own(record::KEY) {
                keys.insert(entry.index, entry.first);
            }
            if let Some(by) = known.arguments.and_then(|committed| committed.key) {
                assert_eq!((keys.get(&by), by < entry.index), (Some(&entry.first), true));
                sealed += 1;
            }
        }
        let segments = std::fs::read_dir(dir.join("entries")).unwrap().count();
        assert_eq!((sealed, keys.len()), (40, segments));
    }

    #[test]
    fn a_key_lives_an_hour() {
        let folder = Folder::new("sealed-hour");
        let mut log = written(&folder.path().join("audit"));
        // Every third record of a core has a payload.
        let three = |log: &mut Written| (0..3).for_each(|_| assert!(log.add(0) > 0));
        three(&mut log);
        log.folder().set_now(testing::NOON_MS + SEAL_MS_MAX - 1);
        three(&mut log);
        assert_eq!(log.folder().size(), 8, "one start, one key, six records");
        log.folder().set_now(testing::NOON_MS + SEAL_MS_MAX);
        three(&mut log);
        assert_eq!(log.folder().size(), 12);
        // A clock that goes back is no reason to keep a key.
        log.folder().set_now(testing::NOON_MS - 1);
        three(&mut log);
        assert_eq!(log.folder().size(), 16);
    }

    #[test]
    fn proving_and_erasing_need_no_key() {
        let folder = Folder::new("sealed-erase");
        let dir = folder.path().join("audit");
        written(&dir).fill(60);
        let mut reader = Reader::open(&dir, 0).unwrap();
        let index = loop {
            let entry = reader.read().unwrap().unwrap();
            if Known::read(entry.bytes).unwrap().arguments.is_some_and(|of| of.mode == "sealed") {
                break entry.index;
            }
        };
        let before = Proof::make(&dir, Name::Index(index)).unwrap();
        erase(&dir, Name::Index(index), None, &Word::default()).unwrap();
        before.check(None).unwrap();
        assert_eq!(verify(&dir, &Against::default()).unwrap().erased, 2);
        let kept = payloads(&dir, find(&dir, Name::Index(index)).unwrap().first, index).unwrap();
        assert!(
            kept.iter().all(|kept| kept.mode == Mode::Erased && kept.bytes.iter().all(|byte| *byte == 0))
        );
    }

    #[test]
    fn nobody_is_encrypted_for_who_cannot_open() {
        let folder = Folder::new("sealed-nobody");
        let dir = folder.path().join("audit");
        let error = Written::try_open_for(&dir, &[Recipient::new([0; 32])]).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("is no key that one can encrypt for"), "{error}");
    }
}
