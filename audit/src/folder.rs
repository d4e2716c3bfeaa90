//! The log as it grows: records in, bytes and places out.
//!
//! The decision: no I/O here. Whoever writes has a ring of its own and threads to answer to; this says which bytes belong where,
//! is told when they are on the disk, and never touches a file. One batch is on its way at a time: what a crash can tear is one
//! batch, and a checkpoint covers what was committed and nothing else. What nobody waits for may be written ahead of its batch, piece
//! by piece and without a sync: a kill does not take it any more, and a crash of the machine tears no more than the batch.
//!
//! ```text
//! add, add … -> ahead() -> (write) -> written_ahead() -> add … -> batch() -> (write the rest, sync both) -> committed(batch) -> …
//!                                                                                    … -> checkpoint() -> (steps, in order)
//! ```

use std::collections::VecDeque;

use crate::age::Recipient;
use crate::error::LogError;
use crate::frame::{self, Mode, PAYLOAD_HEAD_BYTES, PayloadHead, RECORD_BYTES_MAX, SALT_BYTES, Which};
use crate::hash::{self, Hash};
use crate::key::Signer;
use crate::note::Checkpoint;
use crate::record::{self, Commitment, Link, Place, WRITER};
use crate::salt::Salts;
use crate::seal::Sealer;
use crate::segment::{checkpoints_path, entries_path, payload_path};
use crate::tile::Tile;
use crate::tree::{Edge, FullTile};
use crate::{limits, moment, seal};

/// A payload and what is to be kept of it.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    pub which: Which,
    /// How long it was.
    pub bytes: u64,
    pub kept: Kept<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Kept<'a> {
    /// Its SHA-256 ([`hash::plain`]), where itself is not to be kept or is too long.
    Digest(Hash),
    Redacted(&'a [u8]),
    Full(&'a [u8]),
}

impl Kept<'_> {
    fn mode(&self) -> Mode {
        match self {
            Kept::Digest(_) => Mode::Hash,
            Kept::Redacted(_) => Mode::Redacted,
            Kept::Full(_) => Mode::Full,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Kept::Digest(digest) => digest,
            Kept::Redacted(bytes) | Kept::Full(bytes) => bytes,
        }
    }
}

/// Why a record cannot be added. The log is as it was; when the core goes on counting, the hole is told as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// Completed it has more than [`RECORD_BYTES_MAX`] bytes.
    TooLong,
    PayloadTooLong,
    /// Its facts are no JSON object on one line.
    NoObject,
    /// This core has counted further already.
    Backwards,
    NoSuchCore,
    /// The system gave no random bytes for a salt.
    Random,
    /// It is to be encrypted, and there is no key.
    Sealing,
}

impl std::fmt::Display for AddError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AddError::TooLong => "the record is longer than 65,535 bytes",
            AddError::PayloadTooLong => "the payload is longer than 16 MiB",
            AddError::NoObject => "the facts are no JSON object on one line",
            AddError::Backwards => "the core has counted further already",
            AddError::NoSuchCore => "there is no such core",
            AddError::Random => "the system gives no random bytes",
            AddError::Sealing => "the payload cannot be encrypted",
        })
    }
}

/// What is to be on the disk as one: both files are written ([`Batch::rest`]) and synced, in any order, before
/// [`Folder::committed`].
#[derive(Debug, Default)]
pub struct Batch {
    /// The first record of the segment.
    first: u64,
    /// The files are to be made, and their folders synced.
    pub is_new: bool,
    entries_offset: u64,
    payload_offset: u64,
    entries: Vec<u8>,
    payload: Vec<u8>,
    leaves: Vec<Hash>,
    /// Which segment it belongs to is decided.
    is_placed: bool,
    /// How much of each was written ahead.
    ahead: (usize, usize),
}

/// Bytes for the two files of a segment. To write them again does no harm.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'b> {
    /// The first record of the segment: it names both files.
    pub first: u64,
    pub entries_offset: u64,
    pub payload_offset: u64,
    pub entries: &'b [u8],
    pub payload: &'b [u8],
}

impl Piece<'_> {
    pub fn entries_path(&self) -> String {
        entries_path(self.first)
    }

    pub fn payload_path(&self) -> String {
        payload_path(self.first)
    }
}

impl Batch {
    /// What was not written ahead.
    pub fn rest(&self) -> Piece<'_> {
        let (entries, payload) = self.ahead;
        Piece {
            first: self.first,
            entries_offset: self.entries_offset + entries as u64,
            payload_offset: self.payload_offset + payload as u64,
            entries: self.entries.get(entries..).unwrap_or_default(),
            payload: self.payload.get(payload..).unwrap_or_default(),
        }
    }

    /// A sync has failed: nobody knows what of it the disk has, and all of it is written again.
    pub fn again(&mut self) {
        self.ahead = (0, 0);
    }

    /// Whether any of its records has a payload.
    pub fn has_payload(&self) -> bool {
        !self.payload.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.entries.len() + self.payload.len()
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.payload.clear();
        self.leaves.clear();
        (self.is_placed, self.ahead) = (false, (0, 0));
    }
}

/// Something to do in the folder; one is on the disk before the next begins. `disk::Disk::apply` does them with `std`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The whole file, through another name: it is there or it is not.
    Write {
        path: String,
        bytes: Vec<u8>,
    },
    /// Files that nobody reads before a later step; they are on the disk together. As [`Step::Write`], each would cost two syncs.
    WriteAll {
        files: Vec<(String, Vec<u8>)>,
    },
    Append {
        path: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    Remove {
        path: String,
    },
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The log's name: a URL without its scheme, or any word.
    pub origin: String,
    /// Workers that may write, counted from 0.
    pub cores: u16,
    /// A segment that has so many bytes is the last but one.
    pub rotate_bytes: u64,
    /// What the record `start` says, as a JSON object; `kind` and `ts` are added.
    pub start: String,
    /// Whom payloads that are kept whole are encrypted for; nobody: they are not.
    pub recipients: Vec<Recipient>,
    /// Unix time.
    pub now_ms: u64,
}

/// A segment, and when its first record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    pub first: u64,
    pub began_ms: u64,
}

/// What a folder was found to be: what [`Folder`] goes on from.
pub(crate) struct Found {
    pub edge: Edge,
    pub full: Vec<FullTile>,
    pub signed: u64,
    pub link: Link,
    pub segments: VecDeque<SegmentFacts>,
    pub entries_bytes: u64,
    pub payload_bytes: u64,
    pub history: History,
}

/// Where the history of checkpoints ends.
pub(crate) struct History {
    /// The segment whose checkpoints its last file has.
    pub first: u64,
    /// Of that file.
    pub bytes: u64,
    /// The newest checkpoint: the next file begins with it, too, so that each file tells where the one before it ended.
    pub note: Vec<u8>,
}

/// A core's place in its chain.
#[derive(Clone, Copy)]
struct Chain {
    n: u64,
    link: Link,
}

pub struct Folder {
    signer: Signer,
    rotate_bytes: u64,
    now_ms: u64,
    start: u64,
    cores: Vec<Chain>,
    own: Chain,
    /// Index of the next record.
    next: u64,
    filling: Batch,
    spare: Option<Batch>,
    is_under_way: bool,
    segments: VecDeque<SegmentFacts>,
    entries_bytes: u64,
    payload_bytes: u64,
    /// Over what is committed.
    edge: Edge,
    full: Vec<FullTile>,
    signed: u64,
    history: History,
    /// Files that go once what says so is committed, and from which size on.
    retiring: Option<(u64, Vec<String>)>,
    salts: Salts,
    sealer: Option<Sealer>,
    /// A record as its leaf is hashed.
    scratch: Vec<u8>,
}

impl Folder {
    /// Goes on from what was found, with the record `start`, and `truncated` if something was cut off.
    pub(crate) fn begin(
        signer: Signer,
        options: &Options,
        found: Found,
        cut: Option<String>,
    ) -> Result<Folder, LogError> {
        let next = found.edge.size();
        let sealer =
            if options.recipients.is_empty() { None } else { Some(Sealer::new(&options.recipients)?) };
        let mut folder = Folder {
            signer,
            rotate_bytes: options.rotate_bytes,
            now_ms: options.now_ms,
            start: next,
            cores: Vec::new(),
            own: Chain { n: 0, link: found.link },
            next,
            filling: Batch::default(),
            spare: Some(Batch::default()),
            is_under_way: false,
            segments: found.segments,
            entries_bytes: found.entries_bytes,
            payload_bytes: found.payload_bytes,
            edge: found.edge,
            full: found.full,
            signed: found.signed,
            history: found.history,
            retiring: None,
            salts: Salts::default(),
            sealer,
            scratch: Vec::with_capacity(1 + RECORD_BYTES_MAX),
        };
        let refused =
            |error: AddError| LogError::Refused(format!("the record `start` cannot be written: {error}"));
        folder.add_own("start", &options.start).map_err(refused)?;
        folder.cores = vec![Chain { n: 0, link: folder.own.link }; usize::from(options.cores)];
        cut.map_or(Ok(0), |cut| folder.add_own("truncated", &cut)).map_err(refused)?;
        Ok(folder)
    }

    /// The index of this start's first record: with a core and its count it names a record.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Records that were added.
    pub fn size(&self) -> u64 {
        self.next
    }

    /// Records that are on the disk.
    pub fn committed_size(&self) -> u64 {
        self.edge.size()
    }

    /// Records that a checkpoint covers.
    pub fn signed_size(&self) -> u64 {
        self.signed
    }

    /// What time it is, for the records that the log itself writes.
    pub fn set_now(&mut self, unix_ms: u64) {
        self.now_ms = unix_ms;
    }

    /// Whether nothing should be added before a batch was taken.
    pub fn is_full(&self) -> bool {
        self.filling.bytes() >= limits::BATCH_BYTES_MAX
    }

    /// Whether a batch should be taken though nobody waits for it: it is full, or its segment is.
    pub fn is_batch_due(&self) -> bool {
        let segment = self.entries_bytes + self.payload_bytes + self.filling.bytes() as u64;
        self.is_full() || self.filling.is_placed && segment >= self.rotate_bytes
    }

    /// Whether so much was added since the last checkpoint that the next is due whatever the time.
    pub fn is_checkpoint_due(&self) -> bool {
        self.next - self.signed >= limits::UNSIGNED_RECORDS_MAX
    }

    /// Adds what core `core` counts as its record `n`, from 0; gives its index. Where the core has counted further than it has
    /// told, a record `gap` says so first.
    pub fn add(
        &mut self,
        core: u16,
        n: u64,
        facts: &[u8],
        payloads: &[Payload<'_>],
    ) -> Result<u64, AddError> {
        let chain = *self.cores.get(usize::from(core)).ok_or(AddError::NoSuchCore)?;
        if n < chain.n {
            return Err(AddError::Backwards);
        }
        if n > chain.n {
            self.lost(core, n)?;
        }
        if payloads.iter().any(|payload| matches!(payload.kept, Kept::Full(_))) {
            self.renew_key()?;
        }
        let chain = Chain { n, ..chain };
        let (index, link) = self.append(core, chain, facts, payloads)?;
        self.cores[usize::from(core)] = Chain { n: n + 1, link };
        Ok(index)
    }

    /// Has a key said in the segment, before what it seals, where payloads are to be encrypted.
    fn renew_key(&mut self) -> Result<(), AddError> {
        if self.sealer.is_none() {
            return Ok(());
        }
        self.place();
        let (segment, now_ms) = (self.filling.first, self.now_ms);
        let due = self.sealer.as_mut().filter(|sealer| sealer.is_key_due(segment, now_ms));
        let Some((key, facts)) = due.map(Sealer::renew).transpose()? else { return Ok(()) };
        let record = self.add_own(record::KEY, &facts)?;
        if let Some(sealer) = &mut self.sealer {
            sealer.is_said(key, record, segment, now_ms);
        }
        Ok(())
    }

    /// Says that what the core counted up to `n`, and not `n` itself, is not in the log and never will be.
    pub fn lost(&mut self, core: u16, n: u64) -> Result<(), AddError> {
        let chain = self.cores.get(usize::from(core)).ok_or(AddError::NoSuchCore)?;
        if n > chain.n {
            let facts = format!(r#"{{"of":{core},"from":{},"to":{}}}"#, chain.n, n - 1);
            self.add_own("gap", &facts)?;
            self.cores[usize::from(core)].n = n;
        }
        Ok(())
    }

    /// Adds a record of the log itself: the gateway's start and stop, an act of an administrator. `facts` is a JSON object
    /// without `kind` and `ts`.
    pub fn add_own(&mut self, kind: &str, facts: &str) -> Result<u64, AddError> {
        let rest = facts.trim().strip_prefix('{').ok_or(AddError::NoObject)?;
        let comma = if rest == "}" { "" } else { "," };
        let facts = format!(r#"{{"ts":"{}","kind":"{kind}"{comma}{rest}"#, moment::text(self.now_ms));
        let (index, link) = self.append(WRITER, self.own, facts.as_bytes(), &[])?;
        self.own = Chain { n: self.own.n + 1, link };
        Ok(index)
    }

    fn append(
        &mut self,
        core: u16,
        chain: Chain,
        facts: &[u8],
        payloads: &[Payload<'_>],
    ) -> Result<(u64, Link), AddError> {
        let index = self.next;
        let payload_from = self.filling.payload.len();
        let appended = self.append_payloads(index, payloads).and_then(|commitments| {
            self.scratch.clear();
            self.scratch.push(hash::LEAF);
            let place = Place { start: self.start, core, n: chain.n, prev: chain.link };
            if !record::complete(&mut self.scratch, facts, &place, commitments.into_iter().flatten()) {
                return Err(AddError::NoObject);
            }
            if self.scratch.len() > 1 + RECORD_BYTES_MAX { Err(AddError::TooLong) } else { Ok(()) }
        });
        if let Err(error) = appended {
            self.filling.payload.truncate(payload_from);
            return Err(error);
        }
        frame::append(&mut self.filling.entries, self.scratch.get(1..).unwrap_or_default());
        // As `hash::leaf`, in one go.
        let leaf = hash::plain(&self.scratch);
        self.filling.leaves.push(leaf);
        self.next += 1;
        Ok((index, record::link(&leaf)))
    }

    /// Frames of payloads, arguments before results.
    fn append_payloads(
        &mut self,
        index: u64,
        payloads: &[Payload<'_>],
    ) -> Result<[Option<Commitment>; 2], AddError> {
        let mut commitments = [None; 2];
        for (which, commitment) in [Which::Arguments, Which::Result].into_iter().zip(&mut commitments) {
            let Some(payload) = payloads.iter().find(|payload| payload.which == which) else { continue };
            let (kept, mode) = (payload.kept.bytes(), payload.kept.mode());
            let sealer = self.sealer.as_ref().filter(|_| mode == Mode::Full);
            let tag_bytes = if sealer.is_some() { seal::TAG_BYTES } else { 0 };
            if kept.len() + tag_bytes > limits::PAYLOAD_BYTES_MAX {
                return Err(AddError::PayloadTooLong);
            }
            let salt = self.salts.next().ok_or(AddError::Random)?;
            let out = &mut self.filling.payload;
            let begin = out.len();
            out.reserve(PAYLOAD_HEAD_BYTES + kept.len() + tag_bytes);
            out.resize(begin + PAYLOAD_HEAD_BYTES, 0);
            out.extend_from_slice(kept);
            let sealed = sealer.map(|sealer| sealer.seal(out, begin + PAYLOAD_HEAD_BYTES, index, which));
            let key = sealed.transpose()?;
            let mode = if key.is_some() { Mode::Sealed } else { mode };
            let (head, kept) = out.split_at_mut(begin + PAYLOAD_HEAD_BYTES);
            let written = PayloadHead::new(index, which, mode, salt, kept).bytes();
            head[begin..].copy_from_slice(&written);
            let kept = kept.len() as u64;
            // As `hash::commitment`, in one go: the salt is the end of the head.
            let hash = hash::plain(out.get(begin + PAYLOAD_HEAD_BYTES - SALT_BYTES..).unwrap_or_default());
            let bytes = payload.bytes;
            *commitment = Some(Commitment { which, mode, bytes, kept, hash, key });
        }
        Ok(commitments)
    }

    /// What may be written ahead of the batch that it will be part of; nothing while another is on its way.
    pub fn ahead(&mut self) -> Option<Piece<'_>> {
        if self.is_under_way || self.filling.leaves.is_empty() {
            return None;
        }
        self.place();
        Some(self.filling.rest()).filter(|piece| !piece.entries.is_empty())
    }

    /// What [`Folder::ahead`] gave was written, and nothing was added since.
    pub fn written_ahead(&mut self) {
        self.filling.ahead = (self.filling.entries.len(), self.filling.payload.len());
    }

    /// What is to be written next; nothing while a batch is on its way, or when nothing was added.
    pub fn batch(&mut self) -> Option<Batch> {
        if self.is_under_way || self.filling.leaves.is_empty() {
            return None;
        }
        self.place();
        let batch = std::mem::replace(&mut self.filling, self.spare.take().unwrap_or_default());
        self.entries_bytes += batch.entries.len() as u64;
        self.payload_bytes += batch.payload.len() as u64;
        self.is_under_way = true;
        Some(batch)
    }

    /// Decides which segment the batch that is being filled belongs to.
    fn place(&mut self) {
        if std::mem::replace(&mut self.filling.is_placed, true) {
            return;
        }
        let first_index = self.next - self.filling.leaves.len() as u64;
        if self.segments.is_empty() || self.entries_bytes + self.payload_bytes >= self.rotate_bytes {
            self.segments.push_back(SegmentFacts { first: first_index, began_ms: self.now_ms });
            (self.entries_bytes, self.payload_bytes) = (0, 0);
        }
        self.filling.first = self.segments.back().map_or(first_index, |segment| segment.first);
        // A segment that was begun and got nothing yet has no files that one could count on.
        self.filling.is_new = self.entries_bytes == 0;
        self.filling.entries_offset = self.entries_bytes;
        self.filling.payload_offset = self.payload_bytes;
    }

    /// The batch is on the disk. Gives how many records are now.
    pub fn committed(&mut self, mut batch: Batch) -> u64 {
        for leaf in &batch.leaves {
            self.edge.push(*leaf, &mut self.full);
        }
        batch.clear();
        self.spare = Some(batch);
        self.is_under_way = false;
        self.edge.size()
    }

    /// Signs what is committed: the steps to do, in order, and to do again from the first if one fails. `None`: nothing is new.
    pub fn checkpoint(&mut self) -> Option<Vec<Step>> {
        let size = self.edge.size();
        if size == self.signed {
            return None;
        }
        let mut steps = Vec::new();
        let full = self.full.drain(..).map(|full| (full.tile.path(), full.bytes));
        let partials = self.edge.partials();
        let partials = partials.map(|(tile, hashes)| (tile.path(), hashes.as_flattened().to_vec()));
        steps.push(Step::WriteAll { files: full.chain(partials).collect() });
        let origin = self.signer.public().name().to_owned();
        let note = Checkpoint { origin, size, root: self.edge.root() }.sign(&self.signer).into_bytes();
        steps.push(self.remember(size, &note));
        steps.push(Step::Write { path: "checkpoint".to_owned(), bytes: note });
        steps.extend(outdated(self.signed, size).map(|tile| Step::Remove { path: tile.path() }));
        self.signed = size;
        Some(steps)
    }

    /// Puts a checkpoint into the history, beside the segment of the last record that it covers.
    fn remember(&mut self, size: u64, note: &[u8]) -> Step {
        let segment = self.segments.iter().rev().find(|segment| segment.first < size);
        let first = segment.map_or(self.history.first, |segment| segment.first);
        let before = std::mem::replace(&mut self.history.note, note.to_vec());
        let (offset, bytes) = match first == self.history.first {
            true => (self.history.bytes, note.to_vec()),
            false => (0, [&before, note].concat()),
        };
        (self.history.first, self.history.bytes) = (first, offset + bytes.len() as u64);
        Step::Append { path: checkpoints_path(first), offset, bytes }
    }

    /// Adds a record `retired` for the segments whose last record is older than `keep_ms`, if there are any.
    pub fn retire(&mut self, keep_ms: u64) -> Result<Option<u64>, AddError> {
        if self.retiring.is_some() {
            return Ok(None);
        }
        let before = self.now_ms.saturating_sub(keep_ms);
        // A segment's last record is older than the first of the next.
        let old = self.segments.iter().skip(1).take_while(|next| next.began_ms < before).count();
        let Some(until) = self.segments.get(old).filter(|_| old > 0).map(|segment| segment.first) else {
            return Ok(None);
        };
        let facts = format!(r#"{{"until":{until},"segments":{old},"keep_ms":{keep_ms}}}"#);
        self.add_own("retired", &facts)?;
        let gone = self.segments.drain(..old);
        let paths = gone.flat_map(|SegmentFacts { first, .. }| {
            [entries_path(first), payload_path(first), checkpoints_path(first)]
        });
        self.retiring = Some((self.next, paths.collect()));
        Ok(Some(until))
    }

    /// Files to remove, in this order, once a checkpoint covers the record that says so. The oldest come first: whatever was
    /// removed when a kill comes, what is left is the end of the log.
    pub fn removals(&mut self) -> Vec<Step> {
        let is_said = self.retiring.as_ref().is_some_and(|(size, _)| *size <= self.signed);
        let paths = self.retiring.take_if(|_| is_said).map(|(_, paths)| paths);
        paths.unwrap_or_default().into_iter().map(|path| Step::Remove { path }).collect()
    }
}

/// The partial tiles of one size that another size has not.
fn outdated(before: u64, now: u64) -> impl Iterator<Item = Tile> {
    let of = |size: u64| move |level| Tile::partial(level, size);
    (0..crate::tile::LEVELS_MAX)
        .filter_map(of(before))
        .filter(move |tile| Some(*tile) != Tile::partial(tile.level, now))
}
