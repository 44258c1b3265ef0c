"""Running statistics, averaged anew."""

import pytest
import torch
from torch import nn

from compressor.calibration.norms import collecting, norms_with_statistics


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1)
    ).eval()


def test_only_norms_that_remember():
    model = net()
    assert norms_with_statistics(model) == [model[1]]


def test_two_batches_by_hand():
    """Batches (0, 2) and (4, 8): means 1 and 6, unbiased variances 2 and 8."""
    norm = nn.BatchNorm1d(1, momentum=0.3).eval()
    with collecting([norm]):
        for batch in ([0.0, 2.0], [4.0, 8.0]):
            norm(torch.tensor(batch)[:, None])
    assert (norm.running_mean.item(), norm.running_var.item()) == (3.5, 5.0)
    assert norm.momentum == 0.3 and not norm.training


def test_an_error_brings_the_former_statistics_back():
    norm = nn.BatchNorm1d(1)
    norm.running_mean.fill_(7.0)
    with pytest.raises(RuntimeError, match="stop"), collecting([norm]):
        norm(torch.tensor([[1.0], [2.0]]))
        raise RuntimeError("stop")
    assert norm.running_mean.item() == 7.0 and norm.momentum == 0.1 and norm.training
