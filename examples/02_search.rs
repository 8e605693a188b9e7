//! Search under a budget: best-of-n on a token tree, beside what it must give.
//!
//! `cargo run -p ascribe-examples --bin 02_search`

use anyhow::Result;
use ascribe::core::{Budget, Reduce, Seed, Tokens};
use ascribe::search::{BestOfN, Found, Search, SearchCtx, SearchError};
use ascribe::worlds::{TokenTree, TreePolicy};

const DEPTH: usize = 6;
const PROMPTS: usize = 2000;

/// Best-of-n for [`PROMPTS`] equal prompts, and the tokens that it sampled.
fn best_of(n: usize, tree: &TokenTree, policy: &TreePolicy, budget: Budget) -> Result<(Vec<Found>, u64), SearchError> {
    // The tree scores its own leaves; a reward model or a rule would stand in its place.
    let mut ctx = SearchCtx::new(policy, DEPTH, Seed(0)).with_scorer(tree, Reduce::Sum).with_budget(budget);
    let found = BestOfN { n }.search(&vec![Tokens::default(); PROMPTS], &mut ctx)?;
    Ok((found, ctx.spent().generated))
}

/// The mean reward that was found, the exact one, and the tokens sampled for each prompt.
fn compare(n: usize, tree: &TokenTree, policy: &TreePolicy) -> Result<(f64, f64, u64)> {
    let (found, tokens) = best_of(n, tree, policy, Budget(None))?;
    let rewards = found.iter().map(|one| tree.reward(&one.best().tokens)).collect::<Result<Vec<f64>, _>>()?;
    let exact = tree.best_of_n(policy, n as u32)?;
    let exact = tree.leaves().zip(exact).map(|((_, reward), probability)| reward * probability).sum();
    Ok((rewards.iter().sum::<f64>() / PROMPTS as f64, exact, tokens / PROMPTS as u64))
}

fn main() -> Result<()> {
    let tree = TokenTree::drawn(3, DEPTH, Seed(1))?;
    let policy = TreePolicy::drawn(&tree, Seed(2), 1.0)?;
    println!(" n  tokens  found   exact");
    for n in [1, 2, 4, 8, 16] {
        let (found, exact, tokens) = compare(n, &tree, &policy)?;
        println!("{n:2}  {tokens:6}  {found:.4}  {exact:.4}");
    }
    // A budget is asked before anything is sampled, for each prompt apart.
    let (found, _) = best_of(16, &tree, &policy, Budget(Some(50)))?;
    println!("with 50 tokens a prompt: {} samples, stopped: {:?}", found[0].candidates.len(), found[0].stopped);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs() {
        main().unwrap();
    }

    #[test]
    fn best_of_n_finds_what_it_must() {
        let tree = TokenTree::drawn(3, DEPTH, Seed(1)).unwrap();
        let policy = TreePolicy::drawn(&tree, Seed(2), 1.0).unwrap();
        for n in [1, 4] {
            let (found, exact, tokens) = compare(n, &tree, &policy).unwrap();
            // Rewards lie in [0, 1): five standard errors of the mean of 2000 are below 0.056.
            assert!((found - exact).abs() < 0.056, "best of {n}: {found} beside {exact}");
            assert_eq!(tokens, (n * DEPTH) as u64);
        }
    }
}
