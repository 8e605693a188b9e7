//! Exact arithmetic on one line.
//!
//! ```text
//! sum = product (('+' | '-') product)*;  product = factor (('*' | '/' | '%') factor)*
//! factor = ('-' | '+') factor | number | '(' sum ')';  number = digits ['.' digits], with ',' between thousands
//! ```
//! Numbers are fractions of 128-bit integers, so `0.1 + 0.2` is `0.3`; what does not fit is an error and never a rounded
//! value. `expr = value`, and `<<expr=value>>` as GSM8K writes it, checks the value. `%` is the remainder of whole numbers,
//! with the sign of the divisor. Nesting ends at 32 levels.

use super::Tool;
use crate::RewardError;

/// The calculator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calculator;

/// Deepest nesting.
const DEEPEST: usize = 32;

/// A fraction in lowest terms; the denominator is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    top: i128,
    bottom: i128,
}

impl Fraction {
    fn new(top: i128, bottom: i128) -> Option<Self> {
        if bottom == 0 {
            return None;
        }
        let divisor = gcd(top.unsigned_abs(), bottom.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()?.checked_mul(bottom.signum())?;
        Some(Self { top: top.checked_div(divisor)?, bottom: bottom.checked_div(divisor)? })
    }

    fn apply(self, operator: u8, other: Self) -> Option<Self> {
        match operator {
            b'+' => {
                let (a, b) = (self.top.checked_mul(other.bottom)?, other.top.checked_mul(self.bottom)?);
                Self::new(a.checked_add(b)?, self.bottom.checked_mul(other.bottom)?)
            }
            b'-' => self.apply(b'+', Self { top: other.top.checked_neg()?, ..other }),
            b'*' => Self::new(self.top.checked_mul(other.top)?, self.bottom.checked_mul(other.bottom)?),
            b'/' => Self::new(self.top.checked_mul(other.bottom)?, self.bottom.checked_mul(other.top)?),
            _ => {
                let whole = self.bottom == 1 && other.bottom == 1 && other.top != 0;
                let remainder = if whole { self.top.checked_rem(other.top)? } else { return None };
                let turned = remainder != 0 && (remainder < 0) != (other.top < 0);
                Self::new(if turned { remainder + other.top } else { remainder }, 1)
            }
        }
    }

    /// Digits where they end, else the fraction.
    fn show(self) -> String {
        let (mut left, mut digits) = (self.bottom, 0u32);
        // A decimal ends when its denominator divides a power of 10.
        let mut twos = 0u32;
        while left % 2 == 0 {
            (left, twos) = (left / 2, twos + 1);
        }
        while left % 5 == 0 {
            (left, digits) = (left / 5, digits + 1);
        }
        let digits = digits.max(twos);
        let scaled = 10i128.checked_pow(digits).and_then(|power| self.top.checked_mul(power / self.bottom));
        match scaled {
            _ if self.bottom == 1 => self.top.to_string(),
            Some(scaled) if left == 1 => {
                let text = format!("{:0>width$}", scaled.unsigned_abs(), width = digits as usize + 1);
                let (whole, part) = text.split_at(text.len() - digits as usize);
                format!("{}{whole}.{part}", if scaled < 0 { "-" } else { "" })
            }
            _ => format!("{}/{}", self.top, self.bottom),
        }
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A reader of one expression.
struct Parser<'t> {
    text: &'t [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn sum(&mut self, depth: usize) -> Result<Fraction, String> {
        self.chain(depth, b"+-", Self::product)
    }

    fn product(&mut self, depth: usize) -> Result<Fraction, String> {
        self.chain(depth, b"*/%", Self::factor)
    }

    /// Parts joined by operators, from the left.
    fn chain(
        &mut self,
        depth: usize,
        operators: &[u8],
        part: fn(&mut Self, usize) -> Result<Fraction, String>,
    ) -> Result<Fraction, String> {
        let mut value = part(self, depth)?;
        while let Some(operator) = self.peek().filter(|letter| operators.contains(letter)) {
            self.at += 1;
            let other = part(self, depth)?;
            value = value.apply(operator, other).ok_or_else(|| match operator {
                b'/' if other.top == 0 => "division by 0".to_owned(),
                b'%' => "a remainder needs whole numbers and a divisor that is not 0".to_owned(),
                _ => "a number is too large".to_owned(),
            })?;
        }
        Ok(value)
    }

    fn factor(&mut self, depth: usize) -> Result<Fraction, String> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} levels"));
        }
        match self.peek() {
            Some(sign @ (b'-' | b'+')) => {
                self.at += 1;
                let value = self.factor(depth + 1)?;
                let zero = Fraction { top: 0, bottom: 1 };
                zero.apply(sign, value).ok_or_else(|| "a number is too large".to_owned())
            }
            Some(b'(') => {
                self.at += 1;
                let value = self.sum(depth + 1)?;
                match self.peek() {
                    Some(b')') => self.at += 1,
                    _ => return Err("a bracket is not closed".to_owned()),
                }
                Ok(value)
            }
            Some(b'0'..=b'9') => self.number(),
            Some(other) => Err(format!("`{}` at byte {} is not understood", char::from(other), self.at)),
            None => Err("the expression ends too early".to_owned()),
        }
    }

    fn number(&mut self) -> Result<Fraction, String> {
        let (mut top, mut bottom, mut behind) = (0i128, 1i128, false);
        let large = || "a number is too large".to_owned();
        while let Some(&letter) = self.text.get(self.at) {
            match letter {
                b'0'..=b'9' => {
                    let digit = i128::from(letter - b'0');
                    top = top.checked_mul(10).and_then(|top| top.checked_add(digit)).ok_or_else(large)?;
                    if behind {
                        bottom = bottom.checked_mul(10).ok_or_else(large)?;
                    }
                }
                b'.' if !behind && self.text.get(self.at + 1).is_some_and(u8::is_ascii_digit) => behind = true,
                // Between thousands: three digits follow, and not a fourth.
                b',' if !behind && self.thousand() => {}
                _ => break,
            }
            self.at += 1;
        }
        Fraction::new(top, bottom).ok_or_else(large)
    }

    fn thousand(&self) -> bool {
        let digit = |at: usize| self.text.get(self.at + at).is_some_and(u8::is_ascii_digit);
        digit(1) && digit(2) && digit(3) && !digit(4)
    }
}

fn evaluate(text: &str) -> Result<Fraction, String> {
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    let value = parser.sum(0)?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(format!("`{}` is left over", String::from_utf8_lossy(&parser.text[parser.at..]))),
    }
}

impl Tool for Calculator {
    fn run(&self, input: &str) -> Result<String, RewardError> {
        let fault = |why: String| RewardError::Tool { tool: "Calculator".to_owned(), why };
        let input = input.trim();
        let input = input.strip_prefix("<<").and_then(|input| input.strip_suffix(">>")).unwrap_or(input);
        match input.split_once('=') {
            None => Ok(evaluate(input).map_err(fault)?.show()),
            Some((left, right)) => {
                let (left, right) = (evaluate(left).map_err(fault)?, evaluate(right).map_err(fault)?);
                Ok(if left == right { "right".to_owned() } else { format!("wrong, it is {}", left.show()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expressions_by_hand() {
        for (input, expected) in [
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3", "9"),
            ("2 - 3 - 4", "-5"),
            ("12 / 4 / 3", "1"),
            ("0.1 + 0.2", "0.3"),
            ("1 / 3", "1/3"),
            ("-1 / 8", "-0.125"),
            ("1,250 * 2", "2500"),
            ("-(2 + 3)", "-5"),
            ("2 * -3", "-6"),
            ("7 % 3", "1"),
            ("-7 % 3", "2"),
            ("<<48/2=24>>", "right"),
            ("48+24=71", "wrong, it is 72"),
            ("5.50 * 4", "22"),
        ] {
            assert_eq!(Calculator.run(input).unwrap(), expected, "{input}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let deep = format!("{}1{}", "(".repeat(40), ")".repeat(40));
        let signs = format!("{}1", "-".repeat(200));
        for input in
            ["", "1 +", "1 2", "(1", "1)", "2 ** 3", "1 / 0", "5 % 0", "1.5 % 1", "x", "1e5", "1 = = 1", &deep, &signs]
        {
            assert!(matches!(Calculator.run(input), Err(RewardError::Tool { .. })), "{input}");
        }
        let large = "9".repeat(60);
        assert!(Calculator.run(&large).is_err());
        assert!(Calculator.run(&format!("{0} * {0} * {0}", "9".repeat(20))).is_err());
        assert!(Calculator.run("170141183460469231731687303715884105727 + 1").is_err());
    }

    proptest! {
        #[test]
        fn whole_numbers_are_exact(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000, c in 1i64..1000) {
            let run = |text: String| Calculator.run(&text).unwrap();
            prop_assert_eq!(run(format!("{a} + {b} * {c}")), (a + b * c).to_string());
            prop_assert_eq!(run(format!("({a} - {b}) % {c}")), (a - b).rem_euclid(c).to_string());
            prop_assert_eq!(run(format!("{a} * {c} / {c} = {a}")), "right");
        }

        #[test]
        fn any_text_gives_a_result_or_an_error(text in "[0-9+*/%(). =,<>x-]{0,40}") {
            let _ = Calculator.run(&text);
        }
    }
}
