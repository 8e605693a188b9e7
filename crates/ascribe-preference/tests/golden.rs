//! Whole training runs against transformers: `lm/train_steps.json`.

use std::collections::HashMap;

use ascribe_core::Objective;
use ascribe_lm::{Decoder, DecoderConfig, LocalPolicy, Safetensors};
use ascribe_preference::objectives::{ObjectiveOptions, Sft, find};
use ascribe_preference::{LogpCache, LogpLearner, TrainRow, reference_logps, self_test};
use ascribe_reward::losses::BradleyTerryConfig;
use ascribe_reward::{RewardLearner, RewardRow};
use ascribe_testkit::device::{device, values};
use ascribe_testkit::golden::{Case, close, open, root};
use ascribe_train::{Fit, FitConfig, Learner, ScheduleKind, Tally, evaluate};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

const STEPS: &str = "lm/train_steps.json";

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
                let row = find(loss).unwrap_or_else(|| panic!("{run}: not known"));
                let options = ObjectiveOptions::default().with("beta", run.get("beta").number());
                preference_steps(row.make(&options).expect("sound options").objective.as_ref(), &data, &run);
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

    follow(&LogpLearner::new(objective), &model, &rows, run, &|step: &Case, tally: &Tally| {
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
    follow(&LogpLearner::new(&Sft), &load(&run.get("model").text()), &rows, run, &|_: &Case, _: &Tally| ());
}

fn reward_steps(data: &Case, run: &Case) {
    let centre = run.get("center_rewards_coefficient").number();
    let loss = BradleyTerryConfig { centre, ..BradleyTerryConfig::default() }.init().expect("a sound weight");
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
