"""The jobs of scikit-learn and scipy (see README.md): metrics of columns, and bootstraps of them."""

import numpy as np
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from common import answer, read_job, repeat


def ece(labels, p):
    """scikit-learn has the curve; the number of rows in each of its bins makes it the error."""
    share, mean = calibration_curve(labels, p, n_bins=10)
    rows = np.bincount(np.searchsorted(np.linspace(0.0, 1.0, 11)[1:-1], p), minlength=10)
    return np.abs(share - mean) @ rows[rows > 0] / len(p)


METRICS = {
    "metrics_auroc": lambda x, y, labels, p: roc_auc_score(labels, x),
    "metrics_average_precision": lambda x, y, labels, p: average_precision_score(labels, x),
    "metrics_brier": lambda x, y, labels, p: brier_score_loss(labels, p),
    "metrics_ece": lambda x, y, labels, p: ece(labels, p),
    "metrics_kendall": lambda x, y, labels, p: stats.kendalltau(x, y).statistic,
    "metrics_spearman": lambda x, y, labels, p: stats.spearmanr(x, y).statistic,
}


def bootstrap(name, job, x, labels):
    """Percentile limits. Ten resamples at a time: all at once would take the memory of the machine."""
    settings = {"n_resamples": job["resamples"], "batch": 10, "method": "percentile"}
    settings["rng"] = np.random.default_rng(job["seed"])
    if name == "metrics_bootstrap_mean":
        return stats.bootstrap((x,), np.mean, **settings).confidence_interval
    return stats.bootstrap((labels, x), roc_auc_score, paired=True, vectorized=False, **settings).confidence_interval


def calls(n, call):
    """What the last of `n` calls says."""
    for _ in range(n):
        said = call()
    return said


def main():
    name, job = read_job()
    x, y = np.array(job["x"], dtype=float), np.array(job["y"], dtype=float)
    labels, p = np.array(job["labels"]), x / 2**20
    n, rows = job["calls"], len(x) * job["calls"]
    if name in METRICS:
        metric = METRICS[name]
        # One repeat more, which is not timed.
        seconds, values = repeat(job["repeats"] + 1, lambda _: calls(n, lambda: metric(x, y, labels, p)))
        answer(name, seconds[1:], rows, "rows", {"values": [float(values[-1])]})
    else:
        seconds, limits = repeat(job["repeats"], lambda _: calls(n, lambda: bootstrap(name, job, x, labels)))
        drawn = rows * job["resamples"]
        answer(name, seconds, drawn, "rows", {"limits": [float(limit) for limit in limits[-1]]})


main()
