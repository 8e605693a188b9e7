//! `ascribe score --reward`: rewards of given completions by a reward model, or by several.

use std::path::PathBuf;

use anyhow::{Context, bail};
use ascribe::data::{Prompt, Rows};
use ascribe::lm::Row;
use ascribe::preference::Encoder;
use ascribe::reward::weights::{Treatment, strengths, treat};
use ascribe::reward::{Aggregate, Reading, RewardModel, Scored, Standard, Writing};
use serde_json::{Map, Value, json};

use crate::args::{RewardedArgs, ScoreArgs, VoteName};
use crate::device::device;
use crate::hub::resolve;
use crate::judge::on_one_scale;
use crate::output::{Progress, print_line};
use crate::score::{messages_of, next_batch, place};

pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    if args.reference.is_some() || args.adapter.is_some() || !args.served.endpoints.is_empty() {
        bail!(
            "reference, adapter and endpoint belong to log-probabilities; with --reward name the folder of an adapter itself"
        );
    }
    if let Some(name) = ["beta", "weights"].into_iter().find(|name| args.given.has(name)) {
        bail!("{name} belongs to log-probabilities; drop it with --reward");
    }
    let judges = Judges::open(&args.rewarded, &args.common.device)?.context("name a reward model with --reward")?;
    if args.vote.is_some() && judges.members.len() < 2 {
        bail!("a vote needs several reward models, with commas between them; name more, or drop vote");
    }
    // A broken line anywhere refuses the whole file, before the first line is written.
    let mut total = 0;
    for row in Rows::open(&args.input)? {
        let (number, row) = row?;
        let given = Given::of(&row).with_context(|| place(&args.input, number))?;
        given.check(args.pairs).with_context(|| place(&args.input, number))?;
        judges.encode(&given).with_context(|| place(&args.input, number))?;
        if args.vote.is_some() && given.form != Form::Pair {
            bail!("{}: a vote is on pairs, and the row has no `chosen` and `rejected`", place(&args.input, number));
        }
        total += 1;
    }
    let mut rows = Rows::open(&args.input)?;
    let mut progress = Progress::new("score", total);
    let mut done = 0;
    loop {
        let batch = next_batch(&mut rows, done, total)?;
        if batch.is_empty() {
            return Ok(());
        }
        let given = batch.iter().map(|(_, row)| Given::of(row)).collect::<anyhow::Result<Vec<_>>>()?;
        let judged = judges.judge(&given)?;
        done += batch.len();
        for (((_, mut row), given), judged) in batch.into_iter().zip(given).zip(judged) {
            if let Some(least) = args.pairs {
                let rewards: Vec<f64> = judged.iter().map(|one| one.reward).collect();
                given.print_pair(&rewards, least)?;
                continue;
            }
            given.write(&judged, judges.written_as(), &mut row);
            if let Some(vote) = args.vote {
                voted(vote, &judged, &mut row)?;
            }
            print_line(&Value::Object(row).to_string())?;
        }
        progress.at(done);
    }
}

/// Reward models whose rewards become one.
pub struct Judges {
    members: Vec<RewardModel>,
    aggregate: Aggregate,
    /// Whether each is brought to its own scale first.
    standardize: bool,
}

/// What is said of one response.
#[derive(Clone)]
struct Judged {
    reward: f64,
    /// The reward by each member.
    members: Vec<f64>,
    /// Whether it lost tokens to the context of a member.
    cut: bool,
    /// What a member wrote before it scored; a list where several did.
    written: Value,
    /// What a member believes of the label and of concepts; a list where several do.
    belief: Value,
}

/// Responses to one prompt, and how they stand in their row.
pub(crate) struct Given {
    pub(crate) prompt: Prompt,
    pub(crate) responses: Vec<String>,
    form: Form,
}

/// How responses stand in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `completion`, or the last message of `messages`.
    One,
    /// `completions`; or lists of `chosen` and `rejected` ones, as in RewardBench 2, the chosen first.
    List,
    /// `chosen` and `rejected`.
    Pair,
}

/// Token ids of a prompt and of its responses.
type Texts = (Vec<u32>, Vec<Vec<u32>>);

impl Judges {
    /// The reward models that are named; `None` where none is.
    pub fn open(args: &RewardedArgs, device_name: &str) -> anyhow::Result<Option<Self>> {
        if args.reward.is_empty() {
            return Ok(None);
        }
        let (aggregate, device) = (args.aggregate()?, device(device_name)?);
        let load = |path: &PathBuf| -> anyhow::Result<RewardModel> {
            eprintln!("loading {}", path.display());
            let model = RewardModel::load(&resolve(path)?, &device);
            let model = match args.concepts.is_empty() {
                true => model,
                false => model.and_then(|model| model.with_concepts(&args.concepts)),
            };
            let model = model.with_context(|| format!("the reward model `{}`", path.display()))?;
            if args.standardize && model.standard() == Standard::NONE {
                bail!(
                    "the reward.json of `{}` says nothing of its scale; train it by `train reward`, or drop standardize",
                    path.display()
                );
            }
            Ok(model)
        };
        let members = args.reward.iter().map(load).collect::<anyhow::Result<Vec<RewardModel>>>()?;
        let named = || args.reward.iter().map(|path| path.display().to_string()).zip(&members);
        if !args.standardize {
            on_one_scale(&named().map(|(name, member)| (name, member.card().clone())).collect::<Vec<_>>())?;
        }
        let tokenizers: Vec<(String, String)> =
            named().map(|(name, member)| (name, member.model().tokenizer.hash())).collect();
        for (name, hash) in tokenizers.iter().skip(1) {
            if *hash != tokenizers[0].1 {
                eprintln!(
                    "`{name}` has another tokenizer than `{}`: each reads a text in its own tokens, and cuts a long one where its \
                     own context ends",
                    tokenizers[0].0
                );
            }
        }
        Ok(Some(Self { members, aggregate, standardize: args.standardize }))
    }

    /// What the texts that members write are called.
    fn written_as(&self) -> &'static str {
        match self.members.iter().find_map(|member| member.card().writes.as_ref()) {
            Some(Writing::Trace { .. }) => "trace",
            Some(Writing::Critique { .. }) | None => "critique",
        }
    }

    /// Puts the best of several responses to a prompt first; their rewards. Equal ones keep their order.
    pub fn rank(&self, prompt: Prompt, responses: &mut Vec<String>) -> anyhow::Result<Vec<f64>> {
        let given = Given { prompt, responses: std::mem::take(responses), form: Form::List };
        let judged = self.judge(std::slice::from_ref(&given))?.concat();
        let mut ranked: Vec<(f64, String)> = judged.iter().map(|one| one.reward).zip(given.responses).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (rewards, ordered): (Vec<f64>, Vec<String>) = ranked.into_iter().unzip();
        *responses = ordered;
        Ok(rewards)
    }

    /// The texts of a row for each member, which has its own tokenizer and template.
    fn encode(&self, given: &Given) -> anyhow::Result<Vec<Texts>> {
        let responses: Vec<&str> = given.responses.iter().map(String::as_str).collect();
        let one = |member: &RewardModel| -> anyhow::Result<Texts> {
            let encoder = Encoder::new(member.model(), member.model().config.context)?;
            let (prompt, responses) = encoder.parts(&given.prompt, &responses)?;
            if responses.iter().any(|ids| ids.is_empty()) {
                bail!("a response needs at least one token; drop the rows without any");
            }
            let relative = matches!(member.card().reading, Reading::Preference(_));
            if relative && responses.len() < 2 {
                bail!("a general preference model compares responses: give `completions`, or `chosen` and `rejected`");
            }
            Ok((prompt.into_vec(), responses.into_iter().map(|ids| ids.into_vec()).collect()))
        };
        self.members.iter().map(one).collect()
    }

    /// What is said of each response of each row.
    fn judge(&self, given: &[Given]) -> anyhow::Result<Vec<Vec<Judged>>> {
        let texts = given.iter().map(|row| self.encode(row)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut by_member = Vec::with_capacity(self.members.len());
        for (at, member) in self.members.iter().enumerate() {
            let of_member: Vec<&Texts> = texts.iter().map(|row| &row[at]).collect();
            by_member.push(scored(member, &of_member)?);
        }
        let mut judged = Vec::with_capacity(given.len());
        for (row, given) in given.iter().enumerate() {
            let one = |response: usize| -> anyhow::Result<Judged> {
                let mut members = Vec::with_capacity(self.members.len());
                for (member, scores) in self.members.iter().zip(&by_member) {
                    let reward = scores[row][response].reward;
                    members.push(if self.standardize { member.standard().apply(reward) } else { reward });
                }
                let cut = by_member.iter().any(|scores| scores[row][response].cut);
                let written: Vec<&String> =
                    by_member.iter().filter_map(|scores| scores[row][response].written.as_ref()).collect();
                let written = match written.as_slice() {
                    [] => Value::Null,
                    [one] => json!(one),
                    several => json!(several),
                };
                let beliefs = self.members.iter().zip(&by_member);
                let beliefs: Vec<Value> =
                    beliefs.filter_map(|(member, scores)| belief(member, &scores[row][response])).collect();
                let belief = match beliefs.as_slice() {
                    [] => Value::Null,
                    [one] => one.clone(),
                    several => json!(several),
                };
                Ok(Judged { reward: self.aggregate.of(&members)?, members, cut, written, belief })
            };
            judged.push((0..given.responses.len()).map(one).collect::<anyhow::Result<Vec<_>>>()?);
        }
        Ok(judged)
    }
}

/// Probabilities of the good label and of the concepts, by name.
fn belief(member: &RewardModel, scored: &Scored) -> Option<Value> {
    let (Some(inferred), Reading::Concepts { names, .. }) = (&scored.inferred, &member.card().reading) else {
        return None;
    };
    let concepts: Map<String, Value> =
        names.iter().zip(&inferred.concepts).map(|(name, there)| (name.clone(), json!(there))).collect();
    Some(json!({"good": inferred.good, "concepts": concepts}))
}

/// The rewards of all rows by one member: together, or row by row where responses are compared.
fn scored(member: &RewardModel, texts: &[&Texts]) -> anyhow::Result<Vec<Vec<Scored>>> {
    let mut rows: Vec<Vec<Row>> = Vec::with_capacity(texts.len());
    for (prompt, responses) in texts {
        rows.push(responses.iter().map(|response| Row { prompt, response }).collect());
    }
    if let Reading::Preference(_) = member.card().reading {
        return rows.iter().map(|row| Ok(member.scored(row)?)).collect();
    }
    let mut all = member.scored(&rows.concat())?.into_iter();
    Ok(rows.iter().map(|row| all.by_ref().take(row.len()).collect()).collect())
}

impl Given {
    /// What a row holds.
    pub(crate) fn of(row: &Map<String, Value>) -> anyhow::Result<Self> {
        if let Some(messages) = row.get("messages") {
            let mut messages = messages_of(messages)?;
            let reply = messages
                .pop_if(|message| message.role == "assistant")
                .context("the last message must be the assistant's")?;
            return Ok(Self { prompt: Prompt::Messages(messages), responses: vec![reply.content], form: Form::One });
        }
        let prompt = match row.get("prompt") {
            Some(Value::String(text)) => Prompt::Text(text.clone()),
            Some(messages) => Prompt::Messages(messages_of(messages)?),
            None => return Err(missing(row)),
        };
        let (responses, form) = if let Some(completion) = row.get("completion") {
            (vec![text(completion)?], Form::One)
        } else if let Some(Value::Array(completions)) = row.get("completions") {
            (completions.iter().map(text).collect::<anyhow::Result<_>>()?, Form::List)
        } else if let (Some(chosen), Some(rejected)) = (row.get("chosen"), row.get("rejected")) {
            match (texts(chosen), texts(rejected)) {
                (Some(chosen), Some(rejected)) => ([chosen, rejected].concat(), Form::List),
                _ => (vec![text(chosen)?, text(rejected)?], Form::Pair),
            }
        } else {
            return Err(missing(row));
        };
        if responses.is_empty() {
            bail!("the responses of a row must not be empty");
        }
        Ok(Self { prompt, responses, form })
    }

    /// Checks that a pair can be made of the row, where pairs are asked for.
    pub(crate) fn check(&self, pairs: Option<f64>) -> anyhow::Result<()> {
        if pairs.is_some() && self.form != Form::List {
            bail!("pairs are made of rows with `completions`; generate writes them with -n");
        }
        Ok(())
    }

    /// Prints the best and the worst response, where they are at least so far apart.
    pub(crate) fn print_pair(&self, rewards: &[f64], least: f64) -> anyhow::Result<()> {
        let by = |better: fn(f64, f64) -> bool| {
            (1..rewards.len()).fold(0, |best, at| if better(rewards[at], rewards[best]) { at } else { best })
        };
        let (best, worst) = (by(|a, b| a > b), by(|a, b| a < b));
        let margin = rewards[best] - rewards[worst];
        if margin > 0.0 && margin >= least && self.responses[best] != self.responses[worst] {
            let (chosen, rejected) = (&self.responses[best], &self.responses[worst]);
            let row = json!({"prompt": self.prompt, "chosen": chosen, "rejected": rejected, "margin": margin});
            print_line(&row.to_string())?;
        }
        Ok(())
    }

    /// Adds rewards alone to the row.
    pub(crate) fn put_rewards(&self, rewards: &[f64], row: &mut Map<String, Value>) {
        let judged = |reward: &f64| Judged {
            reward: *reward,
            members: Vec::new(),
            cut: false,
            written: Value::Null,
            belief: Value::Null,
        };
        self.write(&rewards.iter().map(judged).collect::<Vec<_>>(), "", row);
    }

    /// Adds the rewards to the row.
    fn write(&self, judged: &[Judged], written_as: &str, row: &mut Map<String, Value>) {
        let several = judged.iter().any(|one| one.members.len() > 1);
        let mut put = |name: &str, of: &dyn Fn(&Judged) -> Value| match self.form {
            Form::List => {
                row.insert(format!("{name}s"), judged.iter().map(of).collect());
            }
            Form::One | Form::Pair => {
                for (one, side) in judged.iter().zip(["chosen", "rejected"]) {
                    let name = if self.form == Form::Pair { format!("{name}_{side}") } else { name.to_owned() };
                    row.insert(name, of(one));
                }
            }
        };
        put("reward", &|one: &Judged| json!(one.reward));
        if several {
            put("member_reward", &|one: &Judged| json!(one.members));
        }
        if judged.iter().any(|one| !one.written.is_null()) {
            put(written_as, &|one: &Judged| one.written.clone());
        }
        if judged.iter().any(|one| !one.belief.is_null()) {
            put("belief", &|one: &Judged| one.belief.clone());
        }
        if judged.iter().any(|one| one.cut) {
            put("cut", &|one: &Judged| json!(one.cut));
        }
    }
}

/// Smallest and largest margin of a vote.
const MARGINS: [f64; 2] = [0.0, 3.0];

/// Columns that belong to a side of a pair: its text, what is said of it, and what `train critique` and `train themis` learn.
const OF_A_SIDE: [&str; 9] =
    ["*", "reward_*", "member_reward_*", "cut_*", "critique_*", "trace_*", "belief_*", "*_critique", "*_trace"];

/// How likely a label is wrong that a vote is against, where labels are soft.
const SMOOTHING: f64 = 0.1;

/// The vote of the members on a pair, and what becomes of it: Secrets of RLHF II, arXiv:2401.06080.
fn voted(vote: VoteName, judged: &[Judged], row: &mut Map<String, Value>) -> anyhow::Result<()> {
    let side = |at: usize| judged[at].members.iter().map(|reward| vec![*reward]).collect::<Vec<_>>();
    let strengths = strengths(&side(0), &side(1), 0)?;
    let [floor, cap] = MARGINS;
    let treatment = match vote {
        VoteName::Flip => Treatment::Flip,
        VoteName::SoftMargin => Treatment::SmoothAndMargin { a: SMOOTHING, floor, cap },
        VoteName::Tell | VoteName::Margin => Treatment::Margin { floor, cap },
    };
    for (strength, treated) in strengths.iter().zip(treat(&strengths, treatment)?) {
        row.insert("vote_mean".into(), json!(strength.mean));
        row.insert("vote_std".into(), json!(strength.std));
        match vote {
            VoteName::Tell => {}
            VoteName::Margin => {
                row.insert("margin".into(), json!(treated.label.margin));
            }
            VoteName::SoftMargin => {
                row.insert("margin".into(), json!(treated.label.margin));
                row.insert("consistency".into(), json!(treated.label.probability));
            }
            VoteName::Flip => {
                if treated.flipped {
                    OF_A_SIDE.iter().for_each(|column| swap_sides(row, column));
                }
                row.insert("flipped".into(), json!(treated.flipped));
            }
        }
    }
    Ok(())
}

/// Exchanges what stands in two columns of a pair, where both are there; `*` in their name is the side.
fn swap_sides(row: &mut Map<String, Value>, column: &str) {
    let [chosen, rejected] = ["chosen", "rejected"].map(|side| column.replace('*', side));
    if let (Some(first), Some(second)) = (row.get(&chosen).cloned(), row.get(&rejected).cloned()) {
        row.insert(chosen, second);
        row.insert(rejected, first);
    }
}

fn missing(row: &Map<String, Value>) -> anyhow::Error {
    let found: Vec<&str> = row.keys().map(String::as_str).collect();
    anyhow::anyhow!(
        "a row needs `prompt` and `completion`, `completions`, or `chosen` and `rejected`; or `messages`; it has {}",
        found.join(", ")
    )
}

/// A list of replies that are texts.
fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|reply| reply.as_str().map(str::to_owned)).collect()
}

/// A reply: a text, or a list of messages of which the last one is meant.
fn text(value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        messages => Ok(messages_of(messages)?.pop().context("a list of messages must not be empty")?.content),
    }
}
