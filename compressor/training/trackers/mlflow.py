"""MLflow: a run for each training, on the server that MLFLOW_TRACKING_URI names, else in a database in the folder."""

from __future__ import annotations

import importlib.util
import logging
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from compressor.core.errors import MissingDependency, OutputError

EXPERIMENT = "compressor"
RUNNING, FINISHED, KILLED = "RUNNING", "FINISHED", "KILLED"  # as MLflow calls them
_TAG = "compressor.training"
_FLUSH_S = 5.0  # between two messages to the server
_MOST = 1000  # numbers a message

logging.getLogger("mlflow").setLevel(logging.WARNING)  # its tables that are made are no news for people


class MLflow:
    """One run of the experiment "compressor" for each training, named after the folder and the training's title.

    MLFLOW_EXPERIMENT_NAME names another experiment. A training that was stopped goes on in its run.
    """

    summary: ClassVar[str] = "runs of an MLflow server or database"

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            OutputError: the server or the database cannot be used.
            MissingDependency: a database is needed, and what MLflow needs for one is not installed.
        """
        self._name = folder.absolute().parent.name
        self._key = str(folder.absolute())
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute()}/mlflow.db"
        if self._uri.startswith("sqlite") and importlib.util.find_spec("sqlalchemy") is None:  # mlflow-skinny has none
            raise MissingDependency("a database of MLflow", "sqlalchemy", "sqlalchemy alembic")
        self._runs: dict[str, str] = {}
        self._waiting: dict[str, list[Metric]] = {}
        self._flushed_at = time.monotonic()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings():  # what SQLAlchemy thinks of MLflow's models is not for our users
                warnings.simplefilter("ignore")
                self._client = MlflowClient(tracking_uri=self._uri)
                found = self._client.get_experiment_by_name(name)
                self._experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
        except (MlflowException, OSError) as error:
            reason = str(error).strip().splitlines()[0][:300]
            step = "Set MLFLOW_TRACKING_URI to a server that is up, or leave mlflow out of --track."
            raise OutputError(f"MLflow at {self._uri} cannot be used ({reason}). {step}") from error

    @property
    def hint(self) -> str:
        """How people look at it."""
        return f"mlflow ui --backend-store-uri {self._uri}" if "sqlite" in self._uri else f"MLflow at {self._uri}"

    def log(self, title: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, from 1; sent every few seconds."""
        now = int(time.time() * 1000)
        waiting = self._waiting.setdefault(title, [])
        waiting += [Metric(name, value, now, step) for name, value in values.items()]
        if time.monotonic() - self._flushed_at >= _FLUSH_S:
            self._flush()

    def close(self, finished: bool) -> None:
        """Sends what is left, and ends the runs."""
        self._flush()
        for run in self._runs.values():
            self._client.set_terminated(run, FINISHED if finished else KILLED)

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        for title, metrics in self._waiting.items():
            while metrics:
                self._client.log_batch(self._run(title), metrics=metrics[:_MOST])
                del metrics[:_MOST]

    def _run(self, title: str) -> str:
        """The id of the training's run; the one of a training that was stopped, if there is one."""
        if title not in self._runs:
            tag = f"{self._key}: {title}"
            unfinished = f"tags.`{_TAG}` = '{tag.replace(chr(39), '')}' and attributes.status != '{FINISHED}'"
            found = self._client.search_runs([self._experiment], unfinished, max_results=1)
            if found:
                self._runs[title] = found[0].info.run_id
                self._client.update_run(self._runs[title], status=RUNNING)
            else:
                tags = {_TAG: tag.replace(chr(39), "")}
                made = self._client.create_run(self._experiment, tags=tags, run_name=f"{self._name}: {title}")
                self._runs[title] = made.info.run_id
        return self._runs[title]


PLUGIN = MLflow
