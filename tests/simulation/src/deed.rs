//! What a call asks its simulated upstream to do: it travels in the call's own arguments, so that whoever asked knows
//! what must come back.

use serde_json::{Value, json};
use strait_engine::io::simulated::Chance;

/// How an upstream ends its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Answer,
    /// A JSON-RPC error of its own.
    Error,
    /// The answer comes twice.
    Twice,
    /// An answer to nobody's request comes first, where more than one can.
    Stranger,
    /// The connection ends in the middle.
    Cut,
    /// The connection ends without an answer.
    Close,
    Garbage,
    /// The only answer has another id.
    WrongId,
    /// Nothing more ever comes.
    Hang,
    /// An HTTP status and no message.
    Status,
    /// The session is not known any more, once.
    Lost,
}

impl Ending {
    const ALL: [Ending; 11] = [
        Ending::Answer,
        Ending::Error,
        Ending::Twice,
        Ending::Stranger,
        Ending::Cut,
        Ending::Close,
        Ending::Garbage,
        Ending::WrongId,
        Ending::Hang,
        Ending::Status,
        Ending::Lost,
    ];

    /// The client must get what the upstream has to say.
    pub fn is_answered(self) -> bool {
        matches!(self, Ending::Answer | Ending::Error | Ending::Twice | Ending::Lost)
    }

    /// The client may get it, or hear that the upstream cannot be trusted.
    pub fn is_doubtful(self) -> bool {
        self == Ending::Stranger
    }
}

/// The whole script of a call.
#[derive(Clone, Debug)]
pub struct Deed {
    pub wait_ms: u64,
    /// As an event stream.
    pub streams: bool,
    /// Notifications before the end.
    pub notes: u64,
    pub gap_ms: u64,
    /// Padding of the result.
    pub bytes: u64,
    pub ending: Ending,
}

impl Deed {
    pub fn draw(chance: &mut Chance) -> Deed {
        let ending = if chance.percent(70) { Ending::Answer } else { *chance.of(&Ending::ALL) };
        let streams = chance.percent(50);
        Deed {
            wait_ms: if chance.percent(60) { 0 } else { chance.magnitude(1..900) },
            streams,
            notes: if streams { chance.within(0..5) } else { 0 },
            gap_ms: if chance.percent(60) { 0 } else { chance.magnitude(1..200) },
            bytes: if chance.percent(90) {
                chance.magnitude(1..4_000)
            } else {
                chance.magnitude(4_000..300_000)
            },
            ending,
        }
    }

    pub fn to_json(&self) -> Value {
        json!({"wait": self.wait_ms, "streams": self.streams, "notes": self.notes, "gap": self.gap_ms,
            "bytes": self.bytes, "ending": Ending::ALL.iter().position(|ending| *ending == self.ending)})
    }

    pub fn of_json(json: &Value) -> Option<Deed> {
        let number = |name: &str| json[name].as_u64();
        Some(Deed {
            wait_ms: number("wait")?,
            streams: json["streams"].as_bool()?,
            notes: number("notes")?,
            gap_ms: number("gap")?,
            bytes: number("bytes")?,
            ending: *Ending::ALL.get(number("ending")? as usize)?,
        })
    }
}
