//! Tokens of this gateway's own, that upstreams are shown: how long they last, and whether new ones can be had.

use super::exposition::{Exposition, Kind};
use crate::credentials::Standing;

pub fn write(out: &mut Exposition, tokens: &[Standing]) {
    let help = "When the token that an upstream is shown ends, in seconds of Unix time; 0: there is none.";
    let mut ends = out.family(Kind::Gauge, "strait_upstream_token_not_after_seconds", help);
    for token in tokens {
        ends.series(&[("upstream", &token.upstream)], token.not_after_unix_s);
    }
    let help = "Whether the token endpoint of an upstream's credential gave a token when it was asked last.";
    let mut given = out.family(Kind::Gauge, "strait_upstream_token_last_request_successful", help);
    for token in tokens {
        given.series(&[("upstream", &token.upstream)], u64::from(token.complaint.is_none()));
    }
}
