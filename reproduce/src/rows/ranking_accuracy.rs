//! Ranking accuracy: how often a tuned policy finds the preferred text likelier, and how often its optimum would.
//!
//! Raters follow Bradley and Terry on the gold reward, so the share of them that prefers each text is known, and with it the
//! idealised ranking accuracy. Training sees one rater a pair; the pairs that are measured are new, and their chosen text is
//! the one that most raters prefer.

use anyhow::{Context, Result};
use ascribe::core::{Continuation, Policy, Seed};
use ascribe::eval::Bootstrap;
use ascribe::eval::pairs::{PairLogps, PerToken, flips, idealised_ranking, ranking_accuracy};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::DpoConfig;
use ascribe::worlds::TreePolicy;

use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own};
use crate::world::{Gold, PROMPTS, World, better, bradley_terry, sigmoid};

const LENGTH: usize = 5;
const BETA: f64 = 0.1;
const TRAINED: usize = 1024;
const MEASURED: usize = 1024;

/// The claims of "Preference Learning Algorithms Do Not Learn Preference Rankings".
pub const ROW: Row = Row {
    name: "ranking-accuracy",
    paper: "Preference Learning Algorithms Do Not Learn Preference Rankings, arXiv:2405.19534",
    setting: "4 prompts with 1024 texts each, DPO at beta 0.1 for 4 epochs on 1024 pairs, 1024 new pairs; the share of raters \
              for each text is exact",
    seeds: 10,
    claims: &[
        Claim {
            says: "the optimum of the loss would rank far more pairs rightly",
            more: "ideal ranking accuracy",
            less: "ranking accuracy",
        },
        Claim {
            says: "training raises the ranking accuracy above that of the start",
            more: "ranking accuracy",
            less: "ranking accuracy of the start",
        },
        Claim {
            says: "most pairs that the start ranks wrongly stay wrong",
            more: "wrong rankings that stay",
            less: "wrong rankings that are mended",
        },
    ],
    tried: "",
    run,
};

/// Log-probabilities of both sides of pairs.
struct Logps {
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    tokens: Vec<u32>,
}

impl Logps {
    fn of(policy: &TreePolicy, pairs: &[TrainRow]) -> Result<Self> {
        let side = |at: usize| -> Result<Vec<f64>> {
            let asked = pairs
                .iter()
                .map(|row| Continuation { prefix: row.prompt.clone(), tokens: row.responses[at].tokens.clone() });
            let (logps, _) = policy.score(&asked.collect::<Vec<_>>())?;
            Ok(logps.iter().map(|logps| logps.iter().map(|logp| f64::from(*logp)).sum::<f64>()).collect())
        };
        Ok(Self { chosen: side(0)?, rejected: side(1)?, tokens: vec![LENGTH as u32; pairs.len()] })
    }

    fn view(&self) -> PairLogps<'_> {
        PairLogps {
            chosen: &self.chosen,
            rejected: &self.rejected,
            chosen_tokens: &self.tokens,
            rejected_tokens: &self.tokens,
        }
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let pairs = world.pairs(&PROMPTS, TRAINED, seed.child("trained", 0), bradley_terry)?;
    let measured = world.pairs(&PROMPTS, MEASURED, seed.child("measured", 0), better)?;
    let objective = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let table = Table { world: &world, reference: &world.reference, state: own };
    let policy = table.trained(&objective, &pairs, Training { steps: 64, rate: 0.05, seed })?;
    let (now, before) = (Logps::of(&policy, &measured)?, Logps::of(&world.reference, &measured)?);
    let mut shares = Vec::with_capacity(measured.len());
    for row in &measured {
        let [chosen, rejected] = [0, 1].map(|side| world.reward(row.prompt[0], &row.responses[side].tokens));
        shares.push(sigmoid(chosen? - rejected?));
    }
    let ideal = idealised_ranking(before.view(), &shares, PerToken::Sum, &[BETA], 1e-3)?;
    let accuracy =
        |logps: &Logps| -> Result<f64> { Ok(ranking_accuracy(logps.view(), PerToken::Sum, &Bootstrap::NONE)?.value) };
    let moved = flips(now.view(), before.view(), PerToken::Sum)?;
    let mended = moved.mended.context("the start ranks no pair wrongly")?;
    Ok(vec![
        ("ideal ranking accuracy".into(), ideal.median),
        ("ranking accuracy".into(), accuracy(&now)?),
        ("ranking accuracy of the start".into(), accuracy(&before)?),
        ("wrong rankings that stay".into(), 1.0 - mended),
        ("wrong rankings that are mended".into(), mended),
    ])
}
