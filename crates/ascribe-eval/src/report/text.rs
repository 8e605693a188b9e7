//! Escaping, and numbers as they are printed.

/// Text that is safe inside an element and inside a quoted attribute. Control characters, which HTML does not allow,
/// become U+FFFD; line feeds and tabs stay.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            control if control.is_control() => escaped.push('\u{FFFD}'),
            plain => escaped.push(plain),
        }
    }
    escaped
}

/// A number as reports print it: four significant digits, trailing zeros dropped, whole numbers below a million in
/// full, very large and very small ones as `1.25e6`; `n/a` for what is not finite.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "n/a".into();
    }
    let size = value.abs();
    let digits = if size == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        scientific(size, 3)
    } else {
        let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
        let rounded = format!("{size:.decimals$}");
        if rounded == "1000000" { "1e6".into() } else { trimmed(&rounded) }
    };
    signed(value, digits)
}

/// `number` with a plus sign before what is positive.
pub(super) fn with_sign(value: f64) -> String {
    if value > 0.0 && value.is_finite() { format!("+{}", number(value)) } else { number(value) }
}

/// The digits of a magnitude, with a true minus sign if `value` is negative and the digits are not all zero.
pub(super) fn signed(value: f64, digits: String) -> String {
    let negative = value < 0.0 && digits.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
    if negative { format!("\u{2212}{digits}") } else { digits }
}

/// A magnitude as mantissa and exponent, at most `decimals` after the point.
pub(super) fn scientific(size: f64, decimals: usize) -> String {
    let written = format!("{size:.decimals$e}");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    format!("{}e{}", trimmed(mantissa), exponent.replace('-', "\u{2212}"))
}

fn trimmed(digits: &str) -> String {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.').into() } else { digits.into() }
}

/// Estimated width in pixels of 12 px sans-serif text, on the wide side of common fonts.
pub(super) fn width(text: &str) -> f64 {
    let em = |letter: char| match letter {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | ';' | '|' | '\'' | '(' | ')' | '-' => 0.4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.95,
        'A'..='Z' => 0.72,
        wide if u32::from(wide) >= 0x1100 && !('\u{2000}'..'\u{2300}').contains(&wide) => 1.05,
        _ => 0.62,
    };
    12.0 * text.chars().map(em).sum::<f64>()
}

/// The text, cut with an ellipsis where it would be wider than `room` pixels.
pub(super) fn fit(text: &str, room: f64) -> String {
    if width(text) <= room {
        return text.into();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if width(&kept) + width("m\u{2026}") > room {
            break;
        }
        kept.push(letter);
    }
    format!("{}\u{2026}", kept.trim_end())
}

/// `1 point`, `2 points`.
pub(super) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("a<b> & \"c\" 'd'\n\u{0}"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\n\u{FFFD}");
    }

    #[test]
    fn numbers_keep_four_digits() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.271_828_49, "0.2718"),
            (-12.345_6, "\u{2212}12.35"),
            (0.5, "0.5"),
            (123_456.0, "123456"),
            (2_500_000.0, "2.5e6"),
            (999_999.9, "1e6"),
            (-0.000_031_4, "\u{2212}3.14e\u{2212}5"),
            (f64::NAN, "n/a"),
            (f64::INFINITY, "n/a"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(with_sign(0.25), "+0.25");
        assert_eq!(with_sign(-0.25), "\u{2212}0.25");
    }

    #[test]
    fn long_text_is_cut_to_its_room() {
        assert_eq!(fit("short", 100.0), "short");
        let cut = fit("a very long name of a series", 60.0);
        assert!(cut.ends_with('\u{2026}') && width(&cut) <= 60.0, "{cut}");
    }
}
