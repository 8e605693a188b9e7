//! Losses against TRL and the original code, and whole training runs against transformers: `pref/*`, `lm/train_steps.json`.

use std::collections::HashMap;

use ascribe_core::tensor::{Mask, token_logps};
use ascribe_core::{LogpBatch, Loss, Objective, RowKind};
use ascribe_lm::{Decoder, DecoderConfig, LocalPolicy, Safetensors};
use ascribe_preference::objectives::{ApoZeroConfig, DpoConfig, IpoConfig, Sft};
use ascribe_preference::{LogpCache, LogpLearner, TrainRow, reference_logps, self_test};
use ascribe_reward::losses::BradleyTerryConfig;
use ascribe_reward::{RewardLearner, RewardRow};
use ascribe_testkit::device::{device, floats, golden_flags, golden_floats, golden_integers, precisions, values};
use ascribe_testkit::golden::{Case, close, open, require_pending, root};
use ascribe_train::{Fit, FitConfig, Learner, ScheduleKind, Tally, evaluate};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Tensor};

const TOKENS: &str = "pref/dpo_trl.json";
const SEQUENCES: &str = "pref/dpo_seq_trl024.json";
const ORIGINAL: &str = "pref/dpo_tdpo_original.json";
const STEPS: &str = "lm/train_steps.json";

/// The objective that the files call `name`, with the options of `case`; `None` when it is not written yet.
///
/// IPO over tokens is that of TRL 1.16, which divides by the number of tokens; where a file gives whole responses, they
/// are used as they are given.
fn objective(name: &str, case: &Case, length_normalized: bool) -> Option<Box<dyn Objective>> {
    let reference_free = case.opt("reference_free").is_some_and(|flag| flag.json().as_bool() == Some(true));
    let beta = case.get("beta").number();
    let made: Box<dyn Objective> = match name {
        "sigmoid" => Box::new(DpoConfig { beta, reference_free }.init().expect("beta is above 0")),
        "ipo" => Box::new(IpoConfig { beta, length_normalized, reference_free }.init().expect("beta is above 0")),
        "apo_zero" => Box::new(ApoZeroConfig { beta, reference_free }.init().expect("beta is above 0")),
        _ => return None,
    };
    Some(made)
}

fn tolerance(dtype: DType, extreme: bool) -> f64 {
    match (dtype, extreme) {
        (DType::F64, _) => 1e-9,
        (_, true) => 1e-4,
        _ => 1e-5,
    }
}

fn stat(loss: &Loss, name: &str) -> Vec<f64> {
    let found = loss.stats.iter().find(|(known, _)| *known == name);
    values(found.unwrap_or_else(|| panic!("no statistic {name}")).1.clone())
}

/// Loss and the gradient of its mean with respect to the policy's log-probabilities, `[rows, seq]`.
fn run(objective: &dyn Objective, policy: Tensor<2>, reference: Option<Tensor<2>>, mask: Mask) -> (Loss, Vec<f64>) {
    let policy = policy.require_grad();
    let mut batch = LogpBatch::new(RowKind::Pairs, policy.clone(), mask).expect("the shapes agree");
    if let Some(reference) = reference {
        batch = batch.with_ref_logps(reference).expect("the shapes agree");
    }
    let loss = objective.loss(&batch).expect("the batch has what is needed");
    let grads = loss.mean().backward();
    (loss, values(policy.grad(&grads).expect("the policy is tracked")))
}

#[test]
fn golden_losses_over_tokens_agree_with_trl() {
    let file = open(TOKENS);
    let mut ran = 0;
    for case in file.get("cases").items() {
        let types: Vec<String> = case.get("loss_type").items().iter().map(Case::text).collect();
        let name = types.join("+");
        let Some(objective) = objective(&name, &case, true) else {
            require_pending(TOKENS, &format!("cases: loss_type={name}"));
            continue;
        };
        let set = |key: &&str| case.opt(key).is_some_and(|value| value.json().as_bool() != Some(false));
        if let Some(option) = ["f_divergence_type", "ld_alpha", "use_weighting"].iter().find(|key| set(key)) {
            require_pending(TOKENS, &format!("cases: {option}"));
            continue;
        }
        ran += 1;
        let name = case.get("batch").text();
        let input = file.get("inputs").get(&name);
        for dtype in precisions() {
            over_tokens(objective.as_ref(), &case, &input, *dtype, tolerance(*dtype, name == "extreme"));
        }
    }
    // Three losses, two betas, three batches.
    assert!(ran >= 18, "only {ran} cases");
}

fn over_tokens(objective: &dyn Objective, case: &Case, input: &Case, dtype: DType, tolerance: f64) {
    let device = device().autodiff();
    let logps = |key: &str| golden_floats::<2>(&input.get(key), &device, dtype);
    // The mask is over tokens; column j of the log-probabilities belongs to token j + 1.
    let shifted: Vec<Vec<bool>> =
        golden_flags(&input.get("completion_mask")).iter().map(|row| row[1..].to_vec()).collect();
    let mask = Mask::from_rows(&shifted, &device);
    let (loss, gradient) = run(objective, logps("policy_token_logps"), Some(logps("ref_token_logps")), mask);
    let pairs = input.get("pairs").number() as usize;
    let check = |what: &str, got: &[f64], expected: &[f64]| {
        close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance);
    };
    check("loss", &values(loss.mean()), &[case.get("loss").number()]);
    if let Some(rows) = case.opt("per_pair_loss") {
        check("per_pair_loss", &values(loss.rows.clone()), &rows.numbers());
    }
    let (chosen, rejected) = (case.get("chosen_rewards").numbers(), case.get("rejected_rewards").numbers());
    check("chosen_rewards", &stat(&loss, "rewards/chosen"), &chosen);
    check("rejected_rewards", &stat(&loss, "rewards/rejected"), &rejected);
    let margins = stat(&loss, "rewards/margins");
    check(
        "reward_margin_mean",
        &[margins.iter().sum::<f64>() / pairs as f64],
        &[case.get("reward_margin_mean").number()],
    );
    // TRL counts a tie as lost; here it counts one half.
    let ties = chosen.iter().zip(&rejected).filter(|(chosen, rejected)| chosen == rejected).count() as f64;
    let accuracy = stat(&loss, "rewards/accuracies").iter().sum::<f64>() / pairs as f64;
    // TRL takes this mean in f32 whatever the batch is in.
    close("reward_accuracy", &[accuracy - ties / 2.0 / pairs as f64], &[case.get("reward_accuracy").number()], 1e-7);
    check("logps chosen", &stat(&loss, "logps/chosen"), &input.get("policy_chosen_logps").numbers());
    check("logps rejected", &stat(&loss, "logps/rejected"), &input.get("policy_rejected_logps").numbers());

    // A sum passes its gradient to each of its tokens and to no other.
    let of_rows = [case.get("grad_chosen_logps").numbers(), case.get("grad_rejected_logps").numbers()].concat();
    let spread = |(flags, gradient): (&Vec<bool>, &f64)| {
        flags.iter().map(|counts| if *counts { *gradient } else { 0.0 }).collect::<Vec<_>>()
    };
    let expected: Vec<f64> = shifted.iter().zip(&of_rows).flat_map(spread).collect();
    check("gradient", &gradient, &expected);
    assert!(gradient.iter().all(|x| x.is_finite()));
}

/// Chosen and rejected log-probabilities of whole responses as a batch of one column.
fn column(input: &Case, of: &str, dtype: DType) -> Tensor<2> {
    let side = |side: &str| input.get(&format!("{of}_{side}_logps")).numbers();
    let both = [side("chosen"), side("rejected")].concat();
    floats(&both, [both.len(), 1], &device().autodiff(), dtype)
}

fn over_sequences(
    objective: &dyn Objective,
    case: &Case,
    input: &Case,
    dtype: DType,
    tolerance: f64,
    gradients: [&str; 2],
    mean: bool,
) {
    let policy = column(input, "policy", dtype);
    let [rows, _] = policy.dims();
    let mask = Mask::from_rows(&vec![vec![true]; rows], &device().autodiff());
    let reference_free = !objective.needs().ref_logps;
    let reference = (!reference_free).then(|| column(input, "ref", dtype));
    let (loss, gradient) = run(objective, policy.clone(), reference, mask);
    let check = |what: &str, got: &[f64], expected: &[f64]| {
        close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance);
    };
    check("losses", &values(loss.rows.clone()), &case.get("losses").numbers());
    if mean {
        check("loss", &values(loss.mean()), &[case.get("loss").number()]);
    }
    check("gradient", &gradient, &gradients.map(|key| case.get(key).numbers()).concat());
    for (side, key) in [("chosen", "chosen_rewards"), ("rejected", "rejected_rewards")] {
        let got = stat(&loss, &format!("rewards/{side}"));
        if reference_free {
            // The libraries log rewards against the reference even where the loss leaves it out; here the rewards are
            // those that the loss compares.
            let beta = case.get("beta").number();
            let logps = input.get(&format!("policy_{side}_logps")).numbers();
            check(key, &got, &logps.iter().map(|logp| beta * logp).collect::<Vec<_>>());
        } else {
            check(key, &got, &case.get(key).numbers());
        }
    }
}

#[test]
fn golden_losses_over_sequences_agree_with_trl() {
    let file = open(SEQUENCES);
    let (mut ran, mut free) = (0, 0);
    for case in file.get("cases").items() {
        let kind = case.get("loss_type").text();
        let Some(objective) = objective(&kind, &case, false) else {
            require_pending(SEQUENCES, &format!("cases: loss_type={kind}"));
            continue;
        };
        let on = |key: &&str| case.opt(key).is_some_and(|value| value.json().as_f64() != Some(0.0));
        if let Some(option) = ["f_divergence", "label_smoothing"].iter().find(|key| on(key)) {
            require_pending(SEQUENCES, &format!("cases: {option}"));
            continue;
        }
        ran += 1;
        free += usize::from(case.opt("reference_free").is_some());
        let name = case.get("batch").text();
        let input = file.get("inputs").get(&name);
        for dtype in precisions() {
            let gradients = ["grad_chosen_logps", "grad_rejected_logps"];
            let tolerance = tolerance(*dtype, name == "extreme");
            over_sequences(objective.as_ref(), &case, &input, *dtype, tolerance, gradients, true);
        }
    }
    assert!(ran >= 18 && free == 9, "{ran} cases, {free} without a reference");
}

#[test]
fn golden_losses_agree_with_the_original_code() {
    let file = open(ORIGINAL);
    for key in file.keys() {
        match key.as_str() {
            "_meta" | "dpo" | "batch_logps" => {}
            _ => require_pending(ORIGINAL, &key),
        }
    }
    let mut ran = 0;
    for case in file.get("dpo").get("cases").items() {
        if case.opt("label_smoothing").is_some() {
            require_pending(ORIGINAL, "dpo: label_smoothing");
            continue;
        }
        let name = if case.opt("ipo").is_some() { "ipo" } else { "sigmoid" };
        let objective = objective(name, &case, false).expect("both are written");
        ran += 1;
        for dtype in precisions() {
            let gradients = ["grad_chosen", "grad_rejected"];
            let input = file.get("dpo").get("inputs");
            over_sequences(objective.as_ref(), &case, &input, *dtype, tolerance(*dtype, false), gradients, false);
        }
    }
    assert_eq!(ran, 3);
}

#[test]
fn golden_log_probabilities_agree_with_the_original_code() {
    let case = open(ORIGINAL).get("batch_logps");
    for dtype in precisions() {
        let device = device();
        let logits: Tensor<3> = golden_floats(&case.get("logits"), &device, *dtype);
        let [rows, seq, vocab] = logits.dims();
        let labels = case.get("labels").integers();
        let flags: Vec<Vec<bool>> =
            labels.chunks(seq).map(|row| row[1..].iter().map(|label| *label != -100).collect()).collect();
        let targets = golden_integers::<2>(&case.get("labels"), &device).clamp_min(0);
        let n = rows * (seq - 1);
        let logps = token_logps(
            logits.slice([0..rows, 0..seq - 1, 0..vocab]).reshape([n, vocab]),
            targets.slice([0..rows, 1..seq]).reshape([n]),
        );
        let (logps, mask) = (logps.reshape([rows, seq - 1]), Mask::from_rows(&flags, &device));
        let tolerance = tolerance(*dtype, false);
        close("sum", &values(mask.sum(logps.clone())), &case.get("sum").numbers(), tolerance);
        close("mean", &values(mask.mean(logps)), &case.get("mean").numbers(), tolerance);
    }
}

/// The pairs of the file; the first `prompt_lengths[i]` tokens of a row are its prompt.
fn pairs(data: &Case) -> Vec<TrainRow> {
    let (ids, mask) = (data.get("input_ids").items(), data.get("attention_mask").items());
    let lengths = data.get("prompt_lengths").integers();
    let row = |at: usize| -> Vec<u32> {
        let flags = mask[at].integers();
        ids[at].integers().iter().zip(flags).filter(|(_, flag)| *flag == 1).map(|(id, _)| *id as u32).collect()
    };
    let pair = |(number, length): (usize, &i64)| {
        let (chosen, rejected, length) = (row(number), row(number + lengths.len()), *length as usize);
        assert_eq!(chosen[..length], rejected[..length]);
        TrainRow::pair(&chosen[..length], &chosen[length..], &rejected[length..])
    };
    lengths.iter().enumerate().map(pair).collect()
}

fn load(model: &str) -> Decoder {
    let folder = root().join(model);
    let config = DecoderConfig::from_json(&folder.join("config.json")).expect("a Llama");
    let mut weights = Safetensors::open(&folder).expect("the weights can be read");
    Decoder::load(&config, &mut weights, &device().autodiff()).expect("the weights fit")
}

/// All parameters by id.
fn parameters(model: &Decoder) -> HashMap<ParamId, Vec<f64>> {
    struct Gather(HashMap<ParamId, Vec<f64>>);
    impl ModuleVisitor for Gather {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.insert(param.id, values(param.val()));
        }
    }
    let mut gather = Gather(HashMap::new());
    model.visit(&mut gather);
    gather.0
}

/// The id of a parameter depends on its name alone.
fn id(name: &str) -> ParamId {
    let hash = blake3::hash(name.as_bytes());
    ParamId::from(u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes")))
}

#[test]
fn golden_training_steps_agree_with_torch() {
    let file = open(STEPS);
    let data = file.get("data");
    let names = file.get("runs").keys();
    for name in &names {
        let run = file.get("runs").get(name);
        match name.as_str() {
            "reward_model" => reward_steps(&data, &run),
            "sft_completion_only" => sft_steps(&data, &run),
            _ => {
                let loss = name.strip_prefix("dpo_").unwrap_or_else(|| panic!("{run}: not known"));
                let objective = objective(loss, &run, true).unwrap_or_else(|| panic!("{run}: not known"));
                preference_steps(objective.as_ref(), &data, &run);
            }
        }
    }
    assert_eq!(names.len(), 5);
}

/// Largest difference of a loss, a gradient norm or a statistic.
const STEP: f64 = 1e-3;

fn preference_steps(objective: &dyn Objective, data: &Case, run: &Case) {
    let (model, reference) = (load(&run.get("model").text()), load(&run.get("reference").text()));
    let mut rows = pairs(data);
    let folder = tempfile::tempdir().expect("a folder");
    let mut cache = LogpCache::open(&folder.path().join("logps.bin")).expect("a new file");
    let policy = LocalPolicy::new(&reference, &[], usize::MAX).expect("finite weights");
    reference_logps(&mut rows, &policy, "reference", &mut cache, &mut |_, _| ()).expect("finite log-probs");

    follow(&LogpLearner { objective }, &model, &rows, run, &|step: &Case, tally: &Tally| {
        for (stat, key) in [
            ("rewards/chosen", "chosen_rewards"),
            ("rewards/rejected", "rejected_rewards"),
            ("logps/chosen", "chosen_logps"),
            ("logps/rejected", "rejected_logps"),
        ] {
            let expected = step.get(key);
            close(&expected.name(), tally.values(stat), &expected.numbers(), STEP);
        }
    });

    // The policy is not the reference here, and the check before the first step says so.
    assert!(self_test(&model, &rows, 0.1).is_err());
    let found = self_test(&reference, &rows, 0.1).expect("the reference equals itself");
    assert!(found.difference < 1e-5 && (found.loss - 2.0f64.ln()).abs() < 1e-5);
}

/// The responses of both sides are taught, all chosen ones first.
fn sft_steps(data: &Case, run: &Case) {
    let pairs = pairs(data);
    let side = |side: usize| {
        pairs.iter().map(move |row| TrainRow::single(row.prompt.clone(), row.responses[side].tokens.clone()))
    };
    let rows: Vec<TrainRow> = side(0).chain(side(1)).collect();
    follow(&LogpLearner { objective: &Sft }, &load(&run.get("model").text()), &rows, run, &|_: &Case, _: &Tally| ());
}

fn reward_steps(data: &Case, run: &Case) {
    let centre = run.get("center_rewards_coefficient").number();
    let loss = BradleyTerryConfig { centre, labelled: false }.init().expect("a sound weight");
    let row = |pair: TrainRow| RewardRow {
        prompt: pair.prompt,
        responses: pair.responses.into_iter().map(|response| response.tokens).collect(),
        ..RewardRow::default()
    };
    let rows: Vec<RewardRow> = pairs(data).into_iter().map(row).collect();
    let learner = RewardLearner { loss: &loss };
    follow(&learner, &load(&run.get("model").text()), &rows, run, &|step: &Case, tally: &Tally| {
        let got = [tally.values("rewards/chosen"), tally.values("rewards/rejected")].concat();
        let expected = step.get("scores");
        close(&expected.name(), &got, &expected.numbers(), STEP);
    });
}

/// Trains `model` on `rows` as the golden `run` was trained, and compares every step; `compare` adds what is particular.
fn follow<L: Learner<Model = Decoder>>(
    learner: &L,
    model: &Decoder,
    rows: &[L::Row],
    run: &Case,
    compare: &dyn Fn(&Case, &Tally),
) {
    let (steps, options) = (run.get("steps").items(), run.get("optimizer"));
    let betas = options.get("betas").numbers();
    let config = FitConfig {
        learning_rate: options.get("lr").number(),
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: steps.len(),
        max_grad_norm: options.get("max_grad_norm").number(),
        weight_decay: options.get("weight_decay").number(),
        adam_beta1: betas[0],
        adam_beta2: betas[1],
        adam_epsilon: options.get("eps").number(),
        ..FitConfig::default()
    };
    // The same run with the window split into single rows gives the same numbers.
    for (batch, accumulate) in [(rows.len(), 1), (1, rows.len())] {
        let split =
            FitConfig { per_device_train_batch_size: batch, gradient_accumulation_steps: accumulate, ..config.clone() };
        let before = parameters(model);
        let mut fit = Fit::new(learner, model.clone(), rows, split).expect("sound options");
        for step in &steps {
            // Measured first: rows stand in the order of the file there, and are shuffled while training.
            compare(step, &evaluate(learner, &fit.model().clone().valid(), rows, batch).expect("sound rows"));
            let report = fit.next().expect("steps are left").expect("the numbers are finite");
            for (metric, key) in [("loss", "loss"), ("grad_norm", "grad_norm_before_clip")] {
                let got = report.metric(metric).expect("it is reported");
                close(&format!("{step}.{key}"), &[got], &[step.get(key).number()], STEP);
            }
        }
        assert!(fit.next().is_none());
        let tally = evaluate(learner, &fit.model().clone().valid(), rows, batch).expect("sound rows");
        close(&run.name(), &[tally.loss / tally.weight], &[run.get("loss_after_last_step").number()], STEP);
        let after = parameters(fit.model());
        let norms = run.get("final_param_update_norms");
        assert_eq!(norms.keys().len(), after.len());
        for name in norms.keys() {
            let moved = after[&id(&name)].iter().zip(&before[&id(&name)]).map(|(a, b)| (a - b) * (a - b));
            close(&format!("{norms}.{name}"), &[moved.sum::<f64>().sqrt()], &[norms.get(&name).number()], STEP);
        }
    }
}
