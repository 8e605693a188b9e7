//! A reward model that judges what a policy writes, in training and in search.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail};
use ascribe::burn::tensor::Device;
use ascribe::core::{CoreError, Credit, Episode, Scorer, Tokens};
use ascribe::data::Prompt;
use ascribe::lm::Row;
use ascribe::preference::Encoder;
use ascribe::reward::{Reading, RewardCard, RewardError, RewardModel, Scored, Standard};

/// A reward model with the prompts that it may be asked about. It reads texts in its own tokenizer and template.
///
/// The reward of a general preference model is the mean of `s(i > j) / tau` over all K responses j to the prompt that it is
/// asked about at once, the response itself included: arXiv:2410.02197, section 5. These sum up to 0 for each prompt, and so do
/// its win rates less one half, the mean of `sigmoid(s(i > j) / tau)`: arXiv:2405.00675, eq. 4.7.
pub struct Judge {
    model: RewardModel,
    /// By the tokens that the policy reads.
    prompts: HashMap<Tokens, Prompt>,
    /// What its rewards are brought to.
    standard: Standard,
    /// Whether it tells win rates less one half.
    win_rates: bool,
}

impl Judge {
    /// The reward model in `folder`, and prompts by the tokens that the policy reads.
    pub fn open(
        folder: &Path,
        device: &Device,
        prompts: impl IntoIterator<Item = (Tokens, Prompt)>,
    ) -> anyhow::Result<Self> {
        eprintln!("loading {}", folder.display());
        let model = RewardModel::load(folder, device);
        let model = model.with_context(|| format!("the reward model `{}`", folder.display()))?;
        Ok(Self { model, prompts: prompts.into_iter().collect(), standard: Standard::NONE, win_rates: false })
    }

    /// The same with rewards on its own scale.
    pub fn standardized(self) -> anyhow::Result<Self> {
        let standard = self.model.standard();
        if standard == Standard::NONE {
            bail!(
                "the reward.json of a reward model says nothing of its scale; train it by `train reward`, or drop standardize"
            );
        }
        Ok(Self { standard, ..self })
    }

    /// The same with win rates less one half in place of rewards. Refuses a model that compares no responses.
    pub fn with_win_rates(self) -> anyhow::Result<Self> {
        match self.compares() {
            true => Ok(Self { win_rates: true, ..self }),
            false => bail!("win rates are those of a general preference model; train one by `train reward --loss gpm`"),
        }
    }

    /// Whether it is a general preference model.
    fn compares(&self) -> bool {
        matches!(self.card().reading, Reading::Preference(_))
    }

    /// What its scores mean.
    pub fn card(&self) -> &RewardCard {
        self.model.card()
    }

    /// What the model says of each response; nothing of one that has no token.
    pub fn scored(&self, episodes: &[Episode]) -> Result<Vec<Option<Scored>>, CoreError> {
        self.each(episodes, |rows| self.model.scored(rows))
    }

    /// What `of` says of each response; nothing of one that has no token.
    fn each<T: Clone>(
        &self,
        episodes: &[Episode],
        of: impl Fn(&[Row]) -> Result<Vec<T>, RewardError>,
    ) -> Result<Vec<Option<T>>, CoreError> {
        let model = self.model.model();
        let encoder = Encoder::new(model, model.config.context).map_err(|error| CoreError::Other(Box::new(error)))?;
        let texts = episodes.iter().map(|one| self.read(&encoder, one)).collect::<Result<Vec<_>, CoreError>>()?;
        let mut all = vec![None; episodes.len()];
        let there: Vec<usize> = (0..texts.len()).filter(|at| !texts[*at].1.is_empty()).collect();
        let row = |at: &usize| Row { prompt: &texts[*at].0, response: &texts[*at].1 };
        let rows: Vec<Row> = there.iter().map(row).collect();
        for (at, said) in there.iter().zip(of(&rows)?) {
            all[*at] = Some(said);
        }
        Ok(all)
    }

    /// Ids of the prompt and of the response of an episode.
    fn read(&self, encoder: &Encoder, episode: &Episode) -> Result<(Vec<u32>, Vec<u32>), CoreError> {
        let asked = Tokens::from(episode.prompt_tokens());
        let prompt = self.prompts.get(&asked).ok_or(CoreError::MissingEvidence("the row of the prompt"))?;
        let text = episode.response_text().ok_or(CoreError::MissingEvidence("text"))?;
        let (prompt, responses) = encoder.parts(prompt, &[text]).map_err(|error| CoreError::Other(Box::new(error)))?;
        let mut response = responses.into_iter().next().map(Tokens::into_vec).unwrap_or_default();
        // What was cut has no end, unless that is all it has.
        let ends = self.model.model().tokenizer.eos();
        let ended = response.last().is_some_and(|last| ends.contains(last));
        if !episode.complete && ended && response.len() > 1 {
            response.pop();
        }
        Ok((prompt.into_vec(), response))
    }
}

impl Scorer for Judge {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        // What has no token is judged by nobody.
        if self.win_rates {
            let rates = self.each(episodes, |rows| self.model.win_rates(rows))?;
            let credit = |rate: Option<f64>| Credit::sequence(rate.map_or(f32::NAN, |rate| (rate - 0.5) as f32));
            return Ok(rates.into_iter().map(credit).collect());
        }
        let scored = self.scored(episodes)?;
        let relative = self.compares();
        let mut asked: HashMap<&[u32], f64> = HashMap::new();
        for (episode, _) in episodes.iter().zip(&scored).filter(|(_, scored)| scored.is_some()) {
            *asked.entry(episode.prompt_tokens()).or_default() += 1.0;
        }
        let credit = |(episode, scored): (&Episode, Option<Scored>)| {
            let Some(scored) = scored else { return Credit::sequence(f32::NAN) };
            // The model's own mean is over the others.
            let share = if relative { 1.0 - 1.0 / asked[episode.prompt_tokens()] } else { 1.0 };
            Credit::sequence(self.standard.apply(share * scored.reward) as f32)
        };
        Ok(episodes.iter().zip(scored).map(credit).collect())
    }
}

/// Refuses an ensemble of reward models, each with its name, whose rewards mean different things, so that no common scale is
/// known.
pub fn on_one_scale(members: &[(String, RewardCard)]) -> anyhow::Result<()> {
    let Some(((first, card), others)) = members.split_first() else { return Ok(()) };
    let first_gives = gives(&card.reading);
    for (name, other) in others {
        let other_gives = gives(&other.reading);
        if other_gives != first_gives {
            bail!(
                "`{name}` gives {other_gives} and `{first}` {first_gives}, which are not on one scale; bring each to its own by \
                 standardize, or leave one out"
            );
        }
    }
    Ok(())
}

/// What a reward is that is read so.
fn gives(reading: &Reading) -> String {
    match reading {
        Reading::Score | Reading::Preference(_) | Reading::Concepts { .. } => "log-odds".to_owned(),
        Reading::Attributes { names, .. } => format!("a weighted sum of {}", names.join(", ")),
        Reading::Heads { .. } => "ratings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ascribe::core::Text;
    use ascribe_testkit::golden;

    use super::*;

    #[test]
    fn rewards_of_different_meanings_make_no_ensemble() {
        let member = |name: &str, reading: Reading| (name.to_owned(), RewardCard { reading, ..RewardCard::default() });
        let attributes = |name: &str, of: &str, weight: f64| {
            member(name, Reading::Attributes { names: vec![of.to_owned()], weights: vec![weight] })
        };
        let heads = member("heads", Reading::Heads { lambda: 0.5 });
        let score = member("score", Reading::Score);
        let concepts =
            member("concepts", Reading::Concepts { names: vec![], joint: vec![[0.0; 2]], weights: [1.0, 1.0, 0.0] });
        let said = |members: &[(String, RewardCard)]| on_one_scale(members).err().map(|error| error.to_string());
        assert_eq!((said(&[]), said(std::slice::from_ref(&heads))), (None, None));
        assert_eq!(said(&[score.clone(), concepts, score.clone()]), None);
        // The weights of the same attributes may differ.
        assert_eq!(said(&[attributes("a", "helpful", 1.0), attributes("b", "helpful", 2.0)]), None);
        let refused = said(&[score, heads]).unwrap();
        assert!(refused.contains("`heads` gives ratings and `score` log-odds") && refused.contains("standardize"));
        let refused = said(&[attributes("a", "helpful", 1.0), attributes("b", "polite", 1.0)]).unwrap();
        assert!(refused.contains("`b` gives a weighted sum of polite and `a` a weighted sum of helpful"), "{refused}");
    }

    #[test]
    fn a_judge_on_its_own_scale_says_the_same_of_another_zero() {
        let device = crate::device::device("flex").unwrap();
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(golden::root().join("lm").join("llama_seqcls")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let open =
            || Judge::open(folder.path(), &device, [(Tokens::from(vec![7u32]), Prompt::Text("what?".to_owned()))]);
        let score = |judge: Judge| {
            let text = Text { spans: vec![0..5, 5..9], text: "what? yes".to_owned() };
            f64::from(judge.score(&[Episode::new(&[7], &[9]).with_text(text).unwrap()]).unwrap()[0].values()[0])
        };
        let raw = score(open().unwrap());
        assert!(open().unwrap().standardized().is_err(), "nothing is known of its scale");
        std::fs::write(folder.path().join("reward.json"), "{\"standard\": {\"mean\": 0.5, \"std\": 2.0}}").unwrap();
        assert!((score(open().unwrap()) - raw).abs() < 1e-6);
        assert!((score(open().unwrap().standardized().unwrap()) - (raw - 0.5) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_judge_reads_texts_in_its_own_words() {
        let folder = golden::root().join("lm").join("llama_seqcls");
        let device = crate::device::device("flex").unwrap();
        // The words of the policy are its own: 7 is the prompt, and 9 is all that it writes.
        let asked = (Tokens::from(vec![7u32]), Prompt::Text("what?".to_owned()));
        let judge = Judge::open(&folder, &device, [asked]).unwrap();
        let score = |response: &str, complete: bool| {
            let whole = format!("what?{response}");
            let text = Text { spans: vec![0..5, 5..whole.len()], text: whole };
            let episode = Episode::new(&[7], &[9]).with_text(text).unwrap();
            judge.score(&[Episode { complete, ..episode }]).unwrap()[0].values()[0]
        };
        let tokenizer = &judge.model.model().tokenizer;
        let (prompt, response) = (tokenizer.encode_with_special("what?").unwrap(), tokenizer.encode(" yes").unwrap());
        let reward =
            |response: &[u32]| judge.model.scored(&[Row { prompt: &prompt, response }]).unwrap()[0].reward as f32;
        assert_eq!(score(" yes", true), reward(&[response.as_slice(), &tokenizer.eos()[..1]].concat()));
        assert_eq!(score(" yes", false), reward(&response));
        assert_eq!(score("", false), reward(&tokenizer.eos()[..1]));
        assert!(judge.score(&[Episode::new(&[8], &[9])]).is_err(), "a prompt that it was not told");
    }
}
