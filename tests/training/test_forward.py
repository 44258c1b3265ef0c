import pytest
import torch
from torch import nn

from compressor.core.errors import DataError, UnsupportedModel
from compressor.training.forward import borrowed, class_scores, fastest_layout, try_scores


def test_scores_are_the_first_tensor():
    scores = torch.zeros(2, 5)
    assert class_scores(scores, "o") is scores
    assert class_scores((scores, torch.ones(1)), "o") is scores
    assert class_scores({"logits": scores}, "o") is scores


@pytest.mark.parametrize(("output", "got"), [(torch.zeros(2, 5, 4, 4), r"shape \(2, 5, 4, 4\)"), ("text", "str")])
def test_what_is_no_classifier(output, got):
    with pytest.raises(UnsupportedModel, match=rf"evaluation: .*class scores \(images, classes\), but got {got}"):
        class_scores(output, "evaluation")


def test_images_that_do_not_fit():
    with pytest.raises(DataError, match=r"evaluation: the model does not accept images of shape \(3, 8, 8\) from d "):
        try_scores(nn.Conv2d(1, 2, 3), torch.zeros(1, 3, 8, 8), "evaluation", "d")


class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 3, 3), nn.Linear(12, 2)

    def forward(self, x):
        return self.linear(self.conv(x).view(len(x), -1))  # no other layout than the contiguous one


def test_layout():
    inputs = torch.zeros(2, 2, 4, 4)
    flat = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    assert fastest_layout([flat], inputs) is torch.channels_last
    assert flat[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert fastest_layout([flat, Viewing()], inputs) is torch.contiguous_format
    assert flat[0].weight.is_contiguous()
    assert fastest_layout([nn.Linear(4, 2)], torch.zeros(2, 4)) is torch.contiguous_format


def test_a_borrowed_model_comes_back_as_it_was(tiny):
    model = tiny.network().train()
    model[1].eval()
    with pytest.raises(KeyError), borrowed(model, "cpu"):
        assert not any(layer.training for layer in model.modules())
        model.to(memory_format=torch.channels_last)
        raise KeyError
    assert model[0].weight.is_contiguous()
    assert [layer.training for layer in model[:3]] == [True, False, True]
