//! `/admin/trial`: what is on trial beside what is served, how it does, and what a shadow has found; and the headers of an apply that is only
//! to be tried.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::Desk;
use crate::rollout::Activation;
use crate::trial::terms::Terms;
use crate::trial::{Kind, found};

const CANARY: &str = "strait-canary";
const BAKE: &str = "strait-bake";
const ABORT_IF: &str = "strait-abort-if";
const SAMPLES: &str = "strait-samples";
const SHADOW: &str = "strait-shadow";

pub async fn shown(State(desk): State<Desk>) -> Response {
    let mut shown = desk.board.on_trial();
    if let (true, Some(roll_call)) = (shown["state"] == "shadow", desk.board.to_call()) {
        shown["found"] = found::shown(roll_call.differences().await);
    }
    axum::Json(shown).into_response()
}

/// How whoever sent these headers wants a candidate to come into use.
pub fn activation(headers: &HeaderMap) -> Result<Activation, String> {
    let all = |name: &str| -> Result<Vec<String>, String> {
        let text = |value: &axum::http::HeaderValue| String::from_utf8(value.as_bytes().to_vec());
        let read = headers.get_all(name).iter().map(text).collect::<Result<Vec<_>, _>>();
        read.map_err(|_| format!("`{name}` is no UTF-8"))
    };
    let one = |name: &str| match <[String; 1]>::try_from(all(name)?) {
        Ok([one]) => Ok(Some(one)),
        Err(none) if none.is_empty() => Ok(None),
        Err(_) => Err(format!("`{name}` is said more than once")),
    };
    let shadow = match one(SHADOW)?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(format!("expected `{SHADOW}: true`, found `{other}`")),
    };
    let (bake, abort_if) = (one(BAKE)?, all(ABORT_IF)?);
    let samples =
        one(SAMPLES)?.map(|text| text.parse::<u64>().map_err(|_| format!("`{SAMPLES}` is a number")));
    let samples = samples.transpose()?;
    match (one(CANARY)?, shadow) {
        (Some(_), true) => Err("a candidate is a canary or a shadow, not both".to_owned()),
        (Some(whom), false) => {
            let bounds: Vec<&str> = abort_if.iter().map(String::as_str).collect();
            let terms = Terms::parse(&whom, bake.as_deref(), &bounds, samples)?;
            Ok(Activation::Trial(Kind::Canary(terms)))
        }
        (None, _) if bake.is_some() || !abort_if.is_empty() || samples.is_some() => Err(format!(
            "`{BAKE}`, `{ABORT_IF}` and `{SAMPLES}` are about a canary: say whom it serves with `{CANARY}`"
        )),
        (None, true) => Ok(Activation::Trial(Kind::Shadow)),
        (None, false) => Ok(Activation::AtOnce),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Activation, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        activation(&map)
    }

    #[test]
    fn headers_say_how_a_candidate_comes_into_use() {
        assert_eq!(read(&[]), Ok(Activation::AtOnce));
        assert_eq!(read(&[(SHADOW, "true")]), Ok(Activation::Trial(Kind::Shadow)));
        let canary = [
            (CANARY, "5%"),
            (BAKE, "1m"),
            (ABORT_IF, "error_rate>2%"),
            (ABORT_IF, "added_p99>3ms"),
            (SAMPLES, "7"),
        ];
        let terms = Terms::parse("5%", Some("1m"), &["error_rate>2%", "added_p99>3ms"], Some(7)).unwrap();
        assert_eq!(read(&canary), Ok(Activation::Trial(Kind::Canary(terms))));
        for wrong in [
            &[(CANARY, "5%"), (SHADOW, "true")][..],
            &[(CANARY, "5%"), (CANARY, "6%")],
            &[(CANARY, "5")],
            &[(BAKE, "1m")],
            &[(SHADOW, "true"), (SAMPLES, "7")],
            &[(SHADOW, "perhaps")],
            &[(CANARY, "5%"), (SAMPLES, "few")],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
