//! What is no mathematics goes from an answer: delimiters, currency, percent signs (which are noted), degrees and units.
//!
//! In this order: `$..$`, `\(..\)`, `\[..\]` and one full stop; `\text{..}`, which is opened when it is all, dropped behind
//! something else (a unit), and read as words in the middle; degrees and currency; percent signs; words, of which `and` and
//! `or` separate items, `million` and its like are powers of ten, and units behind a number go, as does every ending of words.

use super::token::{is_word, letters};

/// Names of units; a plural ends in `s` or `es`.
const UNITS: [&str; 43] = [
    "degree",
    "percent",
    "mm",
    "millimeter",
    "cm",
    "centimeter",
    "centimetre",
    "meter",
    "metre",
    "km",
    "kilometer",
    "kilometre",
    "inch",
    "foot",
    "feet",
    "yard",
    "mile",
    "mph",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "gram",
    "kg",
    "kilogram",
    "liter",
    "litre",
    "ml",
    "cent",
    "dollar",
    "euro",
    "pound",
    "unit",
    "square",
    "cubic",
    "sq",
    "rpm",
    "ounce",
    "gallon",
    "point",
];

/// Powers of ten with a name.
pub(super) const SCALES: [(&str, &str); 3] = [("million", "*10^6"), ("billion", "*10^9"), ("trillion", "*10^12")];

/// Commands whose argument is words.
const TEXTS: [&str; 7] = ["\\text{", "\\mbox{", "\\textbf{", "\\textit{", "\\textrm{", "\\mathrm{", "\\operatorname{"];

/// Pairs that enclose mathematics.
pub(super) const DELIMITERS: [(&str, &str); 4] = [("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")];

/// An answer without what is no mathematics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    pub text: String,
    /// Whether a percent sign was there.
    pub percent: bool,
}

/// Takes away what is no mathematics.
pub(super) fn clean(answer: &str) -> Cleaned {
    let mut text = undelimited(answer);
    text = text.strip_suffix('.').unwrap_or(text);
    let mut text = open_texts(undelimited(text));
    for sign in ["^{\\circ}", "^\\circ", "\\degree", "°", "\\$", "$", "€", "£", "¥"] {
        if text.contains(sign) {
            text = text.replace(sign, "");
        }
    }
    let signs = text.contains('%');
    if signs {
        text = text.replace("\\%", "").replace('%', "");
    }
    let (text, named) = without_units(&text);
    Cleaned { text: without_last_words(text.trim()).to_owned(), percent: signs || named }
}

/// The words of an answer in lower case, single spaces between them: what answers in words are compared by.
pub(super) fn words(answer: &str) -> String {
    let mut text = undelimited(answer).to_lowercase();
    for command in TEXTS {
        text = text.replace(command, " ");
    }
    let letters = text.chars().map(|one| if one.is_alphanumeric() || "-+.".contains(one) { one } else { ' ' });
    let spaced: String = letters.collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.join(" ").trim_matches(['.', ' ']).to_owned()
}

/// The inside of one pair of delimiters that encloses all.
pub(super) fn undelimited(text: &str) -> &str {
    let text = text.trim();
    for (open, close) in DELIMITERS {
        let inside = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        let Some(inside) = inside else { continue };
        let alone = match open {
            "$" | "$$" => !inside.replace("\\$", "").contains('$') && !inside.ends_with('\\'),
            _ => !inside.contains(open) && !inside.contains(close),
        };
        if alone {
            return inside.trim();
        }
    }
    text
}

/// Bytes up to the brace that closes the one which `text` begins with.
pub(super) fn matching(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0usize, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Opens, drops or inlines `\text{..}`.
pub(super) fn open_texts(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(letter) = rest.chars().next() {
        let Some(command) = TEXTS.iter().find(|command| rest.starts_with(**command)) else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        let start = command.len();
        // A brace that nothing closes ends the search: it would be looked for again behind every other one.
        let Some(end) = matching(&rest[start - 1..]).map(|end| start - 1 + end) else {
            out.push_str(rest);
            break;
        };
        let behind = rest[end + 1..].trim();
        if !out.trim().is_empty() && ["", "^2", "^3", "^{2}", "^{3}"].contains(&behind) {
            break;
        }
        out.extend([" ", &rest[start..end], " "]);
        rest = &rest[end + 1..];
    }
    out.trim().to_owned()
}

/// Units behind a number go; whether one of them says percent.
fn without_units(text: &str) -> (String, bool) {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    let (mut numbered, mut percent) = (false, false);
    while let Some(letter) = rest.chars().next() {
        if letter == '\\' {
            let length = 1 + letters(&rest[1..]).len();
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let run = letters(rest);
        if run.is_empty() {
            numbered |= letter.is_ascii_digit();
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        rest = &rest[run.len()..];
        let low = run.to_ascii_lowercase();
        let scale = SCALES.iter().find(|(name, _)| *name == low);
        match (numbered, scale) {
            (true, _) if low == "and" || low == "or" => out.push(','),
            (true, Some((_, power))) => out.push_str(power),
            (true, None) if is_unit(&low) => {
                percent |= low == "percent";
                let power = ["^{2}", "^{3}", "^2", "^3", "²", "³"].into_iter().find(|power| rest.starts_with(power));
                rest = &rest[power.map_or(0, str::len)..];
            }
            _ => out.push_str(run),
        }
    }
    (out, percent)
}

fn is_unit(word: &str) -> bool {
    let known = |word: &str| UNITS.contains(&word);
    known(word) || word.strip_suffix('s').is_some_and(known) || word.strip_suffix("es").is_some_and(known)
}

/// Without the words at the end, if a number stands before them and nothing else between: `10 apples a day` is 10.
fn without_last_words(text: &str) -> &str {
    let (mut at, mut numbered) = (0, false);
    while let Some(letter) = text[at..].chars().next() {
        let run = match letter {
            '\\' => {
                at += 1;
                letters(&text[at..])
            }
            _ => letters(&text[at..]),
        };
        let command = letter == '\\';
        if !command && numbered && is_word(run) {
            let before = text[..at].trim_end();
            let ended = before.ends_with(|last: char| last.is_alphanumeric() || ")]}!".contains(last));
            let words = text[at..].chars().all(|one| one.is_alphabetic() || one.is_whitespace() || ".'-".contains(one));
            return if ended && words { before } else { text };
        }
        numbered |= text[at..].starts_with(|one: char| one.is_ascii_digit());
        at += if run.is_empty() { text[at..].chars().next().map_or(0, char::len_utf8) } else { run.len() };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, text: &str, percent: bool) {
        assert_eq!(clean(answer), Cleaned { text: text.into(), percent }, "{answer}");
    }

    #[test]
    fn what_is_no_mathematics_goes() {
        check("$5\\text{ cm}$", "5", false);
        check("10 \\text{ apples}", "10", false);
        check("12 \\text{ cm}^2", "12", false);
        check("90^\\circ", "90", false);
        check("$90$ degrees", "90", false);
        check("\\$3.50.", "3.50", false);
        check("€20", "20", false);
        check("50\\%", "50", true);
        check("50 percent", "50", true);
        check("12 square units", "12", false);
        check("5 cm^2", "5", false);
        check("10 apples a day.", "10", false);
        check("3 \\text{ and } 4", "3   ,   4", false);
        check("-1.8 billion", "-1.8 *10^9", false);
        check("x + 1", "x + 1", false);
        check("10+John's age", "10+John's age", false);
        check("about 10", "about 10", false);
        check("\\[ 12 \\]", "12", false);
        check("$1$ or $2$", "1 , 2", false);
        check("3 \\text{ cm", "3 \\text{", false);
    }

    #[test]
    fn words_are_compared_without_case_and_commands() {
        assert_eq!(words("$\\text{Monday}$."), "monday");
        assert_eq!(words(" Not  even! "), "not even");
    }

    #[test]
    fn braces_match_across_escapes() {
        assert_eq!(matching("{a{b}\\}c}d"), Some(8));
        assert_eq!(matching("{a"), None);
        assert_eq!(matching("}"), None);
    }
}
