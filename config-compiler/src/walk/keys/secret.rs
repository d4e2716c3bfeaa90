//! The keys of secrets and of credentials.

use super::{Block, KEY_PAIR, Shape, TEXTS, key, required};

pub static SECRET: Block = Block {
    name: "a secret",
    expected: "where it comes from, like `{ file: /run/keys/crm }`",
    about: "Where `${secret:NAME}` comes from: exactly one of file, env and systemd.",
    keys: &[
        key("file", Shape::Text, "A file that holds it, without the line break at its end."),
        key("env", Shape::Text, "An environment variable of the gateway."),
        key("systemd", Shape::Text, "A credential that systemd passes in $CREDENTIALS_DIRECTORY."),
    ],
    later: &["vault", "aws", "refresh", "azure", "gcp", "keyring", "pkcs11"],
    foreign: false,
};

pub static CREDENTIAL: Block = Block {
    name: "`credential`",
    expected: "a credential like `{ bearer: \"${secret:name}\" }`",
    about: "Exactly one of bearer, header, basic, oauth and client_cert.",
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
            "client_cert",
            Shape::Block(&KEY_PAIR),
            "Shown in the TLS handshake; the same as `tls: { cert, key }`.",
        ),
        key(
            "env",
            Shape::Text,
            "Of a stdio upstream: the environment variable that gets the token of `oauth`.",
        ),
    ],
    later: &["exchange", "id_jag"],
    foreign: false,
};

pub static GRANT: Block = Block {
    name: "`oauth`",
    expected: "a client like `{ token_url: https://idp.example/token, client: strait, secret: \"${secret:oauth}\" }`",
    about: "How a token is asked for.",
    keys: &[
        required("token_url", Shape::Text, "The token endpoint that is asked."),
        required("client", Shape::Text, "As whom this gateway asks."),
        required("secret", Shape::Secret, "Its secret."),
        key("scope", TEXTS, "Scopes that are asked for. Default: none, so those that the endpoint gives."),
        key("resource", Shape::Text, "The URL that the token is for (RFC 8707)."),
        key("audience", Shape::Text, "Whom the token is for, where the endpoint asks it like that."),
        key(
            "auth",
            Shape::Words(&["basic", "post"]),
            "How the secret is shown: by HTTP basic authentication, or in the body. Default: basic.",
        ),
    ],
    later: &["actor", "private_key_jwt", "refresh_token"],
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
