//! Symbolic regression by reinforcement: RSRM, arXiv:2305.14656.
//!
//! ```text
//! epoch        symbol by symbol: `simulations` from what was written so far; the symbol with the greatest reward is kept
//! simulation   a child that was visited less than `first_visits` times, at random; else by double Q-learning; to the end.
//!              The reward goes up as the maximum, and Q learns from every symbol
//! evolution    the best expressions so far, and random ones, through crossover and mutation
//! forms        what the best have in common is taken as known (`A * F`, `A + F`), and F alone is sought, in half of the epochs
//! ```
//! Expressions without reward, because they are too short, are no candidates. The search ends at an error of at most `enough`, on the validation data as well where there are any. Departures from the
//! repository: the error is the true RMSE; forms are without powers, and nothing is expanded to find them.

mod double_q;
mod forms;
mod genetic;

use std::collections::{BTreeMap, HashMap};

use ascribe_core::{Seed, Stream};
use ascribe_worlds::{Data, Expression, Grammar, Operation, Symbol, SymbolicTask};
use rand::RngExt;
use serde::{Deserialize, Serialize};

pub use genetic::Genetic;

use crate::SearchError;
use crate::error::check;
use double_q::DoubleQ;
use forms::Form;

/// Epochs of which the first half goes without a form.
const PERIOD: usize = 10;

/// Numbers of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rsrm {
    /// Most epochs; at least 1.
    pub epochs: usize,
    /// Simulations for each symbol; 0 leaves the tree search out.
    pub simulations: usize,
    /// A child that was visited less often is taken before Q is asked.
    pub first_visits: u32,
    /// Probability that Q is trusted; else a symbol is drawn at random.
    pub trust: f64,
    /// Q's rate of learning.
    pub rate: f64,
    /// Q's discount.
    pub gamma: f64,
    /// Q's reward of a symbol that does not end the expression.
    pub step_reward: f64,
    /// Best expressions that begin an evolution.
    pub seeds: usize,
    /// The evolution.
    pub genetic: Genetic,
    /// Whether forms are sought.
    pub forms: bool,
    /// Expressions whose form is sought.
    pub form_of: usize,
    /// Epochs after which Q begins anew.
    pub reset_q: usize,
    /// Epochs after which the form is forgotten.
    pub reset_form: usize,
    /// The search ends at this error.
    pub enough: f64,
}

impl Default for Rsrm {
    fn default() -> Self {
        Self {
            epochs: 100,
            simulations: 100,
            first_visits: 10,
            trust: 0.6,
            rate: 1e-3,
            gamma: 0.95,
            step_reward: -0.1,
            seeds: 250,
            genetic: Genetic::default(),
            forms: true,
            form_of: 20,
            reset_q: 25,
            reset_form: 30,
            enough: 1e-10,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Regressed {
    /// The expression of least error, the shortest of equals.
    pub expression: Expression,
    /// Its root mean square error on the data.
    pub error: f64,
    /// Its reward.
    pub reward: f64,
    /// Whether the error is small enough.
    pub recovered: bool,
    /// Expressions that were evaluated, each once.
    pub evaluated: usize,
    /// Epochs that were begun.
    pub epochs: usize,
    /// Expressions with their errors, the shortest first: of each length the best, where it has less error than every shorter
    /// one, up to the first whose error is small enough.
    pub front: Vec<(Expression, f64)>,
}

/// How often a symbol was tried after what was written, and the best reward that followed.
type Seen = HashMap<(Vec<u32>, u32), (u32, f64)>;

/// Every expression that was met, with its error.
#[derive(Default)]
struct Known {
    errors: HashMap<Vec<Symbol>, f64>,
    /// The best, by error and then by length.
    best: Vec<(Expression, f64)>,
    /// Of each length the best.
    by_length: BTreeMap<usize, (Expression, f64)>,
    kept: usize,
}

impl Known {
    /// The error of an expression on a task; what is new is remembered.
    fn error(&mut self, task: &SymbolicTask, symbols: &[Symbol]) -> f64 {
        if let Some(error) = self.errors.get(symbols) {
            return *error;
        }
        let fitted = task.fitted(symbols);
        let error = fitted.as_ref().map_or(f64::INFINITY, |(_, error)| *error);
        self.errors.insert(symbols.to_vec(), error);
        // The length is that of the expression, whose constants are merged.
        let counts = |one: &(Expression, f64)| task.reward_of(one.0.symbols.len(), one.1) > 0.0;
        if let Some((expression, error)) = fitted.filter(counts) {
            self.add(expression, error);
        }
        error
    }

    fn add(&mut self, expression: Expression, error: f64) {
        let length = expression.symbols.len();
        if self.by_length.get(&length).is_none_or(|(_, least)| error < *least) {
            self.by_length.insert(length, (expression.clone(), error));
        }
        let rank = |one: &(Expression, f64)| (one.1, one.0.symbols.len());
        let new = (expression, error);
        let before = |one: &(Expression, f64)| {
            let ((left, length), (right, other)) = (rank(one), rank(&new));
            left.total_cmp(&right).then(length.cmp(&other)).is_le()
        };
        let at = self.best.partition_point(before);
        if at < self.kept && self.best.iter().all(|(known, _)| known.symbols != new.0.symbols) {
            self.best.insert(at, new);
            self.best.truncate(self.kept);
        }
    }
}

impl Rsrm {
    /// Seeks an expression for the data of `task`. Where there are validation data, the error on them has to be small enough,
    /// too.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn search(
        &self,
        task: &SymbolicTask,
        validation: Option<&Data>,
        seed: Seed,
    ) -> Result<Option<Regressed>, SearchError> {
        self.check()?;
        let grammar = task.grammar();
        let symbols = grammar.symbols();
        let operation = |symbol: &Symbol| match symbol {
            Symbol::Operation(operation) => Some(*operation),
            Symbol::Variable(_) | Symbol::Constant => None,
        };
        let operations: Vec<Operation> = symbols.iter().filter_map(operation).collect();
        let wide = Grammar::new(&operations, grammar.variables(), grammar.constants(), self.genetic.height)
            .map_err(ascribe_core::CoreError::from)?;
        let mut q = DoubleQ::new(self.rate, self.gamma);
        let mut known = Known { kept: self.seeds.max(self.form_of).max(1), ..Known::default() };
        let mut form = Form::Plain;
        let (mut epochs, mut beside) = (0, 0);
        let is_enough = |one: &(Expression, f64)| {
            one.1 <= self.enough && validation.is_none_or(|data| data.rmse(&one.0) <= self.enough)
        };
        for epoch in 0..self.epochs {
            epochs = epoch + 1;
            if epoch > 0 && epoch.is_multiple_of(self.reset_q) {
                q = DoubleQ::new(self.rate, self.gamma);
            }
            if epoch > 0 && epoch.is_multiple_of(self.reset_form) {
                form = Form::Plain;
            }
            let mut stream = seed.stream("epoch", epoch as u64);
            let formed = if epoch % PERIOD >= PERIOD / 2 { residual(task, &form) } else { None };
            match formed {
                // What is left beside the known part: short expressions count, and each is weighed as a whole.
                Some(rest) => {
                    let mut own = Known { kept: known.kept, ..Known::default() };
                    self.epoch(&rest, &wide, &mut DoubleQ::new(self.rate, self.gamma), &mut own, &mut stream);
                    for (expression, _) in &own.best {
                        let whole = form.with(expression);
                        let error = task.data().rmse(&whole);
                        if task.reward_of(whole.symbols.len(), error) > 0.0 {
                            known.add(whole, error);
                        }
                    }
                    beside += own.errors.len();
                }
                None => self.epoch(task, &wide, &mut q, &mut known, &mut stream),
            }
            if known.best.iter().any(is_enough) {
                break;
            }
            if self.forms {
                form = Form::of(&known.best[..known.best.len().min(self.form_of)]);
            }
        }
        let mut front: Vec<(Expression, f64)> = Vec::new();
        for one in known.by_length.values() {
            if front.last().is_none_or(|(_, least)| one.1 < *least) {
                front.push(one.clone());
            }
            if is_enough(one) {
                break;
            }
        }
        let found = known.best.iter().find(|one| is_enough(one)).or(known.best.first());
        Ok(found.map(|(expression, error)| Regressed {
            reward: task.reward_of(expression.symbols.len(), *error),
            recovered: is_enough(&(expression.clone(), *error)),
            expression: expression.clone(),
            error: *error,
            evaluated: known.errors.len() + beside,
            epochs,
            front,
        }))
    }

    fn check(&self) -> Result<(), SearchError> {
        check("epochs", "at least 1", self.epochs as f64, self.epochs > 0)?;
        for (name, epochs) in [("reset_q", self.reset_q), ("reset_form", self.reset_form)] {
            check(name, "at least 1", epochs as f64, epochs > 0)?;
        }
        for (name, share) in [("trust", self.trust), ("rate", self.rate), ("gamma", self.gamma)] {
            check(name, "in [0, 1]", share, (0.0..=1.0).contains(&share))?;
        }
        check("step_reward", "finite", self.step_reward, self.step_reward.is_finite())?;
        check("enough", "at least 0", self.enough, self.enough >= 0.0)?;
        self.genetic.check()
    }

    /// One expression by tree search, and one evolution.
    fn epoch(&self, task: &SymbolicTask, wide: &Grammar, q: &mut DoubleQ, known: &mut Known, stream: &mut Stream) {
        let grammar = task.grammar();
        let mut seen: Seen = HashMap::new();
        let (mut written, mut symbols): (Vec<u32>, Vec<Symbol>) = (Vec::new(), Vec::new());
        while self.simulations > 0 && !grammar.is_whole(&symbols) {
            for _ in 0..self.simulations {
                self.simulate(task, &written, q, &mut seen, known, stream);
            }
            let best = |mv: &u32| seen.get(&(written.clone(), *mv)).map_or(-1.0, |(_, best)| *best);
            let legal = grammar.legal(&symbols);
            // Of equals the first.
            let next = legal.into_iter().reduce(|first, mv| if best(&mv) > best(&first) { mv } else { first });
            let Some((mv, symbol)) = next.and_then(|mv| Some((mv, grammar.symbol(mv)?))) else { break };
            written.push(mv);
            symbols.push(symbol);
        }
        let first = known.best.iter().take(self.seeds).map(|(expression, _)| expression.symbols.clone());
        let first: Vec<Vec<Symbol>> = first.filter(|symbols| wide.accepts(symbols)).collect();
        if self.genetic.generations > 0 {
            self.genetic.evolve(wide, first, stream, |symbols| {
                let error = known.error(task, symbols);
                task.reward_of(symbols.len(), error)
            });
        }
    }

    /// One simulation from `written` to a whole expression.
    fn simulate(
        &self,
        task: &SymbolicTask,
        written: &[u32],
        q: &mut DoubleQ,
        seen: &mut Seen,
        known: &mut Known,
        stream: &mut Stream,
    ) {
        let grammar = task.grammar();
        let mut state = written.to_vec();
        let mut symbols: Vec<Symbol> = state.iter().filter_map(|id| grammar.symbol(*id)).collect();
        // From here on, what was legal at each place.
        let mut choices: Vec<Vec<u32>> = vec![grammar.legal(&symbols)];
        while let Some(legal) = choices.last().filter(|legal| !legal.is_empty()) {
            let rare =
                |mv: &&u32| seen.get(&(state.clone(), **mv)).is_none_or(|(visits, _)| *visits < self.first_visits);
            let few: Vec<u32> = legal.iter().filter(rare).copied().collect();
            let mv = match few.is_empty() {
                true => q.draw(&state, legal, self.trust, stream),
                false => few[stream.random_range(0..few.len())],
            };
            state.push(mv);
            symbols.extend(grammar.symbol(mv));
            choices.push(grammar.legal(&symbols));
        }
        let error = known.error(task, &symbols);
        let reward = task.reward_of(symbols.len(), error);
        for (number, at) in (written.len()..state.len()).enumerate() {
            let entry = seen.entry((state[..at].to_vec(), state[at])).or_insert((0, 0.0));
            *entry = (entry.0 + 1, entry.1.max(reward));
            let earned = if at + 1 == state.len() { reward } else { self.step_reward };
            q.learn(&state[..at], state[at], earned, &choices[number + 1], stream);
        }
    }
}

/// The task that is left when a form is known; `None` without one, or where it leaves no finite targets.
fn residual(task: &SymbolicTask, form: &Form) -> Option<SymbolicTask> {
    if *form == Form::Plain {
        return None;
    }
    let data = task.data();
    let pairs = data.rows().iter().zip(data.targets());
    let targets: Option<Vec<f64>> = pairs.map(|(row, target)| form.target(row, *target)).collect();
    task.with_targets(targets?).ok().map(|task| task.with_fewest(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(function: impl Fn(f64) -> f64, constants: usize) -> SymbolicTask {
        let operations = [Operation::Add, Operation::Subtract, Operation::Multiply];
        let grammar = Grammar::new(&operations, 1, constants, 5).unwrap();
        SymbolicTask::new(grammar, Data::of(function, -1.0, 1.0, 20).unwrap()).unwrap()
    }

    fn small() -> Rsrm {
        let genetic = Genetic { population: 200, generations: 20, ..Genetic::default() };
        Rsrm { epochs: 60, simulations: 30, genetic, ..Rsrm::default() }
    }

    #[test]
    fn a_planted_cubic_is_recovered_by_search_with_evolution() {
        let cubic = |x: f64| x * x * x + x * x + x;
        let found = small().search(&task(cubic, 0), None, Seed(1)).unwrap().expect("some expression");
        assert!(found.recovered && found.error <= 1e-10, "{}: {}", found.expression, found.error);
        // It is the same function elsewhere.
        for x in [-3.0, 0.4, 2.5] {
            assert!((found.expression.value(&[x]).expect("finite") - cubic(x)).abs() < 1e-6, "{}", found.expression);
        }
        assert_eq!(small().search(&task(cubic, 0), None, Seed(1)).unwrap().expect("some"), found);
    }

    #[test]
    fn what_is_recovered_holds_on_validation_data_or_the_search_goes_on() {
        let line = |x: f64| x + x + x + x;
        let other = Data::of(|x| 5.0 * x, -1.0, 1.0, 5).unwrap();
        let kept = small().search(&task(line, 0), Some(&Data::of(line, 2.0, 3.0, 5).unwrap()), Seed(1)).unwrap();
        assert!(kept.is_some_and(|found| found.recovered));
        let few = Rsrm { epochs: 2, ..small() };
        let lost = few.search(&task(line, 0), Some(&other), Seed(1)).unwrap().expect("some expression");
        assert_eq!((lost.recovered, lost.epochs), (false, 2));
    }

    #[test]
    fn longer_expressions_of_the_front_have_less_error() {
        let square = |x: f64| x * x + x;
        let task = task(square, 0).with_fewest(1);
        let found = small().search(&task, None, Seed(1)).unwrap().expect("some expression");
        assert!(found.recovered, "{}: {}", found.expression, found.error);
        // x is off by x^2; every expression of three symbols is off by more, and of five two are exact.
        let lengths: Vec<usize> = found.front.iter().map(|(expression, _)| expression.symbols.len()).collect();
        assert_eq!(lengths, [1, 5]);
        let fourth = task.data().rows().iter().map(|row| row[0].powi(4)).sum::<f64>() / 20.0;
        assert!((found.front[0].1 - fourth.sqrt()).abs() < 1e-12, "{}", found.front[0].1);
        assert!(found.front[1].1 <= 1e-10, "{}", found.front[1].1);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let plain = small();
        for wrong in [
            Rsrm { epochs: 0, ..plain },
            Rsrm { trust: f64::NAN, ..plain },
            Rsrm { reset_q: 0, ..plain },
            Rsrm { enough: -1.0, ..plain },
            Rsrm { genetic: Genetic { population: 0, ..plain.genetic }, ..plain },
        ] {
            assert!(wrong.search(&task(|x| x, 0), None, Seed(0)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_short_once_its_constants_are_merged_is_no_candidate() {
        let (add, c, x) = (Symbol::Operation(Operation::Add), Symbol::Constant, Symbol::Variable(0));
        let task = task(|x| x + 1.0, 8);
        let mut known = Known { kept: 5, ..Known::default() };
        // ((c + c) + c) + x has seven symbols, but it is c + x.
        assert!(known.error(&task, &[add, add, add, c, c, c, x]).is_finite());
        assert!(known.best.is_empty());
        // x + (x + (c - x)) has seven, too.
        let subtract = Symbol::Operation(Operation::Subtract);
        assert!(known.error(&task, &[add, x, add, x, subtract, c, x]).is_finite());
        assert_eq!(known.best.len(), 1);
    }

    #[test]
    fn evolution_keeps_to_the_constants_of_the_grammar() {
        // Two constants would fit the line; one is allowed.
        let genetic = Genetic { population: 60, generations: 10, ..Genetic::default() };
        let rsrm = Rsrm { epochs: 1, simulations: 0, genetic, ..Rsrm::default() };
        let found = rsrm.search(&task(|x| 2.3 * x + 1.7, 1), None, Seed(1)).unwrap().expect("some expression");
        assert!(found.expression.constants.len() <= 1, "{}", found.expression);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_best_that_was_seen_never_falls_and_every_simulation_ends(seed in any::<u64>()) {
            let task = task(|x| x * x - x, 2);
            let rsrm = Rsrm { genetic: Genetic { generations: 0, ..Genetic::default() }, ..Rsrm::default() };
            let mut q = DoubleQ::new(0.1, 0.9);
            let (mut seen, mut known) = (HashMap::new(), Known { kept: 5, ..Known::default() });
            let mut stream = Seed(seed).stream("simulation", 0);
            let mut before = f64::INFINITY;
            for number in 0..20u32 {
                rsrm.simulate(&task, &[], &mut q, &mut seen, &mut known, &mut stream);
                let root: u32 = seen.iter().filter(|((state, _), _)| state.is_empty()).map(|(_, (visits, _))| visits).sum();
                prop_assert_eq!(root, number + 1);
                let best = known.best.first().map_or(f64::INFINITY, |(_, error)| *error);
                prop_assert!(best <= before && known.best.len() <= 5);
                before = best;
                prop_assert!(seen.values().all(|(_, best)| (0.0..=1.0).contains(best)));
            }
        }
    }
}
