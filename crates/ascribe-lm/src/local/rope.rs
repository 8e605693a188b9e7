//! Rotary position embedding (arXiv:2104.09864) in the rotate-half layout, and the ways in which it is stretched.

use std::f64::consts::TAU;

/// How rotary frequencies are stretched beyond the length that a model was trained with.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    Plain,
    /// Every frequency divided by `factor` (arXiv:2306.15595).
    Linear {
        /// Divides the frequencies.
        factor: f64,
    },
    /// The base grows with the sequence once it is longer than `original` ("dynamic NTK").
    Dynamic {
        /// How far the base grows.
        factor: f64,
        /// Length that the model was trained with.
        original: f64,
    },
    /// YaRN (arXiv:2309.00071): fast frequencies kept, slow ones divided, a ramp between them.
    Yarn {
        /// Divides the slow frequencies.
        factor: f64,
        /// Turns within `original` above which a frequency is kept.
        fast: f64,
        /// Turns within `original` below which a frequency is divided.
        slow: f64,
        /// Length that the model was trained with.
        original: f64,
        /// Multiplies sine and cosine.
        magnitude: f64,
        /// Whether the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
    /// A divisor a frequency (arXiv:2402.13753): one list up to the original length, another beyond it.
    Long {
        /// Divisors for sequences of at most `original` tokens.
        short: Vec<f64>,
        /// Divisors for longer ones.
        long: Vec<f64>,
        /// Length that the model was trained with.
        original: f64,
        /// Multiplies sine and cosine.
        magnitude: f64,
    },
    /// Llama 3: slow frequencies divided by `factor`, fast ones kept, those between interpolated.
    Llama3 {
        /// Divides the slow frequencies.
        factor: f64,
        /// Wavelengths above `original / low` are divided.
        low: f64,
        /// Wavelengths below `original / high` are kept.
        high: f64,
        /// Length that the model was trained with.
        original: f64,
    },
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Frequencies as trained.
    pub fn plain(theta: f64) -> Self {
        Self { theta, scaling: RopeScaling::Plain }
    }

    /// Cosine and sine of every angle of the given positions, `[positions, head_dim / 2]` each.
    pub fn table(&self, positions: &[usize], head_dim: usize) -> [Vec<f32>; 2] {
        let length = positions.iter().max().map_or(0, |last| last + 1);
        let (frequencies, magnitude) = self.frequencies(head_dim, length);
        // As in transformers, the angle is a product of two f32.
        let angles = positions.iter().flat_map(|at| frequencies.iter().map(move |frequency| *at as f32 * frequency));
        angles.map(|angle| [angle.cos() * magnitude, angle.sin() * magnitude]).fold(
            [const { Vec::new() }; 2],
            |[mut cos, mut sin], [c, s]| {
                cos.push(c);
                sin.push(s);
                [cos, sin]
            },
        )
    }

    /// The frequencies for a sequence of `length` tokens, `head_dim / 2` of them, and what multiplies sine and cosine.
    fn frequencies(&self, head_dim: usize, length: usize) -> (Vec<f32>, f32) {
        let (width, length) = (head_dim as f64, length as f64);
        let base = match &self.scaling {
            RopeScaling::Dynamic { factor, original } if length > *original => {
                self.theta * (factor * length / original - (factor - 1.0)).powf(width / (width - 2.0))
            }
            _ => self.theta,
        };
        let plain = |i: usize| base.powf(-2.0 * i as f64 / width);
        let (stretch, magnitude): (Box<dyn Fn(usize) -> f64 + '_>, f64) = match &self.scaling {
            RopeScaling::Plain | RopeScaling::Dynamic { .. } => (Box::new(plain), 1.0),
            RopeScaling::Linear { factor } => (Box::new(move |i| plain(i) / factor), 1.0),
            RopeScaling::Yarn { factor, fast, slow, original, magnitude, truncate } => {
                // The dimension whose frequency turns so often within the original length.
                let dimension = |turns: f64| width * (original / (turns * TAU)).ln() / (2.0 * self.theta.ln());
                let (low, high) = (dimension(*fast), dimension(*slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(width - 1.0));
                let span = if low == high { 0.001 } else { high - low };
                let divided = move |i: usize| ((i as f64 - low) / span).clamp(0.0, 1.0);
                (Box::new(move |i| plain(i) * (divided(i) / factor + 1.0 - divided(i))), *magnitude)
            }
            RopeScaling::Long { short, long, original, magnitude } => {
                let divisors = if length > *original { long } else { short };
                (Box::new(move |i| plain(i) / divisors.get(i).copied().unwrap_or(1.0)), *magnitude)
            }
            RopeScaling::Llama3 { factor, low, high, original } => {
                let stretch = move |frequency: f64| {
                    let wavelength = TAU / frequency;
                    if wavelength < original / high {
                        frequency
                    } else if wavelength > original / low {
                        frequency / factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                (Box::new(move |i| stretch(plain(i))), 1.0)
            }
        };
        ((0..head_dim / 2).map(|i| stretch(i) as f32).collect(), magnitude as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frequencies of transformers 5.23 (`ROPE_INIT_FUNCTIONS`), heads of 16, base 10000.
    fn check(scaling: RopeScaling, length: usize, expected: [f64; 8], magnitude: f64) {
        let rope = Rope { theta: 10_000.0, scaling };
        let (got, by) = rope.frequencies(16, length);
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() <= 2e-6 * expected, "{rope:?}: {got} and not {expected}");
        }
        assert!((f64::from(by) - magnitude).abs() < 1e-6, "{rope:?}: {by} and not {magnitude}");
    }

    #[test]
    fn stretched_frequencies_are_those_of_transformers() {
        let plain = [1.0, 0.316_227_76, 0.1, 0.031_622_78, 0.01, 0.003_162_277_6, 0.001, 0.000_316_227_76];
        check(RopeScaling::Plain, 100, plain, 1.0);
        check(RopeScaling::Linear { factor: 2.0 }, 100, plain.map(|frequency| frequency / 2.0), 1.0);
        let dynamic = RopeScaling::Dynamic { factor: 2.0, original: 256.0 };
        check(dynamic.clone(), 200, plain, 1.0);
        let longer = [
            1.0,
            0.240_412_04,
            0.057_797_946,
            0.013_895_323_5,
            0.003_340_602_85,
            0.000_803_121_13,
            0.000_193_079_99,
            0.000_046_418_754,
        ];
        check(dynamic, 1000, longer, 1.0);
    }

    #[test]
    fn yarn_is_that_of_transformers() {
        let magnitude = 1.207_944_154_167_983_6;
        let rounded =
            RopeScaling::Yarn { factor: 8.0, fast: 32.0, slow: 1.0, original: 32.0, magnitude, truncate: true };
        let expected =
            [1.0, 0.177_878_11, 0.012_5, 0.003_952_847_3, 0.001_25, 0.000_395_284_73, 0.000_125, 0.000_039_528_473];
        check(rounded, 100, expected, magnitude);
        let magnitude = 1.025_928_650_147_828_4;
        let smooth =
            RopeScaling::Yarn { factor: 4.0, fast: 16.0, slow: 2.0, original: 64.0, magnitude, truncate: false };
        let expected =
            [1.0, 0.148_490_25, 0.025, 0.007_905_694_66, 0.002_5, 0.000_790_569_466, 0.000_25, 0.000_079_056_947];
        check(smooth, 100, expected, magnitude);
    }

    #[test]
    fn longrope_takes_the_list_of_the_length() {
        let magnitude = 1.154_700_538_379_251_7;
        let long = RopeScaling::Long {
            short: vec![1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
            long: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            original: 64.0,
            magnitude,
        };
        let within = [
            1.0,
            0.287_479_76,
            0.083_333_336,
            0.024_325_214,
            0.007_142_857,
            0.002_108_185_3,
            0.000_625,
            0.000_186_016_33,
        ];
        check(long.clone(), 50, within, magnitude);
        let beyond = [
            1.0,
            0.158_113_88,
            0.033_333_335,
            0.007_905_694_66,
            0.002,
            0.000_527_046_33,
            0.000_142_857_14,
            0.000_039_528_473,
        ];
        check(long, 100, beyond, magnitude);
    }

    #[test]
    fn llama3_is_that_of_transformers() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64.0 };
        let expected = [
            1.0,
            0.244_384_59,
            0.013_042_256,
            0.003_952_847_3,
            0.001_25,
            0.000_395_284_73,
            0.000_125,
            0.000_039_528_473,
        ];
        check(scaling, 100, expected, 1.0);
    }
}
