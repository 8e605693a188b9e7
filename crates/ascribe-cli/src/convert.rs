//! `ascribe convert`: data of any layout as JSONL with the columns of TRL.

use anyhow::bail;
use ascribe::data::ColumnMap;

use crate::args::ConvertArgs;
use crate::output::print_line;

pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    if args.input == args.output {
        bail!("input and output are both `{}`; write to another file", args.input.display());
    }
    let done = ascribe::data::convert(&args.input, &args.output, &ColumnMap::parse(&args.columns)?, args.kind)?;
    done.notes.iter().for_each(|note| eprintln!("{note}"));
    if !done.skipped.is_empty() {
        eprintln!("{}", done.skipped);
    }
    if done.written == 0 {
        bail!(
            "no row of `{}` can be written as {}; look at what was left out above",
            args.input.display(),
            done.kind.name()
        );
    }
    let (columns, path) = (done.kind.columns(), args.output.display());
    print_line(&format!("{} rows ({}: {columns}) written to {path}", done.written, done.kind.name()))
}
