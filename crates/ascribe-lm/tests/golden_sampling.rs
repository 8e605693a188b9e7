//! Logits transforms against transformers: `search/logits_processors.json` (see `golden/README.md`).

use ascribe_lm::Transform;
use ascribe_testkit::golden::{close, open};

/// The options that the name of a case stands for.
fn chain(name: &str) -> Vec<Transform> {
    match name {
        "temperature_0.7" => vec![Transform::Temperature(0.7)],
        "temperature_1.8" => vec![Transform::Temperature(1.8)],
        "top_k_1" => vec![Transform::TopK(1)],
        "top_k_4" => vec![Transform::TopK(4)],
        "top_k_50" => vec![Transform::TopK(50)],
        "top_p_0.1" => vec![Transform::TopP { p: 0.1, keep: 1 }],
        "top_p_0.5" => vec![Transform::TopP { p: 0.5, keep: 1 }],
        "top_p_0.9" => vec![Transform::TopP { p: 0.9, keep: 1 }],
        "top_p_0.99" => vec![Transform::TopP { p: 0.99, keep: 1 }],
        "top_p_0.3_keep2" => vec![Transform::TopP { p: 0.3, keep: 2 }],
        "min_p_0.02" => vec![Transform::MinP(0.02)],
        "min_p_0.1" => vec![Transform::MinP(0.1)],
        "min_p_0.5" => vec![Transform::MinP(0.5)],
        "repetition_penalty_1.3" => vec![Transform::RepetitionPenalty(1.3)],
        "repetition_penalty_0.8" => vec![Transform::RepetitionPenalty(0.8)],
        "typical_0.8" => vec![Transform::TypicalP(0.8)],
        "epsilon_0.03" => vec![Transform::EpsilonCutoff(0.03)],
        "eta_0.05" => vec![Transform::EtaCutoff(0.05)],
        "no_repeat_ngram_3" => vec![Transform::NoRepeatNgram(3)],
        "rep1.2_temp0.8_topk10_topp0.9" => vec![
            Transform::RepetitionPenalty(1.2),
            Transform::Temperature(0.8),
            Transform::TopK(10),
            Transform::TopP { p: 0.9, keep: 1 },
        ],
        "temp1.5_minp0.05" => vec![Transform::Temperature(1.5), Transform::MinP(0.05)],
        _ => panic!("the case `{name}` has no options here"),
    }
}

/// What transformers calls it.
fn class(transform: &Transform) -> &'static str {
    match transform {
        Transform::RepetitionPenalty(_) => "RepetitionPenaltyLogitsProcessor",
        Transform::NoRepeatNgram(_) => "NoRepeatNGramLogitsProcessor",
        Transform::Temperature(_) => "TemperatureLogitsWarper",
        Transform::TopK(_) => "TopKLogitsWarper",
        Transform::TopP { .. } => "TopPLogitsWarper",
        Transform::MinP(_) => "MinPLogitsWarper",
        Transform::TypicalP(_) => "TypicalLogitsWarper",
        Transform::EpsilonCutoff(_) => "EpsilonLogitsWarper",
        Transform::EtaCutoff(_) => "EtaLogitsWarper",
    }
}

fn probabilities(logits: &[f32]) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

#[test]
fn golden_logits_processors() {
    let file = open("search/logits_processors.json");
    let (logits, ids) = (file.get("logits"), file.get("input_ids"));
    let (vocab, seen) = (logits.shape()[1], ids.shape()[1]);
    let logits: Vec<f32> = logits.numbers().into_iter().map(|logit| logit as f32).collect();
    let ids: Vec<u32> = ids.integers().into_iter().map(|id| id as u32).collect();
    for case in file.get("cases").items() {
        let chain = chain(&case.get("name").text());
        let order: Vec<String> = case.get("order").items().iter().map(|class| class.text()).collect();
        assert_eq!(chain.iter().map(class).collect::<Vec<_>>(), order, "{case}");
        let (kept, expected) = (case.get("kept").bools(), case.get("probs").numbers());
        for (row, (logits, ids)) in logits.chunks(vocab).zip(ids.chunks(seen)).enumerate() {
            let mut logits = logits.to_vec();
            Transform::apply_all(&chain, &mut logits, ids);
            let here = row * vocab..(row + 1) * vocab;
            let left: Vec<bool> = logits.iter().map(|logit| *logit > f32::NEG_INFINITY).collect();
            assert_eq!(left, kept[here.clone()], "{case}, row {row}");
            close(&format!("{case}, row {row}"), &probabilities(&logits), &expected[here], 1e-5);
        }
    }
}
