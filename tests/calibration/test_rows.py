"""Every kind of layer, as rows: reading them and multiplying by the weight gives what the layer returns."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

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

LAYERS = {
    "linear": (nn.Linear(6, 4), (5, 6)),
    "tokens": (nn.Linear(6, 4), (2, 7, 6)),
    "1d": (nn.Conv1d(6, 4, 3, stride=2, padding=2, dilation=2), (2, 6, 11)),
    "3d": (nn.Conv3d(2, 3, (1, 3, 2), padding=(0, 1, 1)), (2, 2, 3, 4, 5)),
    "grouped": (nn.Conv2d(6, 4, 3, padding=1, groups=2), (2, 6, 5, 4)),
    "depthwise": (nn.Conv2d(6, 6, 3, stride=2, groups=6), (2, 6, 7, 8)),
    "same": (nn.Conv2d(3, 4, (4, 3), padding="same", dilation=(1, 2)), (2, 3, 6, 9)),
    "valid": (nn.Conv2d(3, 4, 3, padding="valid"), (2, 3, 6, 9)),
    "reflected": (nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect", stride=2), (2, 3, 6, 9)),
    "transposed": (
        nn.ConvTranspose2d(4, 3, (3, 2), stride=(2, 3), padding=1, output_padding=1, dilation=2),
        (2, 4, 4, 5),
    ),
    "transposed depthwise": (nn.ConvTranspose1d(3, 3, 4, stride=2, padding=1, groups=3), (2, 3, 5)),
}


@pytest.mark.filterwarnings("ignore:Using padding=.same.")  # an even kernel: a copy is made
@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_weight_are_what_the_layer_returns(name):
    layer, shape = LAYERS[name]
    layer = layer.double()
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    output = layer(given)
    n = n_rows_of(layer, output)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(1))[: n // 2 + 1]
    x = inputs_of(layer, given, output, rows)  # (n_rows, groups, d)
    assert is_linear(layer) and x.shape[2] == n_unknowns(layer) and n_outputs(layer) == layer.bias.shape[0]
    change = torch.randn(x.shape[1], x.shape[2], n_outputs(layer) // x.shape[1]).double()
    expected = outputs_of(layer, output, rows) + torch.einsum("ngd,gdk->ngk", x, change).flatten(1)
    add_to_weight(layer, change)
    torch.testing.assert_close(outputs_of(layer, layer(given), rows), expected)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_convolutions_of_any_geometry(data):
    draw = lambda least, most: data.draw(st.integers(least, most))  # noqa: E731
    groups, kernel, dilation = draw(1, 3), draw(1, 4), draw(1, 3)
    shape = {"kernel_size": kernel, "dilation": dilation, "stride": draw(1, 3), "padding": draw(0, 3)}
    torch.manual_seed(0)
    transposed = groups == 1 and data.draw(st.booleans())
    kind = nn.ConvTranspose1d if transposed else nn.Conv1d
    layer = kind(2 * groups, 3 * groups, groups=groups, bias=False, **shape).double()
    given = torch.randn(2, 2 * groups, draw(8, 14) + dilation * kernel).double()
    output = layer(given)
    rows = torch.arange(n_rows_of(layer, output))
    x = inputs_of(layer, given, output, rows)
    change = torch.randn(groups, x.shape[2], 3).double()
    expected = output + outputs_back(torch.einsum("ngd,gdk->ngk", x, change).flatten(1), output)
    add_to_weight(layer, change)
    torch.testing.assert_close(layer(given), expected)


def outputs_back(rows, output):
    return rows.unflatten(0, (len(output), -1)).transpose(1, 2)


def test_layers_that_are_no_rows():
    assert not is_linear(nn.BatchNorm2d(3))
    assert not is_linear(nn.ConvTranspose2d(4, 6, 3, groups=2))
    assert not is_linear(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))


def test_the_axis_of_outputs():
    assert outputs_axis(nn.ConvTranspose2d(4, 6, 3)) == 1
    assert [outputs_axis(layer) for layer in (nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(4, 4, 3, groups=4))] == [0, 0]
