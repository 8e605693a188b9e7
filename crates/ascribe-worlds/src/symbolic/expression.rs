//! Expressions as symbols in prefix order, and their values by an interpreter of our own.

use std::fmt;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `a + b`
    Add,
    /// `a - b`
    Subtract,
    /// `a * b`
    Multiply,
    /// `a / b`
    Divide,
    /// `exp a`
    Exp,
    /// `ln a`
    Log,
    /// `cos a`
    Cos,
    /// `sin a`
    Sin,
    /// `sqrt a`
    Sqrt,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 9] = [
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Exp,
        Self::Log,
        Self::Cos,
        Self::Sin,
        Self::Sqrt,
    ];

    /// Number of operands.
    pub fn arity(self) -> usize {
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide => 2,
            Self::Exp | Self::Log | Self::Cos | Self::Sin | Self::Sqrt => 1,
        }
    }

    /// Whether it is a sine or a cosine.
    pub fn is_wave(self) -> bool {
        matches!(self, Self::Sin | Self::Cos)
    }

    /// Whether its operands may change places.
    pub fn commutes(self) -> bool {
        matches!(self, Self::Add | Self::Multiply)
    }

    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Exp => a.exp(),
            Self::Log => a.ln(),
            Self::Cos => a.cos(),
            Self::Sin => a.sin(),
            Self::Sqrt => a.sqrt(),
        }
    }

    /// How it is written: `+`, `-`, `*`, `/`, `exp`, `log`, `cos`, `sin` or `sqrt`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Cos => "cos",
            Self::Sin => "sin",
            Self::Sqrt => "sqrt",
        }
    }
}

/// A symbol of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symbol {
    /// An operation, whose operands follow.
    Operation(Operation),
    /// The variable of this column.
    Variable(usize),
    /// A constant, whose value is apart.
    Constant,
}

impl Symbol {
    /// Number of operands that follow.
    pub fn arity(self) -> usize {
        match self {
            Self::Operation(operation) => operation.arity(),
            Self::Variable(_) | Self::Constant => 0,
        }
    }
}

/// A whole expression: symbols in prefix order, and a value for each constant, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// The symbols.
    pub symbols: Vec<Symbol>,
    /// Values of the constants.
    pub constants: Vec<f64>,
}

impl Expression {
    /// An expression whose constants are all 1; `None` when the symbols are not exactly one expression.
    pub fn new(symbols: Vec<Symbol>) -> Option<Self> {
        let whole = end(&symbols, 0) == Some(symbols.len());
        let constants = vec![1.0; symbols.iter().filter(|symbol| **symbol == Symbol::Constant).count()];
        whole.then_some(Self { symbols, constants })
    }

    /// The value where the variables have these values; `None` where a number on the way is not finite, or a variable has no
    /// value.
    pub fn value(&self, variables: &[f64]) -> Option<f64> {
        // From the right, operands stand on the stack when their operation comes.
        let mut stack: Vec<f64> = Vec::with_capacity(self.symbols.len());
        let mut constants = self.constants.iter().rev();
        for symbol in self.symbols.iter().rev() {
            let value = match symbol {
                Symbol::Constant => *constants.next()?,
                Symbol::Variable(column) => *variables.get(*column)?,
                Symbol::Operation(operation) => {
                    let a = stack.pop()?;
                    let b = if operation.arity() == 2 { stack.pop()? } else { 0.0 };
                    operation.apply(a, b)
                }
            };
            if !value.is_finite() {
                return None;
            }
            stack.push(value);
        }
        stack.pop()
    }

    /// The symbols and constants between two places, as an expression.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let before = self.symbols[..range.start].iter().filter(|symbol| **symbol == Symbol::Constant).count();
        let symbols = self.symbols[range].to_vec();
        let inside = symbols.iter().filter(|symbol| **symbol == Symbol::Constant).count();
        Self { symbols, constants: self.constants[before..before + inside].to_vec() }
    }

    /// Where the sub-expression that begins at `start` ends.
    pub fn end(&self, start: usize) -> usize {
        end(&self.symbols, start).unwrap_or(self.symbols.len())
    }

    /// Edges on the longest way from the root to a leaf.
    pub fn height(&self) -> usize {
        // Operands that are still to come, by depth.
        let mut open: Vec<usize> = vec![1];
        let mut height = 0;
        for symbol in &self.symbols {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            height = height.max(open.len() - 1);
            if symbol.arity() > 0 {
                open.push(symbol.arity());
            }
        }
        height
    }

    /// One operation over expressions; operands of a commuting one in a fixed order.
    pub fn joined(operation: Operation, mut operands: Vec<Self>) -> Self {
        if operation.commutes() {
            operands.sort_by(|left, right| left.symbols.cmp(&right.symbols));
        }
        let mut symbols = vec![Symbol::Operation(operation)];
        let mut constants = Vec::new();
        for operand in operands {
            symbols.extend(operand.symbols);
            constants.extend(operand.constants);
        }
        Self { symbols, constants }
    }

    /// The expression as it is written, where variable `i` is called `names[i]`, and `x<i>` where it has no name.
    pub fn text(&self, names: &[String]) -> String {
        let mut stack: Vec<String> = Vec::new();
        let mut constants = self.constants.iter().rev();
        for symbol in self.symbols.iter().rev() {
            let text = match symbol {
                Symbol::Constant => constants.next().map_or("C".into(), |value| format!("{value}")),
                Symbol::Variable(column) => names.get(*column).cloned().unwrap_or_else(|| format!("x{column}")),
                Symbol::Operation(operation) => {
                    let a = stack.pop().unwrap_or_default();
                    match operation.arity() {
                        2 => format!("({a} {} {})", operation.name(), stack.pop().unwrap_or_default()),
                        _ => format!("{}({a})", operation.name()),
                    }
                }
            };
            stack.push(text);
        }
        stack.pop().unwrap_or_default()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&[]))
    }
}

/// Where the expression that begins at `start` ends; `None` when it does not.
pub(super) fn end(symbols: &[Symbol], start: usize) -> Option<usize> {
    let mut missing = 1;
    for (at, symbol) in symbols.iter().enumerate().skip(start) {
        missing += symbol.arity();
        missing -= 1;
        if missing == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The symbols with every part that holds constants alone made one constant: `C*C+C` is `C`.
pub fn merge_constants(symbols: &[Symbol]) -> Vec<Symbol> {
    let mut merged = Vec::with_capacity(symbols.len());
    let mut at = 0;
    while at < symbols.len() {
        let end = end(symbols, at).unwrap_or(symbols.len());
        if symbols[at..end].iter().all(|symbol| !matches!(symbol, Symbol::Variable(_))) {
            merged.push(Symbol::Constant);
            at = end;
        } else {
            merged.push(symbols[at]);
            at += 1;
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Symbol = Symbol::Variable(0);
    const C: Symbol = Symbol::Constant;

    fn op(operation: Operation) -> Symbol {
        Symbol::Operation(operation)
    }

    #[test]
    fn an_expression_worked_by_hand() {
        use Operation::{Add, Divide, Exp, Log, Multiply, Subtract};
        // (x0 * x0 - 3) / x1 at x0 = 4, x1 = 2: 13 / 2.
        let symbols = vec![op(Divide), op(Subtract), op(Multiply), X, X, C, Symbol::Variable(1)];
        let expression = Expression { constants: vec![3.0], ..Expression::new(symbols).unwrap() };
        assert_eq!(expression.value(&[4.0, 2.0]), Some(6.5));
        assert_eq!((expression.height(), expression.to_string()), (3, "(((x0 * x0) - 3) / x1)".into()));
        assert_eq!(expression.text(&["a".to_owned()]), "(((a * a) - 3) / x1)");
        // Divided by nothing, and a variable without a value.
        assert_eq!((expression.value(&[4.0, 0.0]), expression.value(&[4.0])), (None, None));
        let part = expression.part(1..expression.end(1));
        assert_eq!((part.value(&[4.0]), part.to_string()), (Some(13.0), "((x0 * x0) - 3)".into()));
        let log = Expression::new(vec![op(Log), X]).unwrap();
        assert_eq!((log.value(&[-1.0]), log.value(&[1.0]), log.height()), (None, Some(0.0), 1));
        assert!(Expression::new(vec![op(Exp), op(Exp), X]).unwrap().value(&[9.0]).is_none());
        assert!(Expression::new(vec![op(Add), X]).is_none() && Expression::new(vec![X, X]).is_none());
        let sum = Expression::joined(Add, vec![log.clone(), Expression::new(vec![X]).unwrap()]);
        let other = Expression::joined(Add, vec![Expression::new(vec![X]).unwrap(), log]);
        assert_eq!(sum, other);
    }

    #[test]
    fn parts_of_constants_are_one_constant() {
        use Operation::{Add, Multiply, Sin};
        assert_eq!(merge_constants(&[op(Add), op(Multiply), C, C, C]), [C]);
        assert_eq!(merge_constants(&[op(Add), op(Multiply), C, X, op(Sin), C]), [op(Add), op(Multiply), C, X, C]);
        assert_eq!(merge_constants(&[op(Add), X, X]), [op(Add), X, X]);
    }
}
