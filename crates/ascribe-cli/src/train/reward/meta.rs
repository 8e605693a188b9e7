//! Responses of the current policy, without labels, which a meta step tells apart (MetaRM).

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::data::{Message, Prompt, Ranked};
use serde_json::Value;

use crate::records::{Record, Records};

/// The groups of a file as `generate` writes it: rows with `prompt` and `completions`. What replies are scored with here is only
/// their place.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Ranked>> {
    let records = Records::read(path)?;
    let read = |number: usize, row: &Record| -> anyhow::Result<Ranked> {
        let prompt = match row.cells().get("prompt") {
            Some(Value::String(text)) => Prompt::Text(text.clone()),
            Some(messages @ Value::Array(_)) => {
                let messages: Vec<Message> = serde_json::from_value(messages.clone())
                    .context("messages must have the strings `role` and `content`")?;
                Prompt::Messages(messages)
            }
            _ => bail!("a group needs `prompt`, a text or messages"),
        };
        let texts: Vec<String> = serde_json::from_value(row.cells().get("completions").cloned().unwrap_or_default())
            .context("a group needs `completions`, a list of texts, as generate writes them")?;
        let replies = texts.into_iter().zip((0u32..).map(f64::from)).collect();
        Ok(Ranked { prompt, replies, line: number + 1 })
    };
    let rows = records.rows.iter().enumerate();
    rows.map(|(number, row)| read(number, row).with_context(|| records.place(row))).collect()
}
