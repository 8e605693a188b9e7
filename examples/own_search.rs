//! A search strategy of one's own, on the command line: sampling until the scorer is content.
//!
//! `cargo run -p ascribe-examples --bin own_search -- search --strategy until-content --strategy-args enough=0.9 --model M
//! --input prompts.jsonl --output found.jsonl --scorer answer` has all that the built-in strategies have: prompts side by
//! side, limits, a meter, a file that a stopped run goes on from.

use std::process::ExitCode;

use ascribe::core::Tokens;
use ascribe::search::{Found, Path, PromptCtx, Reach, Search, SearchCtx, SearchError, options_of, ranked};
use ascribe_cli::Catalog;
use serde::Deserialize;

/// One sample after another, until one scores enough; the best of them is chosen.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UntilContent {
    /// A score that is enough.
    enough: f32,
    /// Most samples.
    most: usize,
}

impl Default for UntilContent {
    fn default() -> Self {
        Self { enough: 1.0, most: 16 }
    }
}

impl UntilContent {
    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let (mut paths, mut scores): (Vec<Path>, Vec<f32>) = (Vec::new(), Vec::new());
        for number in 0..self.most {
            // Each sample is drawn from a place of its own. `None`: the limits do not cover another one.
            let start = ctx.root().redrawn("sample", number as u64);
            let Some(written) = ctx.write(&[start], 1, Reach::End)? else { break };
            let written = written.concat();
            let Some(said) = ctx.score(&written)? else { break };
            let content = said.iter().any(|score| *score >= self.enough);
            paths.extend(written);
            scores.extend(said);
            if content {
                break;
            }
        }
        Ok(match ranked(&scores, &paths).first() {
            Some(best) => ctx.found(&paths, Some(scores), *best),
            None => ctx.unfinished(),
        })
    }
}

impl Search for UntilContent {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        ctx.each(prompts, |ctx| self.one(ctx))
    }
}

fn main() -> ExitCode {
    ascribe_cli::run(Catalog::builtin().search("until-content", |options| {
        let search: UntilContent = options_of("until-content", options)?;
        Ok(Box::new(search))
    }))
}

#[cfg(test)]
mod tests {
    use ascribe::core::{Budget, Reduce, Seed, rule};
    use ascribe::search::Stopped;
    use ascribe::worlds::{TokenTree, TreePolicy};

    use super::*;

    #[test]
    fn it_samples_until_it_is_content_or_the_budget_ends() {
        let tree = TokenTree::new(2, 3, |path| path.iter().sum::<u32>().into()).unwrap();
        let policy = TreePolicy::uniform(&tree);
        // Half of all texts have two ones or more.
        let judge = rule(|episode| episode.tokens.iter().sum::<u32>() as f32);
        let search = UntilContent { enough: 2.0, most: 50 };
        let mut ctx = SearchCtx::new(&policy, 3, Seed(1)).with_scorer(&judge, Reduce::Sum);
        let found = search.search(&vec![Tokens::default(); 400], &mut ctx).unwrap();
        for one in &found {
            let scores = one.scores.as_ref().unwrap();
            assert!(scores[..scores.len() - 1].iter().all(|score| *score < 2.0) && scores[scores.len() - 1] >= 2.0);
            assert_eq!((one.chosen, one.usage.generated), (scores.len() - 1, 3 * scores.len() as u64));
        }
        // A draw of probability 1/2 takes 2 samples on average, with a standard deviation of sqrt(2).
        let mean = ctx.spent().generated as f64 / 3.0 / 400.0;
        assert!((mean - 2.0).abs() < 5.0 * (2.0f64 / 400.0).sqrt(), "{mean}");
        let mut short =
            SearchCtx::new(&policy, 3, Seed(1)).with_scorer(&judge, Reduce::Sum).with_budget(Budget(Some(7)));
        let never = UntilContent { enough: 9.0, most: 50 };
        let found = never.search(&[Tokens::default()], &mut short).unwrap();
        assert_eq!((found[0].candidates.len(), found[0].stopped), (2, Some(Stopped::Budget)));
    }
}
