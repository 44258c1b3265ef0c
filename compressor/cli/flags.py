"""The flags, spelled once; every verb that takes one takes it from here. Nothing typed means None: a recipe may say it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

LOADING, CHOOSING, RECOVERY = "Loading", "What to remove", "Data and recovery"
FILES, TIMING, RUN = "Files", "Timing", "The run"


def _option(help_text: str, panel: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel, show_default=False, metavar=metavar)


Model = Annotated[Path, typer.Argument(help="A model file: pickled module, state dict (with --arch) or .safetensors.", show_default=False)]
Arch = Annotated[Optional[str], _option("Architecture of a state dict: torchvision:resnet18, timm:convnext_atto, file.py:make_model, pkg.module:factory.", LOADING)]
ArchArgs = Annotated[Optional[list[str]], _option("Argument of the architecture's factory, as name=value. Repeatable.", LOADING, "--arch-args", metavar="NAME=VALUE")]
Allow = Annotated[Optional[list[str]], _option("Also accept classes of this package in a pickled module (my_pkg.). Repeatable.", LOADING, metavar="PREFIX")]
Trust = Annotated[Optional[bool], _option("Unpickle without checks. Runs whatever code the file holds.", LOADING, "--trust")]
Input = Annotated[Optional[list[str]], _option("Shape of an input: 1x3x224x224, or name=1x3x224x224. Repeatable. (default: inferred, and said)", LOADING, metavar="SHAPE")]

Method = Annotated[Optional[str], _option("How channels are chosen; `compress methods` lists them. (default: l1)", CHOOSING)]
MethodOption = Annotated[Optional[list[str]], _option("Option of the method. Repeatable.", CHOOSING, "--method-option", metavar="NAME=VALUE")]
Allocation = Annotated[Optional[str], _option("local: every group loses the same share. global: groups compete. (default: local)", CHOOSING, metavar="local|global")]
Macs = Annotated[Optional[str], _option("Share of the MACs that may remain. (default: 50%)", CHOOSING, metavar="SHARE")]
Params = Annotated[Optional[str], _option("Share of the parameters that may remain.", CHOOSING, metavar="SHARE")]
Ratio = Annotated[Optional[str], _option("Share of the channels to remove.", CHOOSING, metavar="SHARE")]
RoundTo = Annotated[Optional[int], _option("Widths are multiples of this. (default: 16, less for narrow layers)", CHOOSING, "--round-to")]
Ignore = Annotated[Optional[list[str]], _option("Layers whose channels stay (layer1.*). Repeatable.", CHOOSING, metavar="PATTERN")]

Data = Annotated[Optional[str], _option("Images to train and calibrate on: a folder (a sub-folder per class), a parquet file or an npz.", RECOVERY)]
Val = Annotated[Optional[str], _option("Images to measure accuracy on.", RECOVERY)]
Mean = Annotated[Optional[str], _option("Mean of the normalisation, per channel, for pixels in 0 to 1.", RECOVERY, metavar="R,G,B")]
Std = Annotated[Optional[str], _option("Standard deviation of the normalisation, per channel.", RECOVERY, metavar="R,G,B")]
Size = Annotated[Optional[int], _option("Side of the images in pixels. (default: the model's input)", RECOVERY)]
Recover = Annotated[Optional[str], _option("Recoveries in order: bn_reestimate, finetune; none. (default: by what data there is)", RECOVERY, metavar="NAME,...")]
FinetuneEpochs = Annotated[Optional[int], _option("Train the small model for this many epochs.", RECOVERY, "--finetune-epochs")]
Distill = Annotated[Optional[bool], _option("Fine-tune towards the original model's outputs as well.", RECOVERY, "--distill")]
LearningRate = Annotated[Optional[float], _option("Peak learning rate of fine-tuning.", RECOVERY, "--lr")]
TrainBatchSize = Annotated[Optional[int], _option("Images per step of fine-tuning.", RECOVERY, "--train-batch-size")]
Flip = Annotated[Optional[bool], _option("Mirror training images at random (photographs; not digits or text).", RECOVERY, "--flip")]

Export = Annotated[Optional[str], _option("Formats: onnx, openvino; none. model.pt2 is always written. (default: onnx)", FILES, metavar="NAME,...")]
Opset = Annotated[Optional[int], _option("ONNX opset. (default: the exporter's)", FILES)]

On = Annotated[Optional[str], _option("Targets to time on; `compress targets` lists them; none. (default: the CPU runtime of each format)", TIMING, metavar="NAME,...")]
Threads = Annotated[Optional[int], _option("Threads of each runtime. (default: 1)", TIMING)]
BatchSize = Annotated[Optional[int], _option("Inputs per inference. (default: 1)", TIMING, "--batch-size")]

Output = Annotated[Optional[Path], _option("Run folder. (default: MODEL-compressed)", RUN, "--output", "-o", metavar="RUN")]
Force = Annotated[Optional[bool], _option("Replace a finished run.", RUN, "--force")]
Seed = Annotated[Optional[int], _option("Everything random follows from it. (default: 0)", RUN)]
Device = Annotated[Optional[str], _option("Where training runs: auto, cpu, cuda, cuda:1. (default: auto)", RUN)]
Recipe = Annotated[Optional[Path], _option("A recipe.toml with any of these options; what is typed wins.", RUN, metavar="FILE")]
Quiet = Annotated[Optional[bool], _option("Say nothing but errors.", RUN, "--quiet", "-q")]
Json = Annotated[Optional[bool], _option("Print the report as JSON on standard output, and nothing else there.", RUN, "--json")]

# Flags that take several values in one word, separated by commas.
LISTS = frozenset({"export", "on", "recover", "mean", "std"})


def typed(**flags: Any) -> dict[str, Any]:
    """The options that were typed, under their names in `RunOptions`."""
    values: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None:
            continue
        if name in LISTS:
            value = [part.strip() for part in value.split(",") if part.strip()]
        values[name] = str(value) if isinstance(value, Path) else value
    return values
