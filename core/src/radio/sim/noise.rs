//! Where the simulated air's chance comes from: values that are looked up, not drawn.
//!
//! ```text
//! mix(z)      = SplitMix64's output function
//! n.of(name)  = mix(n + (name + 1) * 0x9E3779B97F4A7C15)         the output number `name` of SplitMix64 seeded with n
//! packet k of transmission t of device d, at receiver r  =  seed.of(PACKETS).of(d).of(t).of(k).of(r)
//! ```
//!
//! A stream of random numbers would give each packet a different value when time is advanced in other steps, or when another device is asked first.
//! Here the value belongs to the thing it is for, so a simulation does not depend on the order in which it is worked out.
//!
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. It is quick and even, and no secret can be made of it.

/// A point in the tree of random values; both a value and the root of further ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise(u64);

impl Noise {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The point called `name` below this one.
    pub(super) const fn of(self, name: u64) -> Self {
        let z = self.0.wrapping_add(name.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(z ^ (z >> 31))
    }

    /// 64 even bits.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Even in `0..n`; 0 for an `n` of 0.
    pub(super) const fn below(self, n: u32) -> u32 {
        (((self.0 >> 32) * n as u64) >> 32) as u32
    }

    /// Even in `low..high`.
    pub(super) fn between(self, low: f64, high: f64) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        low + (high - low) * ((self.0 >> 11) as f64 * STEP)
    }

    /// Normal with mean 0 and deviation 1, never further out than 4.3: the sum of the six low bytes.
    /// Sums of integers are the same on every machine, and six are near enough to the bell for a radio.
    pub(super) fn normal(self) -> f64 {
        /// One over the deviation of that sum, sqrt(6 * (256^2 - 1) / 12).
        const SCALE: f64 = 1.0 / 181.017_954_910_728_15;
        let [a, b, c, d, e, f, ..] = self.0.to_le_bytes();
        let sum: i32 = [a, b, c, d, e, f].into_iter().map(i32::from).sum();
        f64::from(2 * sum - 6 * 255) * 0.5 * SCALE
    }

    /// True with `probability` (0 to 1, in steps of 1/65536). Of the two high bytes, so it may be asked beside [`normal`](Self::normal).
    pub(super) fn happens(self, probability: f64) -> bool {
        ((self.0 >> 48) as f64) < probability * 65536.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_outputs_of_splitmix64() {
        // Seed 1234567, as in the reference implementation's well-known test.
        let published: [u64; 5] = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (i, expected) in (0..).zip(published) {
            assert_eq!(Noise::new(1_234_567).of(i).bits(), expected);
        }
    }

    #[test]
    fn values_have_the_distribution_they_promise() {
        let n = 100_000_u32;
        let points = || (0..u64::from(n)).map(|i| Noise::new(7).of(i));
        let mean = |f: &dyn Fn(Noise) -> f64| points().map(f).sum::<f64>() / f64::from(n);
        assert!(mean(&Noise::normal).abs() < 0.02);
        assert!((mean(&|p| p.normal() * p.normal()) - 1.0).abs() < 0.02);
        assert!((mean(&|p| p.between(2.0, 4.0)) - 3.0).abs() < 0.02);
        assert!((mean(&|p| f64::from(p.below(11))) - 5.0).abs() < 0.05);
        assert!((mean(&|p| f64::from(u8::from(p.happens(0.3)))) - 0.3).abs() < 0.01);
        assert!(points().all(|p| p.happens(1.0) && !p.happens(0.0)));
    }
}
