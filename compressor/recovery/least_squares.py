"""Least-squares reconstruction: what reads the channels that stay is refitted to return what the original returned."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressor.calibration.calls import Enough, calls_in_pass, run, watched
from compressor.calibration.ridge import best_ridge, collector
from compressor.calibration.rows import (
    add_to_weight,
    inputs_of,
    is_linear,
    n_outputs,
    n_rows_of,
    n_unknowns,
    outputs_axis,
    outputs_of,
)
from compressor.calibration.waiting import WaitingPasses
from compressor.core.errors import DataError, InvalidOption
from compressor.core.protocols import RecoveryContext
from compressor.recovery._bias import LAYERS, add_to_outputs, norms_behind
from compressor.recovery._images import CalibrationImages
from compressor.training.forward import borrowed
from exporters.signature import ExampleInputs

TARGET_BYTES = 512 * 2**20  # of the original's outputs that are kept at a time
WAITING_BYTES = 2 * 2**30  # of what passes that wait at a layer hold, about
WIDEST_SUMS = 8192  # unknowns; a layer with more is fitted from as few rows, since the square of this is half a GiB
ROWS_OF_WIDE = 4096
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
ROUNDING = 2e-6  # of an output: float32 computes a layer of fewer channels in another order
HELD = 4  # every so many batches, one is not fitted to, to choose the ridge


@dataclass(frozen=True)
class LeastSquares:
    """Refits every convolution and linear layer in turn, in closed form, from a few hundred unlabelled images.

    Paper: Yihui He, Xiangyu Zhang, Jian Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017,
        arXiv:1707.06168 (linear reconstruction with the error made upstream); Jian-Hao Luo, Jianxin Wu, Weiyao Lin,
        "ThiNet", ICCV 2017, arXiv:1707.06342 (the next layer's output as what is to be kept).

    Equations:
        min over D, e of mean over r of ||y_r - z_r - D x_r - e||^2 + a v ||D||^2     -> `calibration.ridge.Sums.fit`
        W <- W + D,  b <- b + e                                                       -> `_refit`

    Notation:
        x_r: what output position r of the layer reads in the small model, (C_in / groups * kH * kW,).
        y_r: what the original layer returns there, of the outputs that stay, (C_out,), before the norm.
        z_r: what the small layer returns there, (C_out,); W, b: its weight and bias; D, e: their change.
        v: mean variance of the entries of x; a: ridge, no unit.

    Options:
        n_images (int, default 512): unlabelled images.
        n_rows (int, default 10,000): output positions that each layer is fitted to, drawn from all images alike.
        ridge (float or None, default None): how much the weights are held, as a share of the inputs' mean variance;
            None: of 0.001, 0.01, 0.1 and 1, for each layer the one that does best on a quarter of the batches when
            fitted to the others, and no change at all where none does any good.
        batch_size (int, default 32): images a pass; memory grows with it, and with nothing else.

    Returns:
        The report's facts: layers refitted, images, rows, and the share of the squared output error that is left.

    Deviations:
        - Every layer in the order of execution, so that each sees what the refitted ones before it return; the papers
          refit the layers that read pruned channels. A change is penalised and not the weight, so that inputs that say
          nothing leave the weights as they are.
        - A layer without a bias hands its intercept to the batch norm that is given just what it returns; where there
          is none, it is fitted without an intercept.
        - A residual stream is no layer's output: each branch is fitted to the original's branch, and the layers that
          read the stream make up for what it has lost.
        - Positions are drawn once a layer and batch; the papers draw some from each image, too.

    Raises:
        InvalidOption: an option out of range.
        DataError: no images, images that the model does not accept, or outputs that are not finite.

    Complexity:
        One pass of the small model, and few of the original; O(d^3) a layer with d numbers read by an output,
        O(rows * d^2) for its sums. Memory: d^2 numbers, half a GiB of outputs, and 2 GiB of passes that wait at a
        layer; batches that do not fit there (and layers called more than once) take a pass of their own a layer.

    Example:
        An output that was x0 + x1 and may read x0 alone, where x1 = 2 x0: the weight becomes 3.

        >>> from compressor.calibration.ridge import Sums
        >>> x = torch.tensor([[1.0], [2.0], [-1.0]])
        >>> sums = Sums()
        >>> sums.add(x[:, None], (x + 2 * x)[:, None] - x[:, None])
        >>> 1 + round(float(sums.fit(ridge=0.0, intercept=False).weight), 9)
        3.0
    """

    summary: ClassVar[str] = "weights refitted in closed form to the original's outputs, from unlabelled images"
    paper: ClassVar[str] = "He, Zhang, Sun, Channel Pruning, ICCV 2017, arXiv:1707.06168"
    use_when: ClassVar[str] = "there are a few hundred images without labels, and no time to train"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    n_images: int = 512
    n_rows: int = 10_000
    ridge: float | None = None
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name in ("n_images", "n_rows", "batch_size"):
            if getattr(self, name) < 1:
                raise InvalidOption("least_squares", name, "at least 1", getattr(self, name))
        if self.ridge is not None and not 0 < self.ridge < math.inf:
            raise InvalidOption("least_squares", "ridge", "above 0, or None", self.ridge)

    def apply(self, context: RecoveryContext, progress: Any) -> dict[str, float | int | str]:
        """Changes weights, biases and running means of `context.model` in place; no labels are read."""
        images = CalibrationImages.of("least_squares", context, self.n_images, self.batch_size)
        with borrowed(context.model, context.device), borrowed(context.original, context.device), torch.no_grad():
            layers, n_skipped = _layers(context, images, self.n_rows)
            norms = norms_behind(context.model, next(iter(images)))
            errors: list[tuple[float, float]] = []
            with (
                progress.step("refitting layers", len(layers)) as step,
                WaitingPasses(context.model, _as_wait(images, layers), [layer.name for layer in layers]) as passes,
            ):
                for some in _portions(layers):
                    targets = _returns(context.original, context.seed, images, some)
                    for layer in some:
                        calls = _calls(context.model, passes, images, layer)
                        errors.append(_refit(context, layer, calls, targets.pop(layer.name), norms, self.ridge))
                        step.advance()
        short = [layer.name for layer in layers if layer.n_rows < layer.n_unknowns]
        if short:
            progress.note(
                f"least_squares: {len(short)} layers (the first is {short[0]}) have more unknowns than rows to fit "
                "them to; the ridge holds what the rows do not say. More images (n_images) or rows (n_rows) help."
            )
        if n_skipped:
            progress.note(
                f"least_squares: {n_skipped} layers stay as they are: they are not called as modules, share their "
                "weight, or see other rows than in the original."
            )
        before, after = (sum(each) for each in zip(*errors, strict=True)) if errors else (0.0, 0.0)
        return {
            "layers": len(layers),
            "layers_left_as_they_are": n_skipped,
            "images": len(images),
            "error_left_percent": round(100 * after / before, 2) if before else 0.0,
        }


@dataclass(frozen=True)
class _Layer:
    """A layer that both models call alike."""

    name: str
    keep: Tensor  # (C_out,): of the original's outputs, those that the small layer has
    n_calls: int  # a pass
    share: float  # of its rows that are drawn
    n_rows: int  # that are drawn from all images, about
    n_unknowns: int
    n_bytes: int  # that the largest of its calls is given and returns


def _layers(context: RecoveryContext, images: CalibrationImages, n_rows: int) -> tuple[list[_Layer], int]:
    """The layers that can be refitted, in the order in which they are first called, and how many others there are."""
    first = next(iter(images))
    calls = {model: _sizes_of_calls(model, first) for model in (context.model, context.original)}
    cuts = context.plan.cuts if context.plan else ()
    kept = {(cut.tensor, cut.axis): cut.keep for cut in cuts}
    owners = Counter(id(p) for module in context.model.modules() for p in module._parameters.values())
    found = []
    for name, sizes in calls[context.model].items():
        module, before = context.model.get_submodule(name), context.original.get_submodule(name)
        weight = module._parameters["weight"]
        rows, others = ([n_rows for n_rows, _ in of.get(name, ())] for of in calls.values())
        if rows != others or owners[id(weight)] > 1:
            continue
        keep = kept.get((f"{name}.weight", outputs_axis(before)), range(n_outputs(before)))
        d = n_unknowns(module)
        n_there = round(sum(rows) / first.batch_size * len(images))
        n_drawn = min(n_rows if d <= WIDEST_SUMS else min(n_rows, ROWS_OF_WIDE), n_there)
        n_bytes = max(n for _, n in sizes)
        found.append(_Layer(name, torch.tensor(keep), len(rows), n_drawn / n_there, n_drawn, d, n_bytes))
    n_all = sum(isinstance(module, LAYERS) for module in context.model.modules())
    return found, n_all - len(found)


def _sizes_of_calls(model: nn.Module, inputs: ExampleInputs) -> dict[str, list[tuple[int, int]]]:
    """{layer: (rows, bytes given and returned) of each of its calls}, in the order of the first calls."""
    found: dict[str, list[tuple[int, int]]] = {}

    def called(name: str, module: nn.Module, given: Tensor, output: Tensor) -> None:
        found.setdefault(name, []).append((n_rows_of(module, output), given.nbytes + output.nbytes))

    names = [name for name, module in model.named_modules() if is_linear(module)]
    with watched(model, names, called):
        run(model, inputs)
    return found


def _as_wait(images: CalibrationImages, layers: Sequence[_Layer]) -> Iterator[ExampleInputs]:
    """As many batches as can wait at a layer all at once; the others begin anew for every layer."""
    held = 2 * max((layer.n_bytes for layer in layers), default=0)  # what a layer is given, and a stream that passes by
    return islice(images, WAITING_BYTES // max(1, held))


def _portions(layers: Sequence[_Layer]) -> Iterator[list[_Layer]]:
    """In order, as many at a time as their outputs may be kept."""
    portion: list[_Layer] = []
    n_bytes = 0
    for layer in layers:
        n_bytes += 4 * layer.n_rows * len(layer.keep)
        if portion and n_bytes > TARGET_BYTES:
            yield portion
            portion, n_bytes = [], 4 * layer.n_rows * len(layer.keep)
        portion.append(layer)
    if portion:
        yield portion


def _returns(
    original: nn.Module, seed: int, images: CalibrationImages, layers: Sequence[_Layer]
) -> dict[str, list[Tensor]]:
    """{layer: what the original returns in the drawn rows of each batch and call, (n_rows, C_out) each}."""
    known = {layer.name: layer for layer in layers}
    found: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    n_left = 0

    def called(name: str, module: nn.Module, _given: Tensor, output: Tensor) -> None:
        nonlocal n_left
        rows = _drawn(seed, known[name], len(found[name]), module, output)
        found[name].append(outputs_of(module, output, rows)[:, known[name].keep.to(output.device)])
        n_left -= 1
        if not n_left:
            raise Enough

    with watched(original, list(known), called):
        for inputs in images:
            n_left = sum(layer.n_calls for layer in layers)
            run(original, inputs)
    return found


def _calls(
    model: nn.Module, passes: WaitingPasses, images: CalibrationImages, layer: _Layer
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(number, given, returned) of every call of the layer in all batches."""
    n_waiting = 0
    if layer.n_calls == 1:
        n_waiting = len(passes)
        for number, call in enumerate(passes.reach(layer.name)):
            if call is not None:
                yield number, *call
    for batch, inputs in enumerate(images.after(n_waiting), n_waiting):
        for number, call in enumerate(calls_in_pass(model, layer.name, layer.n_calls, inputs), batch * layer.n_calls):
            yield number, *call


def _refit(
    context: RecoveryContext,
    layer: _Layer,
    calls: Iterable[tuple[int, Tensor, Tensor]],
    targets: Sequence[Tensor],
    norms: Mapping[str, str],
    ridge: float | None,
) -> tuple[float, float]:
    """Changes one layer of the small model, after all that come before it; squared errors before and after."""
    fitted, held = (collector(layer.n_rows, layer.n_unknowns) for _ in range(2))
    module = context.model.get_submodule(layer.name)
    n_batches, wanted = 0, 0.0
    for number, given, output in calls:
        rows = _drawn(context.seed, layer, number, module, output)
        x = inputs_of(module, given, output, rows)  # (n_rows, groups, d)
        missing = targets[number] - outputs_of(module, output, rows)  # (n_rows, C_out)
        if not bool(missing.isfinite().all()):
            raise DataError(
                f"least_squares: what {layer.name} returns must be finite numbers, but some are not. "
                "Check the images' normalisation (--mean, --std)."
            )
        batch = number // layer.n_calls
        sums = held if batch % HELD == HELD - 1 and ridge is None else fitted
        sums.add(x, missing.unflatten(1, (x.shape[1], -1)))
        wanted += float(targets[number].double().square().sum())
        n_batches = batch + 1
    intercept = isinstance(module.bias, Tensor) or layer.name in norms
    every = fitted
    if n_batches >= HELD and ridge is None:
        every = fitted + held  # type: ignore[operator]  # both are of one kind
        chosen = best_ridge(fitted, held, RIDGES, intercept)
    else:
        chosen = ridge or RIDGES[0]
    if chosen is None or every.squares <= ROUNDING**2 * wanted:  # a layer of another width may round differently
        return every.squares, every.squares
    fit = every.fit(chosen, intercept)
    add_to_weight(module, fit.weight)
    add_to_outputs(context.model, layer.name, fit.intercept.flatten(), norms)
    return every.squares, every.error(fit)


def _drawn(seed: int, layer: _Layer, call: int, module: nn.Module, output: Tensor) -> Tensor:
    """The rows of one call that are looked at: the same of both models."""
    n = n_rows_of(module, output)
    generator = torch.Generator().manual_seed((seed << 20) + call)
    return torch.randperm(n, generator=generator)[: math.ceil(layer.share * n)].to(output.device)


PLUGIN = LeastSquares
