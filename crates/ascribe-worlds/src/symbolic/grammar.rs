//! Which symbol may come next.
//!
//! | rule | |
//! |---|---|
//! | height | no operation more than `height - 1` edges below the root |
//! | waves | no sine or cosine at the root or inside a sine or cosine |
//! | inverses | no exponential of a logarithm, no logarithm of an exponential |
//! | constants | at most `constants` of them |
//!
//! They are those of RSRM (arXiv:2305.14656). Token ids: the operations in their order, then the variables, then the constant.

use super::{Operation, Symbol};
use crate::WorldError;

/// The symbols of a task and the rules for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    symbols: Vec<Symbol>,
    height: usize,
    constants: usize,
}

/// The place of the next symbol.
struct Slot {
    depth: usize,
    parent: Option<Operation>,
    in_wave: bool,
    constants: usize,
}

impl Grammar {
    /// A grammar of these operations over `variables` variables: at most `constants` constants, and height at most `height`.
    /// RSRM has 8 and 5.
    ///
    /// # Errors
    /// When there is neither a variable nor a constant.
    pub fn new(
        operations: &[Operation],
        variables: usize,
        constants: usize,
        height: usize,
    ) -> Result<Self, WorldError> {
        if variables == 0 && constants == 0 {
            return Err(WorldError::range("the number of variables and constants", "at least 1", 0));
        }
        let mut symbols: Vec<Symbol> = operations.iter().copied().map(Symbol::Operation).collect();
        symbols.extend((0..variables).map(Symbol::Variable));
        if constants > 0 {
            symbols.push(Symbol::Constant);
        }
        Ok(Self { symbols, height, constants })
    }

    /// All symbols, by token id.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// The symbol of a token id.
    pub fn symbol(&self, id: u32) -> Option<Symbol> {
        self.symbols.get(id as usize).copied()
    }

    /// Number of variables.
    pub fn variables(&self) -> usize {
        self.symbols.iter().filter(|symbol| matches!(symbol, Symbol::Variable(_))).count()
    }

    /// Most constants of an expression.
    pub fn constants(&self) -> usize {
        self.constants
    }

    /// Most edges between the root and a leaf.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Whether the symbols are a whole expression.
    pub fn is_whole(&self, symbols: &[Symbol]) -> bool {
        super::expression::end(symbols, 0) == Some(symbols.len())
    }

    /// Ids of the symbols that may follow; none after a whole expression. There is always one before.
    pub fn legal(&self, symbols: &[Symbol]) -> Vec<u32> {
        let Some(slot) = self.slot(symbols) else { return Vec::new() };
        let legal = |symbol: &Symbol| match symbol {
            Symbol::Variable(_) => true,
            // Where there is nothing else, a constant may be one too many.
            Symbol::Constant => slot.constants < self.constants || self.variables() == 0,
            Symbol::Operation(operation) => {
                let wave = operation.is_wave() && (slot.in_wave || slot.parent.is_none());
                let inverse = matches!(
                    (slot.parent, operation),
                    (Some(Operation::Exp), Operation::Log) | (Some(Operation::Log), Operation::Exp)
                );
                slot.depth < self.height && !wave && !inverse
            }
        };
        let ids = self.symbols.iter().enumerate().filter(|(_, symbol)| legal(symbol));
        ids.map(|(id, _)| id as u32).collect()
    }

    /// Whether every symbol was legal where it stands, and the whole is one expression.
    pub fn accepts(&self, symbols: &[Symbol]) -> bool {
        let legal = |at: usize| {
            let id = self.symbols.iter().position(|symbol| *symbol == symbols[at]);
            id.is_some_and(|id| self.legal(&symbols[..at]).contains(&(id as u32)))
        };
        self.is_whole(symbols) && (0..symbols.len()).all(legal)
    }

    /// Where the next symbol goes; `None` after a whole expression.
    fn slot(&self, symbols: &[Symbol]) -> Option<Slot> {
        // Operations that wait for operands: the operation, how many, and whether a wave is at or above it.
        let mut open: Vec<(Operation, usize, bool)> = Vec::new();
        let mut constants = 0;
        for (at, symbol) in symbols.iter().enumerate() {
            if at > 0 {
                let (_, left, _) = open.last_mut()?;
                *left -= 1;
            }
            match symbol {
                Symbol::Operation(operation) => {
                    let above = open.last().is_some_and(|(_, _, wave)| *wave);
                    open.push((*operation, operation.arity(), above || operation.is_wave()));
                }
                Symbol::Constant => constants += 1,
                Symbol::Variable(_) => {}
            }
            while open.last().is_some_and(|(_, left, _)| *left == 0) {
                open.pop();
            }
        }
        if open.is_empty() && !symbols.is_empty() {
            return None;
        }
        Some(Slot {
            depth: open.len(),
            parent: open.last().map(|(operation, ..)| *operation),
            in_wave: open.last().is_some_and(|(_, _, wave)| *wave),
            constants,
        })
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;
    use rand::RngExt;

    use super::super::Expression;
    use super::*;

    fn names(grammar: &Grammar, symbols: &[Symbol]) -> Vec<Symbol> {
        grammar.legal(symbols).into_iter().filter_map(|id| grammar.symbol(id)).collect()
    }

    #[test]
    fn rules_worked_by_hand() {
        use Operation::{Add, Cos, Exp, Log, Sin};
        let grammar = Grammar::new(&[Add, Exp, Log, Cos, Sin], 1, 1, 2).unwrap();
        let op = Symbol::Operation;
        let (x, c) = (Symbol::Variable(0), Symbol::Constant);
        assert_eq!(names(&grammar, &[]), [op(Add), op(Exp), op(Log), x, c]);
        assert_eq!(names(&grammar, &[op(Exp)]), [op(Add), op(Exp), op(Cos), op(Sin), x, c]);
        assert_eq!(names(&grammar, &[op(Log)]), [op(Add), op(Log), op(Cos), op(Sin), x, c]);
        // Two edges below the root there are leaves alone, and the one constant is used up.
        assert_eq!(names(&grammar, &[op(Add), op(Add), c]), [x]);
        assert_eq!(names(&grammar, &[op(Add), op(Add), c, x]), [op(Add), op(Exp), op(Log), op(Cos), op(Sin), x]);
        assert!(names(&grammar, &[op(Exp), x]).is_empty());
        let deep = Grammar::new(&[Add, Sin], 1, 0, 5).unwrap();
        assert_eq!(names(&deep, &[op(Add), op(Sin), op(Add)]), [op(Add), x]);
        assert!(
            deep.accepts(&[op(Add), op(Sin), x, x]) && !deep.accepts(&[op(Sin), x]) && !deep.accepts(&[op(Add), x])
        );
        assert!(Grammar::new(&[Add], 0, 0, 5).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_by_the_rules_is_an_expression(seed in any::<u64>(), height in 0usize..6) {
            let grammar = Grammar::new(&Operation::ALL, 2, 3, height).unwrap();
            let mut stream = Seed(seed).stream("expression", 0);
            let mut symbols = Vec::new();
            while !grammar.is_whole(&symbols) {
                let legal = grammar.legal(&symbols);
                prop_assert!(!legal.is_empty());
                let id = legal[stream.random_range(0..legal.len())];
                symbols.push(grammar.symbol(id).unwrap());
            }
            prop_assert!(grammar.accepts(&symbols) && grammar.legal(&symbols).is_empty());
            let expression = Expression::new(symbols).unwrap();
            prop_assert!(expression.height() <= height && expression.constants.len() <= 3);
        }
    }
}
