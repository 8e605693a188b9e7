//! Tables.

use std::fmt::Write;

use super::plot::no_data;
use super::text::escape;

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// Words.
    #[default]
    Left,
    /// Numbers.
    Right,
}

/// Name and alignment of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Text of the header.
    pub name: String,
    /// Where header and cells stand.
    pub align: Align,
}

impl Column {
    /// A column of words.
    pub fn left(name: impl Into<String>) -> Self {
        Self { name: name.into(), align: Align::Left }
    }

    /// A column of numbers.
    pub fn right(name: impl Into<String>) -> Self {
        Self { name: name.into(), align: Align::Right }
    }
}

/// A table; the first cell of a row names the row. A row may be shorter than the header (the rest stays empty) or longer
/// (the header is then filled up with empty names).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The header.
    pub columns: Vec<Column>,
    /// Cells, ready to be shown.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The table in a box of its own that scrolls sideways. `caption` is markup.
    pub(super) fn to_html(&self, caption: &str) -> String {
        if self.rows.is_empty() {
            return format!("<p class=\"note\">{caption}</p>\n{}", no_data());
        }
        let longest = self.rows.iter().map(Vec::len).max().unwrap_or(0).max(self.columns.len());
        let class = |at: usize| match self.columns.get(at) {
            Some(Column { align: Align::Right, .. }) => " class=\"right\"",
            _ => "",
        };
        // Focusable, so that the keyboard can scroll it.
        let mut html = format!(
            "<div class=\"scroll\" role=\"group\" aria-label=\"table\" tabindex=\"0\"><table>\
             <caption><span class=\"held\">{caption}</span></caption><thead><tr>"
        );
        for at in 0..longest {
            let name = self.columns.get(at).map_or("", |column| &column.name);
            let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(at), escape(name));
        }
        html += "</tr></thead><tbody>\n";
        for row in &self.rows {
            html += "<tr>";
            for at in 0..longest {
                let (text, class) = (escape(row.get(at).map_or("", String::as_str)), class(at));
                let _ = match at {
                    0 => write!(html, "<th scope=\"row\"{class}>{text}</th>"),
                    _ => write!(html, "<td{class}>{text}</td>"),
                };
            }
            html += "</tr>\n";
        }
        html + "</tbody></table></div>\n"
    }

    /// The numbers of a figure, folded below it. `caption` is markup.
    pub(super) fn folded(&self, caption: &str) -> String {
        format!("<details><summary>Values</summary>{}</details>\n", self.to_html(caption))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_and_ragged_rows_filled() {
        let table = Table {
            columns: vec![Column::left("who"), Column::right("n")],
            rows: vec![vec!["<a>".into()], vec!["b".into(), "2".into()]],
        };
        let expected = "<div class=\"scroll\" role=\"group\" aria-label=\"table\" tabindex=\"0\"><table>\
            <caption><span class=\"held\">C</span></caption><thead><tr>\
            <th scope=\"col\">who</th><th scope=\"col\" class=\"right\">n</th></tr></thead><tbody>\n\
            <tr><th scope=\"row\">&lt;a&gt;</th><td class=\"right\"></td></tr>\n\
            <tr><th scope=\"row\">b</th><td class=\"right\">2</td></tr>\n</tbody></table></div>\n";
        assert_eq!(table.to_html("C"), expected);
    }
}
