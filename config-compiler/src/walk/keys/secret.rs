//! The keys of secrets and of credentials.

use super::{Block, KEY_PAIR, Key, Shape, TEXTS, key, required};

pub static SECRET: Block = Block {
    name: "a secret",
    expected: "where it comes from, like `{ file: /run/keys/crm }`",
    about: "Where `${secret:NAME}` comes from: exactly one of file, env, systemd, vault and aws.",
    keys: &[
        key("file", Shape::Text, "A file that holds it, without the line break at its end."),
        key("env", Shape::Text, "An environment variable of the gateway."),
        key("systemd", Shape::Text, "A credential that systemd passes in $CREDENTIALS_DIRECTORY."),
        key("vault", Shape::Block(&VAULT), "A secret of HashiCorp Vault or OpenBao."),
        key("aws", Shape::Block(&AWS), "A secret of AWS Secrets Manager."),
    ],
    later: &["azure", "gcp", "keyring", "pkcs11"],
    foreign: false,
};

const REFRESH: Key = key("refresh", Shape::Duration, "It is asked for so often, 1s to 1d. Default: 5m.");

pub static VAULT: Block = Block {
    name: "`vault`",
    expected: "a secret like `{ address: https://vault.example, path: kv/data/crm, field: token, token: \"${file:token}\" }`",
    about: "A field of a secret of a KV store, version 2. Exactly one of token and approle.",
    keys: &[
        required("address", Shape::Text, "Its URL, https; http on this machine alone."),
        required("path", Shape::Text, "Where it is: `MOUNT/data/NAME`."),
        required("field", Shape::Text, "Which of its fields."),
        key("namespace", Shape::Text, "The namespace that it is in."),
        key("token", Shape::Secret, "The token that the gateway shows."),
        key("approle", Shape::Block(&APPROLE), "The AppRole that the gateway logs in with."),
        REFRESH,
        key("ca", Shape::Text, "A PEM file of whom to believe. Default: whom this machine believes."),
    ],
    later: &["kubernetes", "jwt", "version", "dynamic"],
    foreign: false,
};

pub static APPROLE: Block = Block {
    name: "`approle`",
    expected: "a mapping like `{ role: \"${env:ROLE}\", secret: \"${file:role.secret}\" }`",
    about: "An AppRole: its id, and the secret that goes with it.",
    keys: &[
        required("role", Shape::Secret, "Its `role_id`."),
        required("secret", Shape::Secret, "A `secret_id` of it."),
        key("mount", Shape::Text, "Where the method is mounted. Default: approle."),
    ],
    later: &[],
    foreign: false,
};

pub static AWS: Block = Block {
    name: "`aws`",
    expected: "a secret like `{ region: eu-central-1, name: crm/token }`",
    about: "A secret of AWS Secrets Manager, with credentials from the gateway's environment.",
    keys: &[
        required("region", Shape::Text, "The region that it is in."),
        required("name", Shape::Text, "Its name or ARN."),
        key("field", Shape::Text, "Which field, of a secret that is a JSON object. Default: all of it."),
        key(
            "endpoint",
            Shape::Text,
            "A URL in the place of the region's own: https; http on this machine alone.",
        ),
        REFRESH,
    ],
    later: &["profile", "version_stage", "role_arn"],
    foreign: false,
};

pub static CREDENTIAL: Block = Block {
    name: "`credential`",
    expected: "a credential like `{ bearer: \"${secret:name}\" }`",
    about: "Exactly one of bearer, header, basic, oauth, exchange and client_cert.",
    keys: &[
        key("bearer", Shape::Secret, "Sent as `Authorization: Bearer …`."),
        key("header", Shape::Block(&HEADER), "Sent in a header of your choice."),
        key("basic", Shape::Secret, "`user:password`, sent as `Authorization: Basic …`."),
        key(
            "oauth",
            Shape::Block(&GRANT),
            "A token that Strait gets for itself (OAuth client credentials), sent as `Authorization: Bearer …`.",
        ),
        key(
            "exchange",
            Shape::Block(&EXCHANGE),
            "A token for each caller, in exchange for theirs, sent as `Authorization: Bearer …`.",
        ),
        key(
            "client_cert",
            Shape::Block(&KEY_PAIR),
            "Shown in the TLS handshake; the same as `tls: { cert, key }`.",
        ),
        key(
            "env",
            Shape::Text,
            "Of a stdio upstream: the environment variable that gets the token of `oauth` or `exchange`.",
        ),
    ],
    later: &["id_jag"],
    foreign: false,
};

const TOKEN_URL: Key = required("token_url", Shape::Text, "The token endpoint that is asked.");
const CLIENT: Key = required("client", Shape::Text, "As whom this gateway asks.");
const OWN_SECRET: Key = required("secret", Shape::Secret, "Its secret.");
const SCOPE: Key =
    key("scope", TEXTS, "Scopes that are asked for. Default: none, so those that the endpoint gives.");
const RESOURCE: Key = key("resource", Shape::Text, "The URL that the token is for (RFC 8707).");
const AUDIENCE: Key =
    key("audience", Shape::Text, "Whom the token is for, where the endpoint asks it like that.");
const AUTH: Key = key(
    "auth",
    Shape::Words(&["basic", "post"]),
    "How the secret is shown: by HTTP basic authentication, or in the body. Default: basic.",
);

pub static GRANT: Block = Block {
    name: "`oauth`",
    expected: "a client like `{ token_url: https://idp.example/token, client: strait, secret: \"${secret:oauth}\" }`",
    about: "How a token is asked for.",
    keys: &[TOKEN_URL, CLIENT, OWN_SECRET, SCOPE, RESOURCE, AUDIENCE, AUTH],
    later: &["private_key_jwt", "refresh_token"],
    foreign: false,
};

pub static EXCHANGE: Block = Block {
    name: "`exchange`",
    expected: "a client like `{ token_url: https://idp.example/token, client: strait, secret: \"${secret:oauth}\", audience: crm }`",
    about: "How a token is asked for in exchange for a caller's (RFC 8693).",
    keys: &[
        TOKEN_URL,
        CLIENT,
        OWN_SECRET,
        SCOPE,
        RESOURCE,
        AUDIENCE,
        AUTH,
        key(
            "actor",
            Shape::Words(&["client_credentials", "none"]),
            "Whether this gateway names itself as who acts, with a token of its own, which it also shows where nobody calls. Default: client_credentials.",
        ),
        key(
            "issuer",
            Shape::OneOrMany(&Shape::Text),
            "Whose tokens may go to the token endpoint. Default: issuers of its own origin.",
        ),
    ],
    later: &["private_key_jwt", "subject_token_type"],
    foreign: false,
};

pub static HEADER: Block = Block {
    name: "`header`",
    expected: "a header like `{ name: X-Api-Key, value: \"${secret:name}\" }`",
    about: "A header with a secret in it.",
    keys: &[
        required("name", Shape::Text, "The header's name."),
        required("value", Shape::Secret, "Its value."),
    ],
    later: &[],
    foreign: false,
};
