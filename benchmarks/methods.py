"""Which method to use: every choice of channels with every repair, on real weights and images, beside torch-pruning.

ResNet-20 and ResNet-56 are cut to several budgets of MACs by every method of the plug-in folder; each cut model is
measured as it is and after each chain of repairs without training. What depends on the seed is measured for three.
Every cell is one JSON file in --work, so that the benchmark goes on where it was stopped (delete a method's folders
there to have it measured anew). `--write-docs` measures nothing: it makes docs/methods.md and its plot of the cells
that are there.

    python benchmarks/methods.py --weights ../shared/weights --data ../shared/data/cifar10 [--methods l1,random]
        [--budgets 50%,70%,30%] [--allocations local,global,inner] [--seeds 0] [--write-docs]

Channels are chosen once and each repair begins with a fresh copy; the images of the accuracy are the first --images of
the test set. Everything runs on one thread.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import cifar_resnet
from method_parts import ours, rival
from method_parts.arguments import names, seeds, shares, some_of
from method_parts.cells import Choice, Chosen, Dense, chosen_path, dense_path, read, repaired_path, save
from method_parts.page import page
from method_parts.plot import plot
from method_parts.repairs import CHAINS, Repairs, available
from method_parts.rows import n_missing, rows_of
from method_parts.schedule import NATURAL, Remaining, Request, all_methods, choices, is_rival
from method_parts.subject import ALLOCATIONS, Places, Subject, subjects
from zoo_parts.sentences import ROOT, in_one_line, with_place

from compressor.core.errors import CompressionError
from compressor.core.files import write_atomically
from compressor.training.evaluate import evaluate

DOCS = ROOT / "docs" / "methods.md"


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(options)
    except CompressionError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on with the cells that are left", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def run(options: argparse.Namespace) -> None:
    """Measures what has no file yet; or writes the page, if that is asked for."""
    request = Request(
        options.models,
        options.methods,
        options.budgets,
        options.allocations,
        options.seeds,
        available(options.repairs),
        options.images,
    )
    if options.write_docs is not None:
        _write_docs(request, options)
    else:
        _measure(request, options)


def _measure(request: Request, options: argparse.Namespace) -> None:
    found = subjects(request.models, Places(options.architectures, options.weights, options.data), request.n_images)
    dense = {name: _dense(subject, request.n_images, options.work) for name, subject in found.items()}
    remaining = Remaining(request, options.work, dense)
    every = choices(request)
    waiting = remaining.waiting(every)
    print(f"{len(every)} choices, {len(waiting)} to run, {_minutes(remaining.seconds(waiting))}", flush=True)
    for number, choice in enumerate(waiting, 1):
        start = time.perf_counter()
        said = _one(found[choice.model], choice, request, remaining, options.work)
        remaining.note(choice)
        spent, left = time.perf_counter() - start, _minutes(remaining.seconds(waiting[number:]))
        print(f"[{number}/{len(waiting)}] {choice}: {said} ({spent:.0f} s; {left} left)", flush=True)


def _one(subject: Subject, choice: Choice, request: Request, remaining: Remaining, work: Path) -> str:
    """Chooses, repairs and measures; returns what to say of it."""
    path = chosen_path(choice, work)
    chosen = read(Chosen, path)
    if chosen is None:
        chosen = _as_earlier_seed(_chosen(subject, choice), request, work)
        save(chosen, path)
    if chosen.failure:
        return chosen.failure
    if chosen.same_as_seed is not None:
        return f"the channels of seed {chosen.same_as_seed}"
    cut = rival.cut(subject, chosen) if is_rival(choice) else ours.cut(subject, chosen)
    repairs = Repairs(subject, chosen, cut)
    said = [f"chosen in {chosen.seconds:.2f} s"]
    for chain in remaining.chains(choice):
        repaired = repairs.measure(chain)
        save(repaired, repaired_path(choice, chain, request.n_images, work))
        said.append(f"{chain} {repaired.failure or f'{repaired.top1_percent:.1f}'}")
    return ", ".join(said)


def _chosen(subject: Subject, choice: Choice) -> Chosen:
    try:
        return rival.decide(subject, choice) if is_rival(choice) else ours.decide(subject, choice)
    except (CompressionError, rival.CannotPrune) as error:
        return Chosen(choice, failure=in_one_line(str(error)))
    except Exception as error:  # a bug, ours or theirs, which must not look like a result nor end the benchmark
        return Chosen(choice, failure=f"[bug] {with_place(error)}")


def _as_earlier_seed(chosen: Chosen, request: Request, work: Path) -> Chosen:
    """The same, without a plan, where the first seed kept these very channels: the seed has no part in the choice."""
    first = replace(chosen.choice, seed=request.seeds[0])
    before = read(Chosen, chosen_path(first, work)) if first != chosen.choice else None
    if before is None or before.plan is None or chosen.plan is None or before.plan.groups != chosen.plan.groups:
        return chosen
    return replace(chosen, plan=None, same_as_seed=first.seed)


def _dense(subject: Subject, n_images: int, work: Path) -> Dense:
    path = dense_path(subject.name, n_images, work)
    known = read(Dense, path)
    if known is None:
        start = time.perf_counter()
        top1, n_images = evaluate(subject.source.module, subject.data.val)
        known = Dense(subject.name, top1, n_images, time.perf_counter() - start, subject.macs())
        save(known, path)
    return known


def _write_docs(request: Request, options: argparse.Namespace) -> None:
    dense = _known_dense(request, options.work)
    rows = rows_of(request, options.work)
    docs: Path = options.write_docs
    drawing = docs.with_suffix(".svg")
    write_atomically(drawing, plot(rows, dense))
    write_atomically(docs, page(rows, dense, request.chains, n_missing(request, options.work), drawing.name))
    print(f"wrote {docs.name} and {drawing.name}")


def _known_dense(request: Request, work: Path) -> Mapping[str, Dense]:
    found = {model: read(Dense, dense_path(model, request.n_images, work)) for model in request.models}
    return {model: dense for model, dense in found.items() if dense is not None}


def _minutes(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"), help="folder of NAME_cifar10.pt")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"), help="train.parquet, test.parquet")
    parser.add_argument("--architectures", type=Path, default=Path(cifar_resnet.__file__), metavar="FILE.py")
    parser.add_argument("--models", type=names, default="resnet20,resnet56")
    parser.add_argument("--methods", type=some_of(all_methods()), default=",".join(all_methods()))
    parser.add_argument("--budgets", type=shares, default="50%,70%,30%", help="of the MACs, as in 50%%,70%%")
    parser.add_argument("--allocations", type=some_of([NATURAL, *ALLOCATIONS]), default=NATURAL)
    parser.add_argument("--repairs", type=names, default=",".join(CHAINS), help="chains, as in a,b+c")
    parser.add_argument("--seeds", type=seeds, default="0,1,2")
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="the first N test images")
    parser.add_argument("--write-docs", type=Path, nargs="?", const=DOCS, metavar="FILE", help="measure nothing")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "methods")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
