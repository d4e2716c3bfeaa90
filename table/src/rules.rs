//! What an author's configuration becomes: the *rules* section of a table.
//!
//! Plain data with names resolved to indexes. The compiler makes it, [`crate::file::write`] archives
//! it, and workers read the archived form in place. Secrets are never here, only [`Text`] references
//! that control resolves at load.
//!
//! A new or changed field changes the archived layout: bump [`crate::file::FORMAT_VERSION`] and add a
//! golden file.

use rkyv::{Archive, Deserialize, Serialize};
use strait_policy::Principal;

use crate::audit::{Audit, AuditOfRule};
use crate::bound::Capabilities;
use crate::condition::{Automaton, Condition};
use crate::limit::{Limit, Price};
use crate::mtls::Mtls;
use crate::names::Names;
use crate::secret::Secret;
use crate::shape::Shape;
use crate::telemetry::Telemetry;
use crate::window::Window;

/// The whole of a configuration, resolved.
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Rules {
    pub listeners: Vec<Listener>,
    /// Where the admin endpoints listen, `host:port`.
    pub admin_bind: String,
    pub upstreams: Vec<Upstream>,
    pub servers: Vec<Server>,
    /// `servers` by path.
    pub paths: Names,
    pub identities: Vec<Identity>,
    /// What is worked out of a principal once.
    pub traits: Vec<Trait>,
    /// Traits with names.
    pub roles: Vec<Role>,
    pub windows: Vec<Window>,
    /// Regular expressions of conditions.
    pub automata: Vec<Automaton>,
    pub policy: Policy,
    pub limits: Vec<Limit>,
    pub prices: Vec<Price>,
    /// Where secrets come from; one that is not here is looked for where `${secret:…}` always is.
    pub secrets: Vec<Secret>,
    pub access_log: AccessLog,
    /// `None`: nothing is written down where nobody can change it.
    pub audit: Option<Audit>,
    pub telemetry: Telemetry,
    /// Request bodies over this are refused with 413.
    pub body_bytes_max: u32,
    pub caps: Caps,
    /// What a lock file says that each upstream offers, by upstream. Empty: there is none, and whatever they offer is
    /// exposed.
    pub pins: Vec<Pins>,
    /// Where each part was written, in load order.
    pub sources: Vec<Source>,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Source {
    /// As written in the including file; the root's is its file name, so that bytes do not depend on
    /// where the config lies.
    pub path: String,
    pub blake3: [u8; 32],
}

/// What is pinned of one upstream. Of one that the lock file does not have: nothing, so that nothing is exposed.
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct Pins {
    /// It spoke a revision before 2026-07-28.
    pub older: bool,
    pub capabilities: Capabilities,
    pub instructions: Option<String>,
    /// By name, no name twice, like the other three.
    pub tools: Vec<Pin>,
    pub prompts: Vec<Pin>,
    pub resources: Vec<Pin>,
    pub templates: Vec<Pin>,
}

/// A definition, and the hash that one which says the same has ([`crate::pins`]).
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Pin {
    pub name: String,
    pub json: String,
    pub blake3: [u8; 32],
}

/// An address that agents connect to.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Listener {
    pub name: String,
    /// `ip:port`.
    pub bind: String,
    /// The URL agents know it by, when it differs from `http://{bind}`.
    pub public: Option<String>,
    /// Accepted `Host` names without port, lower case. Never empty: the compiler fills in the loopback
    /// names, or the bind and public hosts. `*` accepts any.
    pub hosts: Vec<String>,
    /// Accepted `Origin` values, lower case; an absent Origin is always accepted. `*` accepts any;
    /// `http://localhost:*` any port.
    pub origins: Vec<String>,
    /// `None`: it speaks clear text.
    pub tls: Option<ListenerTls>,
}

/// How a listener speaks TLS.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct ListenerTls {
    /// Chosen by the name that a client asks for; the first when none fits. Never empty.
    pub certificates: Vec<KeyPair>,
    /// Whose clients' certificates are accepted; `None`: none is asked for.
    pub client_ca: Option<String>,
    /// Nobody comes in without one.
    pub client_required: bool,
}

/// A certificate with its chain, and its key: PEM files, as seen from the configuration's folder.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct KeyPair {
    pub cert: String,
    pub key: String,
}

/// How an upstream's `https` URLs are reached.
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct UpstreamTls {
    /// Whose certificates it may show; `None`: those that this machine trusts.
    pub ca: Option<String>,
    /// What this gateway shows it.
    pub pair: Option<KeyPair>,
}

/// A real MCP server.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Upstream {
    pub name: String,
    pub transport: Transport,
    pub era: Era,
    pub credential: Option<Credential>,
    pub timeout: Timeouts,
    /// How long clients may keep its lists, where its revision has no word for it.
    pub list_ttl_ms: u32,
    /// For those of its URLs that are `https`.
    pub tls: UpstreamTls,
    /// `None`: it is not told who calls.
    pub identity_header: Option<IdentityHeader>,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub enum Transport {
    /// Replicas of one server.
    Http {
        endpoints: Vec<Endpoint>,
    },
    Stdio(Stdio),
    Sample(Sample),
}

/// `http://host:port/path` or `https://…`, taken apart.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// With its query; begins with `/`.
    pub path: String,
    pub https: bool,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Stdio {
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<(String, Text)>,
    /// Working folder; the config's folder when not written.
    pub cwd: Option<String>,
    pub per: Per,
    /// Children at once.
    pub max: u32,
    pub idle_ms: u64,
}

/// Who shares a stdio child.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    Shared,
    Session,
    Principal,
}

/// A built-in MCP server for the first minute.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    Stdio,
    Http,
}

/// Which dialect an upstream speaks.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// Asked once per process or origin.
    Auto,
    /// 2026-07-28: stateless.
    Modern,
    /// Up to 2025-11-25: handshake and sessions.
    Legacy,
    /// 2024-11-05 over HTTP: all that the server says comes over one event stream.
    Sse,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub enum Credential {
    /// `Authorization: Bearer …`
    Bearer(Text),
    /// Any header.
    Header { name: String, value: Text },
    /// `Authorization: Basic …` of `user:password`.
    Basic(Text),
    /// A token that this gateway gets for itself: OAuth client credentials.
    OAuth { grant: Grant, shown: Shown },
    /// A token for each caller, in exchange for theirs (RFC 8693).
    Exchange {
        grant: Grant,
        /// This gateway names itself as who acts, and shows a token of its own where nobody calls.
        acts: bool,
        /// Indexes into `identities`: whose tokens may go to the token endpoint.
        identities: Vec<u16>,
        shown: Shown,
    },
}

/// How a token is asked for at a token endpoint of OAuth.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub struct Grant {
    pub token_url: String,
    pub client: String,
    pub secret: Text,
    /// Client and secret stand in the body, not in a header.
    pub in_body: bool,
    pub scope: Vec<String>,
    pub resource: Option<String>,
    pub audience: Option<String>,
}

/// How a token is shown to an upstream.
#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub enum Shown {
    /// `Authorization: Bearer …`
    Line,
    /// A child's environment variable.
    Variable(String),
}

/// A signed statement of who calls, in a header of each call.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct IdentityHeader {
    pub name: String,
    /// What it is signed with.
    pub key: Text,
    /// Who says it, and to whom.
    pub issuer: String,
    pub audience: String,
}

/// Text whose parts may be references, resolved by control when the table is loaded.
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
#[rkyv(derive(Debug))]
pub struct Text {
    pub parts: Vec<TextPart>,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
#[rkyv(derive(Debug))]
pub enum TextPart {
    Literal(String),
    Env {
        name: String,
        default: Option<String>,
    },
    Secret(String),
    /// Path as resolved against the file that named it.
    File(String),
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect_ms: u32,
    pub first_byte_ms: u32,
    pub call_ms: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect_ms: 1_000, first_byte_ms: 30_000, call_ms: 60_000 }
    }
}

/// A virtual server: what an agent sees at one path.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Server {
    pub name: String,
    pub path: String,
    /// Indexes into `identities`, in the order they are tried. Empty: open to anyone.
    pub auth: Vec<u16>,
    pub tools: Vec<Pattern>,
    pub prompts: Vec<Pattern>,
    pub resources: Vec<Pattern>,
    pub naming: Naming,
    /// Text of `instructions` for clients; empty: the upstreams' own, joined.
    pub instructions: String,
    /// Tools that are shown otherwise than their upstream lists them.
    pub shapes: Vec<Shape>,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Bare names when the server's patterns reach exactly one upstream, else prefixed.
    Auto,
    /// Always `upstream__tool`.
    Prefix,
    /// Always the bare name; a collision is a finding.
    Bare,
}

/// A glob over `upstream.name` (tools and prompts) or `upstream.uri` (resources); with
/// [`PatternKind::Resource`] also over the bare URI.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub kind: PatternKind,
    pub glob: String,
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternKind {
    Any,
    Tool,
    Prompt,
    Resource,
}

/// A way to learn who calls.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Identity {
    pub name: String,
    pub method: AuthMethod,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub enum AuthMethod {
    /// A file of key digests, written by `strait keys`.
    KeyFile { path: String },
    /// Keys that `strait up|serve` makes at first start and keeps in the state folder, for
    /// development: `api_keys: { generate: [{ id, groups, … }] }`.
    Generated { keys: Vec<GeneratedKey> },
    /// Signed tokens of an issuer.
    Jwt(Jwt),
    /// Tokens of which their issuer is asked.
    Introspection(Introspection),
    /// Clients' certificates, as the listener has verified them.
    Mtls(Mtls),
}

/// How signed tokens are verified.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Jwt {
    /// As the `iss` of every token says it.
    pub issuer: String,
    pub jwks: Jwks,
    /// Names of RFC 7518 and RFC 8037; never `none`, never a shared secret's.
    pub algorithms: Vec<String>,
    /// Accepted `typ`, lower case, without `application/`.
    pub types: Vec<String>,
    /// By how much clocks may differ.
    pub skew_s: u32,
    pub accepted: Accepted,
}

/// Where the keys of an issuer are.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub enum Jwks {
    /// The issuer's metadata says it.
    Discovered,
    Url(String),
    /// As resolved against the file that named it.
    File(String),
}

/// How an issuer is asked about tokens (RFC 7662).
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Introspection {
    pub endpoint: String,
    /// Who answers there: what clients are told to get tokens from.
    pub issuer: String,
    pub client: String,
    pub secret: Text,
    /// An answer is good for so long at most.
    pub keep_s: u32,
    pub accepted: Accepted,
}

/// Which tokens are accepted, and of whom they tell.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Accepted {
    /// Whom they must be for, one of these; empty: the endpoint's own URL.
    pub audiences: Vec<String>,
    /// Every token must have all of them.
    pub scopes: Vec<String>,
    pub principal: PrincipalClaims,
}

/// In which claims of a token its principal is: of each list the first that is there. `a.b` is also `b` in `a`.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct PrincipalClaims {
    pub id: Vec<String>,
    pub user: Vec<String>,
    pub agent: Vec<String>,
    pub tenant: Vec<String>,
    pub groups: Vec<String>,
}

/// The stored form of [`Principal`].
#[derive(Archive, Deserialize, Serialize, Debug, Default)]
pub struct GeneratedKey {
    pub id: String,
    pub user: String,
    pub agent: String,
    pub tenant: String,
    pub groups: Vec<String>,
    pub claims: String,
}

impl ArchivedGeneratedKey {
    /// Whom the key stands for.
    pub fn principal(&self) -> Principal {
        Principal {
            id: self.id.as_str().to_owned(),
            user: self.user.as_str().to_owned(),
            agent: self.agent.as_str().to_owned(),
            tenant: self.tenant.as_str().to_owned(),
            groups: self.groups.iter().map(|group| group.as_str().to_owned()).collect(),
            claims: self.claims.as_str().to_owned(),
        }
    }
}

impl From<Principal> for GeneratedKey {
    fn from(of: Principal) -> GeneratedKey {
        let Principal { id, user, agent, tenant, groups, claims } = of;
        GeneratedKey { id, user, agent, tenant, groups, claims }
    }
}

/// A bit of every principal: whether a condition over the principal alone is true of it.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trait {
    pub condition: Condition,
    /// The bit says instead that the condition cannot be decided.
    pub on_error: bool,
}

/// A name for a trait.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Role {
    pub name: String,
    pub yes: u16,
    /// The trait that says that it cannot be decided, or [`crate::condition::NONE`].
    pub error: u16,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Policy {
    pub default: Effect,
    pub rules: Vec<Rule>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { default: Effect::Deny, rules: Vec::new() }
    }
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Hold,
    Deny,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct Rule {
    pub id: String,
    pub effect: Effect,
    pub patterns: Vec<Pattern>,
    pub to: To,
    /// `scopes`, `when`, `unless` and `during` in one.
    pub condition: Option<Condition>,
    /// Which a token must have for the rule to speak: told to callers whose token has too few.
    pub scopes: Vec<String>,
    /// How what it decides is written down, where that is said otherwise than for all.
    pub audit: AuditOfRule,
    pub place: Place,
}

/// Where something was written.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Into [`Rules::sources`].
    pub source: u16,
    /// From 1.
    pub line: u32,
    /// In letters, from 1.
    pub column: u32,
}

#[derive(Archive, Deserialize, Serialize, Debug)]
pub enum To {
    Everyone,
    /// Indexes into `roles`.
    Roles(Vec<u16>),
}

/// One JSON line per exchange.
#[derive(Archive, Deserialize, Serialize, Debug)]
pub struct AccessLog {
    pub to: LogTo,
    /// Lines kept per million exchanges; refusals are always kept.
    pub sample_ppm: u32,
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog { to: LogTo::Stdout, sample_ppm: 1_000_000 }
    }
}

/// What one core takes on at once; more is answered with 503.
#[derive(Archive, Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Accepted sockets. An idle one holds no buffer.
    pub connections: u32,
    /// Exchanges under way.
    pub calls: u32,
    /// Bytes in buffers: requests and replies on their way.
    pub bytes: u64,
}

impl Caps {
    /// When nothing is written.
    pub const DEFAULT: Caps = Caps { connections: 16_384, calls: 4_096, bytes: 512 << 20 };
}

impl Default for Caps {
    fn default() -> Self {
        Caps::DEFAULT
    }
}

#[derive(Archive, Deserialize, Serialize, Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    Off,
    Stdout,
    /// Relative paths are resolved against the file that names them.
    File(String),
}
