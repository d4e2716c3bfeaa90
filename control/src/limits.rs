//! Every wait, retry and size of control, with its reason. Control may wait, but never without an end.

use std::time::Duration;

/// The gateway opens at the latest after this, whatever upstreams have answered by then: one that hangs
/// must not keep the others from serving.
pub const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// After a list has changed, changes of other upstreams are awaited this long and bound together: at
/// start all of them answer within a few milliseconds, and each binding costs a pass over all rules.
pub const BIND_TOGETHER: Duration = Duration::from_millis(50);

/// Exchanges in flight get this long to end when the process is told to stop.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Workers answer a drain at its deadline; what has not stopped this much later never will.
pub const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// A look-up of a host name; a resolver's own retries are 5 s apart.
pub const RESOLVE_WITHIN: Duration = Duration::from_secs(4);
/// First pause before an unresolvable host is tried again; doubled up to the next.
pub const RESOLVE_AGAIN_MIN: Duration = Duration::from_secs(1);
pub const RESOLVE_AGAIN_MAX: Duration = Duration::from_secs(60);

/// A worker that counted no beat for this long is stalled, and `/healthz` says so.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);
/// One that counted none for this long is named in the log: twenty ticks, and more than a person would call a pause.
pub const STALL_TOLD_AFTER: Duration = Duration::from_secs(1);
/// How often beats are looked at.
pub const PULSE_EVERY: Duration = Duration::from_millis(250);

/// How often watched files are looked at: a person who saved one hardly waits, and a look costs about 1 us.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A changed file is read when it has held still for this long.
pub const SETTLE: Duration = Duration::from_millis(100);
/// A file that cannot be used is looked at once more after this: it may be half written.
pub const SETTLE_BAD: Duration = Duration::from_millis(700);
/// A file that never holds still is judged as it is after this.
pub const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// A worker that has not taken up a new edition by then is named in the log.
pub const ADOPT_WITHIN: Duration = Duration::from_secs(5);

/// A compilation in a child: its memory, its processor time, the table it may write, and when it is given
/// up. What may be read at all is limited before (`config-compiler/src/limits.rs`).
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 4 << 30;
pub const COMPILE_CPU_S_MAX: u64 = 30;
pub const COMPILE_FILE_BYTES_MAX: u64 = 1 << 30;
pub const COMPILE_WITHIN: Duration = Duration::from_secs(60);
/// What a compilation may report: findings are limited before.
pub const COMPILE_REPORT_BYTES_MAX: u64 = 8 << 20;
/// Its priority: all else comes first.
pub const COMPILE_NICE: i32 = 10;

/// Bytes of a secret file, a generated key or a token; longer ones are somebody's mistake.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of one child's stderr line that reach the log; the rest is cut.
pub const CHILD_LINE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a line or body that a sample server reads.
pub const SAMPLE_BYTES_MAX: usize = 1024 * 1024;
/// Between two progress notifications of the sample's streaming tool: visible, and short enough for tests.
pub const SAMPLE_STEP: Duration = Duration::from_millis(100);

const _: () = assert!(BIND_TOGETHER.as_millis() < OPEN_WITHIN.as_millis());
const _: () = assert!(RESOLVE_WITHIN.as_millis() < OPEN_WITHIN.as_millis());
const _: () = assert!(STALL_TOLD_AFTER.as_millis() >= 4 * PULSE_EVERY.as_millis());
const _: () = assert!(STALLED_AFTER.as_millis() >= 2 * STALL_TOLD_AFTER.as_millis());
