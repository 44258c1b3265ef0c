"""The flags, spelled once; every verb that takes one takes it from here.

Nothing typed means None: a recipe may say it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compressor.core.options import ONE_A_FLAG

LOADING, CHOOSING, RECOVERY = "Loading", "What to remove", "Data and recovery"
FILES, TIMING, RUN = "Files", "Timing", "The run"
SWITCH = ""  # a flag without a value shows none


def _option(help_text: str, panel: str, *names: str, metavar: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel, show_default=False, metavar=metavar)


_MODEL = typer.Argument(
    help="A model file: pickled module, .onnx, .pt2, TorchScript; state dict or .safetensors (with --arch).",
    show_default=False,
    metavar="MODEL",
)
Model = Annotated[Path, _MODEL]
ModelOrRecipes = Annotated[Path | None, _MODEL]  # a recipe may name the model
Arch = Annotated[
    str | None,
    _option(
        "Architecture of a state dict: torchvision:resnet18, timm:convnext_atto, file.py:make_model, "
        "pkg.module:factory, transformers:FOLDER.",
        LOADING,
        metavar="NAME",
    ),
]
ArchArgs = Annotated[
    list[str] | None,
    _option("What the architecture is called with, as num_classes=10. Repeatable.", LOADING, metavar="NAME=VALUE"),
]
Input = Annotated[
    list[str] | None,
    _option(
        "Shape of an input, batch first: 1x3x224x224, or name=1x3x224x224. Repeatable. (default: found out, and said)",
        LOADING,
        metavar="SHAPE",
    ),
]
Allow = Annotated[
    list[str] | None,
    _option(
        "Also accept classes of this package in a pickled module (my_pkg.). Repeatable.", LOADING, metavar="PREFIX"
    ),
]
Trust = Annotated[
    bool | None,
    _option("Unpickle without checks. Runs whatever code the file holds.", LOADING, "--trust", metavar=SWITCH),
]

Macs = Annotated[str | None, _option("Share of the MACs that may remain. (default: 50%)", CHOOSING, metavar="SHARE")]
Params = Annotated[str | None, _option("Share of the parameters that may remain.", CHOOSING, metavar="SHARE")]
Ratio = Annotated[str | None, _option("Share of the channels to remove.", CHOOSING, metavar="SHARE")]
Speedup = Annotated[
    str | None,
    _option("How many times as fast the files must be on every --on target, as measured.", CHOOSING, metavar="2x"),
]
Latency = Annotated[
    str | None,
    _option("Time per inference at most on every --on target, as measured.", CHOOSING, metavar="5ms"),
]
Method = Annotated[
    str | None,
    _option(
        "How channels are chosen; `compress methods` lists them. (default: reconstruction with --data and no training, "
        "else l1)",
        CHOOSING,
        metavar="NAME",
    ),
]
MethodOption = Annotated[list[str] | None, _option("Option of the method. Repeatable.", CHOOSING, metavar="NAME=VALUE")]
Allocation = Annotated[
    str | None,
    _option(
        "local: every group loses the same share; global: groups compete. (default: local)",
        CHOOSING,
        metavar="local|global",
    ),
]
RoundTo = Annotated[
    str | None,
    _option(
        "Widths are multiples of this; auto measures which widths the target likes. (default: 16, less for narrow "
        "layers; auto with --speedup and --latency)",
        CHOOSING,
        metavar="N|auto",
    ),
]
Prune = Annotated[
    str | None,
    _option("Kinds of dimensions: conv, mlp, heads, head_dim, embed. (default: all)", CHOOSING, metavar="KIND,..."),
]
Ignore = Annotated[
    list[str] | None, _option("Layers whose channels stay (layer1.*). Repeatable.", CHOOSING, metavar="PATTERN")
]

Train = Annotated[
    str | None,
    _option(
        "Train a copy so that channels can leave, before any is chosen; `compress methods` lists the regularizers.",
        RECOVERY,
        metavar="NAME",
    ),
]
TrainOption = Annotated[list[str] | None, _option("Option of --train. Repeatable.", RECOVERY, metavar="NAME=VALUE")]
TrainEpochs = Annotated[int | None, _option("Epochs of --train. (default: 10)", RECOVERY, metavar="N")]

Decompose = Annotated[
    str | None,
    _option(
        "Replace layers by thin ones of low rank, where that is faster: channel, spatial, depthwise, tucker2, linear. "
        "Channels are cut as well where there is a budget.",
        CHOOSING,
        metavar="KIND",
    ),
]
DecomposeOption = Annotated[
    list[str] | None,
    _option(
        "What chooses the ranks: energy=0.9, threshold=0.05 or ratio=0.5 (of a layer's MACs). (default: energy=0.9)",
        CHOOSING,
        metavar="NAME=VALUE",
    ),
]
Alternatives = Annotated[
    bool | None,
    _option(
        "With --decompose and a budget: make low rank alone and pruning alone, too, equally fast, and compare.",
        TIMING,
        "--alternatives",
        metavar=SWITCH,
    ),
]

Data = Annotated[
    str | None,
    _option(
        "Images to train and calibrate on: a folder (a sub-folder per class), a parquet file or an npz.",
        RECOVERY,
        metavar="PATH",
    ),
]
Val = Annotated[str | None, _option("Images to measure accuracy on.", RECOVERY, metavar="PATH")]
Mean = Annotated[
    str | None,
    _option("Mean of the normalisation, per channel, for pixels in 0 to 1.", RECOVERY, metavar="R,G,B"),
]
Std = Annotated[str | None, _option("Standard deviation of the normalisation, per channel.", RECOVERY, metavar="R,G,B")]
Size = Annotated[
    int | None, _option("Side of the images in pixels. (default: the model's input)", RECOVERY, metavar="N")
]
Recover = Annotated[
    str | None,
    _option(
        "Recoveries in order; `compress methods` lists them; none. (default with --data: least_squares, or "
        "bn_reestimate before --finetune-epochs; without: neuron_merging)",
        RECOVERY,
        metavar="NAME,...",
    ),
]
RecoverOption = Annotated[
    list[str] | None, _option("Option of a recovery. Repeatable.", RECOVERY, metavar="RECOVERY.NAME=VALUE")
]
FinetuneEpochs = Annotated[int | None, _option("Train the small model for this many epochs.", RECOVERY, metavar="N")]
MaxDrop = Annotated[
    str | None,
    _option(
        "Points of accuracy that may be lost (1% is one point): recoveries in the order of their price until it holds.",
        RECOVERY,
        metavar="POINTS",
    ),
]
MaxEpochs = Annotated[
    int | None, _option("Epochs of training under --max-drop, at most. (default: 10)", RECOVERY, metavar="N")
]
Distill = Annotated[
    bool | None,
    _option("Fine-tune towards the original model's outputs as well.", RECOVERY, "--distill", metavar=SWITCH),
]
LearningRate = Annotated[float | None, _option("Peak learning rate of training.", RECOVERY, "--lr", metavar="X")]
TrainBatchSize = Annotated[int | None, _option("Images per step of training.", RECOVERY, metavar="N")]
Flip = Annotated[
    bool | None,
    _option("Mirror training images at random (photographs; not digits or text).", RECOVERY, "--flip", metavar=SWITCH),
]
Augment = Annotated[
    str | None,
    _option(
        "Other ways to vary training images, in order: mixup, cutmix, guided_mixup, catch_up_mix, ... "
        "(`compress methods`).",
        RECOVERY,
        metavar="NAME,...",
    ),
]
AugmentOption = Annotated[
    list[str] | None, _option("Option of --augment. Repeatable.", RECOVERY, metavar="AUGMENTATION.NAME=VALUE")
]
Features = Annotated[
    str | None,
    _option(
        "Fine-tune towards the original's feature maps as well: attention_transfer, feature_affinity, "
        "fast_feature_affinity.",
        RECOVERY,
        metavar="NAME",
    ),
]
FeaturesOption = Annotated[
    list[str] | None,
    _option("Option of --features; weight=0.5 is how much it counts. Repeatable.", RECOVERY, metavar="NAME=VALUE"),
]
Compile = Annotated[
    str | None,
    _option(
        "Whether torch.compile makes the passes of training. (default: auto, where it is faster and training is long)",
        RECOVERY,
        metavar="auto|always|never",
    ),
]
Track = Annotated[
    str | None,
    _option("Keep the curves of training in RUN/curves: tensorboard, mlflow.", RECOVERY, metavar="NAME,..."),
]

Export = Annotated[
    str | None,
    _option("Formats: onnx, openvino; none. model.pt2 is always written. (default: onnx)", FILES, metavar="NAME,..."),
]
Opset = Annotated[int | None, _option("ONNX opset. (default: the exporter's)", FILES, metavar="N")]

On = Annotated[
    str | None,
    _option(
        "Targets to time on; `compress targets` lists them; none. (default: the CPU runtime of each format)",
        TIMING,
        metavar="NAME,...",
    ),
]
Threads = Annotated[int | None, _option("Threads of each runtime. (default: 1)", TIMING, metavar="N")]
BatchSize = Annotated[int | None, _option("Inputs per inference. (default: 1)", TIMING, metavar="N")]
SeveralThreads = Annotated[
    str | None,
    _option("Threads of each runtime, one number or several. (default: 1)", TIMING, "--threads", metavar="N,..."),
]
SeveralBatchSizes = Annotated[
    str | None,
    _option("Inputs per inference, one number or several. (default: 1)", TIMING, "--batch-size", metavar="N,..."),
]
Processes = Annotated[
    int | None,
    _option("Fresh processes to time in; more tell smaller differences. (default: 6)", TIMING, metavar="N"),
]
Loadgen = Annotated[
    bool | None,
    _option(
        "Also run MLPerf LoadGen's single-stream and offline scenarios. Needs mlcommons-loadgen.",
        TIMING,
        "--loadgen",
        metavar=SWITCH,
    ),
]
ProfileOutput = Annotated[
    Path | None,
    _option("Folder for profile.json (raw samples) and profile.html.", RUN, "--output", "-o", metavar="FOLDER"),
]
ProfileForce = Annotated[bool | None, _option("Replace a profile in that folder.", RUN, "--force", metavar=SWITCH)]

Control = Annotated[
    str | None,
    _option(
        "A third arm that is timed in the same run: timm:resnet26, file.py:make_model, a model or exported file, or "
        "narrow (this model, every group the same share, as many MACs as the compressed one).",
        TIMING,
        metavar="MODEL",
    ),
]
ControlArch = Annotated[
    str | None, _option("Architecture of a control that is a state dict, as --arch.", TIMING, metavar="NAME")
]
ControlArgs = Annotated[
    list[str] | None,
    _option("What the control's architecture is called with. Repeatable.", TIMING, metavar="NAME=VALUE"),
]
ControlAccuracy = Annotated[
    str | None,
    _option(
        "The control's accuracy where you know it. (default: measured on --val where it has weights)",
        TIMING,
        metavar="93.1%",
    ),
]

Output = Annotated[
    Path | None, _option("Run folder. (default: MODEL-compressed)", RUN, "--output", "-o", metavar="RUN")
]
Force = Annotated[bool | None, _option("Replace a finished run.", RUN, "--force", metavar=SWITCH)]
Seed = Annotated[int | None, _option("Everything random follows from it. (default: 0)", RUN, metavar="N")]
Device = Annotated[
    str | None, _option("Where training runs: auto, cpu, cuda, cuda:1. (default: auto)", RUN, metavar="NAME")
]
Recipe = Annotated[
    Path | None, _option("A recipe.toml with any of these options; what is typed wins.", RUN, metavar="FILE")
]
Quiet = Annotated[bool | None, _option("Say nothing but errors.", RUN, "--quiet", "-q", metavar=SWITCH)]
Json = Annotated[
    bool | None,
    _option("Print the result as JSON on standard output, and nothing else there.", RUN, "--json", metavar=SWITCH),
]

# Flags that take several values in one word, separated by commas.
LISTS = frozenset({"export", "on", "prune", "recover", "mean", "std", "augment", "track"})


def typed(**flags: Any) -> dict[str, Any]:
    """The options that were typed, under their names in `RunOptions`."""
    values: dict[str, Any] = {}
    fields = {typed: field for field, typed in ONE_A_FLAG.items()}
    for name, value in flags.items():
        if value is None:
            continue
        if name in LISTS:
            value = [part.strip() for part in value.split(",") if part.strip()]
        values[fields.get(name, name)] = str(value) if isinstance(value, Path) else value
    return values
