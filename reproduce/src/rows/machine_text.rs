//! ReMoDetect: a reward model already tells aligned machine text from people's, and more so after continual tuning.
//!
//! Texts are vectors of features. A machine writes the best of four by the gold reward, in a style of its own; people write as
//! the base policy does; mixed text lies between. The reward model learns preferences first, and is then tuned on machine, mixed
//! and human text while it is held to its first scores on the preferences. AUROC and the share of machine text that is found where
//! 1 % of human text is taken for it are on other texts.

use anyhow::Result;
use ascribe::core::{Loss, Seed, Stream};
use ascribe::eval::auroc;
use ascribe::eval::classify::{Between, Curve};
use ascribe::reward::losses::{BradleyTerryConfig, MachineText, MachineTextConfig, replay};
use ascribe::reward::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};
use ascribe::worlds::{Annotator, Taste};
use burn::tensor::Tensor;

use crate::heads::{Head, Sample, Training, Widths, best, train};
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const FEATURES: usize = 16;
const BENDS: usize = 4;
const TEXTS: usize = 400;
const TESTS: usize = 1000;
const FLIPS: f64 = 0.2;
/// Deviation of the machine's style in each feature.
const STYLE: f64 = 0.15;
const REPLAY: f64 = 0.01;
/// The share of human text that may be taken for a machine's.
const FALSE_ALARMS: f64 = 0.01;

/// ReMoDetect's claims.
pub const ROW: Row = Row {
    name: "machine-text",
    paper: "ReMoDetect: Reward Models Recognize Aligned LLM's Generations, arXiv:2405.17382",
    setting: "texts of 16 features, 400 preferences of which 20 % are flipped, 400 texts each of a machine, mixed and of people; a \
              two-layer head; AUROC, and the true positive rate at a false positive rate of 1 %, on 1000 machine and 1000 human texts",
    seeds: 6,
    claims: &[
        Claim { says: "a reward model detects aligned text untuned", more: "AUROC before", less: "chance" },
        Claim { says: "tuning makes it a better detector", more: "AUROC after", less: "AUROC before" },
        Claim {
            says: "and finds more machine text where 1 % of human text is taken for it",
            more: "TPR at 1 % FPR after",
            less: "TPR at 1 % FPR before",
        },
    ],
    tried: "",
    run,
};

/// The loss on machine, mixed and human text, with a pair of preferences in the same row that is held to its first scores.
struct WithReplay(MachineText);

impl RewardLoss for WithReplay {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { responses: 5, labels: 2, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let texts = (0..3).map(|at| batch.response(at)).collect::<Result<Vec<_>, _>>()?;
        let mut loss = self.0.loss(&ScoreBatch::new(3, Tensor::cat(texts, 0))?)?;
        for side in 0..2 {
            loss.rows = loss.rows + replay(batch.score(3 + side)?, &batch.label(side), REPLAY)?; // [rows]
        }
        Ok(loss)
    }
}

/// The machine's text: the best of four by gold, in its style.
fn machine(taste: &Taste, style: &[f64], stream: &mut Stream) -> Vec<f64> {
    let drafts: Vec<Vec<f64>> = (0..4).map(|_| taste.response(stream)).collect();
    let golds: Vec<f64> = drafts.iter().map(|draft| taste.gold(draft)).collect();
    drafts[best(&golds)].iter().zip(style).map(|(x, style)| x + style).collect()
}

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let mut stream = seed.stream("style", 0);
    let style: Vec<f64> = (0..FEATURES).map(|_| STYLE * normal(&mut stream)).collect();
    let annotator = Annotator { flips: FLIPS, ..Annotator::default() };
    let pairs = annotator.comparisons(&taste, TEXTS, &mut seed.stream("pairs", 0));
    let rows: Vec<Sample> = pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect();
    let head = Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, seed.child("head", 0));
    let preference = BradleyTerryConfig::default().init()?;
    let head = train(head, &preference, &rows, Training { steps: 200, rate: 1e-2, seed })?;

    let mut stream = seed.stream("texts", 0);
    let mut tuning = Vec::with_capacity(TEXTS);
    for row in &rows {
        let (by_machine, by_people) = (machine(&taste, &style, &mut stream), taste.response(&mut stream));
        let mixed: Vec<f64> = by_machine.iter().zip(&by_people).map(|(a, b)| 0.5 * (a + b)).collect();
        let first = head.rewards(&row.responses);
        tuning.push(Sample {
            responses: [vec![by_machine, mixed, by_people], row.responses.clone()].concat(),
            labels: first,
        });
    }
    let loss = WithReplay(MachineTextConfig::default().init()?);
    let tuned =
        train(head.clone(), &loss, &tuning, Training { steps: 200, rate: 3e-3, seed: seed.child("tuning", 0) })?;

    let mut stream = seed.stream("tests", 0);
    let mut texts: Vec<Vec<f64>> = (0..TESTS).map(|_| machine(&taste, &style, &mut stream)).collect();
    texts.extend((0..TESTS).map(|_| taste.response(&mut stream)));
    let is_machine: Vec<bool> = (0..2 * TESTS).map(|at| at < TESTS).collect();
    let mut figures = vec![("chance".into(), 0.5)];
    for (when, head) in [("before", &head), ("after", &tuned)] {
        let scores = head.rewards(&texts);
        figures.push((format!("AUROC {when}"), auroc(&scores, &is_machine)?));
        let found = Curve::new(&scores, &is_machine)?.tpr_at_fpr(FALSE_ALARMS, Between::Step)?;
        figures.push((format!("TPR at 1 % FPR {when}"), found));
    }
    Ok(figures)
}
