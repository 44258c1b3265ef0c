"""What was told is read back with TensorBoard's own reader."""


def test_it_says_what_it_is(tracker, tmp_path):
    made = tracker("tensorboard", tmp_path / "curves")
    assert made.summary and "\n" not in made.summary and str(tmp_path) in made.hint
    made.close(True)  # nothing was told


def scalars(folder, title):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / title))
    events.Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard(tracker, tmp_path):
    made = tracker("tensorboard", tmp_path)
    made.log("fine-tuning", 1, {"loss": 2.0, "learning_rate": 0.5})
    made.log("fine-tuning", 2, {"loss": 1.0})
    made.log("training, l1", 1, {"loss": 4.0})
    made.close(True)
    assert scalars(tmp_path, "fine-tuning") == {"loss": [(1, 2.0), (2, 1.0)], "learning_rate": [(1, 0.5)]}
    assert scalars(tmp_path, "training, l1") == {"loss": [(1, 4.0)]}


def test_tensorboard_of_a_training_that_went_on(tracker, tmp_path):
    """It had come to step 3 when it was killed, and its checkpoint was of step 1."""
    for steps in ((1, 2, 3), (2, 3, 4)):
        made = tracker("tensorboard", tmp_path)
        for step in steps:
            made.log("t", step, {"loss": float(10 * len(steps) + step + (steps[0] == 2))})
        made.close(True)
    assert scalars(tmp_path, "t")["loss"] == [(1, 31.0), (2, 33.0), (3, 34.0), (4, 35.0)]
