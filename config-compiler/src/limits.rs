//! Every bound of the compiler, in one place. A configuration may come from a hostile registry or a
//! broken generator; each limit is checked before the work it bounds, never after.
//!
//! Worst case of one load: [`TOTAL_BYTES_MAX`] of text, as much again in trees, and
//! [`NODES_MAX`] nodes of about 100 bytes a file, dropped as soon as the rules are made.

/// One file. Larger ones are refused by their size, unread.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// All files of one load together.
pub const TOTAL_BYTES_MAX: u64 = 16 << 20;
/// Nesting of lists and mappings. The language itself needs eight.
pub const DEPTH_MAX: usize = 32;
/// Scalars, lists, mappings and keys in one file.
pub const NODES_MAX: usize = 250_000;
/// Files of one load.
pub const FILES_MAX: usize = 256;
/// How deep an included file may include.
pub const INCLUDE_DEPTH_MAX: usize = 8;
/// Entries looked at in one folder for one `include` pattern.
pub const FOLDER_ENTRIES_MAX: usize = 10_000;
/// A key file: 100,000 keys, each with all that can be said of one and some groups, are 30 MB and 2 million values, and take
/// about 250 MB while they are read.
pub const KEY_FILE_BYTES_MAX: u64 = 48 << 20;
pub const KEY_FILE_NODES_MAX: usize = 2_500_000;
/// A file read through `${file:…}`.
pub const REFERENCED_BYTES_MAX: u64 = 64 << 10;
/// A lock file: four upstreams that list as much as one may.
pub const LOCK_BYTES_MAX: u64 = 64 << 20;
/// Nesting of a lock file: that of a definition, below five of its own.
pub const LOCK_DEPTH_MAX: usize = strait_protocol::limits::DEPTH_MAX + 5;
/// Findings reported in one run; the rest are counted.
pub const FINDINGS_MAX: usize = 100;
/// Names of upstreams, servers, roles, rules.
pub const NAME_BYTES_MAX: usize = 64;
/// A pattern of a server or rule.
pub const PATTERN_BYTES_MAX: usize = 512;
/// The claims of one key, as JSON. Workers hold them for as long as the key is known.
pub const CLAIMS_BYTES_MAX: usize = 16 << 10;
pub const UPSTREAMS_MAX: usize = 4_096;
pub const SERVERS_MAX: usize = 4_096;
pub const IDENTITIES_MAX: usize = 256;
pub const LISTENERS_MAX: usize = 64;
pub const LIMITS_MAX: usize = 4_096;
pub const PRICES_MAX: usize = 4_096;
/// A member of `_meta` that says what a call cost: MCP gives prefixes and names no length, this is longer than any in use.
pub const META_MEMBER_BYTES_MAX: usize = 256;
/// Calls that a limit may allow in one of its units, or at once.
pub const LIMIT_CALLS_MAX: u64 = 1_000_000_000;
/// Micro-USD that a price may be, or a limit may allow: a million dollars less one millionth.
pub const MONEY_MICRO_USD_MAX: u64 = 1_000_000_000_000 - 1;
pub const RULES_MAX: usize = 131_072;
pub const ROLES_MAX: usize = 4_096;
/// Shapes of one server.
pub const SHAPES_MAX: usize = 4_096;
/// A value that a shape fixes, gives by default or lets pass, as JSON: each call carries what is fixed.
pub const SHAPE_VALUE_BYTES_MAX: usize = 4_096;
/// Values of one `enum`: compared one by one on each call, and told in a refusal.
pub const SHAPE_VALUES_MAX: usize = 64;
/// Source text of one condition.
pub const CONDITION_BYTES_MAX: usize = 4_096;
/// Parentheses and brackets a condition may nest.
pub const CONDITION_NESTING_MAX: usize = 32;
/// Pinned names that patterns with a star are held against in one load: about 2 s. What lies beyond goes without this check.
pub const PATTERN_NAMES_MAX: usize = 50_000_000;
/// Tools and prompts of one rule whose schemas its condition is held against; a rule over more is not.
pub const SCHEMAS_OF_RULE_MAX: usize = 64;
/// Schemas kept parsed at once, of about 10 KiB.
pub const SCHEMAS_KEPT_MAX: usize = 4_096;
/// Rules and traits that are asked of people and tools of a load: about 1 s. What lies beyond goes without these checks.
pub const REACH_WORK_MAX: usize = 10_000_000;
/// Dots and operators of a condition, other than comparisons and `&&` and `||`: what its parser recurses over.
pub const CONDITION_SYMBOLS_MAX: usize = 512;
/// Steps that an expression of a Cedar file may nest: what its parser recurses over.
pub const CEDAR_NESTING_MAX: usize = 64;
/// Questions that a Cedar policy may come to before it is written as a program. Cedar's order of evaluation costs up to a
/// doubling per step of nesting.
pub const CEDAR_QUESTIONS_MAX: usize = 2_048;
/// Pairs of patterns compared while looking for rules that others cover: about 0.1 s. A policy with more keeps
/// its meaning; what lies beyond goes without this check.
pub const COVER_PAIRS_MAX: usize = 4_000_000;
/// Rules whose conditions are held against those of one rule; who has more over the same pattern is not told of the rest.
pub const COVER_CONDITIONS_MAX: usize = 32;

/// Steps of one question to the analysis of conditions, each a look at one question of a clause or at one byte of joint
/// states; what takes more counts as possible.
pub const QUESTION_WORK_MAX: usize = 200_000;
/// The same of a whole load: about 2 s. What lies beyond goes without these checks.
pub const ANALYSIS_WORK_MAX: usize = 100_000_000;

/// Secrets with a place of their own; each that a store has is asked for by itself.
pub const SECRETS_MAX: usize = 1_024;

/// Cases in one list, each a few decisions.
pub const CASES_MAX: usize = 10_000;
/// Files of cases beside a configuration.
pub const CASE_FILES_MAX: usize = 256;

// Limits, servers and identities are numbered in 16 bits in the table.
const _: () = assert!(LIMITS_MAX <= u16::MAX as usize);
// What a window of policy can hold.
const _: () = assert!(MONEY_MICRO_USD_MAX <= strait_policy::limit::window::USED_MAX);
const _: () = assert!(LIMIT_CALLS_MAX <= strait_policy::limit::window::USED_MAX);
const _: () = assert!(SERVERS_MAX <= u16::MAX as usize && IDENTITIES_MAX <= SERVERS_MAX);
