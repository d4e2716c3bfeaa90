//! Handshakes at listeners, and when certificates end.

use strait_engine::figures::histogram::Distribution;
use strait_engine::io::tls::Cause;

use super::exposition::{Exposition, Kind};
use super::{COARSE, Worker};
use crate::certificates::Expiry;

pub fn write(out: &mut Exposition, workers: &[Worker], certificates: &[Expiry]) {
    let all = || workers.iter().map(|worker| &worker.figures.handshakes);
    let help = "TLS handshakes with clients that came to something: full, or resumed with a ticket.";
    let mut handshakes = out.family(Kind::Counter, "strait_tls_handshakes_total", help);
    handshakes.series(&[("kind", "full")], all().map(|figures| figures.full.get()).sum::<u64>());
    handshakes.series(&[("kind", "resumed")], all().map(|figures| figures.resumed.get()).sum::<u64>());
    let help = "TLS handshakes with clients that came to nothing, by cause.";
    let mut failures = out.family(Kind::Counter, "strait_tls_handshake_failures_total", help);
    for cause in Cause::ALL {
        failures.series(
            &[("cause", cause.label())],
            all().map(|figures| figures.failed(cause).get()).sum::<u64>(),
        );
    }
    let help = "Of TLS handshakes with clients, from the accepted connection on.";
    let read = Distribution::of(all().map(|figures| &figures.duration));
    out.family(Kind::Histogram, "strait_tls_handshake_duration_seconds", help).distribution(
        &[],
        &read,
        COARSE,
    );
    let help = "When a certificate that this gateway shows ends, in seconds of Unix time.";
    let mut ends = out.family(Kind::Gauge, "strait_certificate_not_after_seconds", help);
    for expiry in certificates.iter().filter(|expiry| !expiry.is_believed) {
        let file = expiry.path.display().to_string();
        ends.series(&[("file", &file)], expiry.not_after_unix_s.max(0) as u64);
    }
}
