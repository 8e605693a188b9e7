//! One decoder out of several: rewarded soups, arXiv:2306.04488; IBCL, arXiv:2305.14782, with deviations of 0.
//!
//! ```text
//! theta = theta_0 + sum_i w_i (theta_i - theta_0) = sum_i w_i theta_i,   sum_i w_i = 1
//! ```
//! The sum means something only where all decoders come from one start. Of one with an adapter take the merged weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::Decoder;
use crate::LmError;

/// How far from 1 the weights may sum up.
const TOLERANCE: f64 = 1e-3;

impl Decoder {
    /// The decoder whose parameters are the sums of those of `parts`, each times its weight, brought to a sum of 1 to the last
    /// digit; without gradients. A part with the weight 0 counts for nothing, and one with the weight 1 is itself to the bit.
    ///
    /// # Errors
    /// When the weights are not in [0, 1] or do not sum to 1 within 0.001, the decoders differ in shape, or one has an adapter.
    pub fn weighted_sum(parts: &[(&Decoder, f64)]) -> Result<Self, LmError> {
        let refuse = |what: String, remedy: &str| LmError::unsupported(what, remedy);
        if let Some((_, got)) = parts.iter().find(|(_, weight)| !(0.0..=1.0).contains(weight)) {
            return Err(refuse(format!("a model with the weight {got} in a sum"), "use weights from 0 to 1"));
        }
        let sum: f64 = parts.iter().map(|(_, weight)| weight).sum();
        let Some((first, _)) = parts.first().filter(|_| (sum - 1.0).abs() <= TOLERANCE) else {
            return Err(refuse(format!("a sum of models whose weights sum to {sum}"), "use weights that sum to 1"));
        };
        for (part, _) in parts {
            if part.lora().is_some() {
                return Err(refuse(
                    "a sum of models with adapters".to_owned(),
                    "merge each adapter into its base first",
                ));
            }
            if part.config() != first.config() {
                return Err(refuse(
                    "a sum of models of different shapes".to_owned(),
                    "use models that were trained from one start",
                ));
            }
        }
        let mut sums = Sums { sums: GradientsParams::new(), weight: 0.0 };
        for (part, weight) in parts.iter().filter(|(_, weight)| *weight > 0.0) {
            sums.weight = *weight / sum;
            part.valid().visit(&mut sums);
        }
        Ok(first.valid().map(&mut Put(sums.sums)))
    }
}

/// Sums of parameters by their ids, which depend on their names alone.
struct Sums {
    sums: GradientsParams,
    weight: f64,
}

impl ModuleVisitor for Sums {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let own = param.val().mul_scalar(self.weight);
        let sum = match self.sums.remove::<D>(param.id) {
            Some(sum) => sum + own,
            None => own,
        };
        self.sums.register(param.id, sum);
    }
}

/// Puts them in the place of the parameters.
struct Put(GradientsParams);

impl ModuleMapper for Put {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.remove::<D>(param.id) {
            Some(sum) => param.map(|_| sum),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use ascribe_testkit::device::device;

    use super::super::{DecoderConfig, LoraConfig, RandomWeights};
    use super::*;

    fn tiny(width: usize, seed: u64) -> Decoder {
        let config = DecoderConfig::tiny(12, width, 1, 2, 32);
        Decoder::load(&config, &mut RandomWeights { seed: Seed(seed), layers: 1 }, &device()).unwrap()
    }

    #[test]
    fn every_parameter_is_the_weighed_sum() {
        let (one, two, three) = (tiny(16, 1), tiny(16, 2), tiny(16, 3));
        let sum = Decoder::weighted_sum(&[(&one, 0.5), (&two, 0.25), (&three, 0.25)]).unwrap();
        let [one, two, three, sum] = [one, two, three, sum].map(|decoder| decoder.named());
        assert!(sum.len() > 5);
        for (((a, b), c), got) in one.iter().zip(&two).zip(&three).zip(&sum) {
            assert_eq!((&got.0, &got.1), (&a.0, &a.1));
            for (((a, b), c), got) in a.2.iter().zip(&b.2).zip(&c.2).zip(&got.2) {
                assert!((0.5 * a + 0.25 * b + 0.25 * c - got).abs() < 1e-6, "{a} {b} {c}: {got}");
            }
        }
    }

    #[test]
    fn one_alone_is_itself_and_equal_models_are_too() {
        let (one, two) = (tiny(16, 1), tiny(16, 2));
        let sum = |weights: [f64; 2]| Decoder::weighted_sum(&[(&one, weights[0]), (&two, weights[1])]).unwrap().hash();
        assert_eq!([sum([1.0, 0.0]), sum([0.0, 1.0])], [one.hash(), two.hash()]);
        assert_ne!(sum([0.5, 0.5]), one.hash());
        let equal = Decoder::weighted_sum(&[(&one, 0.5), (&one, 0.5)]).unwrap();
        assert_eq!(equal.hash(), one.hash());
        // Of equal models every mean is the model, also where the weights are rounded.
        let thirds = Decoder::weighted_sum(&[(&one, 0.3333); 3]).unwrap();
        for ((.., own), (.., got)) in one.named().iter().zip(thirds.named()) {
            assert!(own.iter().zip(&got).all(|(own, got)| (own - got).abs() <= 1e-6 * (1.0 + own.abs())));
        }
        // The order of the parts does not matter.
        let turned = Decoder::weighted_sum(&[(&two, 0.5), (&one, 0.5)]).unwrap();
        assert_eq!(turned.hash(), sum([0.5, 0.5]));
    }

    #[test]
    fn what_cannot_be_added_up_is_refused() {
        let (one, wide) = (tiny(16, 1), tiny(32, 1));
        let adapted = one.with_lora(&LoraConfig::default(), Seed(1)).unwrap();
        for (parts, said) in [
            (vec![], "use weights that sum to 1"),
            (vec![(&one, 0.5), (&one, 0.6)], "weights sum to 1.1"),
            (vec![(&one, 1.5), (&one, -0.5)], "the weight 1.5"),
            (vec![(&one, f64::NAN)], "the weight NaN"),
            (vec![(&one, 0.5), (&wide, 0.5)], "different shapes"),
            (vec![(&one, 0.5), (&adapted, 0.5)], "merge each adapter"),
        ] {
            let error = Decoder::weighted_sum(&parts).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
