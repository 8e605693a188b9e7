//! A small shop: an agent searches, looks at pages, and buys one thing that fits an intent as well as it can.
//!
//! ```text
//! reward of a purchase = (kind right + wanted features that it has + colour right + price within the limit) / (3 + wanted features)
//! ```
//! Buying ends the visit, and so does the last move; nothing else is rewarded. The pages are few and the moves are counted, so
//! the best return from every state is known. A shop in the manner of WebShop (arXiv:2207.01206), for planning with rewards of
//! trajectories.

use std::collections::HashMap;

use ascribe_core::{CoreError, Seed, Transition, World};
use rand::RngExt;

use crate::WorldError;

/// Items on a page of results.
const PAGE: usize = 3;

/// Something that is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its kind, which is what a search asks for.
    pub kind: usize,
    /// Its features, a bit each.
    pub features: u8,
    /// Colours that it comes in; the first is 0.
    pub colours: usize,
    /// Its price.
    pub price: u32,
}

/// A shop, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shop {
    items: Vec<Item>,
    kinds: usize,
    /// What is wanted: of this kind, with these features, at most at this price.
    wanted: Item,
    colour: usize,
    moves: usize,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShopMove {
    /// Search for a kind.
    Search(usize),
    /// Open the item at this place of the page.
    Open(usize),
    /// Go to the next page of results.
    Next,
    /// Go back: from an item to its page of results, from results to the front.
    Back,
    /// Choose a colour.
    Choose(usize),
    /// Buy the item in the colour that was chosen; without a choice in the first.
    Buy,
}

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShopState {
    page: Page,
    left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Page {
    Front,
    Results { kind: usize, page: usize },
    Item { kind: usize, page: usize, item: usize, colour: usize },
    Done,
}

impl Shop {
    /// A shop with `items`. The intent is a thing of the kind, the features and the price of `wanted`, in the colour `colour`,
    /// within `moves` moves.
    ///
    /// # Errors
    /// When there is no item, an item has no colour, or no move is allowed.
    pub fn new(items: Vec<Item>, wanted: Item, colour: usize, moves: usize) -> Result<Self, WorldError> {
        if items.is_empty() || items.iter().any(|item| item.colours == 0) {
            let rule = "at least 1, each in at least one colour";
            return Err(WorldError::range("the number of items of a shop", rule, &items));
        }
        if moves == 0 {
            return Err(WorldError::range("the number of moves", "at least 1", moves));
        }
        let kinds = items.iter().chain([&wanted]).map(|item| item.kind + 1).max().unwrap_or(1);
        Ok(Self { items, kinds, wanted, colour, moves })
    }

    /// A random shop of `items` items in three kinds, with an intent that one of them fits.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn drawn(seed: Seed, items: usize, moves: usize) -> Result<Self, WorldError> {
        let mut stream = seed.stream("shop", 0);
        let mut item = || Item {
            kind: stream.random_range(0..3),
            features: stream.random_range(0..16u32) as u8,
            colours: stream.random_range(1..4),
            price: stream.random_range(1..20),
        };
        let items: Vec<Item> = (0..items).map(|_| item()).collect();
        let Some(wanted) = items.get(stream.random_range(0..items.len().max(1))).cloned() else {
            return Err(WorldError::range("the number of items of a shop", "at least 1", items.len()));
        };
        let colour = stream.random_range(0..wanted.colours);
        Self::new(items, wanted, colour, moves)
    }

    /// The move of a token id; `None` when the shop has no such move.
    pub fn read(&self, mv: u32) -> Option<ShopMove> {
        let mut at = mv as usize;
        let mut counted = |number: usize| {
            let here = (at < number).then_some(at);
            at = at.wrapping_sub(number);
            here
        };
        if let Some(kind) = counted(self.kinds) {
            return Some(ShopMove::Search(kind));
        }
        if let Some(place) = counted(PAGE) {
            return Some(ShopMove::Open(place));
        }
        match counted(3) {
            Some(0) => return Some(ShopMove::Next),
            Some(1) => return Some(ShopMove::Back),
            Some(_) => return Some(ShopMove::Buy),
            None => {}
        }
        counted(self.most_colours()).map(ShopMove::Choose)
    }

    /// The token id of a move.
    pub fn id(&self, mv: ShopMove) -> u32 {
        let fixed = self.kinds + PAGE;
        (match mv {
            ShopMove::Search(kind) => kind,
            ShopMove::Open(place) => self.kinds + place,
            ShopMove::Next => fixed,
            ShopMove::Back => fixed + 1,
            ShopMove::Buy => fixed + 2,
            ShopMove::Choose(colour) => fixed + 3 + colour,
        }) as u32
    }

    /// The intent in words.
    pub fn intent(&self) -> String {
        let Item { kind, features, price, .. } = self.wanted;
        format!(
            "buy a thing of kind {kind} with the features {features:04b} in colour {} for at most {price}",
            self.colour
        )
    }

    /// What an agent sees.
    pub fn observation(&self, state: &ShopState) -> String {
        match state.page {
            Page::Front => "the front page".into(),
            Page::Results { kind, page } => {
                let shown = self.shown(kind, page);
                let items = shown.iter().map(|item| format!("item {item} at {}", self.items[*item].price));
                format!("results for kind {kind}, page {page}: {}", items.collect::<Vec<_>>().join(", "))
            }
            Page::Item { item, colour, .. } => {
                let Item { kind, features, colours, price } = self.items[item];
                format!(
                    "item {item}: kind {kind}, features {features:04b}, colour {colour} of {colours}, price {price}"
                )
            }
            Page::Done => "outside".into(),
        }
    }

    /// What a purchase is worth.
    fn worth(&self, item: usize, colour: usize) -> f64 {
        let item = &self.items[item];
        let wanted = self.wanted.features;
        let fits = [item.kind == self.wanted.kind, colour == self.colour, item.price <= self.wanted.price];
        let right = fits.iter().filter(|fits| **fits).count() as u32 + (item.features & wanted).count_ones();
        f64::from(right) / f64::from(3 + wanted.count_ones())
    }

    fn most_colours(&self) -> usize {
        self.items.iter().map(|item| item.colours).max().unwrap_or(0)
    }

    /// Items on a page of results.
    fn shown(&self, kind: usize, page: usize) -> Vec<usize> {
        let of_kind = (0..self.items.len()).filter(|item| self.items[*item].kind == kind);
        of_kind.skip(page * PAGE).take(PAGE).collect()
    }

    fn legal(&self, state: &ShopState) -> Vec<ShopMove> {
        if state.left == 0 {
            return Vec::new();
        }
        match state.page {
            Page::Front => (0..self.kinds).map(ShopMove::Search).collect(),
            Page::Results { kind, page } => {
                let mut moves: Vec<ShopMove> = (0..self.shown(kind, page).len()).map(ShopMove::Open).collect();
                if !self.shown(kind, page + 1).is_empty() {
                    moves.push(ShopMove::Next);
                }
                moves.push(ShopMove::Back);
                moves
            }
            Page::Item { item, colour, .. } => {
                let others = (0..self.items[item].colours).filter(|other| *other != colour);
                let mut moves: Vec<ShopMove> = others.map(ShopMove::Choose).collect();
                moves.extend([ShopMove::Back, ShopMove::Buy]);
                moves
            }
            Page::Done => Vec::new(),
        }
    }

    /// Where a legal move leads to, and what it earns.
    fn after(&self, state: &ShopState, mv: ShopMove) -> (ShopState, f64) {
        let (page, reward) = match (state.page, mv) {
            (_, ShopMove::Search(kind)) => (Page::Results { kind, page: 0 }, 0.0),
            (Page::Results { kind, page }, ShopMove::Open(place)) => {
                let item = self.shown(kind, page)[place];
                (Page::Item { kind, page, item, colour: 0 }, 0.0)
            }
            (Page::Results { kind, page }, ShopMove::Next) => (Page::Results { kind, page: page + 1 }, 0.0),
            (Page::Item { kind, page, .. }, ShopMove::Back) => (Page::Results { kind, page }, 0.0),
            (Page::Item { kind, page, item, .. }, ShopMove::Choose(colour)) => {
                (Page::Item { kind, page, item, colour }, 0.0)
            }
            (Page::Item { item, colour, .. }, ShopMove::Buy) => (Page::Done, self.worth(item, colour)),
            _ => (Page::Front, 0.0),
        };
        (ShopState { page, left: state.left - 1 }, reward)
    }

    fn best(&self, state: ShopState, known: &mut HashMap<ShopState, f64>) -> f64 {
        if let Some(value) = known.get(&state) {
            return *value;
        }
        let mut best = 0.0f64;
        for mv in self.legal(&state) {
            let (next, reward) = self.after(&state, mv);
            best = best.max(reward + self.best(next, known));
        }
        known.insert(state, best);
        best
    }
}

impl World for Shop {
    type State = ShopState;

    /// The front page. The seed changes nothing.
    fn reset(&self, _seed: Seed) -> ShopState {
        ShopState { page: Page::Front, left: self.moves }
    }

    fn moves(&self, state: &ShopState) -> Vec<u32> {
        self.legal(state).into_iter().map(|mv| self.id(mv)).collect()
    }

    fn step(&self, state: &ShopState, mv: u32) -> Result<Transition<ShopState>, CoreError> {
        let legal = self.read(mv).filter(|wanted| self.legal(state).contains(wanted));
        let Some(wanted) = legal else {
            return Err(WorldError::range("a move in the shop", "one that this page has", (mv, state)).into());
        };
        let (state, reward) = self.after(state, wanted);
        let done = self.legal(&state).is_empty();
        Ok(Transition { state, reward, done })
    }

    /// The best return from here, by looking at every page that can be reached.
    fn value(&self, state: &ShopState) -> Option<f64> {
        Some(self.best(*state, &mut HashMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(kind: usize, features: u8, colours: usize, price: u32) -> Item {
        Item { kind, features, colours, price }
    }

    /// Four things of kind 0, of which the last, on the second page, is the one that is wanted; in colour 1, for 9.
    fn shop(moves: usize) -> Shop {
        let items = vec![item(0, 0, 1, 5), item(1, 3, 1, 5), item(0, 1, 2, 12), item(0, 0, 1, 3), item(0, 3, 2, 9)];
        Shop::new(items, item(0, 3, 1, 9), 1, moves).unwrap()
    }

    #[test]
    fn a_visit_played_by_hand() {
        let shop = shop(9);
        let mut state = shop.reset(Seed(0));
        assert_eq!(shop.intent(), "buy a thing of kind 0 with the features 0011 in colour 1 for at most 9");
        for mv in [ShopMove::Search(0), ShopMove::Next, ShopMove::Open(0), ShopMove::Choose(1)] {
            let next = shop.step(&state, shop.id(mv)).unwrap();
            assert_eq!((next.reward, next.done, shop.value(&next.state)), (0.0, false, Some(1.0)));
            state = next.state;
        }
        assert_eq!(shop.observation(&state), "item 4: kind 0, features 0011, colour 1 of 2, price 9");
        assert_eq!(shop.moves(&state).len(), 3);
        let end = shop.step(&state, shop.id(ShopMove::Buy)).unwrap();
        assert_eq!((end.reward, end.done, shop.value(&end.state)), (1.0, true, Some(0.0)));
        assert!(shop.moves(&end.state).is_empty() && shop.step(&end.state, 0).is_err());
        assert!(shop.step(&shop.reset(Seed(0)), shop.id(ShopMove::Buy)).is_err() && shop.step(&state, 99).is_err());
    }

    #[test]
    fn what_is_worth_how_much() {
        let shop = shop(9);
        // Kind and price of three; kind, one feature of two and colour; all but the colour.
        let worths = [(0, 0, 2.0), (2, 1, 3.0), (4, 0, 4.0), (1, 0, 3.0)];
        for (item, colour, right) in worths {
            assert_eq!(shop.worth(item, colour), right / 5.0, "{item}");
        }
        // Four moves do not reach the second page's item and its colour: search, next, open, buy gives 4 of 5.
        let values: Vec<Option<f64>> = (1..6).map(self::shop).map(|shop| shop.value(&shop.reset(Seed(0)))).collect();
        assert_eq!(values, [0.0, 0.0, 0.6, 0.8, 1.0].map(Some));
    }

    #[test]
    fn moves_and_ids_are_one_to_one() {
        let shop = shop(9);
        let all = [
            ShopMove::Search(1),
            ShopMove::Open(2),
            ShopMove::Next,
            ShopMove::Back,
            ShopMove::Buy,
            ShopMove::Choose(1),
        ];
        for mv in all {
            assert_eq!(shop.read(shop.id(mv)), Some(mv));
        }
        assert_eq!(shop.read(100), None);
        assert!(Shop::new(vec![], item(0, 0, 1, 1), 0, 5).is_err() && Shop::drawn(Seed(0), 0, 5).is_err());
        assert!(Shop::new(vec![item(0, 0, 0, 1)], item(0, 0, 1, 1), 0, 5).is_err());
        assert!(Shop::new(vec![item(0, 0, 1, 1)], item(0, 0, 1, 1), 0, 0).is_err());
    }

    proptest! {
        #[test]
        fn the_value_is_the_best_over_moves(seed in any::<u64>(), steps in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let shop = Shop::drawn(Seed(seed), 6, 7).unwrap();
            let mut state = shop.reset(Seed(0));
            prop_assert!(shop.value(&state).unwrap() > 0.0);
            for step in steps {
                let moves = shop.moves(&state);
                let ahead = moves.iter().map(|mv| {
                    let next = shop.step(&state, *mv).unwrap();
                    next.reward + shop.value(&next.state).unwrap()
                });
                prop_assert_eq!(shop.value(&state).unwrap(), ahead.fold(0.0, f64::max));
                if moves.is_empty() {
                    break;
                }
                state = shop.step(&state, moves[step.index(moves.len())]).unwrap().state;
            }
        }
    }
}
