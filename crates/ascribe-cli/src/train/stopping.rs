//! When a run on rollouts ends before its last step: where the reward rises no more, or imitation has cost too much.

use std::path::Path;

use anyhow::bail;
use serde_json::Value;

use crate::args::RlArgs;

/// What was seen of the generations of a run, and why it is over, if it is.
pub(super) struct Stopping {
    patience: usize,
    perplexity: Option<f64>,
    /// The generation that was seen last, if any was.
    generation: Option<f64>,
    best: f64,
    /// Generations since the best.
    since: usize,
    why: Option<String>,
}

impl Stopping {
    /// Nothing is seen yet.
    pub fn new(rl: &RlArgs) -> anyhow::Result<Self> {
        if let Some(most) = rl.early_stopping_perplexity.filter(|most| !(*most > 1.0 && most.is_finite())) {
            bail!(
                "early_stopping_perplexity must be finite and above 1, the perplexity of what is certain, got {most}"
            );
        }
        if rl.early_stopping_patience > 0 && rl.normalize_rewards {
            bail!(
                "early_stopping_patience compares the rewards of generations, which normalize_rewards brings to a scale that \
                 moves; drop one of them"
            );
        }
        Ok(Self {
            patience: rl.early_stopping_patience,
            perplexity: rl.early_stopping_perplexity,
            generation: None,
            best: f64::NEG_INFINITY,
            since: 0,
            why: None,
        })
    }

    /// The same with what the log of a run says of the steps that are done.
    pub fn after(mut self, log: &Path) -> Self {
        for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
            let Ok(row) = serde_json::from_str::<Value>(line) else { continue };
            self.see(|name| row[name].as_f64());
        }
        self
    }

    /// Takes note of a step, whose metrics are those of its generation. The first step of each counts; where one ends early, they
    /// are of different lengths.
    pub fn see(&mut self, metric: impl Fn(&str) -> Option<f64>) {
        let generation = metric("generation");
        if self.why.is_some() || generation.is_none() || generation == self.generation {
            return;
        }
        self.generation = generation;
        if let (Some(most), Some(got)) = (self.perplexity, metric("perplexity"))
            && got > most
        {
            self.why = Some(format!("the perplexity of the texts is {got:.4}, above {most}"));
            return;
        }
        let Some(reward) = metric("reward") else { return };
        if reward > self.best {
            (self.best, self.since) = (reward, 0);
            return;
        }
        self.since += 1;
        if self.patience > 0 && self.since >= self.patience {
            self.why = Some(format!(
                "the reward of {} generations was not above the best before, {:.4}",
                self.since, self.best
            ));
        }
    }

    /// Why the run is over, if it is.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn stopping(options: &str) -> anyhow::Result<Stopping> {
        let line = format!("ascribe train raft --model m --data d --output-dir o {options}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Train(args) => Stopping::new(&args.rl),
            other => bail!("{other:?}"),
        }
    }

    /// After how many of the steps, each with its generation, a reward and a perplexity, a run is over.
    fn over(stopping: &mut Stopping, steps: &[(usize, f64, f64)]) -> Option<usize> {
        steps.iter().enumerate().find_map(|(at, (generation, reward, perplexity))| {
            stopping.see(|name| {
                Some(match name {
                    "generation" => *generation as f64,
                    "reward" => *reward,
                    _ => *perplexity,
                })
            });
            stopping.why().map(|_| at + 1)
        })
    }

    /// Steps with these rewards, so many of them a generation.
    fn rewarded(rewards: &[f64], of_each: usize) -> Vec<(usize, f64, f64)> {
        rewards.iter().enumerate().map(|(at, reward)| (at / of_each, *reward, 5.0)).collect()
    }

    #[test]
    fn a_run_ends_where_the_reward_rises_no_more() {
        let rewards = rewarded(&[1.0, 2.0, 1.5, 2.0, 3.0, 2.0, 2.5], 1);
        // Two that are not above 2, and a tie is not above it; then two that are not above 3.
        assert_eq!(over(&mut stopping("--early-stopping-patience 2").unwrap(), &rewards), Some(4));
        assert_eq!(over(&mut stopping("--early-stopping-patience 3").unwrap(), &rewards), None);
        assert_eq!(over(&mut stopping("").unwrap(), &rewards), None);
        // Two steps a generation: those of the first, third and fifth count.
        let mut pairs = stopping("--early-stopping-patience 1 --num-iterations 2").unwrap();
        assert_eq!(over(&mut pairs, &rewarded(&[1.0, 0.0, 2.0, 0.0, 2.0, 9.0], 2)), Some(5));
        let moving = stopping("--early-stopping-patience 2 --normalize-rewards").err().unwrap().to_string();
        assert!(moving.contains("a scale that moves; drop one of them"), "{moving}");
        let said = pairs.why().unwrap();
        assert_eq!(said, "the reward of 1 generations was not above the best before, 2.0000");
        // The second generation ended after one step of two.
        let unequal = [(0, 1.0, 5.0), (0, 1.0, 5.0), (1, 2.0, 5.0), (2, 3.0, 5.0), (2, 3.0, 5.0), (3, 3.0, 5.0)];
        assert_eq!(over(&mut stopping("--early-stopping-patience 1").unwrap(), &unequal), Some(6));
    }

    #[test]
    fn a_run_ends_where_its_perplexity_is_too_high() {
        let steps = [(0, 1.0, 5.0), (1, 1.0, 7.0), (2, 1.0, 8.5), (3, 1.0, 9.0)];
        let mut bounded = stopping("--early-stopping-perplexity 8 --perplexity-data x").unwrap();
        assert_eq!(over(&mut bounded, &steps), Some(3));
        assert_eq!(bounded.why(), Some("the perplexity of the texts is 8.5000, above 8"));
        for wrong in ["1", "nan", "inf", "-2"] {
            let error = stopping(&format!("--early-stopping-perplexity {wrong} --perplexity-data x")).err().unwrap();
            assert!(error.to_string().contains("must be finite and above 1"), "{error}");
        }
    }

    #[test]
    fn a_log_tells_what_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log.jsonl");
        std::fs::write(&log, "{\"generation\": 0, \"reward\": 2.0}\n{\"generation\": 1, \"reward\": 1.0}\n").unwrap();
        let mut again = stopping("--early-stopping-patience 2").unwrap().after(&log);
        assert_eq!(again.why(), None);
        again.see(|name| ["generation", "reward"].contains(&name).then_some(2.0));
        assert!(again.why().is_some());
        assert_eq!(stopping("--early-stopping-patience 1").unwrap().after(&folder.path().join("none")).why(), None);
    }
}
