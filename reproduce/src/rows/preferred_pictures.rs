//! PARM's other parts, on the pictures of `potential`: DPO on pairs that the judge orders, and reflection on what was drawn.
//!
//! ```text
//! log pi(y | wanted) = log sum_g softmax(log meant + change[wanted])_g P(y | glyph g),      change = 0 at the start
//! reflection           the glyph that a draft is nearest to, where it is another than the wanted one, is not meant again
//! ```

use anyhow::Result;
use ascribe::core::tensor::Mask;
use ascribe::core::{
    CoreError, LogpBatch, Loss, Mode, Objective, Policy, Reduce, Request, RowKind, Sampling, Seed, Tokens, Until,
};
use ascribe::preference::objectives::DpoConfig;
use ascribe::search::{BestOfN, PathOptions, PathSelection, Refine, RefineOptions, Refiner, Search, SearchCtx, Steps};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation::softmax};

use super::potential::{GLYPHS, Looks, Odds, ROWS, VALUES, is_right, likelihoods, meant, next_rows, posterior};
use crate::heads::best;
use crate::language::Language;
use crate::row::{Claim, Figures, Row};
use crate::step_table::fitted;
use crate::tabular::indices;

const GLYPH: usize = GLYPHS.len();
/// Stands behind a draft that is to be drawn again.
const AGAIN: u32 = VALUES;
/// Pairs for each glyph, and passes over them.
const PAIRS: usize = 200;
const PASSES: f64 = 5.0;
const PICTURES: u64 = 600;
const PATHS: usize = 8;

/// PARM's claims on training and reflection.
pub const ROW: Row = Row {
    name: "preferred-pictures",
    paper: "Can We Generate Images with CoT? Let's Verify and Reinforce Image Generation Step by Step, arXiv:2501.13926",
    setting: "the pictures, the writer, the assessor and the judge of `potential`; DPO at beta 0.1 on 200 pairs a glyph, of pictures \
              of the writer that the judge orders, which changes how often each glyph is meant; a draft that is drawn once more, \
              with or without a look at it, and the better one by the judge; 600 pictures a seed",
    seeds: 20,
    claims: &[
        Claim { says: "DPO draws what was asked for more often", more: "one picture, DPO", less: "one picture" },
        Claim {
            says: "it adds to the potential of paths",
            more: "potential of 8 paths, DPO",
            less: "potential of 8 paths",
        },
        Claim {
            says: "who looks at a draft draws better the second time than who does not",
            more: "drawn again, reflected",
            less: "drawn again",
        },
        Claim { says: "and better than one picture", more: "drawn again, reflected", less: "one picture" },
    ],
    tried: "",
    run,
};

/// A writer by how often it means each glyph for each that is wanted; behind a draft it reflects.
fn writer(means: [Odds; GLYPH]) -> Language<impl Fn(&[u32]) -> Vec<(u32, f64)> + Send + Sync> {
    Language(move |text: &[u32]| {
        let Some((wanted, rows)) = text.split_first() else { return Vec::new() };
        let wanted = *wanted as usize;
        match rows.iter().position(|row| *row == AGAIN) {
            Some(end) => next_rows(reflected(means[wanted], wanted, &rows[..end]), &rows[end + 1..]),
            None => next_rows(means[wanted], rows),
        }
    })
}

/// The odds without what the draft shows, where that was not wanted.
fn reflected(mut odds: Odds, wanted: usize, draft: &[u32]) -> Odds {
    let shown = best(&posterior(odds, draft));
    if shown != wanted {
        odds[shown] = 0.0;
    }
    let total: f64 = odds.iter().sum();
    odds.map(|odds| odds / total)
}

/// How often the untrained writer means each glyph.
fn untrained() -> [Odds; GLYPH] {
    std::array::from_fn(|wanted| meant(wanted as u32))
}

fn run(seed: Seed) -> Result<Figures> {
    let (start, trained) = (writer(untrained()), writer(by_dpo(&pairs(seed.child("pairs", 0))?, seed)?));
    let look = |prompt: &Tokens, draft: &[u32], _: Option<usize>| prompt.followed_by(&[draft, &[AGAIN][..]].concat());
    let reflecting = Refiner { policy: Some(&start), prompt: &look };
    let clarity = Looks::Clarity;
    let paths = PathOptions { n: PATHS, levels: ROWS, ..PathOptions::default() };
    let potential = PathSelection { options: paths, clarity: Some(&clarity), reflection: None };
    let one = BestOfN { n: 1 };
    let blind = Refine { options: RefineOptions::default(), global: None, local: None };
    let looking = Refine { global: Some(reflecting), ..blind };
    let arms: [(&str, &dyn Policy, &dyn Search); 6] = [
        ("one picture", &start, &one),
        ("one picture, DPO", &trained, &one),
        ("potential of 8 paths", &start, &potential),
        ("potential of 8 paths, DPO", &trained, &potential),
        ("drawn again", &start, &blind),
        ("drawn again, reflected", &start, &looking),
    ];
    let mut figures = Figures::new();
    for (name, writer, search) in arms {
        figures.push((name.to_owned(), right(writer, search, seed)?));
    }
    Ok(figures)
}

/// The share of pictures that are right.
fn right(writer: &dyn Policy, search: &dyn Search, seed: Seed) -> Result<f64> {
    let mut right = 0;
    for number in 0..PICTURES {
        let own = seed.child("picture", number);
        let (potential, judge) = (Looks::Potential(own), Looks::Whole(own));
        let wanted = (number % GLYPH as u64) as u32;
        let ctx = SearchCtx::new(writer, ROWS, own).with_steps(Steps::blocks(1));
        let mut ctx = ctx.with_scorer(&potential, Reduce::Last).with_judge(&judge, Reduce::Last);
        for found in search.search(&[Tokens::from(vec![wanted])], &mut ctx)? {
            right += usize::from(is_right(wanted, &found.best().tokens));
        }
    }
    Ok(right as f64 / PICTURES as f64)
}

/// Two pictures of what was wanted, the better one first.
#[derive(Clone, Debug, PartialEq)]
struct Pair {
    wanted: usize,
    pictures: [Vec<u32>; 2],
}

/// Pairs of pictures of the untrained writer, as the judge orders them.
fn pairs(seed: Seed) -> Result<Vec<Pair>> {
    let (start, judge) = (writer(untrained()), Looks::Whole(seed));
    let mut pairs = Vec::with_capacity(GLYPH * PAIRS);
    for wanted in 0..GLYPH {
        let (prefix, seed) = (Tokens::from(vec![wanted as u32]), seed.child("wanted", wanted as u64));
        let mode = Mode::Sample(Sampling::default());
        let request = Request { prefix: prefix.clone(), n: 2 * PAIRS, until: Until::End, mode, max_new: ROWS, seed };
        let drawn: Vec<Vec<u32>> = start
            .propose(&[request])?
            .into_iter()
            .flat_map(|reply| reply.candidates)
            .map(|candidate| candidate.tokens.into_vec())
            .collect();
        for two in drawn.chunks_exact(2) {
            let [first, second] = [0, 1].map(|at| judge.at(&prefix.followed_by(&two[at])));
            let order = if first >= second { [0, 1] } else { [1, 0] };
            pairs.push(Pair { wanted, pictures: order.map(|at| two[at].clone()) });
        }
    }
    Ok(pairs)
}

/// How often each glyph is meant after DPO on these pairs.
fn by_dpo(pairs: &[Pair], seed: Seed) -> Result<[Odds; GLYPH]> {
    let objective = DpoConfig::default().init()?;
    let learner = OnPairs { objective: &objective };
    let changes = fitted(&learner, [GLYPH, GLYPH], pairs, PASSES, seed)?;
    let odds = |wanted: usize| {
        let start = meant(wanted as u32);
        let weights: Odds = std::array::from_fn(|glyph| start[glyph] * changes[wanted * GLYPH + glyph].exp());
        let total: f64 = weights.iter().sum();
        weights.map(|weight| weight / total)
    };
    Ok(std::array::from_fn(odds))
}

/// Learns what is meant.
struct OnPairs<'a> {
    objective: &'a dyn Objective,
}

impl OnPairs<'_> {
    fn loss(&self, model: &Embedding, rows: &[&Pair]) -> Result<Loss, CoreError> {
        let changes = model.weight.val(); // [wanted, glyphs]
        let device = changes.device();
        // First all chosen pictures, then all rejected ones.
        let of_side = |side: usize| rows.iter().map(move |row| (row.wanted, &row.pictures[side][..]));
        let pictures: Vec<(usize, &[u32])> = of_side(0).chain(of_side(1)).collect();
        let n = 2 * rows.len();
        let wanted = indices(pictures.iter().map(|(wanted, _)| *wanted as i64).collect(), &device); // [2 * rows]
        let start =
            tensor(pictures.iter().flat_map(|(wanted, _)| meant(*wanted as u32).map(f64::ln)), [n, GLYPH], &device);
        let given = tensor(pictures.iter().flat_map(|(_, picture)| shares(picture)), [n, GLYPH], &device);
        let reference = pictures.iter().map(|(wanted, picture)| mixed(meant(*wanted as u32), picture).ln());
        let reference = tensor(reference, [n, 1], &device); // [2 * rows, 1]
        let means = softmax(changes.select(0, wanted) + start, 1); // [2 * rows, glyphs]
        let logps = (means * given).sum_dim(1).log(); // [2 * rows, 1]
        let mask = Mask::from_rows(&vec![vec![true]; n], &device);
        self.objective.loss(&LogpBatch::new(RowKind::Pairs, logps, mask)?.with_ref_logps(reference)?)
    }
}

/// Likelihoods of a picture under each glyph, over the largest of them, which cancels in a log-ratio and keeps the rest in range.
fn shares(picture: &[u32]) -> Odds {
    let likelihoods = likelihoods(picture);
    let largest = likelihoods.iter().copied().fold(0.0, f64::max);
    likelihoods.map(|likelihood| likelihood / largest)
}

/// The probability of a picture where so much is meant, over the same.
fn mixed(odds: Odds, picture: &[u32]) -> f64 {
    odds.iter().zip(shares(picture)).map(|(odds, share)| odds * share).sum()
}

fn tensor(values: impl Iterator<Item = f64>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.map(|value| value as f32).collect::<Vec<f32>>(), shape), device)
}

impl Learner for OnPairs<'_> {
    type Model = Embedding;
    type Row = Pair;

    fn learn(&self, model: &Embedding, rows: &[&Pair]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Embedding, rows: &[&Pair]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows)?, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_draft_is_not_meant_again_and_a_right_one_is() {
        // P is wanted, B was drawn: 0.3 of the 0.86 that are left.
        let odds = reflected(meant(2), 2, &GLYPHS[3]);
        assert!((odds[2] - 0.3 / 0.86).abs() < 1e-9 && odds[3] == 0.0, "{odds:?}");
        assert!((reflected(meant(2), 2, &GLYPHS[2])[2] - 0.3).abs() < 1e-9, "a right draft is no reason");
        // Behind a draft and the mark a picture begins anew, and ends.
        let start = writer(untrained());
        let behind = |rows: &[u32]| (start.0)(&[&[2][..], &GLYPHS[3][..], &[AGAIN][..], rows].concat());
        assert!((behind(&[]).iter().map(|(_, chance)| chance).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(behind(&GLYPHS[2]).is_empty());
    }

    #[test]
    fn what_is_preferred_is_meant_more_often() {
        // Where E is wanted it is preferred to D throughout; nothing is said of other wishes.
        let pair = Pair { wanted: 0, pictures: [GLYPHS[0].to_vec(), GLYPHS[5].to_vec()] };
        let odds = by_dpo(&vec![pair; 64], Seed(0)).unwrap();
        assert!(odds[0][0] > 0.33 && odds[0][5] < 0.125, "{odds:?}");
        assert!((1..GLYPH).all(|wanted| (odds[wanted][wanted] - 0.3).abs() < 1e-9));
        // The writer's own log-ratios are 0 at the start: its loss is ln 2.
        let objective = DpoConfig::default().init().unwrap();
        let learner = OnPairs { objective: &objective };
        let zeros = Tensor::<2>::zeros([GLYPH, GLYPH], &Device::flex().autodiff());
        let model = Embedding { weight: burn::module::Param::from_tensor(zeros) };
        let row = Pair { wanted: 3, pictures: [GLYPHS[3].to_vec(), GLYPHS[1].to_vec()] };
        let tally = learner.measure(&model, &[&row]).unwrap();
        assert!((tally.loss - 2f64.ln()).abs() < 1e-6, "{}", tally.loss);
    }
}
