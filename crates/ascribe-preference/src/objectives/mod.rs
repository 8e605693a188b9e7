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
    const fn of<C: ObjectiveConfig>(name: &'static str, aliases: &'static [&'static str]) -> Self {
        Self { name, aliases, preset: "{}", fields: defaults::<C>, make: make::<C> }
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
    ObjectiveRow::of::<SftConfig>("sft", &[]),
    ObjectiveRow::of::<DpoConfig>("dpo", &["sigmoid"]),
    ObjectiveRow::of::<DpoConfig>("cdpo", &[]).with(r#"{"label_smoothing": 0.1}"#),
    ObjectiveRow::of::<DpoConfig>("dpo-norm", &["sigmoid-norm"]).with(r#"{"length_normalized": true}"#),
    ObjectiveRow::of::<RobustConfig>("robust", &["rdpo"]),
    ObjectiveRow::of::<IpoConfig>("ipo", &[]),
    ObjectiveRow::of::<HingeConfig>("hinge", &[]),
    ObjectiveRow::of::<HingeConfig>("slic", &[]).with(r#"{"beta": 1.0, "lambda": 0.1, "reference_free": true}"#),
    ObjectiveRow::of::<ExoConfig>("exo", &["exo-pair"]),
    ObjectiveRow::of::<NcaConfig>("nca", &["nca-pair"]),
    ObjectiveRow::of::<BcoPairConfig>("bco-pair", &[]),
    ObjectiveRow::of::<GpoConfig>("sppo", &["sppo-hard"]).with(r#"{"beta": 0.001, "target": "hard"}"#),
    ObjectiveRow::of::<GpoConfig>("gpo", &[]),
    ObjectiveRow::of::<AotConfig>("aot", &[]),
    ObjectiveRow::of::<AotConfig>("aot-unpaired", &[]).with(r#"{"unpaired": true}"#),
    ObjectiveRow::of::<ApoConfig>("apo-zero", &[]),
    ObjectiveRow::of::<ApoConfig>("apo-down", &[]).with(r#"{"anchor": "down"}"#),
    ObjectiveRow::of::<DiscoPopConfig>("discopop", &[]),
    ObjectiveRow::of::<TdpoConfig>("tdpo1", &[]).with(r#"{"form": "tdpo1"}"#),
    ObjectiveRow::of::<TdpoConfig>("tdpo2", &["tdpo"]),
    ObjectiveRow::of::<TRegConfig>("t-reg", &["dpo-reg"]),
    ObjectiveRow::of::<SimPoRegConfig>("simpo-reg", &[]),
    ObjectiveRow::of::<MmDpoConfig>("mm-dpo", &[]),
    ObjectiveRow::of::<CreamConfig>("cream", &[]),
    ObjectiveRow::of::<SimPoConfig>("simpo", &[]),
    ObjectiveRow::of::<CpoConfig>("cpo", &[]),
    ObjectiveRow::of::<CpoConfig>("cpo-simpo", &[]).with(r#"{"beta": 2.0, "loss_type": "simpo"}"#),
    ObjectiveRow::of::<OrpoConfig>("orpo", &[]),
    ObjectiveRow::of::<RrhfConfig>("rrhf", &[]),
    ObjectiveRow::of::<TpoConfig>("tpo", &[]),
    ObjectiveRow::of::<TpoConfig>("tpo-l", &[]).with(r#"{"beta": 2.0, "loss_type": "tpo-l"}"#),
    ObjectiveRow::of::<KtoConfig>("kto", &[]),
    ObjectiveRow::of::<KtoConfig>("apo-zero-unpaired", &[]).with(r#"{"no_kl": true}"#),
    ObjectiveRow::of::<BcoConfig>("bco", &[]),
    ObjectiveRow::of::<BcoConfig>("outcome-ce", &[]).with(r#"{"beta": 0.05, "reward_shift": false}"#),
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
