//! Secrets that are fetched from stores of others.

use super::exposition::{Exposition, Kind};
use crate::secrets::stores::Figures;

pub fn write(out: &mut Exposition, secrets: &[Figures]) {
    let help = "Whether the store of this secret gives it: 0, and what it gave before is used on, where it gave anything.";
    let mut up = out.family(Kind::Gauge, "strait_secret_store_up", help);
    for secret in secrets {
        up.series(&[("secret", &secret.name), ("store", secret.kind)], !secret.is_failing);
    }
    let help = "Since the store of this secret last gave it, in seconds.";
    let mut age = out.family(Kind::Gauge, "strait_secret_age_seconds", help);
    for secret in secrets {
        if let Some(since) = secret.age {
            age.series(&[("secret", &secret.name), ("store", secret.kind)], since.as_secs());
        }
    }
    let help = "Times that a store was asked for this secret, by what came of it.";
    let mut fetches = out.family(Kind::Counter, "strait_secret_fetches_total", help);
    for secret in secrets {
        for (result, count) in [("answered", secret.answered), ("failed", secret.failed)] {
            fetches.series(&[("secret", &secret.name), ("store", secret.kind), ("result", result)], count);
        }
    }
}
