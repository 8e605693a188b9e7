//! Dates of the Gregorian calendar, years 1 to 9999. Days are counted as in H. Hinnant, "chrono-compatible low-level date
//! algorithms".
//!
//! | input | result |
//! |---|---|
//! | `weekday 2024-02-29` | `Thursday` |
//! | `2024-02-29 + 366` (or `-`), in days | `2025-03-01` |
//! | `2024-01-01 to 2024-03-01` | `60 days` |

use super::Tool;
use crate::RewardError;

/// The calendar.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calendar;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Days since 1970-01-01, a Thursday. `year` may be any that fits.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that a leap day ends one.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = (shifted + 2) % 12 + 1;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Days of `YYYY-MM-DD`.
fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let mut parts = text.split('-');
    let mut part = |digits: usize| {
        let part = parts.next()?;
        let sound = part.len() == digits && part.bytes().all(|letter| letter.is_ascii_digit());
        if sound { part.parse::<i64>().ok() } else { None }
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let days = days(year, month, day);
    // A day that there is not comes back as another.
    (parts.next().is_none() && year >= 1 && date(days) == (year, month, day)).then_some(days)
}

fn show(days: i64) -> Option<String> {
    let (year, month, day) = date(days);
    (1..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

fn answer(input: &str) -> Option<String> {
    let input = input.trim();
    if let Some(rest) = input.strip_prefix("weekday ") {
        return Some(WEEKDAYS[(parse(rest)? + 3).rem_euclid(7) as usize].to_owned());
    }
    if let Some((from, to)) = input.split_once(" to ") {
        return Some(format!("{} days", parse(to)? - parse(from)?));
    }
    let (start, count, sign) = match (input.split_once(" + "), input.split_once(" - ")) {
        (Some((start, count)), None) => (start, count, 1),
        (None, Some((start, count))) => (start, count, -1),
        _ => return None,
    };
    let count = count.trim().trim_end_matches("days").trim_end();
    let count = count.parse::<i64>().ok().filter(|count| (0..=10_000_000).contains(count))?;
    show(parse(start)? + sign * count)
}

impl Tool for Calendar {
    fn run(&self, input: &str) -> Result<String, RewardError> {
        answer(input).ok_or_else(|| RewardError::Tool {
            tool: "Calendar".to_owned(),
            why: format!(
                "`{input}` is not understood; ask `weekday D`, `D + N`, `D - N` or `D to D` with dates YYYY-MM-DD"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_by_hand() {
        for (input, expected) in [
            ("weekday 1970-01-01", "Thursday"),
            ("weekday 2000-01-01", "Saturday"),
            ("weekday 2024-02-29", "Thursday"),
            ("2024-02-29 + 366", "2025-03-01"),
            ("2024-02-28 + 1 days", "2024-02-29"),
            ("2023-02-28 + 1", "2023-03-01"),
            ("2024-03-01 - 1", "2024-02-29"),
            ("2024-01-01 to 2024-03-01", "60 days"),
            ("1900-02-28 to 1900-03-01", "1 days"),
            ("2024-03-01 to 2024-01-01", "-60 days"),
        ] {
            assert_eq!(Calendar.run(input).unwrap(), expected, "{input}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for input in [
            "",
            "weekday",
            "weekday 2023-02-29",
            "weekday 2023-13-01",
            "weekday 0000-01-01",
            "weekday 2023-1-1",
            "2024-01-01",
            "2024-01-01 + x",
            "2024-01-01 + -5",
            "9999-12-31 + 1",
            "2024-01-01 to tomorrow",
            "weekday 2024-01-01-02",
        ] {
            assert!(matches!(Calendar.run(input), Err(RewardError::Tool { .. })), "{input}");
        }
    }

    proptest! {
        #[test]
        fn every_day_has_one_date(number in -700_000i64..2_900_000) {
            let (year, month, day) = date(number);
            prop_assert_eq!(days(year, month, day), number);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            // The next day is later.
            prop_assert!(date(number + 1) > date(number));
        }
    }
}
