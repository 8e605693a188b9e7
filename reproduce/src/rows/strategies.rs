//! Every decoder of the table on chain arithmetic, with one verifier of steps, at equal numbers of tokens.
//!
//! A hard operation goes wrong with a probability of its own, which is above one half for two in five of them, so that the
//! likeliest text is often wrong. Each decoder may sample as many tokens as n whole solutions have; scores cost nothing.

use anyhow::{Context, Result};
use ascribe::core::{Budget, CoreError, Credit, Episode, Finish, Reduce, Scorer, Seed, Tokens};
use ascribe::eval::report::{Lines, Series};
use ascribe::search::{Search, SearchCtx, Steps, strategy};
use ascribe::worlds::Problem;
use rand::RngExt;
use serde_json::{Value, json};

use crate::row::{self, Claim, Figures, Row};
use crate::solver::{ATTEMPT, Verifier, answer, same, solver};

const PROBLEMS: u64 = 200;
const STEPS: usize = 10;
/// How often an easy operation goes wrong.
const EASY: f64 = 0.1;
/// How often the verifier is mistaken about a step.
const ERRORS: f64 = 0.05;
/// Whole solutions that the tokens suffice for.
const SOLUTIONS: [usize; 5] = [1, 4, 8, 16, 32];

/// What the papers on search with a verifier say.
pub const ROW: Row = Row {
    name: "strategies",
    paper: "Scaling LLM Test-Time Compute Optimally, arXiv:2408.03314; Rewarding Progress, arXiv:2410.08146; \
            Self-Consistency, arXiv:2203.11171; Scaling test-time compute with open models (2024)",
    setting: "200 chains of 10 operations a seed; hard operations go wrong with a probability between 0.3 and 0.8, others with \
              0.1; a verifier of steps, mistaken about one in twenty and always about the same, whose product scores a text; a \
              result is a token, and every decoder may sample the same number of them; best of n, step beam and diverse trees \
              by random scores and by a verifier that is never mistaken, too",
    seeds: 30,
    claims: &[
        Claim {
            says: "the best of 32 samples beats greedy decoding",
            more: "best of n, 320 tokens",
            less: "greedy, 10 tokens",
        },
        Claim { says: "more samples help best-of-n", more: "best of n, 320 tokens", less: "best of n, 40 tokens" },
        Claim {
            says: "a weighted vote beats a plain one",
            more: "weighted vote, 160 tokens",
            less: "vote, 160 tokens",
        },
        Claim {
            says: "step beam search beats best-of-n at few tokens",
            more: "step beam, 80 tokens",
            less: "best of n, 80 tokens",
        },
        Claim {
            says: "it does so even where best-of-n has four times the tokens",
            more: "step beam, 80 tokens",
            less: "best of n, 320 tokens",
        },
        Claim {
            says: "diverse trees beat best-of-n at equal tokens",
            more: "diverse trees, 160 tokens",
            less: "best of n, 160 tokens",
        },
        Claim {
            says: "and step beam search where tokens are many",
            more: "diverse trees, 320 tokens",
            less: "step beam, 320 tokens",
        },
        Claim {
            says: "lookahead loses to a wider beam at equal tokens",
            more: "step beam, 80 tokens",
            less: "lookahead, 80 tokens",
        },
        Claim {
            says: "best-of-n by random scores loses to the verifier's",
            more: "best of n, 80 tokens",
            less: "best of n by random scores, 80 tokens",
        },
        Claim {
            says: "and so does a step beam by random scores",
            more: "step beam, 80 tokens",
            less: "step beam by random scores, 80 tokens",
        },
        Claim {
            says: "a step beam beats best-of-n where the verifier is never mistaken, too",
            more: "step beam by the truth, 80 tokens",
            less: "best of n by the truth, 80 tokens",
        },
    ],
    tried: "",
    run,
};

/// Decoders that are drawn, by their names here: as many as a drawing names at the ends of its lines.
const DRAWN: [&str; 10] = [
    "vote",
    "weighted vote",
    "best of n",
    "step beam",
    "diverse trees",
    "lookahead",
    "refinement",
    "heuristic beam",
    "tree search",
    "particles",
];

/// Decoders that are run by other scores, too, by their names here.
const RESCORED: [&str; 3] = ["best of n", "step beam", "diverse trees"];
/// Whole solutions that their tokens suffice for.
const RESCORED_N: usize = 8;

/// Whose scores an arm goes by.
#[derive(Clone, Copy)]
enum By {
    Verifier,
    /// Random ones, which say nothing.
    Chance,
    /// Those of a verifier that is never mistaken.
    Truth,
}

/// A scorer whose number for each beginning of a text is drawn from [0, 1), the same whenever it is asked.
pub struct Random(pub Seed);

impl Scorer for Random {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let last = |results: &[u32]| {
            let name = results.iter().fold(1u64, |name, result| 11 * name + u64::from(*result));
            self.0.stream("random scores", name).random::<f32>()
        };
        let one = |episode: &Episode| {
            let results = episode.response_tokens();
            Credit::steps((1..=results.len()).map(|end| last(&results[..end])).collect())
        };
        Ok(episodes.iter().map(one).collect())
    }
}

/// A decoder with the tokens that it may sample for a problem, and what came out.
struct Arm {
    name: String,
    search: Box<dyn Search>,
    tokens: u64,
    by: By,
    right: f64,
    sampled: f64,
    scored: f64,
}

impl Arm {
    /// The decoder that the table knows as `known`, for as many tokens as `n` solutions have.
    fn new(name: &str, known: &str, options: &Value, n: usize, by: By) -> Result<Self> {
        let search = strategy(known, options).with_context(|| format!("no decoder is called `{known}`"))??;
        let tokens = n * STEPS;
        let scores = match by {
            By::Verifier => "",
            By::Chance => " by random scores",
            By::Truth => " by the truth",
        };
        let name = format!("{name}{scores}, {tokens} tokens");
        Ok(Self { name, search, tokens: tokens as u64, by, right: 0.0, sampled: 0.0, scored: 0.0 })
    }
}

/// Decoders for as many tokens as `n` solutions have: the name here, the one in the table, and options.
fn decoders(n: usize) -> Vec<(&'static str, &'static str, Value)> {
    if n == 1 {
        return vec![
            ("greedy", "greedy", json!({})),
            ("one sample", "majority", json!({"n": 1})),
            ("controlled", "controlled", json!({"k": 2, "weight": 5.0})),
            ("beam of one", "beam", json!({"beams": 1})),
        ];
    }
    let mut decoders = vec![
        ("likelihood beam", "likelihood", json!({"beams": n})),
        ("best of n", "best-of-n", json!({"n": n})),
        ("vote", "majority", json!({"n": n})),
        ("weighted vote", "majority", json!({"n": n, "weights": "identity"})),
        ("step beam", "step-beam", json!({"n": n})),
        ("diverse trees", "dvts", json!({"n": n, "expand": 4})),
        // Every candidate is written one step further.
        ("lookahead", "lookahead", json!({"n": n / 2, "expand": 2})),
        ("paths", "paths", json!({"n": n, "clear_from": 3})),
        ("value-guided beam", "oreo", json!({"k": n.isqrt()})),
        ("heuristic beam", "deal", json!({"k": 2, "lookahead": 0, "lambda": 5.0, "beams": n})),
        // The tokens end the rounds.
        ("refinement", "refine", json!({"rounds": n, "stubborn": true})),
        ("revision", "revise", json!({"n": n, "chain": 2})),
        ("particles", "smc", json!({"n": n, "strength": 8.0, "pick": "vote"})),
    ];
    if n >= 8 {
        // A simulation expands one text at most, into four.
        decoders.push(("tree search", "mcts", json!({"tree": {"simulations": n / 4}})));
    }
    if n >= 16 {
        // Two tokens at each place, and the rest of the text so many times behind each: 10 + 90 tokens for each rollout.
        let rollouts = (n * STEPS - STEPS) / (STEPS * (STEPS - 1));
        decoders.push(("transfer", "transfer-q", json!({"k": 2, "alpha": 0.2, "rollouts": rollouts, "greedy": false})));
    }
    decoders
}

fn arms() -> Result<Vec<Arm>> {
    let mut arms = Vec::new();
    for n in SOLUTIONS {
        for (name, known, options) in decoders(n) {
            arms.push(Arm::new(name, known, &options, n, By::Verifier)?);
        }
    }
    for (name, known, options) in decoders(RESCORED_N).into_iter().filter(|(name, ..)| RESCORED.contains(name)) {
        for by in [By::Chance, By::Truth] {
            arms.push(Arm::new(name, known, &options, RESCORED_N, by)?);
        }
    }
    Ok(arms)
}

fn run(seed: Seed) -> Result<Figures> {
    let mut arms = arms()?;
    let prompt = [Tokens::from(vec![ATTEMPT])];
    for number in 0..PROBLEMS {
        let problem = Problem::draw(&mut seed.stream("problems", number), STEPS..=STEPS)?;
        let mut stream = seed.stream("slips", number);
        let hard: Vec<f64> = (0..STEPS).map(|_| stream.random_range(0.3..0.8)).collect();
        let slip = |_: &[u32], at: usize, is_hard: bool| if is_hard { hard[at] } else { EASY };
        let solver = solver(&problem, &slip);
        let verifier = Verifier { problem: &problem, errors: ERRORS, seed: seed.child("verifier", number) };
        let truth = Verifier { errors: 0.0, ..verifier };
        let random = Random(seed.child("random scores", number));
        for arm in &mut arms {
            let scorer: &dyn Scorer = match arm.by {
                By::Verifier => &verifier,
                By::Chance => &random,
                By::Truth => &truth,
            };
            // The same draws for every decoder.
            let mut ctx = SearchCtx::new(&solver, STEPS, seed.child("texts", number))
                .with_scorer(scorer, Reduce::Prod)
                .with_answers(&answer, &same)
                .with_steps(Steps::blocks(1))
                .with_budget(Budget(Some(arm.tokens)));
            for found in arm.search.search(&prompt, &mut ctx)? {
                let best = found.best();
                let right = best.finish == Finish::End && best.tokens.last() == Some(&u32::from(problem.answer()));
                arm.right += f64::from(u8::from(right));
            }
            arm.sampled += ctx.spent().generated as f64;
            arm.scored += ctx.calls().scorer_tokens as f64;
        }
    }
    let of = |arm: Arm| {
        let [right, sampled, scored] = [arm.right, arm.sampled, arm.scored].map(|sum| sum / PROBLEMS as f64);
        row::arm(&arm.name, right, sampled, scored)
    };
    Ok(arms.into_iter().flat_map(of).collect())
}

/// Accuracy against the tokens that were sampled, as a drawing; `None` without a seed.
pub fn drawing(seeds: &[Figures]) -> Option<String> {
    let arms = row::arms(seeds).ok()?;
    let point = |name: String| {
        let arm = arms.iter().find(|arm| arm.name == name)?;
        Some((arm.sampled, arm.value.value))
    };
    let series = |name: &&str| {
        let points: Vec<(f64, f64)> =
            SOLUTIONS.iter().filter_map(|n| point(format!("{name}, {} tokens", n * STEPS))).collect();
        Series { name: (*name).to_owned(), points, best: None }
    };
    let lines = Lines {
        x_label: "tokens sampled for a problem".into(),
        y_label: "share of problems solved".into(),
        series: DRAWN.iter().map(series).collect(),
    };
    lines.to_svg("Decoders at equal numbers of tokens")
}

#[cfg(test)]
mod tests {
    use ascribe::search::STRATEGIES;

    use super::*;

    #[test]
    fn every_decoder_of_the_table_is_run_and_every_name_that_is_drawn_is_one() {
        let all: Vec<_> = SOLUTIONS.iter().flat_map(|n| decoders(*n)).collect();
        for (known, _) in STRATEGIES {
            assert!(all.iter().any(|(_, name, _)| *name == known), "{known}");
        }
        assert!(DRAWN.iter().all(|drawn| all.iter().any(|(name, ..)| name == drawn)));
        assert_eq!(arms().unwrap().len(), all.len() + 2 * RESCORED.len());
    }

    #[test]
    fn claims_are_of_arms_that_are_run_and_random_scores_are_those_of_a_text() {
        let arms = arms().unwrap();
        for claim in ROW.claims {
            for name in [claim.more, claim.less] {
                assert!(arms.iter().any(|arm| arm.name == name), "{name}");
            }
        }
        let random = Random(Seed(1));
        let episodes = [[3u32, 4], [3, 5]].map(|results| Episode::new(&[ATTEMPT], &results));
        let credits = random.score(&episodes).unwrap();
        assert_eq!(credits, random.score(&episodes).unwrap());
        // The first result is the same, the second is not.
        assert_ne!(credits[0], credits[1]);
        assert_eq!(random.score(&[Episode::new(&[ATTEMPT], &[3])]).unwrap().len(), 1);
    }

    #[test]
    fn a_drawing_has_a_line_for_each_decoder() {
        let seed = |accuracy: f64| -> Figures {
            let arm = |name: &str, n: usize| {
                let name = format!("{name}, {} tokens", n * STEPS);
                row::arm(&name, accuracy, (n * STEPS) as f64, 0.0)
            };
            DRAWN.iter().flat_map(|name| [arm(name, 4), arm(name, 8)].concat()).collect()
        };
        let svg = drawing(&[seed(0.5), seed(0.7)]).unwrap();
        assert!(svg.starts_with("<svg xmlns") && DRAWN.iter().all(|name| svg.contains(name)), "{svg}");
        assert!(drawing(&[]).is_none());
    }
}
