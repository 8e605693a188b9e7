//! Ensembles of reward models against over-optimisation by best-of-n, with a quarter of the labels turned around.
//!
//! Five two-layer heads learn from the same pairs and differ in their first weights and in the order of the data. The policy is
//! best-of-n; all arms choose among the same responses, so at one n they have the same divergence `ln n - (n - 1) / n` from the
//! base policy, and gold against n is gold against divergence. A single reward model is each of the five in turn.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::report::{Lines, Series};
use ascribe::reward::Aggregate;
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Head, Sample, Training, Widths, best, mean, standardized, train};
use crate::row::{Claim, Figures, Row, mean_figure};

const FEATURES: usize = 16;
const BENDS: usize = 8;
const PAIRS: usize = 400;
const FLIPS: f64 = 0.25;
const MEMBERS: u64 = 5;
const PROMPTS: usize = 100;
/// Candidates of a prompt.
const N: usize = 1024;
/// Of how many the best is taken; each divides [`N`].
const CHOICES: [usize; 6] = [1, 4, 16, 64, 256, N];
/// The weights of the variance that the paper has for best-of-n and for PPO.
const HALF: f64 = 0.5;
const TENTH: f64 = 0.1;
/// One reward model, and five by how they become one, as they are drawn.
const ARMS: [(&str, &str); 5] =
    [("one", "one model"), ("mean", "mean"), ("WCO", "WCO"), ("UWO", "UWO 0.5"), ("UWO at 0.1", "UWO 0.1")];

/// The claims of the ensembles.
pub const ROW: Row = Row {
    name: "ensembles",
    paper: "Reward Model Ensembles Help Mitigate Overoptimization, arXiv:2310.02743",
    setting: "a gold reward of 16 features with 8 products, 400 pairs of which 25 % are flipped, five two-layer heads on their own \
              scales; 1024 responses to each of 100 prompts, of which the best of every 1, 4, 16, 64, 256 and 1024 is chosen (KL 0 \
              to 5.9 nats); the mean gold reward of what is chosen, of 1024 where nothing else is said; the peak is the highest \
              point of a curve, the fall what is lost from there to 1024, both a mean over the five curves of single models",
    seeds: 30,
    claims: &[
        Claim {
            says: "the mean of five is better than one",
            more: "gold of mean, n = 1024",
            less: "gold of one, n = 1024",
        },
        Claim {
            says: "the worst case of five is better than one",
            more: "gold of WCO, n = 1024",
            less: "gold of one, n = 1024",
        },
        Claim {
            says: "the mean less half the variance is better than one",
            more: "gold of UWO, n = 1024",
            less: "gold of one, n = 1024",
        },
        Claim {
            says: "heeding the variance is better than the plain mean",
            more: "gold of UWO, n = 1024",
            less: "gold of mean, n = 1024",
        },
        Claim {
            says: "heeding a tenth of the variance is better than the plain mean",
            more: "gold of UWO at 0.1, n = 1024",
            less: "gold of mean, n = 1024",
        },
        Claim {
            says: "the curve of the mean has a higher peak than that of one",
            more: "peak of mean",
            less: "peak of one",
        },
        Claim { says: "so has that of the worst case", more: "peak of WCO", less: "peak of one" },
        Claim { says: "and that of the mean less half the variance", more: "peak of UWO", less: "peak of one" },
        Claim {
            says: "the worst case falls less from its peak than one does",
            more: "fall of one",
            less: "fall of WCO",
        },
        Claim { says: "so does the mean less half the variance", more: "fall of one", less: "fall of UWO" },
        Claim { says: "the worst case falls less than the mean", more: "fall of mean", less: "fall of WCO" },
        Claim { says: "so does the mean less half the variance", more: "fall of mean", less: "fall of UWO" },
    ],
    tried: "Both weights of the variance that the paper has, 0.5 for best-of-n and 0.1 for PPO. The five learn from the same wrong \
            labels, so that where they are wrong they are wrong together, and the mean has already taken away what they do not \
            share.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let annotator = Annotator { flips: FLIPS, ..Annotator::default() };
    let pairs = annotator.comparisons(&taste, PAIRS, &mut seed.stream("pairs", 0));
    let rows: Vec<Sample> = pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect();
    let mut stream = seed.stream("candidates", 0);
    let candidates: Vec<Vec<f64>> = (0..PROMPTS * N).map(|_| taste.response(&mut stream)).collect();
    let gold: Vec<f64> = candidates.iter().map(|response| taste.gold(response)).collect();
    // The square of the scores holds them near 0, as the paper's does.
    let loss = BradleyTerryConfig { centre: 1e-3, ..BradleyTerryConfig::default() }.init()?;
    let mut members = Vec::new();
    for member in 0..MEMBERS {
        let own = seed.child("member", member);
        let head = Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, own);
        let head = train(head, &loss, &rows, Training { steps: 300, rate: 1e-2, seed: own })?;
        members.push(standardized(head.rewards(&candidates))?);
    }
    let together = |aggregate: Aggregate| -> Result<Vec<f64>> {
        let mut rewards = Vec::with_capacity(candidates.len());
        for at in 0..candidates.len() {
            let of: Vec<f64> = members.iter().map(|member| member[at]).collect();
            rewards.push(aggregate.of(&of)?);
        }
        Ok(curve(&rewards, &gold))
    };
    let alone: Vec<Vec<f64>> = members.iter().map(|member| curve(member, &gold)).collect();
    let mut figures = told("one", &alone);
    for (name, aggregate) in [
        ("mean", Aggregate::Mean),
        ("WCO", Aggregate::Min),
        ("UWO", Aggregate::uwo(HALF)),
        ("UWO at 0.1", Aggregate::uwo(TENTH)),
    ] {
        figures.extend(told(name, &[together(aggregate)?]));
    }
    Ok(figures)
}

/// The gold reward of the best of each number of candidates, a mean over all groups of so many that follow each other.
fn curve(rewards: &[f64], gold: &[f64]) -> Vec<f64> {
    let of = |n: usize| {
        let groups = rewards.chunks_exact(n).zip(gold.chunks_exact(n));
        mean(&groups.map(|(rewards, gold)| gold[best(rewards)]).collect::<Vec<f64>>())
    };
    CHOICES.into_iter().map(of).collect()
}

/// The highest point of a curve, and what is lost from there to its end.
fn peak_and_fall(curve: &[f64]) -> [f64; 2] {
    let peak = curve.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [peak, curve.last().map_or(0.0, |last| peak - last)]
}

/// The figures of an arm, means over its curves.
fn told(name: &str, curves: &[Vec<f64>]) -> Figures {
    let over = |of: &dyn Fn(&[f64]) -> f64| mean(&curves.iter().map(|curve| of(curve)).collect::<Vec<f64>>());
    let point = |(at, n): (usize, usize)| (gold_of(name, n), over(&|curve: &[f64]| curve[at]));
    let mut figures: Figures = CHOICES.into_iter().enumerate().map(point).collect();
    figures.push((format!("peak of {name}"), over(&|curve: &[f64]| peak_and_fall(curve)[0])));
    figures.push((format!("fall of {name}"), over(&|curve: &[f64]| peak_and_fall(curve)[1])));
    figures
}

/// The name of a point of a curve.
fn gold_of(name: &str, n: usize) -> String {
    format!("gold of {name}, n = {n}")
}

/// The divergence of the best of `n` from the base policy, in nats.
fn divergence(n: usize) -> f64 {
    let n = n as f64;
    n.ln() - (n - 1.0) / n
}

/// Gold against divergence, as a drawing; `None` without a seed.
pub fn drawing(seeds: &[Figures]) -> Option<String> {
    let series = |(name, shown): (&str, &str)| {
        let point = |n: usize| Some((divergence(n), mean_figure(seeds, &gold_of(name, n))?));
        Series { name: shown.to_owned(), points: CHOICES.into_iter().filter_map(point).collect(), best: None }
    };
    let lines = Lines {
        x_label: "divergence from the base policy, nats".into(),
        y_label: "gold reward of what is chosen".into(),
        series: ARMS.into_iter().map(series).collect(),
    };
    lines.to_svg("Best-of-n by one reward model and by five")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_by_hand() {
        // The reward grows with the place, so the best of a group is its last; gold falls with the place.
        let rewards: Vec<f64> = (0..N).map(|at| at as f64).collect();
        let gold: Vec<f64> = (0..N).map(|at| -(at as f64)).collect();
        // Groups of n end at n - 1, 2 n - 1 and so on to N - 1: their mean is (N + n) / 2 - 1.
        let due = CHOICES.map(|n| 1.0 - (N + n) as f64 / 2.0);
        assert_eq!(curve(&rewards, &gold), due);
        assert_eq!(peak_and_fall(&[1.0, 3.0, 2.5]), [3.0, 0.5]);
        assert_eq!(peak_and_fall(&[1.0, 2.0]), [2.0, 0.0]);
        // ln 4 - 3/4.
        assert!(divergence(1) == 0.0 && (divergence(4) - 0.636_294_361_119_890_6).abs() < 1e-12);
        assert!(CHOICES.iter().all(|n| N.is_multiple_of(*n)));
    }

    #[test]
    fn figures_are_means_over_curves_and_every_arm_is_drawn() {
        let figures = told("one", &[vec![0.0, 1.0, 2.0, 3.0, 2.0, 1.0], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]);
        let of = |name: &str| figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        assert_eq!((of("gold of one, n = 1024"), of("gold of one, n = 4")), (Some(3.0), Some(1.0)));
        assert_eq!((of("peak of one"), of("fall of one")), (Some(4.0), Some(1.0)));
        let all: Figures = ARMS.iter().flat_map(|(name, _)| told(name, &[vec![1.0; CHOICES.len()]])).collect();
        for claim in ROW.claims {
            for name in [claim.more, claim.less] {
                assert!(all.iter().any(|(known, _)| known == name), "{name}");
            }
        }
        let svg = drawing(&[all]).unwrap();
        assert!(svg.starts_with("<svg xmlns") && ARMS.iter().all(|(_, shown)| svg.contains(shown)), "{svg}");
        assert!(drawing(&[]).is_none());
    }
}
