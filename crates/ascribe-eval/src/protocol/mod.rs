//! Protocols that ask a model: what is asked, how the answer is read, and how it is scored, with any `Policy` or `Scorer`.
//!
//! A prompt is text here and token ids where a model reads it; the caller, who has the tokenizer, stands between. Nothing
//! here reads a file.

mod ask;
mod blank;
mod champ;
mod grade;
mod judge;
mod light;
mod p_true;
mod pairs;
mod prm_bench;

pub use ask::{Question, option_logps};
pub use blank::{BlankItem, blank_credits, split_blank};
pub use champ::{ChampConcept, ChampProblem, champ_prompt};
pub use grade::{Assignment, WorkedGrading, grade_prompt, median_mark, read_mark, rubric_request};
pub use judge::{Judgement, Shown, judge_options, judge_prompt, judgements};
pub use light::{Example, light_prompt, same_answer};
pub use p_true::{OptionOrder, TrueBelief, p_true_prompt, true_beliefs, true_options};
pub use pairs::{Likelihood, scored_pairs};
pub use prm_bench::{PrmItem, PrmScore, prm_score};
