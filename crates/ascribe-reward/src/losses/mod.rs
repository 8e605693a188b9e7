//! The losses. One file each: equation, source and departures stand at its top.

mod bradley_terry;
mod concept_energy;
mod confidence;
mod contrast;
mod gaussian_heads;
mod general_preference;
mod k_wise;
mod machine_text;
mod pair;
mod regression;
mod self_consistency;
mod spread;
mod steer;
mod ties;
mod trajectory;
mod weak_to_strong;

pub use bradley_terry::{BradleyTerry, BradleyTerryConfig, PairLabel};
pub use concept_energy::{ConceptEnergy, ConceptEnergyConfig};
pub use confidence::ConfidencePairs;
pub use contrast::{Swav, differences, sim_cse, sinkhorn, swav};
pub(crate) use gaussian_heads::FLOOR;
pub use gaussian_heads::{GaussianHeads, GaussianHeadsConfig, HeadForm, bootstrap_weights, sample_noise};
pub use general_preference::{Gate, GeneralPreference, GeneralPreferenceConfig, PreferenceForm};
pub use k_wise::{ABSENT, KWise, KWiseConfig};
pub use machine_text::{MachineText, MachineTextConfig, replay};
pub use regression::{Regression, RegressionConfig, UNRATED};
pub use self_consistency::{Disagreement, SelfConsistency, SelfConsistencyConfig};
pub use spread::spread;
pub use steer::{SteerBatch, attribute_logp, steer};
pub use ties::{Ties, TiesConfig};
pub use trajectory::{Trajectories, TrajectoriesConfig};
pub use weak_to_strong::{WeakToStrong, WeakToStrongConfig};

use serde::{Deserialize, Serialize};

use crate::{RewardError, RewardLoss};

/// Options of all losses that are made by name; each reads its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossOptions {
    /// Of `bradley-terry`.
    pub bradley_terry: BradleyTerryConfig,
    /// Of `k-wise`.
    pub k_wise: KWiseConfig,
    /// Of `regression`.
    pub regression: RegressionConfig,
    /// Of `ties`.
    pub ties: TiesConfig,
    /// Of `confidence`.
    pub confidence: ConfidencePairs,
    /// Of `general-preference`.
    pub general_preference: GeneralPreferenceConfig,
    /// Of `machine-text`.
    pub machine_text: MachineTextConfig,
    /// Of `trajectories`.
    pub trajectories: TrajectoriesConfig,
    /// Of `weak-to-strong`.
    pub weak_to_strong: WeakToStrongConfig,
    /// Of `self-consistency`.
    pub self_consistency: SelfConsistencyConfig,
    /// Of `concept-energy`.
    pub concept_energy: ConceptEnergyConfig,
    /// Of `gaussian-heads`.
    pub gaussian_heads: GaussianHeadsConfig,
}

/// Makes a loss from options.
pub type MakeLoss = fn(&LossOptions) -> Result<Box<dyn RewardLoss>, RewardError>;

/// Every loss on the scores of a head by its name: the only list.
pub const LOSSES: [(&str, MakeLoss); 12] = [
    ("bradley-terry", |options| Ok(Box::new(options.bradley_terry.init()?))),
    ("k-wise", |options| Ok(Box::new(options.k_wise.init()?))),
    ("regression", |options| Ok(Box::new(options.regression.init()?))),
    ("ties", |options| Ok(Box::new(options.ties.init()?))),
    ("confidence", |options| Ok(Box::new(options.confidence))),
    ("general-preference", |options| Ok(Box::new(options.general_preference.init()?))),
    ("machine-text", |options| Ok(Box::new(options.machine_text.init()?))),
    ("trajectories", |options| Ok(Box::new(options.trajectories.init()?))),
    ("weak-to-strong", |options| Ok(Box::new(options.weak_to_strong.init()?))),
    ("self-consistency", |options| Ok(Box::new(options.self_consistency.init()?))),
    ("concept-energy", |options| Ok(Box::new(options.concept_energy.init()?))),
    ("gaussian-heads", |options| Ok(Box::new(options.gaussian_heads.init()?))),
];
