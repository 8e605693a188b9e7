//! The Bradley-Terry loss and rules on the form of a response against TRL: `reward/*`.

use ascribe_reward::losses::{BradleyTerryConfig, PairLabel};
use ascribe_reward::{RewardLoss, ScoreBatch, repetition_penalty, soft_overlong_punishment, think_format};
use ascribe_testkit::device::{device, floats, precisions, values};
use ascribe_testkit::golden::{Case, close, open, require_pending};
use burn::tensor::DType;

const PAIRS: &str = "reward/bradley_terry_trl.json";
const RULES: &str = "reward/reward_functions_trl.json";

#[test]
fn golden_pair_losses_agree_with_trl() {
    let cases = open(PAIRS).get("cases").items();
    for case in &cases {
        for dtype in precisions() {
            pair_loss(case, *dtype);
        }
    }
    // Three batches, each with and without margins and centring.
    assert_eq!(cases.len(), 12);
}

fn pair_loss(case: &Case, dtype: DType) {
    let tolerance = if dtype == DType::F64 { 1e-9 } else { 1e-5 };
    let (chosen, rejected) = (case.get("chosen").numbers(), case.get("rejected").numbers());
    let n = chosen.len();
    let scores = floats(&[chosen.clone(), rejected.clone()].concat(), [2 * n, 1], &device().autodiff(), dtype);
    let scores = scores.require_grad();
    let mut batch = ScoreBatch::new(2, scores.clone()).expect("two responses each");
    let centre = case.opt("center_rewards_coefficient").map_or(0.0, |value| value.number());
    let margins = case.opt("margin").map(|margins| margins.numbers());
    let config = BradleyTerryConfig { centre, labelled: margins.is_some(), smoothing: 0.0 };
    if let Some(margins) = margins {
        let labels: Vec<PairLabel> = margins.iter().map(|margin| PairLabel::margin(*margin)).collect();
        batch = batch.with_labels(PairLabel::columns(&labels)).expect("one label a pair");
    }
    let loss = config.init().expect("sound options").loss(&batch).expect("the batch has what is needed");
    let grads = loss.mean().backward();
    let check = |what: &str, got: &[f64], expected: &[f64]| {
        close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance);
    };
    check("loss", &values(loss.mean()), &[case.get("loss").number()]);
    let gradient = values(scores.grad(&grads).expect("tracked"));
    check("gradient", &gradient, &["grad_chosen", "grad_rejected"].map(|key| case.get(key).numbers()).concat());
    let stat = |name: &str| {
        let found = loss.stats.iter().find(|(known, _)| *known == name);
        values(found.unwrap_or_else(|| panic!("no statistic {name}")).1.clone())
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
    check("mean_margin", &[mean(&stat("rewards/margins"))], &[case.get("mean_margin").number()]);
    let rewards = 0.5 * (mean(&stat("rewards/chosen")) + mean(&stat("rewards/rejected")));
    check("mean_reward", &[rewards], &[case.get("mean_reward").number()]);
    let picks: [(&str, fn(f64, f64) -> f64); 2] = [("min_reward", f64::min), ("max_reward", f64::max)];
    for (key, pick) in picks {
        let all = [stat("rewards/chosen"), stat("rewards/rejected")].concat();
        check(key, &[all.into_iter().reduce(pick).expect("there are rewards")], &[case.get(key).number()]);
    }
    // TRL counts a tie as lost; here it counts one half. It takes this mean in f32 whatever the batch is in.
    let accuracy = mean(&stat("rewards/accuracies")) - 0.5 * mean(&stat("rewards/ties"));
    close("accuracy", &[accuracy], &[case.get("accuracy").number()], 1e-6);
}

#[test]
fn golden_rules_agree_with_trl() {
    let file = open(RULES);
    for key in file.keys() {
        match key.as_str() {
            "_meta" => {}
            "soft_overlong_punishment" => file.get(&key).items().iter().for_each(overlong),
            "repetition_penalty" => file.get(&key).items().iter().for_each(repetition),
            "think_format" => {
                for case in file.get(&key).items() {
                    let got = think_format(&case.get("text").text());
                    close(&case.name(), &[f64::from(got)], &[case.get("reward").number()], 0.0);
                }
            }
            // Answers are checked in `golden_accuracy_rewards_agree_with_trl` of `ascribe-process`.
            "accuracy" => {}
            _ => require_pending(RULES, &key),
        }
    }
}

fn overlong(case: &Case) {
    let of = |key: &str| case.get(key).number() as usize;
    let (longest, soft) = (of("max_completion_len"), of("soft_punish_cache"));
    let reward = |tokens: &i64| soft_overlong_punishment(*tokens as usize, longest, soft).expect("sound options");
    let got: Vec<f64> = case.get("lengths").integers().iter().map(|tokens| f64::from(reward(tokens))).collect();
    close(&case.name(), &got, &case.get("rewards").numbers(), 1e-5);
}

fn repetition(case: &Case) {
    let (n, most) = (case.get("ngram_size").number() as usize, case.get("max_penalty").number());
    let reward = |ids: &Case| repetition_penalty(&ids.integers(), n, -most as f32).expect("sound options");
    let got: Vec<f64> = case.get("completion_ids").items().iter().map(|ids| f64::from(reward(ids))).collect();
    close(&case.name(), &got, &case.get("rewards").numbers(), 1e-5);
}
