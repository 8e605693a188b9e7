//! `ascribe score --process`: scores of the steps of given completions, and of each completion by those of its steps.
//!
//! With `--implicit` they come from the log-ratios of a policy that was trained on outcomes and its reference:
//! `step_rewards`, what each step adds; `step_scores`, the logistic function of their sum so far. With `--replies` they are how
//! likely a language model replies to each step that it is right. A model that was trained by `ascribe train p-ik` reads the prompts
//! alone and says `p_ik`, how likely they are answered rightly.

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{Continuation, Policy, Reduce, Tokens};
use ascribe::data::{Message, Prompt, Rows};
use ascribe::lm::{ChatTemplate, FrozenModel, Row, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::process::credit::{ImplicitForm, ImplicitProcess, StepTurn, StepView, judged, reply_scores};
use ascribe::process::model::{CARD, ProcessCard, ProcessKind, ProcessModel};
use ascribe::process::steps::given_steps;
use ascribe::process::{Aggregate, Segmenter, Tokenized};
use serde_json::{Map, Value, json};

use crate::args::ScoreArgs;
use crate::device::device;
use crate::generate::frozen;
use crate::hub::resolve;
use crate::output::{Progress, print_line};
use crate::score::{messages_of, next_batch, place};
use crate::train::process::{joined, separator_of};

/// How the steps that the process model in `folder` learned are cut; `None` for models that learned every token, and for cards
/// that say nothing of steps: they take any.
fn learned_steps(folder: &Path) -> anyhow::Result<Option<Segmenter>> {
    let Some(card) = ProcessCard::read(folder)? else { return Ok(None) };
    let written: Value = serde_json::from_str(&std::fs::read_to_string(folder.join(CARD))?)?;
    let of_steps = matches!(card.kind, ProcessKind::Prm | ProcessKind::Pav) && written.get("segmenter").is_some();
    Ok(of_steps.then_some(card.segmenter))
}

/// Refuses steps that end elsewhere than those that the process model in `folder` learned. `asked` is what was asked for, and `cut`
/// the segmenter that it is; `None` where no segmenter cuts so.
pub fn check_steps(folder: &Path, asked: &str, cut: Option<&Segmenter>) -> anyhow::Result<()> {
    match learned_steps(folder)? {
        Some(learned) if cut != Some(&learned) => bail!(
            "segment must cut where the steps of the process model `{}` end, by {}, got {asked}; change --segment, or name a \
             model that learned such steps",
            folder.display(),
            learned.id()
        ),
        _ => Ok(()),
    }
}

pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let path = args.process.as_deref().context("name a process model with --process")?;
    if args.adapter.is_some() || !args.served.endpoints.is_empty() {
        bail!("adapter and endpoint belong to log-probabilities; with --process name the folder of an adapter itself");
    }
    let replies = !args.replies.is_empty();
    let idle = [("beta", args.implicit), ("weights", args.implicit || replies)];
    if let Some((name, _)) = idle.into_iter().find(|(name, taken)| !taken && args.given.has(name)) {
        bail!("{name} belongs to log-ratios; with --process add --implicit, or drop it");
    }
    let judge = Judge::open(args, path)?;
    // A broken line anywhere refuses the whole file, before the first line is written.
    let mut total = 0;
    for row in Rows::open(&args.input)? {
        let (number, row) = row?;
        judge.read(&row).with_context(|| place(&args.input, number))?;
        total += 1;
    }
    let mut rows = Rows::open(&args.input)?;
    let mut progress = Progress::new("score", total);
    let (mut done, mut steps) = (0_usize, 0_usize);
    loop {
        let batch = next_batch(&mut rows, done, total)?;
        if batch.is_empty() {
            drop(progress);
            // One step each would be no scores of steps.
            if steps > 0 {
                eprintln!("{:.2} steps a response in the mean", steps as f64 / done as f64);
            }
            return Ok(());
        }
        let given = batch.iter().map(|(_, row)| judge.read(row)).collect::<anyhow::Result<Vec<Given>>>()?;
        let said = judge.say(&given)?;
        done += batch.len();
        steps += given.iter().map(|one| one.steps.len()).sum::<usize>();
        for (((_, mut row), given), said) in batch.into_iter().zip(given).zip(said) {
            if !given.was_cut {
                row.insert("steps".into(), json!(given.steps));
            }
            row.extend(said);
            print_line(&Value::Object(row).to_string())?;
        }
        progress.at(done);
    }
}

/// One response as tokens, in steps.
struct Given {
    prompt: Tokens,
    response: Vec<u32>,
    /// Where each step ends in tokens of the response.
    ends: Vec<usize>,
    /// The texts of the steps.
    steps: Vec<String>,
    /// Whether the row had them apart.
    was_cut: bool,
    /// What is asked about each step, where a model replies.
    turns: Vec<StepTurn>,
    /// What is shown of each step, where it is not the response so far.
    views: Vec<Vec<u32>>,
}

/// What scores, and where steps end.
struct Judge {
    scores: Scores,
    segmenter: Segmenter,
}

enum Scores {
    Model {
        values: Box<ProcessModel>,
        /// Scores by progress, where the card says so.
        progress: Option<Box<ProcessModel>>,
        aggregate: Aggregate,
        /// What it is shown of the steps.
        view: StepView,
        /// The cut that rows must have whose column `segmentation` tells theirs.
        cut: Option<String>,
    },
    /// Reads questions alone.
    Questions(Box<ProcessModel>),
    Implicit {
        policy: Box<FrozenModel>,
        reference: Option<Box<FrozenModel>>,
        beta: f64,
        reduce: Reduce,
    },
    /// A language model that replies to steps.
    Replies {
        policy: Box<FrozenModel>,
        /// What says right, and what says wrong.
        words: [String; 2],
        aggregate: Aggregate,
    },
}

impl Judge {
    fn open(args: &ScoreArgs, path: &Path) -> anyhow::Result<Self> {
        if args.view.is_some() && (args.implicit || !args.replies.is_empty()) {
            bail!(
                "view is what a process model with a head of its own is shown; drop it with --implicit and --replies"
            );
        }
        let device = device(&args.common.device)?;
        eprintln!("loading {}", path.display());
        if args.implicit {
            let policy = frozen(path, None, args.weights, &device)?;
            let reference =
                args.reference.as_deref().map(|path| frozen(path, None, args.weights, &device)).transpose()?;
            if reference.as_ref().is_some_and(|other| !same_words(&policy, other)) {
                bail!("the reference has another tokenizer or chat template than the policy; use models of one family");
            }
            if reference.is_none() {
                eprintln!("without --reference, steps are scored by the log-probabilities of the policy alone");
            }
            let reduce = match &args.aggregate {
                None => Reduce::Min,
                Some(name) => serde_json::from_value(json!(name)).with_context(|| {
                    format!("--aggregate of implicit scores is sum, mean, min, max, prod or last, got `{name}`")
                })?,
            };
            let segmenter = args.steps.clone().unwrap_or(ProcessCard::default().segmenter);
            let (policy, reference) = (Box::new(policy), reference.map(Box::new));
            let scores = Scores::Implicit { policy, reference, beta: args.beta, reduce };
            return Ok(Self { scores, segmenter });
        }
        if args.reference.is_some() {
            bail!("reference belongs to log-ratios; with --process add --implicit, or drop it");
        }
        let named = |usual: Aggregate| args.aggregate.as_deref().map_or(Ok(usual), str::parse::<Aggregate>);
        if let [right, wrong] = args.replies.as_slice() {
            let usual = ProcessCard::default();
            let scores = Scores::Replies {
                policy: Box::new(frozen(path, None, args.weights, &device)?),
                words: [right.clone(), wrong.clone()],
                aggregate: named(usual.aggregate)?,
            };
            return Ok(Self { scores, segmenter: args.steps.clone().unwrap_or(usual.segmenter) });
        }
        let folder = resolve(path)?;
        let model =
            ProcessModel::load(&folder, &device).with_context(|| format!("the process model `{}`", path.display()))?;
        let card = model.card().clone();
        if card.kind == ProcessKind::PIk {
            if args.steps.is_some() || args.aggregate.is_some() || args.view.is_some() {
                bail!("steps, view and aggregate do nothing with a model of questions, which have no steps; drop them");
            }
            return Ok(Self { scores: Scores::Questions(Box::new(model)), segmenter: card.segmenter });
        }
        let aggregate = named(card.aggregate)?;
        let segmenter = args.steps.clone().unwrap_or_else(|| card.segmenter.clone());
        let values = Box::new(ProcessModel::new(model.model(), ProcessCard { progress: None, ..card.clone() })?);
        let progress = card.progress.is_some().then(|| Box::new(model));
        let view = args.view.unwrap_or(StepView::FullContext);
        if progress.is_some() && view != StepView::FullContext {
            bail!(
                "a view shows each step by itself, and progress is from step to step; drop view, or name a model of prm or orm"
            );
        }
        let cut = args.steps.clone().or(learned_steps(&folder)?).map(|steps| steps.id());
        Ok(Self { scores: Scores::Model { values, progress, aggregate, view, cut }, segmenter })
    }

    /// What turns text into ids, and how many the model reads.
    fn words(&self) -> (&Tokenizer, Option<&ChatTemplate>, usize) {
        match &self.scores {
            Scores::Model { values, .. } | Scores::Questions(values) => {
                let model = values.model();
                (&model.tokenizer, model.template.as_ref(), model.config.context)
            }
            Scores::Implicit { policy, .. } | Scores::Replies { policy, .. } => {
                (&policy.tokenizer, policy.template.as_ref(), policy.config.context)
            }
        }
    }

    /// What a row holds, cut into steps.
    fn read(&self, row: &Map<String, Value>) -> anyhow::Result<Given> {
        let (tokenizer, template, context) = self.words();
        let encoder = Encoder::from_parts(tokenizer, template, context)?;
        if matches!(self.scores, Scores::Questions(_)) {
            let prompt = encoder.prompt(&question(row)?)?;
            if prompt.len() > context {
                bail!(
                    "{} tokens do not fit the context of {context}; shorten the prompt, or drop the row",
                    prompt.len()
                );
            }
            let (ends, steps, turns, views) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            return Ok(Given { prompt, response: Vec::new(), ends, steps, was_cut: true, turns, views });
        }
        if let (Scores::Model { cut: Some(cut), .. }, Some(Value::String(got))) =
            (&self.scores, row.get("segmentation"))
            && got != cut
        {
            bail!(
                "the steps of the row were cut by {got}, and here they are to end by {cut}; cut them alike, or say with --steps \
                 how they were cut"
            );
        }
        let (question, written) = Written::of(row)?;
        let prompt = encoder.prompt(&question)?;
        let (text, cut) = match &written {
            Written::Whole(text) => (text.clone(), None),
            Written::Steps(steps) => {
                let (text, ends) = joined(steps, separator_of(&self.segmenter));
                (text, Some(ends))
            }
        };
        let (response, offsets) = tokenizer.encode_spans(&text)?;
        let tokenized = Tokenized { text: &text, ids: &response, offsets: &offsets };
        let steps = match &cut {
            Some(ends) => given_steps(&tokenized, ends)?,
            None => self.segmenter.segment(&tokenized)?,
        };
        let tokens = prompt.len() + response.len();
        if tokens > context {
            bail!("{tokens} tokens do not fit the context of {context}; shorten the prompt, or drop the row");
        }
        let ends = steps.iter().map(|step| step.tokens.end).collect();
        let steps: Vec<String> = steps.iter().map(|step| text[step.bytes.clone()].to_owned()).collect();
        let turns = match &self.scores {
            Scores::Replies { words, .. } => asked_of(&encoder, &question, &steps, words)?,
            _ => Vec::new(),
        };
        if let Some(longest) = turns.iter().map(|turn| turn.prefix.len() + 1).max().filter(|longest| *longest > context)
        {
            bail!("{longest} tokens of turns do not fit the context of {context}; shorten the prompt, or drop the row");
        }
        let views = match &self.scores {
            Scores::Model { view, .. } if *view != StepView::FullContext => shown(tokenizer, &steps, *view)?,
            _ => Vec::new(),
        };
        if let Some(longest) = views.iter().map(Vec::len).max().filter(|longest| prompt.len() + longest > context) {
            bail!(
                "{} tokens with a view do not fit the context of {context}; shorten the prompt, or drop the row",
                prompt.len() + longest
            );
        }
        Ok(Given { prompt, response, ends, steps, was_cut: cut.is_some(), turns, views })
    }

    /// What is said of each response.
    fn say(&self, given: &[Given]) -> anyhow::Result<Vec<Map<String, Value>>> {
        let ends: Vec<Vec<usize>> = given.iter().map(|one| one.ends.clone()).collect();
        match &self.scores {
            Scores::Model { values, aggregate, view, .. } if *view != StepView::FullContext => {
                let rows: Vec<Row> = given
                    .iter()
                    .flat_map(|one| one.views.iter().map(move |view| Row { prompt: &one.prompt, response: view }))
                    .collect();
                let whole: Vec<Vec<usize>> = rows.iter().map(|row| vec![row.response.len()]).collect();
                let mut scores = values.steps(&rows, &whole)?.into_iter().flatten();
                let mut said = Vec::with_capacity(given.len());
                for one in given {
                    let scores: Vec<f64> = scores.by_ref().take(one.views.len()).collect();
                    let whole = aggregate.of(&scores)?;
                    said.push(columns([("step_scores", json!(scores)), ("score", json!(whole))]));
                }
                Ok(said)
            }
            Scores::Model { values, progress, aggregate, .. } => {
                let rows: Vec<Row> =
                    given.iter().map(|one| Row { prompt: &one.prompt, response: &one.response }).collect();
                let mut said = Vec::with_capacity(given.len());
                for scores in values.steps(&rows, &ends)? {
                    let whole = aggregate.of(&scores)?;
                    said.push(columns([("step_scores", json!(scores)), ("score", json!(whole))]));
                }
                if let Some(progress) = progress {
                    for (said, effective) in said.iter_mut().zip(progress.steps(&rows, &ends)?) {
                        said.insert("step_progress".to_owned(), json!(effective));
                    }
                }
                Ok(said)
            }
            Scores::Questions(model) => {
                let questions: Vec<&[u32]> = given.iter().map(|one| &*one.prompt).collect();
                Ok(model.knows(&questions)?.into_iter().map(|p| columns([("p_ik", json!(p))])).collect())
            }
            Scores::Replies { policy, aggregate, .. } => {
                let turns: Vec<StepTurn> = given.iter().flat_map(|one| one.turns.iter().cloned()).collect();
                let mut scores = reply_scores(&policy.policy, &turns)?.into_iter();
                let mut said = Vec::with_capacity(given.len());
                for one in given {
                    let scores: Vec<f64> = scores.by_ref().take(one.turns.len()).collect();
                    let whole = aggregate.of(&scores)?;
                    said.push(columns([("step_scores", json!(scores)), ("score", json!(whole))]));
                }
                Ok(said)
            }
            Scores::Implicit { policy, reference, beta, reduce } => {
                let texts: Vec<Continuation> = given
                    .iter()
                    .map(|one| Continuation { prefix: one.prompt.clone(), tokens: one.response.as_slice().into() })
                    .collect();
                let reference = reference.as_ref().map(|reference| &reference.policy as &dyn Policy);
                let form = ImplicitForm::Single;
                let scorer = ImplicitProcess { policy: &policy.policy, reference, beta: *beta, form };
                let mut said = Vec::with_capacity(given.len());
                for rewards in scorer.steps(&texts, &ends)? {
                    let narrow: Vec<f32> = rewards.iter().map(|reward| *reward as f32).collect();
                    let whole = reduce.of(&narrow).context("a response needs at least one step")?;
                    let mut sum = 0.0;
                    let so_far = rewards.iter().map(|reward| {
                        sum += reward;
                        1.0 / (1.0 + f64::exp(-sum))
                    });
                    let so_far: Vec<f64> = so_far.collect();
                    said.push(columns([
                        ("step_rewards", json!(rewards)),
                        ("step_scores", json!(so_far)),
                        ("score", json!(whole)),
                    ]));
                }
                Ok(said)
            }
        }
    }
}

fn columns<const N: usize>(cells: [(&str, Value); N]) -> Map<String, Value> {
    cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a model is shown when it judges each step, as ids.
fn shown(tokenizer: &Tokenizer, steps: &[String], view: StepView) -> anyhow::Result<Vec<Vec<u32>>> {
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let mut views = Vec::with_capacity(steps.len());
    for at in 0..steps.len() {
        let text = judged(&steps, at, view).context("a step that is not there")?;
        views.push(tokenizer.encode(&text)?);
    }
    Ok(views)
}

/// What a model reads before it replies to each step: the question with the first step, and a turn for each of the others, behind
/// the word that says right. Blanks around steps are left out, as the template writes what separates turns.
fn asked_of(
    encoder: &Encoder,
    question: &Prompt,
    steps: &[String],
    [right, wrong]: &[String; 2],
) -> anyhow::Result<Vec<StepTurn>> {
    let mut messages = match question {
        Prompt::Text(text) => vec![Message::new("user", text.as_str())],
        Prompt::Messages(messages) => messages.clone(),
    };
    let mut turns = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        match messages.last_mut() {
            Some(last) if at == 0 && last.role == "user" => {
                last.content = format!("{}\n\n{}", last.content, step.trim())
            }
            _ => messages.push(Message::new("user", step.trim())),
        }
        let (prefix, replies) = encoder.parts(&Prompt::Messages(messages.clone()), &[right, wrong])?;
        let [first, second] = replies.as_slice() else { bail!("a step needs two replies; name both words") };
        let shared = first.iter().zip(second.iter()).take_while(|(a, b)| a == b).count();
        let (Some(&right_id), Some(&wrong_id)) = (first.get(shared), second.get(shared)) else {
            bail!(
                "replies must be two words that this model tells apart, and `{right}` and `{wrong}` are the same to it"
            );
        };
        turns.push(StepTurn { prefix: prefix.followed_by(&first[..shared]), right: right_id, wrong: wrong_id });
        messages.push(Message::new("assistant", right.as_str()));
    }
    Ok(turns)
}

/// True if both give the same ids for every conversation.
fn same_words(model: &FrozenModel, other: &FrozenModel) -> bool {
    let template = |model: &FrozenModel| model.template.as_ref().map(ChatTemplate::hash);
    model.tokenizer.hash() == other.tokenizer.hash() && template(model) == template(other)
}

/// A response as a row has it.
enum Written {
    Whole(String),
    Steps(Vec<String>),
}

impl Written {
    /// The response of a row, and its prompt: under our names, ProcessBench's or PRMBench's.
    fn of(row: &Map<String, Value>) -> anyhow::Result<(Prompt, Self)> {
        if let Some(messages) = row.get("messages") {
            let mut messages = messages_of(messages)?;
            let reply = messages
                .pop_if(|message| message.role == "assistant")
                .context("the last message must be the assistant's")?;
            return Ok((Prompt::Messages(messages), Self::Whole(reply.content)));
        }
        let prompt = asked(row)?.ok_or_else(|| missing(row))?;
        if let Some(Value::String(text)) = row.get("completion") {
            return Ok((prompt, Self::Whole(text.clone())));
        }
        let Some(steps) = first_of(row, &["completions", "steps", "modified_process"]) else {
            return Err(missing(row));
        };
        let steps: Vec<String> =
            serde_json::from_value(steps.clone()).context("the steps of a response must be a list of texts")?;
        Ok((prompt, Self::Steps(steps)))
    }
}

/// What a row asks, under our name, ProcessBench's or PRMBench's.
fn asked(row: &Map<String, Value>) -> anyhow::Result<Option<Prompt>> {
    Ok(match first_of(row, &["prompt", "problem", "modified_question", "original_question", "question"]) {
        Some(Value::String(text)) => Some(Prompt::Text(text.clone())),
        Some(messages) => Some(Prompt::Messages(messages_of(messages)?)),
        None => None,
    })
}

/// What a row asks; of a conversation what stands before the last reply.
fn question(row: &Map<String, Value>) -> anyhow::Result<Prompt> {
    if let Some(messages) = row.get("messages") {
        let mut messages = messages_of(messages)?;
        messages.pop_if(|message| message.role == "assistant");
        return Ok(Prompt::Messages(messages));
    }
    let found: Vec<&str> = row.keys().map(String::as_str).collect();
    asked(row)?.with_context(|| format!("a row needs `prompt`, `question` or `messages`; it has {}", found.join(", ")))
}

/// What stands in the first of these columns that holds anything.
fn first_of<'a>(row: &'a Map<String, Value>, columns: &[&str]) -> Option<&'a Value> {
    columns.iter().find_map(|column| row.get(*column).filter(|value| !value.is_null()))
}

fn missing(row: &Map<String, Value>) -> anyhow::Error {
    let found: Vec<&str> = row.keys().map(String::as_str).collect();
    anyhow::anyhow!(
        "a row needs `prompt` (or `problem`) and `completion`, or its steps as `completions` or `steps`; or `messages`; it has {}",
        found.join(", ")
    )
}
