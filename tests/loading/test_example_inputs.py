from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from compressor.core.errors import InvalidOption, ModelFileError
from compressor.loading.example_inputs import example_inputs
from compressor.loading.infer_inputs import preprocessing_of


def image_net(side: int, channels: int = 3) -> nn.Sequential:
    """Accepts only images of one size."""
    return nn.Sequential(
        nn.Conv2d(channels, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * side * side, 5)
    ).eval()


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.image = nn.Embedding(9, 4), nn.Linear(6, 4)

    def forward(self, image: Tensor, input_ids: Tensor) -> Tensor:
        return self.image(image) + self.words(input_ids).mean(1)


@pytest.mark.parametrize("side", [224, 64, 32, 28, 299])
def test_the_first_convolution_and_a_size_that_runs(side: int) -> None:
    inputs, source = example_inputs(image_net(side))
    assert inputs.tensors[0].shape == (1, 3, side, side)
    assert f"first layer (Conv2d '0'; {side}x{side} runs)" in source


@pytest.mark.parametrize(
    ("strides", "channels", "side"),
    [((1, 2, 2), 3, 32), ((2, 2, 2, 2, 2), 3, 224), ((1, 2), 1, 28)],
)
def test_nets_of_any_size_get_what_their_stride_suggests(strides: tuple[int, ...], channels: int, side: int) -> None:
    layers = [nn.Conv2d(channels if i == 0 else 2, 2, 3, stride, 1) for i, stride in enumerate(strides)]
    inputs, _ = example_inputs(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)).eval())
    assert inputs.tensors[0].shape == (1, channels, side, side)


@pytest.mark.parametrize(
    ("module", "shape", "dtype"),
    [
        (nn.Linear(7, 2), (1, 7), torch.float32),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), (1, 7), torch.float32),
        (nn.Conv1d(2, 3, 5), (1, 2, 128), torch.float32),
        (nn.Conv3d(1, 2, 3), (1, 1, 16, 112, 112), torch.float32),
        (nn.Embedding(11, 4), (1, 16), torch.int64),
        (nn.GRU(5, 4, batch_first=True), (1, 16, 5), torch.float32),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 16, 8), torch.float32),
    ],
)
def test_other_first_layers(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs, source = example_inputs(module.eval())
    assert (inputs.tensors[0].shape, inputs.tensors[0].dtype) == (shape, dtype)
    assert source.startswith("the first layer")


def test_a_flattened_image_in_front() -> None:
    assert example_inputs(Mlp().eval())[0].tensors[0].shape == (1, 1, 28, 28)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(784, 3)

    def forward(self, image: Tensor) -> Tensor:
        assert image.ndim == 4, "an image is wanted"
        return self.first(image.flatten(1))


def test_a_sample_of_the_data_comes_before_guesses() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1)).eval()
    inputs, source = example_inputs(module, data_sample_shape=(3, 40, 48))
    assert inputs.tensors[0].shape == (1, 3, 40, 48) and source == "a sample of the data"


def test_data_that_does_not_fit_is_said() -> None:
    _, source = example_inputs(image_net(32), data_sample_shape=(1, 32, 32))
    assert source.startswith("the first layer") and "the data's 1x32x32" in source


def test_a_forgotten_batch_axis() -> None:
    with pytest.raises(InvalidOption, match="--input 1x3x40x40"):
        example_inputs(nn.Conv2d(3, 2, 3), ["3x40x40"])


def test_what_models_record_of_themselves() -> None:
    timm, models = pytest.importorskip("timm"), pytest.importorskip("torchvision").models
    net = timm.create_model("resnet10t", in_chans=1).eval()
    inputs, source = example_inputs(net, data_sample_shape=(3, 8, 8))
    assert inputs.tensors[0].shape == (1, 1, 176, 176) and source == "timm's configuration of the model"
    assert preprocessing_of(net) == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "size": [176, 176]}
    small = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1).eval()
    assert example_inputs(small)[0].tensors[0].shape == (1, 3, 64, 64)
    vit = models.VisionTransformer(32, 8, 1, 2, 32, 64).eval()
    assert example_inputs(vit)[0].tensors[0].shape == (1, 3, 32, 32)
    assert preprocessing_of(vit) == {}
    inputs, source = example_inputs(models.squeezenet1_1().eval())
    assert inputs.tensors[0].shape == (1, 3, 224, 224) and "usual size" in source


def test_transformers_configurations() -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=50, **small)).eval()
    inputs, source = example_inputs(bert)
    assert inputs.names == ("input_ids",) and inputs.by_keyword and source == "the transformers configuration"
    assert inputs.tensors[0].shape == (1, 16) and inputs.tensors[0].max() < 50
    vit = transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=8, **small)).eval()
    assert example_inputs(vit)[0].tensors[0].shape == (1, 3, 32, 32)


def test_given_inputs_by_name_and_by_position() -> None:
    module = TwoInputs().eval()
    inputs, source = example_inputs(module, ["input_ids=2x5:int64", "image=2x6"])
    assert inputs.by_keyword and source == "--input" and inputs.tensors[0].max() < 9
    inputs, _ = example_inputs(module, ["2x6", "2x5:int64"])
    assert inputs.names == ("image", "input_ids") and not inputs.by_keyword


def test_masks_are_ones_and_types_zero() -> None:
    class Net(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
            return input_ids * attention_mask + token_type_ids

    inputs, _ = example_inputs(Net(), [f"{n}=1x4:int64" for n in ("input_ids", "attention_mask", "token_type_ids")])
    assert inputs.tensors[1].tolist() == [[1] * 4] and inputs.tensors[2].tolist() == [[0] * 4]


def test_a_wrong_shape_names_the_layer_and_a_shape_that_runs() -> None:
    with pytest.raises(InvalidOption) as caught:
        example_inputs(image_net(32), ["1x3x30x30"])
    said = str(caught.value)
    assert "1x3x30x30" in said and "in the layer '3' (Linear)" in said and "--input 1x3x32x32" in said
    assert caught.value.exit_code == 2


def test_nothing_runs() -> None:
    with pytest.raises(InvalidOption, match="--input NAME=SHAPE"):
        example_inputs(image_net(17))
    with pytest.raises(InvalidOption, match="no layer that tells"):
        example_inputs(nn.ReLU())


def test_a_model_without_tensors_in_its_output() -> None:
    class Silent(nn.Linear):
        def forward(self, input: Tensor) -> str:  # type: ignore[override]
            return "no tensor"

    with pytest.raises(ModelFileError, match="no tensor"):
        example_inputs(Silent(2, 2))


def test_no_traces() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).eval()
    before, state = copy.deepcopy(module.state_dict()), torch.random.get_rng_state()
    inputs, _ = example_inputs(module)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())
    assert not inputs.tensors[0].is_inference()
    again, _ = example_inputs(module)
    assert torch.equal(inputs.tensors[0], again.tensors[0])
