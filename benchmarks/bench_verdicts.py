"""How often is the report wrong? Rates of false verdicts, and coverages, on made-up results whose truth is known.

    python benchmarks/bench_verdicts.py                         # all: minutes on 2 cores
    python benchmarks/bench_verdicts.py collapse --rounds 4000
    python benchmarks/bench_verdicts.py --rounds 20             # a smoke test

Parts:
    comparisons  two equally good settings, whose seeds scatter by 0.012, 0.022 or 0.055: is one called better, or,
                 with a true difference of the smallest that matters, are they called equivalent?
    claims       three networks with two starts, all equally good: which of the paper's claims are decided?
    collapse     EXPLAINED, NOT_EXPLAINED and NOT_REPRODUCED where each is wrong, in either of the two arms
    rivals       preprocessing and epochs that change nothing, or remove half; interactions that there are none of
    intervals    of shares, means and differences over seeds, paired networks, and posteriors
    chance       networks that guess: are they said to have learned?

Of several truths for a line that furthest beyond its level is shown. A claim about settings is decided from three seeds
on, so that its rate is 0 below. All random numbers have seeds. Exit status 1 when a rate is beyond its level by more
than three standard errors of the simulation.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import verdict_rates
from verdict_rates import CHECKS, Rate


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    began = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        parts = options.parts or list(CHECKS)
        found = pool.map(rates_of, parts, itertools.repeat(options.rounds), itertools.repeat(options.seed))
        rates = [(part, own) for part, own in zip(parts, found, strict=True)]
    for part, own in rates:
        print(f"\n{part}\n{table(own)}")
    beyond = [rate for _, own in rates for rate in own if not rate.holds]
    number = sum(len(own) for _, own in rates)
    print(f"\n{number - len(beyond)} of {number} within their level, in {time.monotonic() - began:.0f} s")
    return 1 if beyond else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rates of false verdicts and coverages of intervals")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(CHECKS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=1000, metavar="N", help="made-up studies (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    options = parser.parse_args(argv)
    if unknown := [part for part in options.parts if part not in CHECKS]:
        parser.error(f"a part must be one of {', '.join(CHECKS)}; got {', '.join(unknown)}")
    if options.rounds < 4:
        parser.error(f"--rounds must be at least 4; got {options.rounds}")
    return options


def rates_of(part: str, rounds: int, seed: int) -> list[Rate]:
    verdict_rates.without_advice()
    return list(verdict_rates.CHECKS[part](rounds, seed))


def table(rates: Sequence[Rate]) -> str:
    """At 80 columns."""
    lines = [f"  {'':31} {'seeds':>8} {'rate':>6} {'+-':>6} {'level':>6}  "]
    return "\n".join([*lines, *map(line, rates)])


def line(rate: Rate) -> str:
    mark = "ok" if rate.holds else "BELOW" if rate.is_coverage else "ABOVE"
    text = f"  {rate.what[:31]:31} {rate.seeds:>8} {rate.value:6.3f} {rate.error:6.3f} {rate.level:6.3f}  {mark}"
    return f"{text} ({rate.truth})" if rate.truth and not rate.holds else text


if __name__ == "__main__":
    sys.exit(main())
