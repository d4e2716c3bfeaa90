//! What is kept of a run, tried: bundles with one byte changed, pages of hostile names, the gateway's own clock
//! beside the client's. Data come from the simulated hosts of the neighbouring tests.

use std::path::PathBuf;

use super::bundle;
use super::residence::Residence;
use super::result::{Context, Proof};
use super::samples::{Fault, Layer};
use super::schedule::Arm;
use super::tests::{BUSY, CLEAN, QUIET, context};
use super::verdict::{About, Verdict};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("strait-proof-{name}-{}", std::process::id()));
        // Left over by one that was killed.
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Some byte of every part of every file: nothing of a bundle is beside the point.
#[test]
fn no_byte_of_a_bundle_can_be_another() {
    let folder = Folder::new("bytes");
    let mut samples = QUIET.samples(330, 3);
    let message = "expected 200, found 503".to_owned();
    samples.slots[7].outcome = Err(Fault { arm: Arm::Through, layer: Layer::Http, message });
    let context = Context { made_by: super::result::made_by(), ..context(&["p50=30us"], 330, CLEAN) };
    let id = bundle::write(&folder.0, &context, &samples).unwrap();
    let verified = bundle::verify(&folder.0).unwrap();
    assert_eq!((verified.id, verified.proof.slots), (id, 330));
    for file in std::fs::read_dir(&folder.0).unwrap() {
        let path = file.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        for part in 0..12 {
            let mut edited = whole.clone();
            edited[part * whole.len() / 12] ^= 1;
            std::fs::write(&path, &edited).unwrap();
            assert!(bundle::verify(&folder.0).is_err(), "{}: part {part}", path.display());
        }
        let longer = [&whole[..], b"\n"].concat();
        std::fs::write(&path, longer).unwrap();
        assert!(bundle::verify(&folder.0).is_err(), "{}: a line more", path.display());
        std::fs::write(&path, whole).unwrap();
    }
    bundle::verify(&folder.0).map(|_| ()).unwrap();
}

/// One more microsecond in one slot, and checksums made anew: the reports say otherwise.
#[test]
fn a_recording_with_new_checksums_is_still_found_out() {
    let folder = Folder::new("sums");
    let samples = QUIET.samples(330, 3);
    bundle::write(&folder.0, &context(&["p50=30us"], 330, CLEAN), &samples).unwrap();
    let mut edited = samples.clone();
    for slot in &mut edited.slots[..200] {
        slot.outcome = slot.outcome.clone().map(|[a, b, through, ..]| [a, b, through - 5_000, 0, 0]);
    }
    let other = Folder::new("sums-other");
    bundle::write(&other.0, &context(&["p50=30us"], 330, CLEAN), &edited).unwrap();
    std::fs::copy(other.0.join("raw.csv"), folder.0.join("raw.csv")).unwrap();
    std::fs::copy(other.0.join("SHA256SUMS"), folder.0.join("SHA256SUMS")).unwrap();
    let why = bundle::verify(&folder.0).err().unwrap();
    assert!(why.contains("is not what `raw.csv` gives"), "{why}");
}

#[test]
fn a_page_is_the_same_for_the_same_data_and_shows_hostile_names_as_text() {
    let hostile = "<script>alert(1)</script>\"'\u{202e}";
    let mut samples = QUIET.samples(2_000, 3);
    let message = format!("found {hostile}");
    samples.slots[7].outcome = Err(Fault { arm: Arm::Through, layer: Layer::Http, message });
    let context = Context {
        through: format!("http://127.0.0.1/{hostile}"),
        call: hostile.to_owned(),
        command: hostile.to_owned(),
        ..context(&["p50=30us", "p99=30us"], 2_000, BUSY)
    };
    let page = || Proof::of(context.clone(), &samples).to_html(&samples);
    let html = page();
    assert_eq!(html, page());
    assert!(
        !html.contains("<script")
            && !html.contains('\u{202e}')
            && html.matches("&lt;script&gt;").count() >= 5
    );
    let wanted = [
        "Latency by percentile",
        "Percentiles over the run",
        "All requests through the gateway",
        "no send lag",
        "Differences within a slot",
        "Where it was measured",
        "To repeat it",
        "INCONCLUSIVE</span>",
    ];
    for words in wanted {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("NaN"), "a figure has a number for every place");
}

fn residence(up_to: &[(u64, u64)]) -> Option<Residence> {
    Some(Residence { up_to: up_to.to_vec() })
}

/// The gateway's own clock: limits of its own, and a veto over a PASS.
#[test]
fn residence_is_judged_apart_and_can_contradict() {
    let samples = QUIET.samples(20_000, 1);
    let limits: Vec<_> = ["p50=20us", "p50=10us", "p50=7us", "p99=60us", "p99=20us"]
        .iter()
        .map(|limit| limit.parse().unwrap())
        .collect();
    let fine = residence(&[(8_192, 100), (16_384, 15_000), (32_768, 19_990), (u64::MAX, 20_000)]);
    let judged = |residence: Option<Residence>, disturbance| {
        let context = Context {
            residence,
            residence_limits: limits.clone(),
            ..context(&["p50=30us"], 20_000, disturbance)
        };
        Proof::of(context, &samples)
    };
    let verdicts =
        |proof: &Proof| -> Vec<Verdict> { proof.limits.iter().map(|judged| judged.verdict).collect() };
    let calm = judged(fine.clone(), CLEAN);
    assert_eq!(
        verdicts(&calm),
        [
            Verdict::Pass,
            Verdict::Pass,
            Verdict::Inconclusive,
            Verdict::Fail,
            Verdict::Pass,
            Verdict::Inconclusive
        ],
        "{}",
        calm.to_text()
    );
    assert_eq!((calm.limits[0].about, calm.limits[1].about), (About::Added, About::Residence));
    assert!(
        calm.to_text().contains("residence p50=20us: at most 16.4 us of 20000 requests"),
        "{}",
        calm.to_text()
    );
    // A gateway that waited for its core counts that as its own: no FAIL in the tail on a disturbed host.
    let slow = residence(&[(8_192, 100), (16_384, 12_000), (65_536, 12_001), (u64::MAX, 20_000)]);
    let busy = judged(slow.clone(), BUSY);
    assert_eq!(
        (verdicts(&busy)[4], verdicts(&judged(slow, CLEAN))[4]),
        (Verdict::Inconclusive, Verdict::Fail)
    );
    // The client saw less than the gateway says it took: one of them is about something else.
    let odd = judged(residence(&[(65_536, 100), (131_072, 20_000), (u64::MAX, 20_000)]), CLEAN);
    assert_eq!(verdicts(&odd)[0], Verdict::Inconclusive);
    assert!(odd.limits[0].cause.contains("by its own clock"), "{}", odd.limits[0].cause);
    let untold = judged(None, CLEAN);
    assert_eq!((verdicts(&untold)[0], verdicts(&untold)[1]), (Verdict::Pass, Verdict::Inconclusive));
}
