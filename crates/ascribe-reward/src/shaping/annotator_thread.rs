//! An annotator on a thread of its own, so that the agent goes on while it thinks: the asynchronous part of ONI,
//! arXiv:2410.23022.
//!
//! ```text
//! agent       walk, learn | walk, learn | walk, learn        after each: hand captions over, take the labels that are there
//! annotator        label, label, label, label                in the order in which captions were handed over
//! ```
//! When a label comes hangs on how long the annotator takes. Who calls [`AnnotatorThread::wait`] at fixed places gets the same
//! rewards on every machine, and the annotator works meanwhile all the same.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use super::Intrinsic;
use crate::RewardError;

/// A caption with what the annotator said.
type Answer = (String, Result<bool, RewardError>);

/// An annotator that runs beside the agent; it ends when this is dropped.
pub struct AnnotatorThread {
    captions: Sender<String>,
    answers: Receiver<Answer>,
    pending: usize,
}

impl AnnotatorThread {
    /// Starts the annotator, who says of a caption whether it shows progress.
    pub fn new(mut annotator: impl FnMut(&str) -> Result<bool, RewardError> + Send + 'static) -> Self {
        let (captions, asked) = channel::<String>();
        let (answered, answers) = channel::<Answer>();
        thread::spawn(move || {
            for caption in asked {
                let label = annotator(&caption);
                // Whoever asked may be gone.
                if answered.send((caption, label)).is_err() {
                    return;
                }
            }
        });
        Self { captions, answers, pending: 0 }
    }

    /// Hands captions over, the newest first, until `most` are with the annotator; how many it got. Never waits.
    ///
    /// # Errors
    /// When the annotator has stopped.
    pub fn ask(&mut self, intrinsic: &mut Intrinsic, most: usize) -> Result<usize, RewardError> {
        let captions = intrinsic.queries(most.saturating_sub(self.pending));
        let handed = captions.len();
        for caption in captions {
            self.captions.send(caption).map_err(|_| stopped(self.pending))?;
            self.pending += 1;
        }
        Ok(handed)
    }

    /// Gives back the labels that have come; how many. Never waits.
    ///
    /// # Errors
    /// When the annotator failed or has stopped.
    pub fn take(&mut self, intrinsic: &mut Intrinsic) -> Result<usize, RewardError> {
        let mut labels = 0;
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.give(answer, intrinsic)?,
                Err(TryRecvError::Empty) => return Ok(labels),
                Err(TryRecvError::Disconnected) => return Err(stopped(self.pending)),
            }
            labels += 1;
        }
    }

    /// Waits for all labels that are due, and gives them back; how many.
    ///
    /// # Errors
    /// When the annotator failed or has stopped.
    pub fn wait(&mut self, intrinsic: &mut Intrinsic) -> Result<usize, RewardError> {
        let labels = self.pending;
        while self.pending > 0 {
            let answer = self.answers.recv().map_err(|_| stopped(self.pending))?;
            self.give(answer, intrinsic)?;
        }
        Ok(labels)
    }

    /// Captions that the annotator has not answered yet.
    pub fn pending(&self) -> usize {
        self.pending
    }

    fn give(&mut self, (caption, label): Answer, intrinsic: &mut Intrinsic) -> Result<(), RewardError> {
        self.pending -= 1;
        intrinsic.label(&caption, label?)
    }
}

fn stopped(pending: usize) -> RewardError {
    let said = format!("the annotator stopped with {pending} captions unanswered; see what it wrote before");
    RewardError::Other(said.into())
}

#[cfg(test)]
mod tests {
    use super::super::IntrinsicConfig;
    use super::*;

    const TOLD: [&str; 2] = ["a key", "a wall"];

    fn rewards(intrinsic: &mut Intrinsic) -> Vec<f64> {
        intrinsic.episode(&TOLD, &[0.0, 0.0]).unwrap_or_default()
    }

    #[test]
    fn nobody_waits_for_the_annotator_and_labels_count_once_they_are_taken() {
        let (open, gate) = channel::<()>();
        let mut annotator = AnnotatorThread::new(move |caption| {
            gate.recv().map_err(|error| RewardError::Other(error.into()))?;
            Ok(caption.contains("key"))
        });
        let config = IntrinsicConfig { external: 0.0, internal: 1.0, ..IntrinsicConfig::default() };
        let mut intrinsic = config.init().unwrap();
        assert_eq!(rewards(&mut intrinsic), [0.0, 0.0]);
        assert_eq!(annotator.ask(&mut intrinsic, 5).unwrap(), 2);
        // It stands at the gate, so nothing has come.
        assert_eq!((annotator.take(&mut intrinsic).unwrap(), annotator.pending()), (0, 2));
        assert_eq!(rewards(&mut intrinsic), [0.0, 0.0]);
        assert_eq!(annotator.ask(&mut intrinsic, 5).unwrap(), 0, "what was asked is not asked again");
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert_eq!((annotator.wait(&mut intrinsic).unwrap(), annotator.pending()), (2, 0));
        assert_eq!(rewards(&mut intrinsic), [1.0, 0.0]);
        assert_eq!(annotator.wait(&mut intrinsic).unwrap(), 0, "nothing is due");
    }

    #[test]
    fn no_more_are_handed_over_than_the_annotator_may_hold() {
        let mut annotator = AnnotatorThread::new(|_| Ok(true));
        let mut intrinsic = IntrinsicConfig::default().init().unwrap();
        rewards(&mut intrinsic);
        assert_eq!((annotator.ask(&mut intrinsic, 1).unwrap(), intrinsic.waiting()), (1, 1));
        assert_eq!(annotator.ask(&mut intrinsic, 1).unwrap(), 0);
        assert_eq!(annotator.wait(&mut intrinsic).unwrap(), 1);
        assert_eq!((annotator.ask(&mut intrinsic, 1).unwrap(), intrinsic.waiting()), (1, 0));
    }

    #[test]
    fn an_annotator_that_fails_or_breaks_is_no_silence() {
        let failing = |annotator: AnnotatorThread| {
            let (mut annotator, mut intrinsic) = (annotator, IntrinsicConfig::default().init().unwrap());
            rewards(&mut intrinsic);
            annotator.ask(&mut intrinsic, 1).unwrap();
            annotator.wait(&mut intrinsic).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let fails = AnnotatorThread::new(|_| Err(RewardError::Other("no answer".into())));
        assert_eq!(failing(fails), "no answer");
        let breaks = AnnotatorThread::new(|caption| panic!("it broke at `{caption}`"));
        assert!(failing(breaks).contains("stopped with 1 captions unanswered"));
    }
}
