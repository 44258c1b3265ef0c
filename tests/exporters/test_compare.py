from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporters.compare import compare, peak


def run(module, file, top: float | None = None, rel: float = 1e-3, absolute: float = 1e-5):
    module, file = np.asarray(module), np.asarray(file)
    return compare([module], [file], ["y"], [peak(module) if top is None else top], rel, absolute)


def test_errors_by_hand() -> None:
    result = run([2.0, -4.0], [2.0, -4.002])
    assert result.max_abs_error == pytest.approx(0.002)
    assert result.max_rel_error == pytest.approx(0.0005)  # 0.002 / 4
    assert result.passed
    assert not run([2.0, -4.0], [2.0, -4.005]).passed


def test_tiny_outputs_do_not_pass_by_the_absolute_tolerance() -> None:
    assert not run([1e-9, 2e-9], [2e-9, 1e-9]).passed
    assert run([1e-9, 2e-9], [1e-9, 2.001e-9]).passed


def test_the_absolute_tolerance_serves_a_case_that_is_near_zero_by_chance() -> None:
    assert run([1e-7], [3e-7], top=1.0).passed
    assert not run([1e-7], [1e-3], top=1.0).passed
    assert run([0.0], [1e-6]).passed  # the output is zero everywhere: only the absolute tolerance is left
    assert not run([0.0], [1e-4]).passed


def test_integers_and_booleans_must_be_equal() -> None:
    assert run([100_000, 3], [100_000, 3]).passed
    assert not run([100_000, 3], [100_001, 3]).passed
    assert not run([True, False], [True, True]).passed


@pytest.mark.parametrize(
    ("module", "file", "said"),
    [
        ([1.0, 2.0], [[1.0, 2.0]], "has shape (2,) in the module, but (1, 2) in the file"),
        ([1.0], [1], "holds float64 in the module, but int64 in the file"),
        ([1.0], [np.nan], "infinite or undefined"),
        ([np.inf, 1.0], [-np.inf, 1.0], "infinite or undefined"),
        ([np.inf, 1.0], [3.0, 1.0], "infinite or undefined"),
    ],
)
def test_what_cannot_be_compared_is_said(module, file, said: str) -> None:
    result = run(module, file)
    assert said in result.failure
    assert not result.passed


def test_the_number_of_outputs_must_agree() -> None:
    one = np.ones(1)
    assert (
        "the module has 1 outputs, but the file has 2" in compare([one], [one, one], ["y"], [1.0], 1e-3, 1e-5).failure
    )


def test_masks_of_infinity_agree_with_themselves() -> None:
    assert run([-np.inf, 1.0], [-np.inf, 1.0]).passed


@given(arrays(np.float32, (3, 2), elements=st.floats(-1e6, 1e6, width=32)), st.floats(1e-6, 1e-1))
def test_equal_outputs_pass_and_a_larger_error_than_allowed_fails(values: np.ndarray, rel: float) -> None:
    values = values.astype(np.float64)
    assert run(values, values, rel=rel).passed
    assert run(values, values).max_abs_error == 0
    top = peak(values)
    far = values.copy()
    far[0, 0] += 1.01 * max(rel * top, min(1e-5, top / 100) if top else 1e-5) + 1e-9 * max(top, 1)
    assert not run(values, far, rel=rel).passed
