//! DeAL: constraints that are met while a text is written, beside asking for them in the prompt.
//!
//! A drawn language of words is shown keywords: it then writes a keyword that it has not written yet more often. DeAL looks
//! ahead from each of the likeliest words and weighs what the text would cover.

use anyhow::Result;
use ascribe::core::{Reduce, Scorer, Seed, Text, Tokens};
use ascribe::search::heuristics::{Coverage, LengthTarget, Weighted};
use ascribe::search::{BestOfN, Deal, Greedy, Search, SearchCtx};
use rand::RngExt;

use crate::language::Language;
use crate::row::{self, Claim, Figures, Row};
use crate::world::normal;

const WORDS: [&str; 16] = [
    "dog", "ball", "park", "child", "throw", "catch", "run", "jump", "tree", "river", "stone", "boat", "swim", "bird",
    "sing", "sleep",
];
/// Ends a text.
const END: u32 = 16;
/// Stands between the keywords and the text.
const WRITE: u32 = 17;
/// What each word adds to the probability that the text ends, up to 0.9.
const ENDS: f64 = 0.05;
/// How much likelier a keyword is that was shown and is not written yet.
const SHOWN: f64 = 4.0;
const KEYWORDS: usize = 3;
const TASKS: u64 = 100;
/// Tokens of a text at most, and as many as one wishes for.
const MOST: usize = 24;
const WISHED: usize = 12;

/// DeAL's claims.
pub const ROW: Row = Row {
    name: "deal",
    paper: "DeAL: Decoding-time Alignment for Large Language Models, arXiv:2402.06147",
    setting: "drawn languages of 16 words, in which keywords of the prompt are four times as likely; 100 tasks a seed with three \
              keywords; 10 next tokens, 8 tokens of lookahead, lambda 20, one beam; coverage counts each keyword once",
    seeds: 30,
    claims: &[
        Claim {
            says: "lookahead with a coverage heuristic covers all keywords more often than the prompt alone",
            more: "all keywords, DeAL",
            less: "all keywords, prompt",
        },
        Claim {
            says: "what lies ahead says more than what is written",
            more: "all keywords, DeAL",
            less: "all keywords, DeAL without lookahead",
        },
        Claim { says: "it covers a larger share of them", more: "keywords, DeAL", less: "keywords, prompt" },
        Claim {
            says: "the prompt adds to the heuristic",
            more: "all keywords, DeAL",
            less: "all keywords, DeAL without the prompt",
        },
        Claim {
            says: "a heuristic of length beside it brings texts nearer to the length that is wished for",
            more: "length error, DeAL",
            less: "length error, DeAL with length",
        },
        Claim {
            says: "and keeps the coverage above that of the prompt",
            more: "all keywords, DeAL with length",
            less: "all keywords, prompt",
        },
        Claim { says: "decoding costs more tokens", more: "tokens, DeAL", less: "tokens, prompt" },
    ],
    tried: "",
    run,
};

/// A language: how likely each word is after each, and at the beginning (the last row), before keywords are shown.
struct Drawn(Vec<Vec<f64>>); // [words + 1][words]

impl Drawn {
    fn new(seed: Seed) -> Self {
        let mut stream = seed.stream("words", 0);
        let mut row = |_: usize| -> Vec<f64> { WORDS.iter().map(|_| (1.5 * normal(&mut stream)).exp()).collect() };
        Self((0..=WORDS.len()).map(&mut row).collect())
    }

    /// What may follow a text that begins with keywords.
    fn next(&self, text: &[u32]) -> Vec<(u32, f64)> {
        let start = text.iter().position(|token| *token == WRITE).map_or(0, |at| at + 1);
        let (shown, written) = text.split_at(start);
        let last = written.last().copied();
        if last == Some(END) {
            return Vec::new();
        }
        let row = &self.0[last.map_or(WORDS.len(), |word| word as usize)];
        let weight = |(word, weight): (u32, &f64)| {
            let wanted = shown.contains(&word) && !written.contains(&word);
            (word, if wanted { SHOWN * weight } else { *weight })
        };
        let weights: Vec<(u32, f64)> = (0..).zip(row).map(weight).collect();
        let ends = (ENDS * written.len() as f64).min(0.9);
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let share = |(word, weight): (u32, f64)| (word, (1.0 - ends) * weight / total);
        weights.into_iter().map(share).chain([(END, ends)]).collect()
    }
}

/// The words of tokens, a space after each; other tokens are spaces alone.
fn text(tokens: &[u32]) -> Text {
    let mut text = Text::default();
    for token in tokens {
        let start = text.text.len();
        text.text += WORDS.get(*token as usize).copied().unwrap_or_default();
        text.text.push(' ');
        text.spans.push(start..text.text.len());
    }
    text
}

/// Sums over tasks.
#[derive(Clone, Copy, Default)]
struct Sums {
    all: f64,
    covered: f64,
    length_error: f64,
    tokens: f64,
    scored: f64,
}

fn run(seed: Seed) -> Result<Figures> {
    let drawn = Drawn::new(seed);
    let language = Language(|text: &[u32]| drawn.next(text));
    let deal = Deal { k: 10, lookahead: 8, lambda: 20.0, ..Deal::default() };
    let (best, short) = (BestOfN { n: 16 }, Deal { lookahead: 0, ..deal });
    let length = LengthTarget { target: WISHED };
    let mut sums: Vec<(&str, Sums)> = Vec::new();
    for number in 0..TASKS {
        let mut stream = seed.stream("keywords", number);
        let mut keywords: Vec<u32> = Vec::new();
        while keywords.len() < KEYWORDS {
            let word = stream.random_range(0..WORDS.len() as u32);
            if !keywords.contains(&word) {
                keywords.push(word);
            }
        }
        let names: Vec<&str> = keywords.iter().map(|word| WORDS[*word as usize]).collect();
        let (soft, hard) = (Coverage::soft(&names)?, Coverage::hard(&names)?);
        let both = Weighted(vec![(1.0, &soft as &dyn Scorer), (1.0, &length as &dyn Scorer)]);
        let shown = Tokens::from(keywords).followed_by(&[WRITE]);
        let hidden = Tokens::from(vec![WRITE]);
        let arms: [(&str, &dyn Search, &dyn Scorer, &Tokens); 6] = [
            ("prompt", &Greedy, &soft, &shown),
            ("best of 16", &best, &soft, &shown),
            ("DeAL", &deal, &soft, &shown),
            ("DeAL without lookahead", &short, &soft, &shown),
            ("DeAL without the prompt", &deal, &soft, &hidden),
            ("DeAL with length", &deal, &both, &shown),
        ];
        sums.resize_with(arms.len(), Default::default);
        for ((name, search, scorer, prompt), (known, sums)) in arms.into_iter().zip(&mut sums) {
            *known = name;
            let ctx = SearchCtx::new(&language, MOST, seed.child("texts", number)).with_text(&text);
            let mut ctx = ctx.with_scorer(scorer, Reduce::Sum);
            for found in search.search(std::slice::from_ref(prompt), &mut ctx)? {
                let written = &found.best().tokens;
                let said = text(written).text;
                sums.all += f64::from(hard.of(&said));
                sums.covered += f64::from(soft.of(&said));
                sums.length_error += written.len().abs_diff(WISHED) as f64 / WISHED as f64;
                sums.tokens += found.usage.generated as f64;
            }
            sums.scored += ctx.calls().scorer_tokens as f64;
        }
    }
    let mut figures = Vec::new();
    for (name, sums) in sums {
        let Sums { all, covered, length_error, tokens, scored } = sums;
        let [all, covered, length_error, tokens, scored] =
            [all, covered, length_error, tokens, scored].map(|sum| sum / TASKS as f64);
        figures.extend(row::arm(&format!("all keywords, {name}"), all, tokens, scored));
        let others = [("keywords", covered), ("length error", length_error), ("tokens", tokens)];
        figures.extend(others.map(|(what, value)| (format!("{what}, {name}"), value)));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_follow_worked_by_hand() {
        let drawn = Drawn(vec![vec![1.0; WORDS.len()]; WORDS.len() + 1]);
        // All words alike, two of them shown and one of these written: 15 + 4 in all, of 0.95.
        let next = drawn.next(&[3, 5, WRITE, 5]);
        assert_eq!((next.len(), next[16]), (17, (END, ENDS)));
        assert!((next[3].1 - 0.95 * 4.0 / 19.0).abs() < 1e-12 && (next[5].1 - 0.95 / 19.0).abs() < 1e-12);
        assert!((next.iter().map(|(_, chance)| chance).sum::<f64>() - 1.0).abs() < 1e-12);
        // A text does not begin with its end, and nothing follows the end.
        assert_eq!(drawn.next(&[WRITE])[16], (END, 0.0));
        assert!(drawn.next(&[3, WRITE, 5, END]).is_empty());
        let said = text(&[0, WRITE, 2, END]);
        assert_eq!((said.text.as_str(), said.spans.len()), ("dog  park  ", 4));
        assert_eq!(&said.text[said.spans[2].clone()], "park ");
    }
}
