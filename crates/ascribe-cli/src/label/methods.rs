//! What each method makes of one item.

use anyhow::Context;
use ascribe::core::{Seed, Tokens};
use ascribe::data::{Message, Prompt};
use ascribe::lm::FrozenModel;
use ascribe::preference::Encoder;
use ascribe::process::ProcessError;
use ascribe::process::label::{
    Asked, Completer, EvolveConfig, Imitate, MctsConfig, MonteCarlo, OmegaConfig, PathLabels, Question, Refinement,
    Softness, Solution, StepLabels, StepPair, global_refinements, imitated, local_refinements, path_labels,
    sorm_labels, targets, traces, uses_results,
};
use serde_json::{Value, json};

use super::Item;
use super::texts::Texts;
use crate::args::{LabelArgs, LabelMethod, RowsName};

/// What the model is told before its second attempt.
const REVISE: &str = "There might be an error in the solution above. Please correct the error, if any, and give the \
                      whole solution again.";

/// What stands before the first bad step of a draft.
const MARK: &str = "[BAD]";

/// What was made for one item.
pub struct Labelled {
    pub rows: Vec<Value>,
    /// Why it ended: `done`, or what cut it short.
    pub ended: String,
}

impl Labelled {
    fn new(rows: Vec<Value>, exhausted: bool) -> Self {
        Self { rows, ended: if exhausted { "exhausted".to_owned() } else { "done".to_owned() } }
    }
}

/// Whether a continuation uses the results of its prefix, in words.
pub fn consistent(texts: &Texts) -> impl Fn(u64, &[u32], &[u32]) -> bool + Send + Sync {
    move |_: u64, prefix: &[u32], continuation: &[u32]| match (texts.text(prefix), texts.text(continuation)) {
        (Ok(prefix), Ok(continuation)) => uses_results(&prefix, &continuation),
        _ => false,
    }
}

/// One item by one method.
#[allow(clippy::too_many_arguments)]
pub fn label(
    args: &LabelArgs,
    method: LabelMethod,
    kind: RowsName,
    problem: u64,
    item: &Item,
    texts: &Texts,
    model: &FrozenModel,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    match method {
        LabelMethod::MonteCarlo | LabelMethod::Sorm => given(args, method, problem, item, texts, completer),
        LabelMethod::Omega => omega(args, kind, problem, item, texts, completer),
        LabelMethod::Mcts => mcts(args, problem, item, texts, completer),
        LabelMethod::Evolve => evolve(args, kind, problem, item, texts, completer),
        LabelMethod::Refine => refine(args, problem, item, texts, completer),
        LabelMethod::SelfCorrect => self_correct(args, problem, item, texts, model, completer),
    }
}

/// Labels of a completion that was given.
fn given(
    args: &LabelArgs,
    method: LabelMethod,
    problem: u64,
    item: &Item,
    texts: &Texts,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    let completion = item.completion.as_deref().context("this method needs a completion")?;
    let (ids, cut) = texts.encoded(completion)?;
    let segmentation = args.segment.id();
    let solution =
        Solution { problem, prompt: &item.ids, response: &ids, ends: &cut.ends, segmentation: &segmentation };
    let StepLabels { rows, exhausted, .. } = MonteCarlo::new(args.rollouts)?.label(&solution, completer)?;
    let labels: Vec<Option<f32>> = match method {
        LabelMethod::Sorm => sorm_labels(&rows).into_iter().map(|good| Some(f32::from(u8::from(good)))).collect(),
        _ => targets(&rows, &segmentation, args.labels, args.after_error)?,
    };
    let steps = cut.steps();
    // Steps that the caps did not reach have no label.
    let labels: Vec<Option<f32>> = (0..steps.len()).map(|at| labels.get(at).copied().flatten()).collect();
    let column = |of: &dyn Fn(usize) -> u32| (0..rows.len()).map(of).collect::<Vec<u32>>();
    let row = json!({
        "prompt": item.prompt,
        "completions": steps,
        "labels": labels,
        "correct": column(&|at| rows[at].correct),
        "rollouts": column(&|at| rows[at].rollouts),
        "truncated": column(&|at| rows[at].truncated),
        "undecided": column(&|at| rows[at].undecided),
        "segmentation": segmentation,
        "completer": completer.name(),
    });
    let taught = labels.iter().any(Option::is_some);
    Ok(Labelled::new(if taught { vec![row] } else { Vec::new() }, exhausted))
}

fn omega(
    args: &LabelArgs,
    kind: RowsName,
    problem: u64,
    item: &Item,
    texts: &Texts,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    let root_rollouts = if args.root_rollouts == 0 { args.rollouts } else { args.root_rollouts };
    let config = OmegaConfig {
        rollouts: args.rollouts,
        root_rollouts,
        searches: args.searches,
        confirm: args.confirm,
        ..OmegaConfig::default()
    };
    let segmentation = args.segment.id();
    let cut = |ids: &[u32]| -> Result<Vec<usize>, ProcessError> { Ok(texts.cut(ids)?.ends) };
    let question = Question { problem, prompt: &item.ids, cut: &cut, segmentation: &segmentation };
    let tree = config.init()?.search(question, completer)?;
    let ended = serde_json::to_value(tree.ended)?.as_str().unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    if kind == RowsName::Pairs {
        for pair in tree.pairs(problem) {
            rows.push(pair_row(item, texts, &pair)?);
        }
        return Ok(Labelled { rows, ended });
    }
    for row in tree.rows(&question, completer) {
        let steps = texts.cut(&row.prefix)?.steps();
        let mut labels: Vec<Option<f32>> = vec![None; steps.len()];
        if let Some(last) = labels.last_mut() {
            *last = Some(match args.labels {
                Softness::Hard => f32::from(u8::from(row.hard())),
                Softness::Soft => row.soft() as f32,
            });
        }
        rows.push(json!({
            "prompt": item.prompt,
            "completions": steps,
            "labels": labels,
            "correct": row.correct,
            "rollouts": row.rollouts,
            "segmentation": segmentation,
            "completer": completer.name(),
        }));
    }
    Ok(Labelled { rows, ended })
}

fn mcts(
    args: &LabelArgs,
    problem: u64,
    item: &Item,
    texts: &Texts,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    let usual = MctsConfig::default();
    let config = MctsConfig {
        children: if args.children == 0 { usual.children } else { args.children },
        simulations: args.simulations,
        threshold: args.threshold,
        separators: texts.separators()?,
        max_step: args.max_new_tokens,
        ..usual
    };
    let searched = config.init()?.search(problem, &item.ids, completer)?;
    let rows = searched.pairs.iter().map(|pair| pair_row(item, texts, pair)).collect::<anyhow::Result<Vec<Value>>>()?;
    Ok(Labelled::new(rows, searched.exhausted))
}

/// A pair of steps as a pair of completions that begin alike.
fn pair_row(item: &Item, texts: &Texts, pair: &StepPair) -> anyhow::Result<Value> {
    let text = |step: &Tokens| texts.text(&pair.prefix.followed_by(step));
    Ok(json!({
        "prompt": item.prompt,
        "chosen": text(&pair.chosen)?,
        "rejected": text(&pair.rejected)?,
        "margin": pair.values[0] - pair.values[1],
        "values": pair.values,
    }))
}

fn evolve(
    args: &LabelArgs,
    kind: RowsName,
    problem: u64,
    item: &Item,
    texts: &Texts,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    let usual = EvolveConfig::default();
    let config = EvolveConfig {
        children: if args.children == 0 { usual.children } else { args.children },
        separators: texts.separators()?,
        max_step: args.max_new_tokens,
        ..usual
    };
    let evolved = config.init()?.search(problem, &item.ids, completer)?;
    let form = match args.labels {
        Softness::Soft => PathLabels::Soft,
        Softness::Hard => PathLabels::Hard { above: 0.5, rising: false },
    };
    let mut rows = Vec::new();
    for path in &evolved.paths {
        let steps = path.steps.iter().map(|step| texts.text(step)).collect::<Result<Vec<String>, ProcessError>>()?;
        let blank = steps.iter().any(|step| step.trim().is_empty());
        if kind == RowsName::Completions {
            if path.right {
                rows.push(json!({"prompt": item.prompt, "completion": steps.concat()}));
            }
        } else if !blank {
            let labels = path_labels(&path.values, form, None)?;
            rows.push(json!({"prompt": item.prompt, "completions": steps, "labels": labels, "right": path.right}));
        }
    }
    Ok(Labelled::new(rows, evolved.exhausted))
}

fn refine(
    args: &LabelArgs,
    problem: u64,
    item: &Item,
    texts: &Texts,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    let labeller = MonteCarlo::new(args.rollouts)?;
    let asked = Asked { problem, prompt: &item.ids, prefix: &[], n: args.rollouts, again: 0 };
    let Some(mut estimates) = completer.estimate(&[asked])? else { return Ok(Labelled::new(Vec::new(), true)) };
    let attempts = estimates.pop().unwrap_or_default();
    let mut all = global_refinements(problem, &attempts.wrong, &attempts.right, Seed(args.seed));
    let segmentation = args.segment.id();
    let mut exhausted = false;
    for draft in attempts.wrong.iter().filter(|draft| !draft.is_empty()) {
        let ends = texts.cut(draft)?.ends;
        let draft = Solution { problem, prompt: &item.ids, response: draft, ends: &ends, segmentation: &segmentation };
        let labels = labeller.label(&draft, completer)?;
        exhausted |= labels.exhausted;
        all.extend(local_refinements(&draft, &labels)?);
    }
    let rows = all.iter().map(|one| refinement_row(item, texts, one)).collect::<anyhow::Result<Vec<Value>>>()?;
    Ok(Labelled::new(rows, exhausted))
}

fn refinement_row(item: &Item, texts: &Texts, refinement: &Refinement) -> anyhow::Result<Value> {
    let draft = match refinement.bad_from {
        None => texts.text(&refinement.draft)?,
        Some(at) => {
            let (good, bad) = refinement.draft.split_at(at);
            format!("{}{MARK}{}", texts.text(good)?, texts.text(bad)?)
        }
    };
    Ok(json!({
        "prompt": item.prompt,
        "draft": draft,
        "local": refinement.bad_from.is_some(),
        "completion": texts.text(&refinement.refined)?,
    }))
}

fn self_correct(
    args: &LabelArgs,
    problem: u64,
    item: &Item,
    texts: &Texts,
    model: &FrozenModel,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    let encoder = Encoder::frozen(model)?;
    let second = |first: &str| match &item.asked {
        Prompt::Text(text) => Prompt::Text(format!("{text}{first}\n\n{REVISE}\n\n")),
        Prompt::Messages(messages) => {
            let turn = [Message::new("assistant", first), Message::new("user", REVISE)];
            Prompt::Messages([messages.as_slice(), &turn].concat())
        }
    };
    let revise = |first: &[u32]| -> Result<Tokens, ProcessError> {
        let prompt = encoder.prompt(&second(&texts.text(first)?));
        prompt.map_err(|error| ProcessError::Core(ascribe::core::CoreError::Other(Box::new(error))))
    };
    let Some(made) = traces(problem, &item.ids, args.rollouts, &revise, completer)? else {
        return Ok(Labelled::new(Vec::new(), true));
    };
    let mut rows = Vec::new();
    for trace in imitated(&made, Imitate::Mended) {
        let first = texts.text(&trace.first)?;
        rows.push(json!({
            "prompt": second(&first),
            "completion": texts.text(&trace.second)?,
            "first": first,
        }));
    }
    Ok(Labelled::new(rows, false))
}
