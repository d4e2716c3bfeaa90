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
    /// The stream ends before the answer, which comes to whoever asks for what follows.
    Resumed,
}

impl Ending {
    const ALL: [Ending; 12] = [
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
        Ending::Resumed,
    ];

    /// The client must get what the upstream has to say.
    pub fn is_answered(self) -> bool {
        matches!(self, Ending::Answer | Ending::Error | Ending::Twice | Ending::Lost | Ending::Resumed)
    }

    /// The client may get it, or hear that the upstream cannot be trusted.
    pub fn is_doubtful(self) -> bool {
        self == Ending::Stranger
    }
}

/// What a server may ask of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matter {
    Sampling,
    Elicitation,
    Roots,
    Ping,
}

impl Matter {
    pub const ALL: [Matter; 4] = [Matter::Sampling, Matter::Elicitation, Matter::Roots, Matter::Ping];

    pub fn method(self) -> &'static str {
        match self {
            Matter::Sampling => "sampling/createMessage",
            Matter::Elicitation => "elicitation/create",
            Matter::Roots => "roots/list",
            Matter::Ping => "ping",
        }
    }

    /// How a client declares that it can be asked.
    pub fn capability(self) -> Option<&'static str> {
        match self {
            Matter::Sampling => Some("sampling"),
            Matter::Elicitation => Some("elicitation"),
            Matter::Roots => Some("roots"),
            Matter::Ping => None,
        }
    }

    /// What is asked: whose call it is about, and which question of it.
    pub fn params(self, marker: &str, key: &str) -> Value {
        match self {
            Matter::Sampling => {
                json!({"messages": [{"role": "user", "content": {"type": "text", "text": marker}}],
                "maxTokens": 7, "_meta": {"ask": key}})
            }
            Matter::Elicitation => json!({"message": marker, "_meta": {"ask": key},
                "requestedSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}),
            Matter::Roots | Matter::Ping => json!({"_meta": {"ask": key, "mk": marker}}),
        }
    }

    /// What a client says to it.
    pub fn answer(self, marker: &str, key: &str) -> Value {
        let said = format!("{key} of {marker}: \u{e9}\"\\");
        match self {
            Matter::Sampling => {
                json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": said}})
            }
            Matter::Elicitation => json!({"action": "accept", "content": {"a": said}}),
            Matter::Roots => json!({"roots": [{"uri": "file:///r", "name": said}]}),
            Matter::Ping => json!({}),
        }
    }
}

/// What a client of the older revisions does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    Answer,
    Late {
        ms: u64,
    },
    /// Twice, and differently: only the first counts.
    Twice,
    /// First to a question that nobody asked.
    Wrongly,
    /// With an error.
    Error,
    Never,
}

/// One question.
#[derive(Clone, Debug)]
pub struct Ask {
    pub matter: Matter,
    /// Over the session's own stream, where there is one.
    pub aside: bool,
    /// The server is not told.
    pub reaction: Reaction,
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
    /// What is asked before the end: the questions of a round are asked together.
    pub rounds: Vec<Vec<Ask>>,
    /// Messages of no call, on the stream of the session.
    pub asides: u64,
    pub ending: Ending,
}

impl Deed {
    pub fn draw(chance: &mut Chance, has_session: bool) -> Deed {
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
            rounds: if chance.percent(35) { rounds(chance, has_session) } else { Vec::new() },
            asides: if has_session && chance.percent(20) { chance.within(1..4) } else { 0 },
            ending,
        }
    }

    /// Its questions, each with the key that it has in the call.
    pub fn asks(&self) -> impl Iterator<Item = (String, &Ask)> {
        let keyed = |(round, asks): (usize, &'_ Vec<Ask>)| {
            (0..asks.len()).map(move |n| (round, n)).collect::<Vec<_>>()
        };
        let places: Vec<(usize, usize)> = self.rounds.iter().enumerate().flat_map(keyed).collect();
        places.into_iter().map(|(round, n)| (key(round, n), &self.rounds[round][n]))
    }

    pub fn ask(&self, wanted: &str) -> Option<&Ask> {
        self.asks().find(|(key, _)| key == wanted).map(|(_, ask)| ask)
    }

    pub fn to_json(&self) -> Value {
        let ask = |ask: &Ask| {
            let matter = Matter::ALL.iter().position(|matter| *matter == ask.matter);
            json!([matter, ask.aside])
        };
        let rounds: Vec<Value> = self.rounds.iter().map(|round| round.iter().map(ask).collect()).collect();
        json!({"wait": self.wait_ms, "streams": self.streams, "notes": self.notes, "gap": self.gap_ms,
            "bytes": self.bytes, "rounds": rounds, "asides": self.asides,
            "ending": Ending::ALL.iter().position(|ending| *ending == self.ending)})
    }

    pub fn of_json(json: &Value) -> Option<Deed> {
        let number = |name: &str| json[name].as_u64();
        let ask = |ask: &Value| {
            Some(Ask {
                matter: *Matter::ALL.get(ask[0].as_u64()? as usize)?,
                aside: ask[1].as_bool()?,
                reaction: Reaction::Answer,
            })
        };
        let round = |round: &Value| round.as_array()?.iter().map(ask).collect::<Option<Vec<Ask>>>();
        Some(Deed {
            wait_ms: number("wait")?,
            streams: json["streams"].as_bool()?,
            notes: number("notes")?,
            gap_ms: number("gap")?,
            bytes: number("bytes")?,
            rounds: json["rounds"].as_array()?.iter().map(round).collect::<Option<_>>()?,
            asides: number("asides")?,
            ending: *Ending::ALL.get(number("ending")? as usize)?,
        })
    }
}

pub fn key(round: usize, n: usize) -> String {
    format!("{round}.{n}")
}

fn rounds(chance: &mut Chance, has_session: bool) -> Vec<Vec<Ask>> {
    let mut may_fall_silent = true;
    let rounds = chance.within(1..3);
    let round = |chance: &mut Chance, may_fall_silent: &mut bool| {
        let asks = if chance.percent(8) { 0 } else { chance.within(1..4) };
        (0..asks)
            .map(|_| {
                let reaction = reaction(chance, *may_fall_silent);
                // A call has only so much time: one silence is enough.
                *may_fall_silent &= reaction != Reaction::Never;
                let aside = has_session && chance.percent(25);
                Ask { matter: *chance.of(&Matter::ALL), aside, reaction }
            })
            .collect()
    };
    (0..rounds).map(|_| round(chance, &mut may_fall_silent)).collect()
}

fn reaction(chance: &mut Chance, may_fall_silent: bool) -> Reaction {
    match chance.within(0..12) {
        0 => Reaction::Late { ms: chance.magnitude(1..900) },
        1 => Reaction::Twice,
        2 => Reaction::Wrongly,
        3 => Reaction::Error,
        4 if may_fall_silent => Reaction::Never,
        _ => Reaction::Answer,
    }
}
