//! Training as a loop that you can see whole: DPO on a few pairs with a tiny decoder.
//!
//! `cargo run -p ascribe-examples --bin 03_train`

use anyhow::Result;
use ascribe::burn::module::Module;
use ascribe::burn::tensor::Device;
use ascribe::core::Seed;
use ascribe::eval::{Bootstrap, Estimate};
use ascribe::lm::{DecoderConfig, LanguageModel, Roles, Tokenizer};
use ascribe::preference::objectives::DpoConfig;
use ascribe::preference::{LogpCache, LogpLearner, TrainRow, fingerprint, reference_logps};
use ascribe::train::{Fit, FitConfig, StepReport, evaluate};
use ascribe::worlds::{Problem, Slips, alphabet};

/// Pairs of a right and a flawed solution of one problem.
fn pairs(tokenizer: &Tokenizer, n: u64) -> Result<Vec<TrainRow>> {
    let row = |number| {
        let mut stream = Seed(0).stream("problems", number);
        let problem = Problem::draw(&mut stream, 2..=2)?;
        let flawed = problem.flawed_solution(&mut stream, &Slips::default());
        let ids = |text: String| tokenizer.encode(&text);
        let prompt = ids(format!("<s>{problem}="))?;
        Ok(TrainRow::pair(prompt, ids(problem.solution() + "</s>")?, ids(flawed + "</s>")?))
    };
    (0..n).map(row).collect()
}

/// Trains; the report of every step, and the share of held-out pairs whose right solution earns more.
fn train() -> Result<(Vec<StepReport>, Estimate)> {
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
    let tokenizer = Tokenizer::characters(alphabet(), &["<s>", "</s>"], roles)?;
    let mut rows = pairs(&tokenizer, 48)?;
    let config = DecoderConfig::tiny(tokenizer.vocabulary_size(), 32, 2, 4, 64);
    let model = LanguageModel::fresh(config, tokenizer, Seed(0), &Device::flex().autodiff())?;

    // The reference is the model as it is now: its log-probabilities are computed once.
    let name = fingerprint(&model.decoder.hash(), &model.text_hash());
    reference_logps(&mut rows, &model.policy()?, &name, &mut LogpCache::in_memory(), &mut |_, _| ())?;
    let (rows, held_out) = rows.split_at(32);

    let objective = DpoConfig { beta: 0.1, ..DpoConfig::default() }.init()?;
    let learner = LogpLearner::new(&objective);
    let options = FitConfig { learning_rate: 3e-3, max_steps: 20, ..FitConfig::default() };
    let mut fit = Fit::new(&learner, model.decoder, rows, options)?;
    let mut reports = Vec::new();
    for report in fit.by_ref() {
        // The body of the loop is yours: log, evaluate, save, stop.
        reports.push(report?);
    }
    let tally = evaluate(&learner, &fit.model().valid(), held_out, 8)?;
    Ok((reports, Bootstrap::default().mean(tally.values("rewards/accuracies"))?))
}

fn main() -> Result<()> {
    let (reports, accuracy) = train()?;
    println!("step  loss    margin");
    for report in reports.iter().step_by(4) {
        let metric = |name| report.metric(name).unwrap_or(f64::NAN);
        println!("{:4}  {:.4}  {:+.4}", report.step, metric("loss"), metric("rewards/margins"));
    }
    println!("reward accuracy on held-out pairs: {accuracy}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_starts_at_ln_2_and_falls() {
        let (reports, accuracy) = train().unwrap();
        let loss = |at: usize| reports[at].metric("loss").unwrap();
        assert!((loss(0) - std::f64::consts::LN_2).abs() < 1e-4, "{}", loss(0));
        assert!(loss(19) < 0.6, "{}", loss(19));
        assert_eq!(accuracy.n, 16);
    }
}
