//! Monte Carlo tree search over any states.
//!
//! ```text
//! simulation   from the root to the child that the rule likes best, until a node that was never visited, or an end
//! expansion    at the first visit after a node's own: `expand` continuations, equal ones merged; or one by one (widening)
//! back-up      N += 1, W += v along the path, v discounted by each step
//! batches      a leaf that waits for its value counts, on its path, as visited and of the least value (virtual loss)
//! ```
//! A leaf that is met twice ends the filling of a batch, so a batch of one is the serial search.

use ascribe_core::{CoreError, Seed};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::rule::{Rule, Widening};
use crate::SearchError;
use crate::error::check;

/// What a tree search grows on.
pub trait Domain {
    /// A place.
    type State: Clone;

    /// Up to `n` continuations of `state`, of which `drawn` were asked for before; `None` when the search has to end.
    ///
    /// # Errors
    /// When they cannot be made.
    fn expand(
        &mut self,
        state: &Self::State,
        n: usize,
        drawn: usize,
    ) -> Result<Option<Vec<Grown<Self::State>>>, SearchError>;

    /// The value of each state; `None` when the search has to end.
    ///
    /// # Errors
    /// When they cannot be valued.
    fn evaluate(&mut self, states: &[Self::State]) -> Result<Option<Vec<f64>>, SearchError>;

    /// Whether nothing can follow.
    fn is_over(&self, state: &Self::State) -> bool;

    /// Whether two continuations of one state are the same.
    fn same(&self, left: &Self::State, right: &Self::State) -> bool;
}

/// A continuation.
#[derive(Clone, Debug)]
pub struct Grown<S> {
    /// The state that it leads to.
    pub state: S,
    /// How likely it is: priors of siblings are the softmax of these over `tau`.
    pub logit: f64,
}

/// The value of a child that was not visited.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unvisited {
    /// Its parent's, less this.
    Parent(f64),
    /// Its own: children are valued when they are made.
    Own,
}

/// How values go up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backup {
    /// The mean of all that came by.
    #[default]
    Mean,
    /// The best of it.
    Max,
    /// Half of what the node had, and half the mean of its children by visits.
    Half,
}

/// Noise on the priors of the root's children, for varied data: `(1 - share) P + share Dirichlet(alpha)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RootNoise {
    /// Share of the noise; in [0, 1].
    pub share: f64,
    /// Concentration of the noise; above 0.
    pub alpha: f64,
}

impl Default for RootNoise {
    fn default() -> Self {
        Self { share: 0.25, alpha: 0.3 }
    }
}

/// Numbers of a tree search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TreeOptions {
    /// Simulations of a move; at least 1.
    pub simulations: usize,
    /// Continuations that are drawn of a node; at least 1.
    pub expand: usize,
    /// Which child is gone to.
    pub rule: Rule,
    /// The value of a child that was not visited.
    pub unvisited: Unvisited,
    /// Priors are the softmax of the mean log-probability of a step over this; `None` makes them equal.
    pub tau: Option<f64>,
    /// Children come one by one; `None` draws them all at once.
    pub widening: Option<Widening>,
    /// Leaves that are valued at once; at least 1.
    pub batch: usize,
    /// How values go up.
    pub backup: Backup,
    /// Factor of a value for each step up; in (0, 1].
    pub discount: f64,
    /// The least and the greatest value that there can be.
    pub range: (f64, f64),
    /// Noise at the root.
    pub noise: Option<RootNoise>,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            simulations: 20,
            expand: 4,
            rule: Rule::default(),
            unvisited: Unvisited::Parent(0.0),
            tau: Some(1.0),
            widening: None,
            batch: 1,
            backup: Backup::Mean,
            discount: 1.0,
            range: (0.0, 1.0),
            noise: None,
        }
    }
}

impl TreeOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// When a number is outside its range.
    pub fn check(&self) -> Result<(), SearchError> {
        let at_least_one =
            [("simulations", self.simulations), ("expand", self.expand), ("the leaves of a batch", self.batch)];
        for (name, got) in at_least_one {
            check(name, "at least 1", got as f64, got > 0)?;
        }
        self.rule.check()?;
        self.widening.map_or(Ok(()), Widening::check)?;
        if let Unvisited::Parent(less) = self.unvisited {
            check("what an unvisited child has less than its parent", "finite", less, less.is_finite())?;
        }
        let tau = self.tau.unwrap_or(1.0);
        check("tau", "finite and above 0", tau, tau > 0.0 && tau.is_finite())?;
        check("the discount", "in (0, 1]", self.discount, self.discount > 0.0 && self.discount <= 1.0)?;
        let (least, greatest) = self.range;
        let sound = least.is_finite() && greatest.is_finite() && least <= greatest;
        check("the range of values", "finite, the least first", least, sound)?;
        let RootNoise { share, alpha } = self.noise.unwrap_or_default();
        check("the share of noise", "in [0, 1]", share, (0.0..=1.0).contains(&share))?;
        check("the concentration of noise", "finite and above 0", alpha, alpha > 0.0 && alpha.is_finite())
    }
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node<S> {
    /// The place.
    pub state: S,
    /// Index of the parent.
    pub parent: Option<usize>,
    /// Indices of the children, in the order of creation.
    pub children: Vec<usize>,
    /// How often a simulation came by and was valued.
    pub visits: u64,
    /// Sum of what was backed up.
    pub total: f64,
    /// What the node is worth, by the rule of the back-up; 0 before the first visit.
    pub value: f64,
    /// What the evaluator says of it.
    pub own: Option<f64>,
    /// Simulations that wait for a value below.
    pub pending: u64,
    prior: f64,
    logit: f64,
    noise: f64,
    drawn: usize,
    /// It has no continuation.
    dead: bool,
}

/// A tree that grows.
pub struct Tree<S> {
    options: TreeOptions,
    seed: Seed,
    nodes: Vec<Node<S>>,
}

/// Where a simulation ended.
enum Selected {
    /// At the last of these nodes.
    Leaf(Vec<usize>),
    /// At a leaf that is already waited for.
    Busy,
    /// Nowhere: the search has to end.
    Stop,
}

impl<S: Clone> Tree<S> {
    /// A tree of one node. `seed` is for the noise alone.
    ///
    /// # Errors
    /// When an option is out of range.
    pub fn new(root: S, options: TreeOptions, seed: Seed) -> Result<Self, SearchError> {
        options.check()?;
        let mut tree = Self { options, seed, nodes: Vec::new() };
        tree.add(None, Grown { state: root, logit: 0.0 });
        Ok(tree)
    }

    /// All nodes; the first is the root.
    pub fn nodes(&self) -> &[Node<S>] {
        &self.nodes
    }

    /// Simulates from the node `root`, as often as the options say. False when the search had to end before.
    ///
    /// # Errors
    /// When the domain fails, or a value is outside its range.
    pub fn simulate(&mut self, domain: &mut impl Domain<State = S>, root: usize) -> Result<bool, SearchError> {
        // Every move has noise of its own, also where its root was grown before.
        self.draw_noise(root);
        let mut left = self.options.simulations;
        while left > 0 {
            let mut paths: Vec<Vec<usize>> = Vec::new();
            let mut stopped = false;
            while paths.len() < self.options.batch.min(left) {
                match self.select(domain, root)? {
                    Selected::Leaf(path) => {
                        path.iter().for_each(|at| self.nodes[*at].pending += 1);
                        paths.push(path);
                    }
                    Selected::Busy => break,
                    Selected::Stop => {
                        stopped = true;
                        break;
                    }
                }
            }
            let valued = if stopped { false } else { self.value(domain, &paths)? };
            for path in &paths {
                path.iter().for_each(|at| self.nodes[*at].pending -= 1);
                if valued {
                    self.back_up(path);
                }
            }
            if !valued {
                return Ok(false);
            }
            left -= paths.len();
        }
        Ok(true)
    }

    /// The child of `root` that was visited most, then has the best value, then is the oldest.
    pub fn most_visited(&self, root: usize) -> Option<usize> {
        let better = |best: usize, at: usize| {
            let (best, at) = (&self.nodes[best], &self.nodes[at]);
            at.visits > best.visits || (at.visits == best.visits && at.value > best.value)
        };
        let visited = self.nodes[root].children.iter().copied().filter(|child| self.nodes[*child].visits > 0);
        visited.reduce(|best, at| if better(best, at) { at } else { best })
    }

    fn add(&mut self, parent: Option<usize>, grown: Grown<S>) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node {
            state: grown.state,
            parent,
            children: Vec::new(),
            visits: 0,
            total: 0.0,
            value: 0.0,
            own: None,
            pending: 0,
            prior: 1.0,
            logit: grown.logit,
            noise: 0.0,
            drawn: 0,
            dead: false,
        });
        if let Some(parent) = parent {
            self.nodes[parent].children.push(at);
        }
        at
    }

    fn select(&mut self, domain: &mut impl Domain<State = S>, root: usize) -> Result<Selected, SearchError> {
        let (mut path, mut at) = (vec![root], root);
        while self.nodes[at].visits > 0 && !self.nodes[at].dead && !domain.is_over(&self.nodes[at].state) {
            let wanted = match self.options.widening {
                Some(widening) if self.nodes[at].children.len() < widening.allowed(self.nodes[at].visits) => 1,
                None if self.nodes[at].drawn == 0 => self.options.expand,
                _ => 0,
            };
            if wanted > 0 {
                let Some(met) = self.grow(domain, at, wanted, root)? else { return Ok(Selected::Stop) };
                if self.nodes[at].children.is_empty() {
                    self.nodes[at].dead = true;
                    break;
                }
                if let (Some(_), Some(met)) = (self.options.widening, met) {
                    // The one sample: a new leaf, or a child that is gone down to.
                    at = met;
                    path.push(at);
                    continue;
                }
            }
            at = self.best_child(at, root);
            path.push(at);
        }
        Ok(if self.nodes[at].pending > 0 { Selected::Busy } else { Selected::Leaf(path) })
    }

    /// Adds up to `wanted` continuations of `at`. The node of the last one, new or equal to a child; the outer `None` when
    /// the search has to end.
    fn grow(
        &mut self,
        domain: &mut impl Domain<State = S>,
        at: usize,
        wanted: usize,
        root: usize,
    ) -> Result<Option<Option<usize>>, SearchError> {
        let (state, drawn) = (self.nodes[at].state.clone(), self.nodes[at].drawn);
        let Some(grown) = domain.expand(&state, wanted, drawn)? else { return Ok(None) };
        self.nodes[at].drawn += wanted;
        let (mut met, mut new) = (None, Vec::new());
        for grown in grown {
            let children = &self.nodes[at].children;
            let equal = children.iter().copied().find(|child| domain.same(&self.nodes[*child].state, &grown.state));
            met = Some(equal.unwrap_or_else(|| {
                let child = self.add(Some(at), grown);
                new.push(child);
                child
            }));
        }
        if self.options.unvisited == Unvisited::Own && !new.is_empty() {
            let states: Vec<S> = new.iter().map(|child| self.nodes[*child].state.clone()).collect();
            let Some(values) = domain.evaluate(&states)? else { return Ok(None) };
            self.own(&new, values)?;
        }
        if !new.is_empty() {
            self.set_priors(at);
            if at == root {
                self.draw_noise(at);
            }
        }
        Ok(Some(met))
    }

    fn set_priors(&mut self, at: usize) {
        let children = self.nodes[at].children.clone();
        let logit = |child: &usize| self.options.tau.map_or(0.0, |tau| self.nodes[*child].logit / tau);
        let logits: Vec<f64> = children.iter().map(logit).collect();
        let total = crate::tilt::log_sum_exp(&logits);
        for (child, logit) in children.iter().zip(&logits) {
            // Where nothing is likely, everything is equally so.
            let prior = if total.is_finite() { (logit - total).exp() } else { 1.0 / children.len() as f64 };
            self.nodes[*child].prior = prior;
        }
    }

    fn draw_noise(&mut self, root: usize) {
        let Some(RootNoise { alpha, .. }) = self.options.noise else { return };
        let mut stream = self.seed.stream("root noise", root as u64);
        let children = self.nodes[root].children.clone();
        let parts: Vec<f64> = children.iter().map(|_| gamma(alpha, &mut stream)).collect();
        let total: f64 = parts.iter().sum();
        for (child, part) in children.iter().zip(parts) {
            self.nodes[*child].noise = part / total;
        }
    }

    fn best_child(&self, at: usize, root: usize) -> usize {
        let parent = &self.nodes[at];
        let from = (parent.visits + parent.pending) as f64;
        let looks = |child: usize| {
            let node = &self.nodes[child];
            let prior = match self.options.noise {
                Some(RootNoise { share, .. }) if at == root => (1.0 - share) * node.prior + share * node.noise,
                _ => node.prior,
            };
            self.options.rule.of(self.q(parent, node), prior, from, (node.visits + node.pending) as f64)
        };
        let first = parent.children[0];
        let better = |best: (f64, usize), child: usize| {
            let looks = looks(child);
            if looks > best.0 { (looks, child) } else { best }
        };
        parent.children[1..].iter().copied().fold((looks(first), first), better).1
    }

    /// What a child is worth while others wait below it.
    fn q(&self, parent: &Node<S>, node: &Node<S>) -> f64 {
        let least = self.options.range.0;
        if node.visits + node.pending == 0 {
            return match self.options.unvisited {
                Unvisited::Parent(less) => parent.value - less,
                Unvisited::Own => node.own.unwrap_or(parent.value),
            };
        }
        match self.options.backup {
            Backup::Mean => (node.total + node.pending as f64 * least) / (node.visits + node.pending) as f64,
            Backup::Max | Backup::Half if node.visits > 0 => node.value,
            Backup::Max | Backup::Half => least,
        }
    }

    /// Values the leaves of these paths that have none. False when the search has to end.
    fn value(&mut self, domain: &mut impl Domain<State = S>, paths: &[Vec<usize>]) -> Result<bool, SearchError> {
        let leaves: Vec<usize> = paths.iter().map(|path| path[path.len() - 1]).collect();
        let new: Vec<usize> = leaves.into_iter().filter(|leaf| self.nodes[*leaf].own.is_none()).collect();
        if new.is_empty() {
            return Ok(true);
        }
        let states: Vec<S> = new.iter().map(|leaf| self.nodes[*leaf].state.clone()).collect();
        let Some(values) = domain.evaluate(&states)? else { return Ok(false) };
        self.own(&new, values)?;
        Ok(true)
    }

    /// Notes what the evaluator says of these nodes.
    fn own(&mut self, nodes: &[usize], values: Vec<f64>) -> Result<(), SearchError> {
        if values.len() != nodes.len() {
            return Err(SearchError::Answers { what: "an evaluator", asked: nodes.len(), got: values.len() });
        }
        for (node, value) in nodes.iter().zip(values) {
            self.nodes[*node].own = Some(self.checked(value)?);
        }
        Ok(())
    }

    fn checked(&self, value: f64) -> Result<f64, SearchError> {
        let (least, greatest) = self.options.range;
        if least <= value && value <= greatest {
            return Ok(value);
        }
        let (name, rule) =
            ("the value of a node", "inside the `range` of the tree search; widen it or mend the scorer");
        Err(CoreError::Range { name, rule, got: value }.into())
    }

    fn back_up(&mut self, path: &[usize]) {
        let leaf = path[path.len() - 1];
        let mut value = self.nodes[leaf].own.unwrap_or_default();
        for &at in path.iter().rev() {
            let of_children = (at != leaf).then(|| self.mean_of_children(at)).flatten();
            let node = &mut self.nodes[at];
            node.visits += 1;
            node.total += value;
            node.value = match self.options.backup {
                Backup::Mean => node.total / node.visits as f64,
                Backup::Max if node.visits > 1 => node.value.max(value),
                Backup::Half if node.visits > 1 => of_children.map_or(node.value, |mean| (node.value + mean) / 2.0),
                Backup::Max | Backup::Half => value,
            };
            value *= self.options.discount;
        }
    }

    /// The mean of the children's values by visits.
    fn mean_of_children(&self, at: usize) -> Option<f64> {
        let children = self.nodes[at].children.iter().map(|child| &self.nodes[*child]);
        let (total, visits) = children.fold((0.0, 0), |(total, visits), child| {
            (total + child.value * child.visits as f64, visits + child.visits)
        });
        (visits > 0).then(|| total / visits as f64)
    }
}

/// A draw from the gamma distribution of shape `alpha` and scale 1: Marsaglia and Tsang, 2000. Never 0.
fn gamma(alpha: f64, stream: &mut ascribe_core::Stream) -> f64 {
    // Shapes below 1 are one higher, to a power of a uniform draw.
    let (shape, boost) = match alpha < 1.0 {
        true => (alpha + 1.0, (1.0 - stream.random::<f64>()).powf(1.0 / alpha)),
        false => (alpha, 1.0),
    };
    let d = shape - 1.0 / 3.0;
    loop {
        // Box and Muller: a normal draw.
        let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * stream.random::<f64>()).cos();
        let v = (1.0 + normal / (9.0 * d).sqrt()).powi(3);
        let uniform = 1.0 - stream.random::<f64>();
        if v > 0.0 && uniform.ln() < 0.5 * normal * normal + d * (1.0 - v + v.ln()) {
            return (d * v * boost).max(f64::MIN_POSITIVE);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A full tree of `width` children and depth `depth`; values by a function of the path.
    struct Toy<F> {
        width: usize,
        depth: usize,
        value: F,
    }

    impl<F: Fn(&[usize]) -> f64> Domain for Toy<F> {
        type State = Vec<usize>;

        fn expand(
            &mut self,
            state: &Vec<usize>,
            n: usize,
            drawn: usize,
        ) -> Result<Option<Vec<Grown<Vec<usize>>>>, SearchError> {
            let child = |number: usize| {
                let state = [&state[..], &[number % self.width]].concat();
                Grown { state, logit: 0.0 }
            };
            Ok(Some((drawn..drawn + n).map(child).collect()))
        }

        fn evaluate(&mut self, states: &[Vec<usize>]) -> Result<Option<Vec<f64>>, SearchError> {
            Ok(Some(states.iter().map(|state| (self.value)(state)).collect()))
        }

        fn is_over(&self, state: &Vec<usize>) -> bool {
            state.len() == self.depth
        }

        fn same(&self, left: &Vec<usize>, right: &Vec<usize>) -> bool {
            left == right
        }
    }

    fn grown<F: Fn(&[usize]) -> f64>(options: TreeOptions, value: F) -> Tree<Vec<usize>> {
        let mut toy = Toy { width: 3, depth: 3, value };
        let mut tree = Tree::new(Vec::new(), options, Seed(1)).unwrap();
        assert!(tree.simulate(&mut toy, 0).unwrap());
        tree
    }

    /// A value in [0, 1] that is the path's own.
    fn mixed(path: &[usize]) -> f64 {
        path.iter().fold(0.37, |value, step| (value * 7.3 + 0.61 * *step as f64).fract())
    }

    fn visits(tree: &Tree<Vec<usize>>) -> Vec<(Vec<usize>, u64)> {
        tree.nodes().iter().map(|node| (node.state.clone(), node.visits)).collect()
    }

    proptest! {
        #[test]
        fn visits_and_values_add_up(
            simulations in 1usize..80,
            batch in 1usize..6,
            widening in any::<bool>(),
            uct in any::<bool>(),
            own in any::<bool>(),
        ) {
            let options = TreeOptions {
                simulations,
                batch,
                expand: 3,
                widening: widening.then(Widening::default),
                rule: if uct { Rule::Uct { w: 1.0 } } else { Rule::default() },
                unvisited: if own { Unvisited::Own } else { Unvisited::Parent(0.0) },
                ..TreeOptions::default()
            };
            let tree = grown(options, mixed);
            let nodes = tree.nodes();
            prop_assert_eq!(nodes[0].visits, simulations as u64);
            let mut leaves = 0.0;
            for node in nodes {
                prop_assert_eq!(node.pending, 0);
                let below: u64 = node.children.iter().map(|child| nodes[*child].visits).sum();
                let over = node.state.len() == 3;
                // A node's own evaluations: one, or every visit where it is an end.
                prop_assert!(node.visits == 0 || over || node.visits == 1 + below, "{:?}", node.state);
                prop_assert!(!over || node.children.is_empty());
                let own = if over { node.visits } else { node.visits.min(1) };
                leaves += own as f64 * mixed(&node.state);
                prop_assert!(node.visits == 0 || (0.0..=1.0).contains(&node.value));
                if widening {
                    prop_assert!(node.children.len() <= Widening::default().allowed(node.visits));
                }
            }
            // The mean back-up: what the root has is the sum of all that was valued.
            prop_assert!((nodes[0].total - leaves).abs() < 1e-9);
        }

        #[test]
        fn more_simulations_go_on_from_fewer_and_the_best_never_falls(simulations in 1usize..40) {
            let options = TreeOptions { simulations, expand: 3, backup: Backup::Max, ..TreeOptions::default() };
            let (less, more) = (grown(options, mixed), grown(TreeOptions { simulations: simulations + 1, ..options }, mixed));
            prop_assert!(less.nodes()[0].value <= more.nodes()[0].value);
            let before = visits(&less);
            prop_assert!(visits(&more).iter().zip(&before).all(|(more, less)| more.0 == less.0 && more.1 >= less.1));
        }
    }

    #[test]
    fn equal_children_are_visited_equally() {
        let options = TreeOptions { simulations: 100, expand: 3, ..TreeOptions::default() };
        let tree = grown(options, |_| 0.5);
        for node in tree.nodes() {
            let visits: Vec<u64> = node.children.iter().map(|child| tree.nodes()[*child].visits).collect();
            let (least, most) = (visits.iter().min(), visits.iter().max());
            assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{visits:?}");
        }
    }

    #[test]
    fn without_exploration_the_best_known_child_is_taken() {
        // Children of the root are worth 0.2, 0.9, 0.4 and nothing below changes that; the first is met first.
        let value = |path: &[usize]| path.first().map_or(0.5, |first| [0.2, 0.9, 0.4][*first]);
        let options = TreeOptions { simulations: 30, expand: 3, rule: Rule::Uct { w: 0.0 }, ..TreeOptions::default() };
        let tree = grown(options, value);
        let visits: Vec<u64> = tree.nodes()[0].children.iter().map(|child| tree.nodes()[*child].visits).collect();
        assert_eq!(visits, [1, 27, 1]);
        assert_eq!(tree.most_visited(0).map(|at| tree.nodes()[at].state.clone()), Some(vec![1]));
    }

    #[test]
    fn the_share_of_the_best_child_tends_to_one() {
        let value = |path: &[usize]| if path.first() == Some(&2) { 1.0 } else { 0.0 };
        let share = |simulations| {
            let tree = grown(TreeOptions { simulations, expand: 3, ..TreeOptions::default() }, value);
            let best = tree.most_visited(0).map(|at| &tree.nodes()[at]).unwrap();
            assert_eq!(best.state, [2]);
            best.visits as f64 / simulations as f64
        };
        assert!(share(50) < share(2000) && share(2000) > 0.95, "{} {}", share(50), share(2000));
    }

    #[test]
    fn what_is_no_search_is_refused() {
        let refused = |options: TreeOptions| Tree::new((), options, Seed(0)).is_err();
        let plain = TreeOptions::default();
        assert!(!refused(plain));
        assert!(refused(TreeOptions { simulations: 0, ..plain }) && refused(TreeOptions { batch: 0, ..plain }));
        assert!(
            refused(TreeOptions { discount: f64::NAN, ..plain }) && refused(TreeOptions { tau: Some(0.0), ..plain })
        );
        assert!(refused(TreeOptions { range: (1.0, 0.0), ..plain }));
        assert!(refused(TreeOptions { noise: Some(RootNoise { share: 2.0, alpha: 0.3 }), ..plain }));
        let mut toy = Toy { width: 2, depth: 2, value: |_: &[usize]| 1.5 };
        let error = Tree::new(Vec::new(), plain, Seed(0)).unwrap().simulate(&mut toy, 0).unwrap_err();
        assert!(error.to_string().contains("`range`"), "{error}");
    }

    #[test]
    fn noise_is_a_distribution_with_the_mean_that_it_should_have() {
        let mut stream = Seed(5).stream("gamma", 0);
        for alpha in [0.3, 1.0, 4.5] {
            let n = 20_000;
            let draws: Vec<f64> = (0..n).map(|_| gamma(alpha, &mut stream)).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            // The variance is alpha, too: five standard errors.
            assert!((mean - alpha).abs() < 5.0 * (alpha / f64::from(n)).sqrt(), "{mean} beside {alpha}");
        }
        let noise = Some(RootNoise::default());
        let tree = grown(TreeOptions { simulations: 5, expand: 3, noise, ..TreeOptions::default() }, mixed);
        let total = |tree: &Tree<Vec<usize>>, at: usize| -> f64 {
            tree.nodes()[at].children.iter().map(|child| tree.nodes()[*child].noise).sum()
        };
        assert!((total(&tree, 0) - 1.0).abs() < 1e-12);
        // The next move begins at a node that has children already.
        let mut toy = Toy { width: 3, depth: 3, value: mixed };
        let mut tree =
            Tree::new(Vec::new(), TreeOptions { simulations: 12, expand: 3, noise, ..TreeOptions::default() }, Seed(1))
                .unwrap();
        assert!(tree.simulate(&mut toy, 0).unwrap());
        let next = tree.most_visited(0).unwrap();
        assert_eq!(tree.nodes()[next].children.len(), 3);
        assert_eq!(total(&tree, next), 0.0);
        assert!(tree.simulate(&mut toy, next).unwrap());
        assert!((total(&tree, next) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_evaluator_that_answers_less_is_an_error() {
        /// Children of one node, of which one is not valued.
        struct Forgetful;
        impl Domain for Forgetful {
            type State = usize;

            fn expand(&mut self, _: &usize, n: usize, _: usize) -> Result<Option<Vec<Grown<usize>>>, SearchError> {
                Ok(Some((1..=n).map(|state| Grown { state, logit: 0.0 }).collect()))
            }

            fn evaluate(&mut self, states: &[usize]) -> Result<Option<Vec<f64>>, SearchError> {
                Ok(Some(vec![0.5; states.len().div_ceil(2)]))
            }

            fn is_over(&self, _: &usize) -> bool {
                false
            }

            fn same(&self, left: &usize, right: &usize) -> bool {
                left == right
            }
        }
        let options = TreeOptions { expand: 3, unvisited: Unvisited::Own, ..TreeOptions::default() };
        let error = Tree::new(0, options, Seed(0)).unwrap().simulate(&mut Forgetful, 0).unwrap_err();
        assert!(matches!(error, SearchError::Answers { asked: 3, got: 2, .. }), "{error}");
    }
}
