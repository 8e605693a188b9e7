//! A loss of reward models by its name: what its rows say, its options, and how its scores become a reward.

use anyhow::{Context, bail};
use ascribe::reward::losses::{GaussianHeadsConfig, HeadForm, LossOptions, PairLabel};
use ascribe::reward::{Merge, Reading, RewardLoss};
use serde_json::{Map, Value, json};

use crate::Catalog;
use crate::args::TrainArgs;
use crate::config::closest;

/// Weight of the most certain one of uncertain heads, where nothing else is known.
const LAMBDA: f64 = 0.5;

/// What the energies of label, concepts, and label given the concepts count for in inference, as in the code.
const INFERENCE: [f64; 3] = [1.0, 1.0, 0.01];

/// What the rows of a loss say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Teaches {
    /// Which response of a pair is better.
    Order,
    /// The same, with a margin that it has to be better by.
    Margin,
    /// The same, with how likely the label is right.
    SoftMargin,
    /// The order, with what the pair counts for.
    Strength,
    /// The same, or that neither is.
    Ties,
    /// Ratings by attribute.
    Attributes,
    /// Whether a response is good, and which concepts it has.
    Concepts,
    /// The mean of the ratings.
    Rating,
    /// The order of all responses to a prompt.
    Ranks,
    /// Which response of a pair is better, each with a high and a low confidence stated.
    Confidence,
    /// By how much a weaker model prefers the first response of a pair.
    Teacher,
    /// Of three texts which a machine wrote, which is mixed, and which is human.
    Origin,
}

/// The losses of the command line: name, name in the library, and what their rows say.
const LOSSES: [(&str, &str, Teaches); 15] = [
    ("bradley-terry", "bradley-terry", Teaches::Order),
    ("margin", "bradley-terry", Teaches::Margin),
    ("soft-margin", "bradley-terry", Teaches::SoftMargin),
    ("scaled", "bradley-terry", Teaches::Strength),
    ("ties", "ties", Teaches::Ties),
    ("trajectories", "trajectories", Teaches::Order),
    ("general-preference", "general-preference", Teaches::Order),
    ("gpm", "general-preference", Teaches::Order),
    ("regression", "regression", Teaches::Attributes),
    ("gaussian-heads", "gaussian-heads", Teaches::Rating),
    ("concept-energy", "concept-energy", Teaches::Concepts),
    ("k-wise", "k-wise", Teaches::Ranks),
    ("confidence", "confidence", Teaches::Confidence),
    ("weak-to-strong", "weak-to-strong", Teaches::Teacher),
    ("machine-text", "machine-text", Teaches::Origin),
];

/// What `--loss` may name.
pub(crate) fn loss_names(catalog: &Catalog) -> Vec<&str> {
    LOSSES.iter().map(|(name, ..)| *name).chain(catalog.reward_names()).collect()
}

/// A loss by name, before the rows are known.
pub(super) struct Chosen<'a> {
    pub(super) name: String,
    pub(super) known: &'a str,
    pub(super) teaches: Teaches,
    pub(super) kwargs: Map<String, Value>,
}

impl<'a> Chosen<'a> {
    pub(super) fn of(args: &TrainArgs, catalog: &'a Catalog) -> anyhow::Result<Self> {
        if let Some(name) = args.objective.given().keys().next() {
            bail!("{name} is an option of other methods and does nothing with a reward model; drop it");
        }
        if args.reference.is_some() {
            bail!("a reward model has no reference; drop it");
        }
        // Pairs with critiques may be ties.
        let usual = if args.method == "critique" { "ties" } else { "bradley-terry" };
        let name = args.reward.loss.clone().unwrap_or_else(|| usual.to_owned());
        let kwargs = args.reward.loss_kwargs.clone().unwrap_or_default();
        let listed = LOSSES.into_iter().find(|(known, ..)| *known == name).map(|(_, known, teaches)| (known, teaches));
        let own = catalog.reward_names().find(|known| *known == name).map(|known| (known, Teaches::Order));
        let Some((known, teaches)) = own.or(listed) else {
            let names = loss_names(catalog);
            let close = closest(&name, names.iter().copied());
            bail!("there is no loss `{name}`{close}; those whose rows a file can hold are {}", names.join(", "));
        };
        let mut chosen = Self { name, known, teaches, kwargs };
        if let Some(weight) = args.reward.center_rewards_coefficient {
            if !["bradley-terry", "trajectories", "ties"].contains(&chosen.known) {
                bail!("center_rewards_coefficient centres pairs of scores, which {} has not; drop it", chosen.name);
            }
            chosen.kwargs.insert("centre".to_owned(), json!(weight));
        }
        if matches!(teaches, Teaches::Margin | Teaches::SoftMargin | Teaches::Strength) {
            chosen.kwargs.insert("labelled".to_owned(), json!(true));
        }
        if args.reward.heads_lambda.is_some() && teaches != Teaches::Rating {
            bail!("heads_lambda weighs the heads of gaussian-heads; drop it with {}", chosen.name);
        }
        if args.reward.merge_data.is_some() && teaches != Teaches::Attributes {
            bail!("merge_data fits the weights of the loss regression; drop it with {}", chosen.name);
        }
        if teaches == Teaches::Concepts {
            if chosen.kwargs.contains_key("joint_weight") || chosen.kwargs.contains_key("concepts") {
                bail!(
                    "concept-energy counts the concepts of the file, and has the energies of the label given the concepts in closed \
                     form; drop concepts and joint_weight, and change what these energies count for in the reward.json of the model"
                );
            }
            chosen.kwargs.insert("joint_weight".to_owned(), json!(0));
        }
        if !args.reward.attribute_weights.is_empty() && teaches != Teaches::Attributes {
            bail!("attribute_weights are those of the loss regression; drop them with {}", chosen.name);
        }
        Ok(chosen)
    }

    /// The options of the library's loss.
    pub(super) fn options(&self) -> anyhow::Result<LossOptions> {
        let field = self.known.replace('-', "_");
        let known = LOSSES.iter().any(|(_, known, _)| *known == self.known);
        match (known, self.kwargs.is_empty()) {
            (true, _) => {
                let options = Map::from_iter([(field, Value::Object(self.kwargs.clone()))]);
                serde_json::from_value(Value::Object(options)).with_context(|| format!("loss_kwargs of {}", self.name))
            }
            (false, true) => Ok(LossOptions::default()),
            (false, false) => {
                bail!("loss_kwargs are those of the built-in losses, and {} is none; drop them", self.name)
            }
        }
    }

    /// The loss, checked against what a file can give it.
    pub(super) fn make(&self, catalog: &Catalog) -> anyhow::Result<(Box<dyn RewardLoss>, LossOptions)> {
        let options = self.options()?;
        let loss = catalog.make_reward(self.known, &options)?;
        let needs = loss.needs();
        let ranked = options.k_wise.responses;
        let (responses, labels) = match self.teaches {
            Teaches::Order => (2, 0),
            Teaches::Margin | Teaches::SoftMargin | Teaches::Strength => {
                (2, PairLabel::columns(&[PairLabel::PLAIN]).len())
            }
            Teaches::Ties => (2, 1),
            Teaches::Attributes => (1, options.regression.attributes),
            Teaches::Concepts => (1, 1 + options.concept_energy.concepts),
            Teaches::Rating => {
                let GaussianHeadsConfig { heads, form } = options.gaussian_heads;
                (1, if form == HeadForm::Sample { 1 + 2 * heads } else { 1 + heads })
            }
            Teaches::Ranks => (ranked, ranked),
            Teaches::Confidence => (if options.confidence.combined { 6 } else { 4 }, 0),
            Teaches::Teacher => (2, if options.weak_to_strong.alpha > 0.0 { 2 } else { 1 }),
            Teaches::Origin => (3, 0),
        };
        if (needs.responses, needs.labels) != (responses, labels) {
            bail!(
                "{} with these loss_kwargs needs rows of {} responses and {} labels, which no file holds; train it by the library",
                self.name,
                needs.responses,
                needs.labels
            );
        }
        Ok((loss, options))
    }

    /// How the scores become a reward.
    pub(super) fn reading(
        &self,
        args: &TrainArgs,
        options: &LossOptions,
        attributes: &[String],
    ) -> anyhow::Result<Reading> {
        Ok(match self.teaches {
            Teaches::Attributes => {
                let given = &args.reward.attribute_weights;
                let weights = match given.is_empty() {
                    true => usual_weights(attributes),
                    false => given.clone(),
                };
                if weights.len() != attributes.len() {
                    let (n, names) = (attributes.len(), attributes.join(", "));
                    bail!(
                        "attribute_weights has {} numbers for {n} attributes ({names}); give one for each",
                        weights.len()
                    );
                }
                Reading::Attributes { names: attributes.to_vec(), weights }
            }
            Teaches::Rating => Reading::Heads { lambda: args.reward.heads_lambda.unwrap_or(LAMBDA) },
            // The energies of the label given the concepts come from the rows.
            Teaches::Concepts => Reading::Concepts {
                names: attributes.to_vec(),
                joint: vec![[0.0; 2]; 1 << attributes.len().min(16)],
                weights: INFERENCE,
            },
            _ if self.known == "general-preference" => Reading::Preference(options.general_preference),
            _ => Reading::Score,
        })
    }
}

/// The attributes of HelpSteer2 have published weights; others count alike.
fn usual_weights(attributes: &[String]) -> Vec<f64> {
    let published = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"];
    match attributes.iter().map(String::as_str).eq(published) {
        true => Merge::LLAMA3_70B_STEERLM.to_vec(),
        false => vec![1.0 / attributes.len() as f64; attributes.len()],
    }
}
