"""More Hugging Face models from small configurations: images, video, and images with text."""

from __future__ import annotations

import transformers
from torch import nn

from zoo_parts.huggingface import VISION

PYRAMID = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
ATTENTIVE = {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 5, 8]}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
TOWER = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}


def beit() -> nn.Module:
    """Relative position biases, layer scale."""
    return transformers.BeitForImageClassification(transformers.BeitConfig(num_labels=10, **VISION))


def dinov2() -> nn.Module:
    """Layer scale, and a gated MLP."""
    config = transformers.Dinov2Config(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        use_swiglu_ffn=True,
        image_size=28,
        patch_size=7,
        num_labels=10,
    )
    return transformers.Dinov2ForImageClassification(config)


def swinv2() -> nn.Module:
    """Cosine attention in shifted windows, with a network that makes the position biases."""
    config = transformers.Swinv2Config(
        image_size=64, patch_size=4, embed_dim=24, depths=[2, 2, 2], num_heads=[2, 3, 4], window_size=4, num_labels=10
    )
    return transformers.Swinv2ForImageClassification(config)


def hiera() -> nn.Module:
    """Pooled queries in mask units."""
    config = transformers.HieraConfig(
        embed_dim=24,
        image_size=[64, 64],
        depths=[1, 2, 2],
        num_heads=[1, 2, 4],
        num_query_pool=2,
        masked_unit_size=[4, 4],
        num_labels=10,
    )
    return transformers.HieraForImageClassification(config)


def resnet() -> nn.Module:
    """Bottlenecks."""
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[2, 2, 2, 2], num_labels=10
    )
    return transformers.ResNetForImageClassification(config)


def regnet() -> nn.Module:
    """Grouped convolutions with squeeze and excitation."""
    config = transformers.RegNetConfig(
        embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[2, 2, 2, 2], groups_width=8, num_labels=10
    )
    return transformers.RegNetForImageClassification(config)


def bit() -> nn.Module:
    """Standardised weights, group norms, zeros padded before a max pooling."""
    config = transformers.BitConfig(
        embedding_size=32, hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 1, 1], num_groups=8, num_labels=10
    )
    return transformers.BitForImageClassification(config)


def efficientnet() -> nn.Module:
    """Inverted bottlenecks, and a pooling window larger than the image."""
    config = transformers.EfficientNetConfig(
        width_coefficient=0.5, depth_coefficient=0.5, image_size=64, hidden_dim=640, num_labels=10
    )
    return transformers.EfficientNetForImageClassification(config)


def mobilenet_v2() -> nn.Module:
    """Inverted residuals, padded as in TensorFlow."""
    config = transformers.MobileNetV2Config(depth_multiplier=0.5, num_labels=10)
    return transformers.MobileNetV2ForImageClassification(config)


def mobilevit() -> nn.Module:
    """Convolutions and attention over unfolded patches in turn."""
    config = transformers.MobileViTConfig(
        image_size=64, hidden_sizes=[48, 64, 80], neck_hidden_sizes=[8, 16, 24, 32, 48, 64, 96], num_labels=10
    )
    return transformers.MobileViTForImageClassification(config)


def convnextv2() -> nn.Module:
    """Global response normalisation."""
    return transformers.ConvNextV2ForImageClassification(transformers.ConvNextV2Config(num_labels=10, **PYRAMID))


def poolformer() -> nn.Module:
    """Pooling in the place of attention."""
    return transformers.PoolFormerForImageClassification(transformers.PoolFormerConfig(num_labels=10, **PYRAMID))


def pvt_v2() -> nn.Module:
    """Attention over a reduced image, depthwise convolutions in the MLP."""
    return transformers.PvtV2ForImageClassification(transformers.PvtV2Config(image_size=64, num_labels=10, **ATTENTIVE))


def levit() -> nn.Module:
    """Attention between convolutions, with values wider than keys."""
    config = transformers.LevitConfig(
        image_size=64,
        hidden_sizes=[32, 64, 96],
        num_attention_heads=[2, 4, 6],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
        num_labels=10,
    )
    return transformers.LevitForImageClassification(config)


def focalnet() -> nn.Module:
    """Focal modulation: gates over contexts of several sizes."""
    config = transformers.FocalNetConfig(
        image_size=64,
        embed_dim=24,
        hidden_sizes=[24, 48, 96],
        depths=[1, 1, 2],
        focal_levels=[2, 2, 2],
        focal_windows=[3, 3, 3],
        num_labels=10,
    )
    return transformers.FocalNetForImageClassification(config)


def yolos() -> nn.Module:
    """A detector that is nothing but a ViT with detection tokens."""
    config = transformers.YolosConfig(
        num_detection_tokens=10, num_labels=6, **{**VISION, "image_size": [64, 64], "patch_size": 16}
    )
    return transformers.YolosForObjectDetection(config)


def dpt() -> nn.Module:
    """Depth from the tokens of four layers."""
    config = transformers.DPTConfig(
        is_hybrid=False,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 24, 32, 40],
        fusion_hidden_size=32,
        **{**VISION, "num_hidden_layers": 4},
    )
    return transformers.DPTForDepthEstimation(config)


def depth_anything() -> nn.Module:
    """The same over DINOv2."""
    backbone = transformers.Dinov2Config(
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=56,
        patch_size=14,
        out_features=STAGES,
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=48,
        patch_size=14,
        neck_hidden_sizes=[16, 24, 32, 40],
        fusion_hidden_size=32,
        head_hidden_size=16,
    )
    return transformers.DepthAnythingForDepthEstimation(config)


def glpn() -> nn.Module:
    """Depth with selective fusion of scales."""
    return transformers.GLPNForDepthEstimation(transformers.GLPNConfig(decoder_hidden_size=32, **ATTENTIVE))


def upernet() -> nn.Module:
    """Pyramid pooling and a feature pyramid over ConvNeXt, with an auxiliary head."""
    config = transformers.UperNetConfig(
        backbone=None,
        use_pretrained_backbone=False,
        backbone_config=transformers.ConvNextConfig(out_features=STAGES, **PYRAMID),
        hidden_size=40,
        pool_scales=[1, 2],
        auxiliary_in_channels=48,
        auxiliary_channels=24,
        num_labels=7,
    )
    return transformers.UperNetForSemanticSegmentation(config)


def maskformer() -> nn.Module:
    """Masks as products of queries and pixels; Swin, a feature pyramid, DETR's decoder."""
    swin = transformers.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=24,
        depths=[1, 1, 1, 1],
        num_heads=[2, 3, 4, 6],
        window_size=2,
        out_features=STAGES,
    )
    decoder = transformers.DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=8,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=transformers.ResNetConfig(),
    )
    config = transformers.MaskFormerConfig(
        backbone_config=swin, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, num_labels=6
    )
    return transformers.MaskFormerForInstanceSegmentation(config)


def vitdet() -> nn.Module:
    """Windows and relative positions, features out."""
    config = transformers.VitDetConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        mlp_ratio=3,
        image_size=64,
        patch_size=8,
        window_size=4,
        window_block_indices=[0, 1],
        use_relative_position_embeddings=True,
    )
    return transformers.VitDetModel(config)


def blip_vision() -> nn.Module:
    """Attention that returns its weights; the stream is the output."""
    return transformers.BlipVisionModel(transformers.BlipVisionConfig(**VISION))


def videomae() -> nn.Module:
    """Tubes of video."""
    config = transformers.VideoMAEConfig(image_size=32, patch_size=8, num_frames=4, num_labels=5, **TOWER)
    return transformers.VideoMAEForVideoClassification(config)


def timesformer() -> nn.Module:
    """Attention over time and space in turn."""
    config = transformers.TimesformerConfig(image_size=32, patch_size=8, num_frames=4, num_labels=5, **TOWER)
    return transformers.TimesformerForVideoClassification(config)


def siglip() -> nn.Module:
    """Two towers, and attention that pools."""
    text = {"vocab_size": 120, "max_position_embeddings": 16, **TOWER}
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=dict(VISION)))


def clipseg() -> nn.Module:
    """A text decides what is segmented."""
    text = {"vocab_size": 120, "max_position_embeddings": 20, **TOWER, "hidden_size": 64}
    config = transformers.CLIPSegConfig(
        text_config=text,
        vision_config=dict(VISION),
        projection_dim=40,
        extract_layers=[0, 1, 2],
        reduce_dim=32,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=48,
    )
    return transformers.CLIPSegForImageSegmentation(config)
