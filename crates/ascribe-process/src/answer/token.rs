//! Text of an answer to tokens: LaTeX, or what people type.
//!
//! Spacing commands go, equal spellings become one token, and thousands separators join the digits of a number: `1,234`
//! outside brackets, `1{,}234` and `1\,234` everywhere. Letters are symbols of one letter each; a run that looks like a word
//! ends the reading, because an answer in words is no product.

use std::fmt;

use super::rational::{Inexact, Rational};

/// Longest answer that is read, in bytes.
pub(super) const MOST_BYTES: usize = 512;

/// Most decimal digits of a number that is computed with.
const MOST_DIGITS: usize = 38;

/// Why a text is not read as mathematics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It holds a word.
    Word,
    /// It is longer than [`MOST_BYTES`].
    Long,
    /// It is nested too deeply, or has too many parts.
    Deep,
    /// It is not of the grammar.
    Syntax,
}

/// A number as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// All digits, without separators and point; at least one.
    pub digits: String,
    /// How many of them stand behind the point.
    pub places: usize,
    /// Power of ten behind `e`.
    pub exponent: i32,
}

impl Literal {
    pub fn whole(digits: &str) -> Self {
        Self { digits: digits.to_owned(), places: 0, exponent: 0 }
    }

    /// Whether it was written with digits behind a point.
    pub fn is_decimal(&self) -> bool {
        self.places > 0
    }

    /// Whether it is digits alone.
    pub fn is_whole(&self) -> bool {
        self.places == 0 && self.exponent == 0
    }

    pub fn rational(&self) -> Result<Rational, Inexact> {
        let (whole, fraction) = self.parts();
        let digits = [whole, fraction].concat();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Rational::ZERO);
        }
        if digits.len() > MOST_DIGITS {
            return Err(Inexact::Large);
        }
        let value: i128 = digits.parse().map_err(|_| Inexact::Large)?;
        let power = self.exponent - fraction.len() as i32;
        let scale = 10i128.checked_pow(power.unsigned_abs()).ok_or(Inexact::Large)?;
        if power < 0 {
            return Rational::new(value, scale);
        }
        Ok(Rational::integer(value.checked_mul(scale).ok_or(Inexact::Large)?))
    }

    pub fn as_f64(&self) -> f64 {
        let power = self.exponent - self.places as i32;
        format!("{}e{power}", self.digits).parse().unwrap_or(f64::NAN)
    }

    /// Digits before the point without leading zeros, and behind it without trailing ones.
    fn parts(&self) -> (&str, &str) {
        let (whole, fraction) = self.digits.split_at(self.digits.len() - self.places);
        (whole.trim_start_matches('0'), fraction.trim_end_matches('0'))
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = self.parts();
        f.write_str(if whole.is_empty() { "0" } else { whole })?;
        if !fraction.is_empty() {
            write!(f, ".{fraction}")?;
        }
        if self.exponent != 0 {
            write!(f, "e{}", self.exponent)?;
        }
        Ok(())
    }
}

/// A kind of bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bracket {
    /// `(` and `)`
    Round,
    /// `[` and `]`
    Square,
    /// `{` and `}`, which group in LaTeX
    Group,
    /// `\{` and `\}`
    Brace,
}

/// A number with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Constant {
    /// The circle's.
    Pi,
    /// Euler's.
    E,
    /// Above every number.
    Infinity,
}

/// A function of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Arcsin,
    Arccos,
    Arctan,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    /// A root, with an index in square brackets if there is one.
    Sqrt,
    /// To base 10.
    Log,
    Ln,
    Exp,
    Abs,
}

impl Function {
    const NAMES: [(&'static str, Self); 14] = [
        ("arcsin", Self::Arcsin),
        ("arccos", Self::Arccos),
        ("arctan", Self::Arctan),
        ("sin", Self::Sin),
        ("cos", Self::Cos),
        ("tan", Self::Tan),
        ("cot", Self::Cot),
        ("sec", Self::Sec),
        ("csc", Self::Csc),
        ("sqrt", Self::Sqrt),
        ("log", Self::Log),
        ("ln", Self::Ln),
        ("exp", Self::Exp),
        ("abs", Self::Abs),
    ];

    fn read(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }
}

/// How two sides stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    Unequal,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Number(Literal),
    Symbol(String),
    Constant(Constant),
    Function(Function),
    Fraction,
    Binomial,
    Plus,
    Minus,
    PlusMinus,
    MinusPlus,
    Times,
    Over,
    Power,
    Factorial,
    Comma,
    Colon,
    Bar,
    Cell,
    Row,
    Open(Bracket),
    Close(Bracket),
    Begin,
    End,
    Order(Order),
    Union,
    In,
    Empty,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Number(literal) => return write!(f, "{literal}"),
            Self::Symbol(name) => name.as_str(),
            Self::Constant(Constant::Pi) => "\\pi",
            Self::Constant(Constant::E) => "e",
            Self::Constant(Constant::Infinity) => "\\infty",
            Self::Function(function) => {
                let name = Function::NAMES.iter().find(|(_, known)| known == function);
                return write!(f, "\\{} ", name.map_or("", |(name, _)| *name));
            }
            Self::Fraction => "\\frac",
            Self::Binomial => "\\binom",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::PlusMinus => "\\pm",
            Self::MinusPlus => "\\mp",
            Self::Times => "*",
            Self::Over => "/",
            Self::Power => "^",
            Self::Factorial => "!",
            Self::Comma => ",",
            Self::Colon => ":",
            Self::Bar => "|",
            Self::Cell => "&",
            Self::Row => "\\\\",
            Self::Open(Bracket::Round) => "(",
            Self::Open(Bracket::Square) => "[",
            Self::Open(Bracket::Group) => "{",
            Self::Open(Bracket::Brace) => "\\{",
            Self::Close(Bracket::Round) => ")",
            Self::Close(Bracket::Square) => "]",
            Self::Close(Bracket::Group) => "}",
            Self::Close(Bracket::Brace) => "\\}",
            Self::Begin => "\\begin{matrix}",
            Self::End => "\\end{matrix}",
            Self::Order(Order::Less) => "<",
            Self::Order(Order::AtMost) => "\\le",
            Self::Order(Order::Greater) => ">",
            Self::Order(Order::AtLeast) => "\\ge",
            Self::Order(Order::Equal) => "=",
            Self::Order(Order::Unequal) => "\\ne",
            Self::Union => "\\cup",
            Self::In => "\\in",
            Self::Empty => "\\emptyset",
        };
        f.write_str(text)
    }
}

/// A token, and whether a space stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lexed {
    pub token: Token,
    pub spaced: bool,
}

/// The tokens of a text.
pub(super) fn lex(text: &str) -> Result<Vec<Lexed>, Unreadable> {
    if text.len() > MOST_BYTES {
        return Err(Unreadable::Long);
    }
    let mut lexer = Lexer { rest: text, spaced: false, depth: 0, tokens: Vec::new() };
    while let Some(letter) = lexer.rest.chars().next() {
        lexer.step(letter)?;
    }
    Ok(lexer.tokens)
}

/// The tokens as one text without spaces: equal for equal writings.
pub(super) fn normal(tokens: &[Lexed]) -> String {
    tokens.iter().map(|lexed| lexed.token.to_string()).collect()
}

/// Whether a run of letters is a word rather than symbols.
pub(super) fn is_word(run: &str) -> bool {
    let low = run.to_ascii_lowercase();
    if named(&low).is_some() {
        return false;
    }
    match low.as_bytes() {
        // Letters that follow each other in the alphabet are symbols: abc, xyz.
        [a, b, c] => a + 1 != *b || b + 1 != *c,
        short if short.len() < 3 => ["no", "is", "it", "to", "of", "on", "so", "we", "he", "if", "or"].contains(&&*low),
        _ => true,
    }
}

/// The letters that a text begins with.
pub(super) fn letters(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_alphabetic).count()]
}

/// How many digits a text begins with.
pub(super) fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// The token of a name that a run of letters begins with, and its length: `sin`, and `sinx`, but not `since`.
fn named(run: &str) -> Option<(Token, usize)> {
    let constants = [
        ("infty", Token::Constant(Constant::Infinity), ""),
        ("inf", Token::Constant(Constant::Infinity), ""),
        ("pi", Token::Constant(Constant::Pi), "rxyz"),
    ];
    let functions = Function::NAMES.iter().map(|(name, function)| (*name, Token::Function(*function), "xyz"));
    let mut names = functions.chain(constants);
    names.find_map(|(name, token, followers)| {
        let behind = run.strip_prefix(name)?;
        let fits = behind.is_empty() || behind.len() == 1 && followers.contains(behind);
        fits.then_some((token, name.len()))
    })
}

struct Lexer<'a> {
    rest: &'a str,
    spaced: bool,
    depth: i32,
    tokens: Vec<Lexed>,
}

impl Lexer<'_> {
    fn push(&mut self, token: Token) {
        match token {
            // A group holds an argument, so a comma inside it separates no items.
            Token::Open(Bracket::Group) | Token::Close(Bracket::Group) => {}
            Token::Open(_) | Token::Begin => self.depth += 1,
            Token::Close(_) | Token::End => self.depth -= 1,
            _ => {}
        }
        let spaced = std::mem::take(&mut self.spaced);
        self.tokens.push(Lexed { token, spaced });
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn step(&mut self, letter: char) -> Result<(), Unreadable> {
        if letter.is_whitespace() || letter == '~' {
            self.spaced = true;
            self.skip(letter.len_utf8());
            return Ok(());
        }
        let decimal = letter == '.' && digits(&self.rest[1..]) > 0;
        if letter.is_ascii_digit() || decimal {
            self.number();
            return Ok(());
        }
        if letter == '\\' {
            return self.command();
        }
        if letter.is_ascii_alphabetic() {
            return self.letters();
        }
        self.sign(letter)
    }

    fn number(&mut self) {
        let mut length = digits(self.rest);
        let mut all = self.rest[..length].to_owned();
        if (1..=3).contains(&length) {
            // Between brackets a plain comma separates items.
            let separators: &[&str] =
                if self.depth == 0 { &["{,}", ",\\!", "\\,", ","] } else { &["{,}", ",\\!", "\\,"] };
            while let Some((bytes, group)) = separators.iter().find_map(|one| thousand(&self.rest[length..], one)) {
                length += bytes;
                all += group;
            }
        }
        let mut places = 0;
        if let Some(behind) = self.rest[length..].strip_prefix('.') {
            places = digits(behind);
            all += &behind[..places];
            length += 1 + places;
        }
        let mut exponent = 0;
        if let Some(tail) = self.rest[length..].strip_prefix(['e', 'E']) {
            let size = tail.strip_prefix(['+', '-']).unwrap_or(tail);
            let count = digits(size);
            if (1..=3).contains(&count) {
                exponent = size[..count].parse().unwrap_or(0);
                if tail.starts_with('-') {
                    exponent = -exponent;
                }
                length += 1 + (tail.len() - size.len()) + count;
            }
        }
        self.skip(length);
        self.push(Token::Number(Literal { digits: all, places, exponent }));
    }

    /// What begins with a backslash.
    fn command(&mut self) -> Result<(), Unreadable> {
        let name = letters(&self.rest[1..]);
        if name.is_empty() {
            let sign = self.rest[1..].chars().next().ok_or(Unreadable::Syntax)?;
            self.skip(1 + sign.len_utf8());
            match sign {
                '\\' => self.push(Token::Row),
                '{' => self.push(Token::Open(Bracket::Brace)),
                '}' => self.push(Token::Close(Bracket::Brace)),
                '|' => self.push(Token::Bar),
                ';' | ':' | ' ' => self.spaced = true,
                '!' | ',' => {}
                _ => return Err(Unreadable::Syntax),
            }
            return Ok(());
        }
        self.skip(1 + name.len());
        let token = match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => Token::Fraction,
            "binom" | "dbinom" | "tbinom" => Token::Binomial,
            "le" | "leq" | "leqslant" => Token::Order(Order::AtMost),
            "ge" | "geq" | "geqslant" => Token::Order(Order::AtLeast),
            "ne" | "neq" => Token::Order(Order::Unequal),
            "lt" => Token::Order(Order::Less),
            "gt" => Token::Order(Order::Greater),
            "cdot" | "times" => Token::Times,
            "div" => Token::Over,
            "pi" => Token::Constant(Constant::Pi),
            "infty" => Token::Constant(Constant::Infinity),
            "emptyset" | "varnothing" => Token::Empty,
            "cup" => Token::Union,
            "in" => Token::In,
            "pm" => Token::PlusMinus,
            "mp" => Token::MinusPlus,
            "vert" | "lvert" | "rvert" => Token::Bar,
            "begin" | "end" => return self.environment(name == "begin"),
            "left" | "right" | "displaystyle" | "quad" | "qquad" | "big" | "Big" | "bigl" | "bigr" | "limits"
            | "mathrm" | "mathbf" | "mathbb" | "text" => {
                self.spaced = true;
                return Ok(());
            }
            _ if GREEK.contains(&name) => Token::Symbol(name.to_owned()),
            _ => Token::Function(Function::read(name).ok_or(Unreadable::Syntax)?),
        };
        self.push(token);
        Ok(())
    }

    /// The name of an environment, and the columns of an array; all matrices are one.
    fn environment(&mut self, begins: bool) -> Result<(), Unreadable> {
        let name = self.braced()?;
        if !["pmatrix", "bmatrix", "vmatrix", "matrix", "array"].contains(&name) {
            return Err(Unreadable::Syntax);
        }
        if begins && name == "array" {
            self.braced()?;
        }
        self.push(if begins { Token::Begin } else { Token::End });
        Ok(())
    }

    fn letters(&mut self) -> Result<(), Unreadable> {
        let run = letters(self.rest);
        if let Some((token, length)) = named(&run.to_ascii_lowercase()) {
            self.skip(length);
            self.push(token);
            return Ok(());
        }
        if is_word(run) {
            return Err(Unreadable::Word);
        }
        let mut name = run[..1].to_owned();
        self.skip(1);
        if let Some(behind) = self.rest.strip_prefix('_') {
            let below = match behind.chars().next() {
                Some('{') => {
                    self.skip(1);
                    self.braced()?.trim()
                }
                Some(one) if one.is_ascii_alphanumeric() => {
                    self.skip(2);
                    &behind[..1]
                }
                _ => return Err(Unreadable::Syntax),
            };
            name = format!("{name}_{below}");
        }
        self.push(if name == "e" { Token::Constant(Constant::E) } else { Token::Symbol(name) });
        Ok(())
    }

    fn sign(&mut self, letter: char) -> Result<(), Unreadable> {
        let pairs = [
            ("<=", Token::Order(Order::AtMost)),
            (">=", Token::Order(Order::AtLeast)),
            ("!=", Token::Order(Order::Unequal)),
            ("==", Token::Order(Order::Equal)),
            ("**", Token::Power),
        ];
        if let Some((pair, token)) = pairs.into_iter().find(|(pair, _)| self.rest.starts_with(pair)) {
            self.skip(pair.len());
            self.push(token);
            return Ok(());
        }
        self.skip(letter.len_utf8());
        let token = match letter {
            '<' => Token::Order(Order::Less),
            '>' => Token::Order(Order::Greater),
            '=' => Token::Order(Order::Equal),
            '≤' => Token::Order(Order::AtMost),
            '≥' => Token::Order(Order::AtLeast),
            '≠' => Token::Order(Order::Unequal),
            '+' => Token::Plus,
            '-' | '−' | '–' => Token::Minus,
            '±' => Token::PlusMinus,
            '*' | '×' | '·' | '⋅' => Token::Times,
            '/' | '÷' => Token::Over,
            '^' => Token::Power,
            '²' | '³' => {
                self.push(Token::Power);
                Token::Number(Literal::whole(if letter == '²' { "2" } else { "3" }))
            }
            '!' => Token::Factorial,
            ',' | ';' => Token::Comma,
            ':' => Token::Colon,
            '&' => Token::Cell,
            '|' => Token::Bar,
            '(' => Token::Open(Bracket::Round),
            ')' => Token::Close(Bracket::Round),
            '[' => Token::Open(Bracket::Square),
            ']' => Token::Close(Bracket::Square),
            '{' => Token::Open(Bracket::Group),
            '}' => Token::Close(Bracket::Group),
            'π' => Token::Constant(Constant::Pi),
            '∞' => Token::Constant(Constant::Infinity),
            '√' => Token::Function(Function::Sqrt),
            '∪' => Token::Union,
            '∈' => Token::In,
            '∅' => Token::Empty,
            _ => return Err(Unreadable::Syntax),
        };
        self.push(token);
        Ok(())
    }
}

impl<'a> Lexer<'a> {
    /// The text between the brace that stands here and the next closing one.
    fn braced(&mut self) -> Result<&'a str, Unreadable> {
        let inside = self.rest.strip_prefix('{').ok_or(Unreadable::Syntax)?;
        let (text, rest) = inside.split_once('}').ok_or(Unreadable::Syntax)?;
        self.rest = rest;
        Ok(text)
    }
}

/// Three digits behind a separator, and no fourth: bytes of both, and the digits.
fn thousand<'a>(text: &'a str, separator: &str) -> Option<(usize, &'a str)> {
    let behind = text.strip_prefix(separator)?;
    (digits(behind) == 3).then(|| (separator.len() + 3, &behind[..3]))
}

const GREEK: [&str; 24] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Delta",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(lex(text).map(|tokens| normal(&tokens)), Ok(expected.to_owned()), "{text}");
    }

    #[test]
    fn equal_writings_have_equal_tokens() {
        check("\\dfrac{3}{4}", "\\frac{3}{4}");
        check("1{,}500", "1500");
        check("12\\,000", "12000");
        check("1,234,567.50", "1234567.5");
        check("(1,234)", "(1,234)");
        check("07", "7");
        check(".5", "0.5");
        check("1.2e3", "1.2e3");
        check("x \\leq 3", "x\\le3");
        check("\\left(2,\\;3\\right)", "(2,3)");
        check("x_{12} y_1", "x_12y_1");
        check("2√3 × x²", "2\\sqrt 3*x^2");
        check("sinx", "\\sin x");
    }

    #[test]
    fn words_and_unknown_commands_end_the_reading() {
        for word in ["even", "since", "cost", "No", "yes"] {
            assert_eq!(lex(word), Err(Unreadable::Word), "{word}");
        }
        for symbols in ["ab", "abc", "xyz", "pir"] {
            assert!(lex(symbols).is_ok(), "{symbols}");
        }
        for text in ["\\int x", "x_", "\\", "\\begin{align}", "#"] {
            assert_eq!(lex(text), Err(Unreadable::Syntax), "{text}");
        }
        assert_eq!(lex(&"1".repeat(MOST_BYTES + 1)), Err(Unreadable::Long));
    }

    #[test]
    fn literals_are_exact_until_they_are_large() {
        let literal = |text: &str| match lex(text).unwrap().remove(0).token {
            Token::Number(literal) => literal,
            other => panic!("{other:?}"),
        };
        assert_eq!(literal("2.50").rational(), Rational::new(5, 2));
        assert_eq!(literal("1.2e3").rational(), Ok(Rational::integer(1200)));
        assert_eq!(literal("000").rational(), Ok(Rational::ZERO));
        assert_eq!(literal(&"9".repeat(39)).rational(), Err(Inexact::Large));
        assert_eq!(literal("1e999").rational(), Err(Inexact::Large));
        assert_eq!(literal("12.25").as_f64(), 12.25);
    }
}
