"""Proximal maps and subgradients against what their definitions say, by search and by autograd."""

from types import SimpleNamespace

import pytest
import torch


def objective(penalty, u, x, t):
    """|u - x|^2 / 2 + t * value(u) for every row of u, (rows, entries) -> (rows,)."""
    return 0.5 * (u - x).square().flatten(1).sum(1) + t * torch.func.vmap(penalty.value)(u)


def assert_no_number_is_better(penalty, x, t):
    """Searches all of [0, x], then finer about the best; for penalties that look at each entry alone."""
    x = torch.tensor([x], dtype=torch.float64)
    found = penalty.prox(x, t)
    assert found.shape == x.shape and found.dtype == x.dtype
    steps = torch.linspace(0, 1, 3001, dtype=torch.float64)[:, None]
    coarse = steps * x
    best = coarse[objective(penalty, coarse, x, t).argmin()]
    fine = best + (steps - 0.5) * x / 1000
    least = objective(penalty, torch.cat([coarse, fine]), x, t).min()
    mine = objective(penalty, found[None], x, t)[0]
    assert mine <= least + 1e-12 * (1 + x.square().sum()), (penalty, float(x), t, float(found))


def assert_no_vector_is_better(penalty, x, t, generator):
    """Tries the corners, and vectors about them, about x and about the answer, nearer and nearer."""
    found = penalty.prox(x, t)
    assert found.shape == x.shape
    mine = objective(penalty, found[None], x, t)[0]
    axes = torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape) * x
    starts = torch.cat([torch.zeros_like(x)[None], x[None], found[None], axes, x - axes])
    for size in (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4):
        noise = torch.randn(200, *x.shape, generator=generator, dtype=x.dtype) * size * (1 + x.abs().max())
        zeros = torch.rand(200, *x.shape, generator=generator) < 0.3
        for start in starts:
            tried = torch.cat([start + noise, (start + noise).where(~zeros, 0.0)])
            least = objective(penalty, tried, x, t).min()
            assert mine <= least + 1e-12 * (1 + x.square().sum()), (penalty, x, t, found)
        if size > 0.1:  # a second round about the best of the first
            starts = torch.cat([starts, tried[objective(penalty, tried, x, t).argmin()][None]])


def assert_subgradient(penalty, x):
    """Autograd of `value`, where the penalty is smooth."""
    x = torch.as_tensor(x, dtype=torch.float64).requires_grad_()
    expected = torch.autograd.grad(penalty.value(x), x)[0]
    assert torch.allclose(penalty.subgradient(x.detach()), expected, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="session")
def check():
    return SimpleNamespace(
        number=assert_no_number_is_better, vector=assert_no_vector_is_better, subgradient=assert_subgradient
    )
