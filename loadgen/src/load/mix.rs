//! Which methods are called, and how often: `tools/call=8,tools/list=1,ping=1`. Each entry becomes one
//! request template per tool; the choice among them is seeded.

use strait_protocol::mcp::{Method, Names};

use crate::random::Random;

/// One method and its weight.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub method: Method,
    /// The thing it names: a tool, a prompt, a resource.
    pub name: Option<String>,
    pub weight: f64,
}

/// What `--mix` says.
#[derive(Clone, PartialEq, Debug)]
pub struct Mix {
    pub entries: Vec<Entry>,
}

/// Methods that can be asked again and again without changing anything or opening a stream.
const ALLOWED: [Method; 9] = [
    Method::ToolsCall,
    Method::ToolsList,
    Method::Ping,
    Method::ServerDiscover,
    Method::ResourcesList,
    Method::ResourcesTemplatesList,
    Method::ResourcesRead,
    Method::PromptsList,
    Method::PromptsGet,
];

impl Default for Mix {
    fn default() -> Self {
        Mix { entries: vec![Entry { method: Method::ToolsCall, name: None, weight: 1.0 }] }
    }
}

impl Mix {
    /// `METHOD[:NAME]=WEIGHT`, separated by commas; a weight left out is 1.
    pub fn parse(text: &str) -> Result<Mix, String> {
        let entries: Result<Vec<Entry>, String> = text.split(',').map(Entry::parse).collect();
        Mix::of(entries?)
    }

    pub(crate) fn of(entries: Vec<Entry>) -> Result<Mix, String> {
        match entries.iter().map(|entry| entry.weight).sum::<f64>() > 0.0 {
            true => Ok(Mix { entries }),
            false => Err("every weight of the mix is 0".to_owned()),
        }
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Entry, String> {
        let text = text.trim();
        // A URI may hold `=`; the weight is what follows the last one, if it is a number.
        let (what, weight) = match text.rsplit_once('=') {
            Some((what, weight)) => match weight.trim().parse::<f64>() {
                Ok(weight) => (what.trim(), weight),
                Err(_) => return Err(format!("the weight of `{text}` is no number from 0 to 1000000")),
            },
            None => (text, 1.0),
        };
        let (method, name) = match what.split_once(':') {
            Some((method, name)) => (method, Some(name.to_owned())),
            None => (what, None),
        };
        Entry::of(method, name, weight)
    }

    pub(crate) fn of(method: &str, name: Option<String>, weight: f64) -> Result<Entry, String> {
        if !(0.0..=1e6).contains(&weight) {
            return Err(format!("the weight of `{method}` is no number from 0 to 1000000"));
        }
        let known = Method::from_bytes(method.as_bytes());
        if !ALLOWED.contains(&known) {
            let names: Vec<&str> = ALLOWED.iter().map(|method| method.as_str()).collect();
            return Err(format!("`{method}` is no method for a load: expected one of {}", names.join(", ")));
        }
        match (known, known.names(), &name) {
            (Method::ToolsCall, _, _) | (_, Names::Nothing, None) => {}
            (_, Names::Nothing, Some(name)) => {
                return Err(format!("`{method}` names nothing, found `{name}`"));
            }
            (_, _, None) => return Err(format!("`{method}` needs a name: `{method}:NAME=WEIGHT`")),
            _ => {}
        }
        Ok(Entry { method: known, name, weight })
    }
}

/// A seeded choice among weights. HOT.
pub struct Chooser {
    /// The running sums.
    sums: Vec<f64>,
    random: Random,
}

impl Chooser {
    pub fn new(weights: impl Iterator<Item = f64>, seed: u64) -> Chooser {
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Chooser { sums: sums.collect(), random: Random::new(seed ^ 0x006d_6978) }
    }

    pub fn choose(&mut self) -> usize {
        if self.sums.len() < 2 {
            return 0;
        }
        let point = self.random.unit() * self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum <= point).min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_nonsense_is_told() {
        let mix = Mix::parse("tools/call=8, tools/list=1,ping,resources/read:file:///a=b=2").unwrap();
        let read: Vec<_> =
            mix.entries.iter().map(|entry| (entry.method, entry.name.as_deref(), entry.weight)).collect();
        let expected = [
            (Method::ToolsCall, None, 8.0),
            (Method::ToolsList, None, 1.0),
            (Method::Ping, None, 1.0),
            (Method::ResourcesRead, Some("file:///a=b"), 2.0),
        ];
        assert_eq!(read, expected);
        for text in [
            "",
            "tools/cal=1",
            "tools/call=x",
            "tools/call=-1",
            "ping=0",
            "ping:a",
            "prompts/get",
            "initialize",
        ] {
            assert!(Mix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_choice_follows_the_weights() {
        let mut chooser = Chooser::new([8.0, 0.0, 1.0, 1.0].into_iter(), 3);
        let mut counts = [0; 4];
        (0..100_000).for_each(|_| counts[chooser.choose()] += 1);
        assert_eq!(counts[1], 0);
        for (count, expected) in [(counts[0], 80_000i32), (counts[2], 10_000), (counts[3], 10_000)] {
            assert!((count - expected).abs() < 1_000, "{counts:?}");
        }
    }
}
