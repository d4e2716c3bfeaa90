//! The keys of identities that are learnt from tokens.

use super::{Block, Key, Shape, TEXTS, key, required};

/// What every kind of token has.
const AUDIENCE: Key = key(
    "audience",
    Shape::OneOrMany(&Shape::Text),
    "Whom tokens must be for, one of these. Default: the URL of the endpoint they are presented to.",
);
const SCOPES: Key =
    key("scopes", TEXTS, "Scopes that every token must have; others are told to ask for them.");
const PRINCIPAL: Key = key("principal", Shape::Block(&CLAIMS), "In which claims the principal is.");

pub static JWT: Block = Block {
    name: "`jwt`",
    expected: "an issuer like `{ issuer: https://idp.example }`",
    about: "Signed tokens of an issuer.",
    keys: &[
        required("issuer", Shape::Text, "The URL of the issuer, exactly as its tokens say it in `iss`."),
        key(
            "jwks",
            Shape::Text,
            "Where its keys are: a URL, or a file. Default: as the issuer's metadata says.",
        ),
        AUDIENCE,
        key(
            "algorithms",
            Shape::List(&Shape::Words(&ALGORITHMS)),
            "Accepted signatures. Default: all of these; which one is a matter of each key.",
        ),
        key("type", Shape::OneOrMany(&Shape::Text), "Accepted `typ` of a token. Default: at+jwt and JWT."),
        key("skew", Shape::Duration, "By how much clocks may differ, up to 5m. Default: 30s."),
        SCOPES,
        PRINCIPAL,
    ],
    later: &["dpop"],
    foreign: false,
};

/// What a key of an issuer may sign with; a shared secret is none of them.
pub const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

pub static INTROSPECTION: Block = Block {
    name: "`introspection`",
    expected: "an endpoint like `{ endpoint: https://idp.example/introspect, issuer: https://idp.example, client: strait, secret: \"${secret:idp}\" }`",
    about: "Tokens of which their issuer is asked (RFC 7662).",
    keys: &[
        required("endpoint", Shape::Text, "The URL that is asked."),
        required("issuer", Shape::Text, "The URL of the issuer, for clients that need a token."),
        required("client", Shape::Text, "As whom this gateway asks."),
        required("secret", Shape::Secret, "Its secret, sent by HTTP basic authentication."),
        AUDIENCE,
        key("keep", Shape::Duration, "An answer is good for so long at most, up to 5m. Default: 60s."),
        SCOPES,
        PRINCIPAL,
    ],
    later: &[],
    foreign: false,
};

pub static CLAIMS: Block = Block {
    name: "`principal`",
    expected: "names of claims like `{ id: sub, groups: groups }`",
    about: "In which claims a token tells of its principal: of each list the first that is there. `a.b` is also `b` in `a`.",
    keys: &[
        key("id", Shape::OneOrMany(&Shape::Text), "Default: sub."),
        key("user", Shape::OneOrMany(&Shape::Text), "Default: sub."),
        key("agent", Shape::OneOrMany(&Shape::Text), "Default: act.sub, azp, client_id."),
        key("tenant", Shape::OneOrMany(&Shape::Text), "Default: none."),
        key("groups", Shape::OneOrMany(&Shape::Text), "Default: groups."),
    ],
    later: &[],
    foreign: false,
};
