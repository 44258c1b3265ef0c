"""The interface of the graph: a model and its inputs go in, groups of channels come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from compressor.core.errors import UnsupportedModel
from compressor.core.groups import BlockedGroup, ChannelGroup, ProductCost
from compressor.graph.axis import Axis
from compressor.graph.grouping import (
    add_readings,
    draft_groups,
    finish,
    freeze_repeated,
    keep_blocks_whole,
    products_of,
)
from compressor.graph.kinds import with_kinds
from compressor.graph.layers import makes_channels
from compressor.graph.naming import layers_matching
from compressor.graph.ties import Tie, owner_of, tie, tie_what_is_counted
from compressor.graph.tracing import Step, Trace, trace
from exporters.signature import ExampleInputs

NOT_RUN = "it is not called on these inputs, so its channels cannot be followed"


@dataclass(frozen=True)
class Dependencies:
    """Groups that may lose channels as far as operators say, those that may not, and who meets where."""

    groups: tuple[ChannelGroup, ...]
    blocked: tuple[BlockedGroup, ...]
    groups_at: tuple[frozenset[str], ...]  # per executed operator, the groups whose channels it sees
    owners: tuple[str, ...]  # per executed operator, the kind of the block that it belongs to
    products: tuple[ProductCost, ...]  # of activations, which shrink with groups
    tied: tuple[str, ...] = ()  # blocks whose code takes sizes to be one; known once cuts were tried


def find_groups(
    model: nn.Module, inputs: ExampleInputs, ignore: Sequence[str] = ()
) -> tuple[list[ChannelGroup], list[BlockedGroup]]:
    """As `follow`, without what happens at each operator."""
    found = follow(model, inputs, ignore)
    return list(found.groups), list(found.blocked)


def follow(
    model: nn.Module,
    inputs: ExampleInputs,
    ignore: Sequence[str] = (),
    tied: Mapping[str, Tie] | None = None,
) -> Dependencies:
    """Runs the model once, and follows every axis of every tensor through the operators that are executed.

    Sizes that the user's code has written down for itself are not seen: `compressor.surgery.trial` cuts every group on
    a copy before anybody relies on it.

    Args:
        model: left as it was found.
        inputs: run once.
        ignore: glob patterns of layers whose output channels must stay ("layer1.*", "stem").
        tied: kinds of blocks whose equal axes are to be one axis.

    Raises:
        InvalidOption: a pattern matches no layer.
        UnsupportedModel: the model does not run on these inputs.
    """
    modules = dict(model.named_modules())
    ignored = layers_matching(modules, ignore)
    try:
        traced = trace(model, inputs)
    except Exception as error:  # the model's own code may raise anything
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        raise UnsupportedModel(
            f"The model's channels cannot be followed, since it does not run ({reason}). Give inputs that it accepts."
        ) from error
    tie_what_is_counted(model, traced)
    tie(model, traced, tied or {})
    _keep_ignored(modules, ignored, traced)
    _keep_unread(modules, traced)
    freeze_repeated(traced)
    keep_blocks_whole(model, traced)
    drafts, places = draft_groups(model, traced)
    add_readings(drafts, traced, places)
    groups = with_kinds(finish(drafts, model), traced, model)
    return Dependencies(
        tuple(groups.values()),
        tuple(_blocked(modules, traced)),
        tuple(frozenset(groups[atom].name for atom in _atoms_at(step) if atom in groups) for step in traced.steps),
        tuple(owner_of(step, modules) for step in traced.steps),
        products_of(traced, places, groups, inputs.batch_size),
    )


def _atoms_at(step: Step) -> Iterator[Axis]:
    for dims in (*step.inputs, *step.outputs):
        for axis in dims:
            if axis is not None:
                yield from axis.atoms()


def _keep_ignored(modules: dict[str, nn.Module], ignored: dict[str, str], traced: Trace) -> None:
    for layer, pattern in ignored.items():
        axis = _made_by(modules[layer], layer, traced)
        if axis is not None:
            axis.freeze(f"{layer} is kept by --ignore {pattern}")


def _keep_unread(modules: dict[str, nn.Module], traced: Trace) -> None:
    read = {id(traced.tensors[name]) for name in traced.touched}
    for layer, module in modules.items():
        for leaf in (*module._parameters, *module._buffers):
            dims = traced.tensors.get(f"{layer}.{leaf}" if layer else leaf)
            for axis in dims if dims is not None and id(dims) not in read else ():
                if axis is not None:
                    axis.freeze(NOT_RUN)


def _made_by(module: nn.Module, layer: str, traced: Trace) -> Axis | None:
    leaf, number = makes_channels(module)
    dims = traced.tensors.get(f"{layer}.{leaf}" if layer else leaf) if leaf else None
    return dims[number] if dims else None


def _blocked(modules: dict[str, nn.Module], traced: Trace) -> list[BlockedGroup]:
    """Layers none of whose channels may leave; those that are kept by one axis stand together."""
    found: dict[tuple[Axis, ...], list[str]] = {}
    for layer, module in modules.items():
        axis = _made_by(module, layer, traced)
        atoms = tuple(dict.fromkeys(atom for atom in axis.atoms() if atom.size > 1)) if axis is not None else ()
        leaf, number = makes_channels(module)
        weight = module._parameters.get(leaf)
        if axis is None and weight is not None and weight.shape[number] == 1:
            found[(Axis(1, "it has a single channel, which has to stay"),)] = [layer]
        elif atoms and all(atom.frozen for atom in atoms):
            found.setdefault(atoms, []).append(layer)
    return [
        BlockedGroup(
            layers[0], sum(atom.size for atom in atoms), f"{'; '.join(_reasons(atoms))}.", layers=tuple(layers)
        )
        for atoms, layers in found.items()
    ]


def _reasons(atoms: Sequence[Axis]) -> list[str]:
    return list(dict.fromkeys(atom.frozen for atom in atoms))[:2]
