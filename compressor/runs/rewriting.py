"""The pre-flight of a run: coverage, and where blocks tie sizes for no good reason, coverage without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from compressor.core.copies import share_tensors
from compressor.core.errors import NothingPrunable
from compressor.core.groups import Coverage
from compressor.core.progress import Progress, SilentProgress
from compressor.rewrites.apply import apply
from compressor.rewrites.find import computes_the_same, find
from compressor.runs.coverage import cover
from compressor.runs.record import Source


def cover_rewritten(
    source: Source,
    ignore: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
    prune: Sequence[str] = (),
    note: Callable[[str], None] | None = None,
) -> tuple[Source, Coverage]:
    """As `cover`; where a rewrite frees groups, of the model with its blocks replaced, which is then the source's.

    Args:
        source: left as it is.
        ignore, seed, progress, prune: as for `cover`.
        note: receives the sentence that says what was rewritten; `progress` does where it is left out.

    Raises:
        As `cover`.
    """
    listener = progress or SilentProgress()

    def covered(module: nn.Module) -> Coverage:
        return cover(module, source.inputs, ignore, seed, listener, prune)

    before = 0
    try:
        coverage = covered(source.module)
    except NothingPrunable:
        rewritten = _rewritten(source, [name for name, _ in source.module.named_modules() if name])
        if rewritten is None:
            raise
        freed = covered(rewritten.module)
    else:
        before = len(coverage.groups)
        rewritten = _rewritten(source, coverage.tied)
        freed = covered(rewritten.module) if rewritten is not None else coverage
        if rewritten is None or len(freed.groups) <= before:
            return source, coverage
    layers = [rewrite.layer for rewrite in rewritten.rewrites]
    (note or listener.note)(
        f"{', '.join(layers[:3])}{', ...' if len(layers) > 3 else ''}: rewritten, with equal outputs, because the code "
        f"ties the attention's width to the stream's; {len(freed.groups)} groups instead of {before}."
    )
    return rewritten, freed


def _rewritten(source: Source, blocks: Sequence[str]) -> Source | None:
    """The source with those of its blocks replaced that can be; None if none can, or if the model needs them as are."""
    rewrites = find(source.module, source.inputs, blocks)
    if not rewrites:
        return None
    module = share_tensors(source.module)
    apply(module, rewrites)
    if not computes_the_same(module, source.module, source.inputs):
        return None
    return replace(source, module=module, rewrites=rewrites, as_given=source.module)
