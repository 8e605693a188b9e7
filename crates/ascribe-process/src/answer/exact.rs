//! Exact values: expressions as quotients of polynomials over the rational numbers.
//!
//! Two expressions are equal where both are defined iff the cross products of their quotients are the same polynomial. Roots of
//! perfect powers are exact; other roots, constants and functions are not, and are left to probing.

use std::collections::BTreeMap;

use super::node::Node;
use super::rational::{Inexact, Rational};

/// Most symbols of a comparison.
pub(super) const MOST_SYMBOLS: usize = 3;

/// Largest exponent, of a symbol or of a whole.
const MOST_EXPONENT: i128 = 64;

/// Most terms of a polynomial.
const MOST_TERMS: usize = 256;

/// Largest number whose factorial has 128 bits.
const MOST_FACTORIAL: i128 = 33;

/// Exponents of the symbols.
type Monomial = [u8; MOST_SYMBOLS];

/// A polynomial: coefficients that are not 0, by monomial.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Polynomial(BTreeMap<Monomial, Rational>);

impl Polynomial {
    fn constant(value: Rational) -> Self {
        Self::of([([0; MOST_SYMBOLS], value)].into())
    }

    fn of(mut terms: BTreeMap<Monomial, Rational>) -> Self {
        terms.retain(|_, coefficient| !coefficient.is_zero());
        Self(terms)
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn as_constant(&self) -> Option<Rational> {
        let mut terms = self.0.iter();
        match (terms.next(), terms.next()) {
            (None, _) => Some(Rational::ZERO),
            (Some((monomial, value)), None) if *monomial == [0; MOST_SYMBOLS] => Some(*value),
            _ => None,
        }
    }

    fn plus(&self, other: &Self) -> Result<Self, Inexact> {
        let mut terms = self.0.clone();
        for (monomial, value) in &other.0 {
            let sum = terms.get(monomial).copied().unwrap_or(Rational::ZERO).plus(*value)?;
            terms.insert(*monomial, sum);
        }
        if terms.len() <= MOST_TERMS { Ok(Self::of(terms)) } else { Err(Inexact::Large) }
    }

    fn negative(&self) -> Self {
        Self(self.0.iter().map(|(monomial, value)| (*monomial, value.negative())).collect())
    }

    fn times(&self, other: &Self) -> Result<Self, Inexact> {
        let mut terms: BTreeMap<Monomial, Rational> = BTreeMap::new();
        for (left, value) in &self.0 {
            for (right, factor) in &other.0 {
                let mut monomial = *left;
                for (exponent, more) in monomial.iter_mut().zip(right) {
                    *exponent += more;
                    if i128::from(*exponent) > MOST_EXPONENT {
                        return Err(Inexact::Large);
                    }
                }
                let sum = terms.get(&monomial).copied().unwrap_or(Rational::ZERO).plus(value.times(*factor)?)?;
                terms.insert(monomial, sum);
            }
            if terms.len() > MOST_TERMS {
                return Err(Inexact::Large);
            }
        }
        Ok(Self::of(terms))
    }
}

/// A quotient of polynomials; the lower one is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quotient {
    upper: Polynomial,
    lower: Polynomial,
}

impl Quotient {
    /// The exact value of an expression, in which `names` are the symbols.
    pub fn of(node: &Node, names: &[&str]) -> Result<Self, Inexact> {
        let of = |node: &Node| Self::of(node, names);
        match node {
            Node::Number(literal) => Ok(Self::constant(literal.rational()?)),
            Node::Symbol(name) => {
                let at = names.iter().position(|known| known == name).filter(|at| *at < MOST_SYMBOLS);
                let mut monomial = [0; MOST_SYMBOLS];
                monomial[at.ok_or(Inexact::Large)?] = 1;
                let upper = Polynomial::of([(monomial, Rational::ONE)].into());
                Ok(Self { upper, lower: Polynomial::constant(Rational::ONE) })
            }
            Node::Sum(parts) => {
                let mut sum = Self::constant(Rational::ZERO);
                for part in parts {
                    sum = sum.plus(&of(part)?)?;
                }
                Ok(sum)
            }
            Node::Product(parts) => {
                let mut product = Self::constant(Rational::ONE);
                for part in parts {
                    product = product.times(&of(part)?)?;
                }
                Ok(product)
            }
            Node::Negative(part) => {
                let value = of(part)?;
                Ok(Self { upper: value.upper.negative(), lower: value.lower })
            }
            Node::Inverse(part) => of(part)?.inverse(),
            Node::Absolute(part) => Ok(Self::constant(of(part)?.rational()?.absolute())),
            Node::Factorial(part) => {
                let n = of(part)?.whole()?;
                if n > MOST_FACTORIAL { Err(Inexact::Large) } else { Ok(Self::integer((1..=n).product())) }
            }
            Node::Binomial(upper, lower) => {
                let (n, k) = (of(upper)?.whole()?, of(lower)?.whole()?);
                // In this order every intermediate value is a binomial coefficient itself.
                let grow = |value: i128, at: i128| value * (n - at) / (at + 1);
                match (n > MOST_EXPONENT, k > n) {
                    (true, _) => Err(Inexact::Large),
                    (_, true) => Ok(Self::integer(0)),
                    _ => Ok(Self::integer((0..k).fold(1, grow))),
                }
            }
            Node::Power(base, exponent) => {
                let exponent = of(exponent)?.rational()?;
                let root = u32::try_from(exponent.denominator()).map_err(|_| Inexact::Large)?;
                let base = if root == 1 { of(base)? } else { of(base)?.root(root)? };
                base.power(exponent.numerator())
            }
            Node::Root(index, part) => of(part)?.root(*index),
            Node::Constant(_) | Node::Function(..) => Err(Inexact::Irrational),
        }
    }

    /// The value, if no symbol is left in it.
    pub fn as_rational(&self) -> Result<Option<Rational>, Inexact> {
        match (self.upper.as_constant(), self.lower.as_constant()) {
            (Some(upper), Some(lower)) => upper.over(lower).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether it is the same function as `other`.
    pub fn same(&self, other: &Self) -> Result<bool, Inexact> {
        Ok(self.upper.times(&other.lower)? == other.upper.times(&self.lower)?)
    }

    /// The number that `other` has to be multiplied with to be this; `None` if there is none. Between zeros it is 1.
    pub fn ratio(&self, other: &Self) -> Result<Option<Rational>, Inexact> {
        let (left, right) = (self.upper.times(&other.lower)?, other.upper.times(&self.lower)?);
        let (Some((monomial, value)), Some((first, divisor))) = (left.0.first_key_value(), right.0.first_key_value())
        else {
            return Ok((left.is_zero() && right.is_zero()).then_some(Rational::ONE));
        };
        if monomial != first {
            return Ok(None);
        }
        let ratio = value.over(*divisor)?;
        let same = left == right.times(&Polynomial::constant(ratio))?;
        Ok(same.then_some(ratio))
    }

    fn constant(value: Rational) -> Self {
        Self { upper: Polynomial::constant(value), lower: Polynomial::constant(Rational::ONE) }
    }

    fn integer(value: i128) -> Self {
        Self::constant(Rational::integer(value))
    }

    fn plus(&self, other: &Self) -> Result<Self, Inexact> {
        if self.lower == other.lower {
            return Ok(Self { upper: self.upper.plus(&other.upper)?, lower: self.lower.clone() });
        }
        let upper = self.upper.times(&other.lower)?.plus(&other.upper.times(&self.lower)?)?;
        Ok(Self { upper, lower: self.lower.times(&other.lower)? })
    }

    fn times(&self, other: &Self) -> Result<Self, Inexact> {
        Ok(Self { upper: self.upper.times(&other.upper)?, lower: self.lower.times(&other.lower)? })
    }

    fn inverse(self) -> Result<Self, Inexact> {
        if self.upper.is_zero() {
            return Err(Inexact::Undefined);
        }
        Ok(Self { upper: self.lower, lower: self.upper })
    }

    fn power(self, exponent: i128) -> Result<Self, Inexact> {
        if !(-MOST_EXPONENT..=MOST_EXPONENT).contains(&exponent) {
            return Err(Inexact::Large);
        }
        let base = if exponent < 0 { self.inverse()? } else { self };
        let mut product = Self::integer(1);
        for _ in 0..exponent.abs() {
            product = product.times(&base)?;
        }
        Ok(product)
    }

    /// The root of a constant that is a perfect power.
    fn root(&self, index: u32) -> Result<Self, Inexact> {
        let value = self.rational()?;
        let upper = perfect_root(value.numerator(), index).ok_or(Inexact::Irrational)?;
        let lower = perfect_root(value.denominator(), index).ok_or(Inexact::Irrational)?;
        Rational::new(upper, lower).map(Self::constant)
    }

    /// The value of a constant.
    fn rational(&self) -> Result<Rational, Inexact> {
        self.as_rational()?.ok_or(Inexact::Irrational)
    }

    /// The value of a whole constant that is not negative.
    fn whole(&self) -> Result<i128, Inexact> {
        self.rational()?.as_integer().filter(|value| *value >= 0).ok_or(Inexact::Irrational)
    }
}

/// The number whose `index`-th power is `value`, if there is one; `None` below 0.
fn perfect_root(value: i128, index: u32) -> Option<i128> {
    if value < 2 {
        return (value >= 0).then_some(value);
    }
    let near = (value as f64).powf(1.0 / f64::from(index)).round() as i128;
    (near - 1..=near + 1).find(|root| root.checked_pow(index) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::super::node::expression;
    use super::super::token::lex;
    use super::*;

    fn of(text: &str) -> Result<Quotient, Inexact> {
        Quotient::of(&expression(&lex(text).unwrap()).unwrap(), &["x", "y", "z"])
    }

    #[track_caller]
    fn same(one: &str, other: &str, expected: bool) {
        assert_eq!(of(one).unwrap().same(&of(other).unwrap()), Ok(expected), "{one} and {other}");
    }

    #[test]
    fn quotients_of_polynomials() {
        same("(x+6)^2", "x^2+12x+36", true);
        same("\\frac{x^2-1}{x-1}", "x+1", true);
        same("2(x+1)", "2x+1", false);
        same("x^{-1}", "\\frac{1}{x}", true);
        same("\\frac{x}{2}", "0.5x", true);
        same("(x-y)(x+y)", "x^2-y^2", true);
        same("\\frac{1}{x}+\\frac{1}{y}", "\\frac{x+y}{xy}", true);
        same("|-5|", "5", true);
        same("5!", "120", true);
        same("\\binom{5}{2}", "10", true);
        same("\\sqrt{\\sqrt{16}}", "2", true);
        same("8^{-2/3}", "1/4", true);
        same("2^{10}", "1024", true);
        same("10^6", "1000000", true);
    }

    #[test]
    fn what_is_not_exact_says_why() {
        for (text, why) in [
            ("\\sqrt{2}", Inexact::Irrational),
            ("\\pi", Inexact::Irrational),
            ("2^x", Inexact::Irrational),
            ("|x|", Inexact::Irrational),
            ("(-8)^{1/3}", Inexact::Irrational),
            ("34!", Inexact::Large),
            ("x^{65}", Inexact::Large),
            ("((x+1)^{64})^{64}", Inexact::Large),
            ("(x+y+z)^{64}", Inexact::Large),
            ("10^{39}", Inexact::Large),
            ("a", Inexact::Large),
            ("1/0", Inexact::Undefined),
            ("1/(x-x)", Inexact::Undefined),
            ("0^{-1}", Inexact::Undefined),
        ] {
            assert_eq!(of(text), Err(why), "{text}");
        }
        assert_eq!(of("33!").map(|value| value.as_rational()), Ok(Ok(Some(Rational::integer((1..=33).product())))));
    }

    #[test]
    fn ratios_of_proportional_quotients() {
        let ratio = |one: &str, other: &str| of(one).unwrap().ratio(&of(other).unwrap());
        assert_eq!(ratio("2x+3y-6", "4x+6y-12"), Ok(Rational::new(1, 2).ok()));
        assert_eq!(ratio("x", "x+1"), Ok(None));
        assert_eq!(ratio("0", "x-x"), Ok(Some(Rational::ONE)));
        assert_eq!(ratio("0", "x"), Ok(None));
    }
}
