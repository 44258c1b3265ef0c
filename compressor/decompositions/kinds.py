"""The decompositions by name."""

from __future__ import annotations

from compressor.core.errors import UnknownPlugin
from compressor.decompositions.channel import ChannelWise
from compressor.decompositions.depthwise import DepthwiseSeparable
from compressor.decompositions.linear import LinearPair
from compressor.decompositions.protocol import Decomposition
from compressor.decompositions.spatial import SpatialWise
from compressor.decompositions.tucker2 import Tucker2

KINDS: dict[str, type[Decomposition]] = {
    kind.name: kind for kind in (ChannelWise, SpatialWise, DepthwiseSeparable, Tucker2, LinearPair)
}


def decomposition_of(kind: str) -> Decomposition:
    """The decomposition called `kind`, with its defaults.

    Raises:
        UnknownPlugin: there is none; the nearest name is suggested.
    """
    if kind not in KINDS:
        raise UnknownPlugin("decomposition", kind, KINDS)
    return KINDS[kind]()
