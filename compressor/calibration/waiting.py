"""Forward passes that wait at a layer: its weight may be changed before they go on, and nothing is computed twice.

A model's `forward` is the user's code and cannot be cut into pieces, so each pass runs in a thread of its own. Only one
of them, or the caller, runs at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import partial
from threading import Semaphore, Thread
from types import TracebackType

import torch
from torch import Tensor, nn

from compressor.calibration.calls import first_given
from exporters.signature import ExampleInputs

Call = tuple[Tensor, Tensor]  # what a layer is given, and what it returns as its weight is now


class WaitingPasses:
    """One pass of the model for each of the inputs; all are ended on leaving the `with` block.

    Memory grows with the number of passes: each holds what its later layers still need.
    """

    def __init__(self, model: nn.Module, inputs: Iterable[ExampleInputs], names: Iterable[str]) -> None:
        """
        Args:
            names: the layers at which passes can be told to wait; layers whose `forward` is given one tensor.
        """
        names = list(names)
        self._passes = [_Pass(model, each, names) for each in inputs]

    def __enter__(self) -> WaitingPasses:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in self._passes:
            each.end()

    def __len__(self) -> int:
        return len(self._passes)

    def reach(self, name: str) -> Iterator[Call | None]:
        """Lets each pass in turn go on to its next call of the layer; None where there is no further one.

        The pass then waits before that call, and makes it with the weight that the layer has when it goes on.
        """
        for each in self._passes:
            yield each.reach(name)


class _Ended(BaseException):
    """Nobody wants the rest of the pass. No `Exception`, so that no model catches it."""


class _Pass:
    def __init__(self, model: nn.Module, inputs: ExampleInputs, names: list[str]) -> None:
        # The modules are copied, since models keep things of a pass in attributes; parameters and buffers are shared.
        shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
        own = copy.deepcopy(model, shared)
        for name in names:
            own.get_submodule(name).register_forward_pre_hook(partial(self._wait, name), with_kwargs=True)
        self._may_run, self._may_return = Semaphore(0), Semaphore(0)
        self._wanted: str | None = None  # None: nothing more
        self._call: Call | None = None
        self._error: BaseException | None = None
        self._has_ended = False
        self._thread = Thread(target=self._run, args=(own, inputs), daemon=True)  # outlives no interrupted process
        self._thread.start()

    def reach(self, name: str) -> Call | None:
        self._wanted = name
        self._go_on()
        if self._error is not None:
            raise self._error
        call, self._call = self._call, None  # the caller alone holds what the layer returned
        return call

    def end(self) -> None:
        self._wanted = None
        self._go_on()
        self._thread.join()

    def _go_on(self) -> None:
        """Runs the pass until it waits again, or has ended."""
        if not self._has_ended:
            self._may_run.release()
            self._may_return.acquire()

    def _run(self, model: nn.Module, inputs: ExampleInputs) -> None:
        self._may_run.acquire()
        try:
            if self._wanted is not None:
                with torch.no_grad():
                    inputs.call(model)
        except _Ended:
            pass
        except BaseException as error:  # raised by `reach`
            self._error = error
        self._has_ended = True
        self._may_return.release()

    def _wait(self, name: str, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        if name != self._wanted:
            return
        given = first_given(args, kwargs)
        self._call = (given, module.forward(given))
        self._may_return.release()
        self._may_run.acquire()
        if self._wanted is None:
            raise _Ended
