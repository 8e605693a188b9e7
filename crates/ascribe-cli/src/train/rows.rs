//! From a file to the rows that an objective learns from: read by what it needs, split, encoded, and completed.

use anyhow::bail;
use ascribe::core::{Needs, RowKind, Seed};
use ascribe::data::{
    Choices, ColumnMap, Dialogues, HeldOut, Kind, LanguageModelling, Loaded, Message, Preference, Prompt,
    PromptCompletion, Ranked, Rated, Record, Skipped, Split, Unpaired, split_by_prompt,
};
use ascribe::preference::{Encoded, Encoder, PreferenceError, TrainRow, mismatch};

use crate::args::TrainArgs;

/// The records of a run, split by prompt.
pub(crate) enum Data {
    Completions(Split<PromptCompletion>),
    /// With their records, for revision prompts.
    Pairs(Split<Preference>),
    Dialogues(Split<Dialogues>),
    Triples(Split<Preference>),
    Labelled(Split<Unpaired>),
    Groups(Split<Ranked>),
}

/// Training rows, and rows that are only measured.
pub(crate) struct Rows {
    pub train: Vec<TrainRow>,
    pub held_out: Vec<TrainRow>,
    /// The records that training rows were made from, if these are pairs or triples and token rewards are made of them.
    pub pairs: Vec<Preference>,
}

impl Data {
    /// Reads the rows that an objective with these needs learns from, out of a file of any kind that has them.
    pub fn load(args: &TrainArgs, needs: &Needs) -> anyhow::Result<Self> {
        let columns = ColumnMap::parse(&args.columns)?;
        Ok(match needs.kind {
            RowKind::Single => Self::Completions(parts(args, completions(args, &columns)?)?),
            RowKind::Pairs if needs.credit => Self::Pairs(parts(args, ascribe::data::load(&args.data, &columns)?)?),
            RowKind::Pairs => Self::Dialogues(parts(args, ascribe::data::load(&args.data, &columns)?)?),
            RowKind::Triples => Self::Triples(parts(args, ascribe::data::load(&args.data, &columns)?)?),
            RowKind::Labelled => Self::Labelled(parts(args, labelled(args, &columns)?)?),
            RowKind::Groups => Self::Groups(parts(args, groups(args, &columns)?)?),
        })
    }

    /// Encodes the rows, leaves out those that lack what is needed, and adds mismatched responses if they are needed.
    pub fn encode(self, args: &TrainArgs, encoder: &Encoder, needs: &Needs, max_length: usize) -> anyhow::Result<Rows> {
        let mut rows = match self {
            Self::Completions(split) => without_records(encoded(args, split, needs, |all| encoder.completions(all))?),
            Self::Labelled(split) => without_records(encoded(args, split, needs, |all| encoder.labelled(all))?),
            Self::Groups(split) => without_records(encoded(args, split, needs, |all| encoder.groups(all))?),
            Self::Pairs(split) => with_records(encoded(args, split, needs, |all| encoder.pairs(all))?),
            Self::Dialogues(split) => without_records(encoded(args, split, needs, |all| encoder.dialogues(all))?),
            Self::Triples(split) => with_records(encoded(args, split, needs, |all| encoder.triples(all))?),
        };
        if needs.mismatched {
            for part in [&mut rows.train, &mut rows.held_out].into_iter().filter(|part| !part.is_empty()) {
                mismatch(part, max_length)?;
            }
        }
        Ok(rows)
    }
}

/// Training rows with their records, and held-out rows.
type Both<R> = (Vec<(TrainRow, R)>, Vec<(TrainRow, R)>);

fn encoded<R>(
    args: &TrainArgs,
    split: Split<R>,
    needs: &Needs,
    encode: impl Fn(Vec<R>) -> Result<Encoded<R>, PreferenceError>,
) -> anyhow::Result<Both<R>> {
    let train = checked(args, "training", encode(split.train)?.needing(needs))?;
    let held_out = checked(args, "held-out", encode(split.held_out)?.needing(needs))?;
    Ok((train.rows, held_out.rows))
}

fn without_records<R>((train, held_out): Both<R>) -> Rows {
    let rows = |part: Vec<(TrainRow, R)>| part.into_iter().map(|(row, _)| row).collect();
    Rows { train: rows(train), held_out: rows(held_out), pairs: Vec::new() }
}

fn with_records((train, held_out): Both<Preference>) -> Rows {
    let (train, pairs) = train.into_iter().unzip();
    Rows { train, held_out: held_out.into_iter().map(|(row, _)| row).collect(), pairs }
}

/// Labelled responses; the two sides of a pair are one of each. Of sides that part before their last reply that reply is judged,
/// given all before it.
pub(super) fn labelled(args: &TrainArgs, columns: &ColumnMap) -> anyhow::Result<Loaded<Unpaired>> {
    match Kind::detect(&args.data, columns)? {
        Kind::Preference => {
            eprintln!("the rows are pairs: chosen responses are wanted, rejected ones are not");
            let Loaded { rows, skipped, notes } = ascribe::data::load::<Dialogues>(&args.data, columns)?;
            let parted = rows.iter().filter(|row| !row.between.iter().all(Vec::is_empty)).count();
            if parted > 0 {
                eprintln!(
                    "{parted} pairs part before their last reply: that of each side is judged, given all before it"
                );
            }
            let sides = |Dialogues { pair, between: [first, second] }: Dialogues| {
                let Preference { prompt, chosen, rejected, line, .. } = pair;
                let side = |between: Vec<Message>, completion: String, label: bool| {
                    let prompt = match &prompt {
                        Prompt::Messages(messages) => Prompt::Messages([messages.as_slice(), &between].concat()),
                        Prompt::Text(text) => Prompt::Text(text.clone()),
                    };
                    Unpaired { prompt, completion, label, line }
                };
                [side(first, chosen, true), side(second, rejected, false)]
            };
            Ok(Loaded { rows: rows.into_iter().flat_map(sides).collect(), skipped, notes })
        }
        _ => Ok(ascribe::data::load(&args.data, columns)?),
    }
}

/// Prompts with scored responses: from ratings, from right and wrong replies, or from pairs.
pub(super) fn groups(args: &TrainArgs, columns: &ColumnMap) -> anyhow::Result<Loaded<Ranked>> {
    match Kind::detect(&args.data, columns)? {
        Kind::Rated => {
            let Loaded { rows, skipped, notes } = ascribe::data::load::<Rated>(&args.data, columns)?;
            Ok(Loaded { rows: Ranked::of_ratings(rows), skipped, notes })
        }
        Kind::Preference => {
            let Loaded { rows, skipped, notes } = ascribe::data::load::<Preference>(&args.data, columns)?;
            Ok(Loaded { rows: rows.into_iter().map(Ranked::from).collect(), skipped, notes })
        }
        _ => {
            let Loaded { rows, skipped, notes } = ascribe::data::load::<Choices>(&args.data, columns)?;
            Ok(Loaded { rows: rows.into_iter().map(Ranked::from).collect(), skipped, notes })
        }
    }
}

/// Rows for supervised training, from any kind of file: pairs teach their chosen response, conversations their last reply.
fn completions(args: &TrainArgs, columns: &ColumnMap) -> anyhow::Result<Loaded<PromptCompletion>> {
    fn from<R: Record>(
        args: &TrainArgs,
        columns: &ColumnMap,
        turn: impl Fn(R) -> Option<PromptCompletion>,
    ) -> anyhow::Result<Loaded<PromptCompletion>> {
        let Loaded { rows, skipped, notes } = ascribe::data::load::<R>(&args.data, columns)?;
        let (before, rows) = (rows.len(), rows.into_iter().filter_map(turn).collect::<Vec<_>>());
        if rows.len() < before {
            bail!("{} of {before} conversations do not end with the assistant; drop them", before - rows.len());
        }
        Ok(Loaded { rows, skipped, notes })
    }
    match Kind::detect(&args.data, columns)? {
        Kind::PromptCompletion => Ok(ascribe::data::load(&args.data, columns)?),
        kind @ (Kind::PromptOnly | Kind::Unpaired | Kind::Stepwise | Kind::Rated | Kind::Choices) => bail!(
            "`{}` holds rows of the kind {}, which are no replies to learn; ascribe convert --kind prompt-completion makes \
             them so where it can",
            args.data.display(),
            kind.name()
        ),
        Kind::Preference => {
            eprintln!("the rows are pairs: the chosen responses are learned");
            from(args, columns, |row: Preference| {
                Some(PromptCompletion { prompt: row.prompt, completion: row.chosen, line: row.line })
            })
        }
        Kind::LanguageModelling => from(args, columns, |row: LanguageModelling| match row.content {
            Prompt::Text(_) => None,
            Prompt::Messages(mut messages) => {
                let reply = messages.pop_if(|message| message.role == "assistant")?;
                let prompt = Prompt::Messages(messages);
                Some(PromptCompletion { prompt, completion: reply.content, line: row.line })
            }
        }),
    }
}

/// Says what was read and left out, and splits by prompt.
pub(super) fn parts<R: Record>(args: &TrainArgs, loaded: Loaded<R>) -> anyhow::Result<Split<R>> {
    loaded.notes.iter().for_each(|note| eprintln!("{note}"));
    say_skipped(args, &loaded.skipped, loaded.rows.len())?;
    let mut split = split_by_prompt(loaded.rows, HeldOut::Rows(args.held_out), Seed(args.seed))?;
    if split.dropped > 0 {
        eprintln!("{} rows dropped: more rows of a held-out prompt", split.dropped);
    }
    if args.max_train_samples > 0 {
        split.train.truncate(args.max_train_samples);
    }
    eprintln!("{} rows to train on, {} held out, split by prompt", split.train.len(), split.held_out.len());
    Ok(split)
}

pub(super) fn say_skipped(args: &TrainArgs, skipped: &Skipped, left: usize) -> anyhow::Result<()> {
    if !skipped.is_empty() {
        if args.strict || left == 0 {
            return Err(skipped.refuse().into());
        }
        eprintln!("{skipped}");
    }
    Ok(())
}

/// Says what encoding left out and cut.
pub(super) fn checked<R>(args: &TrainArgs, what: &str, encoded: Encoded<R>) -> anyhow::Result<Encoded<R>> {
    say_skipped(args, &encoded.skipped, encoded.rows.len())?;
    let cut = encoded.truncation;
    if cut.prompts + cut.responses > 0 {
        eprintln!(
            "max_length {}: {} of {} {what} prompts cut on the left, {} responses cut on the right",
            args.max_length,
            cut.prompts,
            encoded.rows.len(),
            cut.responses
        );
    }
    Ok(encoded)
}
