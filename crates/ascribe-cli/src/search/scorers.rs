//! Scorers by name, for one row.

use anyhow::{Context, bail};
use ascribe::core::{Continuation, CoreError, Credit, Episode, Policy, Reduce, Scorer, Tokens};
use ascribe::lm::Tokenizer;
use ascribe::process::model::ProcessModel;
use ascribe::process::{AnswerReward, Checker, Gold, ProcessError};
use ascribe::reward::think_format;
use ascribe::search::heuristics::{
    Coverage, Forbidden, ForbiddenPatterns, LengthLimit, LengthTarget, Weighted, WordForm,
};
use ascribe::worlds::Problem;

use super::Item;
use crate::args::{ScorerName, SearchArgs};
use crate::device::device;
use crate::hub::resolve;
use crate::judge::Judge;
use crate::process_scores::check_steps;

/// What scorers are made from.
pub struct Scorers<'a> {
    pub args: &'a SearchArgs,
    pub model: &'a dyn Policy,
    pub checker: Checker,
    pub process: Option<&'a Process>,
    pub reward: Option<&'a Judge>,
}

/// The reward model that the scorers need, if they need one.
pub fn reward(args: &SearchArgs, items: &[Item]) -> anyhow::Result<Option<Judge>> {
    let path = match (&args.reward, args.scorers().any(|name| name == ScorerName::Reward)) {
        (None, false) => return Ok(None),
        (Some(_), false) => bail!("reward does nothing without --scorer reward or --judge reward; drop it"),
        (None, true) => bail!("the scorer reward needs a reward model; name it with --reward"),
        (Some(path), true) => path,
    };
    let prompts = items.iter().map(|item| (item.ids.clone(), item.asked.clone()));
    Ok(Some(Judge::open(&resolve(path)?, &device(&args.common.device)?, prompts)?))
}

/// A process model as it scores, and its values alone.
pub struct Process {
    scores: ProcessModel,
    values: ProcessModel,
}

impl Process {
    /// The process model that the scorers need, if they need one; it reads the tokens of the model that writes, and its
    /// steps end where those of the search do.
    pub fn open(args: &SearchArgs, tokenizer: &Tokenizer) -> anyhow::Result<Option<Self>> {
        let names = [ScorerName::Process, ScorerName::ProcessValue];
        let needed = args.scorers().any(|name| names.contains(&name));
        let path = match (&args.process, needed) {
            (None, false) => return Ok(None),
            (Some(_), false) => bail!("process does nothing without --scorer process or process-value; drop it"),
            (None, true) => bail!("the scorers process and process-value need a process model; name it with --process"),
            (Some(path), true) => path,
        };
        eprintln!("loading {}", path.display());
        let folder = resolve(path)?;
        let load = ProcessModel::load(&folder, &device(&args.common.device)?);
        let scores = load.with_context(|| format!("the process model `{}`", path.display()))?;
        scores.reads_responses().with_context(|| format!("the process model `{}`", path.display()))?;
        if scores.model().tokenizer.hash() != tokenizer.hash() {
            bail!("the process model has another tokenizer than the model that writes; use models of one family");
        }
        check_steps(&folder, &args.segment.id(), Some(&args.segment))?;
        let values = ProcessModel::new(scores.model(), scores.card().clone())?.with_progress(None)?;
        Ok(Some(Self { scores, values }))
    }
}

impl<'a> Scorers<'a> {
    /// Refuses, before anything is searched, what would be refused for some row.
    pub fn check(&self, items: &[Item]) -> anyhow::Result<()> {
        if let Some(first) = items.first() {
            for name in self.args.scorers() {
                self.make(Some(name), first)?;
            }
            self.searched(first)?;
        }
        if self.args.scorers().any(|name| name == ScorerName::Chain) {
            for item in items {
                problem(item)?;
            }
        }
        Ok(())
    }

    /// What a search goes by for one row: --scorer, with what --also adds to it.
    pub fn searched(&self, item: &'a Item) -> anyhow::Result<Option<Box<dyn Scorer + 'a>>> {
        let Some(scorer) = self.make(self.args.scorer, item)? else { return Ok(None) };
        if self.args.also.is_empty() {
            return Ok(Some(scorer));
        }
        let mut parts = vec![(1.0, scorer)];
        for (name, weight) in &self.args.also {
            parts.extend(self.make(Some(*name), item)?.map(|scorer| (*weight, scorer)));
        }
        Ok(Some(Box::new(Sum(parts))))
    }

    /// The scorer `name` for one row.
    pub fn make(&self, name: Option<ScorerName>, item: &'a Item) -> anyhow::Result<Option<Box<dyn Scorer + 'a>>> {
        let Some(name) = name else { return Ok(None) };
        let scorer: Box<dyn Scorer + 'a> = match name {
            ScorerName::Answer => {
                let gold = item.gold.clone().context("the scorer `answer` needs the column `answer`")?;
                let gold = move |_: &Episode| -> Result<Gold, ProcessError> { Ok(gold.clone()) };
                Box::new(AnswerReward { checker: self.checker, gold })
            }
            ScorerName::Chain => Box::new(Chain(problem(item)?)),
            ScorerName::Logp => {
                if !self.model.capabilities().score {
                    bail!("the scorer `logp` reads given tokens, which this server cannot do; choose another --scorer");
                }
                Box::new(MeanLogp(self.model))
            }
            ScorerName::Keywords => {
                let words = &self.args.keywords;
                let coverage = if self.args.hard { Coverage::hard(words)? } else { Coverage::soft(words)? };
                Box::new(coverage.with_form(self.form()))
            }
            ScorerName::Forbidden => {
                // Checked as keywords are.
                Coverage::soft(&self.args.keywords)?;
                Box::new(Forbidden { words: self.args.keywords.clone(), form: self.form() })
            }
            ScorerName::Patterns => Box::new(ForbiddenPatterns::new(&self.args.patterns)?),
            ScorerName::LengthLimit => {
                let limit = self.args.target_length;
                Box::new(if self.args.hard { LengthLimit::hard(limit)? } else { LengthLimit::soft(limit)? })
            }
            ScorerName::Length => {
                let length = LengthTarget { target: self.args.target_length };
                length.score(&[])?;
                Box::new(length)
            }
            ScorerName::ThinkFormat => Box::new(ThinkFormat),
            ScorerName::Process => Box::new(Lent(&self.process()?.scores)),
            ScorerName::ProcessValue => Box::new(Lent(&self.process()?.values)),
            ScorerName::Reward => Box::new(Lent(self.reward.context("name a reward model with --reward")?)),
        };
        Ok(Some(scorer))
    }

    /// When two words are the same.
    fn form(&self) -> WordForm {
        if self.args.stems { WordForm::Stem } else { WordForm::Written }
    }

    fn process(&self) -> anyhow::Result<&'a Process> {
        self.process.context("name a process model with --process")
    }
}

/// A weighted sum of scorers of whole texts.
struct Sum<'a>(Vec<(f32, Box<dyn Scorer + 'a>)>);

impl Scorer for Sum<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Weighted(self.0.iter().map(|(weight, scorer)| (*weight, &**scorer as &dyn Scorer)).collect()).score(episodes)
    }
}

/// A model that scores for all rows.
struct Lent<'a>(&'a dyn Scorer);

impl Scorer for Lent<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        self.0.score(episodes)
    }
}

/// The problem in a prompt: from the first bracket to `%10`.
fn problem(item: &Item) -> anyhow::Result<Problem> {
    let text = item.text.as_deref().context("the scorer `chain` needs prompts that are texts")?;
    let end = text.find("%10").map(|at| at + 3);
    let written = text.find('(').zip(end).and_then(|(start, end)| text.get(start..end));
    let written = written.context("the scorer `chain` reads problems such as `((3+5)*2-4)%10`")?;
    Problem::parse(written).with_context(|| format!("the prompt `{text}`"))
}

/// Whether a solution in chain arithmetic is right so far, and right as a whole once it has ended.
struct Chain(Problem);

impl Chain {
    fn value(&self, text: &str, complete: bool) -> f32 {
        // A step that is not closed yet is not judged.
        let closed = text.rfind(';').map_or("", |end| &text[..=end]);
        let right = match complete {
            true => self.0.check(text).correct,
            false => self.0.check(closed).first_wrong.is_none(),
        };
        f32::from(u8::from(right))
    }
}

impl Scorer for Chain {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let one = |episode: &Episode| {
            let text = episode.response_text().unwrap_or_default();
            Credit::sequence(self.value(text, episode.complete))
        };
        Ok(episodes.iter().map(one).collect())
    }
}

/// The mean log-probability of the response.
struct MeanLogp<'a>(&'a dyn Policy);

impl Scorer for MeanLogp<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let given = |episode: &Episode| Continuation {
            prefix: Tokens::from(episode.prompt_tokens()),
            tokens: Tokens::from(episode.response_tokens()),
        };
        let given: Vec<Continuation> = episodes.iter().map(given).collect();
        let (logps, _) = self.0.score(&given)?;
        let one = |(episode, logps): (&Episode, Vec<f32>)| {
            let mean = Credit::over_response(episode, logps)?.to_sequence(episode, Reduce::Mean)?;
            Ok(Credit::sequence(mean))
        };
        episodes.iter().zip(logps).map(one).collect()
    }
}

/// Thinking and answer in their tags.
struct ThinkFormat;

impl Scorer for ThinkFormat {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let one = |episode: &Episode| Credit::sequence(think_format(episode.response_text().unwrap_or_default()));
        Ok(episodes.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_right_so_far_or_as_a_whole() {
        let chain = Chain(Problem::parse("((3+5)*2-4)%10").unwrap());
        let so_far = ["", "3+", "3+5=8;", "3+5=8;8*", "3+5=7;", "3+5=7;7*2"].map(|text| chain.value(text, false));
        assert_eq!(so_far, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        let whole = ["3+5=8;8*2=6;6-4=2;", "3+5=8;8*2=6;", "3+5=8;8*2=6;6-4=3;"].map(|text| chain.value(text, true));
        assert_eq!(whole, [1.0, 0.0, 0.0]);
    }
}
