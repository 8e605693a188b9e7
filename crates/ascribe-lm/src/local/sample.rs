//! One token from a row of logits, on the host.

use ascribe_core::{Mode, Sampling, Stream};
use rand::RngExt;

/// The token that is chosen, and its log-probability under the model itself.
pub(super) fn choose(logits: &[f32], mode: Mode, stream: &mut Stream) -> (u32, f32) {
    let token = match mode {
        Mode::Greedy => greedy(logits),
        Mode::Sample(sampling) => draw(logits, sampling, stream),
    };
    (token as u32, (f64::from(logits[token]) - log_sum_exp(logits)) as f32)
}

fn greedy(logits: &[f32]) -> usize {
    // Strictly greater: the smaller id wins a tie.
    logits.iter().enumerate().fold(0, |best, (id, logit)| if *logit > logits[best] { id } else { best })
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    f64::from(largest) + sum.ln()
}

/// Temperature, then the k most likely, then the nucleus: the order of transformers.
fn draw(logits: &[f32], sampling: Sampling, stream: &mut Stream) -> usize {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |id: usize| f64::from(((logits[id] - largest) / sampling.temperature).exp());
    let mut kept: Vec<usize> = (0..logits.len()).collect();
    if sampling.top_k.is_some() || sampling.top_p < 1.0 {
        kept.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        kept.truncate(sampling.top_k.unwrap_or(kept.len()).max(1));
        let total: f64 = kept.iter().map(|id| weight(*id)).sum();
        let mut mass = 0.0;
        let enough = kept.iter().position(|id| {
            mass += weight(*id);
            mass >= f64::from(sampling.top_p) * total
        });
        kept.truncate(enough.map_or(kept.len(), |at| at + 1));
    }
    let total: f64 = kept.iter().map(|id| weight(*id)).sum();
    let mut left = stream.random::<f64>() * total;
    for id in &kept {
        left -= weight(*id);
        if left < 0.0 {
            return *id;
        }
    }
    // Rounding may leave a crumb after the last weight.
    kept[kept.len() - 1]
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;

    use super::*;

    fn frequencies(sampling: Sampling) -> Vec<f64> {
        let mut stream = Seed(1).stream("test", 0);
        let logits = [0.0, 4.0f32.ln(), 2.0f32.ln(), f32::NEG_INFINITY]; // weights 1, 4, 2, 0
        let mut counts = [0.0; 4];
        (0..20_000).for_each(|_| counts[draw(&logits, sampling, &mut stream)] += 1.0 / 20_000.0);
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
    }

    #[test]
    fn greedy_takes_the_smaller_id_of_a_tie() {
        let mut stream = Seed(0).stream("test", 0);
        let (token, logp) = choose(&[1.0, 2.0, 2.0], Mode::Greedy, &mut stream);
        assert_eq!(token, 1);
        // 1 / (2 + e^-1)
        assert!((logp - -(2.0f32 + (-1.0f32).exp()).ln()).abs() < 1e-6);
    }
}
