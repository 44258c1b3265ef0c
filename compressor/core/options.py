"""Every option of a run in one frozen value: the command line, a recipe and Python fill the same one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.core.errors import InvalidOption
from compressor.core.groups import KINDS
from compressor.core.plugins import PluginFolder
from compressor.core.quantities import (
    MEASURED_STEPS,
    POINTS_ALLOWED,
    accuracy,
    factor,
    points,
    seconds,
    share,
    width_step,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_SEED = 1 << 32  # all random generators that are used take less
MAX_EPOCHS = 10  # of the recovery ladder, unless --max-epochs says otherwise
TRAIN_EPOCHS = 10  # of sparse training, unless --train-epochs says otherwise
TRAINED = "trained"  # the method that goes by what --train made of each channel
TRAINED_RANK = "trained_rank"  # the regulariser that makes layers of low rank, and says nothing of channels
NOTHING = "none"  # the method of a run that cuts no channels
MEASURED = ("speedup", "latency")  # budgets that are times
BUDGETS = ("macs", "params", "ratio", *MEASURED)
QUANTITIES = {
    "macs": share,
    "params": share,
    "ratio": share,
    "speedup": factor,
    "latency": seconds,
    "max_drop": points,
    "round_to": width_step,
    "control_accuracy": accuracy,
}
ONE_A_FLAG = {
    "method_options": "method_option",
    "recover_options": "recover_option",
    "train_options": "train_option",
    "decompose_options": "decompose_option",
    "augment_options": "augment_option",
    "features_options": "features_option",
}  # typed once for each item
# Options that say how a run is shown or stored; a run is the same run without them.
PRESENTATION = frozenset({"output", "force", "quiet", "json", "recipe"})


@dataclass(frozen=True)
class RunOptions:
    """What `compress MODEL` does. Lists are tuples; empty means the default that the comment names."""

    model: str = ""
    # Loading
    arch: str = ""  # torchvision:resnet18, timm:..., file.py:factory, pkg.module:factory
    arch_args: tuple[str, ...] = ()  # name=value
    allow: tuple[str, ...] = ()  # module prefixes that a pickle may name
    trust: bool = False
    input: tuple[str, ...] = ()  # 1x3x32x32 or name=1x3x32x32; empty: inferred
    # Choosing
    method: str = ""  # empty: `criterion` says
    method_options: tuple[str, ...] = ()  # name=value
    allocation: str = ""  # "local" or "global"; empty: local
    macs: float | None = None  # share that may remain; 0.5 where no budget is named
    params: float | None = None  # share that may remain
    ratio: float | None = None  # share of channels removed
    speedup: float | None = None  # times faster than the original, measured on every target of `on`
    latency: float | None = None  # seconds per inference at most, measured on every target of `on`
    round_to: int = 0  # 0: by size, or from latency tables under a budget in time; -1 ("auto"): from latency tables
    prune: tuple[str, ...] = ()  # kinds of dimensions; empty: all
    ignore: tuple[str, ...] = ()
    # Training for the cut
    train: str = ""  # a regulariser; empty: none
    train_options: tuple[str, ...] = ()  # name=value
    train_epochs: int | None = None  # 10 where there is a regulariser
    # Layers of low rank
    decompose: str = ""  # a decomposition; empty: none. Without a budget, no channels are cut
    decompose_options: tuple[str, ...] = ()  # name=value
    alternatives: bool = False  # low rank alone and pruning alone, at the same latency
    # Data and recovery
    data: str = ""
    val: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int = 0  # pixels; 0: the model's input
    recover: tuple[str, ...] = ()  # plug-ins in order; empty: by what data there is, and whether there is training
    recover_options: tuple[str, ...] = ()  # recovery.name=value
    finetune_epochs: int = 0
    max_drop: float | None = None  # points of accuracy that may be lost; None: no recovery ladder
    max_epochs: int | None = None  # of training on the ladder, in all; None: 10
    distill: bool = False
    lr: float = 0.0  # peak learning rate; 0: the plug-in's default
    train_batch_size: int = 0  # 0: the plug-in's default
    flip: bool = False  # mirrored images are as good as the originals (photographs, not digits)
    augment: tuple[str, ...] = ()  # augmentations in order, besides those that are always there
    augment_options: tuple[str, ...] = ()  # augmentation.name=value
    features: str = ""  # a loss of feature maps, beside the others of fine-tuning; empty: none
    features_options: tuple[str, ...] = ()  # name=value
    compile: str = ""  # whether torch.compile makes the passes of training: "auto", "always", "never"; empty: auto
    track: tuple[str, ...] = ()  # who keeps the curves of training; empty: nobody
    # Files
    export: tuple[str, ...] = ()  # empty: onnx
    opset: int = 0  # 0: the exporter's default
    # Timing
    on: tuple[str, ...] = ()  # targets; empty: the CPU runtime of each exported format; "none": no timing
    threads: int = 1
    batch_size: int = 1
    control: str = ""  # a third arm: "narrow", an architecture as `arch`, or a file; empty: none
    control_arch: str = ""  # of a control that is a state dict
    control_args: tuple[str, ...] = ()  # name=value, for the control's architecture
    control_accuracy: float | None = None  # share of right answers that the user knows of
    # The run
    seed: int = 0
    device: str = "auto"
    output: str = ""  # empty: MODEL's name with -compressed
    force: bool = False
    quiet: bool = False
    json: bool = False
    recipe: str = ""

    def __post_init__(self) -> None:
        named = [unit for unit in BUDGETS if getattr(self, unit) is not None]
        if len(named) > 1:
            raise InvalidOption("compress", "budget", f"one of {', '.join(map(flag, BUDGETS))}", " and ".join(named))
        if self.budget[0] in MEASURED and "none" in self.on:
            step = "Name the runtime: --on onnxruntime:cpu, for example."
            raise InvalidOption("compress", "--on", f"a target, to measure {flag(self.budget[0])}", "none", step)
        if self.round_to == MEASURED_STEPS and "none" in self.on:
            step = "Name the runtime: --on onnxruntime:cpu, for example."
            raise InvalidOption("compress", "--on", "a target, to measure which widths it likes", "none", step)
        for option, least in (
            ("threads", 1),
            ("batch_size", 1),
            ("finetune_epochs", 0),
            ("round_to", MEASURED_STEPS),
            ("opset", 0),
            ("size", 0),
            ("train_batch_size", 0),
            ("seed", 0),
        ):
            if getattr(self, option) < least:
                raise InvalidOption("compress", flag(option), f"at least {least}", getattr(self, option))
        if len(self.mean) != len(self.std):
            raise InvalidOption(
                "compress", "--mean and --std", "as many numbers each", f"{len(self.mean)} and {len(self.std)}"
            )
        if not all(math.isfinite(value) for value in self.mean):
            raise InvalidOption("compress", "--mean", "finite numbers", self.mean)
        if not all(0 < value < math.inf for value in self.std):
            raise InvalidOption("compress", "--std", "finite numbers above 0", self.std)
        if not 0 <= self.lr < math.inf:
            raise InvalidOption("compress", "--lr", "a finite number above 0", self.lr)
        if self.seed >= MAX_SEED:
            raise InvalidOption("compress", "--seed", f"below {MAX_SEED}", self.seed)
        if self.allocation not in ("", "local", "global"):
            raise InvalidOption("compress", "--allocation", "local or global", self.allocation)
        for kind in self.prune:
            if kind not in KINDS:
                raise InvalidOption("compress", "--prune", f"some of {', '.join(KINDS)}", kind)
        if self.finetune_epochs and not self.data:
            raise InvalidOption(
                "compress", "--finetune-epochs", "used with --data", self.finetune_epochs, "Add --data FOLDER."
            )
        trains = self.finetune_epochs or self.max_drop is not None
        for option, used in (
            ("distill", trains),
            ("lr", trains or self.train),
            ("train_batch_size", trains or self.train),
            ("flip", trains or self.train),
            ("augment", trains or self.train),
            ("features", trains),
            ("compile", trains or self.train),
            ("track", trains or self.train),
        ):
            if getattr(self, option) and not used:
                step = "Add --finetune-epochs 3, for example."
                users = "--finetune-epochs or --max-drop"
                users = users if option in ("distill", "features") else f"--train, {users}"
                raise InvalidOption("compress", flag(option), f"used with {users}", getattr(self, option), step)
        for option, of in (("augment_options", "augment"), ("features_options", "features")):
            if getattr(self, option) and not getattr(self, of):
                raise InvalidOption("compress", flag(option), f"used with {flag(of)}", getattr(self, option))
        self._check_training()
        self._check_low_rank()
        self._check_ladder()
        self._check_control()
        if self.device != "auto" and not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise InvalidOption("compress", "--device", "auto, cpu, cuda or cuda:N", self.device)

    def _check_training(self) -> None:
        if not self.train:
            for option in ("train_options", "train_epochs"):
                value = getattr(self, option)
                if value not in ((), None):
                    raise InvalidOption("compress", flag(option), "used with --train", value)
            return
        if not self.data:
            raise InvalidOption("compress", "--train", "used with --data", self.train, "Add --data FOLDER.")
        if self.train_epochs is not None and self.train_epochs < 1:
            raise InvalidOption("compress", "--train-epochs", "at least 1", self.train_epochs)

    def _check_low_rank(self) -> None:
        if not self.decompose:
            if self.train == TRAINED_RANK:
                step = "Add --decompose channel: what it trains is for layers of low rank."
                raise InvalidOption("compress", "--train", "used with --decompose", self.train, step)
            for option in ("decompose_options", "alternatives"):
                value = getattr(self, option)
                if value:
                    raise InvalidOption("compress", flag(option), "used with --decompose", value)
            return
        if self.criterion == TRAINED and self.prunes:
            step = f"Splitting layers leaves other channels than --train {self.train} judged. Name a --method."
            raise InvalidOption("compress", "--decompose", f"left out with --method {TRAINED}", self.decompose, step)
        if not self.alternatives:
            return
        if not self.prunes:
            step = "Nothing is pruned without a budget: add --speedup 1.5x, for example."
            raise InvalidOption("compress", "--alternatives", "used with a budget", True, step)
        if self.max_drop is not None:
            step = "Use --recover or --finetune-epochs, which all of them can have alike."
            raise InvalidOption("compress", "--alternatives", "left out with --max-drop", True, step)
        if "none" in self.on:
            step = "Leave --on out, or name the runtime: --on onnxruntime:cpu, for example."
            raise InvalidOption("compress", "--on", "a target, to time --alternatives on", "none", step)

    def _check_ladder(self) -> None:
        if self.max_drop is None:
            if self.max_epochs is not None:
                step = "Add --max-drop 1%, or use --finetune-epochs."
                raise InvalidOption("compress", "--max-epochs", "used with --max-drop", self.max_epochs, step)
            return
        if not 0 <= self.max_drop < 100:
            raise InvalidOption("compress", "--max-drop", POINTS_ALLOWED, self.max_drop)
        if not self.data:
            raise InvalidOption("compress", "--max-drop", "used with --data", self.max_drop, "Add --data FOLDER.")
        if self.max_epochs is not None and self.max_epochs < 0:
            raise InvalidOption("compress", "--max-epochs", "at least 0", self.max_epochs)
        for option, step in (
            ("finetune_epochs", "Use --max-epochs: it trains only as long as it must."),
            ("recover", "It tries all recoveries that fit, in the order of their price."),
            ("recover_options", "Its recoveries run with their defaults."),
        ):
            if getattr(self, option):
                raise InvalidOption("compress", flag(option), "left out with --max-drop", getattr(self, option), step)

    def _check_control(self) -> None:
        if not self.control:
            for option in ("control_arch", "control_args", "control_accuracy"):
                value = getattr(self, option)
                if value not in ("", (), None):
                    raise InvalidOption("compress", flag(option), "used with --control", value)
        elif "none" in self.on:
            step = "Leave --on out, or name the runtime: --on onnxruntime:cpu, for example."
            raise InvalidOption("compress", "--on", f"a target, to time --control {self.control} on", "none", step)

    @property
    def criterion(self) -> str:
        """The method: as typed, else what docs/methods.md found best with images and without; before training, l1.

        After training for the cut it is the method of the same name, or what that training made of each channel.
        """
        if self.train and self.train != TRAINED_RANK and not self.method:
            return self.train if self.train in PluginFolder("compressor.methods", "pruning method").names() else TRAINED
        trains = self.finetune_epochs or self.max_drop is not None
        return self.method or ("reconstruction" if self.data and not trains else "l1")

    @property
    def prunes(self) -> bool:
        """Whether channels are to be cut: not where layers are split and no budget is named."""
        return not self.decompose or any(getattr(self, unit) is not None for unit in BUDGETS)

    @property
    def budget(self) -> tuple[str, float]:
        """Unit and value; half of the MACs where none is named, all of them where nothing is to be pruned."""
        for unit in BUDGETS:
            value = getattr(self, unit)
            if value is not None:
                return unit, value
        return "macs", 0.5 if self.prunes else 1.0

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats to export to; ONNX where none is named, none where "none" is."""
        return tuple(f for f in (self.export or ("onnx",)) if f != "none")

    @property
    def output_folder(self) -> Path:
        """The run folder; named after the model where none was given."""
        return Path(self.output) if self.output else Path(f"{Path(self.model).stem or 'model'}-compressed")


def flag(option: str) -> str:
    """How the command line spells a field.

    >>> flag("round_to"), flag("method_options")
    ('--round-to', '--method-option')
    """
    return "--" + ONE_A_FLAG.get(option, option).replace("_", "-")


def options_from(*layers: Mapping[str, Any]) -> RunOptions:
    """Later layers (a recipe, then what was typed) win over earlier ones and over the defaults.

    Raises:
        InvalidOption: an unknown name or a value of the wrong kind.
    """
    fields = {field.name: field for field in dataclasses.fields(RunOptions)}
    values: dict[str, Any] = {}
    for layer in layers:
        if set(BUDGETS) & layer.keys():  # a typed budget replaces the recipe's
            values = {name: value for name, value in values.items() if name not in BUDGETS}
        for key, value in layer.items():
            name = key.replace("-", "_")
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                step = f"Did you mean {near[0]}?" if near else "See compress --help."
                raise InvalidOption("recipe", "key", "the name of an option", key, step)
            values[name] = _as(str(fields[name].type), name, value)
    return RunOptions(**values)


def read_recipe(path: Path) -> dict[str, Any]:
    """The options that a recipe.toml holds.

    Raises:
        InvalidOption: the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption("compress", "--recipe", "a readable TOML file", str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidOption("compress", "--recipe", f"valid TOML ({error})", str(path)) from error


HEADER = "# Reproduces this run, from the folder that it was started in: compress --recipe RUN/recipe.toml -o OTHER\n"


def recipe_of(options: RunOptions) -> str:
    """TOML of everything that differs from the defaults; `compress --recipe` reads it back."""
    import tomli_w

    return HEADER + tomli_w.dumps(
        {name: list(value) if isinstance(value, tuple) else value for name, value in changed(options).items()}
    )


def changed(options: RunOptions) -> dict[str, Any]:
    """The options that are not at their defaults, without those that only say how a run is shown."""
    default = RunOptions()
    named = {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.name not in PRESENTATION}
    return {name: value for name, value in named.items() if value != getattr(default, name)}


def _as(kind: str, name: str, value: Any) -> Any:
    if name in QUANTITIES:
        return QUANTITIES[name](value, flag(name))
    kind = kind.removesuffix(" | None")
    if kind.startswith("tuple"):
        items = value if isinstance(value, (list, tuple)) else [value]
        try:
            return tuple(float(v) for v in items) if "float" in kind else tuple(str(v) for v in items)
        except (TypeError, ValueError) as error:
            raise InvalidOption("compress", flag(name), "numbers", value) from error
    expected: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
    fits = isinstance(value, expected[kind]) and (kind == "bool" or not isinstance(value, bool))
    if not fits:
        raise InvalidOption(
            "compress", flag(name), {"int": "a whole number", "float": "a number"}.get(kind, f"a {kind}"), value
        )
    return float(value) if kind == "float" else value
