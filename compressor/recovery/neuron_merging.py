"""Merging each removed channel into kept ones that are like it, without any data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressor.core.errors import InvalidOption
from compressor.core.groups import Role
from compressor.core.protocols import RecoveryContext
from compressor.core.tensors import exact, tensor_named
from compressor.graph.cost import evaluating
from compressor.recovery._bias import norms_behind
from compressor.recovery._channels import CutGroup, cut_groups, shrunk, weight_axes
from compressor.recovery._merging import CopyTest, Maker, makers, merged, obstacle
from compressor.recovery._scales import (
    batch_norm_rule,
    filters_of,
    folded_rule,
    many_rule,
    moments_rule,
    side_by_side,
    with_copies,
)

OWNER = "neuron_merging"
FORMS = ("moments", "bn", "folded", "many", "released")
INEXACT = (
    "even a copy of a channel, here or in groups like this one, could not be merged without a change (SiLU, GELU or "
    "a clipping ReLU6 behind it, "
    "a depthwise convolution, a norm over channels, or attention), or the outputs do not depend on its channels"
)


@dataclass(frozen=True)
class NeuronMerging:
    """Consumers read kept channels in place of removed ones: V_m += sum over removed i of Z_im V_i.

    Paper: Woojeong Kim, Suhyun Kim, Mincheol Park, Geonseok Jeon, "Neuron Merging: Compensating for Pruned Neurons",
        NeurIPS 2020, arXiv:2010.13160.

    Equations:
        V'_om = V_om + sum_i V_oi Z_im                                              -> `_merging.merged`
        "bn":       Z_im = S_im for m = argmin lam * (1 - cos(w_i, w_m)) + (1 - lam) * stretched(|B_im| / S_im),
                    S = s * gamma_i / gamma_m * sigma_m / sigma_i, s = ||w_i|| / ||w_m||,
                    B = beta_i + gamma_i / sigma_i * (s * (mu_m - sigma_m * beta_m / gamma_m) - mu_i)
                                                                                    -> `_scales.batch_norm_rule`
        "folded":   Z_im = ||u_i|| / ||u_m|| for m = argmax cos(u_i, u_m)           -> `_scales.folded_rule`
        "many":     Z_i = argmin over z >= 0 of ||u_i - sum_m z_m u_m||^2 + r ||z||^2    -> `_scales.many_rule`
        "moments":  Z_i = argmin over z of E(a_i - sum_m z_m a_m)^2 + r ||z||^2          -> `_scales.moments_rule`
        "released": "bn" with its ratios the other way round, and the variance for sigma -> `_scales.batch_norm_rule`

    Notation:
        i, m: a removed and a kept channel; V_oi: consumer weights from channel i to output o, (kH, kW) or a number.
        Z: (n_gone, n_kept), no unit. w_i: filter i, flattened, unit of the weights; gamma, beta, mu, sigma: scale,
        shift, running mean, root of running variance plus eps of the batch norm behind it. u_i: [w_i, b_i] of the
        layer with its batch norm folded in. B: what is left over of channel i where channel m is read in its place, in
        the activation's unit; stretched: to 0..1 over the kept m. a = relu(x), with x jointly Gaussian of means beta,
        deviations gamma and correlations cos(w_i, w_m). r: `ridge` times the mean of ||u_m||^2, or of E a_m^2.

    Options:
        form (str, default "moments"): one of the above.
        threshold (float, default 0.1): a channel without a kept one at this cosine of their filters is only cut; above
            1 nothing is merged.
        lam (float, 0 to 1, default 0.85): weight of the angle in "bn" and "released".
        ridge (float, above 0, default 0.01): of "many" and "moments".
        coupled (bool, default False): merge groups that several layers make (residual streams) as well.

    Returns:
        The report's facts: groups and channels merged and removed; names of groups that were only cut, by reason.

    Deviations:
        - "moments" is not in the paper. On ResNets it gives back two to four times as much as the paper's rule does.
          It takes the activation for a ReLU; for others Z is not the best one. "bn" is the paper's.
        - "many" is in the spirit of Lee, Kim, Choi, arXiv:2502.08474, and no reproduction.
        - The paper takes the best m and then drops it where S < 0; here it is the best of those with S > 0.
        - "moments", "many": a removed channel that is a multiple of a kept one is read as that one, whatever r.
        - Layers without a batch norm, and channels of several positions (in front of grouped convolutions), are merged
          by "many" if that is the form, else by "folded" (the paper's rule for linear layers).
        - Coupled groups: one Z for all layers that make the channels, by the same two rules on their folded filters
          side by side. Off, because channels are seldom alike in all of them.
        - B is left out, as in the paper; `bias_absorption` after this recovery adds it. Not after "moments", which
          takes account of means: on ResNets that was worse.
        - Nothing is taken for homogeneous because of its name: copies of channels are merged on trial, and groups where
          that changes the outputs are only cut. ReLU6 passes where the example inputs do not reach its upper bound.

    Raises:
        InvalidOption: an option out of range.
        UnsupportedModel: a weight is not finite.

    Complexity: three forward passes on two inputs in double precision, once for all groups if all of them pass, else
        two on one input for each that does not (at most three of a kind where none passes); O(n^2 * features) for a
        group of n channels, O(n^3) for "moments", O(n^4) for "many".

    Example:
        Two channels, [2, 0] and [4, 0] without bias. The second was removed; it is twice the first:

        >>> import torch
        >>> from compressor.core.groups import ChannelGroup
        >>> cut = CutGroup(ChannelGroup("0", 2, ()), kept=torch.tensor([0]), gone=torch.tensor([1]))
        >>> folded_rule(torch.tensor([[2.0, 0.0], [4.0, 0.0]]), cut, threshold=0.1).tolist()
        [[2.0]]
    """

    summary: ClassVar[str] = "consumers read kept channels in place of removed ones that are like them; no data"
    paper: ClassVar[str] = "Kim, Kim, Park, Jeon, NeurIPS 2020, arXiv 2010.13160"
    use_when: ClassVar[str] = "there are no images at all, and the network is made of ReLUs"
    needs: ClassVar[frozenset[str]] = frozenset()

    form: str = "moments"
    threshold: float = 0.1
    lam: float = 0.85
    ridge: float = 0.01
    coupled: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InvalidOption(OWNER, "form", " or ".join(f"'{form}'" for form in FORMS), self.form)
        if self.threshold != self.threshold:
            raise InvalidOption(OWNER, "threshold", "a number", self.threshold)
        if not 0 <= self.lam <= 1:
            raise InvalidOption(OWNER, "lam", "from 0 to 1", self.lam)
        if not 0 < self.ridge < float("inf"):
            raise InvalidOption(OWNER, "ridge", "above 0 and finite", self.ridge)

    def apply(self, context: RecoveryContext, progress: Any) -> dict[str, float | int | str]:
        """Writes the consumers' weights of `context.model`, computed anew from the original's; nothing else."""
        if context.plan is None or context.inputs is None:
            reason = "it is not known what was cut, or with which example inputs the model runs"
            progress.note(f"{OWNER}: {reason}; nothing to do.")
            return {"skipped": reason}
        original = context.original
        with evaluating(original):
            norms = norms_behind(original, context.inputs)
        cuts = cut_groups(context.plan, context.groups)
        made_by = {cut.group.name: makers(original, cut.group, norms) for cut in cuts}
        reasons = {cut.group.name: self._reason(original, cut, made_by[cut.group.name]) for cut in cuts}
        able = [cut for cut in cuts if not reasons[cut.group.name]]
        with progress.step("trying where channels can be merged"):
            passed = CopyTest(original, context.inputs, norms, context.seed).passed(able) if able else []
        reasons |= {cut.group.name: INEXACT for cut in able if cut not in passed}
        weights: dict[str, Tensor] = {}  # of consumers, whole
        n_merged = 0
        for cut in passed:
            scales = self._scales(original, cut, made_by[cut.group.name])  # (n_gone, n_kept)
            n_merged += int((scales != 0).any(1).sum())
            for axis in weight_axes(original, cut.group, Role.CONSUMER):
                whole = weights.get(axis.tensor)
                whole = exact(original, axis.tensor) if whole is None else whole
                weights[axis.tensor] = merged(whole, axis, cut, scales)
        for name, whole in weights.items():
            small = tensor_named(context.model, name)
            small.copy_(shrunk(whole, name, context.plan))
        facts: dict[str, float | int | str] = {
            "form": self.form,
            "groups": len(passed),
            "channels_merged": n_merged,
            "channels_removed": sum(len(cut.gone) for cut in cuts),
        }
        return facts | _only_cut(reasons, progress)

    def _reason(self, model: nn.Module, cut: CutGroup, made_by: list[Maker]) -> str:
        if len(made_by) > 1 and not self.coupled:
            return "several layers make its channels (coupled=true merges them)"
        return obstacle(model, cut.group, made_by)

    def _scales(self, model: nn.Module, cut: CutGroup, made_by: list[Maker]) -> Tensor:
        parts = [filters_of(model, maker, cut.group.n_channels) for maker in made_by]
        rows, first = side_by_side(parts), parts[0]
        by_norm = first.plain and len(parts) == 1
        if self.form in ("bn", "released") and by_norm:
            return batch_norm_rule(first, cut, self.threshold, self.lam, released=self.form == "released")
        if self.form == "moments" and by_norm:
            return with_copies(moments_rule(first, cut, self.threshold, self.ridge), rows, cut, self.threshold)
        if self.form == "many":
            return with_copies(many_rule(rows, cut, self.threshold, self.ridge), rows, cut, self.threshold)
        return folded_rule(rows, cut, self.threshold)


def _only_cut(reasons: dict[str, str], progress: Any) -> dict[str, float | int | str]:
    """Tells which groups were only cut, and why; facts for the report."""
    facts: dict[str, float | int | str] = {}
    for reason in dict.fromkeys(reason for reason in reasons.values() if reason):
        names = [name for name, why in reasons.items() if why == reason]
        where = names[0] if len(names) == 1 else f"{len(names)} groups (the first is {names[0]})"
        progress.note(f"{OWNER}: {where}: only cut, for {reason}. With images, use least_squares instead.")
        facts[f"only_cut_{len(facts) + 1}"] = f"{', '.join(names)}: {reason}"
    if facts:
        facts["groups_only_cut"] = sum(bool(reason) for reason in reasons.values())
    return facts


PLUGIN = NeuronMerging
