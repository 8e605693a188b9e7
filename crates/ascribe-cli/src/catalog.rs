//! What the command line knows by name.

mod methods;
mod rollouts;

use anyhow::bail;
use ascribe::core::{Needs, Objective};
use ascribe::preference::PreferenceError;
use ascribe::preference::objectives::{Made, MakeObjective, Mixture, ObjectiveOptions, find};
use ascribe::preference::rl::{Aggregation, MakeEstimator, MakePolicyLoss, MakeReward};
use ascribe::reward::RewardLoss;
use ascribe::reward::losses::{LOSSES, LossOptions, MakeLoss};
use ascribe::search::{MakeSearch, STRATEGIES, Search};
use serde_json::{Map, Value};

use crate::args::ObjectiveArgs;
use crate::config::closest;
use crate::train::process::{IMPLICIT, METHODS};
use crate::train::recipes::RECIPES;
use crate::train::reward::{METHOD, written};
use crate::train::rounds::ROUNDS;
use crate::train::{archer, offline, scir};
use rollouts::RolloutTables;

/// Objectives, search strategies, losses of reward models, and the policy losses, advantage estimators and rewards of rollouts,
/// by name. A value that is handed over: there is no global registry.
///
/// ```no_run
/// # use ascribe::preference::objectives::Sft;
/// # use ascribe::search::Greedy;
/// fn main() -> std::process::ExitCode {
///     let catalog = ascribe_cli::Catalog::builtin().objective("my-loss", |_| Ok(Box::new(Sft)));
///     ascribe_cli::run(catalog.search("my-search", |_| Ok(Box::new(Greedy))))
/// }
/// ```
pub struct Catalog {
    own: Vec<(String, MakeObjective)>,
    searches: Vec<(String, MakeSearch)>,
    rewards: Vec<(String, MakeLoss)>,
    /// What runs on rollouts are made of.
    pub(crate) rollouts: RolloutTables,
}

/// An objective that was made, with all of its options.
pub(crate) struct Chosen {
    /// The name in the table, whatever it was called; of a sum of losses, their names.
    pub name: String,
    pub objective: Box<dyn Objective>,
    /// What measures held-out rows, when it is not the objective itself.
    pub judge: Option<Box<dyn Objective>>,
    /// The options as they are in force, under their names; of a sum of losses, by the losses.
    pub options: Map<String, Value>,
}

impl Chosen {
    pub fn needs(&self) -> Needs {
        self.objective.needs()
    }

    /// What measures held-out rows.
    pub fn judge(&self) -> &dyn Objective {
        self.judge.as_ref().unwrap_or(&self.objective).as_ref()
    }

    /// One option, as text.
    pub fn option(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// One option that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.value(name).and_then(Value::as_f64)
    }

    /// One option; of a sum, that of the first loss that has it.
    fn value(&self, name: &str) -> Option<&Value> {
        self.options.get(name).or_else(|| self.options.values().find_map(|part| part.get(name)))
    }
}

impl Catalog {
    /// Everything that ascribe brings.
    pub fn builtin() -> Self {
        let searches = STRATEGIES.iter().map(|(name, make)| ((*name).to_owned(), *make)).collect();
        Self { own: Vec::new(), searches, rewards: Vec::new(), rollouts: RolloutTables::builtin() }
    }

    /// The same with one more objective, for `ascribe train <name>`; a name that is there is replaced.
    pub fn objective(mut self, name: &str, make: MakeObjective) -> Self {
        self.own.retain(|(known, _)| known != name);
        self.own.push((name.to_owned(), make));
        self
    }

    /// The same with one more strategy, for `ascribe search --strategy <name>`; a name that is there is replaced.
    pub fn search(mut self, name: &str, make: MakeSearch) -> Self {
        self.searches.retain(|(known, _)| known != name);
        self.searches.push((name.to_owned(), make));
        self
    }

    /// The names of all strategies.
    pub(crate) fn strategies(&self) -> impl Iterator<Item = &str> {
        self.searches.iter().map(|(name, _)| name.as_str())
    }

    /// Makes the search strategy `name`.
    pub(crate) fn make_search(&self, name: &str, options: &Value) -> anyhow::Result<Box<dyn Search>> {
        let Some((_, make)) = self.searches.iter().find(|(known, _)| known == name) else {
            let names: Vec<&str> = self.strategies().collect();
            let close = closest(name, names.iter().copied());
            bail!("there is no strategy `{name}`{close}; the strategies are {}", names.join(", "));
        };
        Ok(make(options)?)
    }

    /// The same with one more loss of reward models, for `ascribe train reward --loss <name>`: one on pairs, without labels.
    pub fn reward_loss(mut self, name: &str, make: MakeLoss) -> Self {
        self.rewards.retain(|(known, _)| known != name);
        self.rewards.push((name.to_owned(), make));
        self
    }

    /// The losses of reward models that were added.
    pub(crate) fn reward_names(&self) -> impl Iterator<Item = &str> {
        self.rewards.iter().map(|(name, _)| name.as_str())
    }

    /// Makes the loss `name` of a reward model: one that was added, or one of the library.
    pub(crate) fn make_reward(&self, name: &str, options: &LossOptions) -> anyhow::Result<Box<dyn RewardLoss>> {
        let own = self.rewards.iter().map(|(known, make)| (known.as_str(), *make));
        match own.chain(LOSSES).find(|(known, _)| *known == name) {
            Some((_, make)) => Ok(make(options)?),
            None => bail!("there is no loss `{name}`"),
        }
    }

    /// The same with one more policy loss, for `--loss-type <name>`, with the way its tokens become one number unless
    /// `--loss-agg-mode` says otherwise; a name that is there is replaced.
    pub fn policy_loss(mut self, name: &str, mode: Aggregation, make: MakePolicyLoss) -> Self {
        self.rollouts.policy_losses.put(name, (Some(mode), make));
        self
    }

    /// The same with one more advantage estimator, for `--advantage-estimator <name>`; a name that is there is replaced.
    pub fn estimator(mut self, name: &str, make: MakeEstimator) -> Self {
        self.rollouts.estimators.put(name, make);
        self
    }

    /// The same with one more reward, for `--reward <name>`; a name that is there is replaced.
    pub fn reward(mut self, name: &str, make: MakeReward) -> Self {
        self.rollouts.rewards.put(name, make);
        self
    }

    /// Makes the objective of `method`, which may be a sum such as `dpo+sft`.
    pub(crate) fn make(&self, method: &str, args: &ObjectiveArgs) -> anyhow::Result<Chosen> {
        let mut given = args.given();
        let mut names: Vec<&str> = method.split('+').collect();
        let has_loss_type = find(method).is_some_and(|row| row.options().contains_key("loss_type"));
        match args.loss_type.as_slice() {
            [] => {}
            [one] if has_loss_type => {
                given.insert("loss_type".to_owned(), Value::String(one.clone()));
            }
            types if method == "dpo" => names = types.iter().map(String::as_str).collect(),
            _ => bail!(
                "loss_type is an option of dpo, and with one value of cpo and tpo; name the method itself instead"
            ),
        }
        if names.len() == 1 && !args.loss_weights.is_empty() {
            bail!("loss_weights weighs losses that are added, and there is one; give several, such as dpo+sft");
        }
        match names.as_slice() {
            [one] => self.one(one, &ObjectiveOptions::new(given)),
            _ => self.sum(&names, &args.loss_weights, given),
        }
    }

    fn one(&self, name: &str, given: &ObjectiveOptions) -> anyhow::Result<Chosen> {
        if let Some((_, make)) = self.own.iter().find(|(known, _)| known == name) {
            let (name, options) = (name.to_owned(), given.given().clone());
            return Ok(Chosen { name, objective: make(given)?, judge: None, options });
        }
        let Some(row) = find(name) else {
            if RECIPES.iter().any(|recipe| recipe.name == name) {
                bail!("{name} learns from its own rollouts, which is no loss that others can be added to");
            }
            if name == METHOD || written::is_written(name) {
                bail!("{name} trains a model of rewards, which is no loss that others can be added to");
            }
            if name == IMPLICIT || METHODS.iter().any(|(known, ..)| *known == name) {
                bail!("{name} trains a process model, which is no loss that others can be added to");
            }
            if ROUNDS.iter().any(|rounds| rounds.name == name) {
                bail!(
                    "{name} learns in rounds from pairs that it writes, which is no loss that others can be added to"
                );
            }
            if name == scir::METHOD {
                bail!(
                    "{name} learns from pairs whose order teaches nothing, which is no loss that others can be added to"
                );
            }
            if name == archer::METHOD {
                bail!("{name} learns from games, which is no loss that others can be added to");
            }
            if name == offline::METHOD {
                bail!("{name} learns values beside a policy, which is no loss that others can be added to");
            }
            let families = self.families().into_iter().flat_map(|(_, methods)| methods);
            let names: Vec<&str> = families.map(|(name, _)| name).collect();
            let close = closest(name, names.iter().copied());
            bail!("there is no method `{name}`{close}; the methods are {}", names.join(", "));
        };
        let Made { objective, judge } = row.make(given)?;
        let mut options = row.options();
        options.extend(given.given().clone());
        Ok(Chosen { name: row.name.to_owned(), objective, judge, options })
    }

    /// The options are handed to every part that has them.
    fn sum(&self, names: &[&str], weights: &[f64], given: Map<String, Value>) -> anyhow::Result<Chosen> {
        if !weights.is_empty() && weights.len() != names.len() {
            bail!("loss_weights has {} numbers for {} losses; give one for each", weights.len(), names.len());
        }
        let given = ObjectiveOptions::new(given);
        let mut known = Map::new();
        let (mut parts, mut judges, mut options) = (Vec::new(), Vec::new(), Map::new());
        let mut own_names = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let is_own = self.own.iter().any(|(known, _)| known == name);
            let of_part = match find(name) {
                Some(row) if !is_own => {
                    known.extend(row.options());
                    given.among(&row.options())
                }
                _ => {
                    known.extend(given.given().clone());
                    given.clone()
                }
            };
            let weight = weights.get(at).copied().unwrap_or(1.0);
            let Chosen { name: own_name, objective, judge, options: of_part_all } = self.one(name, &of_part)?;
            let judge = match judge {
                Some(judge) => judge,
                None => self.one(name, &of_part)?.objective,
            };
            options.insert(format!("{at}: {weight} {own_name}"), Value::Object(of_part_all));
            own_names.push(own_name);
            parts.push((weight, objective));
            judges.push((weight, judge));
        }
        if let Some(name) = given.given().keys().find(|name| !known.contains_key(*name)) {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            let (name, objective) = (name.clone(), names.join("+"));
            return Err(PreferenceError::UnknownOption { name, objective, known: known.join(", ") }.into());
        }
        let objective: Box<dyn Objective> = Box::new(Mixture::new(parts)?);
        // Held-out rows have no token rewards, so a sum with a part that needs them is judged without.
        let judge: Option<Box<dyn Objective>> = match objective.needs().credit {
            true => Some(Box::new(Mixture::new(judges)?)),
            false => None,
        };
        Ok(Chosen { name: own_names.join("+"), objective, judge, options })
    }
}

#[cfg(test)]
mod tests {
    use ascribe::core::RowKind;

    use super::*;

    fn make(method: &str, args: &ObjectiveArgs) -> Result<Chosen, String> {
        Catalog::builtin().make(method, args).map_err(|error| error.to_string())
    }

    fn types(names: &[&str]) -> ObjectiveArgs {
        ObjectiveArgs { loss_type: names.iter().map(|name| (*name).to_owned()).collect(), ..ObjectiveArgs::default() }
    }

    #[test]
    fn names_sums_and_loss_types_make_objectives() {
        let dpo = make("dpo", &ObjectiveArgs { beta: Some(0.5), ..ObjectiveArgs::default() }).unwrap();
        assert_eq!((dpo.number("beta"), dpo.number("label_smoothing")), (Some(0.5), Some(0.0)));
        assert_eq!(dpo.option("f_divergence_type").as_deref(), Some("reverse_kl"));
        assert!(dpo.judge.is_none() && make("t-reg", &types(&[])).unwrap().judge.is_some());
        // In the names of TRL. Whatever it was called, a loss has one name.
        let apo = make("dpo", &types(&["apo_zero"])).unwrap();
        assert_eq!((apo.name.as_str(), apo.options.contains_key("label_smoothing")), ("apo-zero", false));
        let sum = make("dpo", &types(&["sigmoid", "bco_pair", "sft"])).unwrap();
        assert!(sum.needs().coupled && sum.needs().kind == RowKind::Pairs && sum.judge.is_none());
        assert_eq!(make("sigmoid+sft", &types(&[])).unwrap().options.len(), 2);
        let both = make("t_reg+sft", &types(&[])).unwrap();
        assert!(both.needs().credit && !both.judge().needs().credit);
        // The options of the parts are found in the sum.
        assert_eq!((both.name.as_str(), both.option("credit").as_deref()), ("t-reg+sft", Some("batch")));
        assert_eq!((both.number("alpha"), both.number("label_smoothing")), (Some(0.25), None));
        assert_eq!(make("cpo", &types(&["simpo"])).unwrap().option("loss_type").as_deref(), Some("simpo"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |method: &str, args: &ObjectiveArgs, said: &str| {
            let error = make(method, args).err().unwrap_or_else(|| panic!("{method} is accepted"));
            assert!(error.contains(said), "{error}");
        };
        check("dpoo", &types(&[]), "there is no method `dpoo`; did you mean `dpo`?; the methods are sft, dpo");
        check("dpo+sfft", &types(&[]), "there is no method `sfft`");
        check("ipo", &types(&["sigmoid"]), "loss_type is an option of dpo");
        check("cpo", &types(&["ipo", "simpo"]), "loss_type is an option of dpo");
        check("dpo+kto", &types(&[]), "different kinds of rows");
        let weights = |weights: &[f64]| ObjectiveArgs { loss_weights: weights.to_vec(), ..ObjectiveArgs::default() };
        check("dpo", &weights(&[1.0]), "there is one");
        check("dpo+sft", &weights(&[1.0]), "1 numbers for 2 losses");
        check("dpo+sft", &weights(&[1.0, -1.0]), "loss_weights must be finite and at least 0");
        let tau = ObjectiveArgs { discopop_tau: Some(0.1), ..ObjectiveArgs::default() };
        check("dpo", &tau, "`discopop_tau` is no option of dpo");
        check("dpo+sft", &tau, "`discopop_tau` is no option of dpo+sft");
        assert!(make("dpo+discopop", &tau).is_ok());
    }

    #[test]
    fn objectives_of_one_s_own_stand_before_the_table() {
        let catalog = Catalog::builtin().objective("dpo", |options| {
            options.only("dpo", &["beta"])?;
            let beta = options.number("dpo", "beta", 0.3)?;
            Ok(find("ipo").expect("a row").make(&ObjectiveOptions::default().with("beta", beta))?.objective)
        });
        let args = ObjectiveArgs { beta: Some(0.2), ..ObjectiveArgs::default() };
        assert_eq!(catalog.make("dpo", &args).unwrap().number("beta"), Some(0.2));
        let args = ObjectiveArgs { alpha: Some(0.2), ..ObjectiveArgs::default() };
        assert!(catalog.make("dpo", &args).err().unwrap().to_string().contains("`alpha` is no option of dpo"));
    }
}
