//! Evolution of expressions: tournaments, exchange of parts, new parts, and the best stay.

use ascribe_core::Stream;
use ascribe_worlds::{Expression, Grammar, Symbol};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::SearchError;
use crate::error::check;

/// Numbers of the evolution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Genetic {
    /// Expressions; at least 1.
    pub population: usize,
    /// Generations; 0 leaves the evolution out.
    pub generations: usize,
    /// Expressions of which the best becomes a parent; at least 1.
    pub tournament: usize,
    /// Probability that two neighbours exchange parts.
    pub crossover: f64,
    /// Probability that a part is written anew.
    pub mutation: f64,
    /// Expressions that stay as they are.
    pub keep: usize,
    /// Most edges between root and leaf.
    pub height: usize,
}

impl Default for Genetic {
    fn default() -> Self {
        Self { population: 500, generations: 30, tournament: 10, crossover: 0.1, mutation: 0.5, keep: 20, height: 10 }
    }
}

impl Genetic {
    pub(super) fn check(&self) -> Result<(), SearchError> {
        check("population", "at least 1", self.population as f64, self.population > 0)?;
        check("tournament", "at least 1", self.tournament as f64, self.tournament > 0)?;
        for (name, probability) in [("crossover", self.crossover), ("mutation", self.mutation)] {
            check(name, "in [0, 1]", probability, (0.0..=1.0).contains(&probability))?;
        }
        Ok(())
    }

    /// Evolves from `first`, filled up with random expressions. `worth` says how good an expression is, more is better; every
    /// expression that is met goes through it.
    pub(super) fn evolve(
        &self,
        grammar: &Grammar,
        first: Vec<Vec<Symbol>>,
        stream: &mut Stream,
        mut worth: impl FnMut(&[Symbol]) -> f64,
    ) {
        let mut population = first;
        population.truncate(self.population);
        while population.len() < self.population {
            population.push(written(grammar, &[], stream));
        }
        let mut worths: Vec<f64> = population.iter().map(|one| worth(one)).collect();
        for _ in 0..self.generations {
            let mut order: Vec<usize> = (0..population.len()).collect();
            order.sort_by(|left, right| worths[*right].total_cmp(&worths[*left]));
            let kept: Vec<usize> = order.into_iter().take(self.keep.min(population.len())).collect();
            let mut next: Vec<Vec<Symbol>> = (kept.len()..population.len())
                .map(|_| {
                    let drawn = (0..self.tournament).map(|_| stream.random_range(0..population.len()));
                    let best = drawn.reduce(|best, at| if worths[at] > worths[best] { at } else { best });
                    population[best.unwrap_or(0)].clone()
                })
                .collect();
            for at in (1..next.len()).step_by(2) {
                if stream.random::<f64>() < self.crossover {
                    let (left, right) = exchanged(&next[at - 1], &next[at], stream);
                    for (at, child) in [(at - 1, left), (at, right)] {
                        if grammar.accepts(&child) {
                            next[at] = child;
                        }
                    }
                }
            }
            for one in &mut next {
                if stream.random::<f64>() < self.mutation {
                    *one = rewritten(grammar, one, stream);
                }
            }
            let more: Vec<f64> = next.iter().map(|one| worth(one)).collect();
            worths = kept.iter().map(|at| worths[*at]).chain(more).collect();
            population = kept.into_iter().map(|at| population[at].clone()).chain(next).collect();
        }
    }
}

/// Goes on from `begun` with random legal symbols to a whole expression. Half of the symbols are leaves where both are legal.
pub(super) fn written(grammar: &Grammar, begun: &[Symbol], stream: &mut Stream) -> Vec<Symbol> {
    let mut symbols = begun.to_vec();
    while !grammar.is_whole(&symbols) {
        let legal: Vec<Symbol> = grammar.legal(&symbols).into_iter().filter_map(|id| grammar.symbol(id)).collect();
        let (inner, leaves): (Vec<Symbol>, Vec<Symbol>) = legal.into_iter().partition(|symbol| symbol.arity() > 0);
        let from = if inner.is_empty() || (!leaves.is_empty() && stream.random::<bool>()) { leaves } else { inner };
        if from.is_empty() {
            break;
        }
        symbols.push(from[stream.random_range(0..from.len())]);
    }
    symbols
}

/// The two with a part of each in the place of a part of the other.
fn exchanged(left: &[Symbol], right: &[Symbol], stream: &mut Stream) -> (Vec<Symbol>, Vec<Symbol>) {
    let mut part = |symbols: &[Symbol]| {
        let start = stream.random_range(0..symbols.len());
        let end = Expression { symbols: symbols.to_vec(), constants: Vec::new() }.end(start);
        start..end
    };
    let (of_left, of_right) = (part(left), part(right));
    let put = |into: &[Symbol], at: std::ops::Range<usize>, what: &[Symbol]| {
        [&into[..at.start], what, &into[at.end..]].concat()
    };
    let new_left = put(left, of_left.clone(), &right[of_right.clone()]);
    (new_left, put(right, of_right, &left[of_left]))
}

/// The expression with a random part written anew; as it was, when that would break a rule.
fn rewritten(grammar: &Grammar, symbols: &[Symbol], stream: &mut Stream) -> Vec<Symbol> {
    let start = stream.random_range(0..symbols.len());
    let end = Expression { symbols: symbols.to_vec(), constants: Vec::new() }.end(start);
    // What is written after the beginning ends with a whole expression; of it only the new part is taken.
    let whole = written(grammar, &symbols[..start], stream);
    let part = Expression { symbols: whole.clone(), constants: Vec::new() }.end(start);
    let new = [&symbols[..start], &whole[start..part], &symbols[end..]].concat();
    if grammar.accepts(&new) { new } else { symbols.to_vec() }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use ascribe_worlds::Operation;

    use super::*;

    #[test]
    fn every_expression_that_is_met_obeys_the_rules_and_worth_grows() {
        let grammar = Grammar::new(&Operation::ALL, 2, 3, 6).unwrap();
        let genetic = Genetic { population: 40, generations: 15, crossover: 0.5, ..Genetic::default() };
        // Length is what is wanted here: no data are needed.
        let mut met = Vec::new();
        genetic.evolve(&grammar, Vec::new(), &mut Seed(3).stream("evolution", 0), |symbols| {
            assert!(grammar.accepts(symbols), "{symbols:?}");
            met.push(symbols.len());
            symbols.len() as f64
        });
        assert_eq!(met.len(), 40 + 15 * 20);
        // Each generation is chosen by length, so its mean grows.
        let mean = |part: &[usize]| part.iter().sum::<usize>() as f64 / part.len() as f64;
        assert!(mean(&met[met.len() - 20..]) > 2.0 * mean(&met[..40]));
        assert!(Genetic { tournament: 0, ..genetic }.check().is_err());
        assert!(Genetic { mutation: f64::NAN, ..genetic }.check().is_err() && genetic.check().is_ok());
    }
}
