"""Is the graph right? Thousands of random networks, cut at random and compared with themselves, masked.

    python benchmarks/generated_networks.py [--cases 10000] [--seed 0] [--minutes M]

Case number n is drawn from seed n, so that a run goes on with `--seed` where another ended, and a failure is seen again
with `--cases 1`. The networks (tests/surgery/generated.py) hold convolutions of all kinds, norms, concatenations,
splits, reshapes, shuffles, attention with heads in attributes, bare parameters, tied weights, and several outputs.

For each of them: all groups are found as in a run, and tried; then for three random kept sets the cut network must
compute in double precision what the whole one does with the removed channels masked, and, where nothing counts its
channels, removing channels of zeros must change nothing. Ends with exit code 1 if any case failed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.surgery.generated import network
from tests.surgery.properties import (
    cutting_differs_from_masking,
    find,
    kept_sets,
    removing_zeros_changes_something,
)

N_KEPT_SETS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="ends when the time is up")
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    counts: Counter[str] = Counter()
    seed = options.seed
    for seed in range(options.seed, options.seed + options.cases):
        if time.monotonic() > end:
            break
        problem = run_case(seed, counts)
        counts["failed" if problem else "passed"] += 1
        if problem:
            print(f"\nseed {seed} failed: {problem}", flush=True)
        elif seed % 500 == 499:
            print(f"seed {seed}: {summary(counts)}", flush=True)
    print(f"{summary(counts)}; the next seed is {options.seed + counts['passed'] + counts['failed']}")
    return 1 if counts["failed"] else 0


def run_case(seed: int, counts: Counter[str]) -> str:
    """What is wrong with one case; nothing if it passed. Adds to `counts`."""
    r = Random(seed)
    text = "the network could not be drawn"
    try:
        model, x, text = network(r)
        found = find(model, x)
        problems = [f"{group.name}: {group.reason}" for group in found.wrong]
        for _ in range(N_KEPT_SETS):
            keep = kept_sets(found.groups, r)
            problems += [
                cutting_differs_from_masking(found, keep),
                removing_zeros_changes_something(model, x, found.groups, keep),
            ]
        problem = next(filter(None, problems), "")
    except Exception:  # a failure of this case, whatever it is; the other cases go on
        return f"{traceback.format_exc()}\n{text}"
    counts["groups"] += len(found.groups)
    counts["unfit"] += len(found.unfit)
    counts["channels"] += found.n_channels
    counts["prunable"] += found.n_prunable
    counts["with zeros"] += not model.sees_zeros
    return f"{problem}\n{text}" if problem else ""


def summary(counts: Counter[str]) -> str:
    n_cases, share = counts["passed"] + counts["failed"], counts["prunable"] / max(1, counts["channels"])
    return (
        f"{counts['passed']} of {n_cases} cases passed ({counts['with zeros']} networks had channels of zeros removed, "
        f"too); {counts['groups']} groups hold {share:.0%} of {counts['channels']} channels; "
        f"{counts['unfit']} groups were set aside since the network's code has sizes of its own"
    )


if __name__ == "__main__":
    sys.exit(main())
