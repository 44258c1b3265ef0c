"""The pre-flight of a run: coverage, and where blocks tie sizes for no good reason, coverage without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from compressor.core.copies import share_tensors
from compressor.core.errors import NothingPrunable
from compressor.core.groups import Coverage
from compressor.core.progress import Progress, SilentProgress
from compressor.rewrites.apply import apply
from compressor.rewrites.find import find
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
    coverage: Coverage | None = None
    try:
        coverage = cover(source.module, source.inputs, ignore, seed, listener, prune)
    except NothingPrunable as refused:
        rewrites = find(source.module, source.inputs, [name for name, _ in source.module.named_modules() if name])
        if not rewrites:
            raise refused
    else:
        rewrites = find(source.module, source.inputs, coverage.tied)
        if not rewrites:
            return source, coverage
    module = share_tensors(source.module)
    apply(module, rewrites)
    rewritten = replace(source, module=module, rewrites=rewrites, as_given=source.module)
    freed = cover(module, source.inputs, ignore, seed, listener, prune)
    before = len(coverage.groups) if coverage else 0
    if coverage and len(freed.groups) <= before:
        return source, coverage
    names = ", ".join(rewrite.layer for rewrite in rewrites[:3]) + (", ..." if len(rewrites) > 3 else "")
    (note or listener.note)(
        f"{names}: rewritten, with equal outputs, because the code ties the attention's width to the stream's; "
        f"{len(freed.groups)} groups instead of {before}."
    )
    return rewritten, freed
