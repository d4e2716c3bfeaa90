//! The run itself: slot after slot, one request per arm, one at a time.
//!
//! It knows no socket. What it drives is a [`Wire`], so that tests can fail any request of any arm and
//! see that nothing is forgotten. Connections are opened anew for every block and warmed before they
//! count; an arm that failed gets a new one, outside of any measured time.

use super::samples::{Fault, Layer, Samples, Slot};
use super::schedule::{ARMS, Arm, Interleave, Schedule, Stamps, Times, Turns};

/// After so many failed slots in a row somebody is down, and waiting out the rest would tell nothing.
const FAILED_IN_A_ROW_MAX: usize = 10;
/// The same for requests that nobody times: one that fails now and then will be counted in slots.
const UNTIMED_FAILED_IN_A_ROW_MAX: usize = 3;
/// Requests on a new connection before it counts: both ends have then grown what they grow.
const WARM_REQUESTS: u64 = 5;
/// Unrecorded slots' worth of requests before the first block: caches, branch predictors, lazy set-up.
const WARM_REQUESTS_FIRST: u64 = 300;

/// What carries requests. `number` goes into the request, the same for all arms of a slot.
pub trait Wire {
    /// A new connection in place of the old one, if any.
    fn open(&mut self, arm: Arm) -> Result<(), Fault>;
    /// One request and its whole answer, checked. After a fault the arm needs to be opened again.
    fn exchange(&mut self, arm: Arm, number: u64) -> Result<Answer, Fault>;
}

/// A right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From before the request's first byte until after the answer's last.
    pub ns: u64,
    /// The same by the kernel's stamps, where it gave them.
    pub wire_ns: Option<u64>,
    /// Whether the connection may carry another request.
    pub reusable: bool,
}

/// How a run ended early.
#[derive(Debug)]
pub enum Ended {
    /// An arm did not answer at all at the start, or went away for good: this fault, after so many slots.
    Broken { fault: Fault, after: usize },
    /// Somebody asked to stop; what was measured until then.
    Interrupted(Samples),
}

/// Runs a schedule. `watch` is told the number of slots done before each slot, and says whether to go on.
pub fn run(
    wire: &mut impl Wire,
    schedule: &Schedule,
    mut watch: impl FnMut(usize) -> bool,
) -> Result<Samples, Ended> {
    let mut samples = Samples { slots: Vec::with_capacity(schedule.start_of(schedule.blocks())) };
    let mut arms = Arms::new(wire);
    for arm in schedule.arms().iter() {
        let warm = arms.warm(*arm, WARM_REQUESTS_FIRST);
        warm.map_err(|fault| Ended::Broken { fault, after: 0 })?;
    }
    let mut orders = schedule.orders();
    let mut failed_in_a_row = 0;
    for block in 0..schedule.blocks() {
        arms.is_open = [false; ARMS];
        let slots = schedule.start_of(block + 1) - schedule.start_of(block);
        let orders: Vec<Turns> = orders.by_ref().take(slots).collect();
        let done = samples.slots.len();
        let outcomes = match schedule.interleave() {
            Interleave::Slot => None,
            // All of one arm, then all of the next: what is there of a block that was stopped compares nothing.
            Interleave::Block => match arms.block(&orders, || watch(done)) {
                Some(outcomes) => Some(outcomes),
                None => return Err(Ended::Interrupted(samples)),
            },
        };
        let mut outcomes = outcomes.map(Vec::into_iter);
        for order in orders {
            let outcome = match &mut outcomes {
                Some(outcomes) => outcomes.next(),
                None => watch(samples.slots.len()).then(|| arms.slot(&order)),
            };
            let Some(outcome) = outcome else { return Err(Ended::Interrupted(samples)) };
            failed_in_a_row = if outcome.is_err() { failed_in_a_row + 1 } else { 0 };
            if failed_in_a_row >= FAILED_IN_A_ROW_MAX {
                let after = samples.slots.len() + 1 - failed_in_a_row;
                return outcome.map_or_else(|fault| Err(Ended::Broken { fault, after }), |_| Ok(samples));
            }
            let (outcome, wire) = match outcome {
                Ok(timed) => (Ok(timed.times), timed.wire),
                Err(fault) => (Err(fault), Stamps::default()),
            };
            // At most BLOCKS_MAX blocks.
            samples.slots.push(Slot { block: block as u16, order, outcome, wire });
        }
    }
    Ok(samples)
}

/// A slot in which every arm answered.
#[derive(Clone, Copy, Default)]
struct Timed {
    times: Times,
    wire: Stamps,
}

impl Timed {
    fn add(&mut self, arm: Arm, answer: Answer) {
        self.times[arm.index()] = answer.ns;
        self.wire[arm.index()] = answer.wire_ns;
    }
}

/// The arms, each opened and warmed before it is measured.
pub struct Arms<'a, W> {
    wire: &'a mut W,
    is_open: [bool; ARMS],
    number: u64,
}

impl<'a, W: Wire> Arms<'a, W> {
    pub fn new(wire: &'a mut W) -> Arms<'a, W> {
        Arms { wire, is_open: [false; ARMS], number: 0 }
    }

    fn slot(&mut self, order: &Turns) -> Result<Timed, Fault> {
        for arm in order.iter() {
            // A failure here is this slot's: nothing that fails goes uncounted.
            self.ready(*arm)?;
        }
        self.number += 1;
        let mut timed = Timed::default();
        for arm in order.iter() {
            timed.add(*arm, self.exchange(*arm, self.number)?);
        }
        Ok(timed)
    }

    /// One arm after the other, each with all its requests; the n-th requests of all arms are a slot. Nothing
    /// when `goes_on` said no.
    fn block(
        &mut self,
        orders: &[Turns],
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<Vec<Result<Timed, Fault>>> {
        let mut outcomes = vec![Ok(Timed::default()); orders.len()];
        let first = self.number + 1;
        self.number += orders.len() as u64;
        for arm in orders.first()?.iter() {
            let mut failed_in_a_row = 0;
            for (number, outcome) in (first..).zip(&mut outcomes) {
                if !goes_on() {
                    return None;
                }
                // Somebody is down: waiting out every request of the block would tell nothing more.
                if failed_in_a_row >= FAILED_IN_A_ROW_MAX {
                    break;
                }
                let answer = self.ready(*arm).and_then(|()| self.exchange(*arm, number));
                failed_in_a_row = if answer.is_err() { failed_in_a_row + 1 } else { 0 };
                match (answer, outcome) {
                    (Ok(answer), Ok(timed)) => timed.add(*arm, answer),
                    (Err(fault), outcome @ Ok(_)) => *outcome = Err(fault),
                    (_, Err(_)) => {}
                }
            }
        }
        Some(outcomes)
    }

    /// An open and warm connection.
    fn ready(&mut self, arm: Arm) -> Result<(), Fault> {
        if !self.is_open[arm.index()] {
            for _ in 0..WARM_REQUESTS {
                self.request(arm)?;
            }
        }
        Ok(())
    }

    /// Opens an arm anew and sends requests that nobody times.
    pub fn warm(&mut self, arm: Arm, requests: u64) -> Result<(), Fault> {
        self.is_open[arm.index()] = false;
        self.send(arm, requests)
    }

    /// Sends so many requests over one arm alone, opening it where it is not open.
    pub fn send(&mut self, arm: Arm, requests: u64) -> Result<(), Fault> {
        let mut failed_in_a_row = 0;
        for _ in 0..requests {
            match self.request(arm) {
                Ok(()) => failed_in_a_row = 0,
                Err(fault) => {
                    failed_in_a_row += 1;
                    let is_hopeless = matches!(fault.layer, Layer::Connect | Layer::Auth);
                    if is_hopeless || failed_in_a_row >= UNTIMED_FAILED_IN_A_ROW_MAX {
                        return Err(fault);
                    }
                }
            }
        }
        Ok(())
    }

    fn request(&mut self, arm: Arm) -> Result<(), Fault> {
        if !self.is_open[arm.index()] {
            self.wire.open(arm)?;
        }
        self.number += 1;
        self.exchange(arm, self.number).map(|_| ())
    }

    fn exchange(&mut self, arm: Arm, number: u64) -> Result<Answer, Fault> {
        self.is_open[arm.index()] = false;
        let answer = self.wire.exchange(arm, number)?;
        self.is_open[arm.index()] = answer.reusable;
        Ok(answer)
    }
}
