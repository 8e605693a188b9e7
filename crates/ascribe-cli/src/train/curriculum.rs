//! `--curriculum cyclical` and its relatives: epochs that have a part of the rows, and how easy each row is.

use anyhow::bail;
use ascribe::core::Seed;
use ascribe::data::{Curriculum, Cyclical, Ease, Epochs};
use ascribe::lm::{Decoder, LanguageModel};
use ascribe::preference::{LogpLearner, TrainRow};
use ascribe::train::{CurriculumRows, FitConfig, LabelledRows, Learner, Source};

use super::{contents, load};
use crate::args::{CurriculumArgs, CurriculumName, EaseName, TrainArgs};
use crate::output::Progress;

/// The statistic of a pair that says by how much the chosen response is ahead.
const MARGIN: &str = "rewards/margins";

/// Where the rows of a run come from, and its number of steps.
type Steps<'a> = (Box<dyn Source<Decoder, TrainRow> + 'a>, usize);

/// Checks what can be checked without rows.
pub fn check(args: &TrainArgs) -> anyhow::Result<()> {
    let CurriculumArgs { curriculum, curriculum_ease, curriculum_model, .. } = &args.curriculum;
    if curriculum.is_none() {
        return Ok(());
    }
    fractions(args)?;
    match (curriculum_ease, curriculum_model) {
        (EaseName::Length, Some(_)) => {
            bail!("curriculum_model does nothing where the length makes a row easy; leave it out")
        }
        (EaseName::Loss | EaseName::Margin, None) => bail!(
            "how easy a row is says a model that was trained without a curriculum; name it with --curriculum-model, or use \
             --curriculum-ease length"
        ),
        _ => Ok(()),
    }
}

/// What tells a run with a curriculum from others.
pub fn identity(args: &TrainArgs) -> anyhow::Result<(&'static str, String)> {
    let options = &args.curriculum;
    let said = match (options.curriculum, &options.curriculum_model) {
        (None, _) => "none".to_owned(),
        (Some(_), None) => format!("{options:?}"),
        // What lies there, and not where.
        (Some(_), Some(path)) => {
            let others = CurriculumArgs { curriculum_model: None, ..options.clone() };
            format!("{others:?} {}", contents::of_model(path)?)
        }
    };
    Ok(("set of options of the curriculum", said))
}

/// The rows by the curriculum, if there is one. `judge` says how easy each is.
pub fn source<'a>(
    args: &TrainArgs,
    config: &FitConfig,
    judge: &LogpLearner,
    model: &LanguageModel,
    rows: &'a [TrainRow],
) -> anyhow::Result<Option<Steps<'a>>> {
    let options = &args.curriculum;
    if options.curriculum.is_none() {
        return Ok(None);
    }
    let values = match &options.curriculum_model {
        None => rows.iter().map(tokens).collect(),
        Some(path) => {
            let vanilla = load(path, &model.decoder.device())?;
            if vanilla.text_hash() != model.text_hash() {
                bail!("the model of curriculum_model has another tokenizer or chat template; use models of one family");
            }
            measured(&vanilla.decoder, judge, rows, options.curriculum_ease)?
        }
    };
    let log_weights = Ease::from(options.curriculum_ease).log_weights(&values, options.curriculum_anti)?;
    let curriculum = made(args, config, log_weights)?;
    let steps = planned(&curriculum, config)?;
    Ok(Some((Box::new(CurriculumRows::new(rows, curriculum, config.window())), steps)))
}

/// The rows in shuffled epochs, with both labels in every window as far as there are enough of each, if they have labels.
pub fn by_label<'a>(config: &FitConfig, rows: &'a [TrainRow]) -> anyhow::Result<Option<Steps<'a>>> {
    let labels: Option<Vec<bool>> = rows.iter().map(|row| row.label).collect();
    let Some(labels) = labels.filter(|labels| !labels.is_empty()) else { return Ok(None) };
    let order = Epochs::new(rows.len(), config.seed)?;
    let source = LabelledRows::new(rows, labels, order, config.window())?;
    Ok(Some((Box::new(source), config.steps(rows.len()))))
}

/// Steps of a run on so many rows, if it has a curriculum: they do not depend on which rows are easy.
pub fn steps(args: &TrainArgs, config: &FitConfig, rows: usize) -> anyhow::Result<Option<usize>> {
    if args.curriculum.curriculum.is_none() {
        return Ok(None);
    }
    planned(&made(args, config, vec![0.0; rows])?, config).map(Some)
}

/// The curriculum of rows of these weights.
fn made(args: &TrainArgs, config: &FitConfig, log_weights: Vec<f64>) -> anyhow::Result<Curriculum> {
    let seed = Seed(args.seed).child("curriculum", 0);
    Ok(Curriculum::new(log_weights, fractions(args)?, config.window(), seed)?)
}

/// The steps that are asked for, or all of them.
fn planned(curriculum: &Curriculum, config: &FitConfig) -> anyhow::Result<usize> {
    let all = curriculum.batches(config.window());
    if config.max_steps > all {
        bail!("the curriculum has {all} steps in all, and max_steps is {}; raise num_train_epochs", config.max_steps);
    }
    Ok(if config.max_steps > 0 { config.max_steps } else { all })
}

/// The part of the rows in each epoch.
fn fractions(args: &TrainArgs) -> anyhow::Result<Vec<f64>> {
    let CurriculumArgs { curriculum_start: start, curriculum_end: end, curriculum_alpha: alpha, .. } = args.curriculum;
    Ok(match args.curriculum.curriculum {
        Some(CurriculumName::Sharp) if args.given.has("curriculum_alpha") => {
            bail!("curriculum_alpha does nothing with --curriculum sharp, which has two parts; leave it out")
        }
        Some(name) => Cyclical { start, end, alpha }.paced(name.into(), args.num_train_epochs)?,
        None => Vec::new(),
    })
}

/// Tokens of a row.
fn tokens(row: &TrainRow) -> f64 {
    let responses: usize = row.responses.iter().map(|response| response.tokens.len()).sum();
    (row.prompt.len() + responses) as f64
}

/// Loss or margin of each row under a model.
fn measured(model: &Decoder, judge: &LogpLearner, rows: &[TrainRow], ease: EaseName) -> anyhow::Result<Vec<f64>> {
    let mut progress = Progress::new("how easy rows are", rows.len());
    let mut values = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let tally = judge.measure(model, &[row])?;
        values.push(match ease {
            EaseName::Margin => match tally.values(MARGIN) {
                [margin] => *margin,
                _ => bail!("the rows have no margin to be easy by; use --curriculum-ease loss or length"),
            },
            EaseName::Loss | EaseName::Length => tally.loss / tally.weight,
        });
        progress.at(at + 1);
    }
    Ok(values)
}
