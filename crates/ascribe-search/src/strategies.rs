//! Decoders by name, with options as data.

use ascribe_core::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Beam, BestOfN, Controlled, Deal, DiverseTrees, Grain, Greedy, Likelihood, Mcts, PathOptions, PathSelection,
    PickParticle, Refine, RefineOptions, Resampler, Revise, ReviseOptions, Schedule, Search, SearchError, Smc,
    SmcOptions, StepBeam, Target, TransferOptions, TransferQ, Vote,
};

/// Makes a decoder from its options, an object by name. What is left out has its default, and an unknown name is refused.
pub type MakeSearch = fn(&Value) -> Result<Box<dyn Search>, SearchError>;

/// Every decoder by the name that the command line uses: the only list.
///
/// [`Search::needs`] says what each asks for: votes read answers, `beam`, `likelihood`, `deal`, `transfer-q` and `controlled`
/// weigh the most likely next tokens, and all but `greedy`, `beam`, `likelihood` and `majority` have a scorer decide.
pub const STRATEGIES: [(&str, MakeSearch); 17] = [
    ("greedy", |options| options_of::<NoOptions>("greedy", options).map(|_| Box::new(Greedy) as Box<dyn Search>)),
    ("beam", |options| of::<Beam>("beam", options)),
    ("likelihood", |options| of::<Likelihood>("likelihood", options)),
    ("best-of-n", |options| of::<BestOfN>("best-of-n", options)),
    ("majority", |options| of::<Vote>("majority", options)),
    ("step-beam", |options| of::<StepBeam>("step-beam", options)),
    ("dvts", |options| of::<DiverseTrees>("dvts", options)),
    ("lookahead", |options| {
        let search: StepBeam = options_of("lookahead", &with_default(options, "lookahead", 1))?;
        Ok(Box::new(search))
    }),
    ("paths", |options| {
        let options: PathOptions = options_of("paths", options)?;
        Ok(Box::new(PathSelection { options, ..PathSelection::default() }))
    }),
    ("mcts", |options| of::<Mcts>("mcts", options)),
    ("oreo", |options| {
        let OreoOptions { k, levels } = options_of("oreo", options)?;
        Ok(Box::new(StepBeam { levels, ..StepBeam::value_guided(k) }))
    }),
    ("deal", |options| of::<Deal>("deal", options)),
    ("transfer-q", |options| {
        let options: TransferOptions = options_of("transfer-q", options)?;
        Ok(Box::new(TransferQ { options, ..TransferQ::default() }))
    }),
    ("controlled", |options| of::<Controlled>("controlled", options)),
    ("refine", |options| {
        let options: RefineOptions = options_of("refine", options)?;
        Ok(Box::new(Refine { options, ..Refine::default() }))
    }),
    ("revise", |options| {
        let options: ReviseOptions = options_of("revise", options)?;
        Ok(Box::new(Revise { options, ..Revise::default() }))
    }),
    ("smc", |options| Ok(Box::new(smc_of(options, None)?))),
];

/// Makes the decoder `name`; `None` when there is none of this name.
pub fn strategy(name: &str, options: &Value) -> Option<Result<Box<dyn Search>, SearchError>> {
    STRATEGIES.iter().find(|(known, _)| *known == name).map(|(_, make)| make(options))
}

/// Options that a decoder of one's own takes, from an object by name.
///
/// # Errors
/// When the value is no object of such options.
pub fn options_of<T: DeserializeOwned>(name: &'static str, options: &Value) -> Result<T, SearchError> {
    serde_json::from_value(options.clone())
        .map_err(|error| SearchError::Options { name, message: format!("{error}; see its documentation") })
}

/// The decoder `smc` from its options, with another policy for the target `product`, which has to be of the same vocabulary. The
/// table knows no other policies, so there `product` is refused.
///
/// # Errors
/// When the options are none of it, or a target is a product without another policy, or another policy has no product.
pub fn smc_of<'a>(options: &Value, expert: Option<&'a dyn Policy>) -> Result<Smc<'a>, SearchError> {
    let options: ParticleOptions = options_of("smc", options)?;
    options.search(expert).map_err(|message| SearchError::Options { name: "smc", message: message.to_owned() })
}

fn of<T: DeserializeOwned + Search + 'static>(
    name: &'static str,
    options: &Value,
) -> Result<Box<dyn Search>, SearchError> {
    let search: T = options_of(name, options)?;
    Ok(Box::new(search))
}

/// The same options, where an option that is left out is this.
fn with_default(options: &Value, name: &str, value: usize) -> Value {
    let mut options = options.clone();
    if let Value::Object(fields) = &mut options {
        fields.entry(name).or_insert_with(|| value.into());
    }
    options
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OreoOptions {
    k: usize,
    levels: usize,
}

impl Default for OreoOptions {
    fn default() -> Self {
        Self { k: 3, levels: 20 }
    }
}

/// What particles are distributed as, by name.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TargetName {
    Power,
    Product,
    #[default]
    Tilted,
    Twisted,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ParticleOptions {
    n: usize,
    kappa: f64,
    resampler: Resampler,
    grain: Grain,
    levels: usize,
    pick: PickParticle,
    target: TargetName,
    /// The power, the tilt or the scale; of a product the power of the policy.
    strength: f64,
    /// Of a product the power of the other policy; `None` is what makes both sum to 1.
    expert_power: Option<f64>,
    /// What it begins with, at step 1; `None` is the same all the way.
    from: Option<f64>,
    /// Steps until it is reached.
    steps: usize,
}

impl Default for ParticleOptions {
    fn default() -> Self {
        let SmcOptions { n, kappa, resampler, grain, levels, pick } = SmcOptions::default();
        let target = TargetName::default();
        Self {
            n,
            kappa,
            resampler,
            grain,
            levels,
            pick,
            target,
            strength: 1.0,
            expert_power: None,
            from: None,
            steps: 0,
        }
    }
}

impl ParticleOptions {
    fn search(self, expert: Option<&dyn Policy>) -> Result<Smc<'_>, &'static str> {
        let Self { n, kappa, resampler, grain, levels, pick, target, strength, expert_power, from, steps } = self;
        let schedule = Schedule { from: from.unwrap_or(strength), to: strength, steps };
        let is_constant = from.is_none() && steps == 0;
        if expert_power.is_some() && expert.is_none() {
            return Err("`expert_power` is that of another policy; give one (--expert on the command line)");
        }
        let target = match (target, expert) {
            (TargetName::Product, None) => {
                return Err("the target `product` needs another policy; give one (--expert on the command line)");
            }
            (TargetName::Product, Some(_)) if !is_constant => {
                return Err("`from` and `steps` change a power or a tilt on the way; leave them out of a product");
            }
            (TargetName::Product, Some(expert)) => {
                let power = expert_power.unwrap_or(1.0 - strength);
                Target::Product { own: strength, experts: vec![(expert, power)] }
            }
            (_, Some(_)) => {
                return Err("another policy is for the target `product`; choose it, or leave the policy out");
            }
            (TargetName::Power, None) => Target::Power(schedule),
            (TargetName::Tilted, None) => Target::Tilted(schedule),
            (TargetName::Twisted, None) => Target::Twisted(strength),
        };
        Ok(Smc { options: SmcOptions { n, kappa, resampler, grain, levels, pick }, target })
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::{Capabilities, CoreError, Episode, Mode, Reduce, Reply, Request, Seed, Tokens, rule};
    use ascribe_worlds::{TokenTree, TreePolicy};
    use serde_json::json;

    use super::*;
    use crate::{Needs, SearchCtx, Steps};

    #[test]
    fn every_strategy_runs_by_its_name_and_refuses_options_that_it_does_not_have() {
        let tree = TokenTree::drawn(3, 3, Seed(1)).unwrap();
        let policy = TreePolicy::uniform(&tree);
        let judge = rule(|episode| episode.tokens.len() as f32 / 4.0);
        let answer = |episode: &Episode| episode.tokens.last().map(u32::to_string);
        let same = |left: &str, right: &str| left == right;
        for (name, make) in STRATEGIES {
            let search = make(&json!({})).unwrap();
            let mut ctx = SearchCtx::new(&policy, 3, Seed(2)).with_steps(Steps::blocks(1));
            ctx = ctx.with_scorer(&judge, Reduce::Sum).with_answers(&answer, &same);
            let found = search.search(&[Tokens::default(), Tokens::default()], &mut ctx).unwrap();
            assert!(found.iter().all(|one| one.best().tokens.len() == 3), "{name}");
            for wrong in [json!({"nonsense": 1}), json!(7), json!({"n": "many"})] {
                let error = make(&wrong).err().map(|error| error.to_string());
                assert!(error.is_some_and(|error| error.contains(name)), "{name}: {wrong}");
            }
        }
        assert!(strategy("best-of-n", &json!({"n": 2})).is_some_and(|made| made.is_ok()));
        assert!(strategy("worst-of-n", &json!({})).is_none());
    }

    /// A policy that samples and can do nothing else.
    struct Sampler<'a>(&'a TreePolicy);

    impl Policy for Sampler<'_> {
        fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
            if requests.iter().any(|request| request.mode == Mode::Top) {
                return Err(CoreError::Unsupported { what: "name the most likely next tokens" });
            }
            self.0.propose(requests)
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { score: false, top: false, ..self.0.capabilities() }
        }
    }

    /// Where something is missing, those and only those fail that say they need it; none has given tokens scored.
    #[test]
    fn needs_are_as_declared() {
        let tree = TokenTree::drawn(3, 3, Seed(1)).unwrap();
        let policy = TreePolicy::uniform(&tree);
        let sampler = Sampler(&policy);
        let judge = rule(|episode| episode.tokens.len() as f32 / 4.0);
        let answer = |episode: &Episode| episode.tokens.last().map(u32::to_string);
        let same = |left: &str, right: &str| left == right;
        let vote = json!({"pick": {"vote": "identity"}});
        let votes = [
            ("majority", json!({"weights": "identity"})),
            ("step-beam", vote.clone()),
            ("dvts", vote.clone()),
            ("revise", vote.clone()),
            ("mcts", json!({"outcome": {"best": {"vote": "identity"}}})),
            ("smc", json!({"pick": "vote", "target": "power"})),
            ("smc", json!({"grain": {"tokens": 3}})),
        ];
        let plain = STRATEGIES.into_iter().map(|(name, _)| (name, json!({})));
        for (name, options) in plain.chain(votes) {
            let search = strategy(name, &options).unwrap().unwrap();
            let error = |policy: &dyn Policy, has: Needs| {
                let mut ctx = SearchCtx::new(policy, 3, Seed(2)).with_steps(Steps::blocks(1));
                if has.scorer {
                    ctx = ctx.with_scorer(&judge, Reduce::Sum);
                }
                if has.answers {
                    ctx = ctx.with_answers(&answer, &same);
                }
                search.search(&[Tokens::default()], &mut ctx).err()
            };
            let all = Needs { scorer: true, answers: true, top: true };
            assert!(error(&policy, all).is_none(), "{name} {options}");
            let without = error(&policy, Needs { scorer: false, ..all });
            let needs = Needs {
                scorer: matches!(without, Some(SearchError::NoScorer)),
                answers: matches!(error(&policy, Needs { answers: false, ..all }), Some(SearchError::NoAnswers)),
                top: matches!(error(&sampler, all), Some(SearchError::Core(CoreError::Unsupported { .. }))),
            };
            assert_eq!(search.needs(), needs, "{name} {options}");
            // What is not needed may be missing all together.
            let policy: &dyn Policy = if needs.top { &policy } else { &sampler };
            assert!(error(policy, needs).is_none(), "{name} {options}");
        }
    }

    #[test]
    fn options_are_read() {
        let beam = json!({"n": 6, "expand": 2, "when_finished": "compete", "pick": {"vote": "softmax"}});
        let read: StepBeam = options_of("step-beam", &beam).unwrap();
        assert_eq!((read.n, read.expand, read.levels), (6, 2, 40));
        let tree =
            json!({"tree": {"rule": {"uct": {"w": 2.0}}, "batch": 4}, "worth": {"rollouts": 3}, "outcome": "commit"});
        let read: Mcts = options_of("mcts", &tree).unwrap();
        assert_eq!((read.tree.batch, read.worth), (4, crate::mcts::Worth::Rollouts(3)));
        let smc = json!({"n": 8, "grain": {"tokens": 5}, "target": "power", "strength": 2.0});
        assert!(matches!(smc_of(&smc, None).unwrap().target, Target::Power(Schedule { to, .. }) if to == 2.0));
    }

    #[test]
    fn a_product_has_another_policy_and_nothing_else_has() {
        let tree = TokenTree::drawn(3, 3, Seed(1)).unwrap();
        let policy = TreePolicy::uniform(&tree);
        let target = |options: Value, expert: Option<&dyn Policy>| match smc_of(&options, expert) {
            Ok(Smc { target: Target::Product { own, experts }, .. }) => Ok((own, experts[0].1)),
            Ok(_) => panic!("a product"),
            Err(error) => Err(error.to_string()),
        };
        let product = |more: Value| {
            let mut options = json!({"target": "product", "grain": {"tokens": 3}});
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            options
        };
        // Guidance by 3, a geometric mean, and a product of experts.
        assert_eq!(target(product(json!({"strength": 3.0})), Some(&policy)), Ok((3.0, -2.0)));
        assert_eq!(target(product(json!({"strength": 0.5})), Some(&policy)), Ok((0.5, 0.5)));
        assert_eq!(target(product(json!({"expert_power": 1.0})), Some(&policy)), Ok((1.0, 1.0)));
        for (options, expert, said) in [
            (product(json!({})), None, "needs another policy"),
            (product(json!({"steps": 3})), Some(&policy as &dyn Policy), "leave them out of a product"),
            (json!({"target": "power"}), Some(&policy as &dyn Policy), "is for the target `product`"),
            (json!({"expert_power": 1.0}), None, "`expert_power` is that of another policy"),
        ] {
            let error = target(options, expert).unwrap_err();
            assert!(error.contains("strategy `smc`") && error.contains(said), "{error}");
        }
    }
}
