"""More Hugging Face models from small configurations: language, sound, time series."""

from __future__ import annotations

import transformers
from torch import nn

from zoo_parts.huggingface import TEXT

LABELLED = {"num_labels": 5, **TEXT}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Six query heads share two of keys and values.
DECODER = {
    "vocab_size": 120,
    "hidden_size": 72,
    "intermediate_size": 200,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "use_cache": False,
    **SPECIAL,
}
BOTH = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 144,
    "decoder_ffn_dim": 120,
    "vocab_size": 120,
    "use_cache": False,
    **SPECIAL,
}


def distilbert() -> nn.Module:
    """Half of BERT's layers, under other names."""
    config = transformers.DistilBertConfig(
        vocab_size=120, dim=64, n_layers=3, n_heads=4, hidden_dim=144, max_position_embeddings=40, num_labels=5
    )
    return transformers.DistilBertForSequenceClassification(config)


def roberta() -> nn.Module:
    """Positions counted from the padding."""
    return transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**LABELLED))


def albert() -> nn.Module:
    """One layer called several times, and embeddings of their own width."""
    return transformers.AlbertForSequenceClassification(transformers.AlbertConfig(embedding_size=32, **LABELLED))


def electra() -> nn.Module:
    """Embeddings of their own width."""
    return transformers.ElectraForSequenceClassification(transformers.ElectraConfig(embedding_size=32, **LABELLED))


def deberta_v2() -> nn.Module:
    """Disentangled attention: contents and relative positions are multiplied apart."""
    config = transformers.DebertaV2Config(
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        **LABELLED,
    )
    return transformers.DebertaV2ForSequenceClassification(config)


def mobilebert() -> nn.Module:
    """Bottlenecks around every block."""
    config = transformers.MobileBertConfig(
        embedding_size=32,
        intra_bottleneck_size=48,
        true_hidden_size=48,
        **{**LABELLED, "intermediate_size": 72},
    )
    return transformers.MobileBertForSequenceClassification(config)


def squeezebert() -> nn.Module:
    """Convolutions of width one in the place of linear layers."""
    return transformers.SqueezeBertForSequenceClassification(
        transformers.SqueezeBertConfig(embedding_size=64, **LABELLED)
    )


def modernbert() -> nn.Module:
    """Rotary positions, gated MLPs, local attention."""
    config = transformers.ModernBertConfig(cls_token_id=1, sep_token_id=2, **LABELLED, **SPECIAL)
    return transformers.ModernBertForSequenceClassification(config)


def gpt2() -> nn.Module:
    """Linear layers with transposed weights, the vocabulary's weight shared."""
    config = transformers.GPT2Config(
        vocab_size=120, n_positions=64, n_embd=48, n_layer=3, n_head=4, n_inner=160, use_cache=False
    )
    return transformers.GPT2LMHeadModel(config)


def gpt_neox() -> nn.Module:
    """Attention and MLP side by side; queries, keys and values in turn within each head."""
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(use_cache=False, **TEXT))


def opt() -> nn.Module:
    """Learned positions."""
    config = transformers.OPTConfig(
        vocab_size=120,
        hidden_size=64,
        word_embed_proj_dim=64,
        num_hidden_layers=3,
        ffn_dim=144,
        num_attention_heads=4,
        max_position_embeddings=64,
        use_cache=False,
    )
    return transformers.OPTForCausalLM(config)


def bloom() -> nn.Module:
    """Biases by distance; the three of each head in turn."""
    return transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=120, hidden_size=64, n_layer=3, n_head=4, use_cache=False)
    )


def t5() -> nn.Module:
    """Encoder and decoder, heads wider than the stream, relative position biases."""
    config = transformers.T5Config(
        vocab_size=120,
        d_model=64,
        d_kv=12,
        d_ff=144,
        num_layers=2,
        num_heads=4,
        use_cache=False,
        decoder_start_token_id=0,
    )
    return transformers.T5ForConditionalGeneration(config)


def bart() -> nn.Module:
    """Encoder and decoder with cross attention."""
    return transformers.BartModel(transformers.BartConfig(max_position_embeddings=64, **BOTH))


def mistral() -> nn.Module:
    """Grouped-query attention in a sliding window."""
    return transformers.MistralForCausalLM(transformers.MistralConfig(**DECODER))


def qwen2() -> nn.Module:
    """Biases on queries, keys and values."""
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**DECODER))


def gemma2() -> nn.Module:
    """Head size of its own, capped logits, norms before and after."""
    return transformers.Gemma2ForCausalLM(transformers.Gemma2Config(head_dim=16, **DECODER))


def phi3() -> nn.Module:
    """Queries, keys and values in one layer, gate and up in another."""
    return transformers.Phi3ForCausalLM(transformers.Phi3Config(**DECODER))


def mamba() -> nn.Module:
    """A state space scanned in a loop."""
    config = transformers.MambaConfig(
        vocab_size=120, hidden_size=48, state_size=8, num_hidden_layers=2, use_cache=False
    )
    return transformers.MambaForCausalLM(config)


def whisper() -> nn.Module:
    """Sound in, text out: both halves."""
    config = transformers.WhisperConfig(
        num_mel_bins=20, max_source_positions=50, max_target_positions=32, decoder_start_token_id=3, **BOTH
    )
    return transformers.WhisperForConditionalGeneration(config)


def wav2vec2() -> nn.Module:
    """Convolutions over samples, a weight-normed position embedding, a transformer."""
    config = transformers.Wav2Vec2Config(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        conv_dim=[32, 32, 40],
        conv_stride=[5, 2, 2],
        conv_kernel=[10, 3, 3],
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=24,
        num_labels=5,
    )
    return transformers.Wav2Vec2ForSequenceClassification(config)


def audio_spectrogram() -> nn.Module:
    """A ViT over a spectrogram."""
    config = transformers.ASTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_length=64,
        num_mel_bins=32,
        num_labels=5,
    )
    return transformers.ASTForAudioClassification(config)


def patch_tst() -> nn.Module:
    """Patches of several time series."""
    config = transformers.PatchTSTConfig(
        num_input_channels=2,
        context_length=64,
        patch_length=8,
        patch_stride=8,
        prediction_length=12,
        d_model=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
    )
    return transformers.PatchTSTForPrediction(config)
