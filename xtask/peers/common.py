"""What every peer script shares: reading a job, timing repeats, writing the answer (see README.md)."""

import argparse
import json
import time


def read_job():
    """Returns the name of the job and its fields."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("--input", required=True)
    arguments = parser.parse_args()
    with open(arguments.input) as file:
        return arguments.job, json.load(file)


def repeat(n, work):
    """Runs `work(at)` for `at` from 0 to `n - 1`; returns the seconds of each and all results."""
    seconds, results = [], []
    for at in range(n):
        started = time.perf_counter()
        results.append(work(at))
        seconds.append(time.perf_counter() - started)
    return seconds, results


def answer(job, seconds, units, unit, checks, children=0, costs=None):
    """Prints the one line that the caller reads; `children` are bytes that other processes of the job held beside this."""
    peak = peak_rss() + children
    said = {"job": job, "seconds": seconds, "units": units, "unit": unit, "peak_rss_bytes": peak, "checks": checks}
    said["costs"] = costs
    print(json.dumps(said), flush=True)


def peak_rss():
    """The high-water mark of this process's resident memory, in bytes."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
