//! The output of a labelling run: a line for the run, then one for each item that is done.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ascribe::data::{Rows, write_jsonl};
use ascribe::process::label::{Spent, merged};
use serde_json::{Map, Value, json};

use crate::output::print_line;

/// A file that items are added to.
pub struct Work {
    path: PathBuf,
    file: File,
    done: BTreeSet<usize>,
}

impl Work {
    /// Opens the output of a run. What is there must be of the same run; a line that was cut off at the end is dropped.
    pub fn open(path: &Path, header: Value) -> anyhow::Result<Self> {
        let failed = || format!("cannot write `{}`", path.display());
        let mut done = BTreeSet::new();
        let there = path.exists();
        if there {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            // Without a whole line it is the beginning of this run's first one, or somebody else's file.
            if whole == 0 && !header.to_string().starts_with(&text) {
                bail!("`{}` is no output of `ascribe label`; use another file", path.display());
            }
            for (number, line) in text[..whole].lines().enumerate() {
                let line: Value =
                    serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), number + 1))?;
                if number == 0 {
                    same_run(path, &line, &header)?;
                } else {
                    done.insert(item(path, &line)?);
                }
            }
            if whole < text.len() {
                let file = OpenOptions::new().write(true).open(path).with_context(failed)?;
                file.set_len(whole as u64).with_context(failed)?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(failed)?;
        let empty = file.metadata().with_context(failed)?.len() == 0;
        let mut work = Self { path: path.to_owned(), file, done };
        if empty {
            work.line(&header)?;
        }
        Ok(work)
    }

    /// Whether an item is done.
    pub fn has(&self, item: usize) -> bool {
        self.done.contains(&item)
    }

    /// Adds what was made for an item.
    pub fn write(&mut self, item: usize, rows: &[Value], ended: &str, spent: &Spent) -> anyhow::Result<()> {
        self.line(&json!({"item": item, "ended": ended, "spent": spent, "rows": rows}))?;
        self.done.insert(item);
        Ok(())
    }

    fn line(&mut self, value: &Value) -> anyhow::Result<()> {
        let failed = || format!("cannot write `{}`", self.path.display());
        self.file.write_all(format!("{value}\n").as_bytes()).with_context(failed)?;
        self.file.flush().with_context(failed)
    }
}

/// The rows of all shards of one run, in the order of their items, as one file.
pub fn merge(shards: &[PathBuf], output: &Path) -> anyhow::Result<()> {
    if shards.iter().any(|shard| shard == output) {
        bail!("`{}` is both a shard and the output; write to another file", output.display());
    }
    let (mut run, mut spent) = (None::<(PathBuf, Value)>, Spent::default());
    let mut items: Vec<(usize, Vec<Value>)> = Vec::new();
    for shard in shards {
        let mut rows = Rows::open(shard)?;
        let Some(first) = rows.next() else {
            bail!("`{}` is empty; give the outputs of `ascribe label`", shard.display())
        };
        let header = Value::Object(first?.1);
        match &run {
            None => run = Some((shard.clone(), whole_run(header))),
            Some((_, known)) => same_run(shard, &whole_run(header), known)?,
        }
        for row in rows {
            let (_, line) = row?;
            let line = Value::Object(line);
            let more: Spent =
                serde_json::from_value(line["spent"].clone()).context("`spent` of a line is not readable")?;
            spent += more;
            let made = line["rows"].as_array().cloned().unwrap_or_default();
            items.push((item(shard, &line)?, made));
        }
    }
    let Some((_, run)) = run else { bail!("there is no shard; name them behind --merge") };
    let wanted = run["items"].as_u64().unwrap_or(0) as usize;
    let items = merged(items)?;
    if items.len() != wanted {
        bail!("the shards hold {} items of {wanted}; finish every shard, and give each once", items.len());
    }
    let rows: Vec<Value> = items.into_iter().flatten().collect();
    write_jsonl(output, &rows)?;
    print_line(&format!(
        "{} rows of {wanted} items written to {}: {} policy calls, {} tokens read and {} written",
        rows.len(),
        output.display(),
        spent.policy_calls,
        spent.tokens.scored,
        spent.tokens.generated
    ))
}

/// What the shards of a run have in common.
fn whole_run(header: Value) -> Value {
    let mut fields = match header {
        Value::Object(fields) => fields,
        other => Map::from_iter([("run".to_owned(), other)]),
    };
    fields.shift_remove("shard");
    Value::Object(fields)
}

/// Refuses a file of another run, and says where it differs.
fn same_run(path: &Path, found: &Value, wanted: &Value) -> anyhow::Result<()> {
    let (Some(found), Some(wanted)) = (found.as_object(), wanted.as_object()) else {
        bail!("`{}` is no output of `ascribe label`; use another file", path.display());
    };
    if !found.contains_key("ascribe_label") {
        bail!("`{}` is no output of `ascribe label`; use another file", path.display());
    }
    for (name, value) in wanted {
        let there = found.get(name).unwrap_or(&Value::Null);
        // Numbers went through text, so they are compared as text.
        let (was, is) = (there.to_string(), value.to_string());
        if was != is {
            bail!(
                "`{}` was made with {name} {there}, and here it is {value}; use the same options, or another output",
                path.display()
            );
        }
    }
    Ok(())
}

/// The number of the item of a line.
fn item(path: &Path, line: &Value) -> anyhow::Result<usize> {
    let item = line["item"].as_u64();
    item.map(|item| item as usize)
        .with_context(|| format!("`{}` has a line without `item`; use another file", path.display()))
}
