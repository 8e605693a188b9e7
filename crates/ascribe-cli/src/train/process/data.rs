//! From a file to the rows that a process model learns from.

use std::collections::HashMap;

use anyhow::{Context, bail};
use ascribe::core::{Seed, Tokens};
use ascribe::data::{
    ColumnMap, Loaded, Preference, PromptOnly, Record, Skipped, Split, Stepwise, Unpaired, Untaught, Why,
};
use ascribe::lm::Tokenizer;
use ascribe::preference::Encoder;
use ascribe::process::credit::TokenTrie;
use ascribe::process::label::{AfterError, after_first_error};
use ascribe::process::model::{
    OutcomeAt, ProcessCard, ProcessKind, ProcessLoss, ProcessRow, at_most, balanced, tagged,
};
use ascribe::process::steps::given_steps;
use ascribe::process::{Checker, ProcessError, Segmenter, Tokenized};
use serde_json::{Map, Value, json};

use crate::args::TrainArgs;
use crate::train::rows::{labelled, parts, say_skipped};

/// The records of a run, split by prompt.
pub(super) enum Data {
    Steps(Split<Stepwise>),
    /// Two steps behind one state.
    Pairs(Split<Preference>),
    Outcomes(Split<Unpaired>),
    /// Questions with their shares of right samples.
    Questions(Split<PromptOnly>),
}

/// The column of a question that says which share of its samples is right.
const SHARE: &str = "share";

/// Rows with labels.
pub(super) struct Rows {
    pub(super) train: Vec<ProcessRow>,
    pub(super) held_out: Vec<ProcessRow>,
}

/// What rows are made with.
struct Making<'a> {
    args: &'a TrainArgs,
    card: &'a ProcessCard,
    encoder: &'a Encoder<'a>,
    tokenizer: &'a Tokenizer,
    limit: usize,
}

/// Rows that were made, and what was left out or changed on the way.
#[derive(Default)]
struct Made {
    rows: Vec<ProcessRow>,
    skipped: Skipped,
    /// Rows that lost tokens to the limit.
    cut: usize,
    /// Steps of all rows, where these are cut into steps.
    steps: usize,
    /// Rows whose steps the segmenter of the card cuts otherwise.
    otherwise: usize,
}

impl Data {
    pub(super) fn load(args: &TrainArgs, card: &ProcessCard) -> anyhow::Result<Self> {
        let mut columns = args.columns.clone();
        let shares = look_ahead(args, card, &mut columns)?;
        let columns = ColumnMap::parse(&columns)?.with_neutral(args.process.neutral_steps);
        let fewest = args.process.min_samples.unwrap_or(1);
        Ok(match card.kind {
            ProcessKind::Prm if card.loss == ProcessLoss::Pairwise => {
                let split = parts(args, ascribe::data::load::<Preference>(&args.data, &columns)?)?;
                Self::Pairs(thinned(args, split, |_| true))
            }
            ProcessKind::Prm | ProcessKind::Pav => {
                let split = parts(args, ascribe::data::load::<Stepwise>(&args.data, &columns)?)?;
                let ends_right =
                    |row: &Stepwise| row.labels.iter().flatten().next_back().is_some_and(|label| *label >= 0.5);
                Self::Steps(thinned(args, split, ends_right))
            }
            ProcessKind::Orm | ProcessKind::Tvm => {
                let mut loaded = labelled(args, &columns)?;
                if args.process.cut_after_answer {
                    cut_behind_answers(&mut loaded.rows)?;
                }
                if card.kind == ProcessKind::Tvm {
                    check_samples(&loaded.rows, fewest)?;
                }
                let split = thinned(args, parts(args, loaded)?, |row: &Unpaired| row.label);
                let right = split.train.iter().filter(|row| row.label).count();
                if right == 0 || right == split.train.len() {
                    let kind = if right == 0 { "wrong" } else { "right" };
                    bail!("the responses to learn from are all {kind}, which teaches no difference; add others");
                }
                eprintln!("{right} of {} responses to learn from are right", split.train.len());
                Self::Outcomes(split)
            }
            ProcessKind::PIk => {
                let loaded = if shares { with_shares(args, &columns)? } else { counted(args, &columns, fewest)? };
                let split = parts(args, loaded)?;
                let shares: Vec<f64> = split.train.iter().map(share).collect::<anyhow::Result<_>>()?;
                if shares.windows(2).all(|pair| pair[0] == pair[1]) {
                    let all = shares.first().copied().unwrap_or_default();
                    bail!("the shares to learn from are all {all}, which teaches no difference; add other questions");
                }
                Self::Questions(split)
            }
        })
    }

    pub(super) fn encode(
        self,
        args: &TrainArgs,
        card: &ProcessCard,
        encoder: &Encoder,
        tokenizer: &Tokenizer,
        limit: usize,
    ) -> anyhow::Result<Rows> {
        let making = Making { args, card, encoder, tokenizer, limit };
        let (train, held_out) = match self {
            Self::Steps(Split { train, held_out, .. }) => (making.steps(train)?, making.steps(held_out)?),
            Self::Pairs(Split { train, held_out, .. }) => (making.pairs(train)?, making.pairs(held_out)?),
            Self::Questions(Split { train, held_out, .. }) => (making.questions(train)?, making.questions(held_out)?),
            Self::Outcomes(Split { train, held_out, .. }) if card.kind == ProcessKind::Tvm => {
                (making.tokens(train)?, making.tokens(held_out)?)
            }
            Self::Outcomes(Split { train, held_out, .. }) => (making.outcomes(train)?, making.outcomes(held_out)?),
        };
        let (mut train, held_out) = (making.say("training", train)?, making.say("held-out", held_out)?);
        if args.process.balance {
            let all = train.len();
            train = balanced(train, Seed(args.seed));
            eprintln!("{} of {all} rows are learned from, as many that end right as wrong", train.len());
        }
        Ok(Rows { train, held_out })
    }
}

/// Refuses a prompt with fewer responses, before some of them are held out or left out.
fn check_samples(rows: &[Unpaired], fewest: usize) -> anyhow::Result<()> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for row in rows {
        counts.entry(row.key()).or_insert((row.line, 0)).1 += 1;
    }
    if let Some((line, count)) = counts.into_values().filter(|(_, count)| *count < fewest).min() {
        bail!("the prompt of line {line} has {count} samples, and min_samples is {fewest}; add some, or lower it");
    }
    Ok(())
}

/// Leaves out what stands behind the answers that responses mark.
fn cut_behind_answers(rows: &mut [Unpaired]) -> anyhow::Result<()> {
    let checker = Checker::default();
    let (mut marked, mut cut) = (0, 0);
    for row in rows.iter_mut() {
        let Some(end) = checker.answer_end(&row.completion) else { continue };
        marked += 1;
        cut += usize::from(!row.completion[end..].trim().is_empty());
        row.completion.truncate(end);
    }
    if marked == 0 {
        bail!(
            "cut_after_answer looks for answers in a box, behind `####` or by words such as `the answer is`, and no response has one; \
             drop it"
        );
    }
    eprintln!("{marked} of {} responses mark their answer, and {cut} lose what stands behind it", rows.len());
    Ok(())
}

/// At most so many samples of each prompt to learn from, as many right as wrong ones as far as there are.
fn thinned<R: Record>(args: &TrainArgs, mut split: Split<R>, right: impl Fn(&R) -> bool) -> Split<R> {
    let Some(most) = args.process.max_samples_per_prompt else { return split };
    let mut known: HashMap<String, usize> = HashMap::new();
    let sample = |row: &R| {
        let next = known.len();
        (*known.entry(row.key()).or_insert(next), right(row))
    };
    let samples: Vec<(usize, bool)> = split.train.iter().map(sample).collect();
    let mut stays = vec![false; samples.len()];
    at_most(&samples, most, Seed(args.seed)).into_iter().for_each(|at| stays[at] = true);
    let mut stays = stays.into_iter();
    split.train.retain(|_| stays.next().unwrap_or(true));
    eprintln!("{} of {} rows are learned from, at most {most} to a prompt", split.train.len(), samples.len());
    split
}

/// Questions whose rows say the share.
fn with_shares(args: &TrainArgs, columns: &ColumnMap) -> anyhow::Result<Loaded<PromptOnly>> {
    if args.process.min_samples.is_some() {
        bail!("min_samples counts responses, and the rows have `{SHARE}` instead; drop it");
    }
    let loaded = ascribe::data::load::<PromptOnly>(&args.data, columns)?;
    for row in &loaded.rows {
        share(row)?;
    }
    Ok(loaded)
}

/// Questions with the share of the responses to each that is right.
fn counted(args: &TrainArgs, columns: &ColumnMap, fewest: usize) -> anyhow::Result<Loaded<PromptOnly>> {
    let Loaded { rows, skipped, notes } = labelled(args, columns)?;
    check_samples(&rows, fewest)?;
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut questions: Vec<(PromptOnly, usize, usize)> = Vec::new();
    for row in rows {
        let at = *known.entry(row.key()).or_insert(questions.len());
        if at == questions.len() {
            questions.push((PromptOnly { prompt: row.prompt, others: Map::new(), line: row.line }, 0, 0));
        }
        questions[at].1 += usize::from(row.label);
        questions[at].2 += 1;
    }
    let question = |(mut row, right, all): (PromptOnly, usize, usize)| {
        row.others.insert(SHARE.to_owned(), json!(right as f64 / all as f64));
        row
    };
    Ok(Loaded { rows: questions.into_iter().map(question).collect(), skipped, notes })
}

/// The share that the row of a question says.
fn share(row: &PromptOnly) -> anyhow::Result<f64> {
    let value = row.others.get(SHARE).unwrap_or(&Value::Null);
    // A cell of CSV is a text.
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|share| (0.0..=1.0).contains(share)).with_context(|| {
        format!("`{SHARE}` of line {} must be a number from 0 to 1, got {value}; correct it", row.line)
    })
}

/// Refuses labels of another segmentation before anything is read by it; `correct` is read where there is no `label`. Whether
/// rows are questions that say the share of their samples that is right.
fn look_ahead(args: &TrainArgs, card: &ProcessCard, columns: &mut Vec<String>) -> anyhow::Result<bool> {
    let outcomes = matches!(card.kind, ProcessKind::Orm | ProcessKind::Tvm | ProcessKind::PIk);
    for (at, row) in ascribe::data::Rows::open(&args.data)?.enumerate() {
        let (number, row) = row?;
        if at == 0 {
            if row.contains_key("ascribe_label") {
                let path = args.data.display();
                bail!(
                    "`{path}` is the work of ascribe label; make rows of it by ascribe label --merge {path} --output rows.jsonl"
                );
            }
            if outcomes
                && columns.is_empty()
                && row.contains_key("completion")
                && row.contains_key("correct")
                && !row.contains_key("label")
            {
                eprintln!("label is read from `correct`");
                columns.push("label=correct".to_owned());
            }
        }
        if outcomes {
            return Ok(card.kind == ProcessKind::PIk && row.contains_key(SHARE));
        }
        if let Some(Value::String(got)) = row.get("segmentation") {
            let expected = card.segmenter.id();
            if *got != expected {
                let error = ProcessError::Segmentation { expected, got: got.clone() };
                return Err(anyhow::Error::from(error).context(format!("{}, row {number}", args.data.display())));
            }
        }
    }
    Ok(false)
}

impl Making<'_> {
    fn steps(&self, records: Vec<Stepwise>) -> anyhow::Result<Made> {
        let starts = if self.card.kind == ProcessKind::Pav { starts(&records) } else { HashMap::new() };
        let separator = self.args.process.step_separator.as_deref().map(|text| text.replace("\\n", "\n"));
        let separator = separator.unwrap_or_else(|| separator_of(&self.card.segmenter).to_owned());
        let mut made = Made::default();
        for record in records {
            let prompt = self.encoder.prompt(&record.prompt)?;
            let (text, ends) = joined(&record.completions, &separator);
            let (ids, offsets) = self.tokenizer.encode_spans(&text)?;
            let response = Tokenized { text: &text, ids: &ids, offsets: &offsets };
            let Ok(steps) = given_steps(&response, &ends) else {
                // A step without a token of its own has no place for its label.
                made.skipped.push(Untaught { line: record.line, why: Why::StepLabels });
                continue;
            };
            made.otherwise += usize::from(self.card.segmenter.segment(&response)? != steps);
            let ends: Vec<usize> = steps.iter().map(|step| step.tokens.end).collect();
            made.steps += ends.len();
            let (ids, ends) = tagged(&ids, &ends, &self.card.tag);
            let labels = after_first_error(&record.labels, self.args.process.after_error.unwrap_or(AfterError::Keep));
            let mut row = ProcessRow::of_steps(prompt, ids.into(), &ends, &labels)?;
            if let Some(value) = starts.get(&record.key()) {
                row = row.with_start(*value)?;
            }
            self.keep(row, record.line, &mut made);
        }
        Ok(made)
    }

    fn pairs(&self, records: Vec<Preference>) -> anyhow::Result<Made> {
        let mut made = Made::default();
        for record in records {
            let [chosen, rejected] = [&record.chosen, &record.rejected].map(|text| self.response(text, record.line));
            let row = ProcessRow::of_pair(self.encoder.prompt(&record.prompt)?, chosen?, rejected?)?;
            self.keep(row, record.line, &mut made);
        }
        Ok(made)
    }

    fn questions(&self, records: Vec<PromptOnly>) -> anyhow::Result<Made> {
        let mut made = Made::default();
        for record in records {
            let row = ProcessRow::of_question(self.encoder.prompt(&record.prompt)?, share(&record)?)?;
            self.keep(row, record.line, &mut made);
        }
        Ok(made)
    }

    fn outcomes(&self, records: Vec<Unpaired>) -> anyhow::Result<Made> {
        let at = self.args.process.outcome_at.unwrap_or(OutcomeAt::Every);
        let mut made = Made::default();
        for record in records {
            let (prompt, response) = self.ids(&record)?;
            let row = ProcessRow::of_outcome(prompt, response, record.label, at)?;
            self.keep(row, record.line, &mut made);
        }
        Ok(made)
    }

    /// Targets are counted over the responses to a prompt.
    fn tokens(&self, records: Vec<Unpaired>) -> anyhow::Result<Made> {
        let mut prompts: Vec<Vec<(Unpaired, Tokens, Tokens)>> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for record in records {
            let (prompt, response) = self.ids(&record)?;
            let at = *known.entry(record.key()).or_insert(prompts.len());
            if at == prompts.len() {
                prompts.push(Vec::new());
            }
            prompts[at].push((record, prompt, response));
        }
        let (mut made, mut shared, mut all) = (Made::default(), 0.0, 0.0);
        for group in prompts {
            let samples: Vec<(Tokens, bool)> =
                group.iter().map(|(record, _, response)| (response.clone(), record.label)).collect();
            let trie = TokenTrie::new(&samples, 1)?;
            let tokens = samples.iter().map(|(response, _)| response.len()).sum::<usize>() as f64;
            (shared, all) = (shared + trie.shared() * tokens, all + tokens);
            for (sample, (record, prompt, response)) in group.into_iter().enumerate() {
                let row = ProcessRow::of_tokens(prompt, response, &trie.targets(sample))?;
                self.keep(row, record.line, &mut made);
            }
        }
        if all > 0.0 {
            eprintln!(
                "{:.1} % of tokens have a prefix that another response to the prompt has, too",
                100.0 * shared / all
            );
        }
        Ok(made)
    }

    /// Ids of prompt and response.
    fn ids(&self, record: &Unpaired) -> anyhow::Result<(Tokens, Tokens)> {
        let response = self.response(&record.completion, record.line)?;
        Ok((self.encoder.prompt(&record.prompt)?, response))
    }

    /// Ids of a response, which is not ended: its score is read at its last token of text.
    fn response(&self, text: &str, line: usize) -> anyhow::Result<Tokens> {
        let response = self.tokenizer.encode(text)?;
        if response.is_empty() {
            bail!("the completion of line {line} has no token of this model; drop it");
        }
        Ok(response.into())
    }

    fn keep(&self, row: ProcessRow, line: usize, made: &mut Made) {
        let long = row.prompt.len() + row.response.len().max(row.sibling.len()) > self.limit;
        match row.truncated(self.limit) {
            Some(row) => {
                made.cut += usize::from(long);
                made.rows.push(ProcessRow { line, ..row });
            }
            None => made.skipped.push(Untaught { line, why: Why::NoTokenLeft }),
        }
    }

    /// Says what was left out and cut.
    fn say(&self, what: &str, made: Made) -> anyhow::Result<Vec<ProcessRow>> {
        let Made { rows, skipped, cut, steps, otherwise } = made;
        say_skipped(self.args, &skipped, rows.len())?;
        if cut > 0 {
            eprintln!(
                "max_length {}: {cut} of {} {what} rows cut, the prompt on the left first",
                self.limit,
                rows.len()
            );
        }
        if steps > 0 && !rows.is_empty() {
            eprintln!("{:.2} steps a response in the mean of {what} rows", steps as f64 / rows.len() as f64);
        }
        if otherwise > 0 {
            eprintln!(
                "warning: the steps of {otherwise} {what} rows are not those of {}, by which responses are cut when they are \
                 scored; say with --steps where they end",
                self.card.segmenter.id()
            );
        }
        Ok(rows)
    }
}

/// The value of each prompt: the mean of the labels of the first steps of its responses.
fn starts(records: &[Stepwise]) -> HashMap<String, f64> {
    let mut firsts: HashMap<String, Vec<f64>> = HashMap::new();
    for record in records {
        if let Some(Some(label)) = record.labels.first() {
            firsts.entry(record.key()).or_default().push(f64::from(*label));
        }
    }
    let mean = |labels: Vec<f64>| labels.iter().sum::<f64>() / labels.len() as f64;
    firsts.into_iter().map(|(prompt, labels)| (prompt, mean(labels))).collect()
}

/// What stands behind a step that has nothing behind it.
pub(crate) fn separator_of(segmenter: &Segmenter) -> &str {
    match segmenter {
        Segmenter::Delimiter(delimiter) => delimiter,
        Segmenter::Headers => "\n",
        Segmenter::Sentences => " ",
        _ => "",
    }
}

/// Steps as one text, and where each ends in it, in bytes.
pub(crate) fn joined(steps: &[String], separator: &str) -> (String, Vec<usize>) {
    let (mut text, mut ends) = (String::new(), Vec::with_capacity(steps.len()));
    for (at, step) in steps.iter().enumerate() {
        text.push_str(step);
        if at + 1 < steps.len() && !step.ends_with(separator) {
            text.push_str(separator);
        }
        ends.push(text.len());
    }
    (text, ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_joined_by_what_is_missing() {
        let joined = |steps: &[&str], separator: &str| {
            let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
            super::joined(&steps, separator)
        };
        assert_eq!(joined(&["a", "b\n", "c"], "\n"), ("a\nb\nc".to_owned(), vec![2, 4, 5]));
        assert_eq!(joined(&["a;", "b;"], ";"), ("a;b;".to_owned(), vec![2, 4]));
        assert_eq!(joined(&["a", "b"], ""), ("ab".to_owned(), vec![1, 2]));
        assert_eq!(separator_of(&Segmenter::Delimiter(";".into())), ";");
    }

    #[test]
    fn the_value_of_a_prompt_is_the_mean_of_its_first_labels() {
        let record = |prompt: &str, labels: &[Option<f32>]| Stepwise {
            prompt: ascribe::data::Prompt::Text(prompt.to_owned()),
            completions: labels.iter().map(|_| "a".to_owned()).collect(),
            labels: labels.to_vec(),
            line: 1,
        };
        let records =
            [record("q", &[Some(0.5), Some(1.0)]), record("q", &[Some(0.25), None]), record("r", &[None, Some(1.0)])];
        let starts = starts(&records);
        assert_eq!(starts.get(&records[0].key()), Some(&0.375));
        assert_eq!(starts.len(), 1);
    }
}
