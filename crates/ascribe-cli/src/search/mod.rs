//! `ascribe search`: texts that a strategy finds, row by row.
//!
//! Rows are searched side by side and written in their order, each as soon as all before it are done. What is found for a row
//! hangs on its number, the options and the seed alone, so a run that was stopped goes on to the same file. Ctrl-C ends every
//! search that is under way with what it has; these rows are searched again.

mod refining;
mod reflecting;
mod scorers;
mod sink;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use ascribe::core::{Finish, Policy, Sampling, Seed, Text, Tokens};
use ascribe::data::{Message, Prompt};
use ascribe::lm::{ChatTemplate, ServedPolicy, SpecialTokens, Tokenizer};
use ascribe::preference::Encoder;
use ascribe::process::{Checker, Gold, Segmenter, Verdict};
use ascribe::search::{
    Found, Limits, Needs, PathSelection, Refine, Refiner, Reflection, Search, SearchCtx, SearchTree, Steps, Stopped,
    TransferOptions, TransferQ, side_by_side, smc_of,
};
use serde_json::{Map, Value, json};

use crate::args::{ScorerName, SearchArgs};
use crate::catalog::Catalog;
use crate::check_answer::columns;
use crate::device::device;
use crate::generate::{check_room, frozen};
use crate::interrupt::{self, Interrupted};
use crate::label::texts::Texts;
use crate::output::{Progress, print_line};
use crate::records::{Record, Records};
use crate::words::Words;
use refining::Refining;
use reflecting::Reflecting;
use scorers::{Process, Scorers};
use sink::Sink;

/// A prompt with what is known of it.
pub struct Item {
    /// The row as it was read.
    cells: Map<String, Value>,
    id: Value,
    /// The prompt as text, where it is one.
    text: Option<String>,
    /// The prompt.
    asked: Prompt,
    ids: Tokens,
    gold: Option<Gold>,
}

/// What a search writes to a row, over what it had under these names.
const WRITTEN: [&str; 16] = [
    "id",
    "completion",
    "ended",
    "chosen",
    "completions",
    "scores",
    "tokens",
    "usage",
    "calls",
    "seconds",
    "stopped",
    "subtrees",
    "doubtful",
    "correct",
    "tree",
    "run",
];

impl Item {
    /// The column in which the row was another when this line was found for it.
    fn differs(&self, line: &Value) -> Option<&str> {
        let kept = |name: &String| !WRITTEN.contains(&name.as_str());
        let other = self.cells.iter().find(|&(name, cell)| kept(name) && line.get(name) != Some(cell));
        other.map(|(name, _)| name.as_str())
    }
}

/// What writes, and its words.
struct Model {
    policy: Box<dyn Policy>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

impl Model {
    fn open(args: &SearchArgs) -> anyhow::Result<Self> {
        let path = args.model.as_deref().context("a model is needed: give --model")?;
        if let Some(mut options) = args.served.options(Seed(args.seed))? {
            let words = Words::load(path)?;
            options.context = words.context_with(options.context);
            let policy = ServedPolicy::connect(options, Some(words.tokenizer.clone()))?;
            return Ok(Self { policy: Box::new(policy), tokenizer: words.tokenizer, template: words.template });
        }
        let model = frozen(path, args.adapter.as_deref(), args.weights, &device(&args.common.device)?)?;
        Ok(Self { policy: Box::new(model.policy), tokenizer: model.tokenizer, template: model.template })
    }
}

/// An aligned model whose rollouts value tokens.
struct Baseline {
    policy: Box<dyn Policy>,
    options: TransferOptions,
}

impl Baseline {
    /// The model of --baseline, if there is one; it has the tokens of the model that writes.
    fn open(args: &SearchArgs, tokenizer: &Tokenizer) -> anyhow::Result<Option<Self>> {
        let Some(path) = &args.baseline else { return Ok(None) };
        let options = serde_json::from_value(args.strategy_args.clone()).context("the options of transfer-q")?;
        Ok(Some(Self { policy: relative(path, "--baseline", args, tokenizer)?, options }))
    }
}

/// The model of an option, which has the tokens of the model that writes.
fn relative(path: &Path, option: &str, args: &SearchArgs, tokenizer: &Tokenizer) -> anyhow::Result<Box<dyn Policy>> {
    eprintln!("loading {}", path.display());
    let model = frozen(path, None, args.weights, &device(&args.common.device)?)?;
    if model.tokenizer.hash() != tokenizer.hash() {
        bail!("the model of {option} has another tokenizer than the one that writes; use models of one family");
    }
    Ok(Box::new(model.policy))
}

/// Strategies that a scorer says nothing to, where their options do not ask for one.
const WITHOUT_SCORER: [&str; 5] = ["greedy", "beam", "likelihood", "majority", "smc"];

/// Strategies that go by what the scorer says of beginnings, so that a judge alone does not do.
const BY_SCORER: [&str; 5] = ["step-beam", "dvts", "lookahead", "oreo", "paths"];

/// Strategies that go by a value of their own to the end, and ask no judge.
const WITHOUT_JUDGE: [&str; 4] = ["deal", "transfer-q", "controlled", "smc"];

/// Strategies that `--allow-cut` says nothing to: those that write one text, or compare texts of at most the greatest length.
const WITHOUT_CUT: [&str; 6] = ["greedy", "beam", "likelihood", "transfer-q", "controlled", "smc"];

/// Refuses options that change nothing here.
fn refuse_idle(args: &SearchArgs, name: &str) -> anyhow::Result<()> {
    use ScorerName::{Forbidden, Keywords, Length, LengthLimit, Patterns};
    if args.stop.iter().any(String::is_empty) {
        bail!("--stop needs some text, got none; drop it, or say where a text stops");
    }
    let asked = |names: &[ScorerName]| args.scorers().any(|name| names.contains(&name));
    if args.allow_cut && WITHOUT_CUT.contains(&name) {
        bail!("--allow-cut does nothing with the strategy `{name}`, which has no choice between texts; drop it");
    }
    for (option, given, strategy) in [
        ("--baseline", args.baseline.is_some(), "transfer-q"),
        ("--expert", args.expert.is_some(), "smc"),
        ("--reflection", args.reflection.is_some(), "paths"),
        ("--refiner", args.refiner.is_some(), "refine"),
    ] {
        if given && name != strategy {
            bail!("{option} does nothing with the strategy `{name}`; drop it, or take --strategy {strategy}");
        }
    }
    if args.max_scorer_calls > 0 && args.scorers().next().is_none() {
        bail!(
            "--max-scorer-calls does nothing without a scorer, whose calls it limits; drop it, or name one with --scorer"
        );
    }
    if args.given.has("reduce") && args.scorers().next().is_none() {
        bail!("--reduce does nothing without a scorer, whose values it makes one; drop it, or name one with --scorer");
    }
    for (option, given, scorers, which) in [
        ("--keywords", !args.keywords.is_empty(), &[Keywords, Forbidden][..], "keywords or forbidden"),
        ("--target-length", args.given.has("target_length"), &[Length, LengthLimit][..], "length or length-limit"),
        ("--pattern", !args.patterns.is_empty(), &[Patterns][..], "patterns"),
        ("--stems", args.stems, &[Keywords, Forbidden][..], "keywords or forbidden"),
        ("--hard", args.hard, &[Keywords, LengthLimit][..], "keywords or length-limit"),
    ] {
        if given && !asked(scorers) {
            bail!("{option} does nothing without the scorer {which}; drop it");
        }
    }
    Ok(())
}

pub fn run(args: &SearchArgs, catalog: &Catalog) -> anyhow::Result<()> {
    if args.list {
        return catalog.strategies().try_for_each(print_line);
    }
    let (Some(name), Some(input), Some(output)) = (&args.strategy, &args.input, &args.output) else {
        bail!("a search needs --strategy, --input and --output");
    };
    refuse_idle(args, name)?;
    // A product is made once its other policy is there.
    let plain = if args.expert.is_none() { Some(catalog.make_search(name, &args.strategy_args)?) } else { None };
    let sampling = sampling(args)?;
    let records = Records::read(input)?;
    let model = Model::open(args)?;
    let tokenizer = &model.tokenizer;
    let expert = match &args.expert {
        Some(path) => Some(relative(path, "--expert", args, tokenizer)?),
        None => None,
    };
    let product = match &expert {
        Some(expert) => Some(smc_of(&args.strategy_args, Some(&**expert))?),
        None => None,
    };
    let search: &dyn Search = match (&plain, &product) {
        (Some(plain), _) => &**plain,
        (None, Some(product)) => product,
        (None, None) => bail!("a search needs --strategy"),
    };
    check_needs(search.needs(), name, args, &*model.policy)?;
    let items = items(args, &records, &model)?;
    let reflecting = Reflecting::open(args, &model)?;
    let refining = Refining::open(args, &model)?;
    let baseline = Baseline::open(args, tokenizer)?;
    let steps = steps(args, tokenizer)?;
    let checker = args.checker.checker();
    let process = Process::open(args, tokenizer)?;
    let reward = scorers::reward(args, &items)?;
    let scorers = Scorers { args, model: &*model.policy, checker, process: process.as_ref(), reward: reward.as_ref() };
    scorers.check(&items)?;
    let run = run_of(args, name);
    let sink = Mutex::new(Sink::open(output, &run, &items)?);
    let todo: Vec<usize> = (0..items.len()).filter(|number| !locked(&sink).has(*number)).collect();
    let progress = Mutex::new(Progress::new("search", items.len()));
    // Where the first prompts all fail, the others would, too.
    let hopeless = AtomicBool::new(false);
    let cancel: &AtomicBool = interrupt::flag()?;
    let began = Instant::now();
    side_by_side(&*model.policy, &[], todo.len(), args.parallel.max(1), |job, policy, _| {
        let number = todo[job];
        if hopeless.load(Ordering::Relaxed) || cancel.load(Ordering::Relaxed) {
            return;
        }
        let one = One {
            args,
            tokenizer,
            sampling,
            steps: &steps,
            checker: &checker,
            baseline: baseline.as_ref(),
            reflecting: reflecting.as_ref(),
            refining: refining.as_ref(),
            cancel,
        };
        let found = one.search(search, policy, &scorers, number as u64, &items[number]);
        let mut sink = locked(&sink);
        let line = found.map(|mut row| {
            row.insert("run".into(), run.clone());
            Value::Object(row)
        });
        if let Err(error) = sink.done(number, line) {
            sink.fail(number, error);
        }
        hopeless.store(sink.is_hopeless(args.parallel), Ordering::Relaxed);
        locked(&progress).at(sink.finished());
    });
    drop(progress);
    let sink = sink.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let summary = sink.summary(&records)?;
    print_line(&format!(
        "{} rows in {}, {} of them new, in {:.1} s: {} tokens written, {} read and {} reused, {} texts scored{}",
        summary.finished + summary.cancelled,
        output.display(),
        summary.rows,
        began.elapsed().as_secs_f64(),
        summary.usage.generated,
        summary.usage.scored,
        summary.usage.reused,
        summary.scored,
        if summary.stopped > 0 { format!("; {} searches were cut short", summary.stopped) } else { String::new() },
    ))?;
    if summary.finished < items.len() && cancel.load(Ordering::Relaxed) {
        let again = match summary.cancelled {
            0 => String::new(),
            cancelled => format!(" ({cancelled} more were cancelled half-way, and are searched again)"),
        };
        let (finished, all, output) = (summary.finished, items.len(), output.display());
        let words = format!("{finished} of {all} prompts are finished in {output}{again}; the same command goes on");
        return Err(Interrupted(words).into());
    }
    Ok(())
}

/// Refuses, before anything is asked, what the strategy would be refused for every row, and who it would not ask.
fn check_needs(needs: Needs, name: &str, args: &SearchArgs, policy: &dyn Policy) -> anyhow::Result<()> {
    if needs.top && !policy.capabilities().top {
        bail!(
            "the strategy `{name}` weighs the most likely next tokens, and this server does not name them (docs/served.md \
             says which strategies it can run); choose another --strategy"
        );
    }
    // What weighs the most likely tokens goes by their probabilities, and draws by nothing else.
    let mut drawing = ["temperature", "top_k", "top_p", "min_p"].into_iter().filter(|option| args.given.has(option));
    if let Some(option) = drawing.next().filter(|_| needs.top || name == "greedy") {
        let option = option.replace('_', "-");
        bail!(
            "--{option} does nothing with the strategy `{name}` and these options, which draw no token by it; drop it"
        );
    }
    let mute = WITHOUT_SCORER.contains(&name) && !needs.scorer;
    for (option, given, mute) in [
        ("--scorer", args.scorer.is_some(), mute),
        ("--judge", args.judge.is_some(), mute || WITHOUT_JUDGE.contains(&name)),
    ] {
        if given && mute {
            bail!("{option} does nothing with the strategy `{name}` and these options, which ask for none; drop it");
        }
    }
    if needs.scorer && args.scorer.is_none() && (args.judge.is_none() || BY_SCORER.contains(&name)) {
        bail!("the strategy `{name}` needs a scorer, which says how good a text is; give one with --scorer");
    }
    Ok(())
}

/// One search, with what all searches share.
struct One<'a> {
    args: &'a SearchArgs,
    tokenizer: &'a Tokenizer,
    /// `None` is greedy.
    sampling: Option<Sampling>,
    steps: &'a Steps,
    checker: &'a Checker,
    baseline: Option<&'a Baseline>,
    reflecting: Option<&'a Reflecting<'a>>,
    refining: Option<&'a Refining<'a>>,
    /// Raised, it ends the search with what it has.
    cancel: &'a AtomicBool,
}

impl One<'_> {
    /// Searches from one prompt; the row with what was found.
    fn search(
        &self,
        search: &dyn Search,
        policy: &dyn Policy,
        scorers: &Scorers,
        number: u64,
        item: &Item,
    ) -> anyhow::Result<Map<String, Value>> {
        let args = self.args;
        let some = |limit: u64| (limit > 0).then_some(limit);
        let limits = Limits {
            generated: some(args.budget),
            policy_calls: some(args.max_policy_calls),
            scorer_calls: some(args.max_scorer_calls),
            seconds: (args.max_seconds > 0.0).then_some(args.max_seconds),
        };
        let began = Instant::now();
        let clock = || began.elapsed().as_secs_f64();
        let text = |ids: &[u32]| self.text(ids);
        let answer = |episode: &ascribe::core::Episode| self.checker.extract(episode.response_text()?);
        let same = |left: &str, right: &str| match self.checker.gold(right) {
            Ok(gold) => left == right || self.checker.compare(left, &gold).verdict == Verdict::Correct,
            Err(_) => left == right,
        };
        let scorer = scorers.searched(item)?;
        let judge = scorers.make(args.judge, item)?;
        let baseline_scorer = scorers.make(args.baseline_scorer, item)?;
        let transfer = self.baseline.map(|baseline| TransferQ {
            options: baseline.options,
            baseline: Some(&*baseline.policy),
            baseline_reward: baseline_scorer.as_deref().map(|scorer| (scorer, args.reduce)),
        });
        let question = |_: &Tokens, text: &[u32]| self.reflection(item, text, None);
        let revision = |_: &Tokens, text: &[u32], said: &[u32]| self.reflection(item, text, Some(said));
        let reflection = Some(Reflection { policy: None, question: &question, revision: &revision });
        let paths = self.reflecting.map(|reflecting| PathSelection {
            options: reflecting.options,
            reflection,
            ..PathSelection::default()
        });
        let refinement = |_: &Tokens, draft: &[u32], kept: Option<usize>| self.refinement(item, draft, kept);
        let refine = self.refining.map(|refining| {
            let refiner = Some(Refiner { policy: Some(&*refining.policy), prompt: &refinement });
            Refine { options: refining.options, global: refiner, local: refiner }
        });
        let search: &dyn Search = match (&transfer, &paths, &refine) {
            (Some(transfer), _, _) => transfer,
            (None, Some(paths), _) => paths,
            (None, None, Some(refine)) => refine,
            (None, None, None) => search,
        };
        // The first token with which a text to stop at is whole.
        let stop = |ids: &[u32]| {
            let Text { text, spans } = self.text(ids);
            let ends = args.stop.iter().filter_map(|stop| text.find(stop).map(|at| at + stop.len()));
            let boxed = if args.stop_at_boxed { boxed_end(&text) } else { None };
            let end = ends.chain(boxed).min()?;
            spans.iter().position(|span| span.end >= end).map(|at| at + 1)
        };
        let mut ctx = SearchCtx::new(policy, args.max_new_tokens, Seed(args.seed)).with_first(number);
        ctx = ctx.with_limits(limits).with_clock(&clock).with_cancel(self.cancel).with_steps(self.steps.clone());
        ctx = ctx.with_text(&text).with_answers(&answer, &same);
        ctx = match self.sampling {
            Some(sampling) => ctx.with_sampling(sampling),
            None => ctx.with_greedy(),
        };
        if let Some(scorer) = &scorer {
            ctx = ctx.with_scorer(&**scorer, args.reduce);
        }
        if let Some(judge) = &judge {
            ctx = ctx.with_judge(&**judge, args.reduce);
        }
        if args.tree {
            ctx = ctx.with_tree();
        }
        if args.allow_cut {
            ctx = ctx.with_cut();
        }
        if !args.stop.is_empty() || args.stop_at_boxed {
            ctx = ctx.with_stop(&stop);
        }
        let mut found = search.search(std::slice::from_ref(&item.ids), &mut ctx)?;
        let Some(found) = found.pop() else { bail!("the strategy found nothing at all; it must answer every prompt") };
        self.row(item, found, clock())
    }

    /// What a reflection, or a revision after it, is written after.
    fn reflection(&self, item: &Item, text: &[u32], said: Option<&[u32]>) -> Tokens {
        self.reflecting.map_or_else(Tokens::default, |reflecting| reflecting.prompt(item, text, said))
    }

    /// What a refinement of a draft is written after.
    fn refinement(&self, item: &Item, draft: &[u32], kept: Option<usize>) -> Tokens {
        self.refining.map_or_else(Tokens::default, |refining| refining.prompt(item, draft, kept))
    }

    fn row(&self, item: &Item, found: Found, seconds: f64) -> anyhow::Result<Map<String, Value>> {
        let texts: Vec<String> = found.candidates.iter().map(|one| self.plain(&one.tokens)).collect();
        let mut row = item.cells.clone();
        row.insert("id".into(), item.id.clone());
        row.insert("completion".into(), json!(texts[found.chosen]));
        row.insert("ended".into(), json!(found.best().finish == Finish::End));
        row.insert("chosen".into(), json!(found.chosen));
        row.insert("completions".into(), json!(texts));
        row.insert("scores".into(), json!(found.scores));
        row.insert("tokens".into(), json!(found.candidates.iter().map(|one| one.tokens.len()).collect::<Vec<_>>()));
        row.insert("usage".into(), serde_json::to_value(found.usage)?);
        row.insert("calls".into(), serde_json::to_value(found.calls)?);
        row.insert("seconds".into(), json!(seconds));
        row.insert("stopped".into(), serde_json::to_value::<Option<Stopped>>(found.stopped)?);
        if let Some(subtrees) = &found.subtrees {
            row.insert("subtrees".into(), json!(subtrees));
        }
        if found.doubtful > 0 {
            row.insert("doubtful".into(), json!(found.doubtful));
        }
        if let Some(gold) = &item.gold {
            let verdict = self.checker.check(&texts[found.chosen], gold).verdict;
            row.insert("correct".into(), json!(verdict.reward()));
        }
        if let Some(tree) = found.tree {
            row.insert("tree".into(), serde_json::to_value(self.read(tree))?);
        }
        Ok(row)
    }

    /// The tree with the text of its tokens.
    fn read(&self, mut tree: SearchTree) -> SearchTree {
        for node in &mut tree.nodes {
            node.text = Some(self.plain(&node.tokens));
        }
        tree
    }

    fn plain(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, SpecialTokens::Skip).unwrap_or_default()
    }

    /// The text of ids with the bytes of each; nothing where they cannot be read.
    fn text(&self, ids: &[u32]) -> Text {
        let texts = Texts { tokenizer: self.tokenizer, segmenter: &self.args.segment };
        match texts.read(ids) {
            Ok((text, spans)) => Text { text, spans },
            Err(_) => Text { text: String::new(), spans: ids.iter().map(|_| 0..0).collect() },
        }
    }
}

/// Where the first `\boxed{..}` whose braces are closed ends; `None` where there is none.
fn boxed_end(text: &str) -> Option<usize> {
    const OPEN: &str = "\\boxed{";
    let starts = text.match_indices(OPEN).map(|(at, _)| at + OPEN.len());
    let ends = starts.filter_map(|start| {
        let mut depth = 1;
        let close = text[start..].bytes().position(|byte| {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        close.map(|at| start + at + 1)
    });
    ends.min()
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How tokens are drawn; `None` takes the most likely.
fn sampling(args: &SearchArgs) -> anyhow::Result<Option<Sampling>> {
    if !(args.max_seconds >= 0.0 && args.max_seconds.is_finite()) {
        bail!("--max-seconds must be finite and at least 0, got {}", args.max_seconds);
    }
    let top_k = (args.top_k > 0).then_some(args.top_k);
    // A NaN stays, and is refused.
    let min_p = (args.min_p != 0.0).then_some(args.min_p);
    let sampling = Sampling { temperature: args.temperature, top_k, top_p: args.top_p, min_p, ..Sampling::default() };
    if args.temperature == 0.0 {
        if top_k.is_some() || args.top_p != 1.0 || min_p.is_some() {
            bail!("at temperature 0 only the most likely token is taken, so nothing is cut off; set --temperature 1");
        }
        return Ok(None);
    }
    sampling.check()?;
    Ok(Some(sampling))
}

/// Where steps end, in tokens.
fn steps(args: &SearchArgs, tokenizer: &Tokenizer) -> anyhow::Result<Steps> {
    let most = if args.max_step_tokens == 0 { usize::MAX } else { args.max_step_tokens };
    if let Segmenter::FixedLength(tokens) = args.segment {
        return Ok(Steps::blocks(tokens.max(1).min(most)));
    }
    let separators = Texts { tokenizer, segmenter: &args.segment }.separators()?;
    Ok(Steps { separators, most })
}

/// What a run is: rows that were found otherwise are not gone on from.
fn run_of(args: &SearchArgs, name: &str) -> Value {
    json!({
        "strategy": name,
        "strategy_args": args.strategy_args,
        "columns": args.columns,
        "model": args.model,
        "served_model": args.served.served_model,
        "adapter": args.adapter,
        "weights": format!("{:?}", args.weights),
        "scorer": args.scorer.map(|name| format!("{name:?}")),
        "also": args.also.iter().map(|(name, weight)| json!([format!("{name:?}"), weight])).collect::<Vec<_>>(),
        "judge": args.judge.map(|name| format!("{name:?}")),
        "process": args.process,
        "reward": args.reward,
        "baseline": args.baseline,
        "baseline_scorer": args.baseline_scorer.map(|name| format!("{name:?}")),
        "reduce": args.reduce,
        "expert": args.expert,
        "reflection": args.reflection,
        "refiner": args.refiner,
        "keywords": args.keywords,
        "stems": args.stems,
        "hard": args.hard,
        "patterns": args.patterns,
        "target_length": args.target_length,
        "segmentation": args.segment.id(),
        "max_step_tokens": args.max_step_tokens,
        "budget": args.budget,
        "max_policy_calls": args.max_policy_calls,
        "max_scorer_calls": args.max_scorer_calls,
        "stop": args.stop,
        "stop_at_boxed": args.stop_at_boxed,
        "max_new_tokens": args.max_new_tokens,
        "temperature": args.temperature,
        "top_k": args.top_k,
        "top_p": args.top_p,
        "min_p": args.min_p,
        "allow_cut": args.allow_cut,
        "raw": args.raw,
        "checker": format!("{:?}", args.checker.checker()),
        "tree": args.tree,
        "seed": args.seed,
    })
}

/// Reads every row, so that a broken one refuses the run before anything is asked.
fn items(args: &SearchArgs, records: &Records, model: &Model) -> anyhow::Result<Vec<Item>> {
    let [prompt, answer, id] = columns(&args.columns, ["prompt", "answer", "id"])?;
    let context = model.policy.capabilities().context;
    let (checker, encoder) =
        (args.checker.checker(), Encoder::from_parts(&model.tokenizer, model.template.as_ref(), context)?);
    let chat = !args.raw && model.template.is_some();
    let needs_gold = args.scorers().any(|name| name == ScorerName::Answer);
    let read = |(number, row): (usize, &Record)| -> anyhow::Result<Item> {
        let value = records.value(row, &prompt)?;
        let (text, asked) = match value {
            Value::String(text) if chat => (Some(text), Prompt::Messages(vec![Message::new("user", text.as_str())])),
            Value::String(text) => (Some(text), Prompt::Text(text.clone())),
            messages @ Value::Array(_) => {
                let messages: Vec<Message> = serde_json::from_value(messages.clone())
                    .context("messages must have the strings `role` and `content`")?;
                (None, Prompt::Messages(messages))
            }
            other => return Err(records.wrong(row, &prompt, "a text or messages", other)),
        };
        let ids = encoder.prompt(&asked)?;
        check_room(&ids, context)?;
        let cells = row.cells().clone();
        let gold = || -> anyhow::Result<Gold> { Ok(checker.gold(&records.label(row, &answer)?)?) };
        // What nobody needs may be missing, or unreadable.
        let gold = if needs_gold { Some(gold()?) } else { gold().ok() };
        let id = cells.get(&id).cloned().unwrap_or_else(|| json!(number));
        Ok(Item { text: text.cloned(), asked, cells, id, ids, gold })
    };
    let items: Vec<Item> = records
        .rows
        .iter()
        .enumerate()
        .map(|(number, row)| read((number, row)).with_context(|| records.place(row)))
        .collect::<anyhow::Result<_>>()?;
    let mut seen = std::collections::BTreeSet::new();
    for (item, row) in items.iter().zip(&records.rows) {
        if !seen.insert(item.id.to_string()) {
            bail!("{}: there is another row with the id {}; give each row its own", records.place(row), item.id);
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_ends_where_its_braces_are_closed() {
        let kept = |text: &'static str| boxed_end(text).map(|end| &text[..end]);
        assert_eq!(kept(r"so \boxed{\frac{1}{2}} and on"), Some(r"so \boxed{\frac{1}{2}}"));
        assert_eq!((kept(r"so \boxed{\frac{1}{2}"), kept("so {5}"), kept("")), (None, None, None));
        // The first that is closed, whether or not one around it is.
        assert_eq!(kept(r"\boxed{a \boxed{b} c"), Some(r"\boxed{a \boxed{b}"));
        assert_eq!(kept(r"\boxed{} \boxed{2}"), Some(r"\boxed{}"));
    }
}
