"""The torch.export program: runs without the class, keeps the names of inputs and outputs."""

import torch

from exporters.formats.pt2 import Pt2Format
from exporters.signature import ExampleInputs
from exporters.source import Source


def test_a_program_with_named_inputs_and_outputs(two_inputs, named_inputs, tmp_path):
    plugin, path = Pt2Format(), tmp_path / "model.pt2"
    source = Source(two_inputs.eval(), ExampleInputs.of(named_inputs, two_inputs))
    told = plugin.write(source, path, None)
    assert told.details["torch"] == torch.__version__ and told.details["batch"] == "dynamic" and told.dynamic_batch
    loaded = plugin.load(path)
    assert loaded.input_names == ("tokens", "features") and loaded.output_names == source.output_names
    found = loaded.run([tensor.numpy() for tensor in named_inputs.values()])
    with torch.no_grad():
        wanted = two_inputs(**named_inputs)
    for name, array in zip(loaded.output_names, found, strict=True):
        assert torch.allclose(torch.from_numpy(array), wanted[name], atol=1e-6)
