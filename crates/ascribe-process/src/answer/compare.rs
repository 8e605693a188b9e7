//! Whether two answers say the same.
//!
//! | both | are equal when |
//! |---|---|
//! | numbers | their rational values are equal, or near if one was written as a decimal ([`Tolerance`]) |
//! | expressions | the cross products of their quotients of polynomials are equal, or else probing says so |
//! | tuples, intervals | brackets and number of items are the same, and items are equal one by one |
//! | sets, lists | each item of one has an equal in the other |
//! | matrices | shapes are the same, and cells are equal one by one |
//! | equations, inequalities | the differences of their sides are proportional, by a factor above 0 for `<` |
//! | a relation of the gold answer and an interval | the interval is the relation's; not the other way round, so that to echo a question earns nothing |
//!
//! An answer is `Ok(true)`, `Ok(false)`, or why it is not known.

use super::Why;
use super::exact::{MOST_SYMBOLS, Quotient};
use super::node::Node;
use super::probe::{constant, probe};
use super::rational::{Inexact, Rational};
use super::token::{Bracket, Constant, Order};
use super::value::{Link, Value};

/// How near numbers must be when one was written as a decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tolerance {
    /// Equal.
    Exact,
    /// `|a - b| <= 1e-4 max(|a|, |b|)`, and 1e-9 where one is 0.
    Relative,
    /// Equal when rounded to six places behind the point.
    SixPlaces,
}

/// How numbers are compared.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub tolerance: Tolerance,
    /// What the gold number may be multiplied with: 1/100 where a percent sign was left out.
    pub factors: Vec<Rational>,
}

/// Whether the answer says what the gold answer says.
pub(super) fn same(gold: &Value, answer: &Value, rules: &Rules) -> Result<bool, Why> {
    match (gold, answer) {
        (Value::Expression(gold), Value::Expression(answer)) => same_expression(gold, answer, rules),
        (Value::Set(gold), Value::Set(answer)) => {
            let forth = covered(gold, answer, &|gold, answer| same(gold, answer, rules));
            let back = covered(answer, gold, &|answer, gold| same(gold, answer, rules));
            every([forth, back])
        }
        (Value::Set(gold), _) if gold.len() == 1 => same(&gold[0], answer, rules),
        (_, Value::Set(answer)) if answer.len() == 1 => same(gold, &answer[0], rules),
        (
            Value::Tuple { open, close, items },
            Value::Tuple { open: answer_open, close: answer_close, items: answer_items },
        ) => {
            if (open, close, items.len()) != (answer_open, answer_close, answer_items.len()) {
                return Ok(false);
            }
            every(items.iter().zip(answer_items).map(|(gold, answer)| same(gold, answer, rules)))
        }
        (Value::Matrix(gold), Value::Matrix(answer)) => {
            let shape = |rows: &[Vec<Node>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
            if shape(gold) != shape(answer) {
                return Ok(false);
            }
            let cells = gold.iter().flatten().zip(answer.iter().flatten());
            every(cells.map(|(gold, answer)| same_expression(gold, answer, rules)))
        }
        (Value::Relation(gold), Value::Relation(answer)) => same_relation(gold, answer, rules),
        (Value::Relation(gold), Value::Tuple { .. }) => match interval(gold) {
            Some(interval) => same(&interval, answer, rules),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

/// Whether two expressions are equal.
pub(super) fn same_expression(gold: &Node, answer: &Node, rules: &Rules) -> Result<bool, Why> {
    if gold.infinite().is_some() || answer.infinite().is_some() {
        return Ok(gold.infinite() == answer.infinite());
    }
    if gold.has_infinity() || answer.has_infinity() {
        return Err(Why::Undefined);
    }
    let mut names = Vec::new();
    gold.symbols(&mut names);
    answer.symbols(&mut names);
    if names.len() > MOST_SYMBOLS {
        return Err(Why::Symbols);
    }
    let decimal = gold.has_decimal() || answer.has_decimal();
    let tolerance = if decimal { rules.tolerance } else { Tolerance::Exact };
    match exactly(gold, answer, &names, tolerance, &rules.factors) {
        Ok(equal) => Ok(equal),
        Err(Inexact::Undefined) => Err(Why::Undefined),
        // Probing has too few digits to say that large numbers are equal.
        Err(Inexact::Large) => match probe(gold, answer, &names) {
            Ok(false) => Ok(false),
            _ => Err(Why::Large),
        },
        Err(Inexact::Irrational) if names.is_empty() && tolerance == Tolerance::SixPlaces => {
            let (gold, answer) = (constant(gold), constant(answer));
            let places = |value: f64| (value * 1e6).round();
            if gold.is_finite() && answer.is_finite() {
                Ok(places(gold) == places(answer))
            } else {
                Err(Why::Undefined)
            }
        }
        Err(Inexact::Irrational) => probe(gold, answer, &names),
    }
}

fn exactly(
    gold: &Node,
    answer: &Node,
    names: &[&str],
    tolerance: Tolerance,
    factors: &[Rational],
) -> Result<bool, Inexact> {
    let (gold, answer) = (Quotient::of(gold, names)?, Quotient::of(answer, names)?);
    let (Some(gold), Some(answer)) = (gold.as_rational()?, answer.as_rational()?) else { return gold.same(&answer) };
    if near(gold, answer, tolerance) {
        return Ok(true);
    }
    for factor in factors {
        if near(gold.times(*factor)?, answer, tolerance) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn near(one: Rational, other: Rational, tolerance: Tolerance) -> bool {
    let (a, b) = (one.as_f64(), other.as_f64());
    match tolerance {
        Tolerance::Exact => one == other,
        Tolerance::Relative if one.is_zero() || other.is_zero() => (a - b).abs() <= 1e-9,
        Tolerance::Relative => (a - b).abs() <= 1e-4 * a.abs().max(b.abs()),
        Tolerance::SixPlaces => match (one.millionths(), other.millionths()) {
            (Some(one), Some(other)) => one == other,
            _ => one == other,
        },
    }
}

/// All of the answers: false if one is, else the first that is not known.
fn every(answers: impl IntoIterator<Item = Result<bool, Why>>) -> Result<bool, Why> {
    let mut unknown = None;
    for answer in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => unknown = unknown.or(Some(why)),
        }
    }
    unknown.map_or(Ok(true), Err)
}

/// Whether each item has an equal among the others.
fn covered(
    items: &[Value],
    others: &[Value],
    equal: &dyn Fn(&Value, &Value) -> Result<bool, Why>,
) -> Result<bool, Why> {
    every(items.iter().map(|item| {
        let mut best = Ok(false);
        for other in others {
            match equal(item, other) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(why) => best = Err(why),
            }
        }
        best
    }))
}

/// The interval of a relation between one symbol and numbers.
fn interval(links: &[Link]) -> Option<Value> {
    let symbol = |node: &Node| matches!(node, Node::Symbol(_));
    let infinity = || Node::Constant(Constant::Infinity);
    let lower = |order: Order| if order == Order::AtMost { Bracket::Square } else { Bracket::Round };
    let between = |open: Bracket, low: Node, high: Node, close: Bracket| Value::Tuple {
        open,
        close,
        items: vec![Value::Expression(low), Value::Expression(high)],
    };
    let below = |order: Order| matches!(order, Order::Less | Order::AtMost);
    if !links.iter().all(|link| below(link.order)) {
        return None;
    }
    match links {
        [link] if symbol(&link.left) && !link.right.has_symbol() => {
            let low = Node::Negative(Box::new(infinity()));
            Some(between(Bracket::Round, low, link.right.clone(), lower(link.order)))
        }
        [link] if symbol(&link.right) && !link.left.has_symbol() => {
            Some(between(lower(link.order), link.left.clone(), infinity(), Bracket::Round))
        }
        [one, other] => {
            // A chain of `>` was turned round link by link, so the links may stand the other way.
            let (first, last) = if one.right == other.left { (one, other) } else { (other, one) };
            let fits = first.right == last.left
                && symbol(&first.right)
                && !first.left.has_symbol()
                && !last.right.has_symbol();
            fits.then(|| between(lower(first.order), first.left.clone(), last.right.clone(), lower(last.order)))
        }
        _ => None,
    }
}

fn same_relation(gold: &[Link], answer: &[Link], rules: &Rules) -> Result<bool, Why> {
    if gold.len() != answer.len() {
        return Ok(false);
    }
    let forth = every(gold.iter().zip(answer).map(|(gold, answer)| same_link(gold, answer, rules)));
    if forth == Ok(true) || gold.len() == 1 {
        return forth;
    }
    let back = every(gold.iter().zip(answer.iter().rev()).map(|(gold, answer)| same_link(gold, answer, rules)));
    if back == Ok(true) { back } else { forth }
}

fn same_link(gold: &Link, answer: &Link, rules: &Rules) -> Result<bool, Why> {
    if gold.order != answer.order {
        return Ok(false);
    }
    let differences = [gold, answer].map(|link| link.left.clone().less(link.right.clone()));
    let mut names = Vec::new();
    differences.iter().for_each(|node| node.symbols(&mut names));
    if names.len() > MOST_SYMBOLS {
        return Err(Why::Symbols);
    }
    let ratio = || Quotient::of(&differences[0], &names)?.ratio(&Quotient::of(&differences[1], &names)?);
    match ratio() {
        Ok(Some(ratio)) => {
            let directed = matches!(gold.order, Order::Less | Order::AtMost);
            Ok(!directed || ratio.numerator() > 0)
        }
        Ok(None) => Ok(false),
        Err(Inexact::Undefined) => Err(Why::Undefined),
        Err(Inexact::Large | Inexact::Irrational) => every([
            same_expression(&gold.left, &answer.left, rules),
            same_expression(&gold.right, &answer.right, rules),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::lex;
    use super::super::value::value;
    use super::*;

    fn compared(gold: &str, answer: &str, tolerance: Tolerance) -> Result<bool, Why> {
        let read = |text: &str| value(&lex(text).unwrap()).unwrap();
        same(&read(gold), &read(answer), &Rules { tolerance, factors: Vec::new() })
    }

    #[track_caller]
    fn check(gold: &str, answer: &str, expected: bool) {
        assert_eq!(compared(gold, answer, Tolerance::Relative), Ok(expected), "{gold} and {answer}");
    }

    #[test]
    fn numbers() {
        check("1/2", "0.5", true);
        check("1/3", "0.333", false);
        check("1/3", "0.33333", true);
        check("120000", "120006", false);
        check("0", "0.0000000001", true);
        check("0", "0.00001", false);
        assert_eq!(compared("1/3", "0.33333", Tolerance::SixPlaces), Ok(false));
        assert_eq!(compared("2\\pi", "6.283185", Tolerance::SixPlaces), Ok(true));
        assert_eq!(compared("2\\pi", "6.283185", Tolerance::Relative), Ok(false));
        assert_eq!(compared("2^{200}", "2^{200}+1", Tolerance::Exact), Err(Why::Large));
        assert_eq!(compared("2^{200}", "1", Tolerance::Exact), Ok(false));
    }

    #[test]
    fn sets_tuples_and_matrices() {
        check("\\{1,2,2\\}", "2,1", true);
        check("\\{1,2\\}", "\\{1,3\\}", false);
        check("\\{5\\}", "5", true);
        check("(1,2)", "(2,1)", false);
        check("(1,2)", "[1,2]", false);
        check("(1,2)\\cup(3,4)", "(3,4)\\cup(1,2)", true);
        check("(-\\infty,3]", "(-\\infty,3.0]", true);
        check("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", false);
        check("1 \\pm \\sqrt{2}", "1-\\sqrt2, 1+\\sqrt2", true);
    }

    #[test]
    fn relations() {
        check("2x+3y=6", "4x+6y=12", true);
        check("x>3", "3<x", true);
        check("x>3", "-x<-3", true);
        check("x>3", "x<3", false);
        check("x>3", "x\\geq 3", false);
        check("x\\ne 2", "2\\ne x", true);
        check("1<x<2", "2>x>1", true);
        // A relation takes its interval, and an interval does not take a relation.
        check("1<x\\le 2", "(1,2]", true);
        check("x>3", "(3,\\infty)", true);
        check("(3,\\infty)", "x>3", false);
    }

    #[test]
    fn limits_leave_a_comparison_undecided() {
        assert_eq!(compared("a+b+c+d", "d+c+b+a", Tolerance::Exact), Err(Why::Symbols));
        assert_eq!(compared("1/0", "1", Tolerance::Exact), Err(Why::Undefined));
        assert_eq!(compared("\\infty-\\infty", "0", Tolerance::Exact), Err(Why::Undefined));
    }
}
