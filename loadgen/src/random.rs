//! Seeded random numbers for schedules, mixes and latencies: the same seed gives the same run. SplitMix64
//! is short, fast and more than random enough for that; nothing secret is made of it.

#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In 0..`end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// Exponential with mean 1: the gaps of a Poisson process.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_repeats_and_the_moments_are_right() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| one.next_u64() == other.next_u64()));
        let n = 200_000;
        let mut sums = [0.0; 4];
        for _ in 0..n {
            let (unit, gap, normal) = (one.unit(), one.exponential(), one.normal());
            for (sum, value) in sums.iter_mut().zip([unit, gap, normal, normal * normal]) {
                *sum += value / f64::from(n);
            }
        }
        for (mean, expected) in sums.into_iter().zip([0.5, 1.0, 0.0, 1.0]) {
            assert!((mean - expected).abs() < 0.02, "{mean}, expected {expected}");
        }
        assert!((0..1000).all(|_| one.below(3) < 3));
    }
}
