//! PARM: an autoregressive picture is judged on its way, as soon as it is clear what it becomes, and given up where that is not
//! what was asked for.
//!
//! ```text
//! writer     row ~ sum_g P(g | rows so far) P(row | glyph g),   each of six pixels turned with 0.05
//! clarity    max_g P(g | rows so far) > 0.8
//! potential  P(the wanted glyph | rows so far)
//! ```
//! A picture is a glyph of six rows by six pixels, a token a row. E and F, and P, B, R and D, begin alike, so that nothing can be
//! said of their first rows. The judge of whole pictures sees how many pixels are as wanted, with an error of its own.

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Reduce, Scorer, Seed, Tokens};
use ascribe::search::{BestOfN, PathOptions, PathSelection, Search, SearchCtx, Steps};
use rand::RngExt;

use crate::language::Language;
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

pub const ROWS: usize = 6;
/// Values of a row.
pub const VALUES: u32 = 64;
const TURNED: f64 = 0.05;
/// How often the writer draws what was asked for; the other glyphs share the rest.
const WANTED: f64 = 0.3;
const CLEAR: f64 = 0.8;
/// How often the assessor of potential is mistaken, and the deviation of the judge's error.
const MISTAKEN: f64 = 0.05;
const ERROR: f64 = 0.1;
const PICTURES: u64 = 300;
const SAMPLES: usize = 8;
/// Paths that together have no more tokens than the samples.
const PATHS: usize = 9;

/// E, F, P, B, R and D, from the top.
pub const GLYPHS: [[u32; ROWS]; 6] = [
    [0b111110, 0b100000, 0b111100, 0b100000, 0b100000, 0b111110],
    [0b111110, 0b100000, 0b111100, 0b100000, 0b100000, 0b100000],
    [0b111100, 0b100010, 0b111100, 0b100000, 0b100000, 0b100000],
    [0b111100, 0b100010, 0b111100, 0b100010, 0b100010, 0b111100],
    [0b111100, 0b100010, 0b111100, 0b100100, 0b100010, 0b100010],
    [0b111100, 0b100010, 0b100010, 0b100010, 0b100010, 0b111100],
];

/// PARM's claims.
pub const ROW: Row = Row {
    name: "potential",
    paper: "Can We Generate Images with CoT? Let's Verify and Reinforce Image Generation Step by Step, arXiv:2501.13926",
    setting: "300 pictures a seed of six glyphs of 6 by 6 pixels, a row a token, in place of images; the writer draws what was asked \
              for three times in ten; an assessor of potential that is mistaken about one text in 20, a judge of whole pictures \
              with an error of 0.1",
    seeds: 12,
    claims: &[
        Claim {
            says: "potential and a final judgement draw what was asked for more often than the judgement alone, of as many paths",
            more: "right, potential of 8 paths",
            less: "right, best of 8",
        },
        Claim { says: "they need fewer tokens", more: "tokens, best of 8", less: "tokens, potential of 8 paths" },
        Claim {
            says: "with no more tokens than best-of-8, nine paths are better still",
            more: "right, potential of 9 paths",
            less: "right, best of 8",
        },
        Claim {
            says: "potential is better judged where the picture is clear than at its first row",
            more: "right, potential of 8 paths",
            less: "right, potential at the first row",
        },
    ],
    tried: "",
    run,
};

/// How likely each glyph is.
pub type Odds = [f64; GLYPHS.len()];

/// The probability of a row where another is meant.
fn of_row(row: u32, meant: u32) -> f64 {
    let turned = (row ^ meant).count_ones() as i32;
    TURNED.powi(turned) * (1.0 - TURNED).powi(ROWS as i32 - turned)
}

/// How often the writer draws each glyph where one is wanted.
pub fn meant(wanted: u32) -> Odds {
    let mut odds = [(1.0 - WANTED) / (GLYPHS.len() - 1) as f64; GLYPHS.len()];
    odds[wanted as usize] = WANTED;
    odds
}

/// The probability of rows where each glyph is meant.
pub fn likelihoods(rows: &[u32]) -> Odds {
    GLYPHS.map(|glyph| rows.iter().zip(glyph).map(|(row, meant)| of_row(*row, meant)).product())
}

/// Which glyph a picture becomes, by its first rows.
pub fn posterior(mut odds: Odds, rows: &[u32]) -> Odds {
    odds.iter_mut().zip(likelihoods(rows)).for_each(|(odds, likelihood)| *odds *= likelihood);
    let total: f64 = odds.iter().sum();
    odds.map(|odds| odds / total)
}

/// The same of the writer.
fn becomes(wanted: u32, rows: &[u32]) -> Odds {
    posterior(meant(wanted), rows)
}

/// The next rows behind some rows of what may be meant, with their probabilities; none behind a whole picture.
pub fn next_rows(odds: Odds, rows: &[u32]) -> Vec<(u32, f64)> {
    if rows.len() >= ROWS {
        return Vec::new();
    }
    let odds = posterior(odds, rows);
    let chance =
        |row: u32| odds.iter().zip(&GLYPHS).map(|(odds, glyph)| odds * of_row(row, glyph[rows.len()])).sum::<f64>();
    (0..VALUES).map(|row| (row, chance(row))).collect()
}

/// The next rows behind a prompt and some rows.
fn next(text: &[u32]) -> Vec<(u32, f64)> {
    text.split_first().map(|(wanted, rows)| next_rows(meant(*wanted), rows)).unwrap_or_default()
}

/// Pixels of a picture that are not those of a glyph.
fn apart(rows: &[u32], glyph: &[u32; ROWS]) -> u32 {
    rows.iter().zip(glyph).map(|(row, meant)| (row ^ meant).count_ones()).sum()
}

/// Whether no glyph is nearer to a picture than the wanted one.
pub fn is_right(wanted: u32, rows: &[u32]) -> bool {
    let distances = GLYPHS.map(|glyph| apart(rows, &glyph));
    rows.len() == ROWS && distances.iter().all(|other| distances[wanted as usize] <= *other)
}

/// Who looks at a picture.
pub enum Looks {
    /// Whether it is clear what it becomes.
    Clarity,
    /// How likely that is what was asked for.
    Potential(Seed),
    /// How much of it is as it was asked for.
    Whole(Seed),
}

impl Looks {
    /// What is said of a prompt and its rows.
    pub fn at(&self, text: &[u32]) -> f64 {
        let Some((wanted, rows)) = text.split_first() else { return 0.0 };
        // One number for each text.
        let name = text.iter().fold(1, |name: u64, token| name * u64::from(VALUES) + u64::from(*token));
        let odds = becomes(*wanted, rows);
        match self {
            Self::Clarity => f64::from(u8::from(odds.iter().any(|odds| *odds > CLEAR))),
            Self::Potential(seed) => {
                let yes = odds[*wanted as usize];
                if seed.stream("mistaken", name).random::<f64>() < MISTAKEN { 1.0 - yes } else { yes }
            }
            Self::Whole(seed) => {
                let pixels = (ROWS * ROWS) as f64;
                let alike = 1.0 - f64::from(apart(rows, &GLYPHS[*wanted as usize])) / pixels;
                alike + ERROR * normal(&mut seed.stream("error", name))
            }
        }
    }
}

impl Scorer for Looks {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Ok(episodes.iter().map(|episode| Credit::sequence(self.at(&episode.tokens) as f32)).collect())
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let clarity = Looks::Clarity;
    let paths = |n: usize| PathOptions { n, levels: ROWS, ..PathOptions::default() };
    let clear = |n: usize| PathSelection { options: paths(n), clarity: Some(&clarity), reflection: None };
    let at_once = PathSelection { options: paths(SAMPLES), ..PathSelection::default() };
    let arms: [(&str, &dyn Search); 4] = [
        ("best of 8", &BestOfN { n: SAMPLES }),
        ("potential of 8 paths", &clear(SAMPLES)),
        ("potential of 9 paths", &clear(PATHS)),
        ("potential at the first row", &at_once),
    ];
    let mut figures = Figures::new();
    for (name, search) in arms {
        let (right, tokens) = drawn(search, seed)?;
        figures.push((format!("right, {name}"), right));
        figures.push((format!("tokens, {name}"), tokens));
    }
    Ok(figures)
}

/// The share of pictures that are right, and tokens for each.
fn drawn(search: &dyn Search, seed: Seed) -> Result<(f64, f64)> {
    let writer = Language(next);
    let (mut right, mut tokens) = (0, 0);
    for number in 0..PICTURES {
        let own = seed.child("picture", number);
        let (potential, judge) = (Looks::Potential(own), Looks::Whole(own));
        let wanted = (number % GLYPHS.len() as u64) as u32;
        let ctx = SearchCtx::new(&writer, ROWS, own).with_steps(Steps::blocks(1));
        let mut ctx = ctx.with_scorer(&potential, Reduce::Last).with_judge(&judge, Reduce::Last);
        for found in search.search(&[Tokens::from(vec![wanted])], &mut ctx)? {
            right += usize::from(is_right(wanted, &found.best().tokens));
        }
        tokens += ctx.spent().generated;
    }
    Ok((right as f64 / PICTURES as f64, tokens as f64 / PICTURES as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_picture_becomes_by_hand() {
        // Without a row it is as the writer draws it.
        let none = becomes(0, &[]);
        assert!((none[0] - 0.3).abs() < 1e-12 && none[1..].iter().all(|odds| (odds - 0.14).abs() < 1e-12));
        // E and F are told apart by their last row alone, in four pixels: 0.3 (1/19)^4 beside 0.14.
        let f = &GLYPHS[1];
        let early = becomes(0, &f[..5]);
        assert!((early[0] / early[1] - 0.3 / 0.14).abs() < 1e-9);
        let late = becomes(0, f);
        assert!((late[0] / late[1] - 0.3 / 0.14 * (0.05f64 / 0.95).powi(4)).abs() < 1e-9);
        assert!(is_right(1, f) && !is_right(0, f) && !is_right(1, &f[..5]));
        assert_eq!(apart(f, &GLYPHS[0]), 4);
        assert_eq!([Looks::Clarity.at(&[0, f[0]]), Looks::Clarity.at(&[&[0][..], &f[..]].concat())], [0.0, 1.0]);
    }

    #[test]
    fn rows_have_probabilities() {
        let rows = next(&[2, GLYPHS[2][0]]);
        assert!((rows.iter().map(|(_, chance)| chance).sum::<f64>() - 1.0).abs() < 1e-12 && rows.len() == 64);
        assert!(next(&[&[2][..], &GLYPHS[2][..]].concat()).is_empty());
    }
}
