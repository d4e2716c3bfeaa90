//! Every wait, retry and size of control, with its reason. Control may wait, but never without an end.

use std::time::Duration;

/// The gateway opens at the latest after this, whatever upstreams have answered by then: one that hangs
/// must not keep the others from serving.
pub const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// Of that, what upstreams have at least: on a slow disk the rest may be over before anybody asks them, and a gateway that opens
/// then knows no tool.
pub const ASKED_AT_LEAST: Duration = Duration::from_secs(1);

/// After a list has changed, changes of other upstreams are awaited this long and bound together: at
/// start all of them answer within a few milliseconds, and each binding costs a pass over all rules.
pub const BIND_TOGETHER: Duration = Duration::from_millis(50);

/// The key that clients' sessions are sealed with is replaced by the first start after this: 2^32 ids in 30 days are over
/// 1,600 a second.
pub const SESSION_KEY_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Exchanges in flight get this long to end when the process is told to stop.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Workers answer a drain at its deadline; what has not stopped this much later never will.
pub const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// A successor serves within this, or is ended: twice a start at its slowest ([`OPEN_WITHIN`], [`COMPILE_CPU_S_MAX`]).
pub const HANDOVER_WITHIN: Duration = Duration::from_secs(70);
/// A predecessor says all it has to say at once; one that is silent for so long is stuck.
pub const HANDOVER_SAID_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of one message between the two: a listener's name is the longest part.
pub const HANDOVER_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Sockets of one message; the kernel takes 253.
pub const HANDOVER_SOCKETS_PER_MESSAGE_MAX: usize = 64;
/// A process goes on for so long beside its successor, from the moment on in which that one looks at kept sessions.
pub const HANDOVER_BESIDE: Duration =
    HANDOVER_WITHIN.saturating_add(DRAIN_WITHIN).saturating_add(DRAIN_GRACE);
/// Sessions that end while a successor starts, which it is told of when it serves: 60 bytes each.
pub const HANDOVER_ENDED_MAX: usize = 65_536;
/// Sockets that a service manager may pass: one per worker and listener would be as many.
pub const INHERITED_SOCKETS_MAX: usize = 4_096;

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

/// A `strait lock` asks an upstream again that failed, as it may be starting.
pub const LOCK_RETRY_WITHIN: Duration = Duration::from_secs(5);
/// Its engine ends within this, children included.
pub const LOCK_DRAIN_WITHIN: Duration = Duration::from_secs(2);
/// A shorter value of a reference may be in anybody's words by chance.
pub const SECRET_BYTES_MIN: usize = 8;

/// Connections to the admin listener, and to the admin socket: whoever sits on more waits in the kernel's queue, and takes no file
/// from the workers. Some tens of scrapers and pages are many.
pub const ADMIN_CONNECTIONS_MAX: usize = 128;
/// A connection to either that brings nothing for so long is over: longer than the longest answer takes ([`ORDER_WITHIN`]).
pub const ADMIN_SILENT_MAX: Duration = ORDER_WITHIN.saturating_add(Duration::from_secs(10));

/// Things left out of lists that `/readyz` names; how many there are it always says, and the log has all.
pub const LEFT_OUT_SHOWN_MAX: usize = 32;
/// Suspicions that `/readyz` names and the log tells at once; upstreams choose how many there are.
pub const SUSPICIONS_SHOWN_MAX: usize = 32;
/// Quarantined things that `/readyz` names; `/admin/quarantine` has all.
pub const QUARANTINED_SHOWN_MAX: usize = 32;

/// Tools whose calls `/metrics` shows by name: as many as a person reads on a page, and 7 + 18 series each.
pub const TOOLS_SHOWN_MAX: usize = 50;
/// Histograms that workers are asked for, beside those of the tools that they met first, as other tools come to be called most: 2 KB each.
pub const TOOLS_TIMED_MAX: usize = 512;

/// How long a canary bakes when nothing is said: long enough for a person to look at it.
pub const BAKE: Duration = Duration::from_secs(10 * 60);
pub const BAKE_MIN: Duration = Duration::from_secs(1);
/// A week: what bakes for longer is forgotten.
pub const BAKE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Exchanges that a canary must have answered before it is judged: with fewer, 1 % of errors is one.
pub const CANARY_SAMPLES: u64 = 100;
/// Principals that a canary names: each exchange is compared with all of them while it runs.
pub const CANARY_PRINCIPALS_MAX: usize = 256;
/// Lines of each kind that `strait status` tells of a shadow.
pub const SHADOW_TOLD_MAX: usize = 20;
/// Calls decided differently by a shadow that an answer about it tells.
pub const SHADOW_SHOWN_MAX: usize = 100;
/// Conditions that end one.
pub const ABORTS_MAX: usize = 8;
/// Looks at a gateway that `strait top` keeps: what it shows happened between the first and the last of them.
pub const TOP_LOOKS_MAX: usize = 6;
/// Generations that it remembers.
pub const TOP_GENERATIONS_MAX: usize = 32;
/// How long it has to leave when it is told to, before it is ended: drawing once more takes a few milliseconds.
pub const TOP_STOP_WITHIN: Duration = Duration::from_millis(500);
/// How long it waits for a key before it looks whether there is news: nobody feels it.
pub const TOP_KEYS_EVERY: Duration = Duration::from_millis(50);

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
/// Secrets of the embedded vault, and bytes of its file: as many secrets of 64 KiB as anybody should keep in one file, in base64.
pub const VAULT_SECRETS_MAX: usize = 4_096;
pub const VAULT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one child's stderr line that reach the log; the rest is cut.
pub const CHILD_LINE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a line or body that a sample server reads.
pub const SAMPLE_BYTES_MAX: usize = 1024 * 1024;
/// Between two progress notifications of the sample's streaming tool: visible, and short enough for tests.
pub const SAMPLE_STEP: Duration = Duration::from_millis(100);

/// Bytes of one line of a stdio client, and of one answer to it: what a stdio child may print, and the most
/// that the decoder reads.
pub const FRONT_LINE_BYTES_MAX: usize = strait_protocol::limits::MESSAGE_BYTES_MAX;
/// Requests of a stdio client under way at once; the same as for a stdio child. Each is a task of a few KiB and
/// one connection to the gateway.
pub const FRONT_REQUESTS_MAX: usize = 1_024;
/// Bytes of requests and answers that the stdio front holds, all together: sixteen of the largest.
pub const FRONT_BYTES_MAX: usize = 256 << 20;
/// Lines read ahead of the one that is looked at, and written ahead of a slow reader: each up to the largest.
pub const FRONT_LINES_AHEAD_MAX: usize = 4;
/// Notifications and answers of a client that wait for their turn. When there are more, stdin is not read on.
pub const FRONT_LANE_MAX: usize = 1_024;
/// Idle connections to the gateway that are kept, and for how long: shorter than any gateway waits under pressure
/// (`IDLE_PRESSED_MS_MAX` of the engine), so that none is closed under a request.
pub const FRONT_IDLE_CONNECTIONS_MAX: usize = 8;
pub const FRONT_IDLE_WITHIN: Duration = Duration::from_secs(3);
/// Connecting to the gateway.
pub const FRONT_CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// What is only to be acknowledged (a notification, an answer to a server's question) is acknowledged by then.
pub const FRONT_TELL_WITHIN: Duration = Duration::from_secs(30);
/// A stream that has brought the final answer may take this long to end, before its connection is given up.
pub const FRONT_LINGER_WITHIN: Duration = Duration::from_secs(1);
/// Before a broken stream is asked for again, when the gateway named no `retry`; doubled after each failure.
pub const FRONT_RESUME_AFTER: Duration = Duration::from_secs(1);
/// The least, whatever the gateway names: a stream that ends at once must not be asked for in a busy loop.
pub const FRONT_RESUME_AFTER_MIN: Duration = Duration::from_millis(10);
pub const FRONT_RESUME_AFTER_MAX: Duration = Duration::from_secs(30);
/// Failures in a row after which a broken answer is given up.
pub const FRONT_RESUMES_MAX: u32 = 5;
/// After the end of stdin, what is under way gets this long; then goodbye is said, which may take this long.
pub const FRONT_END_WITHIN: Duration = DRAIN_WITHIN;
pub const FRONT_GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// Subscriptions that a renewed session is told again; each keeps the request that made it.
pub const FRONT_SUBSCRIPTIONS_MAX: usize = 1_024;
/// A private gateway has this long to end after its client; what its upstreams still do ends with the process.
pub const FRONT_GATEWAY_ENDS_WITHIN: Duration = Duration::from_secs(3);
/// Tools whose mirrored arguments are remembered; about 200 bytes each.
pub const FRONT_MIRRORED_TOOLS_MAX: usize = 10_000;
/// Pages of a list of tools that are read again after a header was refused.
pub const FRONT_PAGES_MAX: usize = 64;

const _: () = assert!(FRONT_BYTES_MAX >= 4 * FRONT_LINE_BYTES_MAX);
const _: () = assert!(FRONT_RESUME_AFTER.as_millis() < FRONT_RESUME_AFTER_MAX.as_millis());
const _: () = assert!(BIND_TOGETHER.as_millis() < OPEN_WITHIN.as_millis());
const _: () = assert!(RESOLVE_WITHIN.as_millis() < OPEN_WITHIN.as_millis());
const _: () = assert!(STALL_TOLD_AFTER.as_millis() >= 4 * PULSE_EVERY.as_millis());
const _: () = assert!(STALLED_AFTER.as_millis() >= 2 * STALL_TOLD_AFTER.as_millis());

/// Workers answer between two exchanges when they are asked what they have open; one that takes longer is named.
pub const ROLL_WITHIN: Duration = Duration::from_millis(500);
/// An admin endpoint that does not answer `strait status` within this is unreachable.
pub const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// Orders of operators that wait for the attempt under way, and for the control loop: each is a wish and a table.
pub const ORDERS_WAITING_MAX: usize = 8;
/// How often a configuration is read that changes under its reader.
pub const READINGS_MAX: usize = 5;
/// A table that somebody sends: held whole, one at a time. 10,000 tools with 1,000 rules are some 10 MiB.
pub const CANDIDATE_BYTES_MAX: usize = 256 << 20;
/// Until it has arrived.
pub const CANDIDATE_WITHIN: Duration = Duration::from_secs(60);
/// Until an order is answered: a comparison, the names of upstreams, and the workers; twice, when another one is before it.
pub const ORDER_WITHIN: Duration = Duration::from_secs(180);
/// What `POST /admin/rollback` may bring.
pub const ROLLBACK_BYTES_MAX: usize = 1024;
/// What an admin endpoint may answer to a verb: a table, or a plan.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 2 * CANDIDATE_BYTES_MAX;

/// A file of the history; when it would be longer it becomes `history.1`, whose predecessor goes. Some 8,000 acts each.
pub const HISTORY_BYTES_MAX: u64 = 4 << 20;
pub const HISTORY_LINE_BYTES_MAX: usize = 64 * 1024;
/// What the history has of a finding or a message.
pub const HISTORY_TEXT_BYTES_MAX: usize = 4 * 1024;
pub const HISTORY_SOURCES_MAX: usize = 64;
/// Parts that a summary names.
pub const SUMMARY_PARTS_MAX: usize = 32;
/// What the audit log tells of one administrative act; what is longer is told without its summary.
pub const ACT_BYTES_MAX: usize = 32 << 10;
/// Erasures that are taken into the audit log at once: a fraction of the acts that may wait for its writer.
pub const ERASURES_AT_ONCE_MAX: usize = 32;
/// After this the log has an erasure written, unless it says that it is failing: groups are a second apart at most.
pub const ERASURES_SETTLE: Duration = Duration::from_secs(3);
/// Acts that `/admin/history` tells at once.
pub const HISTORY_SHOWN_MAX: usize = 1_000;
/// Refusals are counted when there are more: nobody may push what was adopted out of the history.
pub const REFUSALS_RECORDED_PER_HOUR_MAX: usize = 120;
/// Tables that a rollback may go to, and what they come to; the last two are kept whatever they come to.
pub const TABLES_KEPT_MAX: usize = 16;
pub const TABLES_KEPT_BYTES_MAX: u64 = 1 << 30;
/// A saved plan without its table.
pub const PLAN_HEAD_BYTES_MAX: u64 = 64 << 20;

/// Entries of the JSON that `strait reach` gives, people times things: about 1 KiB each while it is made, so 512 MiB.
pub const REACH_ENTRIES_MAX: usize = 512 * 1024;
/// Steps that all searches of one `strait diff` may take together, at some 3 us each; what is left then is told as not found.
pub const DIFF_STEPS_MAX: usize = 2_000_000;
/// Kinds of changes that `strait audit replay` tells apart, at about 1 KiB each: URIs of resources are chosen by callers.
pub const REPLAY_GROUPS_MAX: usize = 16 * 1024;

/// Files of keys that sign tables: a public one has 113 bytes, and a file may hold several.
pub const SIGNING_KEY_BYTES_MAX: u64 = 16 * 1024;
/// Keys that tables are taken from: one in use, one to come, one for emergencies; more is a mistake.
pub const TRUSTED_KEYS_MAX: usize = 64;

/// Questions about tokens that wait for their turn; workers refuse what finds no room.
pub const TOKEN_QUESTIONS_MAX: usize = 1_024;
/// Tokens that are looked at together; each may wait for an issuer.
pub const TOKENS_AT_ONCE: usize = 256;
/// Signatures verified together, on threads of their own: more would take the cores from the workers.
pub const SIGNATURES_AT_ONCE: usize = 1;
/// An issuer has so long to answer: less than a worker waits.
pub const ISSUER_WITHIN: Duration = Duration::from_secs(3);
/// Keys of an issuer, and its metadata: hundreds of keys fit.
pub const ISSUER_BYTES_MAX: usize = 256 * 1024;
pub const ISSUER_KEYS_MAX: usize = 64;
/// Keys are fetched again so often, and for a key that is not known so soon after the last time.
pub const ISSUER_KEYS_EVERY: Duration = Duration::from_secs(300);
pub const ISSUER_KEYS_AGAIN: Duration = Duration::from_secs(10);
/// Keys of an issuer that does not answer are believed for so long.
pub const ISSUER_KEYS_STALE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// The head of a token, and how deep its claims may be.
pub const TOKEN_HEAD_BYTES_MAX: usize = 2_048;
pub const TOKEN_NESTING_MAX: usize = 16;
/// What a principal may be called.
pub const PRINCIPAL_BYTES_MAX: usize = 512;
pub const PRINCIPAL_GROUPS_MAX: usize = 512;

/// A token endpoint has so long to answer, like an issuer.
pub const GRANT_WITHIN: Duration = Duration::from_secs(3);
/// Its answer: a token with what is said of it.
pub const GRANT_BYTES_MAX: usize = 64 * 1024;
/// A token that it gives: what fits a head beside everything else.
pub const GRANT_TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How long a token lasts of which that is not said, and the longest that one is believed to.
pub const GRANT_LASTS_UNSAID: Duration = Duration::from_secs(300);
pub const GRANT_LASTS_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A token endpoint that gave none is asked again after these, doubled each time.
pub const GRANT_AGAIN_MIN: Duration = Duration::from_secs(1);
pub const GRANT_AGAIN_MAX: Duration = Duration::from_secs(60);
/// A token that its upstream does not take is replaced, and so often at most.
pub const GRANT_REFUSED_EVERY: Duration = Duration::from_secs(10);

/// Revocations that are kept: 65,536 are 4 MiB of digests, and 100 bytes each in a file that is written whole.
pub const REVOCATIONS_MAX: usize = 65_536;
pub const REVOCATIONS_BYTES_MAX: u64 = 32 << 20;
/// What may be revoked: as long as a principal's name, or a token's own id.
pub const REVOKED_ID_BYTES_MAX: usize = PRINCIPAL_BYTES_MAX;
pub const REVOCATION_REASON_BYTES_MAX: usize = 1_024;
/// One that has ended stays in the file for a day: a clock that was ahead for a while takes none away.
pub const REVOCATIONS_KEPT_S: i64 = 24 * 60 * 60;
/// Until the file may be changed that another process is changing: 200 ms, which the control loop may stand still.
pub const REVOCATIONS_LOCK_TRIES: u32 = 20;
pub const REVOCATIONS_LOCK_TRY: Duration = Duration::from_millis(10);
/// What `/admin/revocations` may be sent: so many ids, and the rest.
pub const REVOKE_BYTES_MAX: usize = 8 << 20;
/// Lines of the history about revocations within an hour; more are counted, and all are in the file and in the log.
pub const REVOCATIONS_RECORDED_PER_HOUR_MAX: usize = 120;

/// A store of secrets has so long to answer one question; two of them, a login and a reading, fit into [`STORES_WITHIN`].
pub const STORE_WITHIN: Duration = Duration::from_secs(2);
/// A gateway that starts, or is given a table, waits so long for secrets of stores and for tokens that it never had, side by side:
/// more than one answer of either takes.
pub const STORES_WITHIN: Duration = Duration::from_secs(4);
/// What a store may answer: a secret has 64 KiB at most, written as JSON up to six times that, among other fields of its kind.
pub const STORE_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// First pause after a store failed; doubled up to the next.
pub const STORE_AGAIN_MIN: Duration = Duration::from_secs(1);
pub const STORE_AGAIN_MAX: Duration = Duration::from_secs(60);
/// A secret that no table names any more is asked for no longer after this: a rollback still finds it.
pub const STORE_UNWANTED_MAX: Duration = Duration::from_secs(600);
/// Credentials that a machine has by its role are taken for so long: new ones are there at least five minutes before the old ones end.
pub const AWS_ROLE_KEPT: Duration = Duration::from_secs(60);
/// Whoever hands them out is on this machine or next to it.
pub const AWS_ROLE_WITHIN: Duration = Duration::from_secs(1);
pub const AWS_ROLE_BYTES_MAX: usize = 16 * 1024;

const _: () = assert!(STORES_WITHIN.as_millis() < OPEN_WITHIN.as_millis());
const _: () = assert!(2 * STORE_WITHIN.as_millis() <= STORES_WITHIN.as_millis());
const _: () = assert!(GRANT_WITHIN.as_millis() < STORES_WITHIN.as_millis());

/// Questions of workers for tokens in exchange for callers', that wait for their turn; and those that are asked together at one
/// token endpoint.
pub const LENT_QUESTIONS_MAX: usize = 1_024;
pub const LENT_AT_ONCE: usize = 64;
/// What was had for callers of one upstream: some 2 KiB each.
pub const LENT_KEPT: usize = 16_384;
/// A token is not shown any more so long before its end, or a tenth of its time.
pub const LENT_MARGIN_MAX: Duration = Duration::from_secs(5);
/// A caller for whom there is none is not asked for again within this.
pub const LENT_REFUSED_KEPT: Duration = Duration::from_secs(2);

/// Exchanges that a worker has told of and nobody has taken up: half a KiB each. At [`TRACES_TAKEN_EVERY`] a worker may tell of ten
/// thousand a second before any is dropped.
pub const TRACES_WAITING_MAX: usize = 1_024;
/// How often what workers tell is taken up.
pub const TRACES_TAKEN_EVERY: Duration = Duration::from_millis(100);
/// A trace waits no longer for others to go with it: whoever looks for it now should find it.
pub const TRACES_LINGER_MAX: Duration = Duration::from_secs(5);
/// Exchanges of one push; each is about 2 KiB on the wire, and collectors take 4 MiB at least.
pub const TRACES_PER_PUSH_MAX: usize = 256;
/// Traces that wait for a collector that is away: some four thousand exchanges. Then the oldest give way.
pub const SPANS_WAITING_BYTES_MAX: usize = 8 << 20;
/// A push that a collector has not answered by then has failed; OpenTelemetry's own exporters wait as long.
pub const COLLECTOR_WITHIN: Duration = Duration::from_secs(10);
/// The answer is a few bytes, or a page of a proxy's.
pub const COLLECTOR_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// First pause before a push is tried again; doubled up to the next.
pub const COLLECTOR_AGAIN_MIN: Duration = Duration::from_secs(1);
pub const COLLECTOR_AGAIN_MAX: Duration = Duration::from_secs(30);
/// A collector that wants more patience is asked anyway.
pub const COLLECTOR_ASKED_AGAIN_MAX: Duration = Duration::from_secs(300);
/// What is left at the end of the process is told within this.
pub const TELEMETRY_LAST_WITHIN: Duration = Duration::from_secs(2);

/// How often the shipper looks whether there is a newer checkpoint: a number in memory, and rarely a file.
pub const SHIP_LOOKED_EVERY: Duration = Duration::from_millis(100);
/// What a collector is sent together, and so what waits in memory for each: about twice that while it is on its way.
pub const SHIP_BATCH_BYTES_MAX: usize = 2 << 20;
/// At 600 bytes a record they are the same.
pub const SHIP_BATCH_RECORDS_MAX: usize = 4_096;
/// A batch that a collector has not taken by then is sent again, as half of it.
pub const SHIP_WITHIN: Duration = Duration::from_secs(15);
/// The answer is a few bytes, or a page of a proxy's.
pub const SHIP_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// First pause before something is sent again; doubled up to the next.
pub const SHIP_AGAIN_MIN: Duration = Duration::from_millis(500);
pub const SHIP_AGAIN_MAX: Duration = Duration::from_secs(30);
/// How often an indexer is asked whether it has what it was sent: at first, and at last.
pub const SHIP_ACK_ASKED_MIN: Duration = Duration::from_millis(200);
pub const SHIP_ACK_ASKED_MAX: Duration = Duration::from_secs(5);
/// A record of which a collector says that it is too large, and that has at least so many bytes, is passed over. Whoever does not
/// take less than what RFC 5425 asks of every receiver takes nothing, and may be mended.
pub const SHIP_TOO_LARGE_MIN: usize = 8 << 10;
