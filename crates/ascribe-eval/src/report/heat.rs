//! Credit by token, laid over the text.

use std::fmt::Write;
use std::ops::Range;

use super::plot::no_data;
use super::text::{escape, number, with_sign};

/// Texts whose tokens are coloured by credit: blue with a solid line below is positive, orange with a dotted line is
/// negative. All rows share one scale, symmetric around 0, that ends at the largest magnitude of the map; rows in
/// different units should be brought to one unit first, or they cannot be compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatMap {
    /// The texts, from top to bottom; several scorers of one text are rows that follow each other.
    pub rows: Vec<HeatRow>,
}

/// One text with the credit of its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatRow {
    /// What stands above the text.
    pub label: String,
    /// Text and credit of each token. Credit that is not finite is shown without colour.
    pub tokens: Vec<(String, f32)>,
    /// Positions in `tokens` of the planted first wrong step, which is outlined.
    pub planted: Option<Range<usize>>,
    /// What stands below the text; may be empty.
    pub note: String,
}

/// Share of the scale below which a token stays plain.
const PLAIN: f64 = 0.02;
/// Share of the scale from which a token is underlined too.
const STRONG: f64 = 0.3;

impl HeatMap {
    pub(super) fn to_html(&self) -> String {
        let sizes = self.rows.iter().flat_map(|row| row.tokens.iter().map(|(_, credit)| f64::from(credit.abs())));
        let finite: Vec<f64> = sizes.filter(|size| size.is_finite()).collect();
        if finite.is_empty() {
            return no_data();
        }
        let scale = finite.into_iter().fold(0.0, f64::max);
        let rows: String = self.rows.iter().map(|row| row.to_html(scale)).collect();
        self.legend(scale) + &rows
    }

    fn legend(&self, scale: f64) -> String {
        let mut html = String::from("<p class=\"scale\">");
        if scale > 0.0 {
            let (low, high) = (with_sign(-scale), with_sign(scale));
            let _ = write!(
                html,
                "<span class=\"ends\">{low} <span class=\"bar\" aria-hidden=\"true\"></span> {high}</span>\
                 <span><span class=\"p strong\" style=\"--w:.6\">solid line</span> raises</span>\
                 <span><span class=\"n strong\" style=\"--w:.6\">dotted line</span> lowers</span>"
            );
        } else {
            html += "<span>every credit is 0</span>";
        }
        if self.rows.iter().any(|row| !row.outlined().is_empty()) {
            html += "<span><span class=\"planted\">outlined</span> planted first wrong step</span>";
        }
        html + "</p>\n"
    }
}

impl HeatRow {
    fn to_html(&self, scale: f64) -> String {
        let mut html = String::from("<div class=\"heat\">");
        if !self.label.is_empty() {
            let _ = write!(html, "<p class=\"label\">{}</p>", escape(&self.label));
        }
        if self.tokens.is_empty() {
            html += &no_data();
        } else {
            let outlined = self.outlined();
            html += "<p class=\"tokens\">";
            for (at, (text, credit)) in self.tokens.iter().enumerate() {
                if outlined.start == at && !outlined.is_empty() {
                    html += "<span class=\"planted\">";
                }
                html += &token(text, f64::from(*credit), scale);
                if outlined.end == at + 1 && !outlined.is_empty() {
                    html += "</span>";
                }
            }
            html += "</p>";
        }
        if !self.note.is_empty() {
            let _ = write!(html, "<p class=\"note\">{}</p>", escape(&self.note));
        }
        html + "</div>\n"
    }

    /// The planted tokens that exist.
    fn outlined(&self) -> Range<usize> {
        let planted = self.planted.clone().unwrap_or(0..0);
        planted.start..planted.end.min(self.tokens.len())
    }
}

/// One token on a scale that ends at `scale`.
fn token(text: &str, credit: f64, scale: f64) -> String {
    // A line feed shows itself, and still breaks the line; a token without text shows that it is there.
    let text = if text.is_empty() { "\u{2205}".into() } else { escape(&text.replace('\n', "\u{21B5}\n")) };
    let share = if credit.is_finite() && scale > 0.0 { credit / scale } else { 0.0 };
    let value = if credit.is_finite() { with_sign(credit) } else { number(credit) };
    if share.abs() < PLAIN {
        return format!("<span title=\"{value}\">{text}</span>");
    }
    let sign = if share > 0.0 { "p" } else { "n" };
    let strong = if share.abs() >= STRONG { " strong" } else { "" };
    format!("<span class=\"{sign}{strong}\" style=\"--w:{:.2}\" title=\"{value}\">{text}</span>", share.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_coloured_by_their_share_of_the_scale() {
        assert_eq!(token("3<", 0.5, 0.5), r#"<span class="p strong" style="--w:1.00" title="+0.5">3&lt;</span>"#);
        assert_eq!(token("=", -0.1, 0.5), "<span class=\"n\" style=\"--w:0.20\" title=\"\u{2212}0.1\">=</span>");
        assert_eq!(token("\n", 0.0, 0.5), "<span title=\"0\">\u{21B5}\n</span>");
        assert_eq!(token("x", f64::NAN, 0.5), r#"<span title="n/a">x</span>"#);
    }

    #[test]
    fn the_planted_step_is_outlined_where_it_exists() {
        let tokens: Vec<_> = ["a", "b", "c"].map(|text| (text.to_string(), 0.0)).into();
        let row =
            |planted| HeatRow { tokens: tokens.clone(), planted: Some(planted), ..HeatRow::default() }.to_html(0.0);
        let inner = "<span class=\"planted\"><span title=\"0\">b</span><span title=\"0\">c</span></span></p>";
        assert!(row(1..3).contains(inner));
        assert!(row(1..30).contains(inner));
        assert!(!row(2..2).contains("planted") && !row(7..9).contains("planted"));
    }
}
