//! Losses against TRL, the original DPO code and that of TDPO: every case of `pref/*`.

use ascribe_core::tensor::{Mask, entropy, generalized_jsd, token_logps};
use ascribe_core::{LogpBatch, Loss, Objective, RowKind};
use ascribe_preference::objectives::{Mixture, ObjectiveOptions, find};
use ascribe_testkit::device::{device, floats, golden_flags, golden_floats, golden_integers, precisions, values};
use ascribe_testkit::golden::{Case, close, open};
use burn::tensor::{DType, Tensor};

/// Where the library computed in f32, or passed a number through it.
const SINGLE: f64 = 2e-6;

fn made(name: &str, options: ObjectiveOptions) -> Box<dyn Objective> {
    let row = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
    row.make(&options).unwrap_or_else(|error| panic!("{name}: {error}")).objective
}

/// The options of `case` that are there, under the names of the table.
fn options(case: &Case, names: &[&str]) -> ObjectiveOptions {
    let given = names.iter().filter_map(|name| Some((*name, case.opt(name)?)));
    given.fold(ObjectiveOptions::default(), |options, (name, value)| options.with(name, value.json().clone()))
}

/// How close a number must be: `exact` says that the library computed in f64 throughout.
fn tolerance(dtype: DType, extreme: bool, exact: f64) -> f64 {
    match (dtype, extreme) {
        (DType::F64, _) => exact,
        (_, true) => 1e-4,
        _ => 1e-5,
    }
}

fn stat(loss: &Loss, name: &str) -> Vec<f64> {
    let found = loss.stats.iter().find(|(known, _)| *known == name);
    values(found.unwrap_or_else(|| panic!("no statistic {name}")).1.clone())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The loss of a window, and the gradient of its mean by `leaf`.
fn learned<const D: usize>(objective: &dyn Objective, batch: &LogpBatch, leaf: &Tensor<D>) -> (Loss, Vec<f64>) {
    objective.observe(batch).expect("the batch has what is needed");
    let loss = objective.loss(batch).expect("the batch has what is needed");
    let grads = loss.mean().backward();
    (loss, values(leaf.grad(&grads).expect("the policy is tracked")))
}

/// Masks over tokens as masks over log-probabilities: column `j` belongs to token `j + 1`.
fn shifted(mask: &Case) -> Vec<Vec<bool>> {
    golden_flags(mask).iter().map(|row| row[1..].to_vec()).collect()
}

/// One number a row at each of its tokens.
fn spread(flags: &[Vec<bool>], rows: &[f64]) -> Vec<f64> {
    let row = |(flags, value): (&Vec<bool>, &f64)| {
        flags.iter().map(|counts| if *counts { *value } else { 0.0 }).collect::<Vec<_>>()
    };
    flags.iter().zip(rows).flat_map(row).collect()
}

/// A loss of TRL's DPO trainer, or a sum of several.
fn of_trl(case: &Case) -> Box<dyn Objective> {
    let names = case.get("loss_type").items().iter().map(Case::text).collect::<Vec<_>>();
    let one = |name: &str| match name {
        "sft" => made(name, ObjectiveOptions::default()),
        // Without label smoothing, robust DPO is DPO.
        "robust" if case.opt("label_smoothing").is_none() => made(name, trl_options(case).with("label_smoothing", 0.0)),
        name => made(name, trl_options(case)),
    };
    if let [name] = names.as_slice()
        && name != "sft"
    {
        return one(name);
    }
    let parts = match case.opt("loss_weights") {
        Some(weights) => weights.numbers().into_iter().zip(names.iter().map(|name| one(name))).collect(),
        // Only a loss on pairs logs rewards.
        None => vec![(0.0, one("sigmoid")), (1.0, one("sft"))],
    };
    Box::new(Mixture::new(parts).expect("they learn from pairs"))
}

fn trl_options(case: &Case) -> ObjectiveOptions {
    let names = [
        "beta",
        "label_smoothing",
        "discopop_tau",
        "f_divergence_type",
        "f_alpha_divergence_coef",
        "ld_alpha",
        "use_weighting",
    ];
    options(case, &names)
}

#[test]
fn golden_losses_over_tokens_agree_with_trl() {
    let file = open("pref/dpo_trl.json");
    let cases = file.get("cases").items();
    for case in &cases {
        let objective = of_trl(case);
        let (types, batch) = (case.get("loss_type").items(), case.get("batch").text());
        let exact = match (types[0].text().as_str(), case.get("compute_dtype").text().as_str()) {
            (_, "f32") => SINGLE,
            ("exo_pair", _) => 1e-7,
            _ => 1e-9,
        };
        let input = file.get("inputs").get(&batch);
        for dtype in precisions() {
            over_tokens(objective.as_ref(), case, &input, *dtype, tolerance(*dtype, batch == "extreme", exact));
        }
    }
    assert_eq!(cases.len(), 180);
}

fn over_tokens(objective: &dyn Objective, case: &Case, input: &Case, dtype: DType, tolerance: f64) {
    let device = device().autodiff();
    let logps = |key: &str| golden_floats::<2>(&input.get(key), &device, dtype);
    let flags = shifted(&input.get("completion_mask"));
    let policy = logps("policy_token_logps").require_grad();
    let batch = LogpBatch::new(RowKind::Pairs, policy.clone(), Mask::from_rows(&flags, &device)).expect("they agree");
    let batch = batch.with_ref_logps(logps("ref_token_logps")).expect("they agree");
    let batch = batch.with_log_sum_sq_probs(logps("log_sum_sq_probs")).expect("they agree");
    let (loss, gradient) = learned(objective, &batch, &policy);
    let check = |what: &str, got: &[f64], expected: &[f64]| {
        close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance);
    };
    check("loss", &values(loss.mean()), &[case.get("loss").number()]);
    // What the library gives for a pair alone, where the loss is one of pairs alone.
    if let Some(rows) = case.opt("per_pair_loss") {
        check("per_pair_loss", &values(loss.rows.clone()), &rows.numbers());
    }
    let (chosen, rejected) = (case.get("chosen_rewards").numbers(), case.get("rejected_rewards").numbers());
    check("chosen_rewards", &stat(&loss, "rewards/chosen"), &chosen);
    check("rejected_rewards", &stat(&loss, "rewards/rejected"), &rejected);
    let margins = stat(&loss, "rewards/margins");
    check("reward_margin_mean", &[mean(&margins)], &[case.get("reward_margin_mean").number()]);
    // TRL counts a tie as lost; here it counts one half.
    let ties = chosen.iter().zip(&rejected).filter(|(chosen, rejected)| chosen == rejected).count() as f64;
    let tied = mean(&stat(&loss, "rewards/ties"));
    close("ties", &[tied], &[ties / chosen.len() as f64], 1e-7);
    let accuracy = mean(&stat(&loss, "rewards/accuracies")) - tied / 2.0;
    // TRL takes this mean in f32 whatever the batch is in.
    close("reward_accuracy", &[accuracy], &[case.get("reward_accuracy").number()], 1e-7);
    check("logps chosen", &stat(&loss, "logps/chosen"), &input.get("policy_chosen_logps").numbers());
    check("logps rejected", &stat(&loss, "logps/rejected"), &input.get("policy_rejected_logps").numbers());

    // A sum passes its gradient to each of its tokens and to no other.
    let expected = match case.opt("grad_token_logps") {
        Some(tokens) => tokens.numbers(),
        None => {
            let sides = ["grad_chosen_logps", "grad_rejected_logps"].map(|side| case.get(side).numbers());
            spread(&flags, &sides.concat())
        }
    };
    check("gradient", &gradient, &expected);
    assert!(gradient.iter().all(|x| x.is_finite()), "{case}");
}

/// Log-probabilities of whole responses, one side after the other, as a batch of one column.
fn column(input: &Case, names: &[String], dtype: DType) -> Tensor<2> {
    let all: Vec<f64> = names.iter().flat_map(|name| input.get(name).numbers()).collect();
    floats(&all, [all.len(), 1], &device().autodiff(), dtype)
}

fn whole(rows: usize) -> Mask {
    Mask::from_rows(&vec![[true]; rows], &device().autodiff())
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
    let sides = |of: &str| ["chosen", "rejected"].map(|side| format!("{of}_{side}_logps"));
    let policy = column(input, &sides("policy"), dtype).require_grad();
    let mut batch = LogpBatch::new(RowKind::Pairs, policy.clone(), whole(policy.dims()[0])).expect("the shapes agree");
    let reference_free = !objective.needs().ref_logps;
    if !reference_free {
        batch = batch.with_ref_logps(column(input, &sides("ref"), dtype)).expect("the shapes agree");
    }
    let (loss, gradient) = learned(objective, &batch, &policy);
    let check = |what: &str, got: &[f64], expected: &[f64]| {
        close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance);
    };
    check("losses", &values(loss.rows.clone()), &case.get("losses").numbers());
    if mean {
        check("loss", &values(loss.mean()), &[case.get("loss").number()]);
    }
    if let Some(delta) = case.opt("delta") {
        check("delta", &stat(&loss, "bco/delta")[..1], &[delta.number()]);
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

/// A loss of TRL 0.24 on whole responses.
fn of_trl_024(case: &Case) -> Box<dyn Objective> {
    let kind = case.get("loss_type").text();
    let names: &[&str] = match kind.as_str() {
        // These have no smoothing; the file gives it all the same.
        "hinge" | "ipo" => &["beta", "reference_free"],
        _ => &["beta", "reference_free", "label_smoothing"],
    };
    let mut given = options(case, names);
    match kind.as_str() {
        "ipo" => given = given.with("length_normalized", false),
        "bco_pair" => given = given.with("reward_shift", true),
        "robust" if case.opt("label_smoothing").is_none() => given = given.with("label_smoothing", 0.0),
        _ => {}
    }
    if let Some(divergence) = case.opt("f_divergence") {
        given = given.with("f_divergence_type", divergence.text());
    }
    // (1 - u^-a) / a is the alpha divergence of order 1 - a.
    if let Some(alpha) = case.opt("alpha") {
        given = given.with("f_alpha_divergence_coef", 1.0 - alpha.number());
    }
    made(if kind == "aot_pair" { "aot_unpaired" } else { kind.as_str() }, given)
}

#[test]
fn golden_losses_over_sequences_agree_with_trl() {
    let file = open("pref/dpo_seq_trl024.json");
    let cases = file.get("cases").items();
    for case in &cases {
        let batch = case.get("batch").text();
        let input = file.get("inputs").get(&batch);
        let exact = if case.get("loss_type").text() == "bco_pair" { SINGLE } else { 1e-9 };
        for dtype in precisions() {
            let gradients = ["grad_chosen_logps", "grad_rejected_logps"];
            let tolerance = tolerance(*dtype, batch == "extreme", exact);
            // A running mean begins anew with each case.
            over_sequences(of_trl_024(case).as_ref(), case, &input, *dtype, tolerance, gradients, true);
        }
    }
    assert_eq!(cases.len(), 128);
}

#[test]
fn golden_losses_agree_with_the_original_code() {
    let file = open("pref/dpo_tdpo_original.json");
    assert_eq!(file.keys(), ["_meta", "dpo", "batch_logps", "tdpo"]);
    let cases = file.get("dpo").get("cases").items();
    for case in &cases {
        let given = options(case, &["beta", "reference_free", "label_smoothing"]);
        let objective = match case.opt("ipo") {
            Some(_) => made("ipo", given.with("length_normalized", false)),
            None => made("dpo", given),
        };
        for dtype in precisions() {
            let gradients = ["grad_chosen", "grad_rejected"];
            let input = file.get("dpo").get("inputs");
            over_sequences(objective.as_ref(), case, &input, *dtype, tolerance(*dtype, false, 1e-9), gradients, false);
        }
    }
    assert_eq!(cases.len(), 4);
}

/// Logits that predict the next token, `[rows * (seq - 1), vocab]`, and the log-probability of each next token,
/// `[rows, seq - 1]`.
fn predicted(logits: &Tensor<3>, ids: &Case) -> (Tensor<2>, Tensor<2>) {
    let [rows, seq, vocab] = logits.dims();
    let n = rows * (seq - 1);
    let predicting = logits.clone().slice([0..rows, 0..seq - 1, 0..vocab]).reshape([n, vocab]);
    // Ids of ignored tokens are -100, whose log-probability is masked.
    let targets = golden_integers::<2>(ids, &logits.device()).clamp_min(0).slice([0..rows, 1..seq]).reshape([n]);
    let logps = token_logps(predicting.clone(), targets).reshape([rows, seq - 1]);
    (predicting, logps)
}

/// Which log-probabilities belong to a token with a label.
fn labelled(labels: &Case) -> Vec<Vec<bool>> {
    let seq = labels.shape()[1];
    labels.integers().chunks(seq).map(|row| row[1..].iter().map(|label| *label != -100).collect()).collect()
}

#[test]
fn golden_log_probabilities_agree_with_the_original_code() {
    let case = open("pref/dpo_tdpo_original.json").get("batch_logps");
    for dtype in precisions() {
        let (_, logps) = predicted(&golden_floats(&case.get("logits"), &device(), *dtype), &case.get("labels"));
        let mask = Mask::from_rows(&labelled(&case.get("labels")), &device());
        let tolerance = tolerance(*dtype, false, 1e-9);
        close("sum", &values(mask.sum(logps.clone())), &case.get("sum").numbers(), tolerance);
        close("mean", &values(mask.mean(logps)), &case.get("mean").numbers(), tolerance);
    }
}

#[test]
fn golden_token_level_dpo_agrees_with_its_own_code() {
    let data = open("pref/dpo_tdpo_original.json").get("tdpo");
    let (labels, cases) = (data.get("labels"), data.get("cases").items());
    for case in &cases {
        let objective = match case.get("tdpo2").json().as_bool() {
            Some(true) => made("tdpo2", options(case, &["beta", "alpha"])),
            _ => made("tdpo1", options(case, &["beta"])),
        };
        for dtype in precisions() {
            let device = device().autodiff();
            let logits: Tensor<3> = golden_floats(&data.get("logits"), &device, *dtype).require_grad();
            let (ours, logps) = predicted(&logits, &labels);
            let (theirs, ref_logps) =
                predicted(&golden_floats(&data.get("reference_logits"), &device, *dtype), &labels);
            let mask = Mask::from_rows(&labelled(&labels), &device);
            let divergence = generalized_jsd(ours, theirs, 0.0).reshape(logps.dims());
            let batch = LogpBatch::new(RowKind::Pairs, logps.clone(), mask.clone()).expect("the shapes agree");
            let batch = batch.with_ref_logps(ref_logps.clone()).expect("the shapes agree");
            let batch = batch.with_divergence(divergence.clone()).expect("the shapes agree");
            let (loss, gradient) = learned(objective.as_ref(), &batch, &logits);
            let check = |what: &str, got: &[f64]| {
                let expected = case.get(what).numbers();
                close(&format!("{case}.{what} {dtype:?}"), got, &expected, tolerance(*dtype, false, 1e-9));
            };
            check("logps", &values(mask.sum(logps.clone())));
            check("logps_margin", &values(mask.sum(logps) - mask.sum(ref_logps)));
            check("position_kl", &values(mask.sum(divergence)));
            check("losses", &values(loss.rows.clone()));
            check("chosen_rewards", &stat(&loss, "rewards/chosen"));
            check("rejected_rewards", &stat(&loss, "rewards/rejected"));
            check("grad_logits", &gradient);
        }
    }
    assert_eq!(cases.len(), 3);
}

/// A window of labelled responses, wanted ones first.
fn by_label(case: &Case, of: [&str; 2], dtype: DType) -> (LogpBatch, Tensor<2>) {
    let names = |who: &str| of.map(|side| format!("{who}_{side}"));
    let policy = column(case, &names("policy"), dtype).require_grad();
    let wanted = case.get(&format!("policy_{}", of[0])).numbers().len();
    let rows = policy.dims()[0];
    let batch = LogpBatch::new(RowKind::Labelled, policy.clone(), whole(rows)).expect("the shapes agree");
    let batch = batch.with_ref_logps(column(case, &names("ref"), dtype)).expect("the shapes agree");
    (batch.with_labels((0..rows).map(|row| row < wanted).collect()).expect("one label a row"), policy)
}

/// KTO's objective of this case: `apo_zero_unpaired` has no weights of its own in the table's name.
fn of_kto(case: &Case) -> Box<dyn Objective> {
    made(&case.get("loss_type").text(), options(case, &["beta", "desirable_weight", "undesirable_weight"]))
}

#[test]
fn golden_kto_and_bco_over_sequences_agree_with_trl() {
    let file = open("pref/kto_bco_seq_trl024.json");
    let cases = file.get("kto").items();
    for case in &cases {
        let objective = of_kto(case);
        let input = case.get("inputs");
        for dtype in precisions() {
            let (mut batch, policy) = by_label(&input, ["chosen", "rejected"], *dtype);
            let check = |what: &str, got: &[f64], expected: &[f64]| {
                close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance(*dtype, false, 1e-9));
            };
            if objective.needs().mismatched {
                let ours = column(&input, &["policy_kl".to_owned()], *dtype);
                let ratios = ours - column(&input, &["ref_kl".to_owned()], *dtype);
                batch = batch.with_mismatched(ratios.squeeze_dim::<1>(1)).expect("one a row");
            }
            let (loss, gradient) = learned(objective.as_ref(), &batch, &policy);
            if objective.needs().mismatched {
                check("kl", &stat(&loss, "kl")[..1], &[case.get("kl").number()]);
            }
            check("losses", &values(loss.rows.clone()), &case.get("losses").numbers());
            check("loss", &values(loss.mean()), &[case.get("loss").number()]);
            let sides = ["chosen", "rejected"];
            let given = |key: String| case.opt(&key).map_or_else(Vec::new, |values| values.numbers());
            check("gradient", &gradient, &sides.map(|side| given(format!("grad_{side}_logps"))).concat());
            for side in sides {
                let expected = case.get(&format!("{side}_rewards")).numbers();
                if !expected.is_empty() {
                    check(side, &stat(&loss, &format!("rewards/{side}")), &expected);
                }
            }
        }
    }
    let runs = file.get("bco").items();
    for run in &runs {
        for dtype in precisions() {
            let objective = made("bco", options(run, &["beta"]));
            for step in run.get("steps").items() {
                let (batch, policy) = by_label(&step, ["chosen", "rejected"], *dtype);
                if step.get("do_train").json().as_bool() == Some(true) {
                    objective.observe(&batch).expect("the batch has what is needed");
                }
                let loss = objective.loss(&batch).expect("the batch has what is needed");
                let grads = loss.mean().backward();
                // The library keeps its running mean in f32.
                let check = |what: &str, got: &[f64], expected: &[f64]| {
                    close(&format!("{step}.{what} {dtype:?}"), got, expected, tolerance(*dtype, false, SINGLE));
                };
                check("losses", &values(loss.rows.clone()), &step.get("losses").numbers());
                check("delta", &stat(&loss, "bco/delta")[..1], &[step.get("delta").number()]);
                let expected = [step.get("running_mean").number(), step.get("running_count").number()];
                check("memory", &objective.memory(), &expected);
                let gradient = values(policy.grad(&grads).expect("tracked"));
                let expected = ["grad_chosen", "grad_rejected"].map(|key| step.get(key).numbers()).concat();
                check("gradient", &gradient, &expected);
            }
        }
    }
    assert_eq!((cases.len(), runs.len()), (12, 2));
}

#[test]
fn golden_kto_over_tokens_agrees_with_trl() {
    let file = open("pref/kto_trl.json");
    let cases = file.get("cases").items();
    for case in &cases {
        let objective = of_kto(case);
        let input = file.get("inputs").get(&case.get("batch").text());
        let flags = shifted(&input.get("completion_mask"));
        for dtype in precisions() {
            let device = device().autodiff();
            let logps = |key: &str| golden_floats::<2>(&input.get(key), &device, *dtype);
            let policy = logps("policy_token_logps").require_grad();
            let mask = Mask::from_rows(&flags, &device);
            let batch = LogpBatch::new(RowKind::Labelled, policy.clone(), mask).expect("the shapes agree");
            let batch = batch.with_ref_logps(logps("ref_token_logps")).expect("the shapes agree");
            // Responses to other prompts have lengths of their own.
            let others = Mask::from_rows(&shifted(&input.get("kl_completion_mask")), &device);
            let ratios = others.sum(logps("policy_kl_token_logps")) - others.sum(logps("ref_kl_token_logps"));
            let batch = batch.with_mismatched(ratios).expect("one a row");
            let batch = batch.with_labels(input.get("label").bools()).expect("one a row");
            let (loss, gradient) = learned(objective.as_ref(), &batch, &policy);
            let check = |what: &str, got: &[f64], expected: &[f64]| {
                close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance(*dtype, false, 1e-9));
            };
            check("loss", &values(loss.mean()), &[case.get("loss").number()]);
            if objective.needs().mismatched {
                check("kl", &stat(&loss, "kl")[..1], &[case.get("kl").number()]);
            }
            for side in ["chosen", "rejected"] {
                if let Some(expected) = case.opt(&format!("mean_{side}_reward")) {
                    check(side, &[mean(&stat(&loss, &format!("rewards/{side}")))], &[expected.number()]);
                }
            }
            check("gradient", &gradient, &spread(&flags, &case.get("grad_logps").numbers()));
        }
    }
    assert_eq!(cases.len(), 16);
}

/// A batch of pairs of which the file gives one number a response.
fn of_responses(input: &Case, of: &str, dtype: DType) -> (LogpBatch, Tensor<2>) {
    let names = ["chosen", "rejected"].map(|side| format!("{of}_{side}_logps"));
    let policy = column(input, &names, dtype).require_grad();
    let batch = LogpBatch::new(RowKind::Pairs, policy.clone(), whole(policy.dims()[0])).expect("the shapes agree");
    (batch, policy)
}

#[test]
fn golden_odds_ratios_agree_with_trl() {
    let file = open("pref/orpo_cpo_simpo_trl.json");
    assert_eq!(file.keys(), ["_meta", "inputs", "orpo", "cpo", "full_batch"]);
    let (input, cases) = (file.get("inputs"), file.get("orpo").items());
    for case in &cases {
        let objective = made("orpo", options(case, &["beta"]));
        let exact = if case.get("compute_dtype").text() == "f32" { SINGLE } else { 1e-9 };
        for dtype in precisions() {
            let (batch, policy) = of_responses(&input, "avg", *dtype);
            let (loss, gradient) = learned(objective.as_ref(), &batch, &policy);
            let check = |what: &str, got: &[f64], expected: &[f64]| {
                close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance(*dtype, false, exact));
            };
            // The file has the odds ratio alone, negated; the loss has the likelihood of a response of one token besides.
            let (chosen, pairs) = (input.get("avg_chosen_logps").numbers(), batch.examples());
            let ratios: Vec<f64> =
                values(loss.rows.clone()).iter().zip(&chosen).map(|(row, logp)| -(row + logp)).collect();
            check("losses_as_returned", &ratios, &case.get("losses_as_returned").numbers());
            check("or_term_of_loss", &[-mean(&ratios)], &[case.get("or_term_of_loss").number()]);
            check("chosen_rewards", &stat(&loss, "rewards/chosen"), &case.get("chosen_rewards").numbers());
            check("rejected_rewards", &stat(&loss, "rewards/rejected"), &case.get("rejected_rewards").numbers());
            check("log_odds", &[mean(&stat(&loss, "log_odds_chosen"))], &[case.get("log_odds_mean").number()]);
            let ratio = [mean(&stat(&loss, "log_odds_ratio"))];
            check("log_odds_ratio", &ratio, &[case.get("log_odds_ratio_mean").number()]);
            let likelihood = (0..2 * pairs).map(|row| if row < pairs { 1.0 / pairs as f64 } else { 0.0 });
            let gradient: Vec<f64> = gradient.iter().zip(likelihood).map(|(slope, own)| slope + own).collect();
            let expected = ["grad_chosen_logps", "grad_rejected_logps"].map(|key| case.get(key).numbers()).concat();
            check("gradient", &gradient, &expected);
        }
    }
    assert_eq!(cases.len(), 4);
}

#[test]
fn golden_contrasts_agree_with_trl() {
    let file = open("pref/orpo_cpo_simpo_trl.json");
    let (input, cases) = (file.get("inputs"), file.get("cpo").items());
    for case in &cases {
        let kind = case.get("loss_type").text();
        let names: &[&str] = match kind.as_str() {
            // The file gives options to losses that do not have them all the same.
            "hinge" | "ipo" => &["loss_type", "beta", "alpha"],
            "simpo" => &["loss_type", "beta", "alpha", "simpo_gamma", "label_smoothing"],
            _ => &["loss_type", "beta", "alpha", "label_smoothing"],
        };
        let objective = made("cpo", options(case, names).with("cpo_alpha", 0.0));
        for dtype in precisions() {
            // One number a response: its sum and its mean are the same.
            let (batch, policy) = of_responses(&input, &case.get("logps").text(), *dtype);
            let (loss, gradient) = learned(objective.as_ref(), &batch, &policy);
            let check = |what: &str, got: &[f64], expected: &[f64]| {
                close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance(*dtype, false, 1e-9));
            };
            check("losses", &values(loss.rows.clone()), &case.get("losses").numbers());
            check("loss", &values(loss.mean()), &[case.get("loss").number()]);
            check("chosen_rewards", &stat(&loss, "rewards/chosen"), &case.get("chosen_rewards").numbers());
            check("rejected_rewards", &stat(&loss, "rewards/rejected"), &case.get("rejected_rewards").numbers());
            let expected = ["grad_chosen_logps", "grad_rejected_logps"].map(|key| case.get(key).numbers()).concat();
            check("gradient", &gradient, &expected);
        }
    }
    assert_eq!(cases.len(), 9);
}

#[test]
fn golden_losses_without_a_reference_agree_with_trl_on_whole_batches() {
    let file = open("pref/orpo_cpo_simpo_trl.json");
    let cases = file.get("full_batch").items();
    for case in &cases {
        let window = options(case, &["beta"]).with("nll_reduction", "window");
        let kind = case.get("kind").text();
        let with_gamma = ["beta", "loss_type", "cpo_alpha", "simpo_gamma"];
        let (objective, exact) = match kind.as_str() {
            // The library casts to f32 inside.
            "orpo" => (made("orpo", window.with("nll_on_prompt", true)), SINGLE),
            // Here the likelihood weighs nothing.
            "simpo" => (made("cpo", options(case, &with_gamma)), 1e-9),
            "cpo_simpo" => (made("cpo", options(case, &with_gamma).with("nll_reduction", "window")), 1e-9),
            _ => (made("cpo", options(case, &with_gamma[..3]).with("nll_reduction", "window")), 1e-9),
        };
        for dtype in precisions() {
            let device = device().autodiff();
            let logits: Tensor<3> = golden_floats(&case.get("logits"), &device, *dtype).require_grad();
            let (_, logps) = predicted(&logits, &case.get("input_ids"));
            let (flags, pairs) = (labelled(&case.get("labels")), case.get("pairs").number() as usize);
            let mask = Mask::from_rows(&flags, &device);
            let mut batch = LogpBatch::new(RowKind::Pairs, logps.clone(), mask).expect("the shapes agree");
            if objective.needs().prompt_logps {
                // Tokens that are there and have no label.
                let there = shifted(&case.get("attention_mask"));
                let of_row = |(there, label): (&Vec<bool>, &Vec<bool>)| -> Vec<bool> {
                    there.iter().zip(label).map(|(there, label)| *there && !*label).collect()
                };
                let prompts: Vec<Vec<bool>> = there.iter().zip(&flags).take(pairs).map(of_row).collect();
                let mask = Mask::from_rows(&prompts, &device);
                batch = batch.with_prompt_logps(logps.slice(0..pairs), mask).expect("one row a pair");
            }
            let (loss, gradient) = learned(objective.as_ref(), &batch, &logits);
            let check = |what: &str, got: f64, expected: f64, tolerance: f64| {
                close(&format!("{case}.{what} {dtype:?}"), &[got], &[expected], tolerance);
            };
            let tolerance = tolerance(*dtype, false, exact);
            check("loss", values(loss.mean())[0], case.get("loss").number(), tolerance);
            // These are logged in f32.
            let mut logged = vec!["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"];
            if kind == "orpo" {
                logged.extend(["log_odds_ratio", "log_odds_chosen"]);
            }
            for name in logged {
                let expected = case.get("metrics").get(&format!("eval_{name}")).number();
                check(name, mean(&stat(&loss, name)), expected, SINGLE.max(tolerance));
            }
            close(&format!("{case}.grad_logits"), &gradient, &case.get("grad_logits").numbers(), tolerance);
        }
    }
    assert_eq!(cases.len(), 4);
}

#[test]
fn golden_triples_agree_with_trl() {
    let file = open("pref/tpo_trl.json");
    let (input, cases) = (file.get("inputs"), file.get("cases").items());
    let groups = input.get("groups").number() as usize;
    for case in &cases {
        let names: &[&str] = match case.get("loss_type").text().as_str() {
            "hinge" | "ipo" => &["loss_type", "beta", "tpo_alpha"],
            "tpo-l" => &["loss_type", "beta", "tpo_alpha", "tpo_l_gamma", "label_smoothing"],
            _ => &["loss_type", "beta", "tpo_alpha", "label_smoothing"],
        };
        let given = options(case, names);
        let has_likelihood = case.get("tpo_alpha").number() > 0.0;
        let objective = made("tpo", if has_likelihood { given.with("nll_reduction", "window") } else { given });
        let kind = objective.needs().kind;
        let rows = kind.sides() * groups;
        for dtype in precisions() {
            let device = device().autodiff();
            let logits: Tensor<3> = golden_floats(&input.get("logits"), &device, *dtype).require_grad();
            let (predicting, logps) = predicted(&logits, &input.get("input_ids"));
            let flags = shifted(&input.get("completion_mask"));
            let mask = Mask::from_rows(&flags, &device);
            let shape = logps.dims();
            let batch = LogpBatch::new(kind, logps.slice(0..rows), mask.rows(0, rows)).expect("the shapes agree");
            let (loss, gradient) = learned(objective.as_ref(), &batch, &logits);
            let check = |what: &str, got: f64| {
                let (expected, tolerance) = (case.get(what).number(), tolerance(*dtype, false, 1e-9));
                close(&format!("{case}.{what} {dtype:?}"), &[got], &[expected], tolerance);
            };
            check("loss", values(loss.mean())[0]);
            check("rewards_chosen_mean", mean(&stat(&loss, "rewards/chosen")));
            check("rewards_rejected_mean", mean(&stat(&loss, "rewards/rejected")));
            let (entropies, mask) = (entropy(predicting.detach()).reshape(shape), mask.rows(0, rows));
            let entropies = entropies.slice(0..rows);
            let counts: f64 = values(mask.count(&entropies)).iter().sum();
            check("entropy", values(mask.sum(entropies)).iter().sum::<f64>() / counts);
            check("grad_logits_norm", gradient.iter().map(|slope| slope * slope).sum::<f64>().sqrt());
            let first = case.get("grad_logits_row0").numbers();
            close(&format!("{case}.row0"), &gradient[..first.len()], &first, tolerance(*dtype, false, 1e-9));
        }
    }
    assert_eq!(cases.len(), 8);
}
