"""Makes `models.csv`: which public models the zoo holds, chosen by rule and not by hand.

Everything is built and tried on PyTorch's meta device: shapes without numbers, so that 1,500 architectures take
minutes and no memory. Run it again after an update of torchvision or timm, and review the difference.

    python benchmarks/zoo_parts/collect.py
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from compressor.core.errors import InvalidOption
from compressor.loading.architecture import build, parse_arch_args
from compressor.loading.input_spec import parse_input
from zoo_parts import huggingface, huggingface_images, huggingface_sequences
from zoo_parts.entries import MODELS, Entry, write_entries

MAX_PARAMS = 200_000_000
# Of a timm module only the smallest architecture may be larger than this: its other variants are there for their
# structure, and machine time is short.
MAX_VARIANT_PARAMS = 60_000_000
MAX_SIDE = 288  # pixels; above it a smaller input is sought
IMAGE_SIDES = (128, 224, 299)
SMALLER_SIDES = (224, 256)

# With random weights no box would pass the usual score threshold, and an empty output proves nothing. Few boxes, so
# that the order of nearly equal scores does not depend on the last digit.
RCNN = (
    "min_size=128,max_size=128,box_score_thresh=0.0,rpn_pre_nms_top_n_test=50,rpn_post_nms_top_n_test=10,"
    "box_detections_per_img=5"
)
SINGLE_SHOT = "score_thresh=0.0,topk_candidates=20,detections_per_img=5"
RESIZING = "min_size=128,max_size=128"
DETECTION = {  # how a torchvision detector's name begins -> arguments, side of the image
    "fasterrcnn": (RCNN, 128),
    "keypointrcnn": (RCNN, 128),
    "maskrcnn": (RCNN, 128),
    "retinanet": (f"{RESIZING},{SINGLE_SHOT}", 128),
    "fcos": (f"{RESIZING},{SINGLE_SHOT}", 128),
    "ssd300": (SINGLE_SHOT, 300),
    "ssdlite320": (SINGLE_SHOT, 320),
}
CLIPS = ("1x3x8x64x64", "1x3x16x224x224")  # batch, colours, frames, height, width

TOKENS = "input_ids=1x16:int64 attention_mask=1x16:int64"
HUGGING_FACE = {
    "bert": f"{TOKENS} token_type_ids=1x16:int64",
    "vit": "pixel_values=1x3x32x32",
    "swin": "pixel_values=1x3x64x64",
    "deit": "pixel_values=1x3x32x32",
    "convnext": "pixel_values=1x3x64x64",
    "clip": f"{TOKENS} pixel_values=1x3x32x32",
    "clip_vision": "pixel_values=1x3x32x32",
    "clip_text": TOKENS,
    "segformer": "pixel_values=1x3x64x64",
    "detr": "pixel_values=1x3x96x96",
    "llama": TOKENS,
    "whisper_encoder": "input_features=1x20x100",
}
SMALL, LARGER, VIDEO = "pixel_values=1x3x32x32", "pixel_values=1x3x64x64", "pixel_values=1x4x3x32x32"
HUGGING_FACE_IMAGES = {
    "beit": SMALL,
    "dinov2": "pixel_values=1x3x28x28",
    **dict.fromkeys(
        ("swinv2", "hiera", "resnet", "regnet", "bit", "efficientnet", "mobilenet_v2", "mobilevit"), LARGER
    ),
    **dict.fromkeys(("convnextv2", "poolformer", "pvt_v2", "levit", "focalnet", "yolos"), LARGER),
    "dpt": SMALL,
    "depth_anything": "pixel_values=1x3x56x56",
    **dict.fromkeys(("glpn", "upernet", "maskformer", "vitdet"), LARGER),
    "blip_vision": SMALL,
    "videomae": VIDEO,
    "timesformer": VIDEO,
    "siglip": f"input_ids=1x16:int64 {SMALL}",
    "clipseg": f"{TOKENS} {SMALL}",
}
HUGGING_FACE_SEQUENCES = {
    **dict.fromkeys(("distilbert", "roberta", "albert", "electra", "deberta_v2", "mobilebert", "squeezebert"), TOKENS),
    **dict.fromkeys(("modernbert", "gpt2", "gpt_neox", "opt", "bloom"), TOKENS),
    "t5": f"{TOKENS} decoder_input_ids=1x8:int64",
    **dict.fromkeys(("bart", "mistral", "qwen2", "gemma2", "phi3"), TOKENS),
    "mamba": "input_ids=1x16:int64",
    "whisper": "input_features=1x20x100 decoder_input_ids=1x8:int64",
    "wav2vec2": "input_values=1x2000",
    "audio_spectrogram": "input_values=1x64x32",
    "patch_tst": "past_values=1x64x2",
}

# Words in a timm name that tell the size and not the structure.
SIZES = frozenset(
    word
    for words in (
        "zepto atto femto pico nano micro mini xxtiny xtiny tiny ti xxsmall xsmall small little base",
        "medium mediumd betwixt plus large xlarge xxlarge huge giant giantopt gigantic enormous",
        "wee pwee dwee dpwee dlittle short tall wide big",
        "xxs xxl xs xl xx x s m l t b h a c d e f z el em es so",
    )
    for word in words.split()
)


def variant(name: str) -> str:
    """What is left of a timm name without its sizes, depths and resolutions.

    >>> variant("vit_small_patch16_rope_mixed_ape_224"), variant("cs3darknet_focus_s"), variant("seresnext26d_32x4d")
    ('vit_rope_mixed_ape', 'cs3darknet_focus', 'seresnext')
    """
    kept = []
    for place, word in enumerate(name.split("_")):
        is_version = bool(re.fullmatch(r"v\d", word))
        is_size = word in SIZES or re.fullmatch(r"[a-z]{0,2}\d.*|(patch|window|so|intern)\d.*", word)
        if place and is_size and not is_version:
            continue
        word = re.sub(r"(?<=[a-z])(\d{2,}([a-z]{0,2}|x\d+|rpt)|\d[a-z]{1,2})$", "", word)  # the depth: resnet26d
        versioned = place == 0 or re.search(r"v\d$", word)
        kept.append(word if versioned else word.rstrip("0123456789"))
    return "_".join(kept)


def torchvision_entries() -> Iterator[Entry]:
    models = torchvision.models
    for name in models.list_models(module=models):
        yield from _first_that_runs("torchvision classification", name, "", [f"1x3x{s}x{s}" for s in IMAGE_SIDES])
    for name in models.list_models(module=models.detection):
        args, side = DETECTION[name.partition("_")[0]]
        yield Entry("torchvision detection", f"torchvision:{name}", args, (f"1x3x{side}x{side}",), _params(name, args))
    for name in models.list_models(module=models.segmentation):
        yield Entry("torchvision segmentation", f"torchvision:{name}", "", ("1x3x128x128",), _params(name, ""))
    for name in models.list_models(module=models.video):
        yield from _first_that_runs("torchvision video", name, "", list(CLIPS))
    for name in models.list_models(module=models.optical_flow):
        pair = ("image1=1x3x128x128", "image2=1x3x128x128")
        yield Entry("torchvision optical flow", f"torchvision:{name}", "", pair, _params(name, ""))


def timm_entries() -> Iterator[Entry]:
    """The smallest architecture of every variant of every timm module."""
    for module in timm.list_modules():
        variants = defaultdict(list)
        for name in timm.list_models(module=module):
            if not name.startswith("test_"):
                variants[variant(name)].append((_count(_on_meta(f"timm:{name}", "")), name))
        smallest = sorted(min(members) for members in variants.values())
        for place, (params, name) in enumerate(smallest):
            if params <= (MAX_VARIANT_PARAMS if place else MAX_PARAMS):
                args, spec = _timm_input(name)
                yield Entry("timm", f"timm:{name}", args, (spec,), params)
            elif not place:
                print(f"timm's module {module} is left out: its smallest, {name}, has {params:,} parameters")


def hugging_face_entries() -> Iterator[Entry]:
    for module, chosen in (
        (huggingface, HUGGING_FACE),
        (huggingface_images, HUGGING_FACE_IMAGES),
        (huggingface_sequences, HUGGING_FACE_SEQUENCES),
    ):
        file = module.__name__.rpartition(".")[2]
        for name, inputs in chosen.items():
            params = _count(getattr(module, name)())
            yield Entry("Hugging Face", f"{file}.py:{name}", "", tuple(inputs.split()), params)


def _first_that_runs(family: str, name: str, args: str, specs: list[str]) -> Iterator[Entry]:
    """The model with the first inputs that it accepts; none where it is too large."""
    model = _on_meta(f"torchvision:{name}", args)
    if _count(model) > MAX_PARAMS:
        return
    spec = next((spec for spec in specs if _runs(model, spec)), None)
    if spec is None:
        raise SystemExit(f"{name} runs with none of {', '.join(specs)}: add its input to collect.py")
    yield Entry(family, f"torchvision:{name}", args, (spec,), _count(model))


def _timm_input(name: str) -> tuple[str, str]:
    """Arguments and input: timm's own size, or a smaller one where that is large and the model takes it."""
    model = _on_meta(f"timm:{name}", "")
    channels, *sides = model.default_cfg["input_size"]
    usual = f"1x{channels}x{'x'.join(map(str, sides))}"
    if max(sides) <= MAX_SIDE and _runs(model, usual):
        return "", usual
    smaller = [f"1x{channels}x{side}x{side}" for side in SMALLER_SIDES]
    for args in ("", *(f"img_size={side}" for side in SMALLER_SIDES)):
        try:
            model = _on_meta(f"timm:{name}", args)
        except InvalidOption:  # the model has no such argument
            continue
        for spec in smaller:
            if (not args or spec.endswith(f"x{args.partition('=')[2]}")) and _runs(model, spec):
                return args, spec
    return "", usual


def _on_meta(arch: str, args: str) -> nn.Module:
    values = parse_arch_args([args] if args else [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return build(arch, values).eval()
        except InvalidOption:  # its constructor computes with tensors' numbers, or does not know the arguments
            return build(arch, values).eval().to("meta")


def _params(name: str, args: str) -> int:
    return _count(build(f"torchvision:{name}", parse_arch_args([args] if args else [])))


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _runs(model: nn.Module, spec: str) -> bool:
    with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model(torch.empty(parse_input(spec).shape))
        except Exception:  # whatever the model raises at a size that it does not take
            return False
    return True


def main() -> None:
    entries = [*torchvision_entries(), *timm_entries(), *hugging_face_entries()]
    write_entries(entries, MODELS)
    print(f"{len(entries)} models in {MODELS.name}")


if __name__ == "__main__":
    main()
