//! What an operator says of a canary: whom it serves, for how long it bakes, and what ends it before.
//!
//! Everything is said in a few words (`5%`, `header=X-Canary:yes`, `error_rate>1%`), which are kept as they were said to be shown again.

use std::time::Duration;

use strait_engine::trial::Selector;

use crate::limits::{ABORTS_MAX, BAKE, BAKE_MAX, BAKE_MIN, CANARY_PRINCIPALS_MAX, CANARY_SAMPLES};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub selector: Selector,
    /// The selector, as it was said.
    pub whom: String,
    pub bake: Duration,
    pub abort_if: Vec<Bound>,
    /// Nothing is judged before the candidate has answered so many.
    pub samples: u64,
}

/// What a candidate must not be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Of its answered exchanges, the ones that failed.
    ErrorRate { ppm: u64 },
    /// What 99 of 100 of its calls spend in the gateway at most.
    AddedP99 { ns: u64 },
}

const MILLION: u64 = 1_000_000;

impl Terms {
    /// `whom`: `5%`, `principals=a,b` or `header=Name:value`. What is not said has its default.
    pub fn parse(
        whom: &str,
        bake: Option<&str>,
        abort_if: &[&str],
        samples: Option<u64>,
    ) -> Result<Terms, String> {
        if abort_if.len() > ABORTS_MAX {
            return Err(format!("at most {ABORTS_MAX} conditions end a canary"));
        }
        let bounds = abort_if.iter().map(|text| Bound::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let samples = samples.unwrap_or(CANARY_SAMPLES);
        if samples == 0 {
            return Err("a canary that nobody used shows nothing: at least 1 sample".to_owned());
        }
        Ok(Terms {
            selector: selector(whom)?,
            whom: whom.to_owned(),
            bake: bake.map_or(Ok(BAKE), self::bake)?,
            abort_if: if bounds.is_empty() { vec![Bound::ErrorRate { ppm: MILLION / 100 }] } else { bounds },
            samples,
        })
    }
}

fn selector(text: &str) -> Result<Selector, String> {
    let wrong = || {
        format!(
            "expected a share (`5%`), `principals=a,b` or `header=Name:value` of a canary, found `{text}`"
        )
    };
    if let Some(names) = text.strip_prefix("principals=") {
        let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        return match names.len() {
            0 => Err(wrong()),
            many if many > CANARY_PRINCIPALS_MAX => {
                Err(format!("{many} principals of a canary: at most {CANARY_PRINCIPALS_MAX}"))
            }
            _ => Ok(Selector::principals(names)),
        };
    }
    if let Some(header) = text.strip_prefix("header=") {
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), value.trim());
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) || value.is_empty() {
            return Err(wrong());
        }
        return Ok(Selector::Header { name: name.into(), value: value.into() });
    }
    let ppm = text.strip_suffix('%').and_then(percent).filter(|ppm| (1..=MILLION).contains(ppm));
    Ok(Selector::Share { ppm: ppm.ok_or_else(wrong)? as u32 })
}

/// Parts of a million, of a text with up to four decimals.
fn percent(text: &str) -> Option<u64> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !(part.is_empty() || digits(part)) {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 10_000 + format!("{part:0<4}").parse::<u64>().ok()?)
}

fn bake(text: &str) -> Result<Duration, String> {
    let said = duration_ns(text).map(Duration::from_nanos);
    said.filter(|said| (BAKE_MIN..=BAKE_MAX).contains(said)).ok_or_else(|| {
        let (min, max) = (BAKE_MIN.as_secs(), BAKE_MAX.as_secs() / 3_600);
        format!("expected a time between {min}s and {max}h for a canary to bake, as `10m`, found `{text}`")
    })
}

fn duration_ns(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

impl Bound {
    fn parse(text: &str) -> Result<Bound, String> {
        let wrong = || format!("expected `error_rate>1%` or `added_p99>2ms`, found `{text}`");
        let (what, most) = text.split_once('>').ok_or_else(wrong)?;
        let most = most.trim();
        match what.trim() {
            "error_rate" => {
                let ppm = most.strip_suffix('%').and_then(percent).filter(|ppm| *ppm < MILLION);
                ppm.map(|ppm| Bound::ErrorRate { ppm })
            }
            "added_p99" => duration_ns(most).map(|ns| Bound::AddedP99 { ns }),
            _ => None,
        }
        .ok_or_else(wrong)
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::ErrorRate { ppm } => write!(f, "error_rate>{}%", *ppm as f64 / 10_000.0),
            Bound::AddedP99 { ns } => write!(f, "added_p99>{}us", ns / 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read() {
        let terms = Terms::parse("5%", Some("10m"), &["error_rate>1%", "added_p99 > 2ms"], None).unwrap();
        assert_eq!(terms.selector, Selector::Share { ppm: 50_000 });
        assert_eq!((terms.bake, terms.samples), (Duration::from_secs(600), CANARY_SAMPLES));
        assert_eq!(terms.abort_if, [Bound::ErrorRate { ppm: 10_000 }, Bound::AddedP99 { ns: 2_000_000 }]);
        assert_eq!(
            terms.abort_if.iter().map(Bound::to_string).collect::<Vec<_>>(),
            ["error_rate>1%", "added_p99>2000us"]
        );
        let whom = |text| Terms::parse(text, None, &[], None).map(|terms| terms.selector);
        assert_eq!(whom("0.25%"), Ok(Selector::Share { ppm: 2_500 }));
        assert_eq!(whom("100%"), Ok(Selector::Share { ppm: 1_000_000 }));
        assert_eq!(whom("principals=a, b"), Ok(Selector::principals(["a", "b"])));
        let header = Selector::Header { name: "X-Canary".into(), value: "a:b".into() };
        assert_eq!(whom("header=X-Canary: a:b"), Ok(header));
        // Without a word about it, one failed exchange in a hundred ends a canary.
        assert_eq!(Terms::parse("5%", None, &[], None).unwrap().abort_if, [Bound::ErrorRate { ppm: 10_000 }]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_was_expected() {
        for whom in [
            "",
            "5",
            "0%",
            "101%",
            "-1%",
            "1.23456%",
            "principals=",
            "header=x",
            "header=:v",
            "header=a b:c",
            "header=a:",
        ] {
            let error = Terms::parse(whom, None, &[], None).unwrap_err();
            assert!(error.contains("`5%`") && error.contains(&format!("`{whom}`")), "{error}");
        }
        for bake in ["", "10", "0s", "1000h", "99999999999999999999s", "1d"] {
            let error = Terms::parse("5%", Some(bake), &[], None).unwrap_err();
            assert!(error.contains("`10m`"), "{error}");
        }
        for bound in ["", "error_rate", "error_rate>1", "error_rate>100%", "added_p99>2", "p99>2ms"] {
            let error = Terms::parse("5%", None, &[bound], None).unwrap_err();
            assert!(error.contains("`added_p99>2ms`"), "{error}");
        }
        assert!(Terms::parse("5%", None, &[], Some(0)).is_err());
        assert!(Terms::parse("5%", None, &["error_rate>1%"; 9], None).is_err());
    }
}
