//! Counts of one thing against another, such as verdicts against the truth.

use std::fmt::Write;

use super::plot::no_data;
use super::text::escape;

/// A table of counts with the share of each in its row; the larger a share, the darker its cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountMatrix {
    /// What the rows are, such as the truth.
    pub row_label: String,
    /// What the columns are, such as the verdict.
    pub column_label: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// How often each row met each column; what is missing is 0.
    pub counts: Vec<Vec<u64>>,
}

impl CountMatrix {
    pub(super) fn to_html(&self) -> String {
        let columns = self.counts.iter().map(Vec::len).max().unwrap_or(0).max(self.columns.len());
        let rows = self.counts.len().max(self.rows.len());
        let counts: Vec<Vec<u64>> = (0..rows)
            .map(|row| {
                let given = self.counts.get(row).map(Vec::as_slice).unwrap_or_default();
                (0..columns).map(|column| given.get(column).copied().unwrap_or(0)).collect()
            })
            .collect();
        let sum = |counts: &[u64]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let sums: Vec<u64> = counts.iter().map(|row| sum(row)).collect();
        let total = sum(&sums);
        if total == 0 {
            return no_data();
        }
        let mut html = format!(
            "<div class=\"scroll\" role=\"group\" aria-label=\"table\" tabindex=\"0\"><table class=\"matrix\"><thead>\
             <tr><td></td><th scope=\"colgroup\" colspan=\"{columns}\">{}</th><td></td></tr>\
             <tr><th scope=\"col\">{}</th>",
            escape(&self.column_label),
            escape(&self.row_label)
        );
        let name = |names: &[String], at: usize| escape(names.get(at).map_or("", String::as_str));
        for column in 0..columns {
            let _ = write!(html, "<th scope=\"col\" class=\"right\">{}</th>", name(&self.columns, column));
        }
        html += "<th scope=\"col\" class=\"right\">all</th></tr></thead><tbody>\n";
        for (row, counts) in counts.iter().enumerate() {
            let _ = write!(html, "<tr><th scope=\"row\">{}</th>", name(&self.rows, row));
            for count in counts {
                let part = share(*count, sums[row]);
                let _ = write!(html, "<td class=\"right p\" style=\"--w:{part:.2}\">{}</td>", cell(*count, part));
            }
            let _ = writeln!(html, "<td class=\"right\">{}</td></tr>", cell(sums[row], share(sums[row], total)));
        }
        html + "</tbody></table></div>\n"
    }
}

/// `count / all`, 0 of nothing.
fn share(count: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { count as f64 / all as f64 }
}

fn cell(count: u64, share: f64) -> String {
    format!("{count}<span class=\"share\">{:.1} %</span>", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_its_count_and_its_share_of_the_row() {
        let names = |names: [&str; 2]| names.map(String::from).to_vec();
        let matrix = CountMatrix {
            row_label: "truth".into(),
            column_label: "verdict".into(),
            rows: names(["right", "<wrong>"]),
            columns: names(["yes", "no"]),
            counts: vec![vec![3, 1], vec![0]],
        };
        let html = matrix.to_html();
        let cell = "<td class=\"right p\" style=\"--w:0.75\">3<span class=\"share\">75.0 %</span></td>";
        assert!(html.contains(cell), "{html}");
        assert!(html.contains("<td class=\"right\">4<span class=\"share\">100.0 %</span></td>"), "{html}");
        // A row without any count has shares of 0, and its name is escaped.
        assert!(html.contains("<th scope=\"row\">&lt;wrong&gt;</th>"), "{html}");
        assert_eq!(html.matches("0<span class=\"share\">0.0 %</span>").count(), 3);
    }

    #[test]
    fn no_count_is_no_data() {
        let matrix = CountMatrix { counts: vec![vec![0, 0]], ..CountMatrix::default() };
        assert!(matrix.to_html().contains("no data") && CountMatrix::default().to_html().contains("no data"));
    }
}
