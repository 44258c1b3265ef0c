"""What holds for every regulariser in the real loop: it goes on after a kill, and in two processes as in one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.regularizers import every

ROOT = Path(__file__).parents[3]
N_STEPS = 12


class Stopped(Exception):
    pass


def listener(tiny, stop_at=None):
    def stop(n):
        if n == stop_at:
            raise Stopped

    return tiny.Listener(stop)


@pytest.fixture(scope="module", params=every.NAMES)
def uninterrupted(request):
    model = every.network()
    return request.param, model, every.run(request.param, model)


@pytest.mark.parametrize("stop_at", [2, 4, 7, 12])  # within an epoch, at the end of one, at the last step
def test_it_goes_on_after_a_kill(uninterrupted, tiny, assert_same, tmp_path, stop_at):
    name, whole, hook = uninterrupted
    with pytest.raises(Stopped):
        every.run(name, every.network(), tmp_path, listener(tiny, stop_at))
    model, heard = every.network(), listener(tiny)
    again = every.run(name, model, tmp_path, heard)
    assert heard.n == N_STEPS + 1 - stop_at  # the step at which it was killed had not been saved
    assert_same(model, whole)
    for key, tensor in hook.state().items():
        assert torch.equal(again.state()[key], tensor), key


def test_it_does_something(uninterrupted):
    """Else what the others here show would mean nothing."""
    from compressor.training.hooks import Hook

    name, whole, _ = uninterrupted
    plain = every.network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(every, "hook_of", lambda *_: Hook())
        every.run(name, plain)
    assert max((a - b).abs().max() for a, b in zip(whole.parameters(), plain.parameters(), strict=True)) > 1e-4


def test_two_processes_do_as_one_with_the_whole_batch(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    script = [str(Path(every.__file__)), str(tmp_path)]
    done = subprocess.run(
        [*command, *script], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in every.NAMES:
        alone = every.network()
        every.run(name, alone)
        for rank in (0, 1):
            found = load_file(tmp_path / f"{name}-{rank}.safetensors")
            for key, tensor in alone.named_parameters():
                torch.testing.assert_close(found[key], tensor.detach(), rtol=1e-3, atol=1e-5, msg=f"{name}, {key}")
