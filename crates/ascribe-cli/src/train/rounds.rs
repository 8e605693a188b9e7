//! `ascribe train iterative-dpo`, `iterative-gpo`, `iterative-cream` and `iterative-scir`: in rounds the policy writes, someone
//! labels, and the pairs are learned from.

use std::path::Path;

use anyhow::bail;
use ascribe::core::{Continuation, CoreError, Needs, Policy, RowKind, Scorer, Seed, Tokens};
use ascribe::data::{ColumnMap, Prompt, PromptOnly};
use ascribe::lm::{Decoder, LanguageModel, LocalPolicy, Tokenizer};
use ascribe::preference::rl::{
    Agreement, Divided, Earned, Labeler, OnlinePairs, PairConfig, PromptRow, Scir, WeightedRewards, text_of,
};
use ascribe::preference::{Encoder, LogpLearner, TrainRow};
use ascribe::reward::Consistency;
use ascribe::train::TrainError;

use super::fitting::{Run, Trained};
use super::rollouts::{combined, only_compares, preference_model, prompts, prompts_hash, tell_held_out, weighted};
use super::rows::parts;
use super::step_rewards;
use super::{base, check_run, check_words, contents, fit_config, identity, load, refuse_other_runs, taken};
use crate::Catalog;
use crate::args::{LabelsName, TrainArgs};
use crate::catalog::Chosen;
use crate::device::device;
use crate::judge::Judge;
use crate::output::print_line;
use crate::words::Words;

/// A method of rounds.
pub struct Rounds {
    /// The name of the method.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// The loss on pairs.
    pub objective: &'static str,
    /// Whether pairs are relied upon as far as the policies of two rounds agree.
    agrees: bool,
    /// Whether pairs alone are learned from that the policy decides alike as a judge.
    judges: bool,
}

/// Every method of rounds.
pub static ROUNDS: [Rounds; 4] = [
    Rounds {
        name: "iterative-dpo",
        about: "DPO on the best and the worst of the responses to each prompt, by a reward or by the policy itself.",
        objective: "dpo",
        agrees: false,
        judges: false,
    },
    Rounds {
        name: "iterative-gpo",
        about: "GPO on them: how much a response earns above the mean of those to its prompt.",
        objective: "gpo",
        agrees: false,
        judges: false,
    },
    Rounds {
        name: "iterative-cream",
        about: "CREAM on them: the policy labels, and pairs count as far as two rounds agree.",
        objective: "cream",
        agrees: true,
        judges: false,
    },
    Rounds {
        name: "iterative-scir",
        about: "DPO on pairs that the policy decides alike as a judge of two numbered replies.",
        objective: "dpo",
        agrees: false,
        judges: true,
    },
];

/// The method `name`, if it is one of rounds; `_` may stand for `-`.
pub fn rounds(name: &str) -> Option<&'static Rounds> {
    let name = name.replace('_', "-");
    ROUNDS.iter().find(|rounds| rounds.name == name)
}

/// The loss on pairs.
fn chosen(args: &TrainArgs, rounds: &Rounds, catalog: &Catalog) -> anyhow::Result<Chosen> {
    let objective = catalog.make(rounds.objective, &args.objective)?;
    let Needs { kind, credit, scores, consistency, label_weights, divergence, mismatched, .. } = objective.needs();
    if scores && labels(args, rounds) == LabelsName::Implicit {
        bail!("{} learns the scores of a reward; name it with --reward, and let it label", objective.name);
    }
    if args.rounds.win_rates && !scores {
        bail!(
            "win_rates does nothing with {}, which learns no scores; leave it out, or use iterative-gpo",
            objective.name
        );
    }
    if kind != RowKind::Pairs || credit || mismatched || label_weights {
        bail!(
            "{} makes pairs of responses, and its loss asks for more; leave loss_type out, or name one on pairs",
            rounds.name
        );
    }
    if consistency != rounds.agrees {
        bail!(
            "how far a pair can be relied upon is measured by iterative-cream alone; use it, and leave consistency out"
        );
    }
    if divergence && !args.rounds.keep_reference {
        bail!(
            "{} goes by the whole distributions of the first reference, and a round learns against the policy that wrote it; \
             add --keep-reference",
            objective.name
        );
    }
    let objective = Chosen { name: rounds.name.to_owned(), ..objective };
    if divided(args, rounds) == Divided::LeftOut {
        return Ok(objective);
    }
    let (beta, options) = (beta(&objective), &args.rounds);
    let scir = Scir::new(objective.objective, beta, options.scir_consistency, options.scir_confidence)?;
    Ok(Chosen { objective: Box::new(scir), ..objective })
}

/// What becomes of pairs on which the policy and itself as a judge disagree.
fn divided(args: &TrainArgs, rounds: &Rounds) -> Divided {
    let penalty = args.rounds.scir_consistency != 0.0 || args.rounds.scir_confidence != 0.0;
    if rounds.judges && penalty { Divided::Kept } else { Divided::LeftOut }
}

/// What log-ratios are multiplied by in implicit labels: where the loss has no beta, it scales margins alone.
fn beta(chosen: &Chosen) -> f64 {
    chosen.number("beta").unwrap_or(PairConfig::default().beta)
}

/// Everything that can be checked before anything is loaded.
fn check(args: &TrainArgs, rounds: &Rounds) -> anyhow::Result<()> {
    taken::refuse(args)?;
    args.rl.aggregate()?;
    if args.rl.standardize && args.rl.reward.is_empty() && args.rounds.gold.is_empty() {
        bail!(
            "standardize does nothing without a reward to bring to its scale; name one with --reward, or leave it out"
        );
    }
    if args.max_steps == 0 {
        bail!("the steps of a round depend on the pairs that it finds, so {} needs --max-steps", rounds.name);
    }
    match (labels(args, rounds), args.rl.reward.is_empty()) {
        (LabelsName::Implicit, false) => {
            bail!("reward does nothing where the policy itself labels; leave it out, or take --labels both")
        }
        (LabelsName::Reward | LabelsName::Both, true) => bail!("labels by a reward need one: name it with --reward"),
        _ => {}
    }
    pair_config(args, &[], 1, 0.1).check()?;
    check_run(args)
}

fn labels(args: &TrainArgs, rounds: &Rounds) -> LabelsName {
    match args.rounds.labels {
        Some(labels) => labels,
        None if rounds.agrees || rounds.judges || args.rl.reward.is_empty() => LabelsName::Implicit,
        None => LabelsName::Reward,
    }
}

fn pair_config(args: &TrainArgs, ends: &[u32], context: usize, beta: f64) -> PairConfig {
    PairConfig {
        prompts: args.rounds.round_prompts,
        num_generations: args.rl.num_generations,
        sampling: args.rl.sampling(),
        max_completion_length: args.rl.max_completion_length,
        ends: ends.to_vec(),
        context,
        window: fit_config(args).window(),
        passes: args.rl.num_iterations,
        margin: args.rounds.label_margin,
        beta,
        follow: !args.rounds.keep_reference,
        earned: Earned::Leads,
        batch: args.per_device_train_batch_size,
        seed: Seed(args.seed).child("rounds", 0),
    }
}

/// The folder of the general preference model whose win rates are the labels, if they are asked of one.
fn compares<'a>(args: &'a TrainArgs, catalog: &Catalog) -> anyhow::Result<Option<&'a Path>> {
    if !args.rounds.win_rates {
        return Ok(None);
    }
    let (rl, found) = (&args.rl, preference_model(args, catalog)?);
    let changed = !rl.reward_weights.is_empty() || rl.combine.is_some() || rl.log_sigmoid.is_some() || rl.standardize;
    if let Some(folder) = found.filter(|_| changed || rl.reward.len() > 1) {
        bail!(
            "win_rates of the general preference model `{}` are the means of its preferences, as they are; name it alone with \
             --reward, and drop reward_weights, combine, log_sigmoid and standardize",
            folder.display()
        );
    }
    Ok(found)
}

/// What responses carry for a loss on scores.
fn earned(args: &TrainArgs, catalog: &Catalog) -> anyhow::Result<Earned> {
    Ok(match (args.rounds.win_rates, compares(args, catalog)?) {
        (false, _) => Earned::Leads,
        (true, None) => Earned::WinRates,
        (true, Some(_)) => Earned::Labels,
    })
}

/// The rewards that label and the one that is the truth, as far as they are named.
fn scorers(args: &TrainArgs, catalog: &Catalog, rows: &[PromptRow]) -> anyhow::Result<[Option<WeightedRewards>; 2]> {
    let (names, weights) = (&args.rl.reward, &args.rl.reward_weights);
    let unnamed = names.is_empty() && weights.is_empty();
    let gold = &args.rounds.gold;
    step_rewards::check(args, names.iter().chain(gold))?;
    let label = match compares(args, catalog)? {
        Some(folder) => {
            let prompts = rows.iter().map(|(tokens, row)| (tokens.clone(), row.prompt.clone()));
            let judge = Judge::open(folder, &device(&args.common.device)?, prompts)?.with_win_rates()?;
            let judge: Box<dyn Scorer> = Box::new(judge);
            Some(WeightedRewards::new(vec![(judge, 1.0)])?)
        }
        None if unnamed => None,
        None => Some(combined(args, catalog, rows)?),
    };
    let truth = (!gold.is_empty()).then(|| weighted(args, gold, &[], None, catalog, rows)).transpose()?;
    Ok([label, truth])
}

/// Checks a run without weights; gives numbers of prompts to train on and held out.
pub fn validate(args: &TrainArgs, rounds: &Rounds, catalog: &Catalog, words: &Words) -> anyhow::Result<(usize, usize)> {
    check(args, rounds)?;
    chosen(args, rounds, catalog)?;
    let split = parts(args, ascribe::data::load::<PromptOnly>(&args.data, &ColumnMap::parse(&args.columns)?)?)?;
    let context = words.limit(usize::MAX);
    let encoder = Encoder::from_parts(&words.tokenizer, words.template.as_ref(), context)?;
    let [train, held_out] = prompts(args, &encoder, split, context, None)?;
    let (n, m) = (train.len(), held_out.len());
    check_room(args, rounds, &words.tokenizer, &encoder, &train, context)?;
    scorers(args, catalog, &[train, held_out].concat())?;
    Ok((n, m))
}

pub fn run(args: &TrainArgs, rounds: &Rounds, catalog: &Catalog) -> anyhow::Result<()> {
    let config = fit_config(args);
    config.check()?;
    check(args, rounds)?;
    let chosen = chosen(args, rounds, catalog)?;
    let device = device(&args.common.device)?;
    let split = parts(args, ascribe::data::load::<PromptOnly>(&args.data, &ColumnMap::parse(&args.columns)?)?)?;
    let model = base(args, &device)?;
    let other = args.reference.as_deref().map(|path| load(path, &device)).transpose()?;
    if let Some(other) = &other {
        check_words(&model, other)?;
    }
    let mut run = identity(args, &config, &model, other.as_ref(), &chosen)?;
    run.push(("set of options of rounds", format!("{:?} {:?}", args.rounds, args.rl)));
    run.push(contents::of_judges(args, catalog)?);
    refuse_other_runs(args, &run)?;
    let context = model.config.context;
    let encoder = Encoder::new(&model, context)?;
    let [train, held_out] = prompts(args, &encoder, split, context, None)?;
    check_room(args, rounds, &model.tokenizer, &encoder, &train, context)?;
    let [reward, gold] = scorers(args, catalog, &[train.as_slice(), held_out.as_slice()].concat())?;
    run.push(("set of prompts", prompts_hash(&train)));
    let labels = labels(args, rounds);
    let labeler = match (labels, &reward) {
        (LabelsName::Implicit, _) => Labeler::Implicit,
        (LabelsName::Reward, Some(reward)) => Labeler::Explicit(reward),
        (LabelsName::Both, Some(reward)) => Labeler::Both(reward),
        (LabelsName::Reward | LabelsName::Both, None) => bail!("labels by a reward need one: name it with --reward"),
    };
    eprintln!(
        "{}: labels {labels:?}, {} prompts x {} responses a round, loss {}",
        rounds.name, args.rounds.round_prompts, args.rl.num_generations, rounds.objective
    );
    let reference = other.as_ref().unwrap_or(&model);
    let pairs = pair_config(args, model.tokenizer.eos(), context, beta(&chosen));
    let pairs = PairConfig { earned: earned(args, catalog)?, ..pairs };
    let consistency = Consistency::from(args.rounds.agreement);
    let of = |now: &[f64], before: &[f64]| -> Result<Option<f64>, CoreError> { Ok(consistency.of(now, before)?) };
    let judge = |policy: &Decoder, pairs: &[TrainRow]| decided(policy, pairs, &model, &encoder);
    let asked: Vec<Tokens> = train.iter().map(|(prompt, _)| prompt.clone()).collect();
    let mut source =
        OnlinePairs::new(&asked, labeler, reference.decoder.clone(), pairs)?.with_tokenizer(&model.tokenizer);
    if rounds.agrees {
        let per_prompt = args.rounds.agreement_per_prompt;
        source = source.with_agreement(Agreement { of: &of, per_prompt, policy: &model.decoder });
    }
    if rounds.judges {
        source = source.with_judge(&judge, divided(args, rounds));
    }
    if let Some(gold) = &gold {
        source = source.with_gold(gold);
    }
    let learner = LogpLearner::new(chosen.objective.as_ref()).with_reference(&reference.decoder);
    let run = Run {
        args,
        config,
        learner: &learner,
        judge: &learner,
        model: &model,
        identity: run,
        train: &[],
        held_out: &[],
        source: Some((Box::new(source), args.max_steps)),
        beside: None,
    };
    let start = run.start()?;
    let Trained { model: trained, .. } = run.fit(start)?;
    print_line(&format!("model written to {}", args.output_dir.display()))?;
    let judge: Option<&dyn Scorer> = match (&gold, &reward) {
        (Some(gold), _) => Some(gold),
        (None, Some(reward)) => Some(reward),
        (None, None) => None,
    };
    let Some(judge) = judge.filter(|_| !held_out.is_empty()) else {
        return print_line("nothing is known about other prompts; use --held-out with --gold or --reward");
    };
    if gold.is_none() && only_compares(args, catalog)? {
        return print_line("nothing is known about other prompts; use --gold");
    }
    tell_held_out(args, [&model, &trained], &[("reward".to_owned(), judge)], &held_out, None)
}

/// What a judge is asked.
pub(super) fn question(prompt: &str, first: &str, second: &str) -> String {
    format!("Request: {prompt}\n\nReply 1: {first}\n\nReply 2: {second}\n\nThe better reply is number ")
}

/// Refuses prompts that leave a judge no room for two replies.
fn check_room(
    args: &TrainArgs,
    rounds: &Rounds,
    tokenizer: &Tokenizer,
    encoder: &Encoder,
    train: &[PromptRow],
    context: usize,
) -> anyhow::Result<()> {
    if !rounds.judges {
        return Ok(());
    }
    let mut longest = 0;
    for (prompt, _) in train {
        let prompt = text_of(tokenizer, &[], prompt)?.text;
        longest = longest.max(encoder.prompt(&Prompt::Text(question(&prompt, "", "")))?.len());
    }
    // The replies, and the verdict.
    let needed = args.rl.max_completion_length.saturating_mul(2).saturating_add(longest + 1);
    if needed > context {
        bail!(
            "{} shows the policy a prompt and two replies, up to {needed} tokens, and its context is {context}; lower \
             max_completion_length, or drop the longest prompts",
            rounds.name
        );
    }
    Ok(())
}

/// The chance that the chosen response of each pair is the better one, by the policy as a judge: the mean over both orders. None
/// where its words are too long to be read.
fn decided(
    policy: &Decoder,
    pairs: &[TrainRow],
    model: &LanguageModel,
    encoder: &Encoder,
) -> Result<Vec<Option<f64>>, TrainError> {
    let words = |tokens: &Tokens| text_of(&model.tokenizer, &[], tokens).map(|text| text.text);
    let verdicts = [model.tokenizer.encode("1")?, model.tokenizer.encode("2")?];
    let (mut asked, mut fits) = (Vec::new(), Vec::with_capacity(pairs.len()));
    for pair in pairs {
        let [chosen, rejected] = pair.responses.as_slice() else {
            return Err(CoreError::Shape { rule: "a judge compares two responses", got: "others".to_owned() }.into());
        };
        let (prompt, chosen, rejected) = (words(&pair.prompt)?, words(&chosen.tokens)?, words(&rejected.tokens)?);
        let mut of_pair = Vec::with_capacity(4);
        for (first, second) in [(&chosen, &rejected), (&rejected, &chosen)] {
            let prefix = encoder.prompt(&Prompt::Text(question(&prompt, first, second)))?;
            for verdict in &verdicts {
                of_pair.push(Continuation { prefix: prefix.clone(), tokens: verdict.clone().into() });
            }
        }
        // Text that is read again may have more tokens than when it was written.
        let room = |one: &Continuation| one.prefix.len() + one.tokens.len() <= model.config.context;
        fits.push(of_pair.iter().all(room));
        if fits.last() == Some(&true) {
            asked.extend(of_pair);
        }
    }
    if asked.is_empty() {
        return Ok(vec![None; pairs.len()]);
    }
    let policy = LocalPolicy::new(policy, model.tokenizer.eos(), model.config.context)?;
    let (logps, _) = policy.score(&asked)?;
    let sums: Vec<f64> = logps.iter().map(|logps| logps.iter().map(|logp| f64::from(*logp)).sum()).collect();
    let probability = |wanted: f64, other: f64| 1.0 / (1.0 + (other - wanted).exp());
    // The verdicts 1 and 2 where the chosen response comes first, and then where it comes second.
    let decides = |of_pair: &[f64]| match of_pair {
        [one, two, turned_one, turned_two] => {
            Some((probability(*one, *two) + probability(*turned_two, *turned_one)) / 2.0)
        }
        _ => None,
    };
    let mut decided = sums.chunks(4).map(decides);
    Ok(fits.into_iter().map(|fits| if fits { decided.next().flatten() } else { None }).collect())
}

#[cfg(test)]
mod tests {
    use ascribe::preference::rl::of_text;
    use ascribe_testkit::golden;
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn labels_by_a_reward_of_ones_own_train() {
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("prompts.jsonl"), folder.path().join("out"));
        let rows = (0..5).map(|n| format!("{}\n", json!({"prompt": format!("what is {n}?")}))).collect::<String>();
        std::fs::write(&data, rows).unwrap();
        // Short texts are better.
        let short = |rows: &[PromptRow]| -> Result<Box<dyn Scorer>, ascribe::preference::PreferenceError> {
            Ok(Box::new(of_text(rows, |_, text| -(text.len() as f32))?))
        };
        let catalog = Catalog::builtin().reward("short", short);
        let line = "ascribe train iterative-dpo --reward short --gold short --max-steps 4 --num-generations 4 \
                    --round-prompts 2 --max-completion-length 6 --held-out 2 --per-device-train-batch-size 2 \
                    --gradient-accumulation-steps 1 --learning-rate 1e-3 --save-steps 2";
        let model = golden::root().join("lm").join("llama_gqa");
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        for (name, path) in [("--model", &model), ("--data", &data), ("--output-dir", &out)] {
            words.extend([name.to_owned(), path.to_string_lossy().into_owned()]);
        }
        let Command::Train(args) = Cli::try_parse_from(words).unwrap().command else { panic!("another command") };
        run(&args, rounds(&args.method).unwrap(), &catalog).unwrap();
        let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
        let log: Vec<serde_json::Value> = log.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(log.len(), 4);
        // The labels are the truth, and a round begins at its own reference.
        assert!(log.iter().all(|row| row["pairs/label_accuracy"] == 1.0 && row["pairs/margin"].as_f64() > Some(0.0)));
        assert!((log[0]["loss"].as_f64().unwrap() - std::f64::consts::LN_2).abs() < 1e-4);
        assert!(out.join("summary.json").is_file() && out.join("checkpoint-2").join("pairs.json").is_file());
    }
}
