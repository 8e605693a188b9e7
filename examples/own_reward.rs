//! A reward of one's own, inside an ensemble, inside best-of-n.
//!
//! Good texts never say the same token twice in a row. Two reward models know that, but each also loves texts that begin with
//! a certain token, for no reason. [`Changes`] is a third opinion, made here. Best-of-n by one of the models follows its
//! love; best-of-n by the lowest of three opinions does not.
//!
//! `cargo run -p ascribe-examples --bin own_reward`

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Reduce, Scorer, Seed, Tokens, rule};
use ascribe::reward::{Aggregate, Ensemble, LogSigmoid, Reference, mapped};
use ascribe::search::{BestOfN, Search, SearchCtx};
use ascribe::worlds::{TokenTree, TreePolicy};

const DEPTH: usize = 6;
const PROMPTS: usize = 1000;

/// Share of tokens that differ from the one before.
fn changes(tokens: &[u32]) -> f64 {
    tokens.windows(2).filter(|pair| pair[0] != pair[1]).count() as f64 / (tokens.len().max(2) - 1) as f64
}

/// A reward of one's own: one `impl`, and it stands wherever a reward model would.
struct Changes;

impl Scorer for Changes {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Ok(episodes.iter().map(|episode| Credit::sequence(changes(&episode.tokens) as f32)).collect())
    }
}

/// A reward model that knows what is good, and loves texts that begin with `token`.
fn partial(token: u32) -> impl Scorer {
    rule(move |episode: &Episode| {
        let loved = if episode.tokens.first() == Some(&token) { 1.0 } else { 0.0 };
        changes(&episode.tokens) as f32 + loved
    })
}

/// The true worth of what best-of-n finds by `scorer`, a mean over prompts.
fn found(n: usize, tree: &TokenTree, scorer: &dyn Scorer) -> Result<f64> {
    let policy = TreePolicy::uniform(tree);
    let mut ctx = SearchCtx::new(&policy, DEPTH, Seed(0)).with_scorer(scorer, Reduce::Sum);
    let found = BestOfN { n }.search(&vec![Tokens::default(); PROMPTS], &mut ctx)?;
    let rewards = found.iter().map(|one| tree.reward(&one.best().tokens)).collect::<Result<Vec<f64>, _>>()?;
    Ok(rewards.iter().sum::<f64>() / PROMPTS as f64)
}

/// What is found by one model, and by the lowest of three opinions.
fn compare(n: usize) -> Result<[f64; 2]> {
    let tree = TokenTree::new(3, DEPTH, changes)?;
    let (first, second) = (partial(0), partial(1));
    // Opinions nest: an ensemble is a scorer, and so is what a transform makes of it.
    let doubled = mapped(&Changes, |reward| 2.0 * reward);
    let halved = mapped(&doubled, |reward| 0.5 * reward);
    let lowest = Ensemble::new(vec![&first, &second, &halved], Aggregate::Min)?;
    let good = LogSigmoid::new(&lowest, Reference::Global(0.5), 1.0)?;
    Ok([found(n, &tree, &first)?, found(n, &tree, &good)?])
}

fn main() -> Result<()> {
    println!(" n  one model  the lowest of three");
    for n in [1, 2, 4, 8, 16] {
        let [one, three] = compare(n)?;
        println!("{n:2}  {one:9.3}  {three:19.3}");
    }
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
    fn three_opinions_find_better_texts_than_a_partial_one() {
        let [one, three] = compare(4).unwrap();
        // Of four texts 1.5 begin with the loved token on average, so the best of about two is found instead of the best of
        // four.
        assert!(three > one + 0.03, "{three} beside {one}");
        // Of one text nothing can be chosen.
        let [one, three] = compare(1).unwrap();
        assert_eq!(one, three);
    }
}
