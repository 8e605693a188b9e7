//! Token credit against the planted truth: the step where a solution first went wrong.

use std::ops::Range;

use ascribe::core::{Continuation, Credit, CreditAssigner, Evidence, LogRatio, Policy, Reduce, Seed};
use ascribe::eval::{Bootstrap, Estimate, clustered_auroc};
use ascribe::lm::LocalPolicy;
use ascribe::preference::ContrastReward;

use super::task::Task;
use super::{Aligned, BETA};

/// Samples of each held-out problem that are searched for mistakes.
const SAMPLES: usize = 2;
/// Solutions that the report shows.
const SHOWN: usize = 3;

/// A way to give credit, with how well it finds the first wrong step.
pub struct Measured {
    pub name: String,
    /// Probability that the first wrong step earns less than a right step before it.
    pub auroc: Estimate,
}

/// A flawed solution with the credit of each of its tokens, by every way.
pub struct Shown {
    pub problem: String,
    pub tokens: Vec<String>,
    /// Tokens of the first wrong step.
    pub wrong: Range<usize>,
    pub credit: Vec<(String, Vec<f32>)>,
}

/// What there is to say about credit.
pub struct CreditResults {
    pub measured: Vec<Measured>,
    pub shown: Vec<Shown>,
    /// Flawed solutions that were looked at.
    pub solutions: usize,
}

/// Samples solutions of the starting model, keeps those with a wrong step, and compares ways to give credit.
pub fn measure(task: &Task, base: &LocalPolicy, aligned: &[Aligned], seed: Seed) -> anyhow::Result<CreditResults> {
    let requests = task.requests(&task.held_out, SAMPLES, seed, "flawed")?;
    let mut flawed = Vec::new();
    for (number, reply) in base.propose(&requests)?.into_iter().enumerate() {
        for one in reply.candidates {
            let problem = &task.held_out[number];
            if let Some(wrong) = task.check(problem, &one.tokens)?.first_wrong {
                flawed.push((number, wrong, task.episode(problem, &one.tokens)?));
            }
        }
    }
    anyhow::ensure!(!flawed.is_empty(), "no sample of the starting model has a wrong step; credit cannot be measured");
    let logps = |policy: &dyn Policy, mark: Option<&str>| -> anyhow::Result<Vec<Vec<f32>>> {
        let mark = task.tokenizer.encode(mark.unwrap_or_default())?;
        let given = flawed.iter().map(|(_, _, episode)| Continuation {
            prefix: [&mark, episode.prompt_tokens()].concat().into(),
            tokens: episode.response_tokens().into(),
        });
        Ok(policy.score(&given.collect::<Vec<_>>())?.0)
    };
    let (better, worse, reference) =
        (logps(base, Some("<better>"))?, logps(base, Some("<worse>"))?, logps(base, None)?);
    let contrast = (0..flawed.len()).map(|at| {
        let mut evidence = Evidence::default();
        (evidence.better_logps, evidence.worse_logps) = (Some(better[at].clone()), Some(worse[at].clone()));
        Ok(ContrastReward.assign(&flawed[at].2, &evidence)?)
    });
    let mut ways = vec![(
        "self-contrast of the start (T-REG's token reward)".to_owned(),
        contrast.collect::<anyhow::Result<Vec<Credit>>>()?,
    )];
    for one in aligned {
        let ours = logps(&one.policy, None)?;
        let credits = (0..flawed.len()).map(|at| {
            let mut evidence = Evidence::default();
            (evidence.logps, evidence.ref_logps) = (Some(ours[at].clone()), Some(reference[at].clone()));
            Ok(LogRatio { beta: BETA as f32 }.assign(&flawed[at].2, &evidence)?)
        });
        ways.push((format!("implicit reward of {}", one.name), credits.collect::<anyhow::Result<Vec<_>>>()?));
    }
    let bootstrap = Bootstrap { resamples: 1000, seed: seed.child("bootstrap", 1), ..Bootstrap::default() };
    let mut measured = Vec::new();
    for (name, credits) in &ways {
        let (mut scores, mut labels, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for ((number, wrong, episode), credit) in flawed.iter().zip(credits) {
            // What follows the first wrong step is neither right nor the mistake, so it is left out.
            for (step, value) in credit.to_steps(episode, Reduce::Sum)?.into_iter().enumerate().take(wrong + 1) {
                scores.push(-f64::from(value));
                labels.push(step == *wrong);
                keys.push(*number);
            }
        }
        measured.push(Measured { name: name.clone(), auroc: clustered_auroc(&scores, &labels, &keys, &bootstrap)? });
    }
    let shown = flawed
        .iter()
        .enumerate()
        // A mistake in the middle shows right steps before it and what follows after it.
        .filter(|(_, (_, wrong, _))| *wrong >= 1)
        .take(SHOWN)
        .map(|(at, (number, wrong, episode))| {
            let start = episode.prompt_len();
            let spans: Vec<Range<usize>> = episode.steps.iter().collect();
            let text = |id: &u32| task.tokenizer.token_text(*id).unwrap_or_default();
            Shown {
                problem: task.held_out[*number].text(),
                tokens: episode.response_tokens().iter().map(text).collect(),
                wrong: spans[*wrong].start - start..spans[*wrong].end - start,
                credit: ways
                    .iter()
                    .map(|(name, credits)| (name.clone(), credits[at].values()[start..].to_vec()))
                    .collect(),
            }
        })
        .collect();
    Ok(CreditResults { measured, shown, solutions: flawed.len() })
}
