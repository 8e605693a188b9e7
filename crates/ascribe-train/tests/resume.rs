//! What a run must survive: being killed, a full disk, a loss that is no number, another way to split the batch.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use ascribe_core::Seed;
use ascribe_lm::{Decoder, LanguageModel, LoraConfig, Row};
use ascribe_testkit::device::{device, values};
use ascribe_testkit::golden::{close, root};
use ascribe_train::{
    Checkpoints, Fit, FitConfig, Learned, Learner, OptimArgs, OptimKind, Progress, ScheduleKind, StepReport, Tally,
    TrainError, evaluate,
};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// A prompt and a response.
type Pair = (Vec<u32>, Vec<u32>);

/// Next-token learning of the response. A response that begins with `poison` gives a loss that is not a number.
struct NextToken {
    poison: Option<u32>,
}

fn asked<'r>(rows: &[&'r Pair]) -> Vec<Row<'r>> {
    rows.iter().copied().map(|(prompt, response)| Row { prompt, response }).collect()
}

const SOUND: NextToken = NextToken { poison: None };

impl NextToken {
    fn losses(&self, model: &Decoder, rows: &[&Pair]) -> Result<(Tensor<1>, Tally), TrainError> {
        let (logps, mask) = model.response_logps(&asked(rows))?;
        let losses = mask.sum(logps).neg();
        let spoilt = self.poison.is_some() && rows.iter().any(|(_, response)| response.first() == self.poison.as_ref());
        let losses = if spoilt { losses.mul_scalar(f64::NAN) } else { losses };
        let host = values(losses.clone());
        let tally = Tally {
            loss: host.iter().sum(),
            weight: rows.iter().map(|(_, response)| response.len() as f64).sum(),
            tokens: rows.iter().map(|(prompt, response)| (prompt.len() + response.len()) as u64).sum(),
            stats: vec![("nats", host)],
        };
        Ok((losses.sum(), tally))
    }
}

impl Learner for NextToken {
    type Model = Decoder;
    type Row = Pair;

    fn learn(&self, model: &Decoder, rows: &[&Pair]) -> Result<Learned, TrainError> {
        let (loss, tally) = self.losses(model, rows)?;
        Ok(Learned { gradients: GradientsParams::from_grads(loss.backward(), model), tally })
    }

    fn tokens(&self, rows: &[&Pair]) -> Option<usize> {
        Some(Row::packed_tokens(&asked(rows)))
    }

    fn measure(&self, model: &Decoder, rows: &[&Pair]) -> Result<Tally, TrainError> {
        Ok(self.losses(model, rows)?.1)
    }
}

fn rows() -> Vec<Pair> {
    let ids = |from: u32, n: u32| (0..n).map(|at| (from * 53 + at * 29) % 400 + 1).collect();
    (0..8).map(|n| (ids(n, 2 + n % 3), ids(n + 20, 1 + (n * 5) % 7))).collect()
}

fn load(folder: &Path) -> LanguageModel {
    LanguageModel::load(folder, &device().autodiff()).expect("the folder holds a model")
}

fn start() -> LanguageModel {
    load(&root().join("lm/llama_gqa"))
}

fn config(batch: usize, accumulate: usize, steps: usize) -> FitConfig {
    FitConfig {
        learning_rate: 1e-2,
        lr_scheduler_type: ScheduleKind::Cosine,
        warmup_ratio: 0.2,
        max_steps: steps,
        per_device_train_batch_size: batch,
        gradient_accumulation_steps: accumulate,
        weight_decay: 0.01,
        ..FitConfig::default()
    }
}

fn fit<'a>(learner: &'a NextToken, model: &LanguageModel, rows: &'a [Pair], config: FitConfig) -> Fit<'a, NextToken> {
    Fit::new(learner, model.decoder.clone(), rows, config).expect("sound options")
}

fn run(fit: &mut Fit<NextToken>, steps: usize) -> Vec<StepReport> {
    (0..steps).map(|_| fit.next().expect("steps are left").expect("the numbers are finite")).collect()
}

fn save(model: &LanguageModel, fit: &Fit<NextToken>, checkpoints: &Checkpoints, progress: &Progress) -> PathBuf {
    let write = |folder: &Path| Ok(model.with_decoder(fit.model().clone()).save(folder)?);
    checkpoints.save(fit, progress, write).expect("the checkpoint can be written")
}

#[test]
fn every_weight_is_trained() {
    let (model, rows) = (start(), rows());
    let rows: Vec<&Pair> = rows.iter().collect();
    // Embedding, nine tensors a layer, the last norm and the head.
    let all = 1 + 9 * model.config.layers + 1 + 1;
    assert_eq!(SOUND.learn(&model.decoder, &rows).expect("sound rows").gradients.len(), all);
    // A model that was loaded elsewhere, or that was evaluated, is trained as well.
    let plain = LanguageModel::load(&root().join("lm/llama_gqa"), &device()).expect("golden").decoder;
    for moved in [plain.clone().on(&device().autodiff()), plain.train(), model.decoder.valid().train()] {
        assert_eq!(SOUND.learn(&moved, &rows).expect("sound rows").gradients.len(), all);
    }
}

#[test]
fn a_resumed_run_gives_the_same_bits() {
    // Windows of 3 over 8 rows: the run stops in the middle of an epoch and crosses into the next one.
    let (rows, config, model) = (rows(), config(3, 1, 6), start());
    let mut whole = fit(&SOUND, &model, &rows, config.clone());
    let reports = run(&mut whole, 6);
    assert!(whole.next().is_none());
    assert_ne!(whole.model().hash(), model.decoder.hash());

    for stop in [2, 3, 5] {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path(), 0);
        assert!(checkpoints.last().expect("nothing to read").is_none());
        let mut first = fit(&SOUND, &model, &rows, config.clone());
        assert_eq!(run(&mut first, stop), reports[..stop]);
        save(&model, &first, &checkpoints, &first.progress());
        drop(first);

        let (path, progress) = checkpoints.last().expect("readable").expect("there is one");
        assert!(path.ends_with(format!("checkpoint-{stop}")) && progress.step == stop);
        let loaded = load(&path);
        let mut second = fit(&SOUND, &loaded, &rows, config.clone());
        second.resume(&path, &progress).expect("the optimizer state is there");
        assert_eq!(run(&mut second, 6 - stop), reports[stop..]);
        assert_eq!(second.model().hash(), whole.model().hash());
        assert!(second.next().is_none());
    }
}

#[test]
fn every_optimizer_resumes_to_the_same_bits() {
    let (rows, model) = (rows(), start());
    let plain = OptimArgs::default();
    for (optim, optim_args) in [
        (OptimKind::AdamwTorch, OptimArgs { amsgrad: true, ..plain }),
        (OptimKind::Adam, plain),
        (OptimKind::Sgd, plain),
        (OptimKind::Sgd, OptimArgs { momentum: 0.9, nesterov: true, ..plain }),
        (OptimKind::Rmsprop, plain),
        (OptimKind::Rmsprop, OptimArgs { momentum: 0.5, ..plain }),
    ] {
        let config = FitConfig { learning_rate: 1e-3, optim, optim_args, ..config(4, 1, 4) };
        let mut whole = fit(&SOUND, &model, &rows, config.clone());
        let reports = run(&mut whole, 4);
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path(), 0);
        let mut first = fit(&SOUND, &model, &rows, config.clone());
        run(&mut first, 2);
        let path = save(&model, &first, &checkpoints, &first.progress());
        let loaded = load(&path);
        let mut second = fit(&SOUND, &loaded, &rows, config);
        second.resume(&path, &first.progress()).expect("the optimizer state is there");
        assert_eq!(run(&mut second, 2), reports[2..], "{optim:?} {optim_args:?}");
        assert_eq!(second.model().hash(), whole.model().hash(), "{optim:?} {optim_args:?}");
    }
}

#[test]
fn a_resumed_run_of_an_adapter_gives_the_same_bits() {
    let (rows, config, base) = (rows(), config(3, 1, 6), start());
    let lora = LoraConfig { r: 4, alpha: 8.0, ..LoraConfig::default() };
    let model = base.with_lora(&lora, Seed(2)).expect("a Llama has these projections");
    let mut whole = fit(&SOUND, &model, &rows, config.clone());
    let reports = run(&mut whole, 6);
    assert_ne!(whole.model().hash(), model.decoder.hash());
    assert_eq!(whole.model().without_lora().hash(), base.decoder.hash());

    for stop in [1, 3, 5] {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path(), 0);
        let mut first = fit(&SOUND, &model, &rows, config.clone());
        assert_eq!(run(&mut first, stop), reports[..stop]);
        let path = save(&model, &first, &checkpoints, &first.progress());
        drop(first);
        assert!(!path.join("model.safetensors").exists(), "the base is not written again");
        // AdamW keeps two moments a factor: of two projections in each of two layers.
        let state = std::fs::metadata(path.join("optimizer.bpk")).expect("written").len();
        let floats = 2 * 2 * (4 * (32 + 32) + 4 * (32 + 16));
        assert!(state < 4 * floats + 32768, "{state} bytes of optimizer state");

        let (path, progress) = checkpoints.last().expect("readable").expect("there is one");
        // The checkpoint finds its base by itself, or is put beside one that is there.
        for loaded in [load(&path), base.with_adapter(&path).expect("it fits")] {
            let mut second = fit(&SOUND, &loaded, &rows, config.clone());
            second.resume(&path, &progress).expect("the optimizer state is there");
            assert_eq!(run(&mut second, 6 - stop), reports[stop..]);
            assert_eq!(second.model().hash(), whole.model().hash());
        }
    }
}

#[test]
fn the_split_of_a_window_changes_nothing() {
    let (rows, model) = (rows(), start());
    let outcome = |batch, accumulate| run(&mut fit(&SOUND, &model, &rows, config(batch, accumulate, 4)), 4);
    let whole = outcome(8, 1);
    // 3 x 3 is a window of 9, of which the epoch has 8.
    for (batch, accumulate) in [(1, 8), (2, 4), (4, 2), (3, 3)] {
        for (got, expected) in outcome(batch, accumulate).iter().zip(&whole) {
            assert_eq!(got.tokens, expected.tokens);
            for ((name, got), (_, expected)) in got.metrics.iter().zip(&expected.metrics) {
                close(&format!("{batch} x {accumulate}: {name}"), &[*got], &[*expected], 1e-5);
            }
        }
    }
}

/// Learns as [`SOUND`] does, and remembers how many rows and tokens went through the model at once.
#[derive(Default)]
struct Watched {
    batches: RefCell<Vec<(usize, usize)>>,
}

impl Learner for Watched {
    type Model = Decoder;
    type Row = Pair;

    fn learn(&self, model: &Decoder, rows: &[&Pair]) -> Result<Learned, TrainError> {
        let tokens = rows.iter().map(|(prompt, response)| prompt.len() + response.len()).sum();
        self.batches.borrow_mut().push((rows.len(), tokens));
        SOUND.learn(model, rows)
    }

    fn measure(&self, model: &Decoder, rows: &[&Pair]) -> Result<Tally, TrainError> {
        SOUND.measure(model, rows)
    }

    fn tokens(&self, rows: &[&Pair]) -> Option<usize> {
        SOUND.tokens(rows)
    }
}

#[test]
fn a_limit_of_tokens_cuts_the_same_windows() {
    let (rows, model) = (rows(), start());
    let whole = run(&mut fit(&SOUND, &model, &rows, config(8, 1, 4)), 4);
    // Rows have 3 to 10 tokens, 52 in all, and no two share a prompt.
    let lengths: Vec<usize> = rows.iter().map(|(prompt, response)| prompt.len() + response.len()).collect();
    assert_eq!(lengths, [3, 9, 8, 4, 10, 9, 5, 4]);
    for (most, longer) in [(52, 0), (20, 0), (9, 1), (1, 8)] {
        let learner = Watched::default();
        let limited = FitConfig { max_batch_tokens: Some(most), ..config(2, 4, 4) };
        let mut fit = Fit::new(&learner, model.decoder.clone(), &rows, limited).expect("sound options");
        for expected in &whole {
            learner.batches.borrow_mut().clear();
            let got = fit.next().expect("steps are left").expect("the numbers are finite");
            assert_eq!(got.tokens, expected.tokens);
            for ((name, got), (_, expected)) in got.metrics.iter().zip(&expected.metrics) {
                close(&format!("{most} tokens: {name}"), &[*got], &[*expected], 1e-5);
            }
            let batches = learner.batches.borrow();
            assert!(batches.iter().all(|(rows, tokens)| *rows == 1 || *tokens <= most), "{most}: {batches:?}");
            assert_eq!(batches.iter().map(|(rows, _)| rows).sum::<usize>(), 8, "{most}: {batches:?}");
            // Two that follow each other hold more than the limit together.
            assert!(batches.windows(2).all(|two| two[0].1 + two[1].1 > most), "{most}: {batches:?}");
        }
        assert_eq!(fit.long_rows(), 4 * longer, "{most}");
    }
}

#[test]
fn a_run_with_a_limit_of_tokens_resumes_to_the_same_bits() {
    // Windows of 3 over 8 rows: the run stops within an epoch.
    let (rows, model) = (rows(), start());
    let config = FitConfig { max_batch_tokens: Some(12), ..config(3, 1, 6) };
    let mut whole = fit(&SOUND, &model, &rows, config.clone());
    let reports = run(&mut whole, 6);
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = Checkpoints::new(folder.path(), 0);
    let mut first = fit(&SOUND, &model, &rows, config.clone());
    run(&mut first, 2);
    let path = save(&model, &first, &checkpoints, &first.progress());
    let loaded = load(&path);
    let mut second = fit(&SOUND, &loaded, &rows, config);
    second.resume(&path, &first.progress()).expect("the optimizer state is there");
    assert_eq!(run(&mut second, 4), reports[2..]);
    assert_eq!(second.model().hash(), whole.model().hash());
}

#[test]
fn a_limit_of_tokens_is_refused_where_they_are_not_counted() {
    let (rows, model) = (rows(), start());
    let limited = |most| FitConfig { max_batch_tokens: Some(most), ..config(2, 1, 1) };
    let refused = Fit::new(&Weightless, model.decoder.clone(), &rows, limited(9)).err().map(|error| error.to_string());
    let said = "max_batch_tokens must be left out with a learner whose windows are not cut by tokens, got 9";
    assert_eq!(refused.as_deref(), Some(said));
    let none = limited(0).check().expect_err("no token").to_string();
    assert_eq!(none, "max_batch_tokens must be at least 1, got 0");
    // Where there is none, it is no part of what a run is known by.
    let names = |config: &FitConfig| serde_json::to_string(config).expect("plain data");
    assert!(!names(&config(2, 1, 1)).contains("max_batch_tokens") && names(&limited(9)).contains("max_batch_tokens"));
}

#[test]
fn evaluation_does_not_depend_on_the_batch() {
    let (rows, model) = (rows(), start().decoder.valid());
    let whole = evaluate(&SOUND, &model, &rows, 8).expect("sound rows");
    assert_eq!(whole.values("nats").len(), 8);
    for batch in [0, 1, 3] {
        let tally = evaluate(&SOUND, &model, &rows, batch).expect("sound rows");
        assert_eq!((tally.weight, tally.tokens), (whole.weight, whole.tokens));
        close("losses", tally.values("nats"), whole.values("nats"), 1e-5);
        close("sum", &[tally.loss], &[whole.loss], 1e-5);
    }
    assert!(matches!(evaluate(&SOUND, &model, &[], 1), Err(TrainError::NoRows)));
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let (rows, model) = (rows(), start());
    let mut fit = fit(&SOUND, &model, &rows, config(8, 1, 2));
    run(&mut fit, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let named = |model: &str| vec![("method".to_owned(), "dpo".to_owned()), ("model".to_owned(), model.to_owned())];
    save(&model, &fit, &checkpoints, &Progress { run: named("a"), ..fit.progress() });
    let (path, progress) = checkpoints.last().expect("readable").expect("there is one");
    let ours = |model: &str| [("method", "dpo".to_owned()), ("model", model.to_owned())];
    assert!(progress.check_run(&path, &ours("a")).is_ok());
    match progress.check_run(&path, &ours("b")) {
        Err(TrainError::OtherRun { what: "model", theirs, ours, .. }) => assert_eq!((&*theirs, &*ours), ("a", "b")),
        other => panic!("{other:?}"),
    }
    let more = [("method", "dpo".to_owned()), ("data", "x".to_owned())];
    assert!(matches!(progress.check_run(&path, &more), Err(TrainError::OtherRun { what: "data", .. })));

    // Optimizer state that is cut off, or gone, is an error that names the checkpoint.
    let state = path.join("optimizer.bpk");
    let bytes = std::fs::read(&state).expect("it was written");
    for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&state, &bytes[..cut]).expect("written");
        let refused = fit.resume(&path, &progress);
        assert!(matches!(refused, Err(TrainError::Checkpoint { .. })), "cut at {cut}: {refused:?}");
    }
    std::fs::remove_file(&state).expect("removed");
    assert!(matches!(fit.resume(&path, &progress), Err(TrainError::Checkpoint { .. })));
    std::fs::write(path.join("trainer_state.json"), "{").expect("written");
    assert!(matches!(checkpoints.last(), Err(TrainError::Checkpoint { .. })));
}

#[test]
fn best_and_last_are_kept() {
    let (rows, model) = (rows(), start());
    let mut fit = fit(&SOUND, &model, &rows, config(8, 1, 6));
    run(&mut fit, 1);
    let kept = |keep: usize| -> Vec<usize> {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path(), keep);
        for step in 1..=5 {
            // The second is the best.
            let best = Some(if step < 2 { (1, 0.1) } else { (2, 0.9) });
            save(&model, &fit, &checkpoints, &Progress { step, best, ..Progress::default() });
        }
        let state = checkpoints.last().expect("readable").expect("there is one").1;
        assert_eq!((state.step, state.best), (5, Some((2, 0.9))));
        checkpoints.list().into_iter().map(|(step, _)| step).collect()
    };
    assert_eq!(kept(1), [2, 5], "best and last stay whatever the limit");
    assert_eq!(kept(2), [2, 5]);
    assert_eq!(kept(3), [2, 4, 5]);
    assert_eq!(kept(0), [1, 2, 3, 4, 5]);
}

#[test]
fn a_failed_save_leaves_what_was_there() {
    let (rows, model) = (rows(), start());
    let mut fit = fit(&SOUND, &model, &rows, config(8, 1, 4));
    run(&mut fit, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let path = save(&model, &fit, &checkpoints, &fit.progress());
    let before = load(&path).decoder.hash();
    let full = |part: &Path| {
        std::fs::write(part.join("half"), "written before the disk was full").expect("written");
        Err(TrainError::Io { path: part.to_owned(), source: std::io::ErrorKind::StorageFull.into() })
    };
    // Over the same step, and beside an earlier one.
    for _ in 0..2 {
        assert!(matches!(checkpoints.save(&fit, &fit.progress(), full), Err(TrainError::Io { .. })));
        let names = std::fs::read_dir(folder.path()).expect("there").flatten().map(|entry| entry.file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["checkpoint-1"]);
        assert_eq!(load(&path).decoder.hash(), before);
        run(&mut fit, 1);
    }
    // The same step may be written again, and takes nothing from a part that a killed run left.
    std::fs::create_dir(folder.path().join("part-1")).expect("a new folder");
    std::fs::write(folder.path().join("part-1/half"), "").expect("written");
    save(&model, &fit, &checkpoints, &Progress { step: 1, ..fit.progress() });
    assert!(!path.join("half").exists());
    assert_ne!(load(&path).decoder.hash(), before);
}

#[test]
fn a_loss_that_is_no_number_is_an_error_and_the_model_survives() {
    let (rows, model) = (rows(), start());
    let spoilt = NextToken { poison: Some(rows[3].1[0]) };
    let mut poisoned = fit(&spoilt, &model, &rows, config(4, 1, 8));
    let mut failed = 0;
    for _ in 0..3 {
        let before = (poisoned.model().hash(), poisoned.step());
        match poisoned.next().expect("steps are left") {
            Ok(_) => {}
            Err(TrainError::NotFinite { what: "loss", got, step }) => {
                assert!(got.is_nan() && step == before.1 + 1);
                assert_eq!((poisoned.model().hash(), poisoned.step()), before, "the step did not happen");
                failed += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failed > 0);
    // A row that the learner refuses leaves the model in place too.
    let refused = vec![(Vec::new(), vec![1])];
    let mut refusing = fit(&SOUND, &model, &refused, config(1, 1, 1));
    assert!(matches!(refusing.next(), Some(Err(TrainError::Core(_)))));
    assert_eq!(refusing.into_model().hash(), model.decoder.hash());
}

/// Learns as [`SOUND`] does, and says that no row counts.
struct Weightless;

impl Learner for Weightless {
    type Model = Decoder;
    type Row = Pair;

    fn learn(&self, model: &Decoder, rows: &[&Pair]) -> Result<Learned, TrainError> {
        let Learned { gradients, tally } = SOUND.learn(model, rows)?;
        Ok(Learned { gradients, tally: Tally { weight: 0.0, ..tally } })
    }

    fn measure(&self, model: &Decoder, rows: &[&Pair]) -> Result<Tally, TrainError> {
        SOUND.measure(model, rows)
    }
}

#[test]
fn a_window_in_which_nothing_counts_is_no_step() {
    let (rows, model) = (rows(), start());
    let mut run = Fit::new(&Weightless, model.decoder.clone(), &rows, config(2, 1, 3)).expect("sound options");
    let error = run.next().expect("steps are left").expect_err("a division by 0").to_string();
    assert!(error.contains("no row of step 1 counts"), "{error}");
    assert_eq!((run.step(), run.into_model().hash()), (0, model.decoder.hash()));
}
