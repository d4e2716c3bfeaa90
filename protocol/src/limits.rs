//! Every bound of the crate, with what it costs. A peer that passes one meets a named fault, never a bigger buffer.
//!
//! Memory per connection from this crate is the head buffer (`HEAD_BYTES_MAX`, only while a head is arriving); per
//! core it is one [`crate::jsonrpc::Decoder`], whose cost is worked out at `DECODER_RETAIN_BYTES`.

/// A request or reply head, from its first byte to the empty line. Also the most that one head can make us buffer.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Header lines in one head: 64 tokens of 32 bytes, 2 KiB of stack while parsing.
pub const HEADERS_MAX: usize = 64;
/// A request target. Beyond it: 414.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Hex digits of a chunk size; sixteen fill a `u64`.
pub const CHUNK_SIZE_DIGITS_MAX: u32 = 16;
/// The extension of one chunk, from `;` to the CR. Read and dropped.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 256;
/// All trailers of one body together. Read, checked and dropped.
pub const TRAILER_BYTES_MAX: u32 = 4 * 1024;

/// The joined `data` of one server-sent event.
pub const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An event id; it must fit a `Last-Event-ID` header later.
pub const EVENT_ID_BYTES_MAX: usize = 1024;

/// One client message. Offsets are `u32`, and simd-json counts in `u32` as well.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Nesting of a client message; also the depth of any walk that policy makes over its arguments.
pub const DEPTH_MAX: usize = 64;
/// The id of a message, as written, quotes included. It is kept for as long as the call lasts.
pub const ID_BYTES_MAX: usize = 256;
/// Objects with up to this many members are checked for repeated keys pair by pair (at most 120 comparisons of
/// their sketches); larger ones through a sorted index, so that the cost never becomes quadratic.
pub const PAIRWISE_KEYS_MAX: usize = 16;
/// What a decoder keeps between messages. A message of n bytes needs at worst about 31 n while it is parsed (scratch
/// n, padded copy n, strings n, 4 n of structural indexes, 24 n of tape, for a body of nothing but brackets and
/// commas; a body of text needs about 3.1 n). So 64 KiB retained is at most 2 MiB per core; `Decoder::trim` gives back more.
pub const DECODER_RETAIN_BYTES: usize = 64 * 1024;

/// Nesting of a message that comes from an upstream: one bit each, 64 bytes per scanner.
pub const UPSTREAM_DEPTH_MAX: usize = 512;
/// Edits in one message: 64 of 16 bytes, 1 KiB per set of splices.
pub const SPLICES_MAX: usize = 64;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(EVENT_ID_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!((TRAILER_BYTES_MAX as usize) < HEAD_BYTES_MAX);
const _: () = assert!(CHUNK_SIZE_DIGITS_MAX * 4 <= u64::BITS);
const _: () = assert!(MESSAGE_BYTES_MAX < u32::MAX as usize / 2);
const _: () = assert!(EVENT_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(UPSTREAM_DEPTH_MAX.is_multiple_of(64));
const _: () = assert!(DEPTH_MAX <= UPSTREAM_DEPTH_MAX);
