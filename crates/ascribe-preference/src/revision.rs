//! Self-generated token rewards by contrastive prompting: the data pass of T-REG, arXiv:2412.02685.
//!
//! ```text
//! r_t = sigmoid( log pi(y_t | better, y_<t) - log pi(y_t | worse, y_<t) ) - 1/2,   in [-1/2, 1/2]
//! ```
//! `better` and `worse` are prompts that ask the frozen evaluator to rewrite the response for the better or for the worse.
//! The wording is ours and is data ([`RevisionTemplate`]); the default quotes the response, `no_quote` does not.

use ascribe_core::{Continuation, CoreError, Credit, CreditAssigner, Episode, Evidence, Policy, Tokens};
use serde::{Deserialize, Serialize};

use crate::{LogpCache, PreferenceError, TrainRow};

/// Token credit from log-probabilities under a better and a worse prompt.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContrastReward;

impl ContrastReward {
    /// Reward of each token; both lists have one log-probability a token.
    fn of(better: &[f32], worse: &[f32]) -> Vec<f32> {
        // 1 / (1 + e^-x) is exact at both ends: e^x overflows to infinity and the quotient to 0.
        better.iter().zip(worse).map(|(better, worse)| 1.0 / (1.0 + (worse - better).exp()) - 0.5).collect()
    }
}

impl CreditAssigner for ContrastReward {
    fn assign(&self, episode: &Episode, evidence: &Evidence) -> Result<Credit, CoreError> {
        let better = evidence.better_logps.as_ref().ok_or(CoreError::MissingEvidence("better_logps"))?;
        let worse = evidence.worse_logps.as_ref().ok_or(CoreError::MissingEvidence("worse_logps"))?;
        if better.len() != worse.len() {
            let what = "log-probabilities under the worse prompt";
            return Err(CoreError::Length { what, expected: better.len(), got: worse.len() });
        }
        Credit::over_response(episode, Self::of(better, worse))
    }
}

/// The two prompts, with `{prompt}` and (where it is quoted) `{response}` to be filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisionTemplate {
    /// Asks for a better response.
    pub better: String,
    /// Asks for a worse response.
    pub worse: String,
}

const BETTER: &str =
    "Below are a request and a reply. Write a revised reply that is more helpful, correct, coherent and concise.";
const WORSE: &str =
    "Below are a request and a reply. Write a revised reply that is less helpful, incorrect, incoherent and verbose.";

impl Default for RevisionTemplate {
    /// Quotes the response.
    fn default() -> Self {
        let ask = |task: &str| format!("{task}\n\nRequest: {{prompt}}\n\nReply: {{response}}\n\nRevised reply:");
        Self { better: ask(BETTER), worse: ask(WORSE) }
    }
}

impl RevisionTemplate {
    /// Does not quote the response.
    pub fn no_quote() -> Self {
        let ask = |task: &str| format!("{task}\n\nRequest: {{prompt}}\n\nRevised reply:");
        Self { better: ask(BETTER), worse: ask(WORSE) }
    }

    /// Both prompts for one response.
    ///
    /// # Errors
    /// When a template lacks `{prompt}`.
    pub fn fill(&self, prompt: &str, response: &str) -> Result<(String, String), PreferenceError> {
        let fill = |template: &str| -> Result<String, PreferenceError> {
            let (before, after) = template
                .split_once("{prompt}")
                .ok_or_else(|| PreferenceError::Template { got: template.to_owned() })?;
            // Piece by piece, so that a `{response}` inside the prompt's own text stays text.
            let quoted = |part: &str| part.replace("{response}", response);
            Ok(format!("{}{prompt}{}", quoted(before), quoted(after)))
        };
        Ok((fill(&self.better)?, fill(&self.worse)?))
    }

    /// A hash of both wordings.
    pub fn hash(&self) -> String {
        blake3::hash(format!("{}\0{}", self.better, self.worse).as_bytes()).to_hex().to_string()
    }
}

/// The revision prompts of one response, as tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RevisedPrompts {
    /// Asks for a better response.
    pub better: Tokens,
    /// Asks for a worse response.
    pub worse: Tokens,
}

/// Log-probabilities of the tokens of one response under its two revision prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct ContrastLogps {
    /// Under the prompt that asks for better.
    pub better: Vec<f32>,
    /// Under the prompt that asks for worse.
    pub worse: Vec<f32>,
}

/// Log-probabilities of responses under their better and their worse prompts.
///
/// # Errors
/// See [`LogpCache::logps`]; also when prompt and response do not fit the context.
pub fn contrast_logps(
    given: &[(RevisedPrompts, Tokens)],
    evaluator: &dyn Policy,
    fingerprint: &str,
    cache: &mut LogpCache,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<ContrastLogps>, PreferenceError> {
    let both: Vec<Continuation> = given
        .iter()
        .flat_map(|(prompts, tokens)| {
            [&prompts.better, &prompts.worse]
                .map(|prefix| Continuation { prefix: prefix.clone(), tokens: tokens.clone() })
        })
        .collect();
    let mut logps = cache.logps(evaluator, fingerprint, &both, progress)?.into_iter();
    Ok(std::iter::from_fn(|| Some(ContrastLogps { better: logps.next()?, worse: logps.next()? })).collect())
}

/// What the token rewards of a data set look like, to be read before training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ContrastReport {
    /// Mean of `|r|`: near 0 the prompts do not differ, near 0.5 they saturate.
    pub mean_size: f64,
    /// Mean reward of chosen tokens minus that of rejected tokens: at or below 0 the evaluator cannot tell better from worse.
    pub chosen_minus_rejected: f64,
    /// Rows left out because a revision prompt does not fit the context.
    pub left_out: usize,
}

impl ContrastReport {
    /// What a user should know, in one line, when the numbers look wrong.
    pub fn warning(&self) -> Option<String> {
        let Self { mean_size, chosen_minus_rejected, .. } = self;
        let sound = *mean_size > 0.01 && *mean_size < 0.4;
        if !sound {
            return Some(format!(
                "the token rewards have a mean size of {mean_size:.4}, expected 0.01 to 0.4: the two revision prompts hardly differ, or saturate"
            ));
        }
        let telling = *chosen_minus_rejected > 0.0;
        if !telling {
            return Some(format!(
                "chosen tokens earn {chosen_minus_rejected:.4} more than rejected ones, expected above 0: this model may not tell better from worse responses"
            ));
        }
        None
    }
}

/// Fills `credit` of every response with its token rewards; `prompts` has the revision prompts of each response of each
/// row. Rows that do not fit the evaluator's context are taken out of `rows` and counted.
///
/// # Errors
/// When a response has no revision prompts, or see [`LogpCache::logps`].
pub fn token_rewards(
    rows: &mut Vec<TrainRow>,
    prompts: Vec<Vec<RevisedPrompts>>,
    evaluator: &dyn Policy,
    fingerprint: &str,
    cache: &mut LogpCache,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ContrastReport, PreferenceError> {
    let context = evaluator.capabilities().context;
    let before = rows.len();
    // One too few, and every later response would get the rewards of another.
    let apart = rows.iter().zip(&prompts).find(|(row, prompts)| prompts.len() < row.responses.len());
    if let Some((row, prompts)) = apart {
        let got = format!("{} for {} in line {}", prompts.len(), row.responses.len(), row.line);
        return Err(CoreError::Shape { rule: "every response needs its revision prompts", got }.into());
    }
    if prompts.len() != before {
        let got = format!("{} for {before}", prompts.len());
        return Err(CoreError::Shape { rule: "every row needs its revision prompts", got }.into());
    }
    let fits = |row: &TrainRow, prompts: &[RevisedPrompts]| {
        let longest = |prompts: &RevisedPrompts| prompts.better.len().max(prompts.worse.len());
        row.responses.iter().zip(prompts).all(|(response, prompts)| longest(prompts) + response.tokens.len() <= context)
    };
    let mut kept = Vec::with_capacity(before);
    for (row, prompts) in std::mem::take(rows).into_iter().zip(prompts) {
        if fits(&row, &prompts) {
            kept.extend(
                row.responses.iter().zip(prompts).map(|(response, prompts)| (prompts, response.tokens.clone())),
            );
            rows.push(row);
        }
    }
    let logps = contrast_logps(&kept, evaluator, fingerprint, cache, progress)?;
    let credits = logps.into_iter().map(|logps| ContrastReward::of(&logps.better, &logps.worse));
    let left_out = before - rows.len();
    Ok(ContrastReport { left_out, ..fill(rows, credits) })
}

/// Fills `credit` of every response with the token rewards of a model that DPO trained: an ablation of T-REG.
///
/// ```text
/// r_t = sigmoid( beta (log pi(y_t | x, y_<t) - log pi_ref(y_t | x, y_<t)) ) - 1/2
/// ```
/// The log-probabilities of the reference must be there already.
///
/// # Errors
/// See [`LogpCache::logps`]; also when a response lacks its log-probabilities under the reference.
pub fn implicit_token_rewards(
    rows: &mut [TrainRow],
    trained: &dyn Policy,
    fingerprint: &str,
    beta: f32,
    cache: &mut LogpCache,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ContrastReport, PreferenceError> {
    let (mut given, mut references) = (Vec::new(), Vec::new());
    for row in rows.iter() {
        for response in &row.responses {
            references.push(response.ref_logps.clone().ok_or(CoreError::MissingInput("ref_logps"))?);
            given.push(Continuation { prefix: row.prompt.clone(), tokens: response.tokens.clone() });
        }
    }
    let logps = cache.logps(trained, fingerprint, &given, progress)?;
    let times = |logps: &[f32]| logps.iter().map(|logp| beta * logp).collect::<Vec<f32>>();
    let credits = logps.iter().zip(&references).map(|(ours, theirs)| ContrastReward::of(&times(ours), &times(theirs)));
    Ok(fill(rows, credits))
}

/// Gives each response its token rewards, and says what they look like.
fn fill(rows: &mut [TrainRow], mut credits: impl Iterator<Item = Vec<f32>>) -> ContrastReport {
    let mut sums = [(0.0f64, 0.0f64); 3]; // chosen, rejected, all others: sum and count
    let mut size = 0.0;
    for row in rows.iter_mut() {
        for (side, response) in row.responses.iter_mut().enumerate() {
            let Some(credit) = credits.next() else { continue };
            for value in &credit {
                let sum = &mut sums[side.min(2)];
                *sum = (sum.0 + f64::from(*value), sum.1 + 1.0);
                size += f64::from(value.abs());
            }
            response.credit = Some(credit);
        }
    }
    let mean = |(sum, n): (f64, f64)| sum / n.max(1.0);
    ContrastReport {
        mean_size: size / sums.iter().map(|(_, n)| n).sum::<f64>().max(1.0),
        chosen_minus_rejected: mean(sums[0]) - mean(sums[1]),
        left_out: 0,
    }
}
