"""What was told is read back with MLflow's own client, from a real database."""

import importlib.util

import pytest

from compressor.core.errors import MissingDependency, OutputError
from compressor.core.plugins import PluginFolder

TRACKERS = PluginFolder("compressor.training.trackers", "tracker")


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return tmp_path / "a run" / "curves"


def runs(uri, experiment="compressor"):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {
        run.info.run_name: (
            run.info.status,
            {
                name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            },
        )
        for run in found
    }


def test_mlflow(tracker, database):
    made = tracker("mlflow", database)
    made.log("fine-tuning", 1, {"loss": 2.0})
    made.log("fine-tuning", 2, {"loss": 1.0})
    made.close(True)
    found = runs(f"sqlite:///{database}/mlflow.db")
    assert found == {"a run: fine-tuning": ("FINISHED", {"loss": [(1, 2.0), (2, 1.0)]})}


@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_mlflow_goes_on_in_the_run_that_was_stopped(tracker, database, monkeypatch, how):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    uri = f"sqlite:///{database}/mlflow.db"
    stopped = tracker("mlflow", database)
    stopped.log("a 'b'", 1, {"loss": 2.0})
    if how == "killed":
        stopped._flush()  # and never closed
    else:
        stopped.close(False)
    assert [status for status, _ in runs(uri, "mine").values()] == ["RUNNING" if how == "killed" else "KILLED"]
    again = tracker("mlflow", database)
    again.log("a 'b'", 2, {"loss": 1.0})
    again.close(True)
    found = runs(uri, "mine")
    assert list(found.values()) == [("FINISHED", {"loss": [(1, 2.0), (2, 1.0)]})]


def test_mlflow_sends_thousands_of_numbers(tracker, database):
    made = tracker("mlflow", database)
    for step in range(1, 1203):
        made.log("t", step, {"loss": float(step), "learning_rate": 0.1})
    made.close(True)
    ((_, metrics),) = runs(f"sqlite:///{database}/mlflow.db").values()
    assert len(metrics["loss"]) == len(metrics["learning_rate"]) == 1202


def test_mlflow_without_a_database(tracker, database, monkeypatch):
    tracker("mlflow", database).close(True)
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sqlalchemy" else found(name))
    with pytest.raises(MissingDependency, match="sqlalchemy"):
        TRACKERS.load("mlflow")(database)


def test_mlflow_that_cannot_be_reached(tracker, database, monkeypatch):
    tracker("mlflow", database).close(True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://there")
    with pytest.raises(OutputError, match=r"MLflow at nonsense://there cannot be used .* leave mlflow out of --track"):
        TRACKERS.load("mlflow")(database)


def test_it_says_what_it_is(tracker, tmp_path):
    made = tracker("mlflow", tmp_path / "curves")
    assert made.summary and "\n" not in made.summary and str(tmp_path) in made.hint
    made.close(True)  # nothing was told
