//! Several machines drive one target: `strait load agent` on each, `strait load URL --agents …` on one of them or elsewhere.
//!
//! [`channel`] is the sealed line between the two, [`message`] what is said over it, [`serve`] the agent, [`lead`] the side that asks, and
//! [`merge`] makes one report of all parts. The decisions: every agent sends a portion of one plan, each request by its number, so that all of them
//! together send what one machine would have sent, whatever the schedule; they begin at one point in time, which each is told on its own
//! clock; histograms travel whole and are added, so that percentiles are those of all samples. An agent that is lost spoils the run:
//! what the others saw is not what was asked for, and no figure of it is shown.

pub mod channel;
pub mod lead;
mod merge;
mod message;
mod serve;

use std::time::Duration;

pub use lead::{Agents, LeadFault, lead};
pub use message::{Refusal, RefusalKind};
pub use serve::{Agent, AgentOptions};

/// Agents of one run.
pub const AGENTS_MAX: usize = 64;
/// Shorter ones can be guessed by whoever is asked for a connection.
pub const TOKEN_BYTES_MIN: usize = 16;
/// How often either side says that it is there.
const ALIVE: Duration = Duration::from_secs(1);
/// Whoever says nothing for so long is lost: five times that, and no connection over which a load is worth leading is silent for longer.
const SILENCE: Duration = Duration::from_secs(5);
/// Between the last agent's word that it is ready and the first request: a message's way to the slowest, many times over.
const START_AHEAD: Duration = Duration::from_millis(500);
/// How often a clock is asked. The fastest answer counts.
const CLOCK_EXCHANGES: u32 = 16;
