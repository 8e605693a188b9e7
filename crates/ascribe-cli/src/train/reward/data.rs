//! From a file to the rows that a loss of reward models learns from.

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{Seed, Tokens};
use ascribe::data::{ColumnMap, Dialogues, Loaded, Preference, Ranked, Rated, Split};
use ascribe::preference::{Encoder, TrainRow};
use ascribe::reward::losses::{
    ABSENT, GaussianHeadsConfig, HeadForm, LossOptions, PairLabel, UNRATED, bootstrap_weights, sample_noise,
};
use ascribe::reward::{RewardRow, with_confidence};
use serde_json::json;

use super::chosen::{Chosen, Teaches};
use crate::args::TrainArgs;
use crate::train::rows::{checked, groups, parts, say_skipped};

/// The rating that says whether a response is good, beside those of its concepts.
const LABEL: &str = "label";

/// Confidences that are stated behind responses, on a scale from 0 to 10.
const HIGH: f64 = 10.0;
const LOW: f64 = 0.0;

/// The records of a run, split by prompt.
pub(super) enum Data {
    /// Pairs of replies, whose texts are changed.
    Pairs(Split<Preference>),
    /// Pairs of which each side may have several turns.
    Dialogues(Split<Dialogues>),
    Ratings(Split<Rated>, Vec<String>),
    Ranks(Split<Ranked>),
}

/// Rows with what is known of them.
pub(super) struct Rows {
    pub(super) train: Vec<RewardRow>,
    pub(super) held_out: Vec<RewardRow>,
}

impl Rows {
    /// The rows to train on, and those that are held out.
    pub(super) fn parts(&self) -> [&[RewardRow]; 2] {
        [&self.train, &self.held_out]
    }
}

impl Data {
    pub(super) fn load(args: &TrainArgs, chosen: &mut Chosen) -> anyhow::Result<Self> {
        let columns = ColumnMap::parse(&args.columns)?;
        match chosen.teaches {
            Teaches::Attributes | Teaches::Rating | Teaches::Concepts => {}
            Teaches::Ranks => {
                let mut split = parts(args, groups(args, &columns)?)?;
                let several = |row: &Ranked| row.replies.len() > 1;
                let single = split.train.iter().chain(&split.held_out).filter(|row| !several(row)).count();
                if single > 0 {
                    eprintln!("{single} rows left out: prompts with one reply, which cannot be ranked");
                }
                split.train.retain(several);
                split.held_out.retain(several);
                let most = split.train.iter().chain(&split.held_out).map(|row| row.replies.len()).max().unwrap_or(2);
                chosen.kwargs.insert("responses".to_owned(), json!(most));
                return Ok(Self::Ranks(split));
            }
            Teaches::Origin => return Ok(Self::Ranks(parts(args, groups(args, &columns)?)?)),
            Teaches::Confidence => return Ok(Self::Pairs(parts(args, ascribe::data::load(&args.data, &columns)?)?)),
            _ => return Ok(Self::Dialogues(parts(args, ascribe::data::load(&args.data, &columns)?)?)),
        }
        let split = parts(args, ascribe::data::load::<Rated>(&args.data, &columns)?)?;
        let mut attributes: Vec<String> = Vec::new();
        for (name, _) in split.train.iter().chain(&split.held_out).flat_map(|row| &row.ratings) {
            if !attributes.contains(name) {
                attributes.push(name.clone());
            }
        }
        if chosen.teaches == Teaches::Concepts {
            if !attributes.iter().any(|name| name == LABEL) {
                bail!(
                    "concept-energy needs the rating `{LABEL}`, which is 1 for a good response, beside those of the concepts"
                );
            }
            attributes.retain(|name| name != LABEL);
            eprintln!("concepts: {}", attributes.join(", "));
            chosen.kwargs.insert("concepts".to_owned(), json!(attributes.len()));
        }
        if chosen.teaches == Teaches::Attributes {
            eprintln!("attributes: {}", attributes.join(", "));
            chosen.kwargs.insert("attributes".to_owned(), json!(attributes.len()));
        }
        Ok(Self::Ratings(split, attributes))
    }

    pub(super) fn attributes(&self) -> &[String] {
        match self {
            Self::Pairs(_) | Self::Dialogues(_) | Self::Ranks(_) => &[],
            Self::Ratings(_, attributes) => attributes,
        }
    }

    pub(super) fn encode(
        self,
        args: &TrainArgs,
        encoder: &Encoder,
        chosen: &Chosen,
        options: &LossOptions,
    ) -> anyhow::Result<Rows> {
        match self {
            Self::Ranks(split) if chosen.teaches == Teaches::Origin => {
                let part = |what: &str, records: Vec<Ranked>| -> anyhow::Result<Vec<RewardRow>> {
                    let ordered = records.into_iter().map(by_origin).collect::<anyhow::Result<Vec<Ranked>>>()?;
                    let encoded = checked(args, what, encoder.groups(ordered)?)?.rows;
                    Ok(encoded.into_iter().map(|(row, _)| reward_row(row, Vec::new())).collect())
                };
                Ok(Rows { train: part("training", split.train)?, held_out: part("held-out", split.held_out)? })
            }
            Self::Ranks(split) => {
                let part = |what: &str, records: Vec<Ranked>| -> anyhow::Result<Vec<RewardRow>> {
                    let encoded = checked(args, what, encoder.groups(records)?)?.rows;
                    Ok(encoded
                        .into_iter()
                        .map(|(row, record)| of_ranks(row, &record, options.k_wise.responses))
                        .collect())
                };
                Ok(Rows { train: part("training", split.train)?, held_out: part("held-out", split.held_out)? })
            }
            Self::Pairs(split) => {
                let part = |what: &str, records: Vec<Preference>| -> anyhow::Result<Vec<RewardRow>> {
                    let stated = records.iter().map(|record| stated(record, options.confidence.combined));
                    let stated = stated.collect::<anyhow::Result<Vec<Ranked>>>()?;
                    let encoded = checked(args, what, encoder.groups(stated)?)?.rows;
                    Ok(encoded.into_iter().map(|(row, _)| reward_row(row, Vec::new())).collect())
                };
                Ok(Rows { train: part("training", split.train)?, held_out: part("held-out", split.held_out)? })
            }
            Self::Dialogues(split) => {
                let part = |what: &str, records: Vec<Dialogues>| -> anyhow::Result<PairRows> {
                    of_pairs(args, chosen, options, checked(args, what, encoder.dialogues(records)?)?.rows)
                };
                let (train, held_out) = (part("training", split.train)?, part("held-out", split.held_out)?);
                if chosen.known == "bradley-terry" && chosen.teaches == Teaches::Order && train.margins > 0 {
                    eprintln!("the pairs have margins, which bradley-terry leaves alone; margin and scaled heed them");
                }
                Ok(Rows { train: train.rows, held_out: held_out.rows })
            }
            Self::Ratings(split, attributes) => {
                let part = |what: &str, records: Vec<Rated>| -> anyhow::Result<Vec<RewardRow>> {
                    of_ratings(args, chosen, options, &attributes, checked(args, what, encoder.rated(records)?)?.rows)
                };
                Ok(Rows { train: part("training", split.train)?, held_out: part("held-out", split.held_out)? })
            }
        }
    }
}

/// Rows of pairs, and how many of them have a margin.
pub(super) struct PairRows {
    pub(super) rows: Vec<RewardRow>,
    margins: usize,
}

pub(super) fn of_pairs(
    args: &TrainArgs,
    chosen: &Chosen,
    options: &LossOptions,
    encoded: Vec<(TrainRow, Dialogues)>,
) -> anyhow::Result<PairRows> {
    let (mut rows, mut margins, mut weightless) = (Vec::with_capacity(encoded.len()), 0, 0);
    for (row, Dialogues { pair: record, .. }) in encoded {
        // The head reads what all has been said; the language of a response is that of the assistant alone.
        let parted = row.responses.iter().any(|response| response.counts.is_some());
        if parted && args.reward.lm_coef.is_some() {
            bail!(
                "lm_coef weighs the language of the chosen response, and the conversations of line {} part before their last \
                 reply, so that the user speaks in it; drop lm_coef, or the pair",
                record.line
            );
        }
        margins += usize::from(record.margin.is_some());
        let given = || {
            record.margin.with_context(|| {
                format!("{} needs a `margin` for every pair, and line {} has none", chosen.name, record.line)
            })
        };
        let margin = || -> anyhow::Result<f64> {
            let margin = given()?;
            match margin >= 0.0 {
                true => Ok(f64::from(margin)),
                false => bail!("the margin of a pair must be at least 0, got {margin} in line {}", record.line),
            }
        };
        let labels = match chosen.teaches {
            Teaches::Margin => PairLabel::columns(&[PairLabel::margin(margin()?)]),
            Teaches::Strength => {
                let strength = margin()?;
                if strength == 0.0 {
                    weightless += 1;
                    continue;
                }
                PairLabel::columns(&[PairLabel::scaled(strength)])
            }
            Teaches::Ties => vec![f64::from(u8::from(record.margin == Some(0.0)))],
            Teaches::Teacher => {
                let probability = 1.0 / (1.0 + (-f64::from(given()?)).exp());
                // In a conflict the row says as well what is true: the chosen response is the better one.
                if options.weak_to_strong.alpha > 0.0 { vec![probability, 1.0] } else { vec![probability] }
            }
            _ => Vec::new(),
        };
        rows.push(reward_row(row, labels));
    }
    if weightless > 0 {
        if args.strict || rows.is_empty() {
            bail!("{weightless} pairs have the strength 0 and teach nothing; drop them");
        }
        eprintln!("{weightless} rows left out: pairs of the strength 0");
    }
    Ok(PairRows { rows, margins })
}

fn of_ratings(
    args: &TrainArgs,
    chosen: &Chosen,
    options: &LossOptions,
    attributes: &[String],
    encoded: Vec<(TrainRow, Rated)>,
) -> anyhow::Result<Vec<RewardRow>> {
    let [low, high] = options.regression.scale;
    let one = |(at, (row, record)): (usize, (TrainRow, Rated))| -> anyhow::Result<RewardRow> {
        let labels: Vec<f64> = match chosen.teaches {
            Teaches::Attributes => {
                if let Some((name, got)) = record.ratings.iter().find(|(_, rating)| !(low..=high).contains(rating)) {
                    let line = record.line;
                    bail!(
                        "a rating must be in [{low}, {high}], got {got} as {name} in line {line}; declare another scale by \
                         --loss-kwargs '{{\"scale\": [lowest, highest]}}'"
                    );
                }
                let rating = |name: &String| record.ratings.iter().find(|(known, _)| known == name).map(|(_, x)| *x);
                attributes.iter().map(|name| rating(name).unwrap_or(UNRATED)).collect()
            }
            Teaches::Concepts => {
                let flag = |name: &str| {
                    let found = record.ratings.iter().find(|(known, _)| known == name).map(|(_, x)| *x);
                    found.filter(|x| [0.0, 1.0].contains(x)).with_context(|| {
                        format!(
                            "the label and every concept must be rated 0 or 1, and `{name}` is not in line {}",
                            record.line
                        )
                    })
                };
                std::iter::once(LABEL)
                    .chain(attributes.iter().map(String::as_str))
                    .map(flag)
                    .collect::<anyhow::Result<_>>()?
            }
            _ => {
                let mean = record.ratings.iter().map(|(_, x)| x).sum::<f64>() / record.ratings.len() as f64;
                let GaussianHeadsConfig { heads, form } = options.gaussian_heads;
                let mut stream = Seed(args.seed).stream("bootstrap", at as u64);
                let mut labels = [vec![mean], bootstrap_weights(heads, &mut stream)].concat();
                if form == HeadForm::Sample {
                    let mut stream = Seed(args.seed).stream("noise", at as u64);
                    labels.extend(sample_noise(heads, &mut stream));
                }
                labels
            }
        };
        Ok(reward_row(row, labels))
    };
    encoded.into_iter().enumerate().map(one).collect()
}

/// Three replies by their ratings: machine text, text of both, human text.
fn by_origin(mut record: Ranked) -> anyhow::Result<Ranked> {
    record.replies.sort_by(|a, b| b.1.total_cmp(&a.1));
    let falls = record.replies.windows(2).all(|pair| pair[0].1 > pair[1].1);
    if record.replies.len() != 3 || !falls {
        bail!(
            "machine-text needs three replies to every prompt, rated machine text above mixed above human text, and those of \
             line {} are not; leave the prompt out",
            record.line
        );
    }
    Ok(record)
}

/// The replies to a prompt with their qualities, from 0 up; absent ones fill the row.
fn of_ranks(row: TrainRow, record: &Ranked, most: usize) -> RewardRow {
    let least = record.replies.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let mut labels: Vec<f64> = record.replies.iter().map(|(_, score)| score - least).collect();
    labels.resize(most, ABSENT);
    let mut row = reward_row(row, labels);
    if let Some(first) = row.responses.first().cloned() {
        row.responses.resize(most, first);
    }
    row
}

/// The responses of a pair with a high and a low confidence: chosen high, chosen low, rejected high, rejected low, and with
/// `combined` both without one. What they are scored with here is only their place.
fn stated(record: &Preference, combined: bool) -> anyhow::Result<Ranked> {
    let mut texts = Vec::with_capacity(6);
    for text in [&record.chosen, &record.rejected] {
        texts.extend([with_confidence(text, HIGH)?, with_confidence(text, LOW)?]);
    }
    if combined {
        texts.extend([record.chosen.clone(), record.rejected.clone()]);
    }
    let replies = texts.into_iter().zip((0u32..).map(f64::from)).collect();
    Ok(Ranked { prompt: record.prompt.clone(), replies, line: record.line })
}

/// Pairs as they are, without labels.
pub(super) fn pair_rows<T>(encoded: Vec<(TrainRow, T)>) -> Vec<RewardRow> {
    encoded.into_iter().map(|(row, _)| reward_row(row, Vec::new())).collect()
}

/// The groups of a meta step.
pub(super) fn groups_of(args: &TrainArgs, encoder: &Encoder, groups: Vec<Ranked>) -> anyhow::Result<Vec<RewardRow>> {
    let encoded = checked(args, "meta", encoder.groups(groups)?)?.rows;
    Ok(encoded.into_iter().map(|(row, _)| reward_row(row, Vec::new())).collect())
}

/// The pairs that a merge of attributes is fitted on.
pub(super) fn merge_pairs(args: &TrainArgs, encoder: &Encoder, path: &Path) -> anyhow::Result<Vec<RewardRow>> {
    let Loaded { rows, skipped, notes } = ascribe::data::load::<Dialogues>(path, &ColumnMap::default())?;
    notes.iter().for_each(|note| eprintln!("{note}"));
    say_skipped(args, &skipped, rows.len())?;
    Ok(pair_rows(checked(args, "merge", encoder.dialogues(rows)?)?.rows))
}

fn reward_row(row: TrainRow, labels: Vec<f64>) -> RewardRow {
    let responses: Vec<Tokens> = row.responses.into_iter().map(|response| response.tokens).collect();
    RewardRow { prompt: row.prompt, responses, labels, line: row.line }
}
