"""Hugging Face models from small configurations: the real classes with random weights, a few layers deep.

Sizes are small, but all distinct where the real models' are (hidden size, heads, head size, MLP width, vocabulary), so
that a dimension which is taken for another shows.
"""

from __future__ import annotations

import transformers
from torch import nn

VISION = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 160,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 120,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 144,
    "max_position_embeddings": 40,
}


def bert() -> nn.Module:
    """Two sentences in, one of five classes out."""
    return transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=5, **TEXT))


def vit() -> nn.Module:
    """An image classifier."""
    return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=10, **VISION))


def deit() -> nn.Module:
    """ViT with a distillation token and two heads."""
    return transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(num_labels=10, **VISION))


def swin() -> nn.Module:
    """Shifted windows, three stages."""
    config = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=24, depths=[2, 2, 2], num_heads=[2, 3, 4], window_size=4, num_labels=10
    )
    return transformers.SwinForImageClassification(config)


def convnext() -> nn.Module:
    """Depthwise convolutions, layer norms over channels first and last, layer scale."""
    config = transformers.ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[2, 2, 3, 2], num_labels=10)
    return transformers.ConvNextForImageClassification(config)


def clip() -> nn.Module:
    """Both towers; images and texts meet in one embedding."""
    config = transformers.CLIPConfig(text_config=_clip_text(), vision_config=dict(VISION), projection_dim=40)
    return transformers.CLIPModel(config)


def clip_vision() -> nn.Module:
    """The image tower with its projection."""
    return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(projection_dim=40, **VISION))


def clip_text() -> nn.Module:
    """The text tower with its projection."""
    return transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(projection_dim=40, **_clip_text()))


def segformer() -> nn.Module:
    """A hierarchical encoder with reduced attention and a segmentation head over all stages."""
    config = transformers.SegformerConfig(
        hidden_sizes=[16, 32, 40, 64],
        depths=[1, 2, 1, 1],
        num_attention_heads=[1, 2, 5, 8],
        decoder_hidden_size=56,
        num_labels=7,
    )
    return transformers.SegformerForSemanticSegmentation(config)


def detr() -> nn.Module:
    """A ResNet backbone of Hugging Face's own (nothing is fetched), encoder, decoder, boxes and classes."""
    backbone = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=48,
        num_queries=12,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96,
        decoder_ffn_dim=80,
        num_labels=6,
    )
    return transformers.DetrForObjectDetection(config)


def llama() -> nn.Module:
    """Grouped-query attention (six query heads share two of keys and values), rotary positions, gated MLP, RMS norm."""
    config = transformers.LlamaConfig(
        vocab_size=120,
        hidden_size=72,
        intermediate_size=200,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=64,
        use_cache=False,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(config)


def whisper_encoder() -> nn.Module:
    """The audio encoder: 1d convolutions over a spectrogram, fixed positions, a transformer."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = transformers.WhisperConfig(
        d_model=48,
        encoder_layers=3,
        encoder_attention_heads=4,
        encoder_ffn_dim=160,
        decoder_layers=1,
        decoder_attention_heads=4,
        num_mel_bins=20,
        max_source_positions=50,
    )
    return WhisperEncoder(config)


def _clip_text() -> dict[str, int]:
    """With the tokens that begin and end a text inside the small vocabulary."""
    return {**TEXT, "max_position_embeddings": 16, "bos_token_id": 118, "eos_token_id": 119, "pad_token_id": 1}
