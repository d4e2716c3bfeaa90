//! Checkpoints: what the tree was at a size, signed. The forms are C2SP's tlog-checkpoint and signed-note, so that whoever has a
//! verifier for those has one for ours.
//!
//! The decision: in the folder a checkpoint has exactly our form and one signature, and every byte of it is held against what we
//! would have written; from elsewhere it may carry signatures of witnesses beside ours, which are passed over as C2SP asks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hash::{self, Hash};
use crate::key::{PublicKey, Signer};
use crate::limits;

/// What is signed: the whole log up to a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// Why a text is no checkpoint of ours.
#[derive(Debug, PartialEq, Eq)]
pub enum NoteError {
    Form(&'static str),
    /// It carries no signature of the key.
    NotSigned {
        key: String,
    },
    Signature {
        key: String,
    },
    Origin {
        expected: String,
        found: String,
    },
    TooLong,
}

impl std::fmt::Display for NoteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoteError::Form(what) => write!(f, "it is no checkpoint: expected {what}"),
            NoteError::NotSigned { key } => write!(f, "it carries no signature of the key `{key}`"),
            NoteError::Signature { key } => write!(f, "the signature of `{key}` does not fit its text"),
            NoteError::Origin { expected, found } => {
                write!(f, "it is of the log `{}`: expected `{expected}`", found.escape_debug())
            }
            NoteError::TooLong => write!(f, "it has more than {} bytes", limits::NOTE_BYTES_MAX),
        }
    }
}

impl Checkpoint {
    /// What is signed.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The note.
    pub fn sign(&self, signer: &Signer) -> String {
        let text = self.text();
        let signature = signer.sign(text.as_bytes());
        format!("{text}\n{}", signature_line(signer.public(), &signature))
    }

    /// A checkpoint as it lies in a folder: our form, one signature, nothing else.
    pub fn open_own(note: &str, key: &PublicKey) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::open(note, key)?;
        match note.lines().count() {
            5 => Ok(checkpoint),
            _ => Err(NoteError::Form("three lines, an empty one, and one signature")),
        }
    }

    /// A checkpoint from anywhere, signed by the key; other signatures are passed over.
    pub fn open(note: &str, key: &PublicKey) -> Result<Checkpoint, NoteError> {
        if note.len() > limits::NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Form("an empty line before the signatures"))?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Form("a line break at the end"))?;
        let ours = signatures.split('\n').filter_map(|line| signature_of(line, key)).collect::<Vec<_>>();
        match &ours[..] {
            [] => return Err(NoteError::NotSigned { key: key.line() }),
            [signature] if key.has_signed(text.as_bytes(), signature) => {}
            _ => return Err(NoteError::Signature { key: key.line() }),
        }
        let checkpoint = Checkpoint::parse(text)?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Origin { expected: key.name().to_owned(), found: checkpoint.origin });
        }
        Ok(checkpoint)
    }

    /// Lines of extensions are nothing that we write: none are taken.
    fn parse(text: &str) -> Result<Checkpoint, NoteError> {
        let mut lines = text.split('\n');
        let mut line = |what| lines.next().filter(|line| !line.is_empty()).ok_or(NoteError::Form(what));
        let origin = line("an origin")?.to_owned();
        let size = line("a size")?.parse().map_err(|_| NoteError::Form("a size"))?;
        let root = STANDARD.decode(line("a root hash")?).ok().and_then(|root| root.try_into().ok());
        let checkpoint = Checkpoint { origin, size, root: root.ok_or(NoteError::Form("a root hash"))? };
        if checkpoint.text() != text {
            return Err(NoteError::Form("origin, size and root hash, a line each, and nothing else"));
        }
        Ok(checkpoint)
    }

    /// Of a log without records.
    pub fn empty(origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: 0, root: hash::EMPTY }
    }
}

fn signature_line(key: &PublicKey, signature: &[u8; 64]) -> String {
    let bytes = [&key.id()[..], signature].concat();
    format!("\u{2014} {} {}\n", key.name(), STANDARD.encode(bytes))
}

/// The signature of a line, if it is the key's and written as we write it.
fn signature_of(line: &str, key: &PublicKey) -> Option<[u8; 64]> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok().filter(|_| name == key.name())?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    if *id != key.id() {
        return None;
    }
    signature.try_into().ok()
}

/// The notes of the file `checkpoints`, one after the other, each with its offset; the last may be torn.
pub fn notes(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let end = rest.find("\n\n").and_then(|blank| {
            let after = blank + 2;
            Some(after + rest.get(after..)?.find('\n')? + 1)
        });
        let (begin, note) = (at, &rest[..end.unwrap_or(rest.len())]);
        at += note.len();
        Some((begin, note))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    fn signed(size: u64) -> (String, PublicKey) {
        let signer = SigningKey::generate().unwrap().signer("example.com/log").unwrap();
        let checkpoint = Checkpoint { origin: "example.com/log".to_owned(), size, root: [7; 32] };
        (checkpoint.sign(&signer), signer.public().clone())
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let (note, key) = signed(20);
        assert_eq!(Checkpoint::open_own(&note, &key).unwrap().size, 20);
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                assert!(Checkpoint::open_own(&text, &key).is_err(), "byte {at}, bit {bit}: {text}");
            }
        }
    }

    #[test]
    fn signatures_of_others_are_passed_over_and_not_taken_for_ours() {
        let (note, key) = signed(20);
        let (other, other_key) = signed(20);
        let witness = other.lines().last().unwrap().replace("example.com/log", "witness.example");
        let both = format!("{note}{witness}\n");
        assert!(Checkpoint::open(&both, &key).is_ok());
        assert!(matches!(Checkpoint::open_own(&both, &key), Err(NoteError::Form(_))));
        assert!(matches!(Checkpoint::open(&note, &other_key), Err(NoteError::NotSigned { .. })));
    }

    #[test]
    fn notes_of_a_history_are_told_apart() {
        let (first, _) = signed(1);
        let (second, _) = signed(2);
        let whole = format!("{first}{second}");
        let found: Vec<_> = notes(&whole).collect();
        assert_eq!(found, [(0, &first[..]), (first.len(), &second[..])]);
        let torn = &whole[..whole.len() - 9];
        assert_eq!(notes(torn).last(), Some((first.len(), &torn[first.len()..])));
        assert_eq!(notes("").count(), 0);
    }
}
