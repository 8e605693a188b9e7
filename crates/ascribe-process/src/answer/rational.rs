//! Rational numbers of 128 bits in lowest terms. Every operation is checked: what does not fit is said to be large.

/// Why an expression has no exact value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inexact {
    /// It holds a root, a constant or a function that is no rational number.
    Irrational,
    /// A number, a degree or a number of terms is beyond the limits.
    Large,
    /// It divides by zero.
    Undefined,
}

/// A rational number: `numerator / denominator` in lowest terms, the denominator above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rational {
    numerator: i128,
    denominator: i128,
}

impl Rational {
    pub const ZERO: Self = Self::integer(0);
    pub const ONE: Self = Self::integer(1);

    pub const fn integer(value: i128) -> Self {
        Self { numerator: value, denominator: 1 }
    }

    pub fn new(numerator: i128, denominator: i128) -> Result<Self, Inexact> {
        if denominator == 0 {
            return Err(Inexact::Undefined);
        }
        // The one number whose negative does not fit.
        if numerator == i128::MIN || denominator == i128::MIN {
            return Err(Inexact::Large);
        }
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs()) as i128;
        let sign = denominator.signum();
        Ok(Self { numerator: sign * (numerator / divisor), denominator: sign * (denominator / divisor) })
    }

    pub fn numerator(self) -> i128 {
        self.numerator
    }

    pub fn denominator(self) -> i128 {
        self.denominator
    }

    pub fn is_zero(&self) -> bool {
        self.numerator == 0
    }

    /// The value, if it is a whole number.
    pub fn as_integer(&self) -> Option<i128> {
        (self.denominator == 1).then_some(self.numerator)
    }

    pub fn as_f64(&self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    pub fn negative(self) -> Self {
        // The numerator is never the least number.
        Self { numerator: -self.numerator, ..self }
    }

    pub fn absolute(self) -> Self {
        Self { numerator: self.numerator.abs(), ..self }
    }

    pub fn plus(self, other: Self) -> Result<Self, Inexact> {
        let left = times(self.numerator, other.denominator)?;
        let right = times(other.numerator, self.denominator)?;
        let sum = left.checked_add(right).ok_or(Inexact::Large)?;
        Self::new(sum, times(self.denominator, other.denominator)?)
    }

    pub fn times(self, other: Self) -> Result<Self, Inexact> {
        Self::new(times(self.numerator, other.numerator)?, times(self.denominator, other.denominator)?)
    }

    pub fn over(self, other: Self) -> Result<Self, Inexact> {
        if other.is_zero() {
            return Err(Inexact::Undefined);
        }
        Self::new(times(self.numerator, other.denominator)?, times(self.denominator, other.numerator)?)
    }

    /// The whole number that is nearest to a million times the value, halves away from zero.
    pub fn millionths(self) -> Option<i128> {
        let scaled = self.times(Self::integer(1_000_000)).ok()?;
        let doubled = scaled.denominator.checked_mul(2)?;
        let size = scaled.numerator.abs().checked_mul(2)?.checked_add(scaled.denominator)? / doubled;
        Some(scaled.numerator.signum() * size)
    }
}

fn times(left: i128, right: i128) -> Result<i128, Inexact> {
    left.checked_mul(right).ok_or(Inexact::Large)
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    let narrow = u128::from(u64::MAX);
    while a > narrow || b > narrow {
        if b == 0 {
            return a;
        }
        (a, b) = (b, a % b);
    }
    // Division of 64 bits is much faster, and most numbers are small.
    let (mut a, mut b) = (a as u64, b as u64);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    u128::from(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: i128, denominator: i128) -> Rational {
        Rational::new(numerator, denominator).unwrap()
    }

    #[test]
    fn arithmetic_worked_by_hand() {
        assert_eq!(ratio(6, -15), ratio(-2, 5));
        assert_eq!(ratio(1, 2).plus(ratio(1, 3)).unwrap(), ratio(5, 6));
        assert_eq!(ratio(2, 3).times(ratio(3, 4)).unwrap(), ratio(1, 2));
        assert_eq!(ratio(2, 3).over(ratio(4, 3)).unwrap(), ratio(1, 2));
        assert_eq!((ratio(8, 4).as_integer(), ratio(1, 2).as_integer()), (Some(2), None));
        assert_eq!(ratio(-1, 3).millionths(), Some(-333_333));
        assert_eq!(ratio(5, 10_000_000).millionths(), Some(1));
    }

    #[test]
    fn what_does_not_fit_is_large_and_a_division_by_zero_undefined() {
        let large = Rational::integer(i128::MAX);
        assert_eq!(large.plus(Rational::ONE), Err(Inexact::Large));
        assert_eq!(large.times(large), Err(Inexact::Large));
        assert_eq!(Rational::new(i128::MIN, 3), Err(Inexact::Large));
        assert_eq!(Rational::new(1, 0), Err(Inexact::Undefined));
        assert_eq!(Rational::ONE.over(Rational::ZERO), Err(Inexact::Undefined));
        // Greatest common divisors of numbers above 64 bits.
        assert_eq!(ratio(1 << 100, 1 << 101), ratio(1, 2));
    }
}
