"""The pre-flight of a run: coverage, and where code stands in the way for no good reason, coverage without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from torch import nn

from compressor.core.copies import share_tensors
from compressor.core.errors import NothingPrunable
from compressor.core.groups import Coverage
from compressor.core.plan import Rewrite
from compressor.core.progress import Progress, SilentProgress
from compressor.rewrites.apply import apply
from compressor.rewrites.buffers import plain_tensors
from compressor.rewrites.find import computes_the_same, find
from compressor.runs.coverage import cover
from compressor.runs.record import Source

Outcome = Coverage | NothingPrunable
Rewriting = tuple[Source, Outcome, str]  # the last: what to say of it; nothing if it was not worth it


def cover_rewritten(
    source: Source,
    ignore: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
    prune: Sequence[str] = (),
    note: Callable[[str], None] | None = None,
    needed: bool = True,
) -> tuple[Source, Coverage]:
    """As `cover`; where a rewrite frees groups, of the rewritten model, which is then the source's.

    Args:
        source: left as it is.
        ignore, seed, progress, prune, needed: as for `cover`.
        note: receives the sentence that says what was rewritten; `progress` does where it is left out.

    Raises:
        As `cover`.
    """
    listener = progress or SilentProgress()

    def covered(module: nn.Module) -> Outcome:
        try:
            return cover(module, source.inputs, ignore, seed, listener, prune)
        except NothingPrunable as error:
            return error

    found = covered(source.module)
    helped = True
    while helped:  # a table can hide that a block ties the stream that it is added to, and the reverse
        helped = False
        for rewrite in (_registering, _replacing):
            source, found, said = rewrite(source, found, covered)
            if said:
                (note or listener.note)(said)
                helped = True
    if isinstance(found, NothingPrunable):
        if needed:
            raise found
        return source, cover(source.module, source.inputs, ignore, seed, listener, prune, needed=False)
    return source, found


def _registering(source: Source, before: Outcome, covered: Callable[[nn.Module], Outcome]) -> Rewriting:
    """Makes buffers of the plain tensors that stand in the way."""
    all_of_them = plain_tensors(source.module)
    registered = _rewritten(source, all_of_them)
    if registered is None:
        return source, before, ""
    freed = covered(registered.module)
    if isinstance(freed, NothingPrunable) or freed.prunable_macs_share <= _share(before):
        return source, before, ""
    cut = {axis.tensor for group in freed.groups for member in group.members for axis in member.axes}
    names = {_name_of(rewrite): rewrite for rewrite in all_of_them if _name_of(rewrite) in cut}
    needed = _rewritten(source, tuple(names.values()))
    if needed is None:
        return source, before, ""
    said = (
        f"{_listed(names)}: registered as a buffer that is not saved, because what meets a plain tensor cannot be cut; "
        f"{freed.prunable_macs_share:.0%} of the MACs can be pruned instead of {_share(before):.0%}."
    )
    return needed, freed, said


def _replacing(source: Source, before: Outcome, covered: Callable[[nn.Module], Outcome]) -> Rewriting:
    """Replaces the blocks that tie sizes for no good reason."""
    if isinstance(before, NothingPrunable):
        blocks, n_before = [name for name, _ in source.module.named_modules() if name], 0
    else:
        blocks, n_before = list(before.tied), len(before.groups)
    rewrites = find(source.module, source.inputs, blocks)
    rewritten = _rewritten(source, rewrites)
    if rewritten is None:
        return source, before, ""
    freed = covered(rewritten.module)
    if isinstance(freed, NothingPrunable) or len(freed.groups) <= n_before:
        return source, before, ""
    said = (
        f"{_listed(rewrite.layer for rewrite in rewrites)}: rewritten, with equal outputs, because the code ties the "
        f"attention's width to the stream's; {len(freed.groups)} groups instead of {n_before}."
    )
    return rewritten, freed, said


def _rewritten(source: Source, rewrites: tuple[Rewrite, ...]) -> Source | None:
    """The source after these; None if there are none, or if the model then computes something else."""
    if not rewrites:
        return None
    module = share_tensors(source.module)
    apply(module, rewrites)
    if not computes_the_same(module, source.module, source.inputs):
        return None
    return replace(source, module=module, rewrites=(*source.rewrites, *rewrites), as_given=source.original)


def _share(found: Outcome) -> float:
    return 0.0 if isinstance(found, NothingPrunable) else found.prunable_macs_share


def _name_of(rewrite: Rewrite) -> str:
    return f"{rewrite.layer}.{rewrite.options['name']}" if rewrite.layer else str(rewrite.options["name"])


def _listed(names: Iterable[str]) -> str:
    every = [*names]
    return ", ".join(every[:3]) + (", ..." if len(every) > 3 else "")
