//! The losses. One file each: equation, source and departures stand at its top.

mod apo_zero;
mod dpo;
mod ipo;
mod sft;
mod t_reg;

use ascribe_core::Objective;

pub use apo_zero::{ApoZero, ApoZeroConfig};
pub use dpo::{Dpo, DpoConfig};
pub use ipo::{Ipo, IpoConfig};
pub use sft::Sft;
pub use t_reg::{RegTokens, RegWeight, TReg, TRegConfig, TokenCredit};

use crate::PreferenceError;

/// Options that objectives made by name may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectiveOptions {
    /// Strength of the pull to the reference.
    pub beta: f64,
    /// Strength of a token-level regulariser.
    pub alpha: f64,
}

impl Default for ObjectiveOptions {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, alpha: TRegConfig::default().alpha }
    }
}

/// Makes an objective from options.
pub type MakeObjective = fn(&ObjectiveOptions) -> Result<Box<dyn Objective>, PreferenceError>;

/// Every objective by the name that the command line uses: the only list.
pub const OBJECTIVES: [(&str, MakeObjective); 5] = [
    ("sft", |_| Ok(Box::new(Sft))),
    ("dpo", |options| Ok(Box::new(DpoConfig { beta: options.beta, ..DpoConfig::default() }.init()?))),
    ("ipo", |options| Ok(Box::new(IpoConfig { beta: options.beta, ..IpoConfig::default() }.init()?))),
    ("apo-zero", |options| Ok(Box::new(ApoZeroConfig { beta: options.beta, ..ApoZeroConfig::default() }.init()?))),
    ("t-reg", |options| {
        Ok(Box::new(TRegConfig { beta: options.beta, alpha: options.alpha, ..TRegConfig::default() }.init()?))
    }),
];
