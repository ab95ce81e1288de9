"""What does a search cost beside the training, and how soon does it find good trials? Ours, Ray Tune's, Optuna's.

    python benchmarks/bench_search.py                      # rate, overhead, quality: about 20 minutes on 2 cores
    python benchmarks/bench_search.py table --weights-dir weights/    # once, before quality: about 5 minutes
    python benchmarks/bench_search.py quality --table results/my-sweep
    python benchmarks/bench_search.py spaces --weights-dir weights/ --seeds 20   # with its own table: 10 minutes
    python benchmarks/bench_search.py --small              # a smoke test of all: about a minute

Parts:
    rate      trials/s that `sweep.search.trials.Search` suggests and hears the end of, alone, in the default space
              (`sweep.space`), with made-up results. Required: 20 trials/s up to 1,000 trials, exported or not, by
              random and by TPE
    overhead  seconds of a whole process that runs 1,000 trials which do nothing: Search (random) with
              `sweep.scheduling.tune.run_trials`, against Ray Tune with `num_samples` and `reuse_actors`. Required:
              at most 1.3 times as long. By TPE, and Tune with its OptunaSearch, for information
    table     trains 1,152 heads on frozen features (searches/quality.py has the grid) for `quality`
    quality   regret at equal budgets on that table, or on any results folder with curves of a validation part: Search
              with TPE and our ASHA, in batches, against Ray's OptunaSearch with its ASHAScheduler (by default, and with
              our rungs), Optuna's TPE with its SuccessiveHalvingPruner, and random search without stopping. There are 4
              simulated workers (searches/workers.py). A budget is of epochs, where training heads together saves
              nothing, or of time, where it saves what it does. Required, by both: better than random and worse than
              none, each where the 95 % interval of the paired difference over the seeds lies wholly on one side

    spaces    trains 1,280 heads with and without warm-up, schedule, clipping, label smoothing and averaged weights, and
              compares what our search finds with them and without (searches/spaces.py). Required of a field that is to
              enter the default space: that it pays, by the 95 % interval of the paired difference over the seeds

All random numbers have seeds; only seconds differ from run to run. Exit status 1 when a requirement is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from harness.parts import add_parts

BY_DEFAULT = ("rate", "overhead", "quality")
TABLE = Path("results") / "search-table"
SPACES_TABLE = Path("results") / "space-table"


def main() -> int:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    holds = True
    for part in options.parts or (PARTS if options.small else BY_DEFAULT):
        print(f"\n== {part}{' (SMALL: a smoke test, no number is a result)' if options.small else ''}", flush=True)
        holds &= PARTS[part](options)
    return 0 if holds or options.small else 1


def parse() -> argparse.Namespace:
    """Return the command line's options, `trials` and `seeds` among them in any case."""
    parser = argparse.ArgumentParser(description="Speed, overhead and quality of searches")
    add_parts(parser, PARTS, ", ".join(BY_DEFAULT))
    parser.add_argument("--small", action="store_true", help="tiny sizes: a smoke test, whose numbers mean nothing")
    parser.add_argument("--trials", type=int, metavar="N", help="of rate and overhead (default: 1000)")
    parser.add_argument("--profile", action="store_true", help="rate: say where the time of the last 100 trials goes")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="overhead: trials at once (default: 2)")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="overhead: of which the median counts")
    parser.add_argument("--seeds", type=int, metavar="N", help="quality: searches of each method (default: 40)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="quality: simulated ones (default: 4)")
    parser.add_argument("--table", type=Path, metavar="DIR", help=f"results folder of the table (default: {TABLE})")
    parser.add_argument("--data", default="simulated:3000", metavar="URI", help="table: images (default: %(default)s)")
    parser.add_argument("--weights-dir", type=Path, metavar="FOLDER", help="table: folder of ImageNet weights files")
    out = Path("results") / "bench-search"
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"numbers and picture (default: {out})")
    options = parser.parse_args()
    options.trials = options.trials or (20 if options.small else 1000)
    options.seeds = options.seeds or (5 if options.small else 40)
    return options


def rate(options: argparse.Namespace) -> bool:
    """Measure, or profile, how fast searches suggest; return whether that is as required."""
    from searches import rate as search_rate  # imports Optuna

    if options.profile:
        print(search_rate.profile_default(options.trials))
        return True
    return search_rate.measure_all(options.trials)


def overhead(options: argparse.Namespace) -> bool:
    """Measure trials that do nothing; return whether they cost as little as required."""
    from searches import overhead as search_overhead

    return search_overhead.measure(options.trials, options.concurrency, options.repeats, options.out)


def table(options: argparse.Namespace) -> bool:
    from searches import quality as search_quality

    folder = options.table or (options.out / "table" if options.small else TABLE)
    data = "simulated:200" if options.small else options.data
    search_quality.train_table(folder, data, options.weights_dir, search_quality.grid(options.small))
    return True


def quality(options: argparse.Namespace) -> bool:
    """Compare searches on the table, or on a made-up one where --small has no other."""
    from searches import quality as search_quality

    is_made_up = options.small and not options.table
    trials = search_quality.made_up_table() if is_made_up else search_quality.read_table(options.table or TABLE)
    trainings = (2, 4, 8) if options.small else (6, 12, 24, 48)
    sizes = search_quality.Sizes(options.seeds, options.workers, trainings)
    return search_quality.compare_searches(trials, sizes, options.out)


def spaces(options: argparse.Namespace) -> bool:
    """Train a table of what people train with today, and compare searches with and without it; return whether it
    pays."""
    from searches import quality as search_quality
    from searches import spaces as search_spaces

    folder = options.table or (options.out / "spaces" if options.small else SPACES_TABLE)
    data = "simulated:200" if options.small else options.data
    search_quality.train_table(folder, data, options.weights_dir, search_spaces.grid(options.small))
    sizes = search_quality.Sizes(options.seeds, options.workers, (2, 4) if options.small else (6, 12, 24))
    return search_spaces.compare_spaces(search_quality.read_table(folder), sizes, options.out)


PARTS: dict[str, Callable[[argparse.Namespace], bool]] = {
    part.__name__: part for part in (rate, overhead, table, quality, spaces)
}


if __name__ == "__main__":
    sys.exit(main())
