//! RSRM: equations recovered from twenty points, and what each part of the search adds.
//!
//! Equations are Nguyen's (Uy et al., 2011). There are no constants, so that a one is, for example, `exp(x - x)`.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::search::symbolic::{Genetic, Rsrm};
use ascribe::worlds::{Data, Grammar, Operation, SymbolicTask};
use rand::RngExt;

use crate::row::{Claim, Figures, Row};

const POINTS: usize = 20;
const EPOCHS: usize = 10;

/// RSRM's claims.
pub const ROW: Row = Row {
    name: "rsrm",
    paper: "Reinforcement Symbolic Regression Machine, arXiv:2305.14656",
    setting: "six of Nguyen's equations (1, 2, 6, 8, 9, 10), 20 points each, eight operations without constants; 10 epochs of 30 \
              simulations a symbol and of evolution with 200 expressions for 10 generations, half of them new; recovered is an \
              error of at most 1e-10",
    seeds: 80,
    claims: &[
        Claim {
            says: "the whole search recovers more than tree search without evolution",
            more: "recovered, whole",
            less: "recovered, without evolution",
        },
        Claim {
            says: "evolution that begins with what tree search found recovers more than evolution alone",
            more: "recovered, whole",
            less: "recovered, without tree search",
        },
        Claim { says: "double Q-learning adds to the search", more: "recovered, whole", less: "recovered, without Q" },
        Claim {
            says: "forms that the best expressions share add to the search",
            more: "recovered, whole",
            less: "recovered, without forms",
        },
    ],
    tried: "Before, the row had 16 seeds of 40 epochs on Nguyen 1 to 3, 6 and 7, a rate of 0.05 for Q and 250 expressions to begin \
            200 with: 0.238 of the equations for the whole search, 0.025 without evolution (holds), 0.250 without tree search, \
            0.250 without Q and 0.263 without forms (all three undecided). In a model of the row 7 was never recovered there and \
            3 once in six tries, most others came within ten epochs, and nothing new entered evolution; so there are more seeds \
            of fewer epochs, equations in reach, and a rate of 0.5, since Q stays near zero at less. In the model, with ten \
            epochs, 5 was never recovered (4 is longer still), tree search helped with 8 alone, and little was lost without Q \
            and nothing without forms. The paper has 100 epochs of 100 simulations, and evolution with 500 expressions for 30 \
            generations.",
    run,
};

/// An equation of one or two variables (the second is 0 where there is one), how many, and the range of its points.
type Equation = (fn(f64, f64) -> f64, usize, f64, f64);

/// Nguyen 1, 2, 6, 8, 9 and 10. A root has no symbol of its own, and a logarithm no value at 0.
const EQUATIONS: [Equation; 6] = [
    (|x, _| x.powi(3) + x.powi(2) + x, 1, -1.0, 1.0),
    (|x, _| x.powi(4) + x.powi(3) + x.powi(2) + x, 1, -1.0, 1.0),
    (|x, _| x.sin() + (x + x.powi(2)).sin(), 1, -1.0, 1.0),
    (|x, _| x.sqrt(), 1, 0.2, 4.0),
    (|x, y| x.sin() + y.powi(2).sin(), 2, 0.0, 1.0),
    (|x, y| 2.0 * x.sin() * y.cos(), 2, 0.0, 1.0),
];

/// The whole search, and each part left out.
fn arms() -> [(&'static str, Rsrm); 5] {
    let genetic = Genetic { population: 200, generations: 10, ..Genetic::default() };
    // Fewer simulations than the paper's, so that Q is asked sooner and learns faster; half of a population is new, as there.
    let tree = Rsrm { simulations: 30, first_visits: 1, rate: 0.5, seeds: genetic.population / 2, ..Rsrm::default() };
    let whole = Rsrm { epochs: EPOCHS, genetic, ..tree };
    [
        ("whole", whole),
        ("without evolution", Rsrm { genetic: Genetic { generations: 0, ..genetic }, ..whole }),
        ("without tree search", Rsrm { simulations: 0, ..whole }),
        // Symbols are drawn at random instead.
        ("without Q", Rsrm { trust: 0.0, ..whole }),
        ("without forms", Rsrm { forms: false, ..whole }),
    ]
}

fn run(seed: Seed) -> Result<Figures> {
    let operations: Vec<Operation> =
        Operation::ALL.into_iter().filter(|operation| *operation != Operation::Sqrt).collect();
    let mut figures = Vec::new();
    for (name, rsrm) in arms() {
        let (mut recovered, mut epochs) = (0.0, 0.0);
        for (number, equation) in EQUATIONS.into_iter().enumerate() {
            let grammar = Grammar::new(&operations, equation.1, 0, 5)?;
            let task = SymbolicTask::new(grammar, data(equation, seed.child("points", number as u64))?)?;
            let found = rsrm.search(&task, None, seed.child("equation", number as u64))?;
            recovered += f64::from(u8::from(found.as_ref().is_some_and(|found| found.recovered)));
            epochs += found.map_or(EPOCHS, |found| found.epochs) as f64;
        }
        figures.push((format!("recovered, {name}"), recovered / EQUATIONS.len() as f64));
        figures.push((format!("epochs, {name}"), epochs / EQUATIONS.len() as f64));
    }
    Ok(figures)
}

/// The points of an equation: at equal distances where there is one variable, else drawn.
fn data((equation, variables, low, high): Equation, seed: Seed) -> Result<Data> {
    if variables == 1 {
        return Ok(Data::of(|x| equation(x, 0.0), low, high, POINTS)?);
    }
    let mut stream = seed.stream("points", 0);
    let mut drawn = || stream.random_range(low..high);
    let rows: Vec<Vec<f64>> = (0..POINTS).map(|_| vec![drawn(), drawn()]).collect();
    let targets = rows.iter().map(|row| equation(row[0], row[1])).collect();
    Ok(Data::new(rows, targets)?)
}

#[cfg(test)]
mod tests {
    use ascribe::worlds::{Expression, Symbol};

    use super::*;

    #[test]
    fn equations_are_those_that_are_named() {
        let (one, half) = (1f64, 0.5f64);
        // At 1 and 1/2: 3 and 4 powers, sin 1 + sin 2, the root of 1, sin 1 + sin 1/4, 2 sin 1 cos 1/2.
        let sums = [3.0, 4.0, one.sin() + 2f64.sin(), 1.0, one.sin() + 0.25f64.sin(), 2.0 * one.sin() * half.cos()];
        for ((equation, ..), expected) in EQUATIONS.into_iter().zip(sums) {
            assert!((equation(1.0, 0.5) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_root_and_both_equations_of_two_variables_can_be_written() {
        use Operation::{Add, Cos, Divide, Exp, Log, Multiply, Sin};
        let op = Symbol::Operation;
        let (x, y) = (Symbol::Variable(0), Symbol::Variable(1));
        let written = [
            // exp(ln x * (x / (x + x)))
            vec![op(Exp), op(Multiply), op(Log), x, op(Divide), x, op(Add), x, x],
            vec![op(Add), op(Sin), x, op(Sin), op(Multiply), y, y],
            // sin x (cos y + cos y)
            vec![op(Multiply), op(Sin), x, op(Add), op(Cos), y, op(Cos), y],
        ];
        for (symbols, equation) in written.into_iter().zip(&EQUATIONS[3..]) {
            let grammar = Grammar::new(&Operation::ALL, equation.1, 0, 5).unwrap();
            assert!(grammar.accepts(&symbols), "{symbols:?}");
            let data = data(*equation, Seed(1)).unwrap();
            assert_eq!((data.rows().len(), data.rows()[0].len()), (POINTS, equation.1));
            assert!(data.rmse(&Expression::new(symbols).unwrap()) < 1e-12);
        }
    }
}
