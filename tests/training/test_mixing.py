import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from compressor.training.losses.cross_entropy import CrossEntropy
from compressor.training.mixing import Mixed


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5), st.sampled_from([0.0, 0.3]))
def test_cross_entropy_with_targets_is_the_mixture_of_two(seed, n, n_classes, smoothing):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(n_classes, (n,), generator=generator)
    scores = torch.randn(n, n_classes, generator=generator)
    share = torch.rand(n, generator=generator)
    mixed = Mixed(torch.zeros(n, 1, 1, 1), torch.randperm(n, generator=generator), share)
    targets = mixed.targets(labels, n_classes)
    assert torch.allclose(targets.sum(1), torch.ones(n)) and targets.min() >= 0
    own, other = (
        functional.cross_entropy(scores, right, label_smoothing=smoothing, reduction="none")
        for right in (labels, labels[mixed.partner])
    )
    expected = (share * own + (1 - share) * other).mean()
    assert torch.allclose(CrossEntropy(label_smoothing=smoothing)(scores, targets, None), expected, atol=1e-6)
