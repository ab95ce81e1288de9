"""How often is the report wrong? Rates of false verdicts, and coverages, on made-up results whose truth is known.

    python benchmarks/bench_verdicts.py                         # all: minutes on 2 cores
    python benchmarks/bench_verdicts.py collapse --rounds 4000
    python benchmarks/bench_verdicts.py --rounds 20             # a smoke test

Each kind of verdict and of interval has a line for 1, 2, 3, 5 and 10 seeds, and above them what was planted. Of several
truths the worst one counts, and is named where its rate is beyond the level. A rate without an error is exact. A claim
about settings is decided from three seeds on, so that its rate is 0 below. All random numbers have seeds. Exit status 1
where a rate is beyond its level by more than 3.5 standard errors of the simulation.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import Final

from harness.parts import add_parts
from verdicts.intervals import interval_rates, split_rates
from verdicts.rates import (
    SEEDS,
    Rate,
    claim_rates,
    collapse_rates,
    comparison_rates,
    network_rates,
    rival_rates,
)

from analysis.claims.about_trials import POOR
from analysis.statistics.equivalence import MARGIN

WIDTH: Final = 80
CHECKS: Final[dict[str, Callable[[int, int, int], Iterator[Rate]]]] = {
    "comparisons": comparison_rates,
    "claims": claim_rates,
    "collapse": collapse_rates,
    "rivals": rival_rates,
    "intervals": interval_rates,
    "splits": split_rates,
    "networks": network_rates,
}
"""By name; each takes how many seeds a setting has, the number of rounds, and a seed of all random numbers."""
PLANTED: Final = {
    "one is better": "equal accuracies, 0.6 on 5,321 images; over seeds 0.012 to 0.055",
    "equivalent": f"the same, {MARGIN} apart, the smallest difference of interest",
    "all pairs: any": "four equal settings, over seeds 0.012, 0.022, 0.055, 0.012",
    "claims about": "the same networks as below",
    "claim: is better": "equal networks, unequal scatters 0.012 to 0.055; any of a family",
    "EXPLAINED, an": "both settings collapse equally often, the worst rate of 0 to 1; as this verdict, "
    "or no trial, in the other arm",
    "EXPLAINED, both": "four settings, all collapse in 0.5, 0.7 or 0.9; said of either arm",
    "EXPLAINED by no": "1 and 0 collapse; but the alternative is as good as naming the commonest class",
    "NOT_EXPLAINED, an": "the other setting collapses in at most half; the paper's at any rate",
    "NOT_EXPLAINED, both": "one of three others collapses in half, the rest in 0.9 or 1",
    "NOT_REPRODUCED, an": "the paper's setting collapses in at least half; the other at any rate",
    "NOT_REPRODUCED, both": "the paper's setting collapses in 0.5 or 0.6",
    "rival REMOVES": "preprocessing and epochs change nothing, or the second alone does",
    "rival KEEPS": "at most half collapse with the rival, any rate without",
    "interaction of": "rates p, q, r, q + r - p, the worst of them",
    "interaction, any": "3 optimizer settings x 2 ways of preprocessing x 2 numbers of epochs, all alike",
    "Wilson, mean": "rates from 0 to 1; collapse rates of so many seeds",
    "Newcombe, mean": "two rates from 0 to 1; their difference",
    "posterior": "two rates of Beta(1/2, 1/2); their difference",
    "t, mean": "normal scores, seeds 1 and 1 or 0.2, images 0, 0.5 or 2; the worst",
    "accuracy, paired": "equal accuracies 0.6, over seeds 0.022 and 0.055",
    "accuracy, the answer": "accuracies 0.6 and 0.95, over seeds 0.002 to 0.055; the worst",
    "balanced accuracy": "each class 0.6 right, over seeds 0.022",
    "calibration": "seeds surer than right by 0.03, over seeds 0.03: skewed, as errors are",
    "splits, ON": "no difference over all images; 30 % of 2,000 test, and make all of the scatter",
    "splits add": "all splits alike, two seeds each",
    "a network": "truth and prediction have nothing to do with each other; per network",
    "McNemar": "two networks, equally good; each alone right on 0.01, 0.1 or 0.3",
    "claim: VGG16 cannot be trained: CONTRA": "all as good as naming the largest class",
    "claim: VGG16 cannot be trained: CONF": f"all better by {POOR}, over seeds 0.012",
    "claim: VGG16 names": "half of the networks do",
}
"""Beginning of a kind -> the truth, which is not what is then said, or which the interval is to have."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the rates of the parts, and return the exit status."""
    options = parse(argv)
    began = time.monotonic()
    parts = options.parts or list(CHECKS)
    jobs = [(part, number) for number in reversed(SEEDS) for part in parts]  # what takes longest first
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of each process that is started: there is one a core
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        rates = pool.map(rates_of, jobs, repeat(options.rounds), repeat(options.seed))
        by_job = dict(zip(jobs, rates, strict=True))
    for part in parts:
        print(f"\n{part.upper()}\n{table(rate for number in SEEDS for rate in by_job[part, number])}")
    everything = [rate for own in by_job.values() for rate in own]
    beyond = sum(not rate.holds for rate in everything)
    print(f"\n{len(everything) - beyond} of {len(everything)} within their level, in {time.monotonic() - began:.0f} s")
    return 1 if beyond else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Rates of false verdicts and coverages of intervals")
    add_parts(parser, CHECKS)
    parser.add_argument("--rounds", type=int, default=1000, metavar="N", help="made-up studies (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    options = parser.parse_args(argv)
    if options.rounds < 20:
        parser.error(f"--rounds must be at least 20; got {options.rounds}")
    return options


def rates_of(job: tuple[str, int], rounds: int, seed: int) -> list[Rate]:
    """Return the rates of a part with so many seeds a setting."""
    part, number = job
    return list(CHECKS[part](number, rounds, seed))


def table(rates: Iterable[Rate]) -> str:
    """Return, kind by kind, what was planted, and a line for each number of seeds."""
    by_kind: dict[str, list[Rate]] = {}
    for rate in rates:
        by_kind.setdefault(rate.what, []).append(rate)
    lines = [f"{'':41} {'seeds':>7} {'rate':>6} {'+-':>6} {'level':>6}"]
    for what, own in by_kind.items():
        text = next((planted for start, planted in PLANTED.items() if what.startswith(start)), "")
        if text:
            lines += textwrap.wrap(f"planted: {text}", WIDTH, initial_indent="  ", subsequent_indent="    ")
        lines += map(line, own)
    return "\n".join(lines)


def line(rate: Rate) -> str:
    """Return a rate as a line, or as two where it is beyond its level."""
    mark = "ok" if rate.holds else "BELOW" if rate.is_coverage else "ABOVE"
    error = f"{rate.error:6.3f}" if rate.rounds else " exact"
    text = f"{rate.what[:41]:41} {rate.seeds:>7} {rate.value:6.3f} {error} {rate.level:6.3f} {mark}"
    return f"{text}\n    ({rate.truth})" if rate.truth and not rate.holds else text


if __name__ == "__main__":
    sys.exit(main())
