//! The keys of secrets and of credentials.

use super::{Block, Shape, key, required};

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
    about: "Exactly one of bearer, header and basic.",
    keys: &[
        key("bearer", Shape::Secret, "Sent as `Authorization: Bearer …`."),
        key("header", Shape::Block(&HEADER), "Sent in a header of your choice."),
        key("basic", Shape::Secret, "`user:password`, sent as `Authorization: Basic …`."),
    ],
    later: &["oauth", "exchange", "id_jag", "client_cert"],
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
