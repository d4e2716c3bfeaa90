//! Histograms as text: HdrHistogram's V2 form, compressed, in base64, as its logs and the tools of other makers have it. Nothing is rounded on the way.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// One histogram of 60 s with three digits is 1 MB when nothing is left out; a text that claims more is no histogram of ours.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // A vector takes whatever is written.
    let _ = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    STANDARD.encode(bytes)
}

/// The histogram, or what is wrong with the text.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let wrong = |why: String| format!("expected a histogram in base64, found {why}");
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(wrong(if text.is_empty() { "none".to_owned() } else { format!("{} bytes", text.len()) }));
    }
    let bytes = STANDARD.decode(text).map_err(|error| wrong(error.to_string()))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice().take(TEXT_BYTES_MAX as u64))
        .map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_whole_and_nonsense_is_told() {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        (1..10_000u64).for_each(|n| histogram.record(n * n * 500).unwrap());
        assert_eq!(decode(&encode(&histogram)).unwrap(), histogram);
        for text in ["", "x", "AAAA", "HISTFAAAAAAA"] {
            assert!(decode(text).unwrap_err().starts_with("expected a histogram"), "{text}");
        }
    }
}
