//! Advantages, policy losses and what belongs to them against TRL, OpenRLHF and verl: `rl/*`.

use ascribe_core::advantage::{
    Advantage, AdvantageEstimator, Baseline, Gae, Graded, Mean, Normalize, Outcome, Variance, dead_groups, gae,
    returns_to_go, standardize, weighted_sum, whiten,
};
use ascribe_core::tensor::{KlEstimator, KlGradient, Mask, entropy};
use ascribe_core::{LogpBatch, Loss, Objective, RowKind, TokenInput};
use ascribe_preference::objectives::{DpoConfig, IpoConfig, Scoring, Sft};
use ascribe_preference::rl::{
    AdaptiveKl, Aggregation, Correction, CorrectionKind, LengthPenalty, Overlong, PolicyLoss, RatioLevel, Surrogate,
    ValueLoss, most_uncertain, up_to_end,
};
use ascribe_testkit::device::{device, floats, precisions, values};
use ascribe_testkit::golden::{Case, close, open};
use burn::tensor::{DType, Tensor};

const GROUPS: &str = "rl/group_advantages_trl.json";
const GRPO: &str = "rl/grpo_loss_trl.json";
const PPO: &str = "rl/ppo_trl024.json";
const OPENRLHF_LOSSES: &str = "rl/openrlhf_losses.json";
const OPENRLHF_ADVANTAGES: &str = "rl/openrlhf_advantages.json";
const VERL: &str = "rl/verl.json";

fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-9 } else { 1e-5 }
}

/// The rows of a matrix.
fn matrix(case: &Case) -> Vec<Vec<f64>> {
    let seq = case.shape()[1];
    case.numbers().chunks(seq).map(<[f64]>::to_vec).collect()
}

/// A matrix of flags as numbers.
fn truths(case: &Case) -> Vec<Vec<f64>> {
    let seq = case.shape()[1];
    let numbers: Vec<f64> = case.bools().iter().map(|flag| f64::from(u8::from(*flag))).collect();
    numbers.chunks(seq).map(<[f64]>::to_vec).collect()
}

fn flags(mask: &[Vec<f64>]) -> Vec<Vec<bool>> {
    mask.iter().map(|row| row.iter().map(|flag| *flag != 0.0).collect()).collect()
}

/// The values of a row that its mask counts.
fn counted(row: &[f64], mask: &[f64]) -> Vec<f64> {
    row.iter().zip(mask).filter(|(_, flag)| **flag != 0.0).map(|(value, _)| *value).collect()
}

/// All counted values of a matrix, row after row.
fn all_counted(rows: &[Vec<f64>], mask: &[Vec<f64>]) -> Vec<f64> {
    rows.iter().zip(mask).flat_map(|(row, mask)| counted(row, mask)).collect()
}

fn option(case: &Case, key: &str) -> Option<f64> {
    case.opt(key).map(|value| value.number())
}

fn set(case: &Case, key: &str) -> bool {
    case.opt(key).is_some_and(|value| value.json().as_bool() == Some(true))
}

/// What a policy loss is given, `[rows, seq]` each; padding is whatever the file has there.
struct Given {
    mask: Vec<Vec<f64>>,
    logps: Vec<Vec<f64>>,
    advantages: Vec<Vec<f64>>,
    others: Vec<(TokenInput, Vec<Vec<f64>>)>,
    reference: Option<Vec<Vec<f64>>>,
}

fn tensor(rows: &[Vec<f64>], dtype: DType) -> Tensor<2> {
    floats(&rows.concat(), [rows.len(), rows[0].len()], &device().autodiff(), dtype)
}

impl Given {
    /// The loss, and the gradient of its mean with respect to the log-probabilities, `[rows * seq]`.
    fn run(&self, loss: &PolicyLoss, dtype: DType) -> (Loss, Vec<f64>) {
        let logps = tensor(&self.logps, dtype).require_grad();
        let mask = Mask::from_rows(&flags(&self.mask), &device().autodiff());
        let mut batch = LogpBatch::new(RowKind::Single, logps.clone(), mask).expect("the shapes agree");
        batch = batch.with_credit(tensor(&self.advantages, dtype)).expect("the shapes agree");
        for (input, rows) in &self.others {
            batch = batch.with_tokens(*input, tensor(rows, dtype)).expect("the shapes agree");
        }
        if let Some(reference) = &self.reference {
            batch = batch.with_ref_logps(tensor(reference, dtype)).expect("the shapes agree");
        }
        let loss = loss.loss(&batch).expect("the batch has what is needed");
        let grads = loss.mean().backward();
        (loss, values(logps.grad(&grads).expect("the log-probabilities are tracked")))
    }

    fn lengths(&self) -> Vec<f64> {
        self.mask.iter().map(|row| row.iter().sum()).collect()
    }

    /// A statistic of rows as a mean over tokens.
    fn over_tokens(&self, loss: &Loss, name: &str) -> f64 {
        let (stat, lengths) = (stat(loss, name), self.lengths());
        stat.iter().zip(&lengths).map(|(value, n)| value * n).sum::<f64>() / lengths.iter().sum::<f64>()
    }
}

fn stat(loss: &Loss, name: &str) -> Vec<f64> {
    let found = loss.stats.iter().find(|(known, _)| *known == name);
    values(found.unwrap_or_else(|| panic!("no statistic {name}")).1.clone())
}

fn spread(rows: &[f64], seq: usize) -> Vec<Vec<f64>> {
    rows.iter().map(|value| vec![*value; seq]).collect()
}

/// Products of the elements of two matrices.
fn times(one: &[Vec<f64>], other: &[Vec<f64>]) -> Vec<Vec<f64>> {
    one.iter().zip(other).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).collect()).collect()
}

#[test]
fn golden_grpo_losses_agree_with_trl() {
    let file = open(GRPO);
    let cases = file.get("cases").items();
    assert_eq!(cases.len(), 116);
    for case in &cases {
        let input = file.get("inputs").get(&case.get("batch").text());
        for dtype in precisions() {
            grpo(case, &input, *dtype);
        }
    }
    for case in file.get("high_entropy_mask").items() {
        let input = file.get("inputs").get(&case.get("batch").text());
        let (entropies, mask) = (matrix(&input.get("entropy")), matrix(&input.get("completion_mask")));
        let got = high_entropy(&entropies, &mask, 1.0 - case.get("quantile_threshold").number());
        let expected: Vec<f64> = case.get("mask").bools().iter().map(|flag| f64::from(u8::from(*flag))).collect();
        assert_eq!(got.concat(), expected, "{case}");
    }
}

/// 1 for the tokens of highest entropy that count, `[rows, seq]`.
fn high_entropy(entropies: &[Vec<f64>], mask: &[Vec<f64>], share: f64) -> Vec<Vec<f64>> {
    let ragged: Vec<Vec<f64>> = entropies.iter().zip(mask).map(|(row, mask)| counted(row, mask)).collect();
    let kept = most_uncertain(&ragged, share);
    let place = |(kept, mask): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
        let mut kept = kept.iter();
        mask.iter().map(|flag| if *flag != 0.0 { *kept.next().expect("one a token") } else { 0.0 }).collect()
    };
    kept.iter().zip(mask).map(place).collect()
}

fn grpo(case: &Case, input: &Case, dtype: DType) {
    let of = |key: &str| matrix(&input.get(key));
    let mut mask = of("completion_mask");
    if set(case, "tool_mask") {
        mask = times(&mask, &of("tool_mask"));
    }
    let (rows, seq) = (mask.len(), mask[0].len());
    let (logps, entropies) = (of("token_logps"), of("entropy"));
    let old = match case.opt("old").map(|old| old.text()).as_deref() {
        Some("none") => logps.clone(),
        _ => of("old_token_logps"),
    };
    let kind = case.get("loss_type").text();
    let corrected = set(case, "importance_sampling_ratio");
    let mut others = vec![(TokenInput::OldLogps, old), (TokenInput::DrawnLogps, of("sampling_token_logps"))];
    let uncertain = option(case, "top_entropy_quantile").map(|share| high_entropy(&entropies, &mask, share));
    if let Some(kept) = &uncertain {
        others.push((TokenInput::Weights, kept.clone()));
    }
    if corrected {
        let mut weights = of("importance_sampling_ratio");
        if kind == "vespo" {
            // TRL adds up the logs of padding, too, where its own ratios are 1: put on the first token.
            for (row, mask) in weights.iter_mut().zip(&mask) {
                let padding: f64 = row.iter().zip(mask).filter(|(_, flag)| **flag == 0.0).map(|(w, _)| w).product();
                row[0] *= padding;
            }
        }
        others.push((TokenInput::Weights, weights));
    }
    let given = Given {
        mask: mask.clone(),
        logps,
        advantages: spread(&input.get("advantages").numbers(), seq),
        others,
        reference: Some(of("ref_token_logps")),
    };
    let number = |key: &str| case.get(key).number();
    let high = || option(case, "epsilon_high").unwrap_or_else(|| number("epsilon"));
    let clip = || Surrogate::Clip { low: number("epsilon"), high: high(), cap: option(case, "delta"), dual: None };
    // TRL keeps these temperatures as scalars of f32.
    let temperature = |key: &str| f64::from(number(key) as f32);
    let pair = |sign: &str| [number(&format!("vespo_k_{sign}")), number(&format!("vespo_lambda_{sign}"))];
    let (surrogate, aggregation) = match kind.as_str() {
        "grpo" => (clip(), Aggregation::SeqMeanTokenMean),
        "bnpo" | "dapo" => (clip(), Aggregation::TokenMean),
        "dr_grpo" => (clip(), Aggregation::SeqMeanTokenSumNorm),
        "luspo" => (clip(), Aggregation::SeqMeanTokenSum),
        "cispo" => (Surrogate::Cispo { least: 0.0, most: high() }, Aggregation::TokenMean),
        "sapo" => {
            let (positive, negative) = (temperature("sapo_temperature_pos"), temperature("sapo_temperature_neg"));
            (Surrogate::Sapo { positive, negative }, Aggregation::SeqMeanTokenMean)
        }
        "vespo" => (Surrogate::Vespo { positive: pair("pos"), negative: pair("neg") }, Aggregation::TokenMean),
        "gmpo" => {
            let epsilon = number("epsilon");
            (Surrogate::GeometricMean { low: epsilon, high: epsilon }, Aggregation::SeqMeanTokenMean)
        }
        other => panic!("{case}: {other} is not known"),
    };
    let by_sequence = case.opt("importance_sampling_level").is_some_and(|level| level.text() == "sequence");
    let level = if by_sequence { RatioLevel::SequenceMean } else { RatioLevel::Token };
    let objective = PolicyLoss {
        length: option(case, "max_completion_length").unwrap_or(1.0),
        beta: number("beta"),
        kl_gradient: if set(case, "use_bias_correction_kl") { KlGradient::Unbiased } else { KlGradient::Direct },
        weighted: uncertain.is_some() || corrected,
        off_policy_threshold: option(case, "off_policy_mask_threshold"),
        ..PolicyLoss::new(surrogate, level, aggregation)
    };
    let (loss, gradient) = given.run(&objective, dtype);
    // These are divided by the tokens of the generated batch, which tools may have written some of.
    let items = input.get("num_items_in_batch").number();
    let scale = match kind.as_str() {
        "dapo" | "cispo" | "vespo" => given.lengths().iter().sum::<f64>() / items,
        _ => 1.0,
    };
    let check = |what: &str, got: &[f64], expected: &[f64], tolerance: f64| {
        close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance);
    };
    let mut got = values(loss.mean())[0] * scale;
    let gradient: Vec<f64> = gradient.iter().map(|x| x * scale).collect();
    check("gradient", &gradient, &case.get("grad_token_logps").numbers(), tolerance(dtype));
    if let Some(coef) = option(case, "entropy_coef") {
        check("policy_loss", &[got], &[case.get("metrics").get("policy_loss").number()], tolerance(dtype).max(1e-7));
        // A mean over tokens, over those of highest entropy where the loss is.
        let kept = Mask::from_rows(&flags(uncertain.as_ref().unwrap_or(&mask)), &device().autodiff());
        let entropies = tensor(&entropies, dtype).require_grad();
        let (sums, weights) = Aggregation::TokenMean.of(entropies.clone(), &kept, 1.0);
        let bonus = (sums.sum() / weights.sum()).mul_scalar(-coef);
        got += values(bonus.clone())[0];
        let grads = bonus.backward();
        let gradient = values(entropies.grad(&grads).expect("tracked"));
        check("grad_entropy", &gradient, &case.get("grad_entropy").numbers(), tolerance(dtype));
    }
    check("loss", &[got], &[case.get("loss").number()], tolerance(dtype));
    let Some(metrics) = case.opt("metrics") else { return };
    // Logged in f32.
    let logged = |key: &str, got: f64| {
        if let Some(expected) = option(&metrics, key) {
            check(key, &[got], &[expected], 1e-5);
        }
    };
    if objective.beta > 0.0 {
        logged("kl", given.over_tokens(&loss, "kl"));
    }
    if matches!(objective.surrogate, Surrogate::Clip { .. }) {
        for (key, name) in [("clip_ratio/low_mean", "clip_ratio/low"), ("clip_ratio/high_mean", "clip_ratio/high")] {
            let of_rows = stat(&loss, name);
            let mean =
                if by_sequence { of_rows.iter().sum::<f64>() / rows as f64 } else { given.over_tokens(&loss, name) };
            logged(key, mean);
        }
    }
    if matches!(objective.surrogate, Surrogate::Cispo { .. }) {
        logged("cispo_clip_ratio", given.over_tokens(&loss, "clip_ratio/high"));
    }
}

/// Scores as the files have them: a NaN is none.
fn columns(rewards: &[Vec<f64>]) -> Vec<Vec<Option<f64>>> {
    let functions = rewards[0].len();
    (0..functions).map(|at| rewards.iter().map(|row| Some(row[at]).filter(|score| !score.is_nan())).collect()).collect()
}

fn graded(scores: &[Option<f64>], of_group: usize) -> Vec<Graded> {
    let one = |(at, score): (usize, &Option<f64>)| Graded { score: *score, ..Graded::scored(at / of_group, 0.0, 1) };
    scores.iter().enumerate().map(one).collect()
}

/// The advantage of each response, which is that of all of its tokens.
fn of_responses(advantages: &[Advantage]) -> Vec<f64> {
    advantages.iter().map(|advantage| advantage.tokens[0]).collect()
}

#[test]
fn golden_group_advantages_agree_with_trl() {
    let file = open(GROUPS);
    let inputs = file.get("inputs");
    let size = inputs.get("num_generations").number() as usize;
    let (mask, old, reference) = (
        matrix(&inputs.get("completion_mask")),
        matrix(&inputs.get("old_token_logps")),
        matrix(&inputs.get("ref_token_logps")),
    );
    let cases = file.get("cases").items();
    assert_eq!(cases.len(), 30);
    for case in &cases {
        let rewards = inputs.get("rewards").get(&case.get("rewards_case").text());
        let (functions, weights) =
            (columns(&matrix(&rewards.get("rewards_per_func"))), rewards.get("weights").numbers());
        let mut scores = weighted_sum(&functions, &weights);
        let got = match case.get("method").text().as_str() {
            "grpo" if case.get("aggregation").text() == "normalize_then_sum" => {
                let baseline = Outcome::new(Baseline::GroupNormalized { epsilon: 1e-4 });
                let normalized: Vec<Vec<Option<f64>>> = functions
                    .iter()
                    .map(|column| baseline.scores(&graded(column, size)).expect("groups of four"))
                    .collect();
                let mut sums = weighted_sum(&normalized, &weights);
                standardize(&mut sums, 1e-4);
                sums.into_iter().map(|sum| sum.unwrap_or(0.0)).collect()
            }
            "grpo" => {
                let epsilon = 1e-4;
                let baseline = match case.get("scale_rewards").text().as_str() {
                    "group" => Baseline::GroupNormalized { epsilon },
                    "batch" => Baseline::BatchNormalized { epsilon },
                    _ => Baseline::GroupMean,
                };
                of_responses(&Outcome::new(baseline).estimate(&graded(&scores, size)).expect("groups of four"))
            }
            _ => {
                if let Some(range) = case.opt("reward_clip_range") {
                    let range = range.numbers();
                    scores.iter_mut().flatten().for_each(|score| *score = score.clamp(range[0], range[1]));
                }
                let beta = case.get("beta").number();
                for (at, score) in scores.iter_mut().enumerate() {
                    let pairs = counted(&old[at], &mask[at]).into_iter().zip(counted(&reference[at], &mask[at]));
                    let kl: f64 = pairs.map(|(old, reference)| KlEstimator::K1.of_token(old, reference)).sum();
                    *score = score.map(|score| score - beta * kl);
                }
                let standardize = set(case, "normalize_advantages").then_some(1e-4);
                let estimator = Outcome { standardize, ..Outcome::new(Baseline::LeaveOneOut) };
                of_responses(&estimator.estimate(&graded(&scores, size)).expect("groups of four"))
            }
        };
        // The library divides by an f32 scalar where it takes a standard deviation.
        close(&case.name(), &got, &case.get("advantages").numbers(), 1e-7);
        // Scaled by the batch, TRL asks whether the batch varies instead of each group.
        let is = |name: &str, value: &str| case.opt(name).is_some_and(|how| how.text() == value);
        if !is("aggregation", "normalize_then_sum") && !is("scale_rewards", "batch") {
            let dead = dead_groups(&graded(&scores, size));
            let share = dead.iter().filter(|dead| **dead).count() as f64 / dead.len() as f64;
            close(&case.name(), &[share], &[case.get("metrics").get("frac_reward_zero_std").number()], 1e-6);
        }
    }
    let loss = file.get("rloo_loss");
    let mask = matrix(&loss.get("completion_mask"));
    let given = Given {
        advantages: spread(&loss.get("advantages").numbers(), mask[0].len()),
        mask,
        logps: matrix(&loss.get("token_logps")),
        others: vec![(TokenInput::OldLogps, matrix(&loss.get("old_token_logps")))],
        reference: None,
    };
    for case in loss.get("cases").items() {
        for dtype in precisions() {
            let (low, high) = (case.get("epsilon_low").number(), case.get("epsilon_high").number());
            let surrogate = Surrogate::Clip { low, high, cap: None, dual: None };
            let objective = PolicyLoss::new(surrogate, RatioLevel::SequenceSum, Aggregation::SeqMeanTokenMean);
            let (loss, gradient) = given.run(&objective, *dtype);
            let what = format!("{case} {dtype:?}");
            close(&what, &values(loss.mean()), &[case.get("loss").number()], tolerance(*dtype));
            close(&what, &gradient, &case.get("grad_token_logps").numbers(), tolerance(*dtype));
            let low = stat(&loss, "clip_ratio/low");
            let share = low.iter().sum::<f64>() / low.len() as f64;
            close(&what, &[share], &[case.get("metrics").get("clip_ratio/low_mean").number()], 1e-6);
        }
    }
}

#[test]
fn golden_ppo_agrees_with_trl() {
    let file = open(PPO);
    let cases = file.get("cases").items();
    assert_eq!(cases.len(), 8);
    cases.iter().for_each(ppo);
    for case in file.get("whiten").items() {
        let (rows, mask) = (matrix(&case.get("values")), truths(&case.get("mask")));
        let all = all_counted(&rows, &mask);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        close(&case.name(), &[mean], &[case.get("masked_mean").number()], 1e-9);
        // The library's Bessel factor is an f32 scalar.
        for (variance, key, tolerance) in
            [(Variance::Unbiased, "masked_var_unbiased", 1e-7), (Variance::Biased, "masked_var_biased", 1e-9)]
        {
            close(&case.name(), &[variance.of(&all)], &[case.get(key).number()], tolerance);
        }
        for (what, key) in [(Mean::Remove, "whiten"), (Mean::Keep, "whiten_keep_mean")] {
            let mut got = all.clone();
            whiten(&mut got, what, Variance::Unbiased, 1e-8).expect("more than one value");
            close(&format!("{case}.{key}"), &got, &all_counted(&matrix(&case.get(key)), &mask), 1e-7);
        }
    }
    for case in file.get("truncate_response").items() {
        let (stop, pad) = (case.get("stop_token_id").number() as u32, case.get("pad_token_id").number());
        for (row, expected) in matrix(&case.get("responses")).iter().zip(matrix(&case.get("truncated"))) {
            let ids: Vec<u32> = row.iter().map(|id| *id as u32).collect();
            let kept = up_to_end(&ids, &[stop]).iter().map(|id| f64::from(*id));
            let padded: Vec<f64> = kept.chain(std::iter::repeat(pad)).take(row.len()).collect();
            assert_eq!(padded, expected, "{case}");
        }
    }
}

fn ppo(case: &Case) {
    let inputs = case.get("inputs");
    let of = |key: &str| matrix(&inputs.get(key));
    let (logps, reference, old_values) = (of("logprobs"), of("ref_logprobs"), of("values"));
    let (seq, ends) = (logps[0].len(), inputs.get("sequence_lengths").integers());
    let eos = inputs.get("eos_token_id").number();
    let (coef, gamma, lambda) = (case.get("kl_coef").number(), case.get("gamma").number(), case.get("lam").number());
    let estimator = match case.get("kl_estimator").text().as_str() {
        "k1" => KlEstimator::K1,
        "k3" => KlEstimator::K3,
        other => panic!("{case}: {other} is not known"),
    };
    // The policy counts tokens up to the last one. Values count one more column where there is room for it: there TRL pays
    // the score, behind the response.
    let (mut tokens, mut columns, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for (row, end) in ends.iter().enumerate() {
        let n = *end as usize + 1;
        tokens.push(n);
        columns.push((n + 1).min(seq));
        let cut = !of("responses")[row].contains(&eos);
        let missing_end = option(case, "missing_eos_penalty");
        scores.push(LengthPenalty { missing_end, ..LengthPenalty::default() }.of(
            inputs.get("scores").numbers()[row],
            n,
            seq,
            cut,
        ));
    }
    close(&case.name(), &scores, &case.get("scores_after_penalty").numbers(), 1e-9);
    let mut rewards: Vec<Vec<f64>> = (0..ends.len())
        .map(|row| {
            let kl =
                |at: usize| if at < tokens[row] { estimator.of_token(logps[row][at], reference[row][at]) } else { 0.0 };
            let mut rewards: Vec<f64> = (0..columns[row]).map(|at| -coef * kl(at)).collect();
            if let Some(last) = rewards.last_mut() {
                *last += scores[row];
            }
            rewards
        })
        .collect();
    if set(case, "whiten_rewards") {
        let mut all = rewards.concat();
        whiten(&mut all, Mean::Keep, Variance::Unbiased, 1e-8).expect("several tokens");
        let mut all = all.into_iter();
        rewards.iter_mut().flatten().zip(&mut all).for_each(|(reward, white)| *reward = white);
    }
    let first = |rows: &[Vec<f64>], n: &[usize]| -> Vec<f64> {
        rows.iter().zip(n).flat_map(|(row, n)| row[..*n].to_vec()).collect()
    };
    // Whitening goes through an f32 scalar in the library.
    let rough = 1e-7;
    close(&format!("{case}.rewards"), &rewards.concat(), &first(&matrix(&case.get("rewards")), &columns), rough);
    let rollouts: Vec<Graded> = rewards
        .iter()
        .enumerate()
        .map(|(row, rewards)| Graded {
            group: row,
            score: Some(0.0),
            rewards: rewards.clone(),
            values: old_values[row][..columns[row]].to_vec(),
            ..Graded::default()
        })
        .collect();
    let estimated = Gae { gamma, lambda, normalize: Normalize::No }.estimate(&rollouts).expect("sound rollouts");
    let returns: Vec<Vec<f64>> = estimated.iter().map(|row| row.returns.clone()).collect();
    close(&format!("{case}.returns"), &returns.concat(), &first(&matrix(&case.get("returns")), &columns), rough);
    let raw: Vec<Vec<f64>> = estimated.into_iter().map(|row| row.tokens).collect();
    let mut white = first(&raw, &tokens);
    whiten(&mut white, Mean::Remove, Variance::Unbiased, 1e-8).expect("several tokens");
    let expected = matrix(&case.get("advantages_whitened"));
    close(&format!("{case}.advantages"), &white, &first(&expected, &tokens), rough);

    // The losses, on the advantages and returns of the file.
    let loss = case.get("loss");
    let mask = |n: &[usize]| -> Vec<Vec<f64>> {
        n.iter().map(|n| (0..seq).map(|at| if at < *n { 1.0 } else { 0.0 }).collect()).collect()
    };
    let given = Given {
        mask: mask(&tokens),
        logps: of("new_logprobs"),
        advantages: expected,
        others: vec![(TokenInput::OldLogps, logps)],
        reference: None,
    };
    let clip = loss.get("cliprange").number();
    let surrogate = Surrogate::Clip { low: clip, high: clip, cap: None, dual: None };
    let objective = PolicyLoss::new(surrogate, RatioLevel::Token, Aggregation::TokenMean);
    let value_loss =
        ValueLoss { clip: Some(loss.get("cliprange_value").number()), aggregation: Aggregation::TokenMean };
    let vf_coef = loss.get("vf_coef").number();
    for dtype in precisions() {
        let what = format!("{loss} {dtype:?}");
        let (policy, gradient) = given.run(&objective, *dtype);
        let policy = values(policy.mean())[0];
        close(&what, &[policy], &[loss.get("policy_loss").number()], tolerance(*dtype));
        close(&what, &gradient, &loss.get("grad_new_logprobs").numbers(), tolerance(*dtype));
        let returns = matrix(&case.get("returns"));
        let (value, gradient, clipped) =
            value_run(&value_loss, &of("vpred"), &old_values, &returns, &mask(&columns), *dtype);
        close(&what, &[value], &[loss.get("value_loss").number()], tolerance(*dtype));
        close(&what, &[policy + vf_coef * value], &[loss.get("total").number()], tolerance(*dtype));
        let gradient: Vec<f64> = gradient.iter().map(|x| vf_coef * x).collect();
        close(&what, &gradient, &loss.get("grad_vpred").numbers(), tolerance(*dtype));
        close(&what, &[clipped], &[loss.get("vf_clipfrac").number()], 1e-6);
    }
}

/// Loss, gradient with respect to the values, and the share of tokens whose clipped error is the larger one.
fn value_run(
    objective: &ValueLoss,
    now: &[Vec<f64>],
    old: &[Vec<f64>],
    returns: &[Vec<f64>],
    mask: &[Vec<f64>],
    dtype: DType,
) -> (f64, Vec<f64>, f64) {
    let now = tensor(now, dtype).require_grad();
    let counts = Mask::from_rows(&flags(mask), &device().autodiff());
    let batch = LogpBatch::new(RowKind::Single, now.clone().detach(), counts)
        .and_then(|batch| batch.with_tokens(TokenInput::Values, now.clone()))
        .and_then(|batch| batch.with_tokens(TokenInput::OldValues, tensor(old, dtype)))
        .and_then(|batch| batch.with_tokens(TokenInput::Returns, tensor(returns, dtype)))
        .expect("the shapes agree");
    let loss = objective.loss(&batch).expect("the batch has what is needed");
    let grads = loss.mean().backward();
    let gradient = values(now.grad(&grads).expect("the values are tracked"));
    let lengths: Vec<f64> = mask.iter().map(|row| row.iter().sum()).collect();
    let clipped = stat(&loss, "vf_clipfrac").iter().zip(&lengths).map(|(share, n)| share * n).sum::<f64>();
    (values(loss.mean())[0], gradient, clipped / lengths.iter().sum::<f64>())
}

/// Log-probabilities of whole responses, chosen ones first, as an objective of pairs sees them: the loss of the mean.
fn pairs(objective: &dyn Objective, chosen: &[f64], rejected: &[f64], reference: Option<[&[f64]; 2]>) -> f64 {
    let column = |values: Vec<f64>| floats(&values, [values.len(), 1], &device(), precisions()[precisions().len() - 1]);
    let logps = column([chosen, rejected].concat());
    let mask = Mask::from_rows(&vec![vec![true]; 2 * chosen.len()], &device());
    let mut batch = LogpBatch::new(RowKind::Pairs, logps, mask).expect("pairs");
    if let Some(reference) = reference {
        batch = batch.with_ref_logps(column(reference.concat())).expect("the shapes agree");
    }
    values(objective.loss(&batch).expect("the batch has what is needed").mean())[0]
}

#[test]
fn golden_losses_agree_with_openrlhf() {
    let file = open(OPENRLHF_LOSSES);
    let policies = file.get("policy_loss").items();
    assert_eq!(policies.len(), 18);
    for case in &policies {
        let (inputs, options) = (case.get("inputs"), case.get("options"));
        let of = |key: &str| matrix(&inputs.get(key));
        let (mask, old, rollout) = (of("action_mask"), of("old_log_probs"), of("rollout_log_probs"));
        let mut others = vec![(TokenInput::OldLogps, old.clone())];
        let corrected = set(&options, "enable_vllm_is_correction");
        if corrected {
            let range = options.get("vllm_is_truncated_threshold").numbers();
            let kind = match options.opt("vllm_is_correction_type").map(|kind| kind.text()).as_deref() {
                None | Some("tis") => CorrectionKind::Truncate,
                Some("icepop") => CorrectionKind::MaskTokens,
                Some("seq-mask-tis") => CorrectionKind::MaskSequences,
                Some(other) => panic!("{case}: {other} is not known"),
            };
            let correction = Correction { kind, least: range[0], most: range[1] };
            let weights = (0..mask.len()).map(|row| -> Vec<f64> {
                let own = correction.weights(&counted(&old[row], &mask[row]), &counted(&rollout[row], &mask[row]));
                let mut own = own.into_iter();
                mask[row].iter().map(|flag| if *flag != 0.0 { own.next().expect("one a token") } else { 0.0 }).collect()
            });
            others.push((TokenInput::Weights, weights.collect()));
        }
        let given = Given { mask, logps: of("log_probs"), advantages: of("advantages"), others, reference: None };
        let sequences = options.get("policy_loss_type").text() == "gspo";
        let surrogate = Surrogate::Clip {
            low: options.get("clip_eps_low").number(),
            high: options.get("clip_eps_high").number(),
            cap: None,
            dual: option(&options, "dual_clip"),
        };
        let by_token = set(&options, "token_level_loss") && !sequences;
        let aggregation = if by_token { Aggregation::TokenMean } else { Aggregation::SeqMeanTokenMean };
        let level = if sequences { RatioLevel::SequenceMean } else { RatioLevel::Token };
        let objective = PolicyLoss { weighted: corrected, ..PolicyLoss::new(surrogate, level, aggregation) };
        for dtype in precisions() {
            let (loss, gradient) = given.run(&objective, *dtype);
            // The library adds 1e-8 to the number of tokens of a response.
            let tolerance = if by_token { tolerance(*dtype) } else { tolerance(*dtype).max(1e-8) };
            let what = format!("{case} {dtype:?}");
            close(&what, &values(loss.mean()), &[case.get("loss").number()], tolerance);
            close(&what, &gradient, &case.get("grad_log_probs").numbers(), tolerance);
            close(&what, &[given.over_tokens(&loss, "approx_kl")], &[case.get("ppo_kl").number()], 1e-5);
        }
    }
    for case in file.get("value_loss").items() {
        let (inputs, options) = (case.get("inputs"), case.get("options"));
        let of = |key: &str| matrix(&inputs.get(key));
        let by_token = set(&options, "token_level_loss");
        let aggregation = if by_token { Aggregation::TokenMean } else { Aggregation::SeqMeanTokenMean };
        let objective = ValueLoss { clip: option(&options, "clip_eps"), aggregation };
        for dtype in precisions() {
            let tolerance = if by_token { tolerance(*dtype) } else { tolerance(*dtype).max(1e-8) };
            let (loss, gradient, _) =
                value_run(&objective, &of("values"), &of("old_values"), &of("returns"), &of("action_mask"), *dtype);
            close(&format!("{case} {dtype:?}"), &[loss], &[case.get("loss").number()], tolerance);
            close(&format!("{case} {dtype:?}"), &gradient, &case.get("grad_values").numbers(), tolerance);
        }
    }
    // Their pairwise losses of rewards are DPO without a reference and with a beta of 1, a margin taken off the chosen one.
    let scoring = Scoring { reference_free: true, ..Scoring::default() };
    let plain = DpoConfig { beta: 1.0, scoring, ..DpoConfig::default() }.init().expect("sound options");
    for case in file.get("pairwise").items() {
        let (mut chosen, rejected) = (case.get("chosen_reward").numbers(), case.get("reject_reward").numbers());
        if let Some(margin) = case.opt("margin") {
            chosen.iter_mut().zip(margin.numbers()).for_each(|(reward, margin)| *reward -= margin);
        }
        let got = pairs(&plain, &chosen, &rejected, None);
        close(&case.name(), &[got], &[case.get("loss").number()], 1e-6);
    }
    for case in file.get("dpo").items() {
        let beta = case.get("beta").number();
        let of = |key: &str| case.get(key).numbers();
        let (chosen, rejected) = (of("policy_chosen_logps"), of("policy_rejected_logps"));
        let (ref_chosen, ref_rejected) = (of("reference_chosen_logps"), of("reference_rejected_logps"));
        let smoothing = case.get("label_smoothing").number();
        let objective: Box<dyn Objective> = match set(&case, "ipo") {
            true => {
                Box::new(IpoConfig { beta, length_normalized: false, ..IpoConfig::default() }.init().expect("sound"))
            }
            false => Box::new(DpoConfig { beta, ..DpoConfig::default() }.init().expect("sound")),
        };
        let right = pairs(objective.as_ref(), &chosen, &rejected, Some([&ref_chosen, &ref_rejected]));
        let wrong = pairs(objective.as_ref(), &rejected, &chosen, Some([&ref_rejected, &ref_chosen]));
        let got = (1.0 - smoothing) * right + smoothing * wrong;
        close(&case.name(), &[got], &[case.get("loss").number()], 1e-5);
    }
    for case in file.get("sft").items() {
        let (logps, mask) = (matrix(&case.get("per_token_logps")), matrix(&case.get("loss_mask")));
        for dtype in precisions() {
            let counts = Mask::from_rows(&flags(&mask), &device().autodiff());
            let loss = match set(&case, "token_level_loss") {
                true => {
                    let batch = LogpBatch::new(RowKind::Single, tensor(&logps, *dtype), counts).expect("same shape");
                    Sft.loss(&batch).expect("nothing else is needed")
                }
                false => {
                    let mode = Aggregation::SeqMeanTokenMean;
                    let (rows, weights) = mode.of(tensor(&logps, *dtype).neg(), &counts, 1.0);
                    Loss { rows, weights, stats: Vec::new() }
                }
            };
            // The library adds 1e-8 to the number of tokens of a response.
            let tolerance = tolerance(*dtype).max(1e-8);
            close(&format!("{case} {dtype:?}"), &values(loss.mean()), &[case.get("loss").number()], tolerance);
        }
    }
}

#[test]
fn golden_advantages_agree_with_openrlhf() {
    let file = open(OPENRLHF_ADVANTAGES);
    for case in file.get("approx_kl").items() {
        let estimator = match case.get("estimator").text().as_str() {
            "k1" => KlEstimator::K1,
            "k2" => KlEstimator::K2,
            _ => KlEstimator::K3,
        };
        let (ours, theirs) = (case.get("log_probs").numbers(), case.get("log_probs_base").numbers());
        // Cut at 10 and in f32 there.
        let got: Vec<f64> =
            ours.iter().zip(&theirs).map(|(a, b)| estimator.of_token(*a, *b).clamp(-10.0, 10.0)).collect();
        close(&case.name(), &got, &case.get("kl").numbers(), 2e-6);
    }
    for case in file.get("token_reward").items() {
        let (mask, kl) = (matrix(&case.get("action_mask")), matrix(&case.get("kl")));
        // A strength below 0 is none there.
        let coef = case.get("kl_coef").number().max(0.0);
        let rollouts = rollouts(&clipped(&case.get("r").numbers(), case.opt("clip")), &kl, coef, None, &mask, 1);
        // Without a baseline and with a discount of 0, the advantage of a token is its own reward.
        let estimator = Outcome { gamma: 0.0, ..Outcome::new(Baseline::None) };
        let got = tokens(&estimator.estimate(&rollouts).expect("sound rollouts"));
        close(&case.name(), &got, &all_counted(&matrix(&case.get("reward")), &mask), 1e-9);
    }
    for case in file.get("masked_normalize").items() {
        let turned = |rows: Vec<Vec<f64>>| -> Vec<Vec<f64>> {
            match case.get("dim").number() as usize {
                1 => rows,
                _ => (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at]).collect()).collect(),
            }
        };
        let of = |key: &str| turned(matrix(&case.get(key)));
        for ((row, mask), expected) in of("x").iter().zip(of("mask")).zip(of("masked_normalize")) {
            let (mut got, expected) = (counted(row, &mask), counted(&expected, &mask));
            if got.len() < 2 {
                // One value is all of its own mean: it is refused here and 0 there.
                assert!(whiten(&mut got, Mean::Remove, Variance::Biased, 0.0).is_err());
                assert!(expected.iter().all(|value| *value == 0.0), "{case}");
                continue;
            }
            whiten(&mut got, Mean::Remove, Variance::Biased, 0.0).expect("several values");
            close(&case.name(), &got, &expected, 1e-9);
        }
    }
    for case in file.get("gae").items() {
        let (mask, rewards, of_states) =
            (matrix(&case.get("action_mask")), matrix(&case.get("rewards")), matrix(&case.get("values")));
        let (gamma, lambda) = (case.get("gamma").number(), case.get("lambda").number());
        let (mut advantages, mut returns) = (Vec::new(), Vec::new());
        for (row, mask) in mask.iter().enumerate() {
            let values = counted(&of_states[row], mask);
            let got = gae(&counted(&rewards[row], mask), &values, gamma, lambda);
            returns.extend(got.iter().zip(&values).map(|(advantage, value)| advantage + value));
            advantages.extend(got);
        }
        for (key, got) in [("advantages", advantages), ("returns", returns)] {
            close(&format!("{case}.{key}"), &got, &all_counted(&matrix(&case.get(key)), &mask), 1e-9);
        }
    }
    for case in file.get("cumulative_returns").items() {
        let (mask, rewards) = (matrix(&case.get("action_mask")), matrix(&case.get("rewards")));
        let gamma = case.get("gamma").number();
        let rows = rewards.iter().zip(&mask);
        let got: Vec<f64> = rows.flat_map(|(row, mask)| returns_to_go(&counted(row, mask), gamma)).collect();
        close(&case.name(), &got, &all_counted(&matrix(&case.get("returns")), &mask), 1e-9);
    }
    let full = file.get("full");
    let cases = full.get("cases").items();
    assert_eq!(cases.len(), 18);
    cases.iter().for_each(|case| whole_estimator(&full, case));
    for case in file.get("adaptive_kl_controller").items() {
        let control = AdaptiveKl { target: case.get("target").number(), horizon: case.get("horizon").number() };
        let mut coef = case.get("init").number();
        for step in case.get("steps").items() {
            coef = control.next(coef, step.get("current").number(), step.get("n_steps").number() as usize);
            close(&step.name(), &[coef], &[step.get("value").number()], 1e-9);
        }
    }
    for case in file.get("length_penalty").items() {
        let most = case.get("max_new_tokens").number() as usize;
        let factor = case.get("overlong_penalty_factor").number();
        let penalty = LengthPenalty {
            overlong: option(&case, "overlong_buffer_len").map(|buffer| Overlong { buffer: buffer as usize, factor }),
            stop_properly: option(&case, "stop_properly_penalty_coef"),
            missing_end: None,
        };
        penalty.check(most).expect("sound options");
        let (lengths, cut) = (case.get("response_length").integers(), case.get("truncated").bools());
        let scores = case.get("rewards_in").numbers();
        let got: Vec<f64> =
            (0..scores.len()).map(|at| penalty.of(scores[at], lengths[at] as usize, most, cut[at])).collect();
        close(&case.name(), &got, &case.get("rewards_out").numbers(), 1e-9);
    }
}

fn clipped(scores: &[f64], range: Option<Case>) -> Vec<f64> {
    match range.map(|range| range.numbers()) {
        Some(range) => scores.iter().map(|score| score.clamp(range[0], range[1])).collect(),
        None => scores.to_vec(),
    }
}

/// Responses with a score, a penalty for leaving the reference on each token, and values where there are any.
fn rollouts(
    scores: &[f64],
    kl: &[Vec<f64>],
    coef: f64,
    values: Option<&[Vec<f64>]>,
    mask: &[Vec<f64>],
    of_group: usize,
) -> Vec<Graded> {
    (0..scores.len())
        .map(|row| Graded {
            group: row / of_group,
            score: Some(scores[row]),
            rewards: counted(&kl[row], &mask[row]).iter().map(|kl| -coef * kl).collect(),
            values: values.map(|values| counted(&values[row], &mask[row])).unwrap_or_default(),
            ..Graded::default()
        })
        .collect()
}

fn tokens(advantages: &[Advantage]) -> Vec<f64> {
    advantages.iter().flat_map(|advantage| advantage.tokens.iter().copied()).collect()
}

/// A whole estimator of OpenRLHF: its baseline, the clip of what that leaves, returns, and the normalisation of the batch.
fn whole_estimator(full: &Case, case: &Case) {
    let size = full.get("n_samples_per_prompt").number() as usize;
    let (mask, kl, of_states) =
        (matrix(&full.get("action_mask")), matrix(&full.get("kl")), matrix(&full.get("values")));
    let coef = full.get("kl_coef").number();
    let plain = rollouts(&full.get("rewards").numbers(), &kl, coef, None, &mask, size);
    let kind = case.get("estimator").text();
    let baseline = match kind.as_str() {
        "gae" | "reinforce" => Baseline::None,
        "reinforce_baseline" | "dr_grpo" => Baseline::GroupMean,
        "rloo" => Baseline::LeaveOneOut,
        "group_norm" => Baseline::GroupNormalized { epsilon: 1e-9 },
        other => panic!("{case}: {other} is not known"),
    };
    let left: Vec<f64> = Outcome::new(baseline).scores(&plain).expect("groups of four").into_iter().flatten().collect();
    let left = clipped(&left, case.opt("reward_clip_range"));
    let graded = rollouts(&left, &kl, coef, Some(&of_states), &mask, size);
    let (gamma, lambda) = (case.get("gamma").number(), case.get("lambda").number());
    let normalize = match (kind.as_str(), set(case, "no_std_norm")) {
        ("gae" | "reinforce" | "reinforce_baseline", true) => Normalize::Mean,
        ("gae" | "reinforce" | "reinforce_baseline", false) => {
            Normalize::Whiten { variance: Variance::Biased, epsilon: 0.0 }
        }
        _ => Normalize::No,
    };
    let estimate = |normalize: Normalize| -> Vec<Advantage> {
        match kind.as_str() {
            "gae" => Gae { gamma, lambda, normalize }.estimate(&graded),
            _ => Outcome { gamma, normalize, ..Outcome::new(Baseline::None) }.estimate(&graded),
        }
        .expect("sound rollouts")
    };
    let expected = |key: &str| all_counted(&matrix(&case.get(key)), &mask);
    close(&format!("{case}.advantages"), &tokens(&estimate(normalize)), &expected("advantages"), 1e-9);
    let raw = estimate(Normalize::No);
    let returns = match kind.as_str() {
        "gae" => raw.iter().flat_map(|row| row.returns.iter().copied()).collect(),
        _ => tokens(&raw),
    };
    close(&format!("{case}.returns"), &returns, &expected("returns"), 1e-9);
}

#[test]
fn golden_estimators_agree_with_verl() {
    let advantages = open(VERL).get("advantages");
    let inputs = advantages.get("inputs");
    let mask = matrix(&inputs.get("response_mask"));
    let groups = inputs.get("group_index").integers();
    let (of_states, greedy) = (matrix(&inputs.get("values")), inputs.get("reward_baselines").numbers());
    let cases = advantages.get("cases").items();
    assert_eq!(cases.len(), 13);
    for case in &cases {
        let kind = case.get("estimator").text();
        let dense = case.opt("rewards").is_some();
        let key = if dense { "token_level_rewards_dense" } else { "token_level_rewards_outcome" };
        let rewards = matrix(&inputs.get(key));
        // Estimators of tokens see each reward where it was earned, those of outcomes the sum.
        let of_tokens = matches!(kind.as_str(), "gae" | "reinforce_plus_plus" | "remax");
        let rollouts: Vec<Graded> = (0..rewards.len())
            .map(|row| {
                let own = counted(&rewards[row], &mask[row]);
                Graded {
                    group: groups[row] as usize,
                    score: Some(if of_tokens { 0.0 } else { rewards[row].iter().sum() }),
                    rewards: if of_tokens { own } else { vec![0.0; own.len()] },
                    values: counted(&of_states[row], &mask[row]),
                    greedy: Some(greedy[row]),
                    ..Graded::default()
                }
            })
            .collect();
        let white = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
        let gamma = option(case, "gamma").unwrap_or(1.0);
        let epsilon = option(case, "epsilon").unwrap_or(0.0);
        let scaled = set(case, "norm_adv_by_std");
        let outcome = |baseline: Baseline, normalize: Normalize| -> Box<dyn AdvantageEstimator> {
            Box::new(Outcome { gamma, normalize, ..Outcome::new(baseline) })
        };
        let make = |white: Normalize| -> Box<dyn AdvantageEstimator> {
            match kind.as_str() {
                "gae" => Box::new(Gae { gamma, lambda: case.get("lam").number(), normalize: white }),
                "grpo" if scaled => outcome(Baseline::GroupNormalized { epsilon }, Normalize::No),
                "grpo" => outcome(Baseline::GroupMean, Normalize::No),
                "grpo_passk" => outcome(Baseline::BestOfGroup { epsilon: scaled.then_some(epsilon) }, Normalize::No),
                "rloo" => outcome(Baseline::LeaveOneOut, Normalize::No),
                "opo" => outcome(Baseline::LengthWeighted, Normalize::No),
                "gpg" => outcome(Baseline::Scaled, Normalize::No),
                "remax" => outcome(Baseline::Greedy, Normalize::No),
                "reinforce_plus_plus" => outcome(Baseline::None, white),
                "reinforce_plus_plus_baseline" => outcome(Baseline::GroupMean, white),
                other => panic!("{case}: {other} is not known"),
            }
        };
        // Whitening adds its epsilon elsewhere, and 1e-8 to the number of tokens.
        let got = make(white).estimate(&rollouts).expect("sound rollouts");
        close(&case.name(), &tokens(&got), &all_counted(&matrix(&case.get("advantages")), &mask), 1e-8);
        if let (Some(returns), "gae" | "reinforce_plus_plus") = (case.opt("returns"), kind.as_str()) {
            let raw = make(Normalize::No).estimate(&rollouts).expect("sound rollouts");
            let of = |row: &Advantage| if kind == "gae" { row.returns.clone() } else { row.tokens.clone() };
            let got: Vec<f64> = raw.iter().flat_map(of).collect();
            close(&returns.name(), &got, &all_counted(&matrix(&returns), &mask), 1e-9);
        }
    }
}

#[test]
fn golden_losses_agree_with_verl() {
    let file = open(VERL);
    let losses = file.get("policy_losses");
    let inputs = losses.get("inputs");
    let of = |key: &str| matrix(&inputs.get(key));
    let mask = of("response_mask");
    let rows = mask.iter().filter(|row| row.contains(&1.0)).count() as f64;
    let cases = losses.get("cases").items();
    assert_eq!(cases.len(), 18);
    for case in &cases {
        let number = |key: &str| case.get(key).number();
        let (low, high) = (
            option(case, "clip_ratio_low").unwrap_or_else(|| number("clip_ratio")),
            option(case, "clip_ratio_high").unwrap_or_else(|| number("clip_ratio")),
        );
        let kind = case.get("loss").text();
        let (surrogate, level) = match kind.as_str() {
            "vanilla" => {
                let dual = Some(number("dual_clip_c"));
                (Surrogate::Clip { low, high, cap: None, dual }, RatioLevel::Token)
            }
            "gspo" => (Surrogate::Clip { low, high, cap: None, dual: None }, RatioLevel::SequenceMean),
            "sapo" => {
                let (positive, negative) = (number("tau_pos"), number("tau_neg"));
                (Surrogate::Sapo { positive, negative }, RatioLevel::Token)
            }
            "cispo" => (Surrogate::Cispo { least: 1.0 - low, most: 1.0 + high }, RatioLevel::Token),
            "gpg" => (Surrogate::Plain, RatioLevel::Token),
            "geo_mean" => (Surrogate::GeometricMean { low, high }, RatioLevel::Token),
            other => panic!("{case}: {other} is not known"),
        };
        let mode: Aggregation = case.get("loss_agg_mode").text().parse().expect("a mode that is known");
        let weighted = set(case, "rollout_is_weights");
        let objective =
            PolicyLoss { length: mask[0].len() as f64, weighted, ..PolicyLoss::new(surrogate, level, mode) };
        let mut others = vec![(TokenInput::OldLogps, of("old_log_prob"))];
        if weighted {
            others.push((TokenInput::Weights, of("rollout_is_weights")));
        }
        let given =
            Given { mask: mask.clone(), logps: of("log_prob"), advantages: of("advantages"), others, reference: None };
        let scale = match (kind.as_str(), mode) {
            // Its mean is over all rows, the one without tokens too.
            ("geo_mean", _) => rows / mask.len() as f64,
            // It divides by the length and not by the number of responses.
            (_, Aggregation::SeqMeanTokenSumNorm) => rows,
            _ => 1.0,
        };
        for dtype in precisions() {
            let (loss, gradient) = given.run(&objective, *dtype);
            // verl adds 1e-8 to the number of tokens of a response.
            let (what, tolerance) = (format!("{case} {dtype:?}"), tolerance(*dtype).max(1e-8));
            close(&what, &[values(loss.mean())[0] * scale], &[case.get("value").number()], tolerance);
            let gradient: Vec<f64> = gradient.iter().map(|x| x * scale).collect();
            close(&what, &gradient, &case.get("grad_log_prob").numbers(), tolerance);
            let Some(expected) = option(&case.get("metrics"), "actor/ppo_kl") else { continue };
            close(&what, &[given.over_tokens(&loss, "approx_kl")], &[expected], tolerance);
            if kind == "vanilla" {
                let share = given.over_tokens(&loss, "clip_ratio/low") + given.over_tokens(&loss, "clip_ratio/high");
                close(&what, &[share], &[case.get("metrics").get("actor/pg_clipfrac").number()], 1e-7);
            }
        }
    }

    let kl = file.get("kl_penalty");
    let (ours, theirs) = (matrix(&kl.get("log_prob")), matrix(&kl.get("ref_log_prob")));
    for case in kl.get("cases").items() {
        let estimator = match case.get("estimator").text().as_str() {
            "k1" => KlEstimator::K1,
            "k2" => KlEstimator::K2,
            "k3" => KlEstimator::K3,
            "abs" => KlEstimator::Abs,
            other => panic!("{case}: {other} is not known"),
        };
        let on_host: Vec<f64> =
            ours.concat().iter().zip(theirs.concat()).map(|(a, b)| estimator.of_token(*a, b)).collect();
        close(&case.name(), &on_host, &case.get("kl").numbers(), 1e-9);
        for dtype in precisions() {
            let logps = tensor(&ours, *dtype).require_grad();
            let got = estimator.of(logps.clone(), tensor(&theirs, *dtype));
            close(&case.name(), &values(got.clone()), &case.get("kl").numbers(), tolerance(*dtype));
            let grads = got.sum().backward();
            let gradient = values(logps.grad(&grads).expect("tracked"));
            close(&case.name(), &gradient, &case.get("grad_of_sum").numbers(), tolerance(*dtype));
        }
    }

    let value = file.get("value_loss");
    let of = |key: &str| matrix(&value.get(key));
    for case in value.get("cases").items() {
        let clip = Some(case.get("cliprange_value").number());
        let objective = ValueLoss { clip, aggregation: Aggregation::TokenMean };
        for dtype in precisions() {
            let (loss, gradient, clipped) =
                value_run(&objective, &of("vpreds"), &of("values"), &of("returns"), &of("response_mask"), *dtype);
            let what = format!("{case} {dtype:?}");
            close(&what, &[loss], &[case.get("loss").number()], tolerance(*dtype));
            close(&what, &gradient, &case.get("grad_vpreds").numbers(), tolerance(*dtype));
            close(&what, &[clipped], &[case.get("clipfrac").number()], 1e-7);
        }
    }

    let entropies = file.get("entropy_loss");
    let mask = matrix(&entropies.get("response_mask"));
    let shape = entropies.get("logits").shape();
    for case in entropies.get("cases").items() {
        let mode: Aggregation = case.get("mode").text().parse().expect("a mode that is known");
        for dtype in precisions() {
            let logits = floats(&entropies.get("logits").numbers(), [shape[0] * shape[1], shape[2]], &device(), *dtype);
            let tokens = entropy(logits).reshape([shape[0], shape[1]]);
            let (rows, weights) = mode.of(tokens, &Mask::from_rows(&flags(&mask), &device()), 1.0);
            let got = values(rows).iter().sum::<f64>() / values(weights).iter().sum::<f64>();
            close(&format!("{case} {dtype:?}"), &[got], &[case.get("value").number()], tolerance(*dtype).max(1e-8));
        }
    }
}
