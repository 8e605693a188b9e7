//! A table of facts, by key.

use std::collections::HashMap;

use super::Tool;
use crate::RewardError;
use crate::error::not_empty;

/// Values by key; the case of keys and white space around them do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    rows: HashMap<String, String>,
}

impl Table {
    /// A table of these rows.
    ///
    /// # Errors
    /// When there is no row, or a key is empty or stands twice.
    pub fn new(rows: &[(&str, &str)]) -> Result<Self, RewardError> {
        not_empty("the rows of the table", rows)?;
        let mut table = HashMap::with_capacity(rows.len());
        for (key, value) in rows {
            let known = key.trim().is_empty() || table.insert(normal(key), (*value).to_owned()).is_some();
            if known {
                let rule = "every row of a table needs a key of its own";
                return Err(RewardError::Shape { rule, got: format!("`{key}`") });
            }
        }
        Ok(Self { rows: table })
    }
}

impl Tool for Table {
    fn run(&self, input: &str) -> Result<String, RewardError> {
        self.rows.get(&normal(input)).cloned().ok_or_else(|| RewardError::Tool {
            tool: "Table".to_owned(),
            why: format!("there is no row `{}`", input.trim()),
        })
    }
}

fn normal(key: &str) -> String {
    key.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_key() {
        let table = Table::new(&[("France", "Paris"), ("Japan", "Tokyo")]).unwrap();
        assert_eq!(table.run(" france ").unwrap(), "Paris");
        assert!(matches!(table.run("Peru"), Err(RewardError::Tool { .. })));
        assert!(Table::new(&[]).is_err() && Table::new(&[("a", "1"), ("A ", "2")]).is_err());
        assert!(Table::new(&[(" ", "1")]).is_err());
    }
}
