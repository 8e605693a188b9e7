//! Data to be explained by an expression, and what an expression is worth.
//!
//! ```text
//! reward = eta^length / (1 + rmse),   eta = 0.99,   0 for at most 5 symbols and where a value is not finite
//! ```
//! RSRM, arXiv:2305.14656. Its repository calls (L1 norm)^2 / n the RMSE; this is the true root of the mean square. Constants
//! are set by Powell's method from a normal start that hangs on the expression, at most 10 rounds, tolerance 1e-6.

use ascribe_core::{CoreError, Seed, Transition, World};
use rand::RngExt;

use super::fit::powell;
use super::{Expression, Grammar, Symbol, merge_constants};
use crate::WorldError;

/// Values of variables, and the targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    rows: Vec<Vec<f64>>, // [points, variables]
    targets: Vec<f64>,   // [points]
}

impl Data {
    /// One row of variables for each target.
    ///
    /// # Errors
    /// When there are fewer than two points, the rows differ in length or number, or a number is not finite.
    pub fn new(rows: Vec<Vec<f64>>, targets: Vec<f64>) -> Result<Self, WorldError> {
        if rows.len() != targets.len() || rows.len() < 2 {
            let rule = "at least 2, and as many rows as targets";
            return Err(WorldError::range("the number of points", rule, (rows.len(), targets.len())));
        }
        let width = rows[0].len();
        if let Some(row) = rows.iter().find(|row| row.len() != width) {
            return Err(WorldError::range("a row of variables", "as long as the first", row));
        }
        match rows.iter().flatten().chain(&targets).find(|number| !number.is_finite()) {
            Some(got) => Err(WorldError::range("a number of the data", "finite", got)),
            None => Ok(Self { rows, targets }),
        }
    }

    /// The data of a function of one variable at `points` places from `low` to `high`, both included.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(function: impl Fn(f64) -> f64, low: f64, high: f64, points: usize) -> Result<Self, WorldError> {
        let place = |at: usize| low + (high - low) * at as f64 / (points.max(2) - 1) as f64;
        let xs: Vec<f64> = (0..points).map(place).collect();
        let targets = xs.iter().map(|x| function(*x)).collect();
        Self::new(xs.into_iter().map(|x| vec![x]).collect(), targets)
    }

    /// The rows of variables.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// The targets.
    pub fn targets(&self) -> &[f64] {
        &self.targets
    }

    /// Root of the mean square error; infinite where a value is not finite.
    pub fn rmse(&self, expression: &Expression) -> f64 {
        let mut sum = 0.0;
        for (row, target) in self.rows.iter().zip(&self.targets) {
            match expression.value(row) {
                Some(value) => sum += (value - target) * (value - target),
                None => return f64::INFINITY,
            }
        }
        let error = (sum / self.rows.len() as f64).sqrt();
        if error.is_finite() { error } else { f64::INFINITY }
    }
}

/// A task of symbolic regression. As a [`World`] its state is the symbols that were written, as token ids, and its reward
/// comes with the last one.
#[derive(Clone, Debug)]
pub struct SymbolicTask {
    grammar: Grammar,
    data: Data,
    eta: f64,
    fewest: usize,
    seed: Seed,
}

impl SymbolicTask {
    /// A task with RSRM's reward.
    ///
    /// # Errors
    /// When the grammar has more or fewer variables than the data.
    pub fn new(grammar: Grammar, data: Data) -> Result<Self, WorldError> {
        let (variables, columns) = (grammar.variables(), data.rows[0].len());
        if variables > columns {
            return Err(WorldError::range(
                "the number of variables",
                "at most that of the columns",
                (variables, columns),
            ));
        }
        Ok(Self { grammar, data, eta: 0.99, fewest: 6, seed: Seed(0) })
    }

    /// The same task over other targets.
    ///
    /// # Errors
    /// When there is not one target a point, or one is not finite.
    pub fn with_targets(&self, targets: Vec<f64>) -> Result<Self, WorldError> {
        let data = Data::new(self.data.rows.clone(), targets)?;
        Ok(Self { data, ..self.clone() })
    }

    /// The same task, where an expression needs at least so many symbols for a reward.
    pub fn with_fewest(self, fewest: usize) -> Self {
        Self { fewest, ..self }
    }

    /// The grammar.
    pub fn grammar(&self) -> &Grammar {
        &self.grammar
    }

    /// The data.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The expression of these symbols with its constants set to fit the data, and its error. Parts of constants alone are
    /// one constant. `None` when the symbols are no expression.
    pub fn fitted(&self, symbols: &[Symbol]) -> Option<(Expression, f64)> {
        self.fitted_by(symbols, |start, error| powell(start, 10, 1e-6, error))
    }

    /// The same, where `fit` goes from a start to the constants of the least error; it is not asked where there are none.
    fn fitted_by(
        &self,
        symbols: &[Symbol],
        fit: impl FnOnce(&[f64], &dyn Fn(&[f64]) -> f64) -> (Vec<f64>, f64),
    ) -> Option<(Expression, f64)> {
        let mut expression = Expression::new(merge_constants(symbols))?;
        if expression.constants.is_empty() {
            let error = self.data.rmse(&expression);
            return Some((expression, error));
        }
        let name = expression.symbols.iter().fold(0u64, |hash, symbol| {
            let code = self.grammar.symbols().iter().position(|known| known == symbol).unwrap_or(0) as u64;
            hash.wrapping_mul(0x0100_0000_01b3) ^ (code + 1)
        });
        let mut stream = self.seed.stream("constants", name);
        let mut normal = || {
            let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
            radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
        };
        let start: Vec<f64> = expression.constants.iter().map(|_| normal()).collect();
        let error = |constants: &[f64]| {
            let constants = constants.to_vec();
            self.data.rmse(&Expression { constants, ..expression.clone() })
        };
        let (constants, error) = fit(&start, &error);
        expression.constants = constants;
        Some((expression, error))
    }

    /// What an expression of this length and error is worth.
    pub fn reward_of(&self, length: usize, error: f64) -> f64 {
        if length < self.fewest || !error.is_finite() {
            return 0.0;
        }
        self.eta.powi(length as i32) / (1.0 + error)
    }

    /// What these symbols are worth; 0 when they are no expression.
    pub fn reward(&self, symbols: &[Symbol]) -> f64 {
        self.fitted(symbols).map_or(0.0, |(_, error)| self.reward_of(symbols.len(), error))
    }

    /// The symbols of token ids.
    ///
    /// # Errors
    /// When an id has no symbol.
    pub fn symbols(&self, ids: &[u32]) -> Result<Vec<Symbol>, WorldError> {
        let symbol = |id: &u32| {
            let known = self.grammar.symbol(*id);
            known.ok_or_else(|| WorldError::range("a symbol's token id", "below the number of symbols", *id))
        };
        ids.iter().map(symbol).collect()
    }
}

impl World for SymbolicTask {
    type State = Vec<u32>;

    /// Nothing written. The seed changes nothing.
    fn reset(&self, _seed: Seed) -> Vec<u32> {
        Vec::new()
    }

    fn moves(&self, state: &Vec<u32>) -> Vec<u32> {
        self.symbols(state).map_or_else(|_| Vec::new(), |symbols| self.grammar.legal(&symbols))
    }

    fn step(&self, state: &Vec<u32>, mv: u32) -> Result<Transition<Vec<u32>>, CoreError> {
        if !self.moves(state).contains(&mv) {
            return Err(WorldError::range("a symbol", "one that is legal here", (mv, state)).into());
        }
        let state = [state.as_slice(), &[mv]].concat();
        let symbols = self.symbols(&state)?;
        let done = self.grammar.is_whole(&symbols);
        let reward = if done { self.reward(&symbols) } else { 0.0 };
        Ok(Transition { state, reward, done })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Operation;
    use super::*;

    fn cubic() -> SymbolicTask {
        let grammar = Grammar::new(&[Operation::Add, Operation::Multiply], 1, 2, 5).unwrap();
        SymbolicTask::new(grammar, Data::of(|x| x * x * x + x * x + x, -1.0, 1.0, 20).unwrap()).unwrap()
    }

    #[test]
    fn rewards_worked_by_hand() {
        let task = cubic();
        // 0.99^7 / 1.25.
        assert!((task.reward_of(7, 0.25) - 0.745652).abs() < 1e-6);
        assert_eq!((task.reward_of(5, 0.0), task.reward_of(7, f64::INFINITY)), (0.0, 0.0));
        assert!(task.reward_of(7, 0.2) > task.reward_of(7, 0.3) && task.reward_of(7, 0.2) > task.reward_of(8, 0.2));
        let (add, multiply, x) =
            (Symbol::Operation(Operation::Add), Symbol::Operation(Operation::Multiply), Symbol::Variable(0));
        let planted = [add, add, multiply, x, multiply, x, x, multiply, x, x, x];
        let (_, error) = task.fitted(&planted).unwrap();
        assert!(error < 1e-12 && (task.reward(&planted) - 0.99f64.powi(11)).abs() < 1e-9);
        // Of one symbol, however well it fits.
        let line = SymbolicTask::new(task.grammar().clone(), Data::of(|x| x, -1.0, 1.0, 20).unwrap()).unwrap();
        assert_eq!(line.reward(&[x]), 0.0);
        assert!(line.with_fewest(1).reward(&[x]) > 0.98);
    }

    #[test]
    fn constants_are_fitted() {
        let grammar = Grammar::new(&[Operation::Add, Operation::Multiply], 1, 2, 5).unwrap();
        let task = SymbolicTask::new(grammar, Data::of(|x| 2.5 * x - 1.25, -2.0, 2.0, 20).unwrap()).unwrap();
        let (add, multiply, x) =
            (Symbol::Operation(Operation::Add), Symbol::Operation(Operation::Multiply), Symbol::Variable(0));
        let (expression, error) = task.fitted(&[add, multiply, Symbol::Constant, x, Symbol::Constant]).unwrap();
        assert!(error < 1e-3, "{expression}: {error}");
        assert!((expression.constants[0] - 2.5).abs() < 1e-2 && (expression.constants[1] + 1.25).abs() < 1e-2);
    }

    #[test]
    fn an_expression_without_constants_is_not_fitted() {
        let task = cubic();
        let (add, x) = (Symbol::Operation(Operation::Add), Symbol::Variable(0));
        let (expression, error) = task.fitted_by(&[add, x, x], |_, _| panic!("there is nothing to fit")).unwrap();
        assert!(expression.constants.is_empty() && error > 0.0);
        let mut asked = Vec::new();
        let fit = |start: &[f64], error: &dyn Fn(&[f64]) -> f64| {
            asked.push(start.len());
            (vec![2.0], error(&[2.0]))
        };
        // The root of the mean of (2 - x^3 - x^2)^2 over 20 even places from -1 to 1.
        let (expression, error) = task.fitted_by(&[add, x, Symbol::Constant], fit).unwrap();
        assert!(expression.constants == [2.0] && (error - 1.720691).abs() < 1e-6, "{error}");
        assert_eq!(asked, [1]);
    }

    #[test]
    fn an_expression_is_written_move_by_move() {
        let task = cubic();
        let mut state = task.reset(Seed(0));
        // + * x x * x x has seven symbols: x^2 + x^2.
        for (number, mv) in [0, 1, 2, 2, 1, 2, 2].into_iter().enumerate() {
            let next = task.step(&state, mv).unwrap();
            assert_eq!((next.done, next.reward > 0.0), (number == 6, number == 6));
            state = next.state;
        }
        assert!(task.moves(&state).is_empty() && task.step(&state, 2).is_err() && task.step(&vec![], 9).is_err());
    }

    #[test]
    fn what_is_no_task_is_refused() {
        assert!(Data::new(vec![vec![0.0]], vec![0.0]).is_err() && Data::new(vec![vec![0.0]; 2], vec![0.0]).is_err());
        assert!(Data::new(vec![vec![0.0], vec![]], vec![0.0; 2]).is_err());
        assert!(Data::new(vec![vec![f64::NAN], vec![0.0]], vec![0.0; 2]).is_err());
        let grammar = Grammar::new(&Operation::ALL, 2, 0, 5).unwrap();
        assert!(SymbolicTask::new(grammar, Data::of(|x| x, 0.0, 1.0, 3).unwrap()).is_err());
    }
}
