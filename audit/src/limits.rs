//! Every bound of the log, with its reason. What is read from a folder may have been written by somebody else: nothing is
//! allocated for a length that was not held against one of these.

/// A record, as its frame counts it: what fits a TCP segment many times over, and what the length of an entry in C2SP's bundles
/// can say.
pub const RECORD_BYTES_MAX: usize = 65_535;

/// What is kept of one payload. A larger one is kept as its digest.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// What waits to be written as one batch, records and payloads together; whoever adds more looks at `Folder::is_full` first. At
/// 600 bytes a record these are 13,000.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// What a crash may leave behind the last whole record: one batch was on its way at most. More than this is damage and not a torn
/// tail.
pub const TORN_BYTES_MAX: u64 = (BATCH_BYTES_MAX + PAYLOAD_BYTES_MAX + RECORD_BYTES_MAX) as u64;

/// Records that no checkpoint covers yet, after which one is due whatever the time: their tiles wait in memory, 32 bytes each.
pub const UNSIGNED_RECORDS_MAX: u64 = 65_536;

/// Whom payloads are encrypted for: the record that says a key has some 250 bytes for each.
pub const RECIPIENTS_MAX: usize = 16;

/// How long one key seals payloads: it lies in the memory of the gateway as long, and opens what was written meanwhile.
pub const SEAL_MS_MAX: u64 = 3_600_000;

/// What is said of one erasure: what a record of it may hold beside.
pub const ERASURE_BYTES_MAX: usize = 4 << 10;

/// Erasures that wait for a gateway, in all: some hundred thousand.
pub const ERASURES_BYTES_MAX: u64 = 16 << 20;

/// Records with something erased of which nobody said so, that a report of `verify` names.
pub const UNEXPLAINED_TOLD_MAX: usize = 32;

/// A checkpoint with its signatures: a name, a number, a hash, and as many signatures of witnesses as C2SP asks one to take.
pub const NOTE_BYTES_MAX: usize = 64 << 10;

/// An origin: a URL without its scheme.
pub const ORIGIN_BYTES_MAX: usize = 255;

/// A file with a key in it.
pub const KEY_FILE_BYTES_MAX: usize = 4 << 10;

/// How long a start waits for the lock of a folder: a verb may be looking whether somebody holds it.
pub const LOCK_WAIT_MS: u64 = 200;

/// What a reader of a segment reads at a time.
pub const READ_BYTES: usize = 256 << 10;

const _: () = assert!(512 * RECIPIENTS_MAX < RECORD_BYTES_MAX);
const _: () = assert!(2 * ERASURE_BYTES_MAX < RECORD_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX > 16 * RECORD_BYTES_MAX);
const _: () = assert!(UNSIGNED_RECORDS_MAX.is_multiple_of(256));
