//! The losses. One family a file: equation, source and departures stand at its top.

mod options;
mod scoring;

mod nll;

mod dpo;
mod sft;

mod aot;
mod apo;
mod bco;
mod cream;
mod discopop;
mod exo;
mod gpo;
mod hinge;
mod ipo;
mod mm_dpo;
mod nca;
mod robust;
mod t_reg;
mod tdpo;

mod cpo;
mod orpo;
mod rrhf;
mod simpo;
mod tpo;

mod kto;
mod labelled;

mod mixture;

use ascribe_core::Objective;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use aot::{Aot, AotConfig};
pub use apo::{Anchor, Apo, ApoConfig};
pub use bco::{Bco, BcoConfig, BcoPair, BcoPairConfig};
pub use cpo::{ContrastKind, Cpo, CpoConfig};
pub use cream::{Cream, CreamConfig};
pub use discopop::{DiscoPop, DiscoPopConfig};
pub use dpo::{Dpo, DpoConfig};
pub use exo::{Exo, ExoConfig};
pub use gpo::{Gpo, GpoConfig, Target, mean_scores};
pub use hinge::{Hinge, HingeConfig, NllTarget};
pub use ipo::{Ipo, IpoConfig};
pub use kto::{Kto, KtoConfig};
pub use mixture::Mixture;
pub use mm_dpo::{Disagreement, MmDpo, MmDpoConfig};
pub use nca::{Nca, NcaConfig};
pub use nll::NllReduction;
pub use options::ObjectiveOptions;
pub use orpo::{Orpo, OrpoConfig};
pub use robust::{Robust, RobustConfig};
pub use rrhf::{Rrhf, RrhfConfig};
pub use scoring::{FDivergence, LabelWeights, Scoring};
pub use sft::{Sft, SftConfig};
pub use simpo::{SimPo, SimPoConfig};
pub use t_reg::{RegTokens, RegWeight, SimPoReg, SimPoRegConfig, TReg, TRegConfig, TokenCredit};
pub use tdpo::{Tdpo, TdpoConfig, TdpoForm};
pub use tpo::{Tpo, TpoConfig, TpoKind};

use crate::PreferenceError;

/// Makes an objective from options.
pub type MakeObjective = fn(&ObjectiveOptions) -> Result<Box<dyn Objective>, PreferenceError>;

/// A config that an objective is made from, and whose fields are its options.
pub trait ObjectiveConfig: Serialize + DeserializeOwned + Default {
    /// The objective, once the options are checked.
    ///
    /// # Errors
    /// Names the first option that is out of its range.
    fn objective(&self) -> Result<Box<dyn Objective>, PreferenceError>;

    /// What measures held-out rows, when it is not the objective itself: one that needs no token rewards.
    ///
    /// # Errors
    /// As [`ObjectiveConfig::objective`].
    fn judge(&self) -> Result<Option<Box<dyn Objective>>, PreferenceError> {
        Ok(None)
    }
}

macro_rules! configs {
    ($($config:ty),+) => {
        $(impl ObjectiveConfig for $config {
            fn objective(&self) -> Result<Box<dyn Objective>, PreferenceError> {
                Ok(Box::new(self.init()?))
            }
        })+
    };
}

configs!(
    AotConfig,
    ApoConfig,
    BcoConfig,
    BcoPairConfig,
    CpoConfig,
    CreamConfig,
    DiscoPopConfig,
    DpoConfig,
    ExoConfig,
    GpoConfig,
    HingeConfig,
    IpoConfig,
    KtoConfig,
    MmDpoConfig,
    NcaConfig,
    OrpoConfig,
    RobustConfig,
    RrhfConfig,
    SftConfig,
    SimPoConfig,
    TdpoConfig,
    TpoConfig
);

impl ObjectiveConfig for TRegConfig {
    fn objective(&self) -> Result<Box<dyn Objective>, PreferenceError> {
        Ok(Box::new(self.init()?))
    }

    fn judge(&self) -> Result<Option<Box<dyn Objective>>, PreferenceError> {
        Ok(Some(DpoConfig { beta: self.beta, ..DpoConfig::default() }.objective()?))
    }
}

impl ObjectiveConfig for SimPoRegConfig {
    fn objective(&self) -> Result<Box<dyn Objective>, PreferenceError> {
        Ok(Box::new(self.init()?))
    }

    fn judge(&self) -> Result<Option<Box<dyn Objective>>, PreferenceError> {
        Ok(Some(self.base().objective()?))
    }
}

/// An objective by name.
pub struct ObjectiveRow {
    /// The name that the command line uses; `_` may stand for `-`.
    pub name: &'static str,
    /// Other names for it: those of TRL, where they differ.
    pub aliases: &'static [&'static str],
    /// What it is, in one line.
    pub about: &'static str,
    /// Options that differ from the defaults of the config, as JSON.
    preset: &'static str,
    fields: fn() -> Map<String, Value>,
    make: fn(&str, &ObjectiveOptions, Map<String, Value>) -> Result<Made, PreferenceError>,
}

/// An objective, and what measures held-out rows when it is not the objective itself.
pub struct Made {
    /// What is trained with.
    pub objective: Box<dyn Objective>,
    /// What measures held-out rows.
    pub judge: Option<Box<dyn Objective>>,
}

impl ObjectiveRow {
    const fn of<C: ObjectiveConfig>(name: &'static str, aliases: &'static [&'static str], about: &'static str) -> Self {
        Self { name, aliases, about, preset: "{}", fields: defaults::<C>, make: make::<C> }
    }

    const fn with(mut self, preset: &'static str) -> Self {
        self.preset = preset;
        self
    }

    /// Its options with their defaults.
    pub fn options(&self) -> Map<String, Value> {
        let mut fields = (self.fields)();
        let preset: Map<String, Value> =
            serde_json::from_str(self.preset).expect("invariant: presets are JSON objects");
        fields.extend(preset);
        fields
    }

    /// Makes the objective.
    ///
    /// # Errors
    /// When an option is unknown, cannot be read, or is out of its range.
    pub fn make(&self, options: &ObjectiveOptions) -> Result<Made, PreferenceError> {
        (self.make)(self.name, options, self.options())
    }
}

fn defaults<C: ObjectiveConfig>() -> Map<String, Value> {
    options::fields(&C::default())
}

fn make<C: ObjectiveConfig>(
    name: &str,
    options: &ObjectiveOptions,
    defaults: Map<String, Value>,
) -> Result<Made, PreferenceError> {
    let config: C = options.over(name, defaults)?;
    Ok(Made { objective: config.objective()?, judge: config.judge()? })
}

/// Every objective by the name that the command line uses: the only list.
pub static OBJECTIVES: [ObjectiveRow; 35] = [
    ObjectiveRow::of::<SftConfig>("sft", &[], "Supervised fine-tuning: the likelihood of the response."),
    ObjectiveRow::of::<DpoConfig>(
        "dpo",
        &["sigmoid"],
        "Direct preference optimization: the log-sigmoid of the difference of two implicit rewards.",
    ),
    ObjectiveRow::of::<DpoConfig>("cdpo", &[], "DPO with a share of labels that are taken to be wrong.")
        .with(r#"{"label_smoothing": 0.1}"#),
    ObjectiveRow::of::<DpoConfig>(
        "dpo-norm",
        &["sigmoid-norm"],
        "DPO on log-ratios that are divided by the tokens of their response.",
    )
    .with(r#"{"length_normalized": true}"#),
    ObjectiveRow::of::<RobustConfig>(
        "robust",
        &["rdpo"],
        "Robust DPO: its mean over wrong labels is DPO on right ones.",
    ),
    ObjectiveRow::of::<IpoConfig>(
        "ipo",
        &[],
        "Identity preference optimization: a margin of 1 / (2 beta) is wanted, and no more.",
    ),
    ObjectiveRow::of::<HingeConfig>("hinge", &[], "The hinge on the margin of DPO."),
    ObjectiveRow::of::<HingeConfig>(
        "slic",
        &[],
        "SLiC-HF: the hinge on a margin without a reference, and a likelihood.",
    )
    .with(r#"{"beta": 1.0, "lambda": 0.1, "reference_free": true}"#),
    ObjectiveRow::of::<ExoConfig>(
        "exo",
        &["exo-pair"],
        "Efficient exact optimization: the divergence of smoothed labels the other way round than in DPO.",
    ),
    ObjectiveRow::of::<NcaConfig>(
        "nca",
        &["nca-pair"],
        "Noise contrastive alignment: each side of a pair against the reference by itself.",
    ),
    ObjectiveRow::of::<BcoPairConfig>("bco-pair", &[], "Binary classifier optimization on the two sides of a pair."),
    ObjectiveRow::of::<GpoConfig>(
        "sppo",
        &["sppo-hard"],
        "Self-play preference optimization: log-ratios are drawn to half a win and half a loss.",
    )
    .with(r#"{"beta": 0.001, "target": "hard"}"#),
    ObjectiveRow::of::<GpoConfig>(
        "gpo",
        &[],
        "General preference optimization: log-ratios are drawn to the scores of a pair.",
    ),
    ObjectiveRow::of::<AotConfig>(
        "aot",
        &[],
        "Alignment via optimal transport: the distributions of margins are put in order.",
    ),
    ObjectiveRow::of::<AotConfig>(
        "aot-unpaired",
        &[],
        "The same for the distributions of chosen and of rejected responses.",
    )
    .with(r#"{"unpaired": true}"#),
    ObjectiveRow::of::<ApoConfig>(
        "apo-zero",
        &[],
        "Anchored preference optimization: the chosen response becomes likelier, the rejected one less likely.",
    ),
    ObjectiveRow::of::<ApoConfig>(
        "apo-down",
        &[],
        "Anchored preference optimization: both become less likely, the rejected one more so.",
    )
    .with(r#"{"anchor": "down"}"#),
    ObjectiveRow::of::<DiscoPopConfig>(
        "discopop",
        &[],
        "DiscoPOP: the loss of DPO where a pair is ordered wrongly, an exponential one where rightly.",
    ),
    ObjectiveRow::of::<TdpoConfig>(
        "tdpo1",
        &[],
        "Token-level DPO: the margin less the difference of the divergences from the reference.",
    )
    .with(r#"{"form": "tdpo1"}"#),
    ObjectiveRow::of::<TdpoConfig>(
        "tdpo2",
        &["tdpo"],
        "Token-level DPO with a weight on the divergences, and no gradient of the chosen one.",
    ),
    ObjectiveRow::of::<TRegConfig>(
        "t-reg",
        &["dpo-reg"],
        "T-REG on DPO: token rewards that the model finds by revision prompts regularise the loss.",
    ),
    ObjectiveRow::of::<SimPoRegConfig>("simpo-reg", &[], "T-REG on SimPO."),
    ObjectiveRow::of::<MmDpoConfig>(
        "mm-dpo",
        &[],
        "DPO whose beta grows with the margin of a pair, in the column `margin`.",
    ),
    ObjectiveRow::of::<CreamConfig>("cream", &[], "DPO with labels as soft as the consistency of a pair says."),
    ObjectiveRow::of::<SimPoConfig>(
        "simpo",
        &[],
        "Simple preference optimization: mean log-probabilities and a margin, without a reference.",
    ),
    ObjectiveRow::of::<CpoConfig>(
        "cpo",
        &[],
        "Contrastive preference optimization: a contrast without a reference, and a likelihood.",
    ),
    ObjectiveRow::of::<CpoConfig>("cpo-simpo", &[], "The contrast of SimPO with the likelihood of CPO.")
        .with(r#"{"beta": 2.0, "loss_type": "simpo"}"#),
    ObjectiveRow::of::<OrpoConfig>(
        "orpo",
        &[],
        "Odds ratio preference optimization: fine-tuning and preferences in one stage, without a reference.",
    ),
    ObjectiveRow::of::<RrhfConfig>(
        "rrhf",
        &[],
        "Ranks the responses to a prompt by their rewards, and imitates the best.",
    ),
    ObjectiveRow::of::<TpoConfig>(
        "tpo",
        &[],
        "Triple preference optimization: a contrast of two answers, and the likelihood of a third.",
    ),
    ObjectiveRow::of::<TpoConfig>("tpo-l", &[], "The same on mean log-probabilities with a margin.")
        .with(r#"{"beta": 2.0, "loss_type": "tpo-l"}"#),
    ObjectiveRow::of::<KtoConfig>(
        "kto",
        &[],
        "Kahneman-Tversky optimization: each response against the mean divergence from the reference.",
    ),
    ObjectiveRow::of::<KtoConfig>(
        "apo-zero-unpaired",
        &[],
        "KTO without the divergence: APO-zero on single responses.",
    )
    .with(r#"{"no_kl": true}"#),
    ObjectiveRow::of::<BcoConfig>("bco", &[], "Binary classifier optimization: rewards against their running mean."),
    ObjectiveRow::of::<BcoConfig>(
        "outcome-ce",
        &[],
        "Cross-entropy of outcomes by implicit rewards, as implicit process models are trained.",
    )
    .with(r#"{"beta": 0.05, "reward_shift": false}"#),
];

/// The objectives whose rows depend on each other with their defaults, and which are taken over the whole optimizer window:
/// `aot` and `aot-unpaired` sort it, `kto` takes a mean divergence of it, `bco` moves its running mean by it. Others become so by
/// an option (`reward_shift`, `nll_reduction = window`) or in a sum with losses that average otherwise; each says so in its
/// [`Needs`](ascribe_core::Needs).
pub const COUPLED: [&str; 4] = ["aot", "aot-unpaired", "kto", "bco"];

/// The row of an objective, by its name or another name for it.
pub fn find(name: &str) -> Option<&'static ObjectiveRow> {
    let name = name.replace('_', "-");
    OBJECTIVES.iter().find(|row| row.name == name || row.aliases.contains(&name.as_str()))
}
