//! What was counted of each generation: the served one, the one on trial, and all earlier ones together.
//!
//! A generation's tally is written by workers for as long as an exchange of it is under way, long after another one is served. So an
//! earlier one is kept until nobody else holds it, and added up only then: the sum of earlier ones never falls and forgets nothing.

use std::sync::Arc;

use strait_engine::figures::generations::Tally;
use strait_engine::figures::histogram::Distribution;
use strait_engine::figures::labels::Outcome;

#[derive(Debug, Default)]
pub struct Generations {
    live: Option<Arc<Tally>>,
    candidate: Option<Arc<Tally>>,
    /// Earlier ones that exchanges may still be counted in.
    leaving: Vec<Arc<Tally>>,
    earlier: Figures,
}

/// Of one generation, or several.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    outcomes: [u64; Outcome::ALL.len()],
    pub duration: Distribution,
    pub added: Distribution,
}

/// What generations are called that are not in use any more.
pub const EARLIER: &str = "earlier";

impl Figures {
    fn add(&mut self, tally: &Tally) {
        for (count, outcome) in self.outcomes.iter_mut().zip(Outcome::ALL) {
            *count += tally.outcome(*outcome);
        }
        for worker in tally.workers() {
            worker.duration.read_into(&mut self.duration);
            worker.added.read_into(&mut self.added);
        }
    }

    fn of(tally: &Tally) -> Figures {
        let mut figures = Figures::default();
        figures.add(tally);
        figures
    }

    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL.iter().zip(self.outcomes).map(|(outcome, count)| (outcome.label(), count))
    }
}

impl Generations {
    pub fn serves(&mut self, live: &Arc<Tally>) {
        let last = self.live.replace(live.clone());
        self.leave(last);
    }

    pub fn tries(&mut self, candidate: Option<&Arc<Tally>>) {
        let last = std::mem::replace(&mut self.candidate, candidate.cloned());
        self.leave(last);
    }

    fn leave(&mut self, last: Option<Arc<Tally>>) {
        let is_in_use = |last: &Arc<Tally>| {
            [&self.live, &self.candidate].into_iter().flatten().any(|tally| Arc::ptr_eq(tally, last))
        };
        if let Some(last) = last.filter(|last| !is_in_use(last)) {
            self.leaving.push(last);
        }
    }

    /// Adds up what nobody counts in any more.
    pub fn free(&mut self) {
        // One that is served again, as the same generation with other keys, is no earlier one.
        let (earlier, in_use) = (&mut self.earlier, [&self.live, &self.candidate]);
        self.leaving.retain_mut(|tally| {
            if in_use.into_iter().flatten().any(|used| Arc::ptr_eq(used, tally)) {
                return false;
            }
            let is_left = Arc::get_mut(tally).is_none();
            if !is_left {
                earlier.add(tally);
            }
            is_left
        });
    }

    /// What each counted, by its name: the served one first, the earlier ones last.
    pub fn read(&self) -> Vec<(String, Figures)> {
        let mut earlier = self.earlier.clone();
        self.leaving.iter().for_each(|tally| earlier.add(tally));
        let in_use = [&self.live, &self.candidate].into_iter().flatten();
        let named = in_use.map(|tally| (tally.generation.to_string(), Figures::of(tally)));
        named.chain([(EARLIER.to_owned(), earlier)]).collect()
    }

    /// The names of the served one and the one on trial.
    pub fn roles(&self) -> impl Iterator<Item = (&'static str, String)> {
        let name = |tally: &Option<Arc<Tally>>| tally.as_ref().map(|tally| tally.generation.to_string());
        let roles = [("live", name(&self.live)), ("candidate", name(&self.candidate))];
        roles.into_iter().filter_map(|(role, name)| Some((role, name?)))
    }
}

#[cfg(test)]
mod tests {
    use strait_table::Generation;

    use super::*;

    fn tally(byte: u8, ok: u64) -> Arc<Tally> {
        let tally = Tally::new(Generation([byte; 32]), 2);
        tally.workers()[0].outcomes(Outcome::Ok).add(ok);
        tally.workers()[1].added.record(1_000);
        Arc::new(tally)
    }

    fn counts(generations: &Generations) -> Vec<(String, u64)> {
        let ok = |figures: &Figures| figures.outcomes().next().map_or(0, |(_, count)| count);
        generations.read().iter().map(|(name, figures)| (name[..2].to_owned(), ok(figures))).collect()
    }

    #[test]
    fn a_generation_that_goes_is_counted_among_the_earlier_ones_for_ever() {
        let mut generations = Generations::default();
        let (one, two) = (tally(1, 5), tally(2, 7));
        generations.serves(&one);
        generations.tries(Some(&two));
        assert_eq!(counts(&generations), [("01".into(), 5), ("02".into(), 7), ("ea".into(), 0)]);
        // Promoted: the one that was served is an earlier one, and an exchange of it is under way.
        generations.serves(&two);
        generations.tries(None);
        generations.free();
        one.workers()[0].outcomes(Outcome::Ok).add(1);
        assert_eq!(counts(&generations), [("02".into(), 7), ("ea".into(), 6)]);
        drop(one);
        generations.free();
        assert!(generations.leaving.is_empty());
        assert_eq!(counts(&generations), [("02".into(), 7), ("ea".into(), 6)]);
        let earlier = generations.read().pop().unwrap().1;
        assert_eq!(earlier.added.count(), 1);
        // Rolled back, and tried again: it begins anew.
        generations.tries(Some(&tally(3, 9)));
        generations.tries(None);
        generations.free();
        generations.tries(Some(&tally(3, 1)));
        assert_eq!(counts(&generations), [("02".into(), 7), ("03".into(), 1), ("ea".into(), 15)]);
        assert_eq!(generations.roles().map(|(role, _)| role).collect::<Vec<_>>(), ["live", "candidate"]);
    }

    #[test]
    fn the_same_generation_with_other_keys_is_the_same() {
        let (mut generations, one) = (Generations::default(), tally(1, 5));
        generations.serves(&one);
        generations.serves(&one);
        generations.free();
        assert_eq!(counts(&generations), [("01".into(), 5), ("ea".into(), 0)]);
    }
}
