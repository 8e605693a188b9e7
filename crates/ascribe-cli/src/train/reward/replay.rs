//! Pairs of the training before, to whose first scores a reward model is held (ReMoDetect's replay).

use std::path::Path;

use anyhow::bail;
use ascribe::data::{ColumnMap, Loaded, Preference};
use ascribe::lm::{DecoderConfig, Head, LanguageModel, Pooling, Row};
use ascribe::preference::Encoder;
use ascribe::reward::{ReplayRow, RewardCard, RewardModel, RewardRow};

use super::data::pair_rows;
use super::own_pooling;
use crate::args::TrainArgs;
use crate::hub::resolve;
use crate::train::rows::{checked, say_skipped};

/// The pairs of `--replay-data`, where it is given, and what its options must keep.
pub(super) fn read(args: &TrainArgs, width: usize) -> anyhow::Result<Option<Vec<Preference>>> {
    let Some(path) = &args.reward.replay_data else { return Ok(None) };
    if args.reward.meta_data.is_some() {
        bail!("replay_data and meta_data are two ways to hold on to what was learned; give one of them");
    }
    if args.reward.lm_coef.is_some() || args.reward.contrast.is_some() {
        bail!("lm_coef and contrast do nothing with a replay; drop them, or replay_data");
    }
    if args.reward.source_column.is_some() {
        bail!("a replay knows no sources; drop source_column, or replay_data");
    }
    if !scores_already(&args.model, Head::Sequence { labels: width })? {
        bail!(
            "replay_data holds a reward model to its first scores, and the model has no head of {width} scores yet; name one that \
             `train reward` has written"
        );
    }
    let own = own_pooling(args)?;
    if args.reward.pooling.is_some_and(|asked| Pooling::from(asked) != own) {
        bail!("replay_data holds a reward model to its first scores, which read other states; drop pooling");
    }
    let Loaded { rows, skipped, .. } = ascribe::data::load::<Preference>(path, &ColumnMap::default())?;
    say_skipped(args, &skipped, rows.len())?;
    Ok(Some(rows))
}

/// Whether the model has this head before it is trained.
fn scores_already(model: &Path, wanted: Head) -> anyhow::Result<bool> {
    let config = resolve(model)?.join("config.json");
    Ok(config.is_file() && DecoderConfig::from_json(&config)?.head == wanted)
}

/// The pairs without scores.
pub(super) fn encoded(args: &TrainArgs, encoder: &Encoder, pairs: Vec<Preference>) -> anyhow::Result<Vec<RewardRow>> {
    let rows = pair_rows(checked(args, "replayed", encoder.pairs(pairs)?)?.rows);
    match rows.is_empty() {
        true => bail!("replay_data holds no pair that can be replayed"),
        false => Ok(rows),
    }
}

/// The pairs with the scores that `model` gives them now.
pub(super) fn scored(
    model: &LanguageModel,
    card: RewardCard,
    mut pairs: Vec<RewardRow>,
) -> anyhow::Result<Vec<RewardRow>> {
    let judge = RewardModel::new(model, card)?;
    let texts: Vec<Row> = pairs
        .iter()
        .flat_map(|row| row.responses.iter().map(|response| Row { prompt: &row.prompt, response }))
        .collect();
    let outputs = judge.outputs(&texts)?;
    for (row, scores) in pairs.iter_mut().zip(outputs.chunks(2)) {
        row.labels = scores.concat();
    }
    Ok(pairs)
}

/// Each row with a pair beside it, over and over.
pub(super) fn beside(rows: &[RewardRow], pairs: &[RewardRow]) -> Vec<ReplayRow> {
    let both = rows.iter().zip(pairs.iter().cycle());
    both.map(|(row, replayed)| ReplayRow { row: row.clone(), replayed: replayed.clone() }).collect()
}
