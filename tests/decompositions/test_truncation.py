import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.decompositions.truncation import truncate

shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 100))


def random(shape):
    *sizes, seed = shape
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(shape=shapes, rank=st.integers(1, 5))
def test_nearest_and_idempotent(shape, rank):
    matrices = random(shape)
    rank = min(rank, *matrices.shape[1:])
    cut = truncate(matrices, rank=rank)
    lost = torch.linalg.svdvals(matrices)[:, rank:].square().sum()
    torch.testing.assert_close((matrices - cut.matrices).square().sum(), lost, atol=1e-12, rtol=1e-9)
    again = truncate(cut.matrices, rank=rank)
    torch.testing.assert_close(again.matrices, cut.matrices, atol=1e-12, rtol=1e-9)
    assert truncate(cut.matrices, energy=1.0).rank <= rank  # the rest counts as 0


@settings(max_examples=30, deadline=None)
@given(shape=shapes, low=st.floats(0.1, 1), high=st.floats(0.1, 1))
def test_energy_is_kept_in_every_matrix_and_ranks_are_monotone(shape, low, high):
    matrices = random(shape)
    low, high = sorted((low, high))
    cut = truncate(matrices, energy=high)
    assert truncate(matrices, energy=low).rank <= cut.rank <= min(matrices.shape[1:])
    kept, whole = (m.square().sum((1, 2)) for m in (cut.matrices, matrices))
    assert bool((kept >= high * whole * (1 - 1e-9)).all())


@settings(max_examples=30, deadline=None)
@given(shape=shapes)
def test_the_subgradient_is_autograds_at_full_rank(shape):
    matrices = random(shape).requires_grad_()
    torch.linalg.svdvals(matrices).sum().backward()
    found = truncate(matrices.detach(), rank=min(matrices.shape[1:]))
    torch.testing.assert_close(found.subgradient, matrices.grad, atol=1e-8, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(shape=shapes, energy=st.floats(0.1, 1), step=st.floats(1e-4, 1e-2))
def test_a_step_against_it_lowers_the_nuclear_norm(shape, energy, step):
    cut = truncate(random(shape), energy=energy)
    singular = torch.linalg.svdvals(cut.matrices)[:, : cut.rank]
    after = torch.linalg.svdvals(cut.matrices - step * cut.subgradient)
    # Every singular value that is kept falls by the step (one below it ends as far on the other side).
    torch.testing.assert_close(after.sum(1), (singular - step).abs().sum(1), atol=1e-9, rtol=1e-9)
    if float(singular.min()) > step:
        assert bool((after.sum(1) < singular.sum(1)).all())


def test_singular_values_of_zero_are_not_pulled_at():
    # The second matrix has rank 1 only, but is cut to the first one's rank.
    matrices = torch.stack([torch.diag(torch.tensor([2.0, 1.0])), torch.diag(torch.tensor([3.0, 0.0]))])
    cut = truncate(matrices, energy=1.0)
    assert cut.rank == 2
    assert cut.subgradient[0].abs().tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert cut.subgradient[1].abs().tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("size", [(8, 72), (64, 64)])
def test_rounding_in_single_precision_is_no_rank(size):
    matrices = random((1, *size, 0)).float()
    cut = truncate(matrices, rank=size[0] // 2)
    assert truncate(cut.matrices, energy=1.0).rank == size[0] // 2
    assert int((torch.linalg.svdvals(cut.matrices) > 0).sum()) > size[0] // 2
