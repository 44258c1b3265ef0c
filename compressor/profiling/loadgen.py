"""MLPerf LoadGen's single-stream and offline scenarios on files; an optional extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from compressor.core.errors import MissingDependency
from compressor.core.progress import Progress, SilentProgress
from compressor.core.scenario import OFFLINE, SINGLE_STREAM, Scenario
from compressor.profiling.children import ask
from compressor.profiling.loadgen_worker import Answered, Request

SECONDS = 5.0  # of each scenario, at least; a submission to MLPerf takes ten minutes
UNITS = {SINGLE_STREAM: "ms, 90th percentile", OFFLINE: "samples per second"}


def require_loadgen() -> None:
    """
    Raises:
        MissingDependency: LoadGen is not installed.
    """
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise MissingDependency("profile --loadgen", "mlcommons-loadgen", "mlcommons-loadgen")


def scenarios_for(batch_size: int) -> tuple[str, ...]:
    """A single-stream query is one sample, so it is asked where an inference takes one."""
    return (SINGLE_STREAM, OFFLINE) if batch_size == 1 else (OFFLINE,)


def run_scenarios(
    files: Sequence[Path],
    target_name: str,
    target_factory: str,
    *,
    threads: int = 1,
    batch_size: int = 1,
    seconds: float = SECONDS,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> list[Scenario]:
    """Each file under each scenario that fits the batch size, in a fresh process.

    Args:
        files: files that the target accepts.
        target_name: "onnxruntime:cpu".
        target_factory: "compressor.targets.onnxruntime_cpu:PLUGIN".
        threads: of the runtime.
        batch_size: inputs per inference; offline samples are answered in batches of it.
        seconds: of each scenario, at least.
        shapes: {input name: full shape}, for inputs whose axes other than the batch are dynamic.
        progress: is told of each scenario.

    Raises:
        MissingDependency: LoadGen is not installed.
        InvalidOption, ModelFileError, UnsupportedModel: the target cannot run a file.
    """
    require_loadgen()
    names = scenarios_for(batch_size)
    found = []
    with (progress or SilentProgress()).step(f"LoadGen on {target_name}", len(files) * len(names)) as step:
        for path in files:
            for name in names:
                request = Request(
                    factory=target_factory,
                    file=str(path.resolve()),
                    batch_size=batch_size,
                    threads=threads,
                    scenario=name,
                    seconds=seconds,
                    shapes={key: list(shape) for key, shape in (shapes or {}).items()},
                )
                module = "compressor.profiling.loadgen_worker"
                answered = ask(module, request, Answered, target_name, f"LoadGen on {path.name}")
                found.append(
                    Scenario(
                        scenario=name,
                        target=target_name,
                        path=path,
                        batch_size=batch_size,
                        threads=threads,
                        min_seconds=seconds,
                        valid=answered.valid,
                        value=answered.value,
                        unit=UNITS[name],
                        n_samples=answered.n_samples,
                        loadgen_version=answered.version,
                        results=answered.results,
                    )
                )
                step.advance(1)
    return found
