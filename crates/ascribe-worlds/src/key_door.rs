//! A room with a key and a door: the key opens the door in a wall, and behind the wall is the goal.
//!
//! ```text
//! reward of the move to the goal = 1 - 0.9 (moves so far) / (moves allowed); no other move is rewarded
//! V(state) = 1 - 0.9 (moves so far + least moves to the goal) / (moves allowed), or 0 where these are too few
//! ```
//! The reward is far from the moves that earn it, so it is a world for shaping and for rewards of subgoals. In the manner of
//! MiniGrid's DoorKey (arXiv:2306.13831), with moves in four directions; the door opens to whoever holds the key.

use ascribe_core::{CoreError, Seed, Transition, World};
use rand::RngExt;

use crate::WorldError;

/// What of the reward time can take.
const TIME: f64 = 0.9;

/// A place in the room, counted from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The column.
    pub x: usize,
    /// The row.
    pub y: usize,
}

/// Where everything stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Room {
    /// Columns; at least 3.
    pub width: usize,
    /// Rows; at least 1.
    pub height: usize,
    /// The column of the wall, neither the first nor the last.
    pub wall: usize,
    /// The row of the door in it.
    pub door: usize,
    /// Where an agent begins: left of the wall.
    pub start: Cell,
    /// Where the key lies: left of the wall.
    pub key: Cell,
    /// The goal: right of the wall.
    pub goal: Cell,
}

/// A room, and how many moves there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoor {
    room: Room,
    moves: usize,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyDoorMove {
    /// Go up.
    Up,
    /// Go down.
    Down,
    /// Go left.
    Left,
    /// Go right.
    Right,
    /// Take the key, where it lies.
    Take,
}

impl KeyDoorMove {
    /// All moves; a token id is a place in this list.
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::Left, Self::Right, Self::Take];

    /// The token id.
    pub fn id(self) -> u32 {
        self as u32
    }
}

/// Where an agent stands, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDoorState {
    cell: Cell,
    key: bool,
    used: usize,
}

impl KeyDoor {
    /// What has to be done on the way, in words and in this order.
    pub const SUBGOALS: [&'static str; 3] = ["take the key", "go through the door", "reach the goal"];

    /// A room with `moves` moves.
    ///
    /// # Errors
    /// When something stands where it may not, or no move is allowed.
    pub fn new(room: Room, moves: usize) -> Result<Self, WorldError> {
        let Room { width, height, wall, door, start, key, goal } = room;
        let left = |cell: Cell| cell.x < wall && cell.y < height;
        let walled = 1 <= wall && wall + 1 < width && door < height;
        if !(walled && left(start) && left(key) && wall < goal.x && goal.x < width && goal.y < height) {
            let rule =
                "one with a wall between its sides and a door in it, start and key left of it, the goal right of it";
            return Err(WorldError::range("a room", rule, room));
        }
        if moves == 0 {
            return Err(WorldError::range("the number of moves", "at least 1", moves));
        }
        Ok(Self { room, moves })
    }

    /// A random room.
    ///
    /// # Errors
    /// When the room has fewer than 3 columns or no row, or no move is allowed.
    pub fn drawn(seed: Seed, width: usize, height: usize, moves: usize) -> Result<Self, WorldError> {
        if width < 3 || height == 0 {
            let rule = "at least 3 columns and 1 row";
            return Err(WorldError::range("the size of a room", rule, (width, height)));
        }
        let mut stream = seed.stream("key-door", 0);
        let wall = stream.random_range(1..width - 1);
        let mut cell =
            |from: usize, to: usize| Cell { x: stream.random_range(from..to), y: stream.random_range(0..height) };
        let (start, key, goal) = (cell(0, wall), cell(0, wall), cell(wall + 1, width));
        let door = stream.random_range(0..height);
        Self::new(Room { width, height, wall, door, start, key, goal }, moves)
    }

    /// Where everything stands.
    pub fn room(&self) -> Room {
        self.room
    }

    /// What an agent sees.
    pub fn observation(&self, state: &KeyDoorState) -> String {
        let KeyDoorState { cell, key, .. } = *state;
        let here = match cell {
            cell if cell == self.room.goal => ", at the goal",
            cell if cell.x == self.room.wall => ", in the door",
            cell if cell == self.room.key && !key => ", where the key lies",
            _ => "",
        };
        let hand = if key { "with the key" } else { "with empty hands" };
        format!("column {}, row {}, {hand}{here}", cell.x, cell.y)
    }

    /// Which of [`SUBGOALS`](Self::SUBGOALS) a move from `before` to `after` achieved.
    pub fn achieved(&self, before: &KeyDoorState, after: &KeyDoorState) -> [bool; 3] {
        let passed = |state: &KeyDoorState| state.cell.x >= self.room.wall;
        let there = |state: &KeyDoorState| state.cell == self.room.goal;
        [!before.key && after.key, !passed(before) && passed(after), !there(before) && there(after)]
    }

    /// The cell next to this one, if there is no wall between.
    fn beside(&self, cell: Cell, mv: KeyDoorMove, key: bool) -> Option<Cell> {
        let Room { width, height, wall, door, .. } = self.room;
        let next = match mv {
            KeyDoorMove::Up => Cell { y: cell.y.checked_sub(1)?, ..cell },
            KeyDoorMove::Down => Cell { y: cell.y + 1, ..cell },
            KeyDoorMove::Left => Cell { x: cell.x.checked_sub(1)?, ..cell },
            KeyDoorMove::Right => Cell { x: cell.x + 1, ..cell },
            KeyDoorMove::Take => return None,
        };
        let inside = next.x < width && next.y < height;
        (inside && (next.x != wall || next.y == door && key)).then_some(next)
    }

    /// Where a move leads to and whether the key is held there; `None` where it cannot be made.
    fn after(&self, cell: Cell, key: bool, mv: KeyDoorMove) -> Option<(Cell, bool)> {
        match mv {
            KeyDoorMove::Take => (!key && cell == self.room.key).then_some((cell, true)),
            _ => self.beside(cell, mv, key).map(|next| (next, key)),
        }
    }

    fn is_over(&self, state: &KeyDoorState) -> bool {
        state.cell == self.room.goal || state.used == self.moves
    }

    /// What it is worth to be at the goal after so many moves.
    fn worth(&self, used: usize) -> f64 {
        1.0 - TIME * used as f64 / self.moves as f64
    }

    /// The least moves to the goal: the room is searched in breadth.
    fn distance(&self, state: &KeyDoorState) -> Option<usize> {
        let Room { width, height, goal, .. } = self.room;
        let place = |cell: Cell, key: bool| 2 * (cell.y * width + cell.x) + usize::from(key);
        let mut seen = vec![false; 2 * width * height];
        seen[place(state.cell, state.key)] = true;
        let (mut edge, mut distance) = (vec![(state.cell, state.key)], 0);
        while !edge.is_empty() {
            if edge.iter().any(|(cell, _)| *cell == goal) {
                return Some(distance);
            }
            let mut next = Vec::new();
            for (cell, key) in edge {
                for (cell, key) in KeyDoorMove::ALL.into_iter().filter_map(|mv| self.after(cell, key, mv)) {
                    if !std::mem::replace(&mut seen[place(cell, key)], true) {
                        next.push((cell, key));
                    }
                }
            }
            (edge, distance) = (next, distance + 1);
        }
        None
    }
}

impl World for KeyDoor {
    type State = KeyDoorState;

    /// The start. The seed changes nothing.
    fn reset(&self, _seed: Seed) -> KeyDoorState {
        KeyDoorState { cell: self.room.start, key: false, used: 0 }
    }

    fn moves(&self, state: &KeyDoorState) -> Vec<u32> {
        if self.is_over(state) {
            return Vec::new();
        }
        let possible = |mv: &KeyDoorMove| self.after(state.cell, state.key, *mv).is_some();
        KeyDoorMove::ALL.into_iter().filter(possible).map(KeyDoorMove::id).collect()
    }

    fn step(&self, state: &KeyDoorState, mv: u32) -> Result<Transition<KeyDoorState>, CoreError> {
        let known = KeyDoorMove::ALL.get(mv as usize).filter(|_| !self.is_over(state));
        let Some((cell, key)) = known.and_then(|mv| self.after(state.cell, state.key, *mv)) else {
            return Err(WorldError::range("a move in the room", "one that can be made here", (mv, state)).into());
        };
        let state = KeyDoorState { cell, key, used: state.used + 1 };
        let reward = if cell == self.room.goal { self.worth(state.used) } else { 0.0 };
        Ok(Transition { state, reward, done: self.is_over(&state) })
    }

    /// The best return from here, by the shortest way to the goal.
    fn value(&self, state: &KeyDoorState) -> Option<f64> {
        if self.is_over(state) {
            return Some(0.0);
        }
        let used = self.distance(state).map(|distance| state.used + distance);
        Some(used.filter(|used| *used <= self.moves).map_or(0.0, |used| self.worth(used)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::KeyDoorMove::{Down, Left, Right, Take, Up};
    use super::*;

    /// Five columns and three rows, a wall in the third column with a door in its middle.
    fn room() -> Room {
        let (start, key, goal) = (Cell { x: 0, y: 0 }, Cell { x: 1, y: 2 }, Cell { x: 4, y: 2 });
        Room { width: 5, height: 3, wall: 2, door: 1, start, key, goal }
    }

    fn near(got: Option<f64>, expected: f64) {
        assert!(got.is_some_and(|got| (got - expected).abs() < 1e-12), "{got:?} beside {expected}");
    }

    #[test]
    fn a_game_played_by_hand() {
        let world = KeyDoor::new(room(), 20).unwrap();
        let mut state = world.reset(Seed(0));
        let way = [Down, Down, Right, Take, Up, Right, Right, Right, Down];
        let mut achieved = [0; 3];
        for (at, mv) in way.into_iter().enumerate() {
            // Nine moves in all: 1 - 0.9 * 9 / 20.
            near(world.value(&state), 0.595);
            let next = world.step(&state, mv.id()).unwrap();
            assert_eq!((next.reward > 0.0, next.done), (at == 8, at == 8));
            for (count, now) in achieved.iter_mut().zip(world.achieved(&state, &next.state)) {
                *count += if now { at + 1 } else { 0 };
            }
            state = next.state;
        }
        // The key with the fourth move, the door with the sixth, the goal with the last.
        assert_eq!(achieved, [4, 6, 9]);
        assert_eq!(world.observation(&state), "column 4, row 2, with the key, at the goal");
        near(world.value(&state), 0.0);
        assert!(world.moves(&state).is_empty() && world.step(&state, Up.id()).is_err());
    }

    #[test]
    fn the_door_is_shut_without_the_key_and_time_ends_a_game() {
        let world = KeyDoor::new(room(), 20).unwrap();
        let start = world.reset(Seed(0));
        let ids = |moves: &[KeyDoorMove]| moves.iter().map(|mv| mv.id()).collect::<Vec<u32>>();
        assert_eq!(world.moves(&start), ids(&[Down, Right]));
        let walk =
            |moves: &[KeyDoorMove]| moves.iter().fold(start, |state, mv| world.step(&state, mv.id()).unwrap().state);
        let before = walk(&[Down, Right]);
        assert_eq!(world.observation(&before), "column 1, row 1, with empty hands");
        assert_eq!(world.moves(&before), ids(&[Up, Down, Left]));
        assert!(world.step(&before, Right.id()).is_err() && world.step(&before, 9).is_err());
        // A move aside and back costs two.
        near(world.value(&walk(&[Down, Up])), 1.0 - 0.9 * 11.0 / 20.0);
        // Nine moves are just enough, and eight are too few.
        near(KeyDoor::new(room(), 9).unwrap().value(&start), 0.1);
        near(KeyDoor::new(room(), 8).unwrap().value(&start), 0.0);
        let short = KeyDoor::new(room(), 1).unwrap();
        assert!(short.step(&start, Down.id()).unwrap().done);
    }

    #[test]
    fn what_is_no_room_is_refused() {
        let wrong = [
            Room { wall: 0, ..room() },
            Room { wall: 4, ..room() },
            Room { door: 3, ..room() },
            Room { start: Cell { x: 3, y: 0 }, ..room() },
            Room { key: Cell { x: 2, y: 1 }, ..room() },
            Room { goal: Cell { x: 1, y: 1 }, ..room() },
            Room { goal: Cell { x: 4, y: 3 }, ..room() },
        ];
        for room in wrong {
            assert!(KeyDoor::new(room, 20).is_err(), "{room:?}");
        }
        assert!(KeyDoor::new(room(), 0).is_err());
        assert!(KeyDoor::drawn(Seed(0), 2, 3, 9).is_err() && KeyDoor::drawn(Seed(0), 3, 0, 9).is_err());
        assert!(KeyDoor::drawn(Seed(0), 3, 1, 9).is_ok());
    }

    proptest! {
        #[test]
        fn the_value_is_the_best_over_moves(
            seed in any::<u64>(), width in 3usize..7, height in 1usize..5,
            steps in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let world = KeyDoor::drawn(Seed(seed), width, height, 40).unwrap();
            let mut state = world.reset(Seed(0));
            // No way to the goal is longer than 40 moves.
            prop_assert!(world.value(&state).unwrap() > 0.0);
            for step in steps {
                let moves = world.moves(&state);
                let ahead = moves.iter().map(|mv| {
                    let next = world.step(&state, *mv).unwrap();
                    next.reward + world.value(&next.state).unwrap()
                });
                prop_assert!((world.value(&state).unwrap() - ahead.fold(0.0, f64::max)).abs() < 1e-12);
                if moves.is_empty() {
                    break;
                }
                state = world.step(&state, moves[step.index(moves.len())]).unwrap().state;
            }
        }
    }
}
