//! FLR: what users say next is read as a reward, and pairs that it tells apart align a policy.
//!
//! ```text
//! P(follow-up | reply) ~ exp(± gold + bias of the follow-up)      + thanks and praise, - a correction and a complaint
//! ```
//! The reader is a model of dialogues: a table that learns from replies and what followed, by the loss of next tokens. Nobody
//! says which reply is better. Its reward of a reply, likely thanks less likely complaints, picks the best and the worst of
//! several replies, and DPO learns from these.

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Reduce, Scorer, Seed, Stream, Tokens};
use ascribe::eval::Bootstrap;
use ascribe::eval::pairs::{Ties, pair_accuracy};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::{DpoConfig, Sft};
use ascribe::reward::{FollowUpLikelihood, FollowUps, OverTokens};
use ascribe::worlds::{TokenTree, TreePolicy};

use crate::heads::best;
use crate::reward_table::RewardTable;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own, place_and_last};
use crate::world::{Gold, PROMPTS, VOCABULARY, World, better, bradley_terry, normal};

/// Tokens of a reply; the follow-up is one more.
const LENGTH: usize = 3;
const BETA: f64 = 0.3;
/// Dialogues that a reader has seen.
const FEW: usize = 256;
const MANY: usize = 4096;
/// Labelled pairs of the reward that is trained.
const LABELLED: usize = 256;
const MEASURED: usize = 1000;
/// Replies among which a pair is mined, and how many pairs.
const REPLIES: usize = 4;
const MINED: usize = 256;
/// By how much follow-ups may be right less often than the trained reward.
const MARGIN: f64 = 0.05;

/// FLR's claims.
pub const ROW: Row = Row {
    name: "follow-ups",
    paper: "Aligning Language Models Using Follow-up Likelihood as Reward Signal, arXiv:2409.13948",
    setting: "4 prompts with 64 replies each and one of four follow-ups, two after good and two after bad replies; a table learns \
              follow-ups from 256 or 4096 dialogues without labels; beside it a table of rewards from 256 pairs of a \
              Bradley-Terry rater; accuracy on 1000 pairs; DPO at beta 0.3 on the best and worst of 4 replies, 256 groups",
    seeds: 20,
    claims: &[
        Claim {
            says: "follow-ups tell replies apart without a label",
            more: "accuracy of follow-ups",
            less: "accuracy of a coin",
        },
        Claim {
            says: "they do so as well as a reward that was trained on pairs, but for 0.05",
            more: "accuracy of follow-ups",
            less: "accuracy of the trained reward, less 0.05",
        },
        Claim {
            says: "a reader that learned from more dialogues reads better",
            more: "accuracy of follow-ups",
            less: "accuracy of follow-ups, few dialogues",
        },
        Claim {
            says: "pairs that follow-ups mine improve the policy",
            more: "gold by mined pairs",
            less: "gold of the start",
        },
        Claim {
            says: "more so with the better reader",
            more: "gold by mined pairs",
            less: "gold by mined pairs, few dialogues",
        },
    ],
    tried: "",
    run,
};

/// What users say, as tokens: thanks, praise, a correction, a complaint.
fn categories() -> Vec<FollowUps> {
    let category = |positive: u32, negative: u32| FollowUps {
        positive: vec![Tokens::from(vec![positive])],
        negative: vec![Tokens::from(vec![negative])],
    };
    vec![category(0, 2), category(1, 3)]
}

/// Logits of the follow-ups to a reply.
fn said(gold: f64, biases: &[f64]) -> Vec<f64> {
    let logit = |(at, bias): (usize, &f64)| if at < 2 { gold + bias } else { bias - gold };
    biases.iter().enumerate().map(logit).collect()
}

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let mut stream = seed.stream("biases", 0);
    let biases: Vec<f64> = (0..VOCABULARY).map(|_| 0.5 * normal(&mut stream)).collect();
    let tree = TokenTree::new(VOCABULARY, LENGTH + 2, |_| 0.0)?;
    // Replies of the reference, and what follows: as users say it, or nothing known of it.
    let dialogues = |follow_up: &dyn Fn(&[u32]) -> Vec<f64>| {
        TreePolicy::new(&tree, |path| match world.reference.logps(path) {
            Ok(logps) => logps.to_vec(),
            Err(_) => follow_up(path),
        })
    };
    let users = dialogues(&|path| said(gold.of(path), &biases))?;
    let unread = dialogues(&|_| vec![0.0; VOCABULARY])?;
    let talk = World { tree, reference: unread };
    let few = reader(&talk, &users, FEW, seed)?;
    let many = reader(&talk, &users, MANY, seed)?;

    let labelled = world.pairs(&PROMPTS, LABELLED, seed.child("labelled", 0), |difference, stream: &mut Stream| {
        bradley_terry(2.0 * difference, stream)
    })?;
    let measured = world.pairs(&PROMPTS, MEASURED, seed.child("measured", 0), better)?;
    let training = Training { steps: 200, rate: 0.05, seed };
    let trained = RewardTable::trained(&world, place_and_last, &labelled, training)?;

    let prefix = |episode: &Episode| -> Result<Tokens, CoreError> { Ok(episode.tokens.clone()) };
    let by_few = FollowUpLikelihood::new(&few, prefix, categories(), OverTokens::Mean)?;
    let by_many = FollowUpLikelihood::new(&many, prefix, categories(), OverTokens::Mean)?;
    let head = accuracy(&trained, &measured)?;
    Ok(vec![
        ("accuracy of follow-ups".into(), accuracy(&by_many, &measured)?),
        ("accuracy of follow-ups, few dialogues".into(), accuracy(&by_few, &measured)?),
        ("accuracy of a coin".into(), 0.5),
        ("accuracy of the trained reward".into(), head),
        ("accuracy of the trained reward, less 0.05".into(), head - MARGIN),
        ("gold of the start".into(), world.gold(&world.reference)?),
        ("gold by mined pairs".into(), aligned(&world, &by_many, training)?),
        ("gold by mined pairs, few dialogues".into(), aligned(&world, &by_few, training)?),
        ("gold by mined pairs of the trained reward".into(), aligned(&world, &trained, training)?),
    ])
}

/// A model of what follows, from so many dialogues, the prompts in turn.
fn reader(talk: &World, users: &TreePolicy, dialogues: usize, seed: Seed) -> Result<TreePolicy> {
    let mut rows = Vec::with_capacity(dialogues);
    for prompt in PROMPTS {
        for words in talk.samples(users, prompt, dialogues / PROMPTS.len(), seed.child("dialogues", prompt.into()))? {
            let (reply, follow_up) = words.split_at(LENGTH);
            rows.push(TrainRow::single([&[prompt][..], reply].concat(), follow_up));
        }
    }
    let table = Table { world: talk, reference: &talk.reference, state: own };
    table.trained(&Sft, &rows, Training { steps: 300, rate: 0.05, seed })
}

/// What a reward gives replies to their prompts.
fn rewards(reward: &dyn Scorer, replies: &[Episode]) -> Result<Vec<f64>> {
    let credits = reward.score(replies)?;
    let one = |(credit, reply): (&Credit, &Episode)| -> Result<f64> {
        Ok(f64::from(credit.to_sequence(reply, Reduce::Sum)?))
    };
    credits.iter().zip(replies).map(one).collect()
}

/// How often a reward is larger for the better reply.
fn accuracy(reward: &dyn Scorer, pairs: &[TrainRow]) -> Result<f64> {
    let side = |at: usize| {
        let replies: Vec<Episode> =
            pairs.iter().map(|row| Episode::new(&row.prompt, &row.responses[at].tokens)).collect();
        rewards(reward, &replies)
    };
    Ok(pair_accuracy(&side(0)?, &side(1)?, Ties::Strict, &Bootstrap::NONE)?.accuracy.value)
}

/// Gold of DPO on the best and the worst of a few replies, by a reward.
fn aligned(world: &World, reward: &dyn Scorer, training: Training) -> Result<f64> {
    let mut rows = Vec::with_capacity(MINED);
    for group in 0..MINED {
        let prompt = PROMPTS[group % PROMPTS.len()];
        let seed = training.seed.child("mined", group as u64);
        let replies = world.samples(&world.reference, prompt, REPLIES, seed)?;
        let episodes: Vec<Episode> = replies.iter().map(|reply| Episode::new(&[prompt], reply)).collect();
        let values = rewards(reward, &episodes)?;
        let turned: Vec<f64> = values.iter().map(|value| -value).collect();
        let (first, last) = (best(&values), best(&turned));
        // Replies that are all alike say nothing.
        if values[first] > values[last] {
            rows.push(TrainRow::pair(vec![prompt], replies[first].clone(), replies[last].clone()));
        }
    }
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let table = Table { world, reference: &world.reference, state: place_and_last };
    world.gold(&table.trained(&dpo, &rows, training)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_thank_for_what_is_good() {
        assert_eq!(said(2.0, &[0.5, 0.0, 0.5, 0.0]), [2.5, 2.0, -1.5, -2.0]);
        // With every follow-up equally usual, the reward is twice the gold: (2 g + 2 g) / 2.
        let tree = TokenTree::new(VOCABULARY, 2, |_| 0.0).unwrap();
        let users = TreePolicy::new(&tree, |path| said(if path.is_empty() { 0.0 } else { 1.5 }, &[0.0; 4])).unwrap();
        let prefix = |episode: &Episode| -> Result<Tokens, CoreError> { Ok(episode.tokens.clone()) };
        let reward = FollowUpLikelihood::new(&users, prefix, categories(), OverTokens::Mean).unwrap();
        let of = rewards(&reward, &[Episode::new(&[], &[1])]).unwrap();
        assert!((of[0] - 3.0).abs() < 1e-5, "{of:?}");
    }
}
