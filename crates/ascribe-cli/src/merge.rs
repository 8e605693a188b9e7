//! `ascribe merge`: an adapter and its base become one model.

use std::path::Path;

use anyhow::{Context, bail};
use ascribe::lm::LanguageModel;
use ascribe::{process, reward};

use crate::args::MergeArgs;
use crate::device::device;
use crate::hub::resolve;
use crate::output::print_line;

pub fn run(args: &MergeArgs) -> anyhow::Result<()> {
    if args.output_dir.join("adapter_config.json").exists() {
        bail!(
            "`{}` holds an adapter, and a model beside it could not be told apart; use another folder",
            args.output_dir.display()
        );
    }
    let device = device(&args.common.device)?;
    let model = match &args.model {
        Some(base) => LanguageModel::load(&resolve(base)?, &device)?.with_adapter(&args.adapter)?,
        None => LanguageModel::load(&args.adapter, &device)?,
    };
    let same = |path: &Path| path.canonicalize().ok() == args.output_dir.canonicalize().ok() && path.exists();
    if same(Path::new(&model.name)) || args.model.as_deref().is_some_and(same) {
        bail!("`{}` is the base, which would be overwritten; use another folder", args.output_dir.display());
    }
    model.with_decoder(model.decoder.merged()?).save(&args.output_dir)?;
    // What the scores of a reward model, or of a process model, mean.
    for name in [reward::CARD, process::model::CARD] {
        let card = args.adapter.join(name);
        if card.is_file() {
            std::fs::copy(&card, args.output_dir.join(name))
                .with_context(|| format!("cannot copy `{}`", card.display()))?;
        }
    }
    print_line(&format!("merged model written to {}; it says what the adapter says apart", args.output_dir.display()))
}
