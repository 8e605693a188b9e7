//! What `ascribe search` wrote: what every search cost and found, accuracy against tokens, and trees to be folded.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use ascribe::core::Usage;
use ascribe::eval::report::{Column, Group, Point, Points, Report, SearchTree, Spacing, Table, TreeNode, number};
use ascribe::eval::{Estimate, wilson};
use ascribe::search::{Calls, NodeState, SearchTree as Recorded, Stopped};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Trees of one file that are shown.
const TREES: usize = 8;

/// Settings that tell two runs of a strategy apart.
const SETTINGS: [&str; 5] = ["model", "adapter", "budget", "scorer", "seed"];

/// The output of one run.
pub struct Searched {
    name: String,
    run: Value,
    rows: Vec<Row>,
    /// The last line was cut off: the run was killed while it wrote.
    cut: bool,
}

/// A row, as far as a report needs it.
#[derive(Deserialize)]
struct Row {
    run: Value,
    id: Value,
    #[serde(default)]
    prompt: Value,
    usage: Usage,
    calls: Calls,
    /// Absent from rows of before it was written.
    seconds: Option<f64>,
    stopped: Option<Stopped>,
    #[serde(default)]
    correct: Value,
    tree: Option<Recorded>,
}

impl Searched {
    /// Whether a file that begins with this object holds searches.
    pub fn begins_with(first: &Map<String, Value>) -> bool {
        ["run", "chosen", "completions", "calls"].iter().all(|key| first.contains_key(*key))
    }

    /// Reads the text of the file `name`.
    pub fn read(name: &str, text: &str) -> anyhow::Result<Self> {
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut rows: Vec<Row> = Vec::new();
        for (number, line) in text[..whole].lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("`{name}`, line {}", number + 1);
            let row: Row = serde_json::from_str(line)
                .with_context(|| format!("{}: it must be a row that `ascribe search` writes", place()))?;
            if rows.first().is_some_and(|first| first.run != row.run) {
                bail!("{}: it was found by another run than the first row; give each run a file of its own", place());
            }
            if !row.tree.as_ref().is_none_or(in_order) {
                bail!("{}: in its tree a parent must stand before its children, each node at the place `id`", place());
            }
            rows.push(row);
        }
        let Some(first) = rows.first() else { bail!("`{name}` holds no whole row") };
        Ok(Self { name: name.to_owned(), run: first.run.clone(), cut: whole < text.len(), rows })
    }

    fn strategy(&self) -> String {
        plain(&self.run["strategy"])
    }

    /// Options of the strategy: `n=4, expand=2`.
    fn options(&self) -> String {
        let options = self.run["strategy_args"].as_object().into_iter().flatten();
        options.map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(", ")
    }

    /// Rows whose answer was checked.
    fn judged(&self) -> impl Iterator<Item = (&Row, bool)> {
        self.rows.iter().filter_map(|row| Some((row, row.correct.as_f64()? >= 1.0)))
    }

    /// The share of checked rows that are right; `None` where none was checked.
    fn accuracy(&self) -> Option<Estimate> {
        let right = self.judged().filter(|(_, right)| *right).count();
        wilson(right, self.judged().count(), 0.95).ok()
    }

    /// The mean of a count over all rows.
    fn mean(&self, count: impl Fn(&Row) -> u64) -> f64 {
        self.rows.iter().map(|row| count(row) as f64).sum::<f64>() / self.rows.len() as f64
    }

    /// The mean of seconds over all rows; `None` where some do not tell theirs.
    fn seconds(&self) -> Option<f64> {
        let all: Option<Vec<f64>> = self.rows.iter().map(|row| row.seconds).collect();
        all.map(|all| all.iter().sum::<f64>() / self.rows.len() as f64)
    }

    fn cells(&self) -> Vec<String> {
        let (share, interval) = self.accuracy().map_or_else(Default::default, |found| {
            let ends = found.interval.map(|ends| format!("[{}, {}]", number(ends.low), number(ends.high)));
            (number(found.value), ends.unwrap_or_default())
        });
        let means: [fn(&Row) -> u64; 4] =
            [|row| row.usage.generated, |row| row.usage.scored, |row| row.usage.reused, |row| row.calls.scorer];
        let stopped = self.rows.iter().filter(|row| row.stopped.is_some()).count();
        let head = [self.name.clone(), self.strategy(), self.options(), self.rows.len().to_string(), share, interval];
        let means = means.map(|count| number(self.mean(count)));
        let seconds = self.seconds().map(number).unwrap_or_default();
        head.into_iter().chain(means).chain([seconds, stopped.to_string()]).collect()
    }
}

/// Adds what was searched.
pub fn searched(mut report: Report, all: &[Searched]) -> Report {
    let mut columns = ["file", "strategy", "options"].map(Column::left).to_vec();
    columns.extend(["rows", "right", "95 % interval"].map(Column::right));
    columns.extend(["tokens sampled", "read", "reused", "texts scored", "seconds", "cut short"].map(Column::right));
    let rows = all.iter().map(Searched::cells).collect();
    let caption =
        "What was searched; tokens, texts and seconds are means over rows, `right` is of the rows with an answer.";
    report = report.section("Searches").table(caption, Table { columns, rows });
    for one in all.iter().filter(|one| one.cut) {
        report = report.text(format!("{}: the last line was cut off and is left out.", one.name));
    }
    if let Some(points) = accuracy_against_tokens(all) {
        report = report.figure("Accuracy against sampled tokens, with 95 % intervals (Wilson).", points);
        if !same_rows(all) {
            report = report.text(
                "The files do not hold the same checked rows, so what differs may be the rows and not the strategies.",
            );
        }
    }
    for one in all {
        report = trees(report, one);
    }
    report
}

/// A group for each strategy, a point for each run that has checked rows.
fn accuracy_against_tokens(all: &[Searched]) -> Option<Points> {
    let varied: Vec<&str> = SETTINGS.into_iter().filter(|name| all.iter().any(|one| differs(one, all, name))).collect();
    let mut groups: Vec<Group> = Vec::new();
    for one in all {
        let Some(found) = one.accuracy() else { continue };
        let tokens: u64 = one.judged().map(|(row, _)| row.usage.generated).sum();
        let settings = varied.iter().map(|name| format!("{name} {}", plain(&one.run[*name])));
        let label: Vec<String> =
            Some(one.options()).filter(|text| !text.is_empty()).into_iter().chain(settings).collect();
        let (low, high) = found.interval.map_or((f64::NAN, f64::NAN), |ends| (ends.low, ends.high));
        let point = Point { x: tokens as f64 / found.n as f64, y: found.value, low, high, label: label.join(", ") };
        match groups.iter_mut().find(|group| group.name == one.strategy()) {
            Some(group) => group.points.push(point),
            None => groups.push(Group { name: one.strategy(), points: vec![point] }),
        }
    }
    let placed = groups.iter().flat_map(|group| &group.points).all(|point| point.x > 0.0);
    (!groups.is_empty()).then(|| Points {
        x_label: "sampled tokens a prompt".into(),
        y_label: "accuracy (95 % interval)".into(),
        x_spacing: if placed { Spacing::Log10 } else { Spacing::Linear },
        groups,
    })
}

/// Whether another run of the same strategy has another value of a setting.
fn differs(one: &Searched, all: &[Searched], name: &str) -> bool {
    all.iter().any(|other| other.run["strategy"] == one.run["strategy"] && other.run.get(name) != one.run.get(name))
}

/// Whether the checked rows of all files that have some are the same.
fn same_rows(all: &[Searched]) -> bool {
    let ids = |one: &Searched| one.judged().map(|(row, _)| row.id.to_string()).collect::<BTreeSet<_>>();
    let mut sets = all.iter().map(ids).filter(|ids| !ids.is_empty());
    let first = sets.next();
    sets.all(|ids| Some(&ids) == first.as_ref())
}

/// Adds the first trees of a file.
fn trees(mut report: Report, one: &Searched) -> Report {
    let recorded: Vec<(&Row, &Recorded)> = one.rows.iter().filter_map(|row| Some((row, row.tree.as_ref()?))).collect();
    if recorded.is_empty() {
        return report;
    }
    report = report.section(format!("Search trees: {}", one.name));
    for (row, tree) in recorded.iter().take(TREES) {
        let correct = row.correct.as_f64().map(|right| if right >= 1.0 { " Right." } else { " Wrong." });
        let caption = format!(
            "{} from row {}: {} texts of {} tokens, {} if none shared a beginning.{}",
            one.strategy(),
            plain(&row.id),
            tree.nodes.len().saturating_sub(1),
            tree.tokens(),
            tree.unshared_tokens(),
            correct.unwrap_or_default(),
        );
        report = report.figure(caption, drawn(tree, &asked(&row.prompt)));
    }
    match recorded.len().saturating_sub(TREES) {
        0 => report,
        more => report.text(format!("{more} more trees stand in the file.")),
    }
}

/// Whether each node stands at its number, behind its parent.
fn in_order(tree: &Recorded) -> bool {
    let placed =
        |(at, node): (usize, &ascribe::search::TreeNode)| node.id == at && node.parent.is_none_or(|parent| parent < at);
    tree.nodes.iter().enumerate().all(placed)
}

/// The tree as a figure: `prompt` at its root, and what was chosen marked from there on.
fn drawn(tree: &Recorded, prompt: &str) -> SearchTree {
    let counted = tree.nodes.iter().any(|node| node.visits > 0);
    let mut chosen: Vec<bool> = tree.nodes.iter().map(|node| node.state == NodeState::Chosen).collect();
    for node in tree.nodes.iter().rev() {
        if let Some(parent) = node.parent {
            chosen[parent] |= chosen[node.id];
        }
    }
    let shown = |node: &ascribe::search::TreeNode| match node.parent {
        None => TreeNode { text: prompt.to_owned(), value: f64::NAN, ..TreeNode::default() },
        Some(_) => TreeNode {
            parent: node.parent,
            text: node.text.clone().unwrap_or_default(),
            value: node.value.unwrap_or(f64::NAN),
            visits: counted.then(|| usize::try_from(node.visits).unwrap_or(usize::MAX)),
            tokens: Some(node.tokens.len()),
            chosen: chosen[node.id],
        },
    };
    SearchTree { nodes: tree.nodes.iter().map(shown).collect() }
}

/// The prompt in words: a text, or the last of its messages.
fn asked(prompt: &Value) -> String {
    let last = prompt.as_array().and_then(|messages| messages.last()).map(|message| &message["content"]);
    last.unwrap_or(prompt).as_str().unwrap_or("the prompt").to_owned()
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: u64, run: &Value, generated: u64, correct: Value) -> String {
        let usage = json!({"generated": generated, "scored": 5, "reused": 0});
        let calls = json!({"policy": 1, "scorer": 2, "scorer_tokens": 9});
        format!(
            "{}\n",
            json!({"run": run, "id": id, "prompt": "2+3?", "usage": usage, "calls": calls, "stopped": null,
                   "correct": correct, "chosen": 0, "completions": ["5"]})
        )
    }

    fn run(strategy: &str, args: Value, budget: u64) -> Value {
        json!({"strategy": strategy, "strategy_args": args, "budget": budget, "seed": 0, "model": "m"})
    }

    #[test]
    fn a_strategy_is_a_group_and_a_run_a_point() {
        let file = |name: &str, run: &Value, tokens: [u64; 2], right: [i32; 2]| {
            let text = row(0, run, tokens[0], json!(right[0])) + &row(1, run, tokens[1], json!(right[1]));
            Searched::read(name, &text).unwrap()
        };
        let all = [
            file("g", &run("greedy", json!({}), 0), [4, 6], [0, 1]),
            file("b", &run("best-of-n", json!({"n": 4}), 0), [16, 24], [1, 1]),
            file("c", &run("best-of-n", json!({"n": 8}), 99), [32, 48], [1, 1]),
        ];
        let points = accuracy_against_tokens(&all).unwrap();
        let names: Vec<&str> = points.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!((names, points.x_spacing), (vec!["greedy", "best-of-n"], Spacing::Log10));
        let [greedy] = &points.groups[0].points[..] else { panic!("one point") };
        assert_eq!((greedy.x, greedy.y), (5.0, 0.5));
        let found: Vec<(f64, f64, &str)> =
            points.groups[1].points.iter().map(|point| (point.x, point.y, point.label.as_str())).collect();
        assert_eq!(found, [(20.0, 1.0, "n=4, budget 0"), (40.0, 1.0, "n=8, budget 99")]);
        assert!(same_rows(&all));
        // Of a file with one row, and of none that was checked.
        let other = Searched::read("d", &row(1, &run("greedy", json!({}), 0), 4, json!(1))).unwrap();
        let unknown = Searched::read("e", &row(7, &run("greedy", json!({}), 0), 4, Value::Null)).unwrap();
        assert!(unknown.accuracy().is_none() && accuracy_against_tokens(&[unknown]).is_none());
        let [first, ..] = all;
        assert!(!same_rows(&[first, other]));
    }

    #[test]
    fn seconds_are_a_mean_and_nothing_where_a_row_has_none() {
        let run = run("greedy", json!({}), 0);
        let timed = |id: u64, seconds: f64| {
            let mut row: Value = serde_json::from_str(&row(id, &run, 4, json!(1))).unwrap();
            row["seconds"] = json!(seconds);
            format!("{row}\n")
        };
        let all = Searched::read("a", &(timed(0, 1.0) + &timed(1, 2.0))).unwrap();
        assert_eq!(all.seconds(), Some(1.5));
        // Beside what was cut short at the end of the table.
        assert_eq!(all.cells()[10..], [number(1.5), "0".to_owned()]);
        let mixed = Searched::read("a", &(timed(0, 1.0) + &row(1, &run, 4, json!(1)))).unwrap();
        assert_eq!((mixed.seconds(), mixed.cells()[10].as_str()), (None, ""));
    }

    #[test]
    fn what_was_chosen_is_marked_up_to_the_prompt() {
        let node = |id: usize, parent: Option<usize>, visits: u64, state: NodeState| ascribe::search::TreeNode {
            id,
            parent,
            tokens: vec![7; id],
            text: Some(format!("text {id}")),
            value: Some(0.25),
            visits,
            state,
            ..Default::default()
        };
        let mut tree = Recorded {
            nodes: vec![
                node(0, None, 0, NodeState::Open),
                node(1, Some(0), 3, NodeState::Kept),
                node(2, Some(0), 0, NodeState::Open),
                node(3, Some(1), 2, NodeState::Chosen),
            ],
        };
        let shown = drawn(&tree, "2+3?");
        let chosen: Vec<bool> = shown.nodes.iter().map(|node| node.chosen).collect();
        assert_eq!(chosen, [false, true, false, true]);
        assert_eq!((shown.nodes[0].text.as_str(), shown.nodes[0].tokens), ("2+3?", None));
        assert!(shown.nodes[0].value.is_nan());
        let last = &shown.nodes[3];
        assert_eq!((last.parent, last.text.as_str(), last.value), (Some(1), "text 3", 0.25));
        assert_eq!((last.visits, shown.nodes[2].visits, last.tokens), (Some(2), Some(0), Some(3)));
        // Where nothing counts visits none are said.
        tree.nodes.iter_mut().for_each(|node| node.visits = 0);
        assert!(drawn(&tree, "").nodes.iter().all(|node| node.visits.is_none()));
        assert!(in_order(&tree));
        tree.nodes[1].parent = Some(3);
        assert!(!in_order(&tree));
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out_and_others_are_refused() {
        let run = run("greedy", json!({}), 0);
        let whole = row(0, &run, 4, json!(1));
        let cut = Searched::read("a", &(whole.clone() + "{\"run\": {")).unwrap();
        assert!(cut.cut && cut.rows.len() == 1);
        let refused =
            |text: String| Searched::read("a", &text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused(whole.clone() + "{}\n").contains("`a`, line 2: it must be a row"));
        let mut other = run.clone();
        other["seed"] = json!(1);
        assert!(refused(whole.clone() + &row(1, &other, 4, json!(1))).contains("line 2: it was found by another run"));
        assert!(refused("{\"run\"".to_owned()).contains("no whole row"));
        let mut tree: Value = serde_json::from_str(&whole).unwrap();
        tree["tree"] = json!({"nodes": [{"id": 3, "parent": null, "tokens": [], "text": "", "logp": 0.0, "value": null,
                                         "visits": 0, "state": "open"}]});
        assert!(refused(format!("{tree}\n")).contains("a parent must stand before its children"));
    }
}
