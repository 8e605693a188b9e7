//! Monte-Carlo labels of steps approach the exact value: four times the rollouts, half the error.
//!
//! ```text
//! sqrt(E (c/k - V)^2) = sqrt(V (1 - V) / k)
//! ```

use anyhow::Result;
use ascribe::core::{CoreError, Mode, Policy, Request, Sampling, Seed, Until};
use ascribe::process::{Completer, MonteCarlo, Solution, Verdict};
use ascribe::worlds::{TokenTree, TreePolicy};

use crate::row::{Claim, Figures, Row};

const VOCABULARY: usize = 3;
const DEPTH: usize = 5;
const PATHS: usize = 40;
const ROLLOUTS: [usize; 4] = [4, 16, 64, 256];

/// What Math-Shepherd's labels estimate, and how well.
pub const ROW: Row = Row {
    name: "monte-carlo-rate",
    paper: "Math-Shepherd: Verify and Reinforce LLMs Step-by-step without Human Annotations, arXiv:2312.08935",
    setting: "trees of 243 texts that are right or wrong, a drawn policy, the four inner steps of 40 of its texts; the error \
              is the root mean square distance from the exact value; the ratio is a mean over the three steps from k to 4k",
    seeds: 10,
    claims: &[
        Claim { says: "16 rollouts beat 4", more: "error of 4 rollouts", less: "error of 16 rollouts" },
        Claim { says: "64 rollouts beat 16", more: "error of 16 rollouts", less: "error of 64 rollouts" },
        Claim { says: "256 rollouts beat 64", more: "error of 64 rollouts", less: "error of 256 rollouts" },
        Claim { says: "four times the rollouts leave less than 0.6 of the error", more: "0.6", less: "ratio" },
        Claim { says: "and more than 0.4", more: "ratio", less: "0.4" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let drawn = TokenTree::drawn(VOCABULARY, DEPTH, seed)?;
    let right = |path: &[u32]| drawn.reward(path).is_ok_and(|reward| reward > 0.6);
    let tree = TokenTree::new(VOCABULARY, DEPTH, |path| if right(path) { 1.0 } else { 0.0 })?;
    let policy = TreePolicy::drawn(&tree, seed, 1.0)?;
    let exact = tree.exact_value(&policy)?;
    let outcome = |_: u64, response: &[u32]| -> Result<Verdict, CoreError> {
        Ok(if tree.reward(response)? > 0.5 { Verdict::Correct } else { Verdict::Wrong })
    };
    let (mode, max_new) = (Mode::Sample(Sampling::default()), DEPTH);
    let request = Request { prefix: vec![].into(), n: PATHS, until: Until::End, mode, max_new, seed };
    let ends: Vec<usize> = (1..=DEPTH).collect();
    let mut errors = Vec::new();
    for rollouts in ROLLOUTS {
        let (mut squares, mut n) = (0.0, 0.0);
        for (number, path) in
            policy.propose(std::slice::from_ref(&request))?.iter().flat_map(|reply| &reply.candidates).enumerate()
        {
            // Its own rollouts for each number of them: more rollouts would otherwise keep the first ones.
            let seed = seed.child("rollouts", rollouts as u64).child("path", number as u64);
            let mut completer = Completer::new(&policy, &outcome, "tree", DEPTH, seed);
            let response = &path.tokens[..];
            let solution = Solution { problem: 0, prompt: &[], response, ends: &ends, segmentation: "tokens" };
            let labels = MonteCarlo::new(rollouts)?.label(&solution, &mut completer)?;
            for row in labels.rows.iter().filter(|row| !row.exact) {
                squares += (row.soft() - exact.value(&row.prefix)?).powi(2);
                n += 1.0;
            }
        }
        errors.push(f64::sqrt(squares / n));
    }
    let ratio = errors.windows(2).map(|two| two[1] / two[0]).sum::<f64>() / (errors.len() - 1) as f64;
    let mut figures: Figures =
        ROLLOUTS.iter().zip(errors).map(|(rollouts, error)| (format!("error of {rollouts} rollouts"), error)).collect();
    figures.extend([("ratio".to_owned(), ratio), ("0.6".to_owned(), 0.6), ("0.4".to_owned(), 0.4)]);
    Ok(figures)
}
