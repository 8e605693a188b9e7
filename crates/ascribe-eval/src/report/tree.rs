//! Search trees, to be folded.

use std::fmt::Write;

use super::plot::no_data;
use super::text::{count, escape, number};

/// A tree of texts, each with its value, visits and tokens. Branches fold; open at first are the upper two levels and what
/// was chosen. A run of nodes without branches stands in one place, so that the tree is only as deep as its branches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchTree {
    /// The nodes; children of a node keep their order.
    pub nodes: Vec<TreeNode>,
}

/// One node of a search tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TreeNode {
    /// Index of the parent, which stands before the node; anything else makes the node a root.
    pub parent: Option<usize>,
    /// What the node adds to the text of its parent.
    pub text: String,
    /// Its value; NaN where it has none.
    pub value: f64,
    /// How often the search came by, where it counts that.
    pub visits: Option<usize>,
    /// Tokens that were sampled for the node, where they are counted.
    pub tokens: Option<usize>,
    /// Whether the node is part of what was chosen in the end.
    pub chosen: bool,
}

/// Levels of branches that are open at first.
const OPEN: usize = 2;

/// What is still to be written.
enum Piece {
    Node { node: usize, depth: usize },
    End(&'static str),
}

impl SearchTree {
    pub(super) fn to_html(&self) -> String {
        let mut children = vec![Vec::new(); self.nodes.len()];
        let mut roots = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            match node.parent.filter(|parent| *parent < at) {
                Some(parent) => children[parent].push(at),
                None => roots.push(at),
            }
        }
        if roots.is_empty() {
            return no_data();
        }
        let mut html =
            String::from("<div class=\"tree\" role=\"group\" aria-label=\"search tree\" tabindex=\"0\"><ul>\n");
        let mut pieces = vec![Piece::End("</ul></div>\n")];
        pieces.extend(roots.into_iter().rev().map(|node| Piece::Node { node, depth: 0 }));
        // A stack of our own: a tree of tokens may be deeper than the program's.
        while let Some(piece) = pieces.pop() {
            let (node, depth) = match piece {
                Piece::End(text) => {
                    html += text;
                    continue;
                }
                Piece::Node { node, depth } => (node, depth),
            };
            let (mut last, mut run) = (node, String::new());
            while let [only] = children[last][..] {
                last = only;
                let _ = write!(run, "<p>\u{21B3} {}</p>", self.nodes[only].to_html());
            }
            let head = self.nodes[node].to_html();
            if run.is_empty() && children[last].is_empty() {
                let _ = writeln!(html, "<li><p>{head}</p></li>");
                continue;
            }
            let open = if depth < OPEN || self.nodes[node].chosen { " open" } else { "" };
            let _ = write!(html, "<li><details{open}><summary>{head}</summary>{run}");
            if children[last].is_empty() {
                html += "</details></li>\n";
            } else {
                html += "<ul>\n";
                pieces.push(Piece::End("</ul></details></li>\n"));
                pieces.extend(children[last].iter().rev().map(|child| Piece::Node { node: *child, depth: depth + 1 }));
            }
        }
        html
    }
}

impl TreeNode {
    fn to_html(&self) -> String {
        let text = if self.text.is_empty() { "\u{2205}".into() } else { escape(&self.text) };
        let facts = [
            self.chosen.then(|| "<b>chosen</b>".to_owned()),
            self.value.is_finite().then(|| format!("value {}", number(self.value))),
            self.visits.map(|visits| count(visits, "visit")),
            self.tokens.map(|tokens| count(tokens, "token")),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        let class = if self.chosen { "said chosen" } else { "said" };
        format!("<span class=\"{class}\">{text}</span><span class=\"known\">{}</span>", facts.join(" \u{B7} "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(parent: Option<usize>, text: &str) -> TreeNode {
        TreeNode { parent, text: text.into(), value: f64::NAN, ..TreeNode::default() }
    }

    fn said(text: &str) -> String {
        format!("<span class=\"said\">{text}</span><span class=\"known\"></span>")
    }

    #[test]
    fn a_run_without_branches_stands_in_one_place() {
        // a - b - {c, d}
        let nodes = vec![node(None, "a"), node(Some(0), "b"), node(Some(1), "c"), node(Some(1), "d")];
        let [a, b, c, d] = ["a", "b", "c", "d"].map(said);
        let expected = format!(
            "<div class=\"tree\" role=\"group\" aria-label=\"search tree\" tabindex=\"0\"><ul>\n\
             <li><details open><summary>{a}</summary><p>\u{21B3} {b}</p><ul>\n<li><p>{c}</p></li>\n<li><p>{d}</p></li>\n\
             </ul></details></li>\n</ul></div>\n"
        );
        assert_eq!(SearchTree { nodes }.to_html(), expected);
    }

    #[test]
    fn a_node_says_what_is_known_of_it() {
        let (visits, tokens) = (Some(1), Some(12));
        let known = TreeNode { text: "2 < 3".into(), value: 0.25, visits, tokens, chosen: true, parent: None };
        let expected = "<span class=\"said chosen\">2 &lt; 3</span>\
            <span class=\"known\"><b>chosen</b> \u{B7} value 0.25 \u{B7} 1 visit \u{B7} 12 tokens</span>";
        assert_eq!(known.to_html(), expected);
    }

    #[test]
    fn any_parents_give_a_tree_with_every_node() {
        // A cycle, a node that is its own parent, and a parent that is none.
        let nodes = vec![node(Some(1), "a"), node(Some(1), "b"), node(Some(99), "c"), node(Some(0), "d")];
        let html = SearchTree { nodes }.to_html();
        assert_eq!(html.matches("class=\"said\"").count(), 4);
        assert!(SearchTree::default().to_html().contains("no data"));
        let deep = (0..100_000_usize).map(|at| node(at.checked_sub(1), "x")).collect();
        assert_eq!(SearchTree { nodes: deep }.to_html().matches("<details").count(), 1);
    }
}
