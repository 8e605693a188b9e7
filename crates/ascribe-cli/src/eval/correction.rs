//! Self-correction: rows are problems with `first` and `second`, whether each attempt was right, and `edited`, whether the final
//! answer changed, if that is known.

use ascribe::eval::Estimate;
use ascribe::eval::bench::self_correction;

use crate::args::CorrectionArgs;
use crate::findings::{Finding, Findings};
use crate::records::Records;

pub fn run(args: &CorrectionArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let (first, second) = (records.every("first", Records::flag)?, records.every("second", Records::flag)?);
    let edited = records.has("edited").then(|| records.every("edited", Records::flag)).transpose()?;
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let found = self_correction(&first, &second, edited.as_deref(), &bootstrap)?;
    let of = |name: &str, value: Option<f64>| value.map(|value| Finding::number(name, value));
    // Shares of all problems have a count, those of a part of them none.
    let all = |name: &str, value: f64| Finding::share(name, &Estimate { value, interval: None, n: first.len() });
    Findings::new("correction")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .with(Finding::share("right at first", &found.first))
        .with(Finding::share("right afterwards", &found.second))
        .with(Finding::of("change", &found.delta))
        .with(all("mended", found.mended))
        .with(all("broken", found.broken))
        .with_all(of("mended of the wrong", found.mend_rate))
        .with_all(of("broken of the right", found.break_rate))
        .with_all(of("edited", found.edited))
        .with(Finding::number("McNemar's p", found.p))
        .show(args.measure.json, args.file.report.as_deref())
}
