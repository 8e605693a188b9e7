//! P5: one model over the prompts of several tasks of recommendation, with the loss of a language model.
//!
//! ```text
//! h = sum of w over the words of the prompt;   pi(word | prompt) = softmax(h . w)_word
//! ```
//! The words have one vector each, read and written alike, so what one task says of a user and an item serves the other.

use std::collections::HashMap;

use anyhow::{Context, Result};
use ascribe::core::tensor::Mask;
use ascribe::core::{CoreError, LogpBatch, Loss, Objective, RowKind, Seed};
use ascribe::data::{PromptCompletion, Template};
use ascribe::eval::text::{Gain, OrderTies, Query, Retrieval, Retrieved};
use ascribe::preference::objectives::Sft;
use ascribe::train::{Learned, Learner, Tally, TrainError};
use burn::module::Param;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use rand::RngExt;

use crate::heads::{Training, fit, mean};
use crate::row::{Claim, Figures, Row};
use crate::tabular::indices;
use crate::world::normal;

/// Users, and as many items; those of one kind go together.
const EACH: usize = 24;
const KINDS: usize = 4;
/// Items that a user is seen to take, and how often one is of the user's own kind.
const TAKEN: usize = 3;
const FAITHFUL: f64 = 0.85;
const WIDTH: usize = 8;
const SPREAD: f64 = 0.3;
/// Words of a prompt.
const WORDS: usize = 3;
const ITEMS: &str = "{user} takes what";
const USERS: &str = "{item} goes to";
const UNSEEN: &str = "{user} might want";

/// P5's claims.
pub const ROW: Row = Row {
    name: "one-model-of-tasks",
    paper: "Recommendation as Language Processing (P5), arXiv:2203.13366",
    setting: "domain-only: 24 synthetic users and items of 4 kinds, 3 items taken by each user, mostly of its kind; a bag of words \
              with one vector of 8 a word stands in for a language model; two tasks as templates, what a user takes and who \
              takes an item, in 300 steps of 32 rows; NDCG of the first 6 with the items, or users, of the same kind as relevant",
    seeds: 12,
    claims: &[
        Claim { says: "one model of both tasks recommends items", more: "items, both tasks", less: "items, untrained" },
        Claim { says: "and users", more: "users, both tasks", less: "users, untrained" },
        Claim {
            says: "it does so better than a model that was taught items alone",
            more: "users, both tasks",
            less: "users, items alone",
        },
        Claim {
            says: "it understands a template that it never saw",
            more: "unseen template, both tasks",
            less: "unseen template, untrained",
        },
        Claim {
            says: "better than a model of one task",
            more: "unseen template, both tasks",
            less: "unseen template, items alone",
        },
    ],
    tried: "",
    run,
};

/// The words of a prompt, and the word behind it.
#[derive(Clone)]
struct Sentence {
    words: Vec<usize>,
    next: usize,
}

/// The number of each word: users, then items, then those of the templates.
struct Vocabulary(HashMap<String, usize>);

impl Vocabulary {
    fn new() -> Self {
        let mut words: Vec<String> = (0..EACH).map(|user| format!("u{user}")).collect();
        words.extend((0..EACH).map(|item| format!("i{item}")));
        for template in [ITEMS, USERS, UNSEEN] {
            words.extend(template.split(' ').filter(|word| !word.starts_with('{')).map(str::to_owned));
        }
        Self(words.into_iter().enumerate().map(|(number, word)| (word, number)).collect())
    }

    /// A row in numbers.
    fn read(&self, row: &PromptCompletion) -> Result<Sentence> {
        let number = |word: &str| self.0.get(word).copied().with_context(|| format!("no word is `{word}`"));
        let words = row.prompt.key().split(' ').map(number).collect::<Result<Vec<usize>>>()?;
        Ok(Sentence { words, next: number(row.completion.trim())? })
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let vocabulary = Vocabulary::new();
    let templates = [(ITEMS, " {item}"), (USERS, " {user}"), (UNSEEN, " {item}")];
    let [items, users, unseen] = templates.map(|(prompt, completion)| Template::new(prompt, completion));
    let (items, users, unseen) = (items?, users?, unseen?);
    let row = |template: &Template, user: usize, item: usize| -> Result<Sentence> {
        let (user, item) = (format!("u{user}"), format!("i{item}"));
        vocabulary.read(&template.row(&[("user", user.as_str()), ("item", item.as_str())])?)
    };
    let (mut of_items, mut of_users) = (Vec::new(), Vec::new());
    for (user, item) in taken(seed) {
        of_items.push(row(&items, user, item)?);
        of_users.push(row(&users, user, item)?);
    }
    let training = Training { steps: 300, rate: 0.02, seed };
    let start = fresh(vocabulary.0.len(), seed);
    let both = fit(&Bag, start.clone(), &[&of_items[..], &of_users[..]].concat(), training)?;
    let alone = fit(&Bag, start.clone(), &of_items, training)?;
    let asked = |template: &Template| -> Result<Vec<Sentence>> {
        (0..EACH).map(|number| row(template, number, number)).collect()
    };
    let tasks =
        [("items", asked(&items)?, EACH), ("users", asked(&users)?, 0), ("unseen template", asked(&unseen)?, EACH)];
    let mut figures = Figures::new();
    for (name, model) in [("untrained", &start), ("both tasks", &both), ("items alone", &alone)] {
        for (task, asked, first) in &tasks {
            figures.push((format!("{task}, {name}"), ndcg(model, asked, *first)?));
        }
    }
    Ok(figures)
}

/// Which user takes which item.
fn taken(seed: Seed) -> Vec<(usize, usize)> {
    let mut stream = seed.stream("taken", 0);
    let mut taken = Vec::with_capacity(EACH * TAKEN);
    for user in 0..EACH {
        for _ in 0..TAKEN {
            let any = stream.random_range(0..EACH);
            let own = any / KINDS * KINDS + user % KINDS;
            taken.push((user, if stream.random::<f64>() < FAITHFUL { own } else { any }));
        }
    }
    taken
}

/// Vectors of normal draws.
fn fresh(words: usize, seed: Seed) -> Embedding {
    let mut stream = seed.stream("words", 0);
    let values: Vec<f32> = (0..words * WIDTH).map(|_| (SPREAD * normal(&mut stream)) as f32).collect();
    let weight = Tensor::<2>::from_data(TensorData::new(values, [words, WIDTH]), &Device::flex().autodiff());
    Embedding { weight: Param::from_tensor(weight) }
}

/// Learns the vectors.
struct Bag;

/// The logit of every word behind each prompt, `[rows, words]`.
fn logits(model: &Embedding, rows: &[&Sentence]) -> Tensor<2> {
    let vectors = model.weight.val(); // [words, width]
    let words = rows.iter().flat_map(|row| row.words.iter().map(|word| *word as i64)).collect();
    let of_words = vectors.clone().select(0, indices(words, &vectors.device())); // [rows * 3, width]
    let of_words: Tensor<3> = of_words.reshape([rows.len(), WORDS, WIDTH]); // [rows, 3, width]
    let prompts: Tensor<2> = of_words.sum_dim(1).reshape([rows.len(), WIDTH]); // [rows, width]
    prompts.matmul(vectors.transpose()) // [rows, words]
}

impl Bag {
    fn loss(&self, model: &Embedding, rows: &[&Sentence]) -> Result<Loss, CoreError> {
        let logps = log_softmax(logits(model, rows), 1); // [rows, words]
        let device = logps.device();
        let next = indices(rows.iter().map(|row| row.next as i64).collect(), &device).reshape([rows.len(), 1]); // [rows, 1]
        let mask = Mask::from_rows(&vec![vec![true]; rows.len()], &device);
        Sft.loss(&LogpBatch::new(RowKind::Single, logps.gather(1, next), mask)?)
    }
}

impl Learner for Bag {
    type Model = Embedding;
    type Row = Sentence;

    fn learn(&self, model: &Embedding, rows: &[&Sentence]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Embedding, rows: &[&Sentence]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows)?, 0))
    }
}

/// How well the words from `first` on that are of a prompt's kind stand before the others of theirs, a mean over prompts; prompt
/// `n` is of user or item `n`.
fn ndcg(model: &Embedding, asked: &[Sentence], first: usize) -> Result<f64> {
    let rows: Vec<&Sentence> = asked.iter().collect();
    let logits = logits(model, &rows); // [rows, words]
    let words = logits.dims()[1];
    let scores: Vec<f64> = logits.into_data().iter::<f64>().collect();
    let measure = Retrieval::Ndcg { k: EACH / KINDS, gain: Gain::Linear };
    let mut values = Vec::with_capacity(asked.len());
    for (number, scores) in scores.chunks(words).enumerate() {
        let relevance = (0..EACH).map(|other| f64::from(u8::from(other % KINDS == number % KINDS))).collect();
        let query = Query { relevance, scores: scores[first..first + EACH].to_vec() };
        values.extend(measure.of(&query, OrderTies::Expected, Retrieved::All)?);
    }
    Ok(mean(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_take_items_of_their_kind_mostly() {
        let taken: Vec<(usize, usize)> = (0..40).flat_map(|seed| taken(Seed(seed))).collect();
        let own = taken.iter().filter(|(user, item)| user % KINDS == item % KINDS).count() as f64;
        // 0.85 + 0.15 / 4, of 2880; the standard deviation is 0.006.
        assert!((own / taken.len() as f64 - 0.8875).abs() < 0.025, "{own} of {}", taken.len());
    }

    #[test]
    fn logits_by_hand() {
        // Vectors of a unit each: word n has 1 at place n % 8, so words are alike where their numbers agree modulo 8.
        let unit = |place: usize| if place % WIDTH == place / WIDTH % WIDTH { 1.0f32 } else { 0.0 };
        let values: Vec<f32> = (0..16 * WIDTH).map(unit).collect();
        let weight = Tensor::<2>::from_data(TensorData::new(values, [16, WIDTH]), &Device::flex().autodiff());
        let model = Embedding { weight: Param::from_tensor(weight) };
        let row = Sentence { words: vec![1, 9, 2], next: 0 };
        let logits: Vec<f64> = logits(&model, &[&row]).into_data().iter::<f64>().collect();
        // h = 2 e_1 + e_2.
        assert_eq!(logits[..4], [0.0, 2.0, 1.0, 0.0]);
        assert_eq!(logits[8..12], [0.0, 2.0, 1.0, 0.0]);
    }
}
