//! GRPO with a reward of one's own: the policy writes, a closure judges, and what is better than the rest of its group is
//! made likelier.
//!
//! `cargo run -p ascribe-examples --bin grpo_own_reward`

use anyhow::Result;
use ascribe::burn::tensor::Device;
use ascribe::core::advantage::{Baseline, Outcome};
use ascribe::core::{Episode, Objective, Scorer, Seed, Tokens, rule};
use ascribe::lm::{DecoderConfig, LanguageModel, Roles, Tokenizer};
use ascribe::preference::rl::{
    Actor, Aggregation, OnPolicy, PolicyLoss, RatioLevel, RolloutConfig, RolloutLearner, Surrogate,
};
use ascribe::train::{Fit, FitConfig, StepReport};

/// Share of letters that stand in the order of the alphabet, each behind the one before it.
fn in_order() -> impl Scorer {
    rule(|episode: &Episode| {
        let letters = episode.response_text().unwrap_or_default().as_bytes();
        let rises = letters.windows(2).filter(|pair| pair[0] < pair[1]).count();
        rises as f32 / letters.len().max(2).saturating_sub(1) as f32
    })
}

/// Trains; the report of every step.
fn train() -> Result<Vec<StepReport>> {
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
    let tokenizer = Tokenizer::characters("abcdefgh", &["<s>", "</s>"], roles)?;
    let ends = tokenizer.eos().to_vec();
    let config = DecoderConfig::tiny(tokenizer.vocabulary_size(), 32, 1, 2, 32);
    let model = LanguageModel::fresh(config, tokenizer, Seed(0), &Device::flex().autodiff())?;
    let prompts = vec![Tokens::from(model.tokenizer.encode("<s>")?)];

    // The three parts: who judges, what that says of each token, and what becomes of it.
    let scorer = in_order();
    let estimator = Outcome::new(Baseline::GroupNormalized { epsilon: 1e-4 });
    let clip = Surrogate::Clip { low: 0.2, high: 0.2, cap: None, dual: None };
    let objective = PolicyLoss::new(clip, RatioLevel::Token, Aggregation::TokenMean);

    let rollouts =
        RolloutConfig { num_generations: 32, max_completion_length: 8, ends, context: 32, ..RolloutConfig::default() };
    let source = OnPolicy::new(&prompts, &scorer, &estimator, objective.needs(), rollouts)?;
    let source = source.with_tokenizer(&model.tokenizer);
    let learner = RolloutLearner { objective: &objective, temperature: 1.0 };
    let options =
        FitConfig { learning_rate: 1e-2, per_device_train_batch_size: 32, warmup_ratio: 0.0, ..FitConfig::default() };
    let actor = Actor::new(model.decoder.clone());
    let fit = Fit::from_source(&learner, actor, Box::new(source), 40, options)?;
    Ok(fit.collect::<Result<_, _>>()?)
}

fn main() -> Result<()> {
    println!("step  reward  dead groups");
    for report in train()?.iter().step_by(5) {
        let metric = |name| report.metric(name).unwrap_or(f64::NAN);
        println!("{:4}  {:.3}   {:.0}", report.step, metric("reward"), metric("frac_reward_zero_std"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reward_rises() {
        let reports = train().unwrap();
        let reward = |at: usize| reports[at].metric("reward").unwrap();
        assert!(reward(39) > reward(0) + 0.1, "{} after {}", reward(39), reward(0));
    }
}
