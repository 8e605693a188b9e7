//! The held-out problems, decoded by every policy in every way.

use std::time::Instant;

use ascribe::core::{Candidate, CoreError, Episode, Reduce, Seed, Tokens};
use ascribe::eval::{Attempts, Bootstrap, Estimate, Paired, accuracy, compare, mean_pass_at_k};
use ascribe::lm::LocalPolicy;
use ascribe::preference::{Contrast, RevisedPrompts};
use ascribe::search::{BestOfN, Found, Greedy, Majority, Search, SearchCtx};

use super::SAMPLES;
use super::task::{MAX_NEW, Task};

/// One policy decoded in one way.
pub struct Decoded {
    pub policy: String,
    pub decoder: String,
    /// Whether each held-out problem was solved.
    pub correct: Vec<bool>,
    pub accuracy: Estimate,
    /// Sampled tokens, over all problems.
    pub tokens: u64,
    pub seconds: f64,
}

/// pass@1 and pass@n of one policy, from the same samples.
pub struct Pass {
    pub policy: String,
    pub one: Estimate,
    pub all: Estimate,
}

/// All policies in all ways, and how they compare.
pub struct Results {
    pub decoded: Vec<Decoded>,
    pub pass: Vec<Pass>,
    /// Paired comparisons of greedy decoding, by name.
    pub comparisons: Vec<(String, Paired)>,
}

/// Decodes the held-out problems. Best-of-n is ranked for every policy by the same scorer, the starting model's own
/// judgement of better and worse, so it favours none.
pub fn all(task: &Task, policies: &[(&str, &LocalPolicy)], base: &LocalPolicy, seed: Seed) -> anyhow::Result<Results> {
    let prompts = task.held_out.iter().map(|problem| task.prompt(problem)).collect::<anyhow::Result<Vec<_>>>()?;
    let revised = |episode: &Episode| -> Result<RevisedPrompts, CoreError> {
        let mark = |mark: &str| -> Result<Tokens, CoreError> {
            let marked = task.tokenizer.encode(mark).map_err(|error| CoreError::Other(Box::new(error)))?;
            Ok(Tokens::from(marked).followed_by(episode.prompt_tokens()))
        };
        Ok(RevisedPrompts { better: mark("<better>")?, worse: mark("<worse>")? })
    };
    let scorer = Contrast { evaluator: base, prompts: revised };
    let answer = |problem: usize, one: &Candidate| {
        let check = task.check(&task.held_out[problem], &one.tokens).ok()?;
        // Only a finished chain has an answer to vote with.
        (check.steps.len() == task.held_out[problem].operations().len()).then_some(check.answer).flatten()
    };
    let (greedy, majority, best) = (Greedy, Majority { n: SAMPLES, answer }, BestOfN { n: SAMPLES });
    let ways: [(String, &dyn Search); 3] =
        [("greedy".into(), &greedy), (format!("majority@{SAMPLES}"), &majority), (format!("best-of-{SAMPLES}"), &best)];
    let bootstrap = Bootstrap { seed: seed.child("bootstrap", 0), ..Bootstrap::default() };
    let (mut decoded, mut pass) = (Vec::new(), Vec::new());
    for (name, policy) in policies {
        for (way, search) in &ways {
            let began = Instant::now();
            // The same streams for every policy: what differs is the policy.
            let mut ctx = SearchCtx::new(*policy, MAX_NEW, seed.child("decode", 0)).with_scorer(&scorer, Reduce::Min);
            let found = search.search(&prompts, &mut ctx)?;
            let solved = |number: usize, one: &Candidate| -> anyhow::Result<bool> {
                Ok(task.check(&task.held_out[number], &one.tokens)?.correct)
            };
            let correct =
                found.iter().enumerate().map(|(at, one)| solved(at, one.best())).collect::<anyhow::Result<Vec<_>>>()?;
            decoded.push(Decoded {
                policy: (*name).to_owned(),
                decoder: way.clone(),
                accuracy: accuracy(&correct, 0.95)?,
                correct,
                tokens: ctx.spent().generated,
                seconds: began.elapsed().as_secs_f64(),
            });
            if way.starts_with("best") {
                let attempts = |(at, one): (usize, &Found)| -> anyhow::Result<Attempts> {
                    let solved =
                        one.candidates.iter().map(|one| solved(at, one)).collect::<anyhow::Result<Vec<_>>>()?;
                    Ok(Attempts { samples: SAMPLES, correct: solved.into_iter().filter(|solved| *solved).count() })
                };
                let attempts = found.iter().enumerate().map(attempts).collect::<anyhow::Result<Vec<_>>>()?;
                pass.push(Pass {
                    policy: (*name).to_owned(),
                    one: mean_pass_at_k(&attempts, 1, &bootstrap)?,
                    all: mean_pass_at_k(&attempts, SAMPLES, &bootstrap)?,
                });
            }
        }
    }
    let greedy = |policy: &str| {
        let found = decoded.iter().find(|one| one.policy == policy && one.decoder == "greedy");
        found.map(|one| one.correct.as_slice()).unwrap_or_default()
    };
    let comparisons =
        [("DPO", "start", "dpo - base"), ("T-REG", "start", "t-reg - base"), ("T-REG", "DPO", "t-reg - dpo")]
            .into_iter()
            .map(|(first, second, name)| Ok((name.to_owned(), compare(greedy(first), greedy(second), &bootstrap)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Results { decoded, pass, comparisons })
}
