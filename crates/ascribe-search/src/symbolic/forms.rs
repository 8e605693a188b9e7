//! The form of an expression that the best ones have in common: `A * F` or `A + F` with `A` known and `F` to be found.
//!
//! A product's factors (then a sum's terms) that two, and at least half, of the best expressions have, among those whose error is within a
//! factor of 10 of the least, make `A`. Operands of sums and products are compared in a fixed order. Departures from RSRM: no
//! `A ^ F`, because there is no power among the operations, and nothing is expanded.

use ascribe_worlds::{Expression, Operation, Symbol};

/// A form of expressions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// `F` itself.
    Plain,
    /// `A * F`.
    Times(Expression),
    /// `A + F`.
    Plus(Expression),
}

impl Form {
    /// The form that expressions with these errors have in common.
    pub(super) fn of(best: &[(Expression, f64)]) -> Self {
        let least = best.iter().map(|(_, error)| *error).fold(f64::INFINITY, f64::min);
        let near: Vec<&Expression> =
            best.iter().filter(|(_, error)| *error <= 10.0 * least).map(|(expression, _)| expression).collect();
        if near.len() < 2 {
            return Self::Plain;
        }
        if let Some(common) = common(&near, Operation::Multiply) {
            return Self::Times(common);
        }
        common(&near, Operation::Add).map_or(Self::Plain, Self::Plus)
    }

    /// What `F` has to be where the variables have these values; `None` where there is no such value.
    pub(super) fn target(&self, variables: &[f64], target: f64) -> Option<f64> {
        match self {
            Self::Plain => Some(target),
            Self::Times(known) => Some(target / known.value(variables)?).filter(|value| value.is_finite()),
            Self::Plus(known) => Some(target - known.value(variables)?),
        }
    }

    /// The expression of this form with `F`.
    pub(super) fn with(&self, rest: &Expression) -> Expression {
        let joined = |operation, known: &Expression| Expression::joined(operation, vec![known.clone(), rest.clone()]);
        match self {
            Self::Plain => rest.clone(),
            Self::Times(known) => joined(Operation::Multiply, known),
            Self::Plus(known) => joined(Operation::Add, known),
        }
    }
}

/// The operands that at least half of the expressions have, joined; `None` when there is none, or nothing else.
fn common(expressions: &[&Expression], operation: Operation) -> Option<Expression> {
    let lists: Vec<Vec<Expression>> = expressions.iter().map(|one| operands(one, operation)).collect();
    let mut known: Vec<Expression> = Vec::new();
    // Expressions whose whole is one operand say nothing of the form.
    let candidates = lists.iter().filter(|list| list.len() > 1).flatten();
    for candidate in candidates {
        let having = lists.iter().filter(|list| list.iter().any(|other| other.symbols == candidate.symbols)).count();
        if having >= 2 && 2 * having >= lists.len() && known.iter().all(|other| other.symbols != candidate.symbols) {
            known.push(candidate.clone());
        }
    }
    match known.len() {
        0 => None,
        1 => known.pop(),
        _ => known.into_iter().reduce(|left, right| Expression::joined(operation, vec![left, right])),
    }
}

/// The operands of nested operations of one kind, each with its own operands in a fixed order.
fn operands(expression: &Expression, operation: Operation) -> Vec<Expression> {
    match expression.symbols.first() {
        Some(Symbol::Operation(first)) if *first == operation => {
            let middle = expression.end(1);
            let (left, right) = (expression.part(1..middle), expression.part(middle..expression.symbols.len()));
            [operands(&left, operation), operands(&right, operation)].concat()
        }
        _ => vec![ordered(expression)],
    }
}

/// The same expression with the operands of sums and products in a fixed order.
pub(super) fn ordered(expression: &Expression) -> Expression {
    let Some(Symbol::Operation(operation)) = expression.symbols.first() else { return expression.clone() };
    let mut parts = Vec::new();
    let mut start = 1;
    while start < expression.symbols.len() {
        let end = expression.end(start);
        parts.push(ordered(&expression.part(start..end)));
        start = end;
    }
    Expression::joined(*operation, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Symbol = Symbol::Variable(0);
    const ADD: Symbol = Symbol::Operation(Operation::Add);
    const TIMES: Symbol = Symbol::Operation(Operation::Multiply);
    const SIN: Symbol = Symbol::Operation(Operation::Sin);

    fn expression(symbols: &[Symbol]) -> Expression {
        Expression::new(symbols.to_vec()).expect("one expression")
    }

    #[test]
    fn common_terms_and_factors_are_found() {
        // x x + (x + sin x), sin x + x x, and x alone: x x and sin x stand in two of three, x is no sum.
        let sums = [
            (expression(&[ADD, TIMES, X, X, ADD, X, SIN, X]), 0.1),
            (expression(&[ADD, SIN, X, TIMES, X, X]), 0.2),
            (expression(&[X]), 0.9),
        ];
        let Form::Plus(known) = Form::of(&sums) else { panic!("a sum") };
        // x stands in two of three as well.
        assert_eq!(
            known.value(&[2.0]).map(|value| (value * 1e6).round()),
            Some(((4.0 + 2f64.sin() + 2.0) * 1e6).round())
        );
        // Too far from the least error: one is left, which has nothing in common with others.
        let far = [sums[0].clone(), (sums[1].0.clone(), 2.0)];
        assert_eq!(Form::of(&far), Form::Plain);
        let products = [(expression(&[TIMES, X, SIN, X]), 0.1), (expression(&[TIMES, SIN, X, ADD, X, X]), 0.2)];
        assert_eq!(Form::of(&products), Form::Times(expression(&[SIN, X])));
    }

    #[test]
    fn targets_and_wholes_belong_together() {
        let square = expression(&[TIMES, X, X]);
        let rest = expression(&[SIN, X]);
        for form in [Form::Plain, Form::Times(square.clone()), Form::Plus(square)] {
            let whole = form.with(&rest).value(&[1.5]).expect("finite");
            let target = form.target(&[1.5], whole).expect("finite");
            assert!((target - 1.5f64.sin()).abs() < 1e-12, "{form:?}");
        }
        assert_eq!(Form::Times(expression(&[X])).target(&[0.0], 1.0), None);
    }
}
