"""Random layers with every option that a layer to split may have."""

import torch
from hypothesis import strategies as st
from torch import nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@st.composite
def layer_cases(draw, dims=(1, 2, 3)):
    """(convolution in double precision, an input for it)."""
    n_dims = draw(st.sampled_from(dims))
    groups = draw(st.sampled_from((1, 2, 3)))
    n_in, n_out = (groups * draw(st.integers(1, 3)) for _ in range(2))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n_dims))

    kernel, dilation = each(1, 3), each(1, 2)
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular")))
    # An even span would make torch warn that padding "same" needs a copy.
    even = any(d * (k - 1) % 2 for k, d in zip(kernel, dilation, strict=True))
    named = draw(st.sampled_from((None, None, "valid"))) if even else draw(st.sampled_from((None, "valid", "same")))
    padding = named or each(0, 2)
    stride = 1 if named == "same" else each(1, 3)
    seed = draw(st.integers(0, 1000))
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layer = CONVOLUTIONS[n_dims](
            n_in,
            n_out,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=draw(st.booleans()),
            padding_mode=mode,
            dtype=torch.float64,
        )
        sizes = (draw(st.integers(5, 7)) for _ in range(n_dims))  # at least what dilated kernels of 3 span
        return layer, torch.randn(2, n_in, *sizes, dtype=torch.float64)


def seeded(kind, *args, seed=0, **options):
    """A module whose weights come from a seed of its own."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return kind(*args, **options)


def separable_conv():
    """One in which each kind is exact at rank 1: every kernel is the same product of a column and a row, times a number
    that is itself a product of one per input and one per output."""
    layer = nn.Conv2d(2, 3, (2, 3), bias=False, dtype=torch.float64)
    factors = ([1.0, -2.0, 3.0], [2.0, 5.0], [1.0, 4.0], [1.0, 0.0, -1.0])
    layer.weight.data = torch.einsum("n,c,y,x->ncyx", *(torch.tensor(f, dtype=torch.float64) for f in factors))
    return layer


def full_ranks(factors):
    """The highest that the shapes allow."""
    return factors.bounded(tuple(spectrum.shape[1] for spectrum in factors.spectra))
