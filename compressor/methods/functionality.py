"""Channels that look for the same thing in an image are repetitions; of those, the ones that contribute least leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.calibration.rows import is_linear, n_outputs
from compressor.core.errors import DataError, InvalidOption, UnsupportedModel
from compressor.core.groups import ChannelGroup
from compressor.core.protocols import MethodContext
from compressor.graph.cost import measure_cost
from compressor.methods._maps import first_images
from compressor.methods._passes import as_found
from compressor.methods._ratios import equal_ratios
from compressor.methods._seeds import group_generator, random_as_found
from compressor.methods._sightings import look, watching
from exporters.signature import ExampleInputs, flatten_outputs

AT_ONCE = 32  # patterns that are sought in one pass
RANGE = 3.0  # standard deviations of the images from their mean, which patterns do not leave


@dataclass(frozen=True)
class Functionality:
    """Channels are clustered by the pattern that excites them most; in each cluster the lowest contributions leave.

    Paper: Zhuwei Qin, Fuxun Yu, Chenchen Liu, Xiang Chen, "Functionality-Oriented Convolutional Filter Pruning", BMVC
        2019, arXiv:1810.07322, doi:10.5244/C.33.229. Only its abstract and notes that others took could be read: this
        is in its spirit, and no reproduction.

    Equations:
        P_i = X after T times X <- X + eta sigma g / rms(g), g = dA_i / dX; X_0 is noise   -> `_patterns`
        f_i = |F(P_i - X_0)| / || |F(P_i - X_0)| ||_2; k-means of all f_i                  -> `spectra`, `_clusters`
        C_i = 1/N sum over n of mean over positions of |dy_n / da_i| 1[a_i != 0]           -> `_contributions`
        rank of i in its cluster by C_i, over the cluster's size: the largest leave        -> `ranked`

    Notation:
        X: an image of the size of the data's; X_0: the noise that all channels start from; P_i: the pattern of channel
        i; sigma: standard deviation of the images' colour channels; F: two-dimensional Fourier transform.
        a_i: channel i where layers read it, behind norm and activation; A_i: its mean over positions and layers.
        y_n: the largest output of image n; N: images. C_i is in units of the output over those of the channel.

    Options:
        steps (int, default 20): T, how long a pattern is sought.
        step_size (float, default 0.2): eta, in standard deviations of the images.
        clusters (float, default 0.5): clusters per channel that stays, above 0 and at most 1.
        n_images (int, default 64): how many images the contributions are taken over.
        most_work (float, default 10): tera-multiply-accumulates that seeking all patterns may take, about; ten are
            ten to twenty minutes on two cores. A model that would take more is refused.

    Returns:
        `select`: the indices that stay, ascending. `ratios`: the same share of every group.

    Deviations:
        - Nothing here could be compared with the paper. Its abstract says that patterns from activation maximisation
          are clustered and that filters with repeated functions leave; the formulas are second-hand or ours.
        - Notes speak of 1000 plain steps with a blur after each. Here a step has a fixed length, so that it does not
          matter how strongly a filter answers, and 20 are taken, without blur.
        - Patterns are compared by the amplitudes of what the ascent added to the noise, so that the same pattern in
          another place counts as the same. The notes compare pixels.
        - How many clusters a layer has was chosen by hand; here it follows from the channels that stay. Every cluster
          loses the same share, and keeps one: that larger ones lose more is remembered, not read.
        - The notes take the gradient of the labelled class with respect to weights; this one is of the largest output
          with respect to the channel, which needs no labels. A channel that is zero, as behind a closed ReLU, does not
          contribute there.
        - A channel that nothing excites has no pattern; such channels are alike. Those of them that do not contribute
          either leave before all others.
        - Coupled groups: a channel has one pattern, which excites it on average over the layers that read it, so all
          producers are seen together. A group that no convolution or linear layer reads is seen where it is made.
        - The paper claims that no retraining is needed. That is not so here: see it as a choice like others.

    Raises:
        InvalidOption: an option, `n_keep` or `pruning_ratio` is out of range.
        DataError: there are no images.
        UnsupportedModel: no convolution or linear layer shows the channels, or it would take more than `most_work`.

    Complexity: `steps` passes forward and backward per channel, up to the last layer that reads it: half a minute for
        ResNet-20 on images of 32 x 32, but a day for a ResNet-50 on images of 224 x 224. Fewer steps are quicker.

    Example:
        Channels 0 and 1 form one cluster, 2 another. The best of both come first, then the lesser one:

        >>> ranked(np.array([0, 0, 1]), np.array([5.0, 7.0, 1.0]))
        [1, 2, 0]
    """

    summary: ClassVar[str] = "channels that different patterns excite, and that contribute most to the output"
    paper: ClassVar[str] = (
        "Qin et al., Functionality-Oriented Filter Pruning, BMVC 2019, arXiv:1810.07322 (in its spirit)"
    )
    use_when: ClassVar[str] = "network and images are small: an experiment, slow, and its paper could not be read"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    steps: int = 20
    step_size: float = 0.2
    clusters: float = 0.5
    n_images: int = 64
    most_work: float = 10.0

    def __post_init__(self) -> None:
        for option in ("steps", "n_images"):
            if getattr(self, option) < 1:
                raise InvalidOption("functionality", option, "at least 1", getattr(self, option))
        if not 0 < self.step_size < float("inf"):
            raise InvalidOption("functionality", "step_size", "above 0", self.step_size)
        if not 0 < self.clusters <= 1:
            raise InvalidOption("functionality", "clusters", "above 0 and at most 1", self.clusters)
        if not self.most_work > 0:
            raise InvalidOption("functionality", "most_work", "above 0", self.most_work)

    def ratios(
        self, groups: Sequence[ChannelGroup], context: MethodContext, pruning_ratio: float
    ) -> Mapping[str, float]:
        """{group name: share to remove}, at most (n_channels - 1) / n_channels; patterns say nothing across groups."""
        return equal_ratios("functionality", groups, pruning_ratio)

    def select(self, group: ChannelGroup, n_keep: int, context: MethodContext) -> Sequence[int]:
        """The `n_keep` channels of `group` that stay, ascending."""
        if not 1 <= n_keep <= group.n_channels:
            raise InvalidOption(
                "functionality", "n_keep", f"from 1 to {group.n_channels}, the channels of {group.name}", n_keep
            )
        generator = group_generator(context.seed, group.name)
        images = _images(context, self.n_images)
        with as_found(context.model, context.seed):
            contributions = _contributions(context, group, images)  # (n_channels,)
            self._refuse_what_never_ends(context, images[0].clone())
            added = self._patterns(context, group, torch.cat(images), generator)  # (n_channels, colours, H, W)
        features = spectra(added)  # (n_channels, frequencies)
        alive = np.flatnonzero((features.max(1) > 0) | (contributions > 0))
        labels = _clusters(features[alive], max(1, round(self.clusters * n_keep)), generator)
        order = alive[ranked(labels, contributions[alive])].tolist()
        silent = sorted(set(range(group.n_channels)) - set(order))
        return sorted([*order, *silent][:n_keep])

    def _refuse_what_never_ends(self, context: MethodContext, images: Tensor) -> None:
        if self not in context.memory:
            n_channels = sum(n_outputs(module) for module in context.model.modules() if is_linear(module))
            # There and back for every step of every channel, and half of the network on average.
            macs = measure_cost(context.model, ExampleInputs.of(images, context.model)).macs
            context.memory[self] = self.steps * n_channels * macs / 1e12
        work: float = context.memory[self]
        if work > self.most_work:
            raise UnsupportedModel(
                f"functionality: to seek a pattern for every channel takes about {work:,.0f} tera-multiply-accumulates "
                f"on this model, and most_work allows {self.most_work:,.0f} (ten take some ten minutes on two cores). "
                "Choose another method, or allow it with --method-option most_work=inf."
            )

    def _patterns(
        self, context: MethodContext, group: ChannelGroup, images: Tensor, generator: np.random.Generator
    ) -> Tensor:
        """What gradient ascent on each channel's activity adds to the noise that it starts from."""
        over = (0, *range(2, images.dim()))  # all axes but the colours
        mean, sigma = images.float().mean(over, keepdim=True), images.float().std(over, keepdim=True)
        noise = torch.from_numpy(generator.standard_normal((1, *images.shape[1:]))).to(images.device, torch.float32)
        start = mean + sigma * noise.clamp(-RANGE, RANGE)  # (1, colours, H, W)
        patterns = []
        with watching("functionality", context.model, group, to_the_end=False) as sightings:
            for channels in torch.arange(group.n_channels, device=images.device).split(AT_ONCE):
                x = start.repeat(len(channels), *[1] * (images.dim() - 1))
                for _ in range(self.steps):
                    x = x.detach().requires_grad_()
                    look("functionality", context.model, group, sightings, x.to(images.dtype))
                    activity = sightings.activity().gather(1, channels[:, None]).sum()
                    (slope,) = torch.autograd.grad(activity, x, allow_unused=True, materialize_grads=True)
                    size = slope.flatten(1).square().mean(1).sqrt().reshape(-1, *[1] * (x.dim() - 1))
                    direction = torch.where(size > 0, slope / size, 0.0)
                    x = x.detach() + self.step_size * sigma * direction
                    x = torch.clamp(x, mean - RANGE * sigma, mean + RANGE * sigma)
                patterns.append((x - start).cpu())
        return torch.cat(patterns)


def _images(context: MethodContext, n_images: int) -> list[Tensor]:
    """The first images, in batches, where the model is."""
    if context.batches is None:
        raise DataError("functionality: images are needed, but there are none. Give --data; labels are not read.")
    device = next(context.model.parameters()).device
    batches = [inputs.to(device) for inputs in first_images(context.batches, n_images)]
    if not batches:
        raise DataError("functionality: at least one image is needed, but the data holds none. Check --data.")
    if batches[0].dim() != 4 or not batches[0].is_floating_point():
        raise DataError(
            f"functionality: inputs must be images (N, colours, H, W) of floating point, but they are "
            f"{tuple(batches[0].shape)} of {batches[0].dtype}. Choose another method; `compress methods` lists them."
        )
    return batches


def _contributions(context: MethodContext, group: ChannelGroup, images: Sequence[Tensor]) -> NDArray[np.float64]:
    """C: how much the largest output depends on each channel, (n_channels,)."""
    total = torch.zeros(group.n_channels, dtype=torch.float64)
    with watching("functionality", context.model, group, to_the_end=True) as sightings:
        for batch in images:
            output = look("functionality", context.model, group, sightings, batch.clone().requires_grad_())
            largest = flatten_outputs(output)[0].flatten(1).amax(1).sum()
            seen = [sighting.tensor for sighting in sightings.found]
            slopes = torch.autograd.grad(largest, seen, allow_unused=True, materialize_grads=True)
            sizes = [slope.abs() * (tensor != 0) for slope, tensor in zip(slopes, seen, strict=True)]
            means = [s.by_position(size).mean(2) for s, size in zip(sightings.found, sizes, strict=True)]
            total += sightings.joined(means).double().sum(0).cpu()
    return (total / sum(len(batch) for batch in images)).numpy()


def spectra(added: Tensor) -> NDArray[np.float64]:
    """Amplitudes of images (n, colours, H, W), of length 1 each: (n, frequencies); zeros stay zeros.

    An image and the same image moved (around the edges) have the same:

    >>> image = torch.zeros(2, 1, 4, 4)
    >>> image[0, 0, 1, 1] = image[1, 0, 3, 2] = 5.0
    >>> found = spectra(image)
    >>> bool((found[0] == found[1]).all())
    True
    """
    amplitudes = torch.fft.rfft2(added.double()).abs().flatten(1)  # (n, frequencies)
    lengths = amplitudes.square().sum(1, keepdim=True).sqrt()
    unit: NDArray[np.float64] = torch.where(lengths > 0, amplitudes / lengths, 0.0).numpy()
    return unit


def _clusters(features: NDArray[np.float64], n_clusters: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """k-means, best of four starts: the cluster of each row (n,)."""
    with random_as_found():
        from sklearn.cluster import KMeans

    if not len(features):
        return np.zeros(0, dtype=np.int64)
    n_distinct = len(np.unique(features, axis=0))  # more clusters than that do not exist
    search = KMeans(min(n_clusters, n_distinct), n_init=4, random_state=int(generator.integers(2**32)))
    labels: NDArray[np.int64] = search.fit_predict(features).astype(np.int64)
    return labels


def ranked(labels: NDArray[np.int64], contributions: NDArray[np.float64]) -> list[int]:
    """Channels in the order in which they stay: the best of each cluster, then every cluster's in equal shares."""
    place: dict[int, int] = {}  # of each channel in its cluster, the largest contribution first
    size: dict[int, int] = {}  # of each cluster
    for channel in np.argsort(-contributions, kind="stable").tolist():
        label = int(labels[channel])
        place[channel] = size.get(label, 0)
        size[label] = place[channel] + 1

    def urgency(channel: int) -> tuple[bool, float, float, int]:
        share = (place[channel] + 0.5) / size[int(labels[channel])]
        return place[channel] > 0, share, -float(contributions[channel]), channel

    return sorted(place, key=urgency)


PLUGIN = Functionality
