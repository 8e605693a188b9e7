//! Options of process models: how they learn.

use ascribe::data::Neutral;
use ascribe::process::label::AfterError;
use ascribe::process::model::OutcomeAt;
use ascribe::process::{Aggregate, Segmenter};
use clap::{Args, ValueEnum};

use super::named;
use super::process::segmenter;

/// How a process model learns: `ascribe train orm`, `prm`, `tvm`, `pav` and `p-ik`; and `implicit-prm`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Process model")]
pub struct ProcessArgs {
    /// The loss of an implicit process model: ce (unless it is given), dpo, kto or nca (implicit-prm).
    #[arg(long, value_enum)]
    pub form: Option<FormName>,
    /// The loss of steps: cross-entropy (unless it is given), squared, for orm temporal-difference, or for prm ranking, or pairwise on
    /// pairs of steps.
    #[arg(long, value_enum)]
    pub step_loss: Option<StepLossName>,
    /// Margin of wrong steps (step_loss ranking); 4 unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub zeta: Option<f64>,
    /// What says how likely all is right so far: two classes (unless it is given), one score, or two words of the next
    /// token.
    #[arg(long, value_enum)]
    pub step_head: Option<StepHeadName>,
    /// The token that says right and the token that says wrong (step_head words), such as `+ -`.
    #[arg(long, num_args = 2, allow_hyphen_values = true)]
    pub step_words: Vec<String>,
    /// Where an outcome is taught (orm): at the last token, or at every one (unless it is given).
    #[arg(long, value_parser = named::<OutcomeAt>)]
    pub outcome_at: Option<OutcomeAt>,
    /// Leave out what stands behind the answer that a response marks: in a box, behind `####`, or by words such as `the answer is`
    /// (orm, tvm).
    #[arg(long)]
    pub cut_after_answer: bool,
    /// Where steps end: paragraphs (unless it is given), lines, headers, sentences, delimiter:TEXT, marker:ID, length:N
    /// or parts:N. Kept in the model's process.json for scoring.
    #[arg(long, value_parser = segmenter)]
    pub steps: Option<Segmenter>,
    /// Put behind each step of the rows that does not end with it, but for the last; the delimiter of --steps unless it
    /// is given.
    #[arg(long)]
    pub step_separator: Option<String>,
    /// Labels behind the first wrong step, whose label is 0 (prm, pav): mask, zero or keep (unless it is given).
    #[arg(long, value_parser = named::<AfterError>)]
    pub after_error: Option<AfterError>,
    /// What the neutral steps of PRM800K are: wrong (unless it is given) or right (prm, pav).
    #[arg(long, value_parser = named::<Neutral>)]
    pub neutral_steps: Option<Neutral>,
    /// Put this behind each step, and read the step there (prm, pav), as models with a tag for the ends of steps want it.
    #[arg(long, allow_hyphen_values = true)]
    pub step_tag: Option<String>,
    /// How the scores of steps become that of a response, unless scoring says otherwise: last (unless it is given), min,
    /// prod, mean, geo-mean, max, sum-logit or sum-log.
    #[arg(long, value_parser = named::<Aggregate>)]
    pub aggregate: Option<Aggregate>,
    /// Samples that the prover takes the best of (pav); 4 unless it is given.
    #[arg(long)]
    pub prover: Option<u32>,
    /// What progress under the prover counts for beside the value of a step (pav); 0.5 unless it is given.
    #[arg(long, allow_negative_numbers = true)]
    pub progress_weight: Option<f64>,
    /// Learn from as many rows that end right as wrong (in a label below 1/2); which of the others go is drawn.
    #[arg(long)]
    pub balance: bool,
    /// Learn from at most so many rows of a prompt, as many right ones as wrong ones (by their last label) as far as there are;
    /// which they are is drawn.
    #[arg(long)]
    pub max_samples_per_prompt: Option<usize>,
    /// Fewest samples of a problem (tvm, p-ik); 1 unless it is given.
    #[arg(long)]
    pub min_samples: Option<usize>,
}

/// The loss of an implicit process model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormName {
    /// Cross-entropy of outcomes: responses that are right or wrong.
    Ce,
    /// Pairs of a right and a wrong response.
    Dpo,
    /// Responses that are right or wrong, against the mean divergence from the reference.
    Kto,
    /// Pairs, each side by itself.
    Nca,
}

impl FormName {
    /// The objective by its name.
    pub fn objective(self) -> &'static str {
        match self {
            Self::Ce => "outcome-ce",
            Self::Dpo => "dpo",
            Self::Kto => "kto",
            Self::Nca => "nca",
        }
    }
}

/// The loss of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StepLossName {
    /// Cross-entropy with hard or soft labels.
    CrossEntropy,
    /// Squared distance from the label.
    Squared,
    /// Squared distance from what is said at the next token, and from the outcome at the last.
    TemporalDifference,
    /// The order of the steps of a response, for hard labels: PQM.
    Ranking,
    /// Which of two steps behind one state is better; rows are pairs, as `label --rows pairs` writes them.
    Pairwise,
}

/// What says how likely all is right so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StepHeadName {
    /// Two classes of a token, as TRL has them.
    Classes,
    /// One score of a token.
    Score,
    /// Two words of the next token.
    Words,
}
