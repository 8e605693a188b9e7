//! From values and scores of steps to credit: aggregations, progress under a prover, targets, and rules that choose.
//!
//! | file | holds |
//! |---|---|
//! | `aggregate.rs` | one score out of step scores, by name |
//! | `progress.rs` | PAV: progress under a prover, effective rewards, how good a prover is |
//! | `trie.rs` | TVM: a target for each token, counted over samples |
//! | `implicit.rs` | step rewards out of log-ratios, and a scorer of them |
//! | `threshold.rs` | the score below which a step is wrong |
//! | `potential.rs` | PARM: which partial path is worth going on |
//! | `parts.rs` | thoughts and expressions of a step |

mod aggregate;

mod progress;

mod trie;

mod implicit;

mod threshold;

mod potential;

mod parts;

pub use aggregate::Aggregate;
pub use implicit::{ImplicitForm, ImplicitProcess, implicit_steps};
pub use parts::{StepParts, StepView, parts, view};
pub use potential::{Assessed, assess, choose};
pub use progress::{StateAdvantages, best_of, effective, first_pit, progress, prover_quality};
pub use threshold::best_threshold;
pub use trie::TokenTrie;
