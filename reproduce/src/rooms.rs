//! Two rooms, a key in one of them, a locked door between them and a goal in the other: a world that pays at the very end, and an
//! agent with a table of values.

use ascribe::core::Stream;
use rand::RngExt;

const WIDTH: usize = 11;
const HEIGHT: usize = 7;
const KEY: [usize; 2] = [0, 6];
const DOOR: [usize; 2] = [5, 1];
const GOAL: [usize; 2] = [10, 6];
/// Steps after which a walk ends.
const STEPS: usize = 120;
const ACTIONS: usize = 4;

/// What a reward of the next step is worth now.
pub const DISCOUNT: f64 = 0.95;
/// How much of what was missed a value takes up.
const RATE: f64 = 0.5;
/// How often an action is drawn.
const EXPLORED: f64 = 0.1;

/// Where the agent is, and what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    at: [usize; 2],
    key: bool,
    open: bool,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Walks,
    Bumps,
    TakesKey,
    OpensDoor,
    Arrives,
}

/// One walk: places, one more than the actions between them.
pub struct Walk {
    pub places: Vec<Place>,
    pub actions: Vec<usize>,
    pub events: Vec<Event>,
}

/// Action values of every place.
pub struct Agent {
    values: Vec<[f64; ACTIONS]>,
}

impl Place {
    /// Where walks begin.
    pub const START: Self = Self { at: [2, 0], key: false, open: false };

    /// What can be seen.
    pub fn observation(self) -> String {
        let key = if self.key { ", the key in hand" } else { "" };
        let door = if self.open { ", the door open" } else { "" };
        format!("column {}, row {}{key}{door}", self.at[0], self.at[1])
    }

    fn number(self) -> usize {
        ((self.at[1] * WIDTH + self.at[0]) * 2 + usize::from(self.key)) * 2 + usize::from(self.open)
    }

    /// The place behind an action: down, up, right, left.
    fn step(self, action: usize) -> (Self, Event) {
        let [x, y] = self.at;
        let to = match action {
            0 => [Some(x), Some(y + 1).filter(|y| *y < HEIGHT)],
            1 => [Some(x), y.checked_sub(1)],
            2 => [Some(x + 1).filter(|x| *x < WIDTH), Some(y)],
            _ => [x.checked_sub(1), Some(y)],
        };
        let [Some(x), Some(y)] = to else { return (self, Event::Bumps) };
        let at = [x, y];
        let through = at == DOOR && (self.key || self.open);
        if x == DOOR[0] && !through {
            return (self, Event::Bumps);
        }
        let next = Self { at, key: self.key || at == KEY, open: self.open || at == DOOR };
        let event = if at == GOAL {
            Event::Arrives
        } else if next.key && !self.key {
            Event::TakesKey
        } else if next.open && !self.open {
            Event::OpensDoor
        } else {
            Event::Walks
        };
        (next, event)
    }
}

impl Walk {
    /// Whether the goal was reached.
    pub fn arrived(&self) -> bool {
        self.events.last() == Some(&Event::Arrives)
    }

    /// What the world pays: 1 at the goal.
    pub fn paid(&self) -> Vec<f64> {
        self.events.iter().map(|event| f64::from(u8::from(*event == Event::Arrives))).collect()
    }
}

impl Agent {
    /// An agent that expects nothing.
    pub fn fresh() -> Self {
        Self { values: vec![[0.0; ACTIONS]; WIDTH * HEIGHT * 4] }
    }

    /// A walk by the best actions, equal ones alike, and now and then by any.
    pub fn walk(&self, stream: &mut Stream) -> Walk {
        let mut walk = Walk { places: vec![Place::START], actions: Vec::new(), events: Vec::new() };
        let mut place = Place::START;
        while walk.actions.len() < STEPS && !walk.arrived() {
            let action = self.action(place, stream);
            let (next, event) = place.step(action);
            place = next;
            walk.places.push(place);
            walk.actions.push(action);
            walk.events.push(event);
        }
        walk
    }

    fn action(&self, place: Place, stream: &mut Stream) -> usize {
        if stream.random::<f64>() < EXPLORED {
            return stream.random_range(0..ACTIONS);
        }
        let values = &self.values[place.number()];
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best: Vec<usize> = (0..ACTIONS).filter(|action| values[*action] >= most).collect();
        best[stream.random_range(0..best.len())]
    }

    /// Q-learning on a walk with these rewards, from its end to its start. The last step of a walk that was cut off says nothing.
    pub fn learn(&mut self, walk: &Walk, rewards: &[f64]) {
        let told = if walk.arrived() { walk.actions.len() } else { walk.actions.len().saturating_sub(1) };
        for at in (0..told).rev() {
            let next = match walk.events[at] {
                Event::Arrives => 0.0,
                _ => self.values[walk.places[at + 1].number()].iter().copied().fold(f64::NEG_INFINITY, f64::max),
            };
            let value = &mut self.values[walk.places[at].number()][walk.actions[at]];
            *value += RATE * (rewards[at] + DISCOUNT * next - *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_opens_to_whoever_has_the_key() {
        let before = Place { at: [4, 1], key: false, open: false };
        assert_eq!(before.step(2), (before, Event::Bumps));
        let with_key = Place { key: true, ..before };
        let (inside, event) = with_key.step(2);
        assert_eq!((inside.at, inside.open, event), (DOOR, true, Event::OpensDoor));
        assert_eq!(
            Place { at: [0, 5], ..before }.step(0),
            (Place { at: KEY, key: true, open: false }, Event::TakesKey)
        );
        let last = Place { at: [9, 6], key: true, open: true };
        assert_eq!(last.step(2).1, Event::Arrives);
        assert_eq!((Place::START.step(1).1, last.step(0).1), (Event::Bumps, Event::Bumps));
        assert_eq!(last.observation(), "column 9, row 6, the key in hand, the door open");
    }

    #[test]
    fn a_walk_that_arrives_teaches_its_last_steps_first() {
        let before = Place { at: [8, 6], key: true, open: true };
        let places = vec![before, Place { at: [9, 6], ..before }, Place { at: GOAL, ..before }];
        let walk = Walk { places, actions: vec![2, 2], events: vec![Event::Walks, Event::Arrives] };
        let mut agent = Agent::fresh();
        agent.learn(&walk, &walk.paid());
        // Half of 1, then half of 0.95 times that.
        assert_eq!(agent.values[walk.places[1].number()][2], 0.5);
        assert_eq!(agent.values[before.number()][2], 0.5 * 0.95 * 0.5);
        // Of a walk that was cut off the last step is left out.
        let cut = Walk { places: walk.places[..2].to_vec(), actions: vec![2], events: vec![Event::Walks] };
        let mut agent = Agent::fresh();
        agent.learn(&cut, &[1.0]);
        assert_eq!(agent.values[before.number()][2], 0.0);
    }
}
