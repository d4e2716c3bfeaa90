//! The stdio face: one JSON message a line in, one a line out, until stdin ends. Plain blocking
//! reads: it is a child process with one client.

use std::io::{self, BufRead, Read, Write};

use serde_json::Value;

use super::envelope::Fault;
use super::{Kind, Sample};
use crate::limits::SAMPLE_BYTES_MAX;

/// Serves `kind` until `input` ends.
pub fn run(kind: Kind, mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let sample = Sample::new(kind);
    let mut line = Vec::new();
    loop {
        line.clear();
        input.by_ref().take(SAMPLE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() == SAMPLE_BYTES_MAX && !line.ends_with(b"\n") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line is over {SAMPLE_BYTES_MAX} bytes"),
            ));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(answer) = answer(&sample, &line) {
            let mut bytes = answer.to_string().into_bytes();
            bytes.push(b'\n');
            output.write_all(&bytes)?;
            output.flush()?;
        }
    }
}

fn answer(sample: &Sample, line: &[u8]) -> Option<Value> {
    match serde_json::from_slice(line) {
        Ok(message) => sample.answer(&message),
        Err(error) => Some(Fault::new(-32700, 400, format!("not JSON: {error}")).into_message(Value::Null)),
    }
}
