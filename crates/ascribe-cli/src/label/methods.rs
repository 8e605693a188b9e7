//! What each method makes of one item.

use anyhow::{Context, bail};
use ascribe::core::{Seed, Tokens};
use ascribe::data::{Message, Prompt};
use ascribe::lm::FrozenModel;
use ascribe::preference::Encoder;
use ascribe::process::ProcessError;
use ascribe::process::label::{
    Asked, Completer, EvolveConfig, Imitate, LabelRow, MctsConfig, MonteCarlo, OmegaConfig, PathLabels, Question,
    Refinement, Softness, Solution, StepLabels, StepPair, consensus, global_refinements, imitated, local_refinements,
    path_labels, sorm_labels, targets, traces, uses_results,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Item;
use super::texts::Texts;
use crate::args::{LabelArgs, LabelMethod, RowsName};
use crate::refiner::Draft;

/// What the model is told before its second attempt.
const REVISE: &str = "There might be an error in the solution above. Please correct the error, if any, and give the \
                      whole solution again.";

/// Rollouts and attempts unless a number is given.
pub const ROLLOUTS: usize = 8;

/// What was made for one item.
pub struct Labelled {
    pub rows: Vec<Value>,
    /// Why it ended: `done`, or what cut it short.
    pub ended: String,
    /// Right rollouts from prefixes, and all of them; where a method labels the steps that were given.
    pub rollouts: [u64; 2],
}

impl Labelled {
    fn new(rows: Vec<Value>, exhausted: bool) -> Self {
        Self::ended(rows, if exhausted { "exhausted" } else { "done" })
    }

    fn ended(rows: Vec<Value>, ended: impl Into<String>) -> Self {
        Self { rows, ended: ended.into(), rollouts: [0; 2] }
    }
}

/// Whether a continuation uses the results of its prefix, in words.
pub fn consistent(texts: &Texts) -> impl Fn(u64, &[u32], &[u32]) -> bool + Send + Sync {
    move |_: u64, prefix: &[u32], continuation: &[u32]| match (texts.text(prefix), texts.text(continuation)) {
        (Ok(prefix), Ok(continuation)) => uses_results(&prefix, &continuation),
        _ => false,
    }
}

/// One item, and what is asked about it.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub args: &'a LabelArgs,
    pub kind: RowsName,
    /// The number of the item.
    pub problem: u64,
    pub item: &'a Item,
    pub texts: &'a Texts<'a>,
}

/// The item by one method.
pub fn label(
    job: Job,
    method: LabelMethod,
    model: &FrozenModel,
    completer: &mut Completer,
) -> anyhow::Result<Labelled> {
    match method {
        LabelMethod::MonteCarlo | LabelMethod::Sorm => given(job, method, completer),
        LabelMethod::Omega => omega(job, completer),
        LabelMethod::Mcts => mcts(job, completer),
        LabelMethod::Evolve => evolve(job, completer),
        LabelMethod::Refine => refine(job, completer),
        LabelMethod::SelfCorrect => self_correct(job, model, completer),
        LabelMethod::Outcomes => outcomes(job, completer),
    }
}

/// Labels of a completion that was given.
fn given(job: Job, method: LabelMethod, completer: &mut Completer) -> anyhow::Result<Labelled> {
    let Job { args, problem, item, texts, .. } = job;
    let completion = item.completion.as_deref().context("this method needs a completion")?;
    let (ids, cut) = texts.encoded(completion)?;
    let segmentation = args.segment.id();
    let solution =
        Solution { problem, prompt: &item.ids, response: &ids, ends: &cut.ends, segmentation: &segmentation };
    let labeller = MonteCarlo::new(args.rollouts.unwrap_or(ROLLOUTS))?;
    let StepLabels { rows, exhausted, .. } = labeller.label(&solution, completer)?;
    let estimated = || rows.iter().filter(|row| !row.exact);
    let sum = |of: &dyn Fn(&LabelRow) -> u32| estimated().map(|row| u64::from(of(row))).sum::<u64>();
    let rollouts = [sum(&|row| row.correct), sum(&|row| row.rollouts)];
    if let Some(judged) = item.judged {
        if exhausted {
            return Ok(Labelled { rollouts, ..Labelled::new(Vec::new(), true) });
        }
        // -1 is no step: there is none that is wrong.
        if !consensus(&rows, usize::try_from(judged).ok()) {
            return Ok(Labelled { rollouts, ..Labelled::ended(Vec::new(), "no consensus") });
        }
    }
    // Behind what the caps did not reach a step may be right, so that a 0 before it is not known.
    let known = |good: bool| (good || !exhausted).then_some(f32::from(u8::from(good)));
    let labels: Vec<Option<f32>> = match method {
        LabelMethod::Sorm => sorm_labels(&rows).into_iter().map(known).collect(),
        _ => {
            let (softness, after) = (args.labels.unwrap_or_default(), args.after_error.unwrap_or_default());
            targets(&rows, &segmentation, softness, after)?
        }
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
        "seed": args.seed,
    });
    let taught = labels.iter().any(Option::is_some);
    Ok(Labelled { rollouts, ..Labelled::new(if taught { vec![row] } else { Vec::new() }, exhausted) })
}

/// Refuses numbers of a search that are none of the method, or out of their ranges.
pub fn check(args: &LabelArgs, method: LabelMethod) -> anyhow::Result<()> {
    match method {
        LabelMethod::Omega => omega_config(args)?.init().map(|_| ())?,
        LabelMethod::Mcts => mcts_config(args, Vec::new())?.init().map(|_| ())?,
        LabelMethod::Evolve => evolve_config(args, Vec::new())?.init().map(|_| ())?,
        _ => {}
    }
    Ok(())
}

/// The usual numbers of a search but for those of --method-args; `own` have options of their own.
fn numbers<C: DeserializeOwned>(args: &LabelArgs, own: &[&str]) -> anyhow::Result<C> {
    let mut given = args.method_args.as_object().into_iter().flat_map(Map::keys);
    if let Some(name) = given.find(|name| own.contains(&name.as_str())) {
        bail!("{name} is no number of method_args: it has an option of its own, or follows from others; drop it there");
    }
    serde_json::from_value(args.method_args.clone()).context("method_args")
}

fn omega_config(args: &LabelArgs) -> anyhow::Result<OmegaConfig> {
    let usual: OmegaConfig = numbers(args, &["rollouts", "root_rollouts", "searches", "confirm"])?;
    let rollouts = args.rollouts.unwrap_or(ROLLOUTS);
    Ok(OmegaConfig {
        rollouts,
        root_rollouts: args.root_rollouts.unwrap_or(rollouts),
        searches: args.searches.unwrap_or(usual.searches),
        confirm: args.confirm,
        ..usual
    })
}

fn mcts_config(args: &LabelArgs, separators: Vec<u32>) -> anyhow::Result<MctsConfig> {
    let usual: MctsConfig = numbers(args, &["children", "simulations", "threshold", "separators", "max_step"])?;
    Ok(MctsConfig {
        children: args.children.unwrap_or(usual.children),
        simulations: args.simulations.unwrap_or(usual.simulations),
        threshold: args.threshold.unwrap_or(usual.threshold),
        separators,
        max_step: args.max_new_tokens,
        ..usual
    })
}

fn evolve_config(args: &LabelArgs, separators: Vec<u32>) -> anyhow::Result<EvolveConfig> {
    let usual: EvolveConfig = numbers(args, &["children", "separators", "max_step"])?;
    Ok(EvolveConfig {
        children: args.children.unwrap_or(usual.children),
        separators,
        max_step: args.max_new_tokens,
        ..usual
    })
}

fn omega(job: Job, completer: &mut Completer) -> anyhow::Result<Labelled> {
    let Job { args, kind, problem, item, texts } = job;
    let config = omega_config(args)?;
    let segmentation = args.segment.id();
    let cut = |ids: &[u32]| -> Result<Vec<usize>, ProcessError> { Ok(texts.cut(ids)?.ends) };
    let question = Question { problem, prompt: &item.ids, cut: &cut, segmentation: &segmentation };
    let tree = config.init()?.search(question, completer)?;
    let ended = serde_json::to_value(tree.ended)?.as_str().unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    if kind == RowsName::Pairs {
        for pair in tree.pairs(problem) {
            rows.push(pair_row(args, item, texts, &pair, completer)?);
        }
        return Ok(Labelled::ended(rows, ended));
    }
    for row in tree.rows(&question, completer) {
        let steps = texts.cut(&row.prefix)?.steps();
        let mut labels: Vec<Option<f32>> = vec![None; steps.len()];
        if let Some(last) = labels.last_mut() {
            *last = Some(match args.labels.unwrap_or_default() {
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
            "seed": args.seed,
        }));
    }
    Ok(Labelled::ended(rows, ended))
}

fn mcts(job: Job, completer: &mut Completer) -> anyhow::Result<Labelled> {
    let Job { args, problem, item, texts, .. } = job;
    let config = mcts_config(args, texts.separators()?)?;
    let searched = config.init()?.search(problem, &item.ids, completer)?;
    let row = |pair: &StepPair| pair_row(args, item, texts, pair, completer);
    let rows = searched.pairs.iter().map(row).collect::<anyhow::Result<Vec<Value>>>()?;
    Ok(Labelled::new(rows, searched.exhausted))
}

/// A pair of steps as a pair of completions that begin alike.
fn pair_row(
    args: &LabelArgs,
    item: &Item,
    texts: &Texts,
    pair: &StepPair,
    completer: &Completer,
) -> anyhow::Result<Value> {
    let text = |step: &Tokens| texts.text(&pair.prefix.followed_by(step));
    Ok(json!({
        "prompt": item.prompt,
        "chosen": text(&pair.chosen)?,
        "rejected": text(&pair.rejected)?,
        "margin": pair.values[0] - pair.values[1],
        "values": pair.values,
        "segmentation": args.segment.id(),
        "completer": completer.name(),
        "seed": args.seed,
    }))
}

fn evolve(job: Job, completer: &mut Completer) -> anyhow::Result<Labelled> {
    let Job { args, kind, problem, item, texts } = job;
    let config = evolve_config(args, texts.separators()?)?;
    let evolved = config.init()?.search(problem, &item.ids, completer)?;
    let form = match args.labels.unwrap_or_default() {
        Softness::Soft => PathLabels::Soft,
        Softness::Hard => PathLabels::Hard { above: 0.5, rising: false },
    };
    let mut rows = Vec::new();
    for path in &evolved.paths {
        let steps = path.steps.iter().map(|step| texts.text(step)).collect::<Result<Vec<String>, ProcessError>>()?;
        if kind == RowsName::Completions {
            if path.right {
                rows.push(json!({"prompt": item.prompt, "completion": steps.concat()}));
            }
            continue;
        }
        let (steps, values) = without_blanks(&steps, &path.values);
        if !steps.is_empty() {
            rows.push(json!({
                "prompt": item.prompt,
                "completions": steps,
                "labels": path_labels(&values, form, None)?,
                "right": path.right,
                "segmentation": args.segment.id(),
                "completer": completer.name(),
                "seed": args.seed,
            }));
        }
    }
    Ok(Labelled::new(rows, evolved.exhausted))
}

/// Steps with the values behind them, where a step of blanks (an end token alone, say) joins the step before it: the value is
/// the one behind both. At the beginning it joins the next.
fn without_blanks(steps: &[String], values: &[f64]) -> (Vec<String>, Vec<f64>) {
    let (mut joined, mut blank): (Vec<(String, f64)>, String) = (Vec::new(), String::new());
    for (step, value) in steps.iter().zip(values) {
        match joined.last_mut() {
            _ if !step.trim().is_empty() => joined.push((std::mem::take(&mut blank) + step, *value)),
            Some((text, behind)) => {
                text.push_str(step);
                *behind = *value;
            }
            None => blank.push_str(step),
        }
    }
    joined.into_iter().unzip()
}

fn refine(job: Job, completer: &mut Completer) -> anyhow::Result<Labelled> {
    let Job { args, problem, item, texts, .. } = job;
    let rollouts = args.rollouts.unwrap_or(ROLLOUTS);
    let labeller = MonteCarlo::new(rollouts)?;
    let asked = Asked { problem, prompt: &item.ids, prefix: &[], n: rollouts, again: 0 };
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
        None => Draft::whole(texts.text(&refinement.draft)?),
        Some(at) => {
            let (right, rest) = refinement.draft.split_at(at);
            Draft::marked(&texts.text(right)?, &texts.text(rest)?)
        }
    };
    Ok(json!({
        "prompt": draft.asked(&item.asked),
        "draft": draft.text,
        "local": refinement.bad_from.is_some(),
        "completion": texts.text(&refinement.refined)?,
    }))
}

fn self_correct(job: Job, model: &FrozenModel, completer: &mut Completer) -> anyhow::Result<Labelled> {
    let Job { args, problem, item, texts, .. } = job;
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
    let attempts = args.rollouts.unwrap_or(ROLLOUTS);
    let Some(made) = traces(problem, &item.ids, attempts, &revise, completer)? else {
        return Ok(Labelled::new(Vec::new(), true));
    };
    let ended = match attempts - made.len() {
        0 => "done".to_owned(),
        long => format!("done; {long} attempts left no room for a second one"),
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
    Ok(Labelled::ended(rows, ended))
}

/// Attempts with their outcomes; one that was cut by the limit, or whose verdict is not known, is wrong. The right answer
/// stands beside them, so that the steps of the attempts can be labelled.
fn outcomes(job: Job, completer: &mut Completer) -> anyhow::Result<Labelled> {
    let Job { args, problem, item, texts, .. } = job;
    let attempts = args.rollouts.unwrap_or(ROLLOUTS);
    if attempts == 0 {
        bail!("rollouts must be at least 1, got 0");
    }
    let asked = Asked { problem, prompt: &item.ids, prefix: &[], n: attempts, again: 0 };
    let Some(mut estimates) = completer.estimate(&[asked])? else { return Ok(Labelled::new(Vec::new(), true)) };
    let made = estimates.pop().unwrap_or_default();
    let row = |(attempt, right): (&Tokens, bool)| -> anyhow::Result<Value> {
        Ok(json!({
            "prompt": item.prompt,
            "completion": texts.text(attempt)?,
            "label": right,
            "answer": item.answer,
            "completer": completer.name(),
            "seed": args.seed,
        }))
    };
    let right = made.right.iter().map(|attempt| (attempt, true));
    let all = right.chain(made.wrong.iter().map(|attempt| (attempt, false)));
    Ok(Labelled::new(all.map(row).collect::<anyhow::Result<Vec<Value>>>()?, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_steps_join_the_step_before_them() {
        let steps = ["\n", "a.\n", " ", "b", ""].map(str::to_owned);
        let joined = without_blanks(&steps, &[0.1, 0.2, 0.3, 0.4, 1.0]);
        assert_eq!(joined, (vec!["\na.\n ".to_owned(), "b".to_owned()], vec![0.3, 1.0]));
        assert_eq!(without_blanks(&steps[..1], &[0.1]), (vec![], vec![]));
    }
}
