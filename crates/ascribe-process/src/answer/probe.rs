//! Numeric probing: what exact arithmetic cannot settle is evaluated at seeded points.
//!
//! ```text
//! equal:      at every point where both are defined  |a - b| <= 1e-9 max(|a|, |b|), and at 5 points at least
//! different:  at one point  |a - b| > error(a) + error(b) + 1e-9 max(|a|, |b|)
//! ```
//! 8 points lie in [0.5, 2.5] and 8 in [-3, 3]. Every value carries a bound of its rounding error to first order, so a loss of
//! digits is no difference, and leaves the comparison undecided.

use ascribe_core::Seed;
use rand::RngExt;

use super::Why;
use super::exact::MOST_SYMBOLS;
use super::node::Node;
use super::token::{Constant, Function};

/// Relative difference below which two values are one.
const TOLERANCE: f64 = 1e-9;

/// Points in each of the two ranges.
const POINTS: usize = 8;

/// Fewest points at which both sides must be defined.
const FEWEST_INSIDE: usize = 5;

/// Largest argument of a factorial.
const MOST_FACTORIAL: f64 = 170.0;

/// A value, and a bound of its rounding error.
#[derive(Clone, Copy, Debug)]
struct Probed {
    value: f64,
    error: f64,
}

impl Probed {
    const UNDEFINED: Self = Self { value: f64::NAN, error: 0.0 };

    /// A value that was rounded once.
    fn rounded(value: f64) -> Self {
        Self { value, error: value.abs() * f64::EPSILON }
    }

    /// The value of a function with this derivative, of the library's accuracy.
    fn of(value: f64, derivative: f64, argument: Self) -> Self {
        let own = 4.0 * f64::EPSILON * value.abs().max(f64::EPSILON);
        Self { value, error: derivative.abs() * argument.error + own }
    }

    fn is_defined(&self) -> bool {
        self.value.is_finite() && self.error.is_finite()
    }
}

/// Whether two expressions are equal at all probed points; an error says why that is not known.
pub(super) fn probe(one: &Node, other: &Node, names: &[&str]) -> Result<bool, Why> {
    let (mut inside, points) = (0, points(names.len()));
    for point in &points {
        let (a, b) = (evaluate(one, names, point), evaluate(other, names, point));
        if !(a.is_defined() && b.is_defined()) {
            continue;
        }
        inside += 1;
        let (difference, error) = ((a.value - b.value).abs(), a.error + b.error);
        let scale = a.value.abs().max(b.value.abs());
        let near = difference <= TOLERANCE * scale;
        // Values that cancel to nothing have no scale of their own.
        let nothing = difference <= error && error <= TOLERANCE * scale.max(1.0);
        if near || nothing {
            continue;
        }
        return if difference > error + TOLERANCE * scale { Ok(false) } else { Err(Why::Rounding) };
    }
    match (inside, names.is_empty()) {
        (0, _) => Err(Why::Undefined),
        (1.., true) | (FEWEST_INSIDE.., false) => Ok(true),
        _ => Err(Why::Domain),
    }
}

/// The value of an expression without symbols; NaN where it is not defined.
pub(super) fn constant(node: &Node) -> f64 {
    evaluate(node, &[], &[0.0; MOST_SYMBOLS]).value
}

/// Where expressions of so many symbols are compared.
fn points(symbols: usize) -> Vec<[f64; MOST_SYMBOLS]> {
    if symbols == 0 {
        return vec![[0.0; MOST_SYMBOLS]];
    }
    let mut stream = Seed(0).stream("answer probe", 0);
    let point = |at: usize| {
        let (low, width) = if at < POINTS { (0.5, 2.0) } else { (-3.0, 6.0) };
        std::array::from_fn(|_| low + width * stream.random::<f64>())
    };
    (0..2 * POINTS).map(point).collect()
}

fn evaluate(node: &Node, names: &[&str], point: &[f64; MOST_SYMBOLS]) -> Probed {
    let of = |node: &Node| evaluate(node, names, point);
    match node {
        Node::Number(literal) => Probed::rounded(literal.as_f64()),
        Node::Symbol(name) => match names.iter().position(|known| known == name) {
            Some(at) if at < MOST_SYMBOLS => Probed { value: point[at], error: 0.0 },
            _ => Probed::UNDEFINED,
        },
        Node::Constant(Constant::Pi) => Probed::rounded(std::f64::consts::PI),
        Node::Constant(Constant::E) => Probed::rounded(std::f64::consts::E),
        Node::Constant(Constant::Infinity) | Node::Binomial(..) => Probed::UNDEFINED,
        Node::Sum(parts) => parts.iter().fold(Probed { value: 0.0, error: 0.0 }, |sum, part| {
            let part = of(part);
            let value = sum.value + part.value;
            Probed { value, error: sum.error + part.error + value.abs() * f64::EPSILON }
        }),
        Node::Product(parts) => parts.iter().fold(Probed { value: 1.0, error: 0.0 }, |product, part| {
            let part = of(part);
            let value = product.value * part.value;
            let carried = product.value.abs() * part.error + (part.value.abs() + part.error) * product.error;
            Probed { value, error: carried + value.abs() * f64::EPSILON }
        }),
        Node::Negative(part) => {
            let part = of(part);
            Probed { value: -part.value, ..part }
        }
        Node::Inverse(part) => {
            let part = of(part);
            // A divisor that may be 0 is no divisor.
            if part.value.abs() > 2.0 * part.error {
                let value = part.value.recip();
                Probed { value, error: value.abs() * (2.0 * part.error / part.value.abs() + f64::EPSILON) }
            } else {
                Probed::UNDEFINED
            }
        }
        Node::Absolute(part) => {
            let part = of(part);
            Probed { value: part.value.abs(), ..part }
        }
        Node::Factorial(part) => {
            let n = of(part).value;
            let whole = (0.0..=MOST_FACTORIAL).contains(&n) && n.fract() == 0.0;
            if !whole {
                return Probed::UNDEFINED;
            }
            let value = (2..=n as u32).map(f64::from).product::<f64>();
            Probed { value, error: value * f64::EPSILON * n.max(1.0) }
        }
        Node::Root(index, part) => root(of(part), *index),
        Node::Power(base, exponent) => power(of(base), of(exponent)),
        Node::Function(function, part) => apply(*function, of(part)),
    }
}

fn root(part: Probed, index: u32) -> Probed {
    let odd = index % 2 == 1;
    if part.value < 0.0 && !odd {
        return Probed::UNDEFINED;
    }
    let inverse = 1.0 / f64::from(index);
    if part.value == 0.0 {
        return Probed { value: 0.0, error: part.error.powf(inverse) };
    }
    let value = part.value.signum() * part.value.abs().powf(inverse);
    Probed { value, error: value.abs() * (part.error / part.value.abs() * inverse + 4.0 * f64::EPSILON) }
}

fn power(base: Probed, exponent: Probed) -> Probed {
    let (b, e) = (base.value, exponent.value);
    let outside = (b < 0.0 && e.fract() != 0.0) || (b == 0.0 && e <= 0.0);
    if outside {
        return Probed::UNDEFINED;
    }
    let value = b.powf(e);
    if b == 0.0 {
        return Probed { value, error: base.error };
    }
    let carried = e.abs() * base.error / b.abs() + exponent.error * b.abs().ln().abs();
    Probed { value, error: value.abs() * (carried + 4.0 * f64::EPSILON) }
}

fn apply(function: Function, argument: Probed) -> Probed {
    let x = argument.value;
    let (value, derivative) = match function {
        Function::Sin => (x.sin(), 1.0),
        Function::Cos => (x.cos(), 1.0),
        Function::Tan => (x.tan(), 1.0 + x.tan().powi(2)),
        Function::Cot => (x.tan().recip(), 1.0 + x.tan().powi(-2)),
        Function::Sec => (x.cos().recip(), x.tan() / x.cos()),
        Function::Csc => (x.sin().recip(), 1.0 / (x.tan() * x.sin())),
        Function::Arcsin => (x.asin(), (1.0 - x * x).max(f64::EPSILON).sqrt().recip()),
        Function::Arccos => (x.acos(), (1.0 - x * x).max(f64::EPSILON).sqrt().recip()),
        Function::Arctan => (x.atan(), 1.0),
        Function::Ln => (x.ln(), x.recip()),
        Function::Log => (x.log10(), x.recip() / std::f64::consts::LN_10),
        Function::Exp => (x.exp(), x.exp()),
        Function::Abs => (x.abs(), 1.0),
        Function::Sqrt => return root(argument, 2),
    };
    Probed::of(value, derivative, argument)
}

#[cfg(test)]
mod tests {
    use super::super::node::expression;
    use super::super::token::lex;
    use super::*;

    fn compared(one: &str, other: &str) -> Result<bool, Why> {
        let read = |text: &str| expression(&lex(text).unwrap()).unwrap();
        let (one, other) = (read(one), read(other));
        let mut names = Vec::new();
        one.symbols(&mut names);
        other.symbols(&mut names);
        probe(&one, &other, &names)
    }

    #[test]
    fn identities_hold_at_all_points() {
        for (one, other) in [
            ("2\\sqrt{2}", "\\sqrt{8}"),
            ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
            ("\\ln 8", "3\\ln 2"),
            ("\\sin^2 x+\\cos^2 x", "1"),
            ("\\sin 2x", "2\\sin x\\cos x"),
            ("\\sin^2 x+\\cos^2 x-1", "0"),
            ("e^{x+y}", "e^x e^y"),
            ("\\sqrt[3]{x^3}", "x"),
            ("\\tan x", "\\frac{\\sin x}{\\cos x}"),
            ("|x|", "\\sqrt{x^2}"),
        ] {
            assert_eq!(compared(one, other), Ok(true), "{one} and {other}");
        }
    }

    #[test]
    fn a_difference_is_seen_and_a_loss_of_digits_is_none() {
        for (one, other) in [("\\sqrt{3}", "1.732"), ("\\pi", "3.1415926"), ("\\sqrt{x^2}", "x"), ("\\sin x", "x")] {
            assert_eq!(compared(one, other), Ok(false), "{one} and {other}");
        }
        assert_eq!(compared("10^{20}\\sqrt{2}-10^{20}\\sqrt{2}+1", "2"), Err(Why::Rounding));
        assert_eq!(compared("\\ln(0-1)", "1"), Err(Why::Undefined));
        // Defined at none of the points.
        assert_eq!(compared("\\sqrt{x-4}", "1"), Err(Why::Undefined));
    }

    #[test]
    fn probing_is_the_same_every_time() {
        assert_eq!(points(2), points(2));
        assert!(points(1).iter().take(POINTS).all(|point| (0.5..2.5).contains(&point[0])));
    }
}
