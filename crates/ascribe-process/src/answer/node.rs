//! Expressions as trees, and the parser that makes them.
//!
//! ```text
//! sum      = product (("+" | "-") product)*          product = signed (("*" | "/" | nothing) signed)*
//! signed   = ("+" | "-")* power                      power   = postfix ("^" ("+" | "-")* power)?
//! postfix  = primary "!"?                            primary = number | symbol | constant | bracket | function ..
//! ```
//! A whole number before a fraction of whole numbers is a mixed number, `7\frac{3}{4}` or `7 3/4`, but for an exponent;
//! otherwise what stands side by side is multiplied. An argument without braces is one sign, as in LaTeX: `\frac12`. Nesting
//! has a limit, so the stack has one.

use super::token::{Bracket, Constant, Function, Lexed, Literal, Token, Unreadable};

/// Deepest nesting of brackets, arguments and exponents.
const MOST_DEPTH: usize = 64;

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Number(Literal),
    Symbol(String),
    Constant(Constant),
    Sum(Vec<Node>),
    Product(Vec<Node>),
    Negative(Box<Node>),
    Inverse(Box<Node>),
    Absolute(Box<Node>),
    Factorial(Box<Node>),
    /// The upper and the lower number.
    Binomial(Box<Node>, Box<Node>),
    Power(Box<Node>, Box<Node>),
    /// The index of the root, at least 2, and what is under it.
    Root(u32, Box<Node>),
    Function(Function, Box<Node>),
}

impl Node {
    /// The expressions that it is made of.
    pub fn children(&self) -> Vec<&Node> {
        match self {
            Self::Number(_) | Self::Symbol(_) | Self::Constant(_) => Vec::new(),
            Self::Sum(parts) | Self::Product(parts) => parts.iter().collect(),
            Self::Negative(part) | Self::Inverse(part) | Self::Absolute(part) | Self::Factorial(part) => {
                vec![part.as_ref()]
            }
            Self::Root(_, part) | Self::Function(_, part) => vec![part.as_ref()],
            Self::Binomial(one, other) | Self::Power(one, other) => vec![one.as_ref(), other.as_ref()],
        }
    }

    /// Whether `test` holds for it or for a part of it.
    pub fn any(&self, test: &dyn Fn(&Node) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|part| part.any(test))
    }

    /// Whether a number in it was written with digits behind a point.
    pub fn has_decimal(&self) -> bool {
        self.any(&|node| matches!(node, Self::Number(literal) if literal.is_decimal()))
    }

    /// Whether it holds a symbol.
    pub fn has_symbol(&self) -> bool {
        self.any(&|node| matches!(node, Self::Symbol(_)))
    }

    /// Whether it holds infinity.
    pub fn has_infinity(&self) -> bool {
        self.any(&|node| *node == Self::Constant(Constant::Infinity))
    }

    /// 1 for infinity, -1 for its negative.
    pub fn infinite(&self) -> Option<i8> {
        match self {
            Self::Constant(Constant::Infinity) => Some(1),
            Self::Negative(part) if **part == Self::Constant(Constant::Infinity) => Some(-1),
            _ => None,
        }
    }

    /// Adds the symbols that `into` does not have yet, in the order of their appearance.
    pub fn symbols<'a>(&'a self, into: &mut Vec<&'a str>) {
        if let Self::Symbol(name) = self
            && !into.contains(&name.as_str())
        {
            into.push(name);
        }
        for part in self.children() {
            part.symbols(into);
        }
    }

    /// `self - other`.
    pub fn less(self, other: Node) -> Node {
        Self::Sum(vec![self, Self::Negative(Box::new(other))])
    }

    /// `upper / lower`.
    pub fn quotient(upper: Node, lower: Node) -> Node {
        Self::Product(vec![upper, Self::Inverse(Box::new(lower))])
    }
}

/// The expression that all tokens make.
pub(super) fn expression(tokens: &[Lexed]) -> Result<Node, Unreadable> {
    let mut parser = Parser { tokens: tokens.to_vec(), at: 0 };
    let node = parser.sum(0)?;
    if parser.at == parser.tokens.len() { Ok(node) } else { Err(Unreadable::Syntax) }
}

struct Parser {
    tokens: Vec<Lexed>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Option<&Token> {
        self.tokens.get(self.at + by).map(|lexed| &lexed.token)
    }

    fn take(&mut self) -> Result<Token, Unreadable> {
        let token = self.peek().cloned().ok_or(Unreadable::Syntax)?;
        self.at += 1;
        Ok(token)
    }

    /// Steps over `token` if it stands here.
    fn accept(&mut self, token: &Token) -> bool {
        let stands = self.peek() == Some(token);
        self.at += usize::from(stands);
        stands
    }

    fn sum(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let mut terms = vec![self.product(depth)?];
        loop {
            if self.accept(&Token::Plus) {
                terms.push(self.product(depth)?);
            } else if self.accept(&Token::Minus) {
                terms.push(Node::Negative(Box::new(self.product(depth)?)));
            } else {
                return Ok(one_or(terms, Node::Sum));
            }
        }
    }

    fn product(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let mut factors = vec![self.signed(depth)?];
        loop {
            if self.accept(&Token::Times) {
                factors.push(self.signed(depth)?);
            } else if self.accept(&Token::Over) {
                factors.push(Node::Inverse(Box::new(self.signed(depth)?)));
            } else if self.peek().is_some_and(begins_factor) {
                let before = self.tokens.get(self.at - 1).map(|lexed| &lexed.token);
                if matches!((before, self.peek()), (Some(Token::Number(_)), Some(Token::Number(_)))) {
                    return Err(Unreadable::Syntax);
                }
                factors.push(self.power(depth)?);
            } else {
                return Ok(one_or(factors, Node::Product));
            }
        }
    }

    fn signed(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let negative = self.signs();
        let node = self.power(depth)?;
        Ok(if negative { Node::Negative(Box::new(node)) } else { node })
    }

    /// Steps over signs; whether together they negate.
    fn signs(&mut self) -> bool {
        let mut negative = false;
        loop {
            if self.accept(&Token::Minus) {
                negative = !negative;
            } else if !self.accept(&Token::Plus) {
                return negative;
            }
        }
    }

    fn power(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let depth = deeper(depth)?;
        let base = self.postfix(depth)?;
        if !self.accept(&Token::Power) {
            return Ok(base);
        }
        let negative = self.signs();
        let exponent = self.power(depth)?;
        let exponent = if negative { Node::Negative(Box::new(exponent)) } else { exponent };
        Ok(Node::Power(Box::new(base), Box::new(exponent)))
    }

    fn postfix(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let node = self.primary(depth)?;
        Ok(if self.accept(&Token::Factorial) { Node::Factorial(Box::new(node)) } else { node })
    }

    fn primary(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let depth = deeper(depth)?;
        match self.take()? {
            Token::Number(literal) => self.mixed(literal, depth),
            Token::Symbol(name) => Ok(Node::Symbol(name)),
            Token::Constant(constant) => Ok(Node::Constant(constant)),
            Token::Open(bracket) if bracket != Bracket::Brace => {
                let inside = self.sum(depth)?;
                if self.accept(&Token::Close(bracket)) { Ok(inside) } else { Err(Unreadable::Syntax) }
            }
            Token::Bar => {
                let inside = self.sum(depth)?;
                if self.accept(&Token::Bar) { Ok(Node::Absolute(Box::new(inside))) } else { Err(Unreadable::Syntax) }
            }
            Token::Fraction => {
                let upper = self.argument(depth)?;
                Ok(Node::quotient(upper, self.argument(depth)?))
            }
            Token::Binomial => {
                let upper = self.argument(depth)?;
                Ok(Node::Binomial(Box::new(upper), Box::new(self.argument(depth)?)))
            }
            Token::Function(Function::Sqrt) => {
                let index = self.root_index()?;
                Ok(Node::Root(index, Box::new(self.argument(depth)?)))
            }
            Token::Function(function) => self.function(function, depth),
            _ => Err(Unreadable::Syntax),
        }
    }

    /// A number, and the fraction that makes it a mixed number if one follows.
    fn mixed(&mut self, literal: Literal, depth: usize) -> Result<Node, Unreadable> {
        let whole = literal.is_whole();
        let number = Node::Number(literal);
        // An exponent without braces ends with its number: `\sin^2\frac{x}{2}`.
        let mut before = self.tokens[..self.at - 1].iter().rev().map(|lexed| &lexed.token);
        let is_exponent = before.find(|token| !matches!(token, Token::Plus | Token::Minus)) == Some(&Token::Power);
        if !whole || is_exponent {
            return Ok(number);
        }
        if self.accept(&Token::Fraction) {
            let upper = self.argument(depth)?;
            let lower = self.argument(depth)?;
            let numbers = matches!((&upper, &lower), (Node::Number(_), Node::Number(_)));
            let fraction = Node::quotient(upper, lower);
            return Ok(if numbers { Node::Sum(vec![number, fraction]) } else { Node::Product(vec![number, fraction]) });
        }
        let spaced = self.tokens.get(self.at).is_some_and(|lexed| lexed.spaced);
        let is_whole = |token: Option<&Token>| matches!(token, Some(Token::Number(literal)) if literal.is_whole());
        let fraction = is_whole(self.ahead(0)) && self.ahead(1) == Some(&Token::Over) && is_whole(self.ahead(2));
        if let (true, Token::Number(upper), Token::Number(lower)) = (
            spaced && fraction,
            self.ahead(0).cloned().unwrap_or(Token::Empty),
            self.ahead(2).cloned().unwrap_or(Token::Empty),
        ) {
            self.at += 3;
            return Ok(Node::Sum(vec![number, Node::quotient(Node::Number(upper), Node::Number(lower))]));
        }
        Ok(number)
    }

    /// `[3]` behind a root; 2 where nothing stands.
    fn root_index(&mut self) -> Result<u32, Unreadable> {
        if !self.accept(&Token::Open(Bracket::Square)) {
            return Ok(2);
        }
        let Token::Number(literal) = self.take()? else { return Err(Unreadable::Syntax) };
        let index = literal.digits.parse::<u32>().ok().filter(|index| literal.is_whole() && (2..=64).contains(index));
        if self.accept(&Token::Close(Bracket::Square)) {
            index.ok_or(Unreadable::Syntax)
        } else {
            Err(Unreadable::Syntax)
        }
    }

    /// A function with its power and its argument: `\sin^2 2x` takes what is multiplied by standing side by side.
    fn function(&mut self, function: Function, depth: usize) -> Result<Node, Unreadable> {
        let exponent = if self.accept(&Token::Power) { Some(self.primary(depth)?) } else { None };
        let argument = match self.peek() {
            Some(Token::Open(Bracket::Round | Bracket::Group)) => self.primary(depth)?,
            _ => {
                let mut factors = vec![self.power(depth)?];
                while matches!(self.peek(), Some(Token::Symbol(_) | Token::Constant(_) | Token::Number(_))) {
                    factors.push(self.power(depth)?);
                }
                one_or(factors, Node::Product)
            }
        };
        let value = Node::Function(function, Box::new(argument));
        Ok(match exponent {
            Some(exponent) => Node::Power(Box::new(value), Box::new(exponent)),
            None => value,
        })
    }

    /// An argument as LaTeX takes it: a group, or one sign. Of `12` it takes the 1.
    fn argument(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let lexed = self.tokens.get_mut(self.at).ok_or(Unreadable::Syntax)?;
        match &mut lexed.token {
            Token::Number(literal) if literal.is_whole() && literal.digits.len() > 1 => {
                let rest = literal.digits.split_off(1);
                let first = std::mem::replace(&mut literal.digits, rest);
                lexed.spaced = false;
                Ok(Node::Number(Literal::whole(&first)))
            }
            Token::Number(literal) => {
                let number = Node::Number(literal.clone());
                self.at += 1;
                Ok(number)
            }
            Token::Symbol(_)
            | Token::Constant(_)
            | Token::Open(Bracket::Round | Bracket::Group)
            | Token::Fraction
            | Token::Binomial
            | Token::Function(_) => self.primary(depth),
            _ => Err(Unreadable::Syntax),
        }
    }
}

fn deeper(depth: usize) -> Result<usize, Unreadable> {
    if depth < MOST_DEPTH { Ok(depth + 1) } else { Err(Unreadable::Deep) }
}

/// Whether a token begins a factor that stands beside another without a sign.
fn begins_factor(token: &Token) -> bool {
    match token {
        Token::Number(_) | Token::Symbol(_) | Token::Constant(_) | Token::Function(_) => true,
        Token::Fraction | Token::Binomial => true,
        Token::Open(bracket) => *bracket != Bracket::Brace,
        _ => false,
    }
}

/// The only part, or all parts together.
fn one_or(mut parts: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::lex;
    use super::*;

    fn read(text: &str) -> Result<Node, Unreadable> {
        expression(&lex(text)?)
    }

    #[track_caller]
    fn same(one: &str, other: &str) {
        assert_eq!(read(one), read(other), "{one} and {other}");
        assert!(read(one).is_ok(), "{one}");
    }

    #[test]
    fn arguments_and_mixed_numbers() {
        same("\\frac12", "\\frac{1}{2}");
        same("\\frac123", "\\frac{1}{2}(3)");
        same("\\sqrt3", "\\sqrt{3}");
        same("7 3/4", "7\\frac{3}{4}");
        same("2\\frac12", "2\\frac{1}{2}");
        same("3^2\\frac12", "(3^2)\\frac12");
        same("x^-2\\frac{1}{2}", "(x^{-2})\\frac12");
        same("\\sin^2\\frac{x}{2}", "(\\sin{\\frac{x}{2}})^2");
        assert!(matches!(read("2\\frac{1}{x}"), Ok(Node::Product(_))));
        assert!(matches!(read("7 3/4"), Ok(Node::Sum(_))));
        assert!(matches!(read("-7 3/4"), Ok(Node::Negative(_))));
    }

    #[test]
    fn what_is_not_of_the_grammar_is_refused() {
        for text in ["", "1 2", "(1", "1)", "(1]", "x+", "\\frac1", "|x", "\\sqrt[0]{2}", "*2", "\\{1\\}"] {
            assert_eq!(read(text), Err(Unreadable::Syntax), "{text}");
        }
    }

    #[test]
    fn nesting_has_a_limit_and_length_has_none() {
        let nested = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
        assert!(read(&nested(20)).is_ok());
        assert_eq!(read(&nested(200)), Err(Unreadable::Deep));
        assert_eq!(read(&format!("{}x", "x^".repeat(200))), Err(Unreadable::Deep));
        assert_eq!(read(&"\\frac".repeat(100)), Err(Unreadable::Deep));
        assert!(read(&format!("1{}", "+1".repeat(250))).is_ok());
        assert!(read(&format!("{}1", "-".repeat(500))).is_ok());
    }

    #[test]
    fn symbols_stand_in_the_order_of_their_appearance() {
        let node = read("y x + \\sin y^2").unwrap();
        let mut names = Vec::new();
        node.symbols(&mut names);
        assert_eq!(names, ["y", "x"]);
    }
}
