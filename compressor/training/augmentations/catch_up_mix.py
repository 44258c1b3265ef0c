"""Catch-up Mix: inside the network, two images give the channels in which each is the weaker one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressor.core.errors import UnsupportedModel
from compressor.training.augmentations._mixing import beta_shares, check_alpha, pasted, random_partners
from compressor.training.features import layer_named, spelled
from compressor.training.mixing import Mixed

OWNER = "catch_up_mix"


@dataclass(frozen=True)
class CatchUpMix:
    """Replaces the channels that dominate an image by its partner's, so that the others learn to do without them.

    Paper: Minsoo Kang, Minkoo Kang, Suhyun Kim, "Catch-Up Mix: Catch-Up Class for Struggling Filters in CNN", AAAI
        2024, arXiv:2401.13193.

    Equations:
        place ~ uniform over the pixels and the layers; lambda ~ Beta(alpha, alpha)   -> `mixing`
        s_c = ||A_c||_2 / sum over c of ||A_c||_2; r_c = s_c(A) - s_c(B)             -> `caught_up`
        the lambda C channels of smallest r come from A, the others from B           -> `caught_up`
        y = lambda y_A + (1 - lambda) y_B                                            -> `Mixed.targets`

    Notation:
        A: feature map of an image at the chosen layer, (C, H, W); B: its partner's; s_c: influence of channel c.
        lambda: `Mixed.share`, no unit.

    Options:
        alpha: float, above 0, default 1: then lambda is uniform.

    Returns:
        The batch, as a context: open while one forward pass runs. Its pixels are mixed (as by CutMix) if the place is
        the input, and else as they were.

    Deviations:
        - A lambda for each image and round(lambda C) channels, where one a batch and the next lower whole number are
          usual: so the channels' share is lambda on the average. The labels' weight is lambda, off by 1 / (2 C) at
          most.
        - Channels of equal r come in their order.
        - The layers are the caller's, such as the last of each stage. A layer should return what is not negative, and
          of a residual block the sum: in the middle of one, the stream brings back what was replaced.
        - Which channels are chosen has no gradient.

    Raises:
        InvalidOption: alpha out of range, or no layer of a name.
        UnsupportedModel: the chosen layer returns no feature map of the batch, or is not called.

    Complexity: O(N C H W) at one layer.

    Limits:
        A teacher does not see what is mixed inside the student, so its scores do not fit. A layer that is called
        several times mixes the first time. In several processes, partners are of the process's own images.

    Example:
        Four channels of one pixel: A = (10, 4, 2, 1) and B = (1, 2, 4, 10), influences over 17. With lambda = 1/2 each
        gives the two channels in which it is weaker: (1, 2) of B and (2, 1) of A, for both orders.

        >>> maps = torch.tensor([[10.0, 4, 2, 1], [1, 2, 4, 10]])[:, :, None, None]
        >>> caught_up(maps, torch.tensor([1, 0]), torch.tensor([0.5, 0.5])).flatten(1).tolist()
        [[1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 2.0, 1.0]]
    """

    summary: ClassVar[str] = "channels in which an image is weak, from two images, inside the network"
    paper: ClassVar[str] = "Kang et al., Catch-Up Mix, AAAI 2024, arXiv:2401.13193"
    use_when: ClassVar[str] = "a network is to rely on many channels; criteria by norm then tell them apart less"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features"})

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_alpha(OWNER, self.alpha)

    @contextmanager
    def mixing(
        self, model: nn.Module, layers: Sequence[str], pixels: Tensor, generator: torch.Generator
    ) -> Iterator[Mixed]:
        """Mixes at the pixels, or at one of the layers in the first forward pass while this is open."""
        modules = [layer_named(model, layer, OWNER) for layer in layers]
        place = int(torch.randint(len(layers) + 1, (), generator=generator))
        if place == len(layers):
            yield pasted(pixels, self.alpha, generator)
            return
        partner = random_partners(len(pixels), generator).to(pixels.device)
        mixed = Mixed(pixels, partner, beta_shares(self.alpha, len(pixels), generator).to(pixels.device))
        was_called = False

        def mix(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            nonlocal was_called
            if was_called:
                return None
            was_called = True
            if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(pixels):
                raise UnsupportedModel(
                    f"{OWNER}: layer '{layers[place]}' must return a feature map (N, C, H, W) of the {len(pixels)} "
                    f"images, but returned {spelled(output)}. Name another layer."
                )
            return caught_up(output, mixed.partner, mixed.share)

        handle = modules[place].register_forward_hook(mix)
        try:
            yield mixed
        finally:
            handle.remove()
        if not was_called:
            raise UnsupportedModel(
                f"{OWNER}: layer '{layers[place]}' must be called in the forward pass, but was not. Name another layer."
            )


def caught_up(maps: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Each image's weak channels, the rest from its partner: (N, C, H, W), (N,), (N,) -> (N, C, H, W)."""
    norms = torch.linalg.vector_norm(maps.detach().float(), dim=(2, 3))  # (N, C)
    influence = norms / norms.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    relative = influence - influence[partner]  # (N, C)
    rank = relative.argsort(dim=1, stable=True).argsort(dim=1)  # (N, C), 0: the weakest beside the partner's
    own = rank < (share * maps.shape[1]).round()[:, None]
    return torch.where(own[:, :, None, None], maps, maps[partner])


PLUGIN = CatchUpMix
