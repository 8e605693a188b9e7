//! One token from a row of logits, on the host.

use ascribe_core::kernels::{boltzmann, log_sum_exp};
use ascribe_core::{Mode, Sampling, Stream};
use rand::RngExt;

use crate::sampling::{Transform, most_likely};

/// The token that is chosen after the ids `seen` (prompt, then response), and its log-probability under the model itself.
pub(super) fn choose(logits: &[f32], mode: Mode, seen: [&[u32]; 2], stream: &mut Stream) -> (u32, f32) {
    let token = match mode {
        Mode::Greedy | Mode::Top => greedy(logits),
        Mode::Sample(sampling) => draw(logits, &sampling, seen, stream),
    };
    (token as u32, logits[token] - log_sum_exp(logits))
}

/// The `n` most likely tokens, most likely first, with their log-probabilities; ties go to the smaller id.
pub(super) fn top(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let log_sum = log_sum_exp(logits);
    let logp = |id: u32| logits[id as usize] - log_sum;
    most_likely(logits, n).into_iter().map(|id| (id, logp(id))).collect()
}

fn greedy(logits: &[f32]) -> usize {
    // Strictly greater: the smaller id wins a tie.
    logits.iter().enumerate().fold(0, |best, (id, logit)| if *logit > logits[best] { id } else { best })
}

/// A token of the distribution that the options leave.
fn draw(logits: &[f32], sampling: &Sampling, seen: [&[u32]; 2], stream: &mut Stream) -> usize {
    let chain = Transform::of(sampling);
    if matches!(chain[..], [] | [Transform::Temperature(_)]) {
        return pick(&boltzmann(logits, sampling.temperature), stream);
    }
    let ids = if chain.iter().any(|transform| transform.looks_back()) { seen.concat() } else { Vec::new() };
    let mut cut = logits.to_vec();
    Transform::apply_all(&chain, &mut cut, &ids);
    let mut kept: Vec<usize> = (0..cut.len()).filter(|id| cut[*id] > f32::NEG_INFINITY).collect();
    if sampling.top_k.is_some() || sampling.top_p < 1.0 {
        // Few are left, and a stream gives the most likely of them the smallest numbers. Equal ones stay in order.
        kept.sort_by(|left, right| cut[*right].total_cmp(&cut[*left]));
    }
    let left: Vec<f32> = kept.iter().map(|id| cut[*id]).collect();
    // Nothing is left of logits that are no numbers.
    kept.get(pick(&boltzmann(&left, 1.0), stream)).copied().unwrap_or(0)
}

/// The index that a number of the stream falls on, given weights that need not add up to 1.
fn pick(weights: &[f32], stream: &mut Stream) -> usize {
    // Sums of stretches first, so that few weights are looked at one by one.
    const STRETCH: usize = 256;
    let sum = |weights: &[f32]| {
        let mut sums = [0.0; 8];
        for (at, weight) in weights.iter().enumerate() {
            sums[at % 8] += f64::from(*weight);
        }
        sums.iter().sum::<f64>()
    };
    let sums: Vec<f64> = weights.chunks(STRETCH).map(sum).collect();
    let mut left = stream.random::<f64>() * sums.iter().sum::<f64>();
    for (weights, (stretch, sum)) in weights.chunks(STRETCH).zip(sums.iter().enumerate()) {
        if left >= *sum {
            left -= sum;
            continue;
        }
        for (at, weight) in weights.iter().enumerate() {
            left -= f64::from(*weight);
            if left < 0.0 {
                return stretch * STRETCH + at;
            }
        }
    }
    // Rounding may leave a crumb after the last weight.
    weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;

    use super::*;

    fn frequencies(sampling: Sampling) -> Vec<f64> {
        let mut stream = Seed(1).stream("test", 0);
        let logits = [0.0, 4.0f32.ln(), 2.0f32.ln(), f32::NEG_INFINITY]; // weights 1, 4, 2, 0
        let mut counts = [0.0; 4];
        (0..20_000).for_each(|_| counts[draw(&logits, &sampling, [&[2, 1], &[1]], &mut stream)] += 1.0 / 20_000.0);
        counts.to_vec()
    }

    fn check(sampling: Sampling, expected: [f64; 4]) {
        for (got, expected) in frequencies(sampling).iter().zip(expected) {
            // Five standard errors of a frequency over 20,000 draws are below 0.018.
            assert!((got - expected).abs() < 0.018, "{got} beside {expected}");
        }
    }

    #[test]
    fn frequencies_follow_the_transformed_distribution() {
        let plain = Sampling::default();
        check(plain, [1.0 / 7.0, 4.0 / 7.0, 2.0 / 7.0, 0.0]);
        check(Sampling { temperature: 0.5, ..plain }, [1.0 / 21.0, 16.0 / 21.0, 4.0 / 21.0, 0.0]);
        check(Sampling { top_k: Some(2), ..plain }, [0.0, 4.0 / 6.0, 2.0 / 6.0, 0.0]);
        check(Sampling { top_p: 0.57, ..plain }, [0.0, 1.0, 0.0, 0.0]);
        check(Sampling { top_p: 0.6, ..plain }, [0.0, 4.0 / 6.0, 2.0 / 6.0, 0.0]);
        check(Sampling { min_p: Some(0.4), ..plain }, [0.0, 4.0 / 6.0, 2.0 / 6.0, 0.0]);
        // 1 and 2 were seen: ln 4 and ln 2 are halved, to the weights 2 and sqrt 2.
        let total = 3.0 + 2f64.sqrt();
        let penalised = [1.0 / total, 2.0 / total, 2f64.sqrt() / total, 0.0];
        check(Sampling { repetition_penalty: Some(2.0), ..plain }, penalised);
        // The last token was 1, and 1 came after it once.
        check(Sampling { no_repeat_ngram_size: Some(2), ..plain }, [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0]);
    }

    #[test]
    fn a_log_probability_is_the_models_own_however_the_token_was_drawn() {
        let logits = [0.0, 4.0f32.ln(), 2.0f32.ln()]; // 1, 4, 2 of 7
        let plain = Sampling::default();
        for sampling in [plain, Sampling { temperature: 0.3, ..plain }, Sampling { top_k: Some(2), ..plain }] {
            let mut stream = Seed(3).stream("test", 0);
            let (token, logp) = choose(&logits, Mode::Sample(sampling), [&[], &[]], &mut stream);
            assert!((logp - ([1.0f32, 4.0, 2.0][token as usize] / 7.0).ln()).abs() < 1e-6, "{sampling:?}");
        }
    }

    #[test]
    fn the_most_likely_tokens_come_with_their_log_probabilities() {
        let logits = [0.0, 4.0f32.ln(), 2.0f32.ln(), 4.0f32.ln()]; // 1, 4, 2, 4 of 11
        let got = top(&logits, 3);
        assert_eq!(got.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 3, 2]);
        for ((_, logp), weight) in got.iter().zip([4.0f32, 4.0, 2.0]) {
            assert!((logp - (weight / 11.0).ln()).abs() < 1e-6);
        }
        assert_eq!(top(&logits, 9).len(), 4);
    }

    #[test]
    fn logits_that_are_no_numbers_do_not_panic() {
        let mut stream = Seed(0).stream("test", 0);
        for sampling in [Sampling::default(), Sampling { top_k: Some(2), top_p: 0.5, ..Sampling::default() }] {
            let (token, logp) = choose(&[f32::NAN; 3], Mode::Sample(sampling), [&[], &[]], &mut stream);
            assert!(token < 3 && logp.is_nan());
        }
        assert!(top(&[f32::NAN; 3], 2).is_empty());
    }

    #[test]
    fn greedy_takes_the_smaller_id_of_a_tie() {
        let mut stream = Seed(0).stream("test", 0);
        let (token, logp) = choose(&[1.0, 2.0, 2.0], Mode::Greedy, [&[], &[]], &mut stream);
        assert_eq!(token, 1);
        // 1 / (2 + e^-1)
        assert!((logp - -(2.0f32 + (-1.0f32).exp()).ln()).abs() < 1e-6);
    }
}
