//! Drafts that are refined, chains of attempts, paths that are stopped.

use ascribe_core::{Budget, CoreError, Credit, Episode, Finish, Reduce, Scorer, Seed, Tokens, rule};
use ascribe_search::{
    BestOfN, Limits, PathOptions, PathSelection, Pick, Refine, RefineOptions, Refinements, Refiner, Reflection, Revise,
    ReviseOptions, Search, SearchCtx, SearchError, Steps, Stopped,
};
use ascribe_worlds::{TokenTree, TreePolicy};

use crate::support::{Oracle, Toy, drawn, prompts, tree};

/// Says of each step (a token) how good it is: `right` for a 1, else 0.
struct Ones;

impl Scorer for Ones {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let steps = |episode: &Episode| {
            let first = |span: std::ops::Range<usize>| if episode.tokens[span.start] == 1 { 1.0 } else { 0.0 };
            Credit::steps(episode.steps.iter().map(first).collect())
        };
        Ok(episodes.iter().map(steps).collect())
    }
}

fn ones(episode: &Episode) -> f32 {
    episode.response_tokens().iter().filter(|token| **token == 1).count() as f32
}

#[test]
fn refinement_never_falls_and_a_gate_says_when() {
    let policy = TreePolicy::uniform(&tree(1));
    let judge = rule(ones);
    let found = |options: RefineOptions| {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_steps(Steps::blocks(1));
        ctx = ctx.with_scorer(&Ones, Reduce::Mean).with_judge(&judge, Reduce::Sum);
        Refine { options, ..Refine::default() }.search(&prompts(40), &mut ctx).expect("it fits")
    };
    let drafts = found(RefineOptions { rounds: 0, ..RefineOptions::default() });
    assert!(drafts.iter().all(|one| one.candidates.len() == 1 && one.chosen == 0));
    let score = |found: &[ascribe_search::Found]| -> Vec<f32> {
        found.iter().map(|one| one.scores.as_ref().expect("judged")[one.chosen]).collect()
    };
    let mut before = score(&drafts);
    for rounds in [1, 2, 5] {
        let refined = found(RefineOptions { rounds, stubborn: true, ..RefineOptions::default() });
        let after = score(&refined);
        assert!(after.iter().zip(&before).all(|(after, before)| after >= before), "{rounds}");
        assert!(refined.iter().zip(&drafts).all(|(one, draft)| one.candidates[0] == draft.candidates[0]));
        before = after;
    }
    // Two refinements a round where a step is wrong; what comes before that step is kept.
    for one in found(RefineOptions { rounds: 1, ..RefineOptions::default() }) {
        let draft = &one.candidates[0].tokens;
        match draft.iter().position(|token| *token != 1) {
            None => assert_eq!(one.candidates.len(), 2),
            Some(wrong) => {
                assert_eq!(one.candidates.len(), 3);
                assert_eq!(one.candidates[2].tokens[..wrong], draft[..wrong]);
            }
        }
    }
    // Scores are 0 to 3: below 0 nothing is refined, below 4 everything, and 3 is enough.
    let never = found(RefineOptions { rounds: 3, gate: Some(0.0), ..RefineOptions::default() });
    assert!(never.iter().all(|one| one.candidates.len() == 1));
    let always = found(RefineOptions { rounds: 1, gate: Some(4.0), ..RefineOptions::default() });
    assert!(always.iter().all(|one| one.candidates.len() > 1));
    let enough = found(RefineOptions { rounds: 400, enough: Some(2.5), stubborn: true, ..RefineOptions::default() });
    assert!(enough.iter().all(|one| one.scores.as_ref().expect("judged")[one.chosen] == 3.0));
}

#[test]
fn with_an_oracle_accuracy_rises_with_every_round() {
    // Of the 27 texts seven have the sum 3: the six orders of 0, 1, 2, and three ones.
    let right = |path: &[u32]| if path.iter().sum::<u32>() == 3 { 1.0 } else { 0.0 };
    let world = TokenTree::new(3, 3, right).expect("the tree is small");
    let policy = TreePolicy::uniform(&world);
    let n = 1000;
    let found = |rounds: usize| -> Vec<bool> {
        let options =
            RefineOptions { rounds, refinements: Refinements::Global, stubborn: true, ..RefineOptions::default() };
        let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_scorer(&world, Reduce::Sum);
        let found = Refine { options, ..Refine::default() }.search(&prompts(n), &mut ctx).expect("it fits");
        found.iter().map(|one| right(&one.best().tokens) == 1.0).collect()
    };
    let mut before = found(0);
    for rounds in 0..5 {
        let after = found(rounds);
        assert!(after.iter().zip(&before).all(|(after, before)| *after || !before), "{rounds}");
        // One is right unless the draft and all refinements are wrong, each a sample of its own.
        let expected = 1.0 - (20.0f64 / 27.0).powi(rounds as i32 + 1);
        let share = after.iter().filter(|right| **right).count() as f64 / n as f64;
        let error = (expected * (1.0 - expected) / n as f64).sqrt();
        assert!((share - expected).abs() < 5.0 * error, "{rounds}: {share} beside {expected}");
        before = after;
    }
}

#[test]
fn a_round_writes_the_refinements_that_it_is_told_to() {
    let policy = TreePolicy::uniform(&tree(1));
    let judge = rule(ones);
    let found = |refinements: Refinements| {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_steps(Steps::blocks(1));
        ctx = ctx.with_scorer(&Ones, Reduce::Mean).with_judge(&judge, Reduce::Sum);
        let options = RefineOptions { refinements, ..RefineOptions::default() };
        Refine { options, ..Refine::default() }.search(&prompts(40), &mut ctx).expect("it fits")
    };
    let (both, global) = (found(Refinements::Both), found(Refinements::Global));
    let mut whole = 0;
    for ((both, global), local) in both.iter().zip(&global).zip(&found(Refinements::Local)) {
        let draft = &both.candidates[0].tokens;
        assert_eq!((&global.candidates[0].tokens, &local.candidates[0].tokens), (draft, draft));
        assert_eq!(global.candidates[..], both.candidates[..2]);
        // One question fewer: nobody asks for a wrong step.
        assert_eq!(global.calls.scorer, 2);
        match draft.iter().position(|token| *token != 1) {
            None => {
                whole += 1;
                assert_eq!((local.candidates.len(), local.stopped), (1, None));
            }
            Some(wrong) => {
                assert_eq!((local.candidates.len(), both.candidates.len()), (2, 3));
                assert_eq!(local.candidates[1], both.candidates[2]);
                assert_eq!(local.candidates[1].tokens[..wrong], draft[..wrong]);
            }
        }
    }
    // A draft is right with probability 1/27.
    assert!(whole < 10);
    // A scorer of whole texts knows no wrong step, and a judge alone is no scorer.
    let options = RefineOptions { refinements: Refinements::Local, ..RefineOptions::default() };
    let refine = Refine { options, ..Refine::default() };
    let mut whole = SearchCtx::new(&policy, 3, Seed(2)).with_scorer(&judge, Reduce::Sum);
    let error = refine.search(&prompts(1), &mut whole).expect_err("no steps").to_string();
    assert!(error.contains("local refinements alone need a scorer of steps or tokens"), "{error}");
    let mut judged = SearchCtx::new(&policy, 3, Seed(2)).with_judge(&judge, Reduce::Sum);
    assert!(matches!(refine.search(&prompts(1), &mut judged), Err(SearchError::NoScorer)));
}

#[test]
fn refiners_write_after_prompts_of_their_own() {
    // Tokens 0, 1, and 2 that ends. The policy says 0 after all but a prompt that holds a 1.
    let weights = |text: &[u32]| match text {
        [3, rest @ ..] if rest.contains(&1) => vec![0.0, 0.0, 1.0],
        [3, ..] => vec![0.0, 1.0, 0.0],
        text if text.last() == Some(&0) => vec![0.0, 0.0, 1.0],
        _ => vec![1.0, 0.0, 0.0],
    };
    let policy = Toy { context: 9, weights };
    let judge = rule(ones);
    let prompt = |prompt: &Tokens, draft: &[u32], kept: Option<usize>| {
        assert_eq!((&prompt[..], draft), (&[0][..], &[2][..]));
        assert_eq!(kept, None);
        // 3 asks for a better text.
        Tokens::from(vec![3u32, 0])
    };
    let global = Some(Refiner { policy: None, prompt: &prompt });
    let mut ctx = SearchCtx::new(&policy, 4, Seed(2)).with_scorer(&judge, Reduce::Sum);
    let refine = Refine { global, ..Refine::default() };
    let found = refine.search(&[Tokens::from(vec![0u32])], &mut ctx).expect("it fits").remove(0);
    assert_eq!((found.best().tokens.to_vec(), found.best().finish), (vec![1, 2], Finish::End));
    assert_eq!(found.candidates[0].tokens[..], [2]);
}

#[test]
fn chains_of_one_are_best_of_n_and_longer_ones_see_what_came_before() {
    let tree = tree(1);
    let (policy, oracle) = (drawn(&tree, 3), Oracle(&tree));
    let ctx = || SearchCtx::new(&policy, 3, Seed(2)).with_scorer(&oracle, Reduce::Sum);
    let one = Revise { options: ReviseOptions { n: 5, chain: 1, ..ReviseOptions::default() }, ..Revise::default() };
    let chains = one.search(&prompts(6), &mut ctx()).expect("it fits");
    let samples = BestOfN { n: 5 }.search(&prompts(6), &mut ctx()).expect("it fits");
    for (chains, samples) in chains.iter().zip(&samples) {
        assert_eq!((&chains.candidates, chains.chosen), (&samples.candidates, samples.chosen));
    }
    // Token 2 ends. An attempt says one more 1 than the last one that it sees, so revision counts up.
    let weights = |text: &[u32]| {
        // The prompt is 0; what was written since the last 0 is the attempt.
        let mut parts = text.split(|token| *token == 0);
        let now = parts.next_back().map_or(0, <[u32]>::len);
        let last = parts.next_back().map_or(0, |part| part.iter().filter(|token| **token == 1).count());
        if now < last + 1 { vec![0.0, 1.0, 0.0] } else { vec![0.0, 0.0, 1.0] }
    };
    let policy = Toy { context: 60, weights };
    let count = rule(ones);
    let found = |chain: usize, by_chain: bool| {
        let options = ReviseOptions { n: 4, chain, by_chain, memory: 2, pick: Pick::Best };
        let mut ctx = SearchCtx::new(&policy, 9, Seed(2)).with_scorer(&count, Reduce::Sum);
        let revise = Revise { options, ..Revise::default() };
        revise.search(&[Tokens::from(vec![0u32])], &mut ctx).expect("it fits").remove(0)
    };
    for (chain, by_chain) in [(1, false), (2, false), (4, false), (2, true)] {
        let found = found(chain, by_chain);
        assert_eq!(found.best().tokens.len(), chain + 1, "{chain}");
        assert_eq!(found.candidates.len(), if by_chain { 2 } else { 4 });
    }
}

#[test]
fn a_budget_below_one_attempt_says_so_and_no_round_is_half_done() {
    let tree = tree(1);
    let (policy, oracle) = (drawn(&tree, 3), Oracle(&tree));
    let revise = Revise { options: ReviseOptions { n: 4, chain: 2, ..ReviseOptions::default() }, ..Revise::default() };
    for (budget, attempts, stopped) in [(2, 0, true), (3, 1, true), (6, 2, false), (11, 2, false)] {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_scorer(&oracle, Reduce::Sum);
        ctx = ctx.with_budget(Budget(Some(budget)));
        let found = revise.search(&prompts(1), &mut ctx).expect("no error").remove(0);
        assert_eq!(found.usage.generated, 3 * attempts, "{budget}");
        assert_eq!(found.stopped.is_some(), stopped, "{budget}");
        assert_eq!(found.best().tokens.is_empty(), attempts == 0);
    }
    let wrong = ReviseOptions { n: 2, chain: 3, ..ReviseOptions::default() };
    let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_scorer(&oracle, Reduce::Sum);
    assert!(Revise { options: wrong, ..Revise::default() }.search(&prompts(1), &mut ctx).is_err());
}

#[test]
fn no_round_of_attempts_is_written_that_cannot_be_judged() {
    // Every attempt is the token that ends. Two chains of two: the second round takes four scores.
    let (policy, even) = (Toy { context: 60, weights: |_: &[u32]| vec![0.0, 1.0] }, rule(|_| 1.0));
    let revise = Revise { options: ReviseOptions { n: 4, chain: 2, ..ReviseOptions::default() }, ..Revise::default() };
    for (most, attempts, stopped) in [(1, 1, true), (3, 2, true), (4, 4, false)] {
        let limits = Limits { scorer_calls: Some(most), ..Limits::default() };
        let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_scorer(&even, Reduce::Sum).with_limits(limits);
        let found = revise.search(&[Tokens::from(vec![0u32])], &mut ctx).expect("no error").remove(0);
        assert_eq!((found.candidates.len(), found.usage.generated), (attempts, attempts as u64), "{most}");
        let scores = found.scores.as_ref().map(Vec::len);
        assert_eq!((scores, found.stopped.is_some()), (Some(attempts), stopped), "{most}");
    }
}

#[test]
fn paths_without_potential_stop() {
    let tree = tree(1);
    let policy = drawn(&tree, 3);
    let oracle = Oracle(&tree);
    let sure = rule(|_| 1.0);
    let never = rule(|_| 0.25);
    let search = |options: PathOptions, potential: &dyn Scorer| {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_steps(Steps::blocks(1));
        ctx = ctx.with_scorer(potential, Reduce::Sum).with_judge(&oracle, Reduce::Sum);
        PathSelection { options, ..PathSelection::default() }.search(&prompts(5), &mut ctx).expect("it fits")
    };
    let plain = PathOptions { n: 4, ..PathOptions::default() };
    // Always potential: the best of n by the judge. Never clear: the same.
    for (options, potential) in
        [(plain, &sure as &dyn Scorer), (PathOptions { clear_from: 9, ..plain }, &never as &dyn Scorer)]
    {
        for found in search(options, potential) {
            assert_eq!((found.candidates.len(), found.usage.generated), (4, 12));
            let best = found.candidates.iter().map(|one| tree.reward(&one.tokens).expect("a leaf")).fold(0.0, f64::max);
            assert_eq!(tree.reward(&found.best().tokens).expect("a leaf"), best);
        }
    }
    // None has potential: all stop after one token, and the first is written to the end.
    for found in search(plain, &never) {
        assert_eq!((found.candidates.len(), found.usage.generated), (1, 4 + 2));
        assert_eq!((found.best().tokens.len(), found.calls.scorer), (3, 4));
    }
    // Potential by the first token: a path is judged once, and what is stopped costs no more.
    let first = rule(|episode| if episode.tokens[0] == 0 { 0.9 } else { 0.1 });
    for found in search(PathOptions { n: 8, ..plain }, &first) {
        assert_eq!(found.best().tokens[0] == 0, found.candidates.iter().all(|one| one.tokens[0] == 0));
        let alive = found.candidates.len() as u64;
        assert!(found.best().tokens[0] != 0 || found.usage.generated == 8 + 2 * alive);
    }
    assert!(search(plain, &sure).iter().all(|found| found.stopped != Some(Stopped::Nothing)));
    // A potential is a probability.
    let beyond = rule(|_| 1.5);
    let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_steps(Steps::blocks(1)).with_scorer(&beyond, Reduce::Sum);
    let error = PathSelection::default().search(&prompts(1), &mut ctx).expect_err("above 1").to_string();
    assert!(error.contains("the potential of a text must be in [0, 1]"), "{error}");
}

#[test]
fn without_potential_the_least_doubt_is_chosen_over_what_was_never_clear() {
    // Texts that begin with 0 are clear and have no potential; of the others nothing is ever known.
    let policy = TreePolicy::uniform(&tree(1));
    let clear = rule(|episode| if episode.tokens[0] == 0 { 1.0 } else { 0.0 });
    let never = rule(|_| 0.25);
    let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_steps(Steps::blocks(1)).with_scorer(&never, Reduce::Sum);
    let options = PathOptions { n: 8, ..PathOptions::default() };
    let search = PathSelection { options, clarity: Some(&clear), ..PathSelection::default() };
    let found = search.search(&prompts(10), &mut ctx).expect("it fits");
    // The path of least P(no) is alone; where none was clear, all eight are there.
    let chosen = |one: &ascribe_search::Found| if one.best().tokens[0] == 0 { 1 } else { 8 };
    assert!(found.iter().all(|one| one.candidates.len() == chosen(one) && one.best().tokens.len() == 3));
    assert!(found.iter().any(|one| one.best().tokens[0] == 0));
}

#[test]
fn what_was_chosen_is_reflected_on_until_it_is_enough() {
    // The prompt is 0 and token 2 ends. A text says one more 1 than the one before it.
    let weights = |text: &[u32]| {
        let mut parts = text.split(|token| *token == 0);
        let now = parts.next_back().map_or(0, <[u32]>::len);
        let last = parts.next_back().map_or(0, |part| part.iter().filter(|token| **token == 1).count());
        if now < last + 1 { vec![0.0, 1.0, 0.0] } else { vec![0.0, 0.0, 1.0] }
    };
    let policy = Toy { context: 60, weights };
    let (sure, count) = (rule(|_| 1.0), rule(ones));
    let prompt = [Tokens::from(vec![0u32])];
    let found = |reflections: usize, enough: f32| {
        let options = PathOptions { n: 1, reflections, enough, ..PathOptions::default() };
        let mut ctx = SearchCtx::new(&policy, 9, Seed(2)).with_scorer(&sure, Reduce::Sum);
        ctx = ctx.with_judge(&count, Reduce::Sum);
        PathSelection { options, ..PathSelection::default() }.search(&prompt, &mut ctx).expect("it fits").remove(0)
    };
    // Attempts have 1, 2, 3, .. ones: none is written after the first that is enough.
    for (reflections, enough, attempts) in [(0, 9.0, 1), (1, 9.0, 2), (4, 9.0, 5), (4, 2.5, 3), (4, 0.5, 1)] {
        let found = found(reflections, enough);
        assert_eq!((found.candidates.len(), found.best().tokens.len()), (attempts, attempts + 1));
        assert_eq!((found.chosen, found.stopped), (attempts - 1, None));
    }
    let options = PathOptions { reflections: 1, enough: f32::NAN, ..PathOptions::default() };
    let mut ctx = SearchCtx::new(&policy, 9, Seed(2)).with_scorer(&sure, Reduce::Sum);
    let wrong = PathSelection { options, ..PathSelection::default() };
    let error = wrong.search(&prompt, &mut ctx).expect_err("no number").to_string();
    assert!(error.contains("enough must be a number"), "{error}");
}

#[test]
fn a_reflection_puts_into_words_what_the_revision_reads() {
    // After 4 the policy says 1, after 3 it says 1 as well, and to the prompt it says 0; then it ends with 2.
    let weights = |text: &[u32]| match text {
        [3 | 4] => vec![0.0, 1.0, 0.0],
        [0] => vec![1.0, 0.0, 0.0],
        _ => vec![0.0, 0.0, 1.0],
    };
    let policy = Toy { context: 9, weights };
    let (sure, count) = (rule(|_| 1.0), rule(ones));
    let question = |prompt: &Tokens, text: &[u32]| {
        assert_eq!((&prompt[..], text), (&[0][..], &[0, 2][..]));
        Tokens::from(vec![4u32])
    };
    let revision = |prompt: &Tokens, text: &[u32], said: &[u32]| {
        assert_eq!((&prompt[..], text, said), (&[0][..], &[0, 2][..], &[1, 2][..]));
        Tokens::from(vec![3u32])
    };
    let reflection = Some(Reflection { policy: None, question: &question, revision: &revision });
    let options = PathOptions { n: 1, reflections: 3, ..PathOptions::default() };
    let mut ctx = SearchCtx::new(&policy, 4, Seed(2)).with_scorer(&sure, Reduce::Sum).with_judge(&count, Reduce::Sum);
    let search = PathSelection { options, clarity: None, reflection };
    let found = search.search(&[Tokens::from(vec![0u32])], &mut ctx).expect("it fits").remove(0);
    let texts: Vec<Vec<u32>> = found.candidates.iter().map(|one| one.tokens.to_vec()).collect();
    assert_eq!((texts, found.chosen), (vec![vec![0, 2], vec![1, 2]], 1));
    // Two tokens each: the text, what was said of it, and its revision, which is enough.
    assert_eq!((found.usage.generated, found.scores), (6, Some(vec![0.0, 1.0])));
}

#[test]
fn what_was_stopped_is_not_chosen_over_what_was_cut_off() {
    // Tokens 0 and 1 are equally likely, and 2, which ends, never comes: every path is cut off after four tokens.
    let policy = Toy { context: 9, weights: |_: &[u32]| vec![1.0, 1.0, 0.0] };
    let zeros = rule(|episode| if episode.response_tokens()[0] == 0 { 0.9 } else { 0.1 });
    let mut ctx = SearchCtx::new(&policy, 4, Seed(2)).with_steps(Steps::blocks(1)).with_scorer(&zeros, Reduce::Sum);
    let search = PathSelection { options: PathOptions { n: 8, ..PathOptions::default() }, ..PathSelection::default() };
    // A path that is stopped after one token is likelier than a whole one: 1/2 beside 1/16. All 8 paths begin with 1 in
    // one prompt of 256.
    for found in search.search(&[Tokens::from(vec![0u32])], &mut ctx).expect("it fits") {
        assert_eq!((found.best().tokens.len(), found.best().tokens[0]), (4, 0));
        // The judge was not asked, so there is no score.
        assert_eq!((found.best().finish, found.scores), (Finish::Length, None));
    }
}
