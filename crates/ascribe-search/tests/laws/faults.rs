//! Limits, cancellation, and policies and scorers that misbehave. Every decoder is held to the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ascribe_core::{
    Capabilities, CoreError, Credit, Episode, Finish, Policy, Reduce, Reply, Request, Scorer, Seed, Tokens, rule,
};
use ascribe_search::{
    Beam, BestOfN, Controlled, Deal, DiverseTrees, Grain, Greedy, Limits, Majority, Mcts, PathSelection, PickParticle,
    Reach, Refine, Resampler, Revise, Schedule, Search, SearchCtx, SearchError, Smc, SmcOptions, StepBeam, Steps,
    Stopped, Target, TransferQ,
};
use ascribe_worlds::TreePolicy;

use crate::support::{Oracle, drawn, prompts, tree};

fn smc(grain: Grain) -> Smc<'static> {
    let options =
        SmcOptions { n: 4, kappa: 0.5, resampler: Resampler::Systematic, grain, levels: 9, pick: PickParticle::Draw };
    Smc { options, target: Target::Tilted(Schedule::constant(1.0)) }
}

/// Every decoder with a scorer of prefixes, and whether it asks the scorer.
fn decoders() -> Vec<(&'static str, Box<dyn Search>, bool)> {
    let first = |_: usize, one: &ascribe_core::Candidate| one.tokens.first().copied();
    vec![
        ("greedy", Box::new(Greedy), false),
        ("beam", Box::new(Beam::default()), false),
        ("best of n", Box::new(BestOfN { n: 4 }), true),
        ("majority", Box::new(Majority { n: 4, answer: first }), false),
        ("step beam", Box::new(StepBeam { n: 4, expand: 2, ..StepBeam::default() }), true),
        ("lookahead", Box::new(StepBeam { n: 4, expand: 2, lookahead: 1, ..StepBeam::default() }), true),
        ("diverse trees", Box::new(DiverseTrees::default()), true),
        ("tree search", Box::new(Mcts::default()), true),
        ("paths", Box::new(PathSelection::default()), true),
        ("refinement", Box::new(Refine::default()), true),
        ("revision", Box::new(Revise::default()), true),
        ("deal", Box::new(Deal { lookahead: 1, ..Deal::default() }), true),
        ("controlled", Box::new(Controlled::default()), true),
        ("transfer", Box::new(TransferQ::default()), true),
        ("particles by tokens", Box::new(smc(Grain::Tokens(9))), true),
        ("particles by steps", Box::new(smc(Grain::Steps)), true),
    ]
}

fn ctx<'a>(policy: &'a dyn Policy, scorer: &'a dyn Scorer) -> SearchCtx<'a> {
    SearchCtx::new(policy, 3, Seed(3)).with_steps(Steps::blocks(1)).with_scorer(scorer, Reduce::Sum)
}

#[test]
fn no_budget_is_ever_passed_and_what_there_is_comes_back() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 1), Oracle(&tree));
    for (name, decoder, scores) in decoders() {
        for most in [0, 1, 2, 3, 5, 8, 13, 30, 100] {
            for (tokens, policy_calls, scorer_calls) in
                [(Some(most), None, None), (None, Some(most), None), (None, None, Some(most))]
            {
                let limits = Limits { generated: tokens, policy_calls, scorer_calls, seconds: None };
                let mut ctx = ctx(&policy, &oracle).with_limits(limits);
                let found = decoder.search(&prompts(2), &mut ctx).expect("a limit is no error");
                for one in &found {
                    assert!(tokens.is_none_or(|most| one.usage.generated <= most), "{name}: {limits:?}");
                    assert!(policy_calls.is_none_or(|most| one.calls.policy <= most), "{name}: {limits:?}");
                    assert!(scorer_calls.is_none_or(|most| one.calls.scorer <= most), "{name}: {limits:?}");
                    let whole = one.best().finish == Finish::End;
                    assert!(whole || one.stopped == Some(Stopped::Budget), "{name}: {limits:?}");
                    assert!(one.stopped.is_none_or(|why| why == Stopped::Budget), "{name}: {limits:?}");
                    let nothing = most == 0 && (scorer_calls.is_none() || scores);
                    assert!(!nothing || one.stopped == Some(Stopped::Budget), "{name}: {limits:?}");
                }
                assert_eq!(ctx.spent().generated, found.iter().map(|one| one.usage.generated).sum::<u64>());
                assert_eq!(ctx.calls().scorer, found.iter().map(|one| one.calls.scorer).sum::<u64>());
            }
        }
    }
}

#[test]
fn a_raised_flag_and_a_late_clock_end_a_search() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 1), Oracle(&tree));
    for (name, decoder, _) in decoders() {
        let flag = AtomicBool::new(true);
        let found = decoder.search(&prompts(2), &mut ctx(&policy, &oracle).with_cancel(&flag)).expect("no error");
        assert!(found.iter().all(|one| one.stopped == Some(Stopped::Cancelled)), "{name}");
        assert!(found.iter().all(|one| one.usage.generated == 0 && one.best().tokens.is_empty()), "{name}");
        // A clock that says one second more each time it is asked.
        let ticks = AtomicU64::new(0);
        let clock = || ticks.fetch_add(1, Ordering::Relaxed) as f64;
        let limits = Limits { seconds: Some(2.5), ..Limits::default() };
        let mut timed = ctx(&policy, &oracle).with_limits(limits).with_clock(&clock);
        let found = decoder.search(&prompts(1), &mut timed).expect("no error").remove(0);
        assert!(found.stopped.is_none_or(|why| why == Stopped::Time), "{name}");
        assert!(found.stopped.is_some() || found.best().finish == Finish::End, "{name}");
        let error = decoder.search(&prompts(1), &mut ctx(&policy, &oracle).with_limits(limits)).expect_err("no clock");
        assert!(error.to_string().contains("needs a clock"), "{name}: {error}");
    }
}

#[test]
fn a_search_that_is_cancelled_half_way_accounts_for_what_it_spent() {
    let tree = tree(5);
    let policy = drawn(&tree, 1);
    let flag = AtomicBool::new(false);
    // The scorer raises the flag when it is asked for the second time.
    let asked = AtomicU64::new(0);
    let oracle = Oracle(&tree);
    struct Raising<'a>(&'a Oracle<'a>, &'a AtomicU64, &'a AtomicBool);
    impl Scorer for Raising<'_> {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            self.2.store(self.1.fetch_add(1, Ordering::Relaxed) > 0, Ordering::Relaxed);
            self.0.score(episodes)
        }
    }
    let raising = Raising(&oracle, &asked, &flag);
    let mut ctx = ctx(&policy, &raising).with_cancel(&flag);
    let beam = StepBeam { n: 4, expand: 2, merge: false, ..StepBeam::default() };
    let found = beam.search(&prompts(1), &mut ctx).expect("no error").remove(0);
    assert_eq!((found.stopped, found.best().tokens.len()), (Some(Stopped::Cancelled), 2));
    assert_eq!((found.usage.generated, ctx.spent().generated), (8, 8));
}

#[test]
fn a_limit_that_was_met_before_does_not_hide_that_a_search_was_cancelled() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 1), Oracle(&tree));
    let flag = AtomicBool::new(false);
    let limits = Limits { generated: Some(2), ..Limits::default() };
    let mut ctx = ctx(&policy, &oracle).with_limits(limits).with_cancel(&flag);
    let stops = ctx.each(&prompts(1), |walk| {
        let root = [walk.root()];
        // Three tokens are not covered. One is, but the flag is up by then.
        assert!(walk.write(&root, 1, Reach::End)?.is_none());
        let before = walk.stopped();
        flag.store(true, Ordering::Relaxed);
        assert!(walk.write(&root, 1, Reach::Tokens(1))?.is_none());
        Ok([before, walk.stopped()])
    });
    assert_eq!(stops.expect("no error"), [[Some(Stopped::Budget), Some(Stopped::Cancelled)]]);
}

/// A policy whose replies are changed.
struct Changed<'a, F>(&'a TreePolicy, F);

impl<F: Fn(&mut Vec<Reply>) + Send + Sync> Policy for Changed<'_, F> {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let mut replies = self.0.propose(requests)?;
        (self.1)(&mut replies);
        Ok(replies)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

#[test]
fn a_policy_that_writes_nothing_ends_a_search_and_one_that_answers_less_is_an_error() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 1), Oracle(&tree));
    let mute = Changed(&policy, |replies: &mut Vec<Reply>| replies.iter_mut().for_each(|one| one.candidates.clear()));
    let empty = Changed(&policy, |replies: &mut Vec<Reply>| {
        for candidate in replies.iter_mut().flat_map(|reply| &mut reply.candidates) {
            (candidate.tokens, candidate.logps, candidate.finish) = (Tokens::default(), Vec::new(), Finish::Length);
        }
    });
    let fewer =
        Changed(&policy, |replies: &mut Vec<Reply>| replies.iter_mut().for_each(|one| one.candidates.truncate(1)));
    for (name, decoder, _) in decoders() {
        // Of the most likely tokens there may be fewer than were asked for; of samples there may not. Some ask for one.
        let by_likeliest = matches!(name, "beam" | "deal" | "controlled" | "transfer" | "particles by tokens");
        match decoder.search(&prompts(2), &mut ctx(&mute, &oracle)) {
            Ok(found) => {
                assert!(by_likeliest, "{name}");
                assert!(found.iter().all(|one| one.stopped == Some(Stopped::Nothing)), "{name}");
                assert!(found.iter().all(|one| one.best().tokens.is_empty()), "{name}");
            }
            Err(error) => assert!(!by_likeliest && matches!(error, SearchError::Answers { got: 0, .. }), "{name}"),
        }
        match decoder.search(&prompts(2), &mut ctx(&fewer, &oracle)) {
            Ok(found) => {
                assert!(by_likeliest || ["greedy", "refinement"].contains(&name), "{name}");
                assert!(found.iter().all(|one| one.best().tokens.len() == 3), "{name}");
            }
            Err(error) => assert!(!by_likeliest && matches!(error, SearchError::Answers { got: 1, .. }), "{name}"),
        }
        let found = decoder.search(&prompts(2), &mut ctx(&empty, &oracle)).expect("no error");
        assert!(found.iter().all(|one| one.stopped == Some(Stopped::Nothing)), "{name}");
    }
    let missing = Changed(&policy, |replies: &mut Vec<Reply>| replies.truncate(0));
    for (name, decoder, _) in decoders() {
        let error = decoder.search(&prompts(1), &mut ctx(&missing, &oracle)).expect_err("a reply is missing");
        assert!(matches!(error, SearchError::Answers { .. }), "{name}: {error}");
    }
    let unknown = Changed(&policy, |replies: &mut Vec<Reply>| {
        replies.iter_mut().flat_map(|reply| &mut reply.candidates).for_each(|one| one.logps.fill(f32::NAN));
    });
    let short = Changed(&policy, |replies: &mut Vec<Reply>| {
        replies.iter_mut().flat_map(|reply| &mut reply.candidates).for_each(|one| one.logps.clear());
    });
    for (name, decoder, _) in decoders() {
        for (policy, said) in
            [(&unknown as &dyn Policy, "a log-probability"), (&short as &dyn Policy, "the log-probabilities")]
        {
            let error = decoder.search(&prompts(1), &mut ctx(policy, &oracle)).expect_err("no log-probabilities");
            assert!(error.to_string().contains(said), "{name}: {error}");
        }
    }
}

#[test]
fn a_scorer_without_numbers_or_without_answers_is_an_error() {
    let tree = tree(5);
    let policy = drawn(&tree, 1);
    struct Silent;
    impl Scorer for Silent {
        fn score(&self, _: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(Vec::new())
        }
    }
    let broken = rule(|_| f32::NAN);
    for (name, decoder, scores) in decoders() {
        if !scores {
            continue;
        }
        let error = decoder.search(&prompts(2), &mut ctx(&policy, &broken)).expect_err("a score is NaN");
        assert!(matches!(error, SearchError::NotANumber { prompt: 0, .. }), "{name}: {error}");
        let error = decoder.search(&prompts(2), &mut ctx(&policy, &Silent)).expect_err("scores are missing");
        assert!(matches!(error, SearchError::Answers { .. }), "{name}: {error}");
        let mut bare = SearchCtx::new(&policy, 3, Seed(3)).with_steps(Steps::blocks(1));
        let error = decoder.search(&prompts(2), &mut bare).expect_err("there is no scorer");
        assert!(matches!(error, SearchError::NoScorer), "{name}: {error}");
    }
}

#[test]
fn a_prompt_that_is_refused_names_its_error_and_the_spending_stays() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 1), Oracle(&tree));
    let wrong = [Tokens::default(), Tokens::from(vec![9u32]), Tokens::default()];
    for (name, decoder, _) in decoders() {
        let mut ctx = ctx(&policy, &oracle);
        assert!(decoder.search(&wrong, &mut ctx).is_err(), "{name}");
        if !matches!(name, "greedy" | "best of n" | "majority") {
            assert!(ctx.spent().generated > 0, "{name}");
        }
    }
}
