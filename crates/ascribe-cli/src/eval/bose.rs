//! BOSE: rows with a `question`. With `choices` and the right `answer` (its index from 0, or its text) the question has
//! a blank `____`, and the choice that makes it least perplexing counts; without, the model answers after `--examples`,
//! and the first line of its answer counts.

use anyhow::{Context, bail};
use ascribe::core::Tokens;
use ascribe::eval::protocol::{BlankItem, Example, blank_credits, light_prompt, same_answer, split_blank};
use serde_json::Value;

use super::model::{Asked, each_row};
use crate::args::BoseArgs;
use crate::findings::{Finding, Findings};
use crate::records::{Record, Records};

pub fn run(args: &BoseArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let choices = records.has("choices");
    let (unused, form) = if choices { (of_open(args), "with choices") } else { (of_choices(args), "without choices") };
    if let Some(option) = unused {
        bail!("{option} says nothing about questions {form}; leave it out");
    }
    let Some(asked) = Asked::load(&args.model)? else {
        bail!("there is nobody to ask; give --model");
    };
    let (credits, form) = if choices {
        (blanks(args, &asked, &records)?, "blank perplexity")
    } else {
        (open(args, &asked, &records)?, "light instruction")
    };
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let accuracy = bootstrap.mean(&credits)?;
    Findings::new("bose")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .fact("form", form)
        .with(Finding::of("accuracy", &accuracy))
        .show(args.measure.json, args.file.report.as_deref())
}

/// An option that was given and that only open questions use.
fn of_open(args: &BoseArgs) -> Option<&'static str> {
    let given = [
        (args.examples.is_some(), "--examples"),
        (args.instruction.is_some(), "--instruction"),
        (args.max_new_tokens.is_some(), "--max-new-tokens"),
    ];
    given.into_iter().find_map(|(given, option)| given.then_some(option))
}

/// The same of questions with choices.
fn of_choices(args: &BoseArgs) -> Option<&'static str> {
    args.following.then_some("--following")
}

fn blanks(args: &BoseArgs, asked: &Asked, records: &Records) -> anyhow::Result<Vec<f64>> {
    let ask = |row: &Record| -> anyhow::Result<BlankItem> {
        let (statement, choices) = (records.text(row, "question")?, records.list(row, "choices")?);
        let (before, behind) =
            split_blank(statement).context("`question` needs a blank for its choices; write it as ____")?;
        // The space before the blank belongs to the word that fills it.
        let space = if before.ends_with(' ') { " " } else { "" };
        let (mut texts, mut candidates) = (Vec::new(), Vec::new());
        for choice in choices {
            let text = choice.as_str().context("`choices` must be a list of strings")?;
            candidates.push(asked.part(&format!("{space}{text}"))?);
            texts.push(text);
        }
        let gold = gold(records, row, &texts)?;
        let following = if args.following { asked.part(behind)? } else { Tokens::default() };
        let before: Tokens = asked.model.tokenizer.encode_with_special(before.trim_end_matches(' '))?.into();
        let longest = candidates.iter().map(|candidate| candidate.len()).max().unwrap_or(0);
        asked.fits(before.len() + longest + following.len())?;
        Ok(BlankItem { before, candidates, following, gold })
    };
    each_row(records, "ask", ask, |items| Ok(blank_credits(&asked.model.policy, items)?))
}

/// The index of the right choice.
fn gold(records: &Records, row: &Record, choices: &[&str]) -> anyhow::Result<usize> {
    let value = records.value(row, "answer")?;
    let found = match value {
        Value::Number(number) => number.as_u64().map(|index| index as usize).filter(|index| *index < choices.len()),
        Value::String(text) => choices.iter().position(|choice| choice == text),
        _ => None,
    };
    found.ok_or_else(|| records.wrong(row, "answer", "the index of a choice from 0, or its text", value))
}

fn open(args: &BoseArgs, asked: &Asked, records: &Records) -> anyhow::Result<Vec<f64>> {
    let examples: Vec<Example> = match &args.examples {
        Some(path) => {
            let shown = Records::read(path)?;
            let (questions, answers) =
                (shown.every("question", Records::label)?, shown.every("answer", Records::label)?);
            questions.into_iter().zip(answers).map(|(question, answer)| Example { question, answer }).collect()
        }
        None => Vec::new(),
    };
    let instruction = args.instruction.as_deref().unwrap_or("Answer the question briefly.");
    let ask = |row: &Record| -> anyhow::Result<(Tokens, String)> {
        let prefix = asked.short_prompt(&light_prompt(instruction, &examples, records.text(row, "question")?))?;
        Ok((prefix, records.label(row, "answer")?))
    };
    each_row(records, "ask", ask, |batch| {
        let (prompts, answers): (Vec<Tokens>, Vec<&String>) =
            batch.iter().map(|(prefix, answer)| (prefix.clone(), answer)).unzip();
        let texts = asked.write(&prompts, args.max_new_tokens.unwrap_or(32), args.measure.seed)?;
        let right = |(text, answer): (&String, &String)| if same_answer(text, answer) { 1.0 } else { 0.0 };
        let credits: Vec<f64> = texts.iter().zip(answers).map(right).collect();
        Ok(credits)
    })
}
