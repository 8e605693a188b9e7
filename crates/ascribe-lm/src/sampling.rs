//! What happens to logits before a token is drawn, as in transformers' logits processors.
//!
//! ```text
//! repetition penalty   l / penalty if l > 0, else l * penalty, for every token seen      arXiv:1909.05858
//! n-grams              l = -inf for a token that would complete an n-gram seen before
//! temperature          (l - max l) / temperature
//! top-k                the k most likely
//! top-p                the shortest list of most likely tokens that reaches p            arXiv:1904.09751
//! min-p                p >= min_p * max p                                                arXiv:2407.01082
//! typical              the tokens of smallest |-log p - H| that reach mass p             arXiv:2202.00666
//! epsilon, eta         p >= epsilon;  p >= min(eta, sqrt(eta) exp(-H))                   arXiv:2210.15191
//! ```
//! `p` is the softmax of the logits as they are at that point, `H` its entropy; what is cut becomes negative infinity.
//! Departures: of equally likely tokens at the edge of a cut the smaller ids stay, so that top-k keeps k; temperature also
//! moves the largest logit to 0, which changes no probability; n-grams forbid nothing when they would forbid everything.

use ascribe_core::Sampling;

/// Most likely tokens that are looked at first to reach a mass.
const FIRST_LOOK: usize = 256;

/// One change of the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transform {
    /// Makes tokens that were seen less likely, above 1, or more likely, below.
    RepetitionPenalty(f32),
    /// Forbids a token that would complete a sequence of so many tokens for the second time.
    NoRepeatNgram(usize),
    /// Divides the logits.
    Temperature(f32),
    /// Keeps so many of the most likely.
    TopK(usize),
    /// Keeps the smallest set of most likely tokens that reaches the probability `p`, and at least `keep` of them.
    TopP {
        /// The probability to reach.
        p: f32,
        /// Tokens that stay in any case.
        keep: usize,
    },
    /// Keeps tokens with at least this share of the highest probability.
    MinP(f32),
    /// Keeps the tokens whose surprise is nearest to the entropy, up to this probability.
    TypicalP(f32),
    /// Keeps tokens with at least this probability.
    EpsilonCutoff(f32),
    /// Keeps tokens with at least a probability that falls with the entropy.
    EtaCutoff(f32),
}

impl Transform {
    /// The transforms that `sampling` asks for, in order; those that change nothing are left out.
    pub fn of(sampling: &Sampling) -> Vec<Self> {
        let mut chain = Vec::new();
        chain.extend(sampling.repetition_penalty.filter(|penalty| *penalty != 1.0).map(Self::RepetitionPenalty));
        chain.extend(sampling.no_repeat_ngram_size.map(Self::NoRepeatNgram));
        chain.extend((sampling.temperature != 1.0).then_some(Self::Temperature(sampling.temperature)));
        chain.extend(sampling.top_k.map(Self::TopK));
        chain.extend((sampling.top_p < 1.0).then_some(Self::TopP { p: sampling.top_p, keep: 1 }));
        chain.extend(sampling.min_p.map(Self::MinP));
        chain.extend(sampling.typical_p.filter(|p| *p < 1.0).map(Self::TypicalP));
        chain.extend(sampling.epsilon_cutoff.map(Self::EpsilonCutoff));
        chain.extend(sampling.eta_cutoff.map(Self::EtaCutoff));
        chain
    }

    /// Applies `chain` to the logits `[vocab]`, one after the other; `seen` are the ids so far, prompt included.
    ///
    /// ```
    /// use ascribe_lm::Transform;
    /// let mut logits = [2.0, 1.0, 0.0];
    /// Transform::apply_all(&[Transform::RepetitionPenalty(4.0), Transform::TopK(2)], &mut logits, &[0]);
    /// assert_eq!(logits, [0.5, 1.0, f32::NEG_INFINITY]);
    /// ```
    pub fn apply_all(chain: &[Self], logits: &mut [f32], seen: &[u32]) {
        chain.iter().for_each(|transform| transform.apply(logits, seen));
    }

    /// Whether it looks at the ids so far.
    pub fn looks_back(self) -> bool {
        matches!(self, Self::RepetitionPenalty(_) | Self::NoRepeatNgram(_))
    }

    fn apply(self, logits: &mut [f32], seen: &[u32]) {
        match self {
            Self::RepetitionPenalty(penalty) => {
                for id in unique(seen.to_vec()) {
                    if let Some(logit) = logits.get_mut(id as usize) {
                        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                    }
                }
            }
            Self::NoRepeatNgram(n) => forbid_repeated(logits, seen, n),
            Self::Temperature(temperature) => {
                let largest = largest(logits);
                logits.iter_mut().for_each(|logit| *logit = (*logit - largest) / temperature);
            }
            Self::TopK(k) => {
                let kept = most_likely(logits, k);
                keep_only(logits, &kept);
            }
            Self::TopP { p, keep } => {
                let kept = nucleus(logits, f64::from(p), keep);
                keep_only(logits, &kept);
            }
            Self::MinP(min_p) => {
                let largest = f64::from(largest(logits));
                cut(logits, |logit| (logit - largest).exp() >= f64::from(min_p));
            }
            Self::TypicalP(p) => {
                let kept = typical(logits, f64::from(p));
                keep_only(logits, &kept);
            }
            Self::EpsilonCutoff(epsilon) => {
                let log_sum = log_sum_exp(logits);
                cut(logits, |logit| (logit - log_sum).exp() >= f64::from(epsilon));
            }
            Self::EtaCutoff(eta) => {
                let (log_sum, eta) = (log_sum_exp(logits), f64::from(eta));
                let least = eta.min(eta.sqrt() * (-entropy(logits, log_sum)).exp());
                cut(logits, |logit| (logit - log_sum).exp() >= least);
            }
        }
    }
}

/// Ids of the `n` most likely tokens, most likely first; ties go to the smaller id, and forbidden tokens are left out.
pub(crate) fn most_likely(logits: &[f32], n: usize) -> Vec<u32> {
    let all = 0..logits.len() as u32;
    let mut ids: Vec<u32> = if n == 0 {
        Vec::new()
    } else if n < logits.len() {
        // Selecting among values is much faster than sorting, or than selecting among ids.
        let mut values = logits.to_vec();
        let (_, nth, _) = values.select_nth_unstable_by(n - 1, |left, right| right.total_cmp(left));
        let nth = *nth;
        all.filter(|id| logits[*id as usize] >= nth).collect()
    } else {
        all.collect()
    };
    ids.retain(|id| logits[*id as usize] > f32::NEG_INFINITY);
    ids.sort_by(|left, right| logits[*right as usize].total_cmp(&logits[*left as usize]).then(left.cmp(right)));
    ids.truncate(n);
    ids
}

/// `log sum exp`, without overflow.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = largest(logits);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    f64::from(largest) + sum.ln()
}

pub(crate) fn largest(logits: &[f32]) -> f32 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The shortest list of most likely tokens that has the share `p` of all, and at least `keep` of them.
fn nucleus(logits: &[f32], p: f64, keep: usize) -> Vec<u32> {
    let largest = largest(logits);
    let weight = |logit: f32| f64::from((logit - largest).exp());
    let wanted = p * logits.iter().map(|logit| weight(*logit)).sum::<f64>();
    let mut look = FIRST_LOOK.max(keep);
    loop {
        let mut kept = most_likely(logits, look);
        let mut mass = 0.0;
        let enough = kept.iter().position(|id| {
            mass += weight(logits[*id as usize]);
            mass >= wanted
        });
        if enough.is_some() || kept.len() < look {
            kept.truncate(enough.map_or(kept.len(), |at| at + 1).max(keep));
            return kept;
        }
        look *= 8;
    }
}

/// The shortest list of most typical tokens that has the probability `p`.
fn typical(logits: &[f32], p: f64) -> Vec<u32> {
    let log_sum = log_sum_exp(logits);
    let entropy = entropy(logits, log_sum);
    let logp = |id: u32| f64::from(logits[id as usize]) - log_sum;
    let oddness = |id: u32| (-logp(id) - entropy).abs();
    let mut kept: Vec<u32> = (0..logits.len() as u32).filter(|id| logits[*id as usize] > f32::NEG_INFINITY).collect();
    // A stable sort: the smaller id stays first.
    kept.sort_by(|left, right| oddness(*left).total_cmp(&oddness(*right)));
    let mut mass = 0.0;
    let enough = kept.iter().position(|id| {
        mass += logp(*id).exp();
        mass >= p
    });
    kept.truncate(enough.map_or(kept.len(), |at| at + 1));
    kept
}

/// The entropy of the softmax, in nats.
fn entropy(logits: &[f32], log_sum: f64) -> f64 {
    let logps = logits.iter().map(|logit| f64::from(*logit) - log_sum);
    // A forbidden token adds nothing: 0 times infinity would be NaN.
    -logps.filter(|logp| logp.is_finite()).map(|logp| logp * logp.exp()).sum::<f64>()
}

fn forbid_repeated(logits: &mut [f32], seen: &[u32], n: usize) {
    if n == 0 || seen.len() + 1 < n {
        return;
    }
    let tail = &seen[seen.len() + 1 - n..];
    let repeats = seen.windows(n).filter(|ngram| ngram[..n - 1] == *tail).map(|ngram| ngram[n - 1]);
    let possible = |id: &u32| logits.get(*id as usize).is_some_and(|logit| *logit > f32::NEG_INFINITY);
    let forbidden = unique(repeats.filter(possible).collect());
    if forbidden.len() == logits.iter().filter(|logit| **logit > f32::NEG_INFINITY).count() {
        return;
    }
    for id in forbidden {
        logits[id as usize] = f32::NEG_INFINITY;
    }
}

fn unique(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Cuts what is not accepted, but never the most likely.
fn cut(logits: &mut [f32], accepted: impl Fn(f64) -> bool) {
    let largest = largest(logits);
    for logit in logits {
        if *logit < largest && !accepted(f64::from(*logit)) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

fn keep_only(logits: &mut [f32], kept: &[u32]) {
    let values: Vec<f32> = kept.iter().map(|id| logits[*id as usize]).collect();
    logits.fill(f32::NEG_INFINITY);
    for (id, value) in kept.iter().zip(values) {
        logits[*id as usize] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: f32 = f32::NEG_INFINITY;

    fn kept(chain: &[Transform], logits: &[f32], seen: &[u32]) -> Vec<usize> {
        let mut logits = logits.to_vec();
        Transform::apply_all(chain, &mut logits, seen);
        (0..logits.len()).filter(|id| logits[*id] > CUT).collect()
    }

    /// Logits of the probabilities 0.1, 0.4, 0.2, 0.3.
    fn logits() -> Vec<f32> {
        [0.1f32, 0.4, 0.2, 0.3].map(f32::ln).to_vec()
    }

    #[test]
    fn cuts_worked_by_hand() {
        let check = |transform, expected: &[usize]| assert_eq!(kept(&[transform], &logits(), &[]), expected);
        check(Transform::TopK(3), &[1, 2, 3]);
        check(Transform::TopK(9), &[0, 1, 2, 3]);
        // 0.4 < 0.65 <= 0.4 + 0.3.
        check(Transform::TopP { p: 0.65, keep: 1 }, &[1, 3]);
        check(Transform::TopP { p: 0.3, keep: 2 }, &[1, 3]);
        // 0.6 * 0.4 = 0.24.
        check(Transform::MinP(0.6), &[1, 3]);
        check(Transform::MinP(1.0), &[1]);
        check(Transform::EpsilonCutoff(0.15), &[1, 2, 3]);
        // Nothing reaches 0.9, and the most likely stays.
        check(Transform::EpsilonCutoff(0.9), &[1]);
        // H = 0.1 ln 10 + 0.4 ln 2.5 + 0.2 ln 5 + 0.3 ln (10 / 3) = 1.2799, and sqrt(0.5) e^-H = 0.1966.
        check(Transform::EtaCutoff(0.5), &[1, 2, 3]);
        // -ln p is 2.303, 0.916, 1.609, 1.204: nearest to H are 3 (0.076), 2 (0.330), 1 (0.364), 0.
        check(Transform::TypicalP(0.45), &[2, 3]);
        check(Transform::TypicalP(0.25), &[3]);
    }

    #[test]
    fn cuts_depend_on_differences_of_logits_alone() {
        // 0.2 * 0.5 = 0.1 lies below 0.15, and 0.5 + 0.25 < 0.8 <= 0.9: three stay either way.
        let falling = [0.5f32, 0.25, 0.15, 0.07, 0.03].map(f32::ln);
        for transform in [Transform::MinP(0.2), Transform::TopP { p: 0.8, keep: 1 }, Transform::TopK(3)] {
            for shift in [0.0, -7.0, 40.0] {
                let shifted = falling.map(|logit| logit + shift);
                assert_eq!(kept(&[transform], &shifted, &[]), [0, 1, 2], "{transform:?} {shift}");
            }
        }
    }

    #[test]
    fn what_a_cut_leaves_keeps_its_logit_and_so_its_order() {
        for transform in [
            Transform::TopK(2),
            Transform::TopP { p: 0.65, keep: 1 },
            Transform::MinP(0.6),
            Transform::EpsilonCutoff(0.15),
            Transform::EtaCutoff(0.5),
            Transform::TypicalP(0.45),
        ] {
            let mut left = logits();
            Transform::apply_all(&[transform], &mut left, &[]);
            assert!(left.contains(&CUT), "{transform:?}");
            assert!(left.iter().zip(&logits()).all(|(left, before)| *left == CUT || left == before), "{transform:?}");
        }
    }

    #[test]
    fn a_tighter_cut_keeps_a_part_of_what_a_looser_one_keeps() {
        // Probabilities that fall, in an order that ids do not follow.
        let logits: Vec<f32> = (0..40u32).map(|id| -0.15 * (id * 17 % 40) as f32).collect();
        let shares = [0.99f32, 0.8, 0.5, 0.2, 0.05, 0.01];
        let check = |cut: &dyn Fn(f32) -> Transform, tighter: &[f32]| {
            let left: Vec<Vec<usize>> = tighter.iter().map(|share| kept(&[cut(*share)], &logits, &[])).collect();
            for pair in left.windows(2) {
                assert!(!pair[1].is_empty() && pair[1].iter().all(|id| pair[0].contains(id)), "{:?}", cut(0.5));
            }
            assert!(left[0].len() > left[left.len() - 1].len(), "{:?}", cut(0.5));
        };
        let rising: Vec<f32> = shares.iter().rev().copied().collect();
        check(&|share| Transform::TopK((40.0 * share) as usize + 1), &shares);
        check(&|p| Transform::TopP { p, keep: 1 }, &shares);
        check(&Transform::TypicalP, &shares);
        check(&Transform::MinP, &rising);
        check(&Transform::EpsilonCutoff, &rising);
        check(&Transform::EtaCutoff, &rising);
    }

    #[test]
    fn of_equally_likely_tokens_the_smaller_ids_stay() {
        let even = [1.0; 6];
        assert_eq!(most_likely(&even, 2), [0, 1]);
        assert_eq!(kept(&[Transform::TopK(2)], &even, &[]), [0, 1]);
        // Three sixths reach 0.45.
        assert_eq!(kept(&[Transform::TopP { p: 0.45, keep: 1 }], &even, &[]), [0, 1, 2]);
        assert_eq!(most_likely(&[CUT, 2.0, CUT, 3.0], 4), [3, 1]);
        assert!(most_likely(&even, 0).is_empty());
    }

    #[test]
    fn a_nucleus_may_be_larger_than_the_first_look() {
        // 1000 even tokens: 0.5 is reached by the first 500, 0.9995 by all.
        let even = vec![0.0; 1000];
        assert_eq!(nucleus(&even, 0.5, 1).len(), 500);
        assert_eq!(nucleus(&even, 0.9995, 1).len(), 1000);
    }

    #[test]
    fn what_was_seen_is_penalised_once() {
        let mut logits = [2.0, -1.0, 3.0, 0.0];
        Transform::apply_all(&[Transform::RepetitionPenalty(2.0)], &mut logits, &[0, 1, 0, 9]);
        assert_eq!(logits, [1.0, -2.0, 3.0, 0.0]);
    }

    #[test]
    fn an_ngram_is_not_written_twice() {
        let even = [0.0; 4];
        // After 1 2 came 3; now 1 2 stands at the end.
        assert_eq!(kept(&[Transform::NoRepeatNgram(3)], &even, &[1, 2, 3, 1, 2]), [0, 1, 2]);
        assert_eq!(kept(&[Transform::NoRepeatNgram(1)], &even, &[1, 2]), [0, 3]);
        assert_eq!(kept(&[Transform::NoRepeatNgram(3)], &even, &[1]), [0, 1, 2, 3]);
        // Everything was seen: nothing is forbidden.
        assert_eq!(kept(&[Transform::NoRepeatNgram(1)], &even, &[0, 1, 2, 3]), [0, 1, 2, 3]);
    }

    #[test]
    fn the_chain_of_a_sampling_has_the_order_of_transformers() {
        assert!(Transform::of(&Sampling::default()).is_empty());
        let sampling = Sampling {
            temperature: 0.5,
            top_k: Some(4),
            top_p: 0.9,
            min_p: Some(0.1),
            typical_p: Some(0.8),
            epsilon_cutoff: Some(0.01),
            eta_cutoff: Some(0.02),
            repetition_penalty: Some(1.2),
            no_repeat_ngram_size: Some(3),
        };
        let expected = [
            Transform::RepetitionPenalty(1.2),
            Transform::NoRepeatNgram(3),
            Transform::Temperature(0.5),
            Transform::TopK(4),
            Transform::TopP { p: 0.9, keep: 1 },
            Transform::MinP(0.1),
            Transform::TypicalP(0.8),
            Transform::EpsilonCutoff(0.01),
            Transform::EtaCutoff(0.02),
        ];
        assert_eq!(Transform::of(&sampling), expected);
    }
}
