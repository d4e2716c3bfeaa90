//! Every bound of the data plane, with what it costs, and the sum.
//!
//! The first three are what the table says when its author says nothing (`caps`), and [`crate::caps`] lowers them
//! to what the process may have.
//! Worst case of a core: [`BUFFERED_BYTES_PER_CORE`] of bodies and replies on their way (an exchange
//! that would pass it is refused with 503), plus per connection a task of a few hundred bytes when it
//! is idle, plus sessions and pending calls as counted below.

use strait_table::rules::Caps;

/// Connections a core serves at once; more are answered 503 and closed. An idle one holds no buffer.
pub const CONNECTIONS_PER_CORE_MAX: usize = Caps::DEFAULT.connections as usize;
/// Exchanges a core has under way at once; more are answered 503.
pub const INFLIGHT_PER_CORE_MAX: usize = Caps::DEFAULT.calls as usize;
/// Bytes a core holds in buffers before it refuses further exchanges.
pub const BUFFERED_BYTES_PER_CORE: usize = Caps::DEFAULT.bytes as usize;
/// Memory that parsing a body takes at worst, as a multiple of its size (see `DECODER_RETAIN_BYTES` of `protocol`).
pub const DECODE_FACTOR: usize = 32;
/// Connections over the cap that are being told so; beyond them they are closed without a word. Each holds a
/// buffer for at most [`LINGER_MS_MAX`].
pub const TURNED_AWAY_MAX: usize = 256;
/// TLS handshakes that a core has under way at once; further connections are closed. One holds the state of rustls and a
/// buffer, about 30 KiB: 30 MiB in all.
pub const HANDSHAKES_PER_CORE_MAX: usize = 1_024;
/// A TLS handshake must be over this long after its connection was accepted.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// What a connection keeps of the chain that its client has shown, to judge it again when its listener believes others: a certificate has
/// 1 KiB, and there are two or three. One that is longer is nobody's from then on.
pub const CLIENT_CHAIN_BYTES_MAX: usize = 16 * 1_024;
/// Between two lines of the log about handshakes that failed.
pub const HANDSHAKE_TOLD_MS: u64 = 10_000;
/// What an overloaded core asks a client to wait.
pub const RETRY_AFTER_S: u64 = 1;

/// A request's head must be complete this long after its first byte.
pub const HEAD_MS_MAX: u64 = 10_000;
/// A request's body must make progress at least this often, and in all it has this long and a millisecond for
/// each byte that came: whoever sends less than 1,000 bytes a second is let go.
pub const BODY_STALL_MS_MAX: u64 = 15_000;
pub const BODY_BYTES_PER_MS_MIN: u64 = 1;
/// A client must take each piece of its reply (at most 64 KiB of a long one) within this.
pub const SEND_STALL_MS_MAX: u64 = 30_000;
/// A connection without a request this long gives its buffer and its future back.
pub const PARK_AFTER_MS: u64 = 1_000;
/// A connection without a request this long is closed.
pub const IDLE_MS_MAX: u64 = 600_000;
/// The same, once a core has [`PRESSED_EIGHTHS`] eighths of the connections it may have: newcomers need the place.
pub const IDLE_PRESSED_MS_MAX: u64 = 5_000;
pub const PRESSED_EIGHTHS: usize = 7;

/// Answers that stand open (listens, streams of unsolicited messages) may take so many eighths of a core's connections:
/// whoever listens must not keep out who calls. One that is idle holds about 3 KiB.
pub const STANDING_EIGHTHS: usize = 6;
/// A standing answer that has said nothing for this long says a comment, so that proxies keep its connection.
pub const KEEP_ALIVE_MS: u64 = 15_000;
/// Comments that begin at once, once a second.
pub const KEEP_ALIVES_PER_SWEEP: usize = 2_048;
/// A listen of ours at an upstream that broke is opened again after this; doubled each time up to the second figure.
pub const LISTEN_AGAIN_MS: (u64, u64) = (250, 30_000);
/// One that has said nothing for this long is taken for dead.
pub const LISTEN_SILENT_MS_MAX: u64 = 600_000;
/// Listeners that are told of a new edition before others get their turn: each is a comparison of numbers.
pub const CHANGES_PER_TURN: usize = 256;
/// The same when a listener believes others than before: each may be a chain to verify, a tenth of a millisecond.
pub const VERIFIED_PER_TURN: usize = 16;
/// Resources that one listen or session may subscribe to. Each is a few hundred bytes.
pub const SUBSCRIPTIONS_MAX: usize = 256;
/// Resources of one upstream that a worker's clients may want to hear of, about 1 KiB each; of one conversation with it
/// [`SETTINGS_MAX`].
pub const TOPICS_MAX: usize = 32_768;
/// Subscriptions that a worker asks one upstream for at the same time.
pub const SUBSCRIBES_AT_ONCE: usize = 16;
/// How long a listen waits for servers to take its subscriptions; those that are not taken by then it does not have.
pub const SUBSCRIBE_MS_MAX: u64 = 10_000;
/// Changes of one resource on their way to another worker; one that waits says what further ones would.
pub const UPDATES_MAX: usize = 8;
/// How long a session's stream at an upstream may take to open before something is subscribed to in it all the same.
pub const STREAM_OPENS_MS_MAX: u64 = 5_000;
/// A listen of ours that another one replaces is read for this long after.
pub const LISTEN_OVERLAP_MS: u64 = 50;

/// A method that this gateway does not know is passed on to a server's only upstream up to this length.
pub const FOREIGN_METHOD_BYTES_MAX: usize = 128;
/// Bytes at the end of a piece of a large answer that may be half of a key and its URI; longer ones pass as they are.
pub const HALF_URI_BYTES_MAX: usize = 8 * 1024;
/// `Mcp-Param` headers that are made of one call's arguments: servers take heads of 8 to 64 KiB.
pub const PARAMETERS_BYTES_MAX: usize = 16 * 1024;

/// What a refused client may still send so that it can read the refusal, and for how long.
pub const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const LINGER_MS_MAX: u64 = 2_000;

/// A JSON reply up to this size is checked whole before its first byte leaves; a larger one is checked
/// while it streams.
pub const REPLY_WINDOW_BYTES: usize = 64 * 1024;
/// The largest answer out of which a shape takes something: it is gathered and looked at whole, a few milliseconds of its
/// worker. A larger one is refused.
pub const SHAPED_RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Lists inside of each other on the way to what a shape takes out; each is walked once more. Deeper results are refused.
pub const SHAPED_LISTS_MAX: usize = 8;
/// Requests of a server's own that are being answered at once in one session with it; further ones get no answer.
pub const ANSWERS_MAX: u32 = 16;
/// Places of exchanges in traces that a core keeps for those to come, when nobody uses them: 0.7 KiB each.
pub const TRACES_KEPT_MAX: usize = 256;
/// Boxes kept for answers of upstreams and their events: 0.5 KiB and less each.
pub const REPLIES_KEPT_MAX: usize = 1_024;
/// Of those boxes, how many are made at once when there is none: 16 exchanges at a time want no more of the allocator.
pub const POOLED_AT_ONCE: usize = 16;
/// A line of a stdio child.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a list, a probe or a handshake may answer.
pub const ASKED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pages that are followed when an upstream is asked what it offers.
pub const LIST_PAGES_MAX: usize = 200;

/// Open files of a core at its caps: a socket per connection and one to an upstream per exchange.
pub const FILES_PER_CORE_MAX: usize = CONNECTIONS_PER_CORE_MAX + INFLIGHT_PER_CORE_MAX;
/// Those of the process beside them: rings, listeners, idle lines to upstreams, children's pipes, logs.
pub const FILES_OF_PROCESS: usize = 1_024;

/// Idle connections kept per upstream endpoint and core.
pub const UPSTREAM_IDLE_MAX: usize = 256;
/// An idle upstream connection is closed after this.
pub const UPSTREAM_IDLE_MS_MAX: u64 = 30_000;
/// An upstream connection idle for longer than this is looked at before it is used again.
pub const UPSTREAM_TRUST_MS: u64 = 1_000;
/// Sessions a core keeps with one legacy upstream, as many as clients may have that are at work at the same time: about
/// 1 KiB each, and for those with a stream of their own a socket. One that is idle gives way, the longest idle first.
pub const UPSTREAM_SESSIONS_MAX: usize = 8_192;
/// A session with an upstream that serves no client's session and is not used for this long is ended.
pub const UPSTREAM_SESSION_IDLE_MS_MAX: u64 = 10 * 60 * 1_000;
/// Streams of what belongs to no call that a core keeps open to one upstream: a socket and about 2 KiB each. Sessions
/// beyond have none; their lists are learnt again from time to time.
pub const UPSTREAM_STREAMS_MAX: usize = 4_096;
/// Between attempts to open such a stream again: doubled up to the second figure, and up to a quarter longer, so that
/// a server which restarts is not met by all at once.
pub const STREAM_AGAIN_MS: (u64, u64) = (1_000, 60_000);
/// How soon a stream that broke is asked for again when its server does not say, and the longest that it may say.
pub const RESUME_MS: u64 = 500;
pub const RETRY_MS_MAX: u64 = 60_000;
/// Attempts in a row to resume one stream that come to nothing.
pub const RESUMES_MAX: u32 = 8;
/// Events of one attended call that wait for its client; then its stream is not read on.
pub const ATTENDED_EVENTS_MAX: usize = 16;
/// Subscriptions of one session that are made again when its upstream loses it, about 100 bytes each.
pub const SETTINGS_MAX: usize = 1_024;

/// Calls one stdio child works on at once; more are answered as busy. A pending call is 200 bytes.
pub const CHILD_PENDING_MAX: usize = 1_024;
/// Notifications that wait for one call's client before further ones are dropped.
pub const CHILD_QUEUE_MAX: usize = 256;
/// A child must answer its first message within this; package runners download first.
pub const CHILD_START_MS_MAX: u64 = 60_000;
/// Between restarts of a child that ended: doubled each time up to the second figure.
pub const CHILD_BACKOFF_MS: (u64, u64) = (250, 30_000);
/// After stdin was closed: SIGTERM, and after as long again SIGKILL.
pub const CHILD_GRACE_MS: u64 = 2_000;

/// Sessions of older clients per core: about 500 bytes each, and what their streams keep ([`OUTLET_BYTES_MAX`]).
pub const SESSIONS_PER_CORE_MAX: usize = 65_536;
/// A session unused for this long is gone.
pub const SESSION_IDLE_MS_MAX: u64 = 60 * 60 * 1_000;
/// A session is taken up by a later process until it is this old: then its client begins a new one.
pub const SESSION_KEPT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Sessions that ended and are remembered, 16 bytes each and a line of 64 in the state folder. Beyond, none outlives the
/// process.
pub const SESSIONS_ENDED_MAX: usize = 262_144;
/// Those of one principal. Beyond, all that it had until then are over for later processes, and nobody else's: one key
/// must not end the sessions of all.
pub const SESSIONS_ENDED_PER_PRINCIPAL_MAX: usize = SESSIONS_ENDED_MAX / 16;

/// Messages and bytes that a stream towards a client keeps for a reader that comes back; the oldest give way.
pub const OUTLET_EVENTS_MAX: usize = 256;
pub const OUTLET_BYTES_MAX: usize = 256 * 1024;
/// Messages of one HTTP+SSE client that are being answered at once, each with at most its answer; a further one is
/// refused with 503.
pub const WIRE_MESSAGES_MAX: usize = 128;
/// The largest answer that one is sent: its stream has one event per answer, which is put together first.
pub const WIRE_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Answers of one session that are event streams a client may come back for, and of all sessions of a core: each keeps at
/// most what an outlet does. Further ones have no ids.
pub const CALL_STREAMS_MAX: usize = 16;
pub const CALL_STREAMS_PER_CORE_MAX: usize = 512;
/// How long one is kept that is over.
pub const CALL_STREAM_KEPT_MS: u64 = 30_000;
/// Bytes of those that are over: of one session, room for one of any size; of all sessions of a core, so many eighths of
/// what it may hold in all. The oldest give way.
pub const OVER_BYTES_PER_SESSION_MAX: usize = WIRE_ANSWER_BYTES_MAX;
pub const OVER_EIGHTHS: usize = 1;
/// Messages of one batch, which are carried out at the same time.
pub const BATCH_MAX: usize = 64;
/// What a client is asked to wait before it comes back to an event stream whose connection ended.
pub const STREAM_RETRY_MS: u64 = 1_000;
/// Questions of servers that one client has not answered yet; further ones are declined.
pub const QUESTIONS_MAX: usize = 64;
/// How long a client may take to answer a server's question.
pub const QUESTION_MS_MAX: u64 = 5 * 60 * 1_000;

/// Times that one call of an older client is made again with the input that a modern server wants, and for how long
/// in all, clients being people.
pub const ROUNDS_MAX: u32 = 10;
pub const ROUNDS_MS_MAX: u64 = 15 * 60 * 1_000;
/// Before a call is made again for which no input was asked: doubled each time up to the second figure.
pub const ROUND_BACKOFF_MS: (u64, u64) = (25, 1_000);

/// Calls of a core to legacy servers that wait for their clients to bring input, each with its connection or place at
/// the child and at most 10 KiB; a further one is refused. A cap on calls that is lower holds for these, too.
pub const SUSPENDED_MAX: usize = 4_096;
/// How long a client may take to bring it, and how long such a call may take in all.
pub const SUSPENDED_MS_MAX: u64 = 5 * 60 * 1_000;
pub const SUSPENDED_CALL_MS_MAX: u64 = 30 * 60 * 1_000;
/// What a ticket keeps of a call that is to be made again: a message and ids of pages.
pub const REPLAY_BYTES_MAX: usize = 4 * 1024;
/// Questions of a server that one answer carries; further ones are declined.
pub const SUSPENDED_ASKS_MAX: usize = 16;
/// Messages of a server that wait for a client to come back.
pub const SUSPENDED_EVENTS_MAX: usize = 16;
/// Questions that come within this of the first are put together.
pub const ASKS_WINDOW_MS: u64 = 10;
/// Turns of the loop that what had come by then is given to pass through the tasks between a socket and the call.
pub const ASKS_TURNS: u32 = 8;

/// An upstream's own id of a task, which the client's id of it holds.
pub const TASK_ID_BYTES_MAX: usize = 512;
/// Tasks of one session that its client may list and is told of, about 500 bytes each; the oldest give way.
pub const TASKS_PER_SESSION_MAX: usize = 128;
/// Tasks that one listen is told of, each with a listen of ours at its upstream.
pub const WATCHED_TASKS_MAX: usize = 16;
/// Pages of upstreams that one `tasks/list` asks for until it has something to tell.
pub const TASK_PAGES_MAX: usize = 16;
/// Tasks of older servers whose results a core waits for, because they want input of newer clients: a connection each.
pub const OPEN_TASKS_MAX: usize = 1_024;
/// How long an older server may take to say what it wants, or how its task ended, once it says that it does or has.
pub const TASK_ASKS_MS_MAX: u64 = 1_000;
/// How often a task is asked about on behalf of a client that knows none, when its server does not say; the longest
/// that it may say.
pub const TASK_POLL_MS: (u64, u64) = (500, 10_000);
/// How long a task may take whose end somebody waits for: `tasks/result`, or a client that knows no tasks.
pub const TASK_RESULT_MS_MAX: u64 = 30 * 60 * 1_000;

/// Views kept per core; the cache starts over beyond it.
pub const VIEWS_PER_CORE_MAX: usize = 1_024;
/// Items and bytes of one page of a list.
pub const PAGE_ITEMS_MAX: usize = 1_000;
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Allowances that are kept count of at once, in all workers together: 16 bytes each, 4 MiB, made when a table first has
/// limits. More are refused until some are whole again.
pub const ALLOWANCES_MAX: usize = 1 << 18;
/// Slots in which an allowance may be: four cache lines that are looked at when a lease is spent.
pub const CELL_WAYS: usize = 16;
/// How often a worker looks again at a slot that another one is changing, a few nanoseconds each.
pub const LOOKS_MAX: usize = 4_096;
/// Allowances of which one worker holds a lease: 72 bytes each, 72 KiB.
pub const LEASES_MAX: usize = 1 << 10;
/// Places among calls under way that one worker holds: 16 bytes each, grown to when needed.
pub const HOLDS_MAX: usize = 1 << 16;
/// Upstreams, servers and limits of a table, and principals that a worker meets, that have figures under their own name: 2.2 KB, 256 B, 128 B
/// and 2.0 KB per worker each; the rest is counted together. As many tools have a histogram from their first call on.
pub const NAMED_MAX: usize = 256;
/// Tools whose calls a worker counts apart: about 130 bytes each, so that whoever shows them knows which are called most; 10,000 are what
/// one table is made for. The rest is counted together.
pub const TOOLS_COUNTED_MAX: usize = 1 << 14;
/// Words for why an exchange was refused; the code knows about eighty.
pub const REASONS_MAX: usize = 128;

/// Lines of one kind that a worker tells when it is asked what it has open; the rest is counted.
pub const ROLL_LINES_MAX: usize = 1_000;

/// Things by whose name a shadow counts differences, on each worker; what comes later counts together. About 100 bytes each.
pub const SHADOW_NAMES_MAX: usize = 256;

/// Calls decided differently that a worker remembers: about 300 bytes each, for a person to read.
pub const SHADOW_SAMPLES_MAX: usize = 64;
/// Reports to control that may wait.
pub const EVENTS_MAX: usize = 4_096;
/// Access-log bytes gathered before they are handed to the writer, and buffers that may wait there.
pub const LOG_FLUSH_BYTES: usize = 64 * 1024;
pub const LOG_BUFFERS_MAX: usize = 64;
/// How long a gateway that ends waits for whoever reads its access lines: a pipe that nobody empties would keep it for ever.
pub const LOG_END_MS_MAX: u64 = 2_000;
/// How often it looks whether they were written.
pub const LOG_END_LOOK_MS: u64 = 5;

/// Records on their way from a worker to the audit log's writer: what comes in 40 ms at 100,000 exchanges a second of 1 KiB. A disk that
/// takes longer is seen by exchanges, as `audit.when_full` says.
pub const AUDIT_RING_BYTES: usize = 4 << 20;
/// With less room than this an exchange that is not to wait for the log is refused before it begins: what is under way has room.
pub const AUDIT_RESERVE_BYTES: usize = 512 << 10;
/// Of arguments, and of a result, so many bytes go through the ring; of longer ones the SHA-256, made by the worker, 0.5 ms a MiB.
pub const AUDIT_PAYLOAD_BYTES_MAX: usize = AUDIT_RING_BYTES / 4;
/// What a record says beside its payloads; texts in a longer one are cut to the second figure. A record of the log has at most 65,535 bytes.
pub const AUDIT_FACTS_BYTES_MAX: usize = 60_000;
pub const AUDIT_TEXT_BYTES_MAX: usize = 1_024;
/// Records of streams that ended, which wait for room where nobody else can, about 600 bytes each; further ones are lost and counted.
pub const AUDIT_LATE_MAX: usize = 4_096;
/// A writer that has found nothing for so many looks sleeps until it is woken.
pub const AUDIT_IDLE_LOOKS: u32 = 50;
/// Records of administrative acts that wait for the writer.
pub const AUDIT_ACTS_MAX: usize = 1_024;
/// How soon a write that failed is tried again, and for how long at the end of the process.
pub const AUDIT_AGAIN_MS: u64 = 100;
pub const AUDIT_END_MS_MAX: u64 = 5_000;
/// How often it is looked whether a segment is too old.
pub const AUDIT_RETIRE_MS: u64 = 60_000;

/// The longest that a worker may be asked to look for work before it sleeps: a longer sleep is cheaper than that.
pub const BUSY_POLL_MAX: std::time::Duration = std::time::Duration::from_millis(1);
/// How often a worker looks at deadlines.
pub const TICK_MS: u64 = 50;
/// Lists are asked for again this often, and sooner after a failure.
pub const RELIST_MS: u64 = 300_000;
/// Also when an upstream lets its lists be kept for a shorter time.
pub const RELIST_FRESH_MS_MIN: u64 = 5_000;
pub const RELIST_FAILED_MS: (u64, u64) = (1_000, 60_000);

/// Verified tokens that a core remembers, and their bytes with what they tell: at 1 KiB a token 8 MiB.
pub const TOKENS_KEPT: usize = 8_192;
pub const TOKEN_BYTES_KEPT: usize = 32 << 20;
/// A longer token is refused unread. A head of a request has room for more, and no issuer known makes such.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Principals of tokens that one edition numbers on a core, so many at once: 40 bytes each beside the token. At three quarters
/// of them the edition is adopted anew.
pub const STRANGERS_MAX: usize = 16_384;
pub const STRANGERS_AT_ONCE: usize = 256;
/// Tokens that a core waits for control to verify; further ones are answered 503.
pub const TOKEN_QUESTIONS_MAX: usize = 256;
/// So long, then the request is answered 503: longer than control waits for an issuer.
pub const TOKEN_QUESTION_MS_MAX: u64 = 6_000;
/// Tokens that a core has had in exchange for callers', each some 2 KiB; and those that it waits for control to have: further
/// calls are answered that their upstream is busy.
pub const LENT_KEPT: usize = 4_096;
pub const LENT_QUESTIONS_MAX: usize = 256;
/// So long, then the call fails: longer than control waits for a token endpoint.
pub const LENT_QUESTION_MS_MAX: u64 = 6_000;
/// Control hears so often that an upstream does not take its credential, while it is so.
pub const REFUSED_TOLD_MS: u64 = 1_000;
/// Statements of who calls that an edition keeps on a core, about 1 KiB each; further ones have all of them made anew.
pub const STATEMENTS_KEPT: usize = 4_096;
/// One is shown for so long, and stands for so long: whoever gets it has half a minute at least.
pub const STATEMENT_AGAIN_MS: u64 = 30_000;
pub const STATEMENT_S: u64 = 60;
/// A longer one would be refused by the heads that servers read: 8 KiB are usual for all of it.
pub const STATEMENT_BYTES_MAX: usize = 4 << 10;
/// A peer may present so many bad tokens at once, and then one every so often; while it is over, what it presents and a core
/// does not know is answered 429. So many peers are remembered at once, 16 bytes each.
pub const BAD_TOKENS_AT_ONCE: u64 = 32;
pub const BAD_TOKEN_EVERY_MS: u64 = 125;
pub const BAD_TOKEN_PEERS: usize = 4_096;

/// Deadlines that tests shorten; the product runs with the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub handshake_ms: u64,
    pub head_ms: u64,
    pub body_stall_ms: u64,
    pub send_stall_ms: u64,
    pub park_after_ms: u64,
    pub idle_ms: u64,
    pub idle_pressed_ms: u64,
    pub question_ms: u64,
    pub session_idle_ms: u64,
    pub keep_alive_ms: u64,
    pub suspended_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            handshake_ms: HANDSHAKE_MS_MAX,
            head_ms: HEAD_MS_MAX,
            body_stall_ms: BODY_STALL_MS_MAX,
            send_stall_ms: SEND_STALL_MS_MAX,
            park_after_ms: PARK_AFTER_MS,
            idle_ms: IDLE_MS_MAX,
            idle_pressed_ms: IDLE_PRESSED_MS_MAX,
            question_ms: QUESTION_MS_MAX,
            session_idle_ms: SESSION_IDLE_MS_MAX,
            keep_alive_ms: KEEP_ALIVE_MS,
            suspended_ms: SUSPENDED_MS_MAX,
        }
    }
}

const _: () = assert!(STANDING_EIGHTHS < PRESSED_EIGHTHS && PRESSED_EIGHTHS < 8);
const _: () =
    assert!(KEEP_ALIVES_PER_SWEEP as u64 * (KEEP_ALIVE_MS / 1_000) >= CONNECTIONS_PER_CORE_MAX as u64);
const _: () = assert!(IDLE_PRESSED_MS_MAX > PARK_AFTER_MS && IDLE_MS_MAX > IDLE_PRESSED_MS_MAX);
const _: () = assert!(REPLY_WINDOW_BYTES < BUFFERED_BYTES_PER_CORE / 64);
const _: () = assert!(CONNECTIONS_PER_CORE_MAX >= INFLIGHT_PER_CORE_MAX);
const _: () = assert!(TICK_MS * 10 <= PARK_AFTER_MS);
const _: () = assert!(LINGER_MS_MAX > TICK_MS);
const _: () = assert!(2 * AUDIT_PAYLOAD_BYTES_MAX + AUDIT_FACTS_BYTES_MAX < AUDIT_RING_BYTES);
