//! Hostile messages by the table, then properties against an oracle (serde_json) and against themselves (whole or cut).

mod decoding;
mod editing;
mod generate;
mod scanning;
