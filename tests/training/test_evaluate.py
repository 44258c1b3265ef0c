import pytest
import torch
from torch import nn

from compressor.core.errors import DataError
from compressor.data.batches import from_batches
from compressor.training.evaluate import evaluate, predict


def test_by_hand():
    scores = torch.tensor([[1.0, 0, 0], [0, 2, 1], [3, 1, 2], [0, 0, 1]])
    data = from_batches([(scores, torch.tensor([0, 1, 2, 2]))])
    for batch_size in (1, 3, 100):
        assert evaluate(nn.Identity(), data, batch_size=batch_size) == (75.0, 4)


def test_the_model_and_the_random_numbers_are_left_alone(tiny, assert_same):
    model, state = tiny.network().train(), torch.get_rng_state()
    listener = tiny.Listener()
    assert evaluate(model, tiny.dataset(), progress=listener, batch_size=40)[1] == 96
    assert_same(model, tiny.network())
    assert model.training and model[5].training
    assert torch.equal(state, torch.get_rng_state())
    assert listener.titles == [("measuring accuracy", 96)] and listener.n == 96


def test_bad_input(tiny):
    with pytest.raises(DataError, match="evaluation: needs labels"):
        evaluate(tiny.network(), tiny.dataset(labelled=False))
    with pytest.raises(DataError, match="below the model's 2 outputs"):
        evaluate(tiny.network(n_classes=2), tiny.dataset())
    with pytest.raises(DataError, match="does not accept images"):
        evaluate(nn.Conv2d(3, 2, 1), tiny.dataset())


def test_answers_by_hand():
    scores = torch.tensor([[1.0, 0, 0], [0, 2, 1], [3, 1, 2], [0, 0, 1]])
    for batch_size in (1, 3, 100):
        assert predict(nn.Identity(), from_batches(scores), batch_size=batch_size).tolist() == [0, 1, 0, 2]
