//! Every code a finding can carry, with its severity and one line of explanation. A code keeps its
//! meaning for ever: one that is no longer given is left out, never given to something else. A test
//! shows that each is produced by at least one golden case; each has a page in `docs/findings`, whose examples are run by
//! `tests/pages.rs`.

use std::fmt;

use super::Severity::{self, Error, Warning};

#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    pub number: u16,
    pub severity: Severity,
    /// One line.
    pub about: &'static str,
    /// What `strait explain-code` prints: what it means, a bad example with what is said of it, a good one.
    pub page: &'static str,
}

/// By what is printed of it, `ST0204`; the letters may be small or left out.
pub fn named(text: &str) -> Option<&'static Code> {
    let digits = text.trim().trim_start_matches(['S', 's', 'T', 't']);
    let number: u16 = digits.parse().ok()?;
    ALL.iter().copied().find(|code| code.number == number)
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ST{:04}", self.number)
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $severity:ident, $about:literal;)*) => {
        $(
            // As the code is printed, and as its page is called.
            #[allow(clippy::zero_prefixed_literal)]
            pub static $name: Code = Code {
                number: $number,
                severity: $severity,
                about: $about,
                page: include_str!(concat!("../../../docs/findings/ST", stringify!($number), ".md")),
            };
        )*
        /// In ascending order.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    // Reading text into a tree.
    UNREADABLE = 0001, Error, "a file cannot be opened or read";
    TOO_LARGE = 0002, Error, "a file, or all files together, are larger than a configuration may be";
    NOT_TEXT = 0003, Error, "a file is not UTF-8 text";
    SYNTAX = 0004, Error, "the text is not well-formed YAML or JSON";
    TAB = 0005, Error, "a tab stands where YAML wants spaces";
    TOO_DEEP = 0006, Error, "lists and mappings are nested deeper than any configuration needs";
    TOO_MANY_NODES = 0007, Error, "a file holds more values than a configuration may have";
    ANCHOR = 0008, Error, "anchors and aliases are not part of the language";
    TAG = 0009, Error, "tags are not part of the language";
    DOCUMENTS = 0010, Error, "a file holds more than one YAML document";
    DUPLICATE_KEY = 0011, Error, "a key is written twice in one mapping";
    KEY_NOT_TEXT = 0012, Error, "a key is not a simple text";
    EMPTY = 0013, Error, "a file says nothing";

    // The shape of what is written.
    UNKNOWN_KEY = 0101, Error, "a key that the language does not have";
    WRONG_TYPE = 0102, Error, "a value is of another kind than its key wants";
    MISSING = 0103, Error, "a key that must be written is not";
    UNKNOWN_WORD = 0104, Error, "a value is not one of the words its key accepts";
    OUT_OF_RANGE = 0105, Error, "a number is outside its bounds, or there are too many of something";
    DURATION = 0106, Error, "a duration is not written like `500ms`, `10s`, `1m` or `1h`";
    SIZE = 0107, Error, "a size is not written like `64KiB` or `4MiB`";
    ADDRESS = 0108, Error, "an address is not written like `127.0.0.1:8080`";
    URL = 0109, Error, "a URL cannot be understood";
    NAME = 0110, Error, "a name, id, path or header has characters it may not have";
    NOT_ENFORCED = 0111, Error, "a block, key or effect that this version does not enforce";
    LANGUAGE_VERSION = 0112, Error, "the file is written in another version of the language";
    ONE_OF = 0113, Error, "keys that exclude each other, or none of those of which one is needed";
    MIXED_FORMS = 0114, Error, "`mcpServers` beside keys of the native language";
    LIMIT = 0115, Error, "a rate, a count or an amount of money is not written as limits want it";

    // Names and references.
    DECLARED_TWICE = 0201, Error, "two declarations have the same name, id, path or address";
    UNKNOWN_ROLE = 0202, Error, "a role that is declared nowhere";
    UNKNOWN_IDENTITY = 0203, Error, "an identity that is declared nowhere";
    PATTERN = 0204, Error, "a pattern that can never match";
    REFERENCE = 0205, Error, "a `${…}` reference that cannot be understood or may not stand here";
    UNRESOLVED = 0206, Error, "an environment variable or file that a reference names is not there";
    UNKNOWN_UPSTREAM = 0207, Error, "an upstream that is declared nowhere";
    RENAMED = 0208, Warning, "a name of the `mcpServers` form was changed to fit the language";
    UNUSED = 0209, Warning, "something is declared and nothing speaks of it";
    FOREIGN_KEY = 0210, Warning, "a key of the `mcpServers` form that only other programs read";

    // Includes.
    INCLUDE_NOTHING = 0301, Warning, "an include pattern matches no file";
    INCLUDE_CYCLE = 0302, Error, "a file includes itself, directly or through others";
    INCLUDE_LIMIT = 0303, Error, "includes are nested too deeply, or there are too many files";

    // Conditions.
    CONDITION_SYNTAX = 0401, Error, "a condition is not well-formed";
    CONDITION_SUBSET = 0402, Error, "a condition uses something outside what can be bounded and analysed";
    CONDITION_LIMIT = 0403, Error, "a condition is too long, too large or nested too deeply";
    CONDITION_TYPE = 0404, Error, "a condition compares things that can never be of one type";
    CONDITION_NAME = 0405, Error, "a condition asks for a name that there is not";
    CONDITION_REGEX = 0406, Error, "a regular expression is malformed or too large";
    FACT_UNAVAILABLE = 0407, Error, "a condition asks for a fact that its moment never has";
    UNGUARDED = 0408, Error, "a deny or hold over several tools reads an argument without `has()`";
    WINDOW = 0409, Error, "a `during` cannot be understood";

    // Cedar files.
    CEDAR_SYNTAX = 0451, Error, "a Cedar file is not well-formed";
    CEDAR_SUBSET = 0452, Error, "a Cedar policy says something that has no exact counterpart here";
    CEDAR_LIMIT = 0453, Error, "a Cedar policy is too large or nested too deeply";
    CEDAR_TYPE = 0454, Error, "a Cedar policy asks something that can never be so";
    CEDAR_NAME = 0455, Error, "a Cedar policy names a type, attribute, entity or function that there is not";
    CEDAR_UNGUARDED = 0456, Error, "a Cedar forbid reads something without `has` that may not be there";

    // Policy.
    CONTRADICTION = 0501, Error, "an allow that never allows, since denies cover all of it";
    NOTHING_ALLOWED = 0502, Warning, "nobody can ever do anything under this policy";
    HOLD_DENIES = 0503, Warning, "a hold denies, since no approver channel exists in this version";
    NO_PRICE = 0504, Warning, "a limit on cost where nothing has a price";
    EMPTY_CONDITION = 0505, Error, "a condition or window that is never true";
    SUBSUMED = 0506, Warning, "a rule that changes nothing, since another of its kind says all of it";
    ROLE_OF_NOBODY = 0507, Warning, "a role that nobody who is known has";
    CALLED_BY_NOBODY = 0508, Warning, "a server shows a tool that nobody may call";
    WRITTEN_BY_ALL = 0509, Warning, "everyone may call a tool that may write";
    SERVER_EMPTY = 0510, Warning, "a server that shows nothing";

    // Shapes of tools.
    SHAPE_CLASH = 0551, Error, "what a shape says of an argument contradicts itself, or another argument of it";
    SHAPE_UNSHOWN = 0552, Error, "a shape of a tool that its server does not show";

    // Safety.
    OPEN_SERVER = 0601, Error, "a server without `auth` on an address others can reach";
    CLEAR_TEXT = 0602, Warning, "a secret is written in clear text";
    TLS = 0603, Error, "a `tls` block that says too little, or for something that speaks clear text";
    HOSTS = 0604, Warning, "a listener on every address accepts only loopback `Host` names";
    CERTIFICATE_UNASKED = 0605, Error, "a server accepts clients' certificates, and no listener asks for any";
    CERTIFICATE_NOT_HERE = 0606, Warning, "a server that nobody can come in to at one of the listeners";
    CREDENTIAL = 0607, Error, "a credential that its upstream cannot be shown";

    // Key files.
    KEY_FILE = 0701, Error, "a key file is malformed";
    KEY_FILE_ABSENT = 0702, Warning, "a key file does not exist yet";

    // Lock files.
    LOCK_CONFLICT = 0801, Error, "a merge conflict is left in a lock file";
    LOCK_VERSION = 0802, Error, "a lock file is of another version than this Strait reads";
    LOCK_FORM = 0803, Error, "a lock file is not of the form that `strait lock` writes";
    LOCK_EDITED = 0804, Error, "a definition in a lock file does not fit its hash or name";
    LOCK_MISSING = 0805, Error, "`catalog: locked` without a lock file";
    LOCK_STALE = 0806, Warning, "configuration and lock file do not speak of the same upstreams";
    NOT_EXPOSED = 0807, Warning, "something that is pinned cannot be exposed";

    // Rules and servers against what is pinned.
    UNKNOWN_ITEM = 0811, Error, "a pattern names something that its upstream does not offer";
    MATCHES_NOTHING = 0812, Warning, "a pattern matches nothing that its upstreams offer";
    ARGUMENT_UNKNOWN = 0813, Error, "a condition reads an argument that the pinned tool does not take";
    ARGUMENT_UNLISTED = 0814, Warning, "a condition reads an argument that the pinned tool does not list";
    ARGUMENT_TYPE = 0815, Error, "a condition compares an argument with what it never is, as the tool is pinned";
    ARGUMENT_VALUE = 0816, Error, "a condition asks for a value that the argument never has, as the tool is pinned";

    // What upstreams say of themselves.
    LOOKALIKE = 0821, Warning, "two names look alike";
    HIDDEN_TEXT = 0822, Warning, "a definition holds characters that nobody sees";
    SHADOWING = 0823, Warning, "a definition speaks of another upstream's tool";
    SAME_NAME = 0824, Warning, "two upstreams offer something of the same name";
}
