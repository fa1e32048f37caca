"""Networks of `transformers` for classification, small and with random weights; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLASSES", "OTHERS", "PICTURES", "TEXTS", "Built", "N", "images", "tokens", "transformer"]

N, CLASSES = 3, 4
Built = tuple[nn.Module, Any]


def images(size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(N, channels, size, size)


def tokens(length: int = 7, vocabulary: int = 40) -> Tensor:
    return torch.randint(3, vocabulary, (N, length))


# Networks of transformers: the name of a class for classification, its inputs, and what makes its configuration small.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_labels": CLASSES,
}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0, "type_vocab_size": 2}
CAUSAL = {**TEXT, "num_key_value_heads": 1, "head_dim": 8}
CAUSAL.pop("type_vocab_size")
GPT = {
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 32,
    "vocab_size": 40,
    "num_labels": CLASSES,
    "pad_token_id": 0,
}
XLM = {"vocab_size": 40, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "num_labels": CLASSES, "max_position_embeddings": 32,
       "pad_index": 0}  # fmt: skip
LATENT = {**CAUSAL, "num_key_value_heads": 2, "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
          "moe_intermediate_size": 8, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
          "v_head_dim": 8, "head_dim": 4, "first_k_dense_replace": 1, "n_shared_experts": 1}  # fmt: skip
PIXELS = {**SMALL, "image_size": 32, "patch_size": 8}
STAGES = {"num_labels": CLASSES, "image_size": 32}

TEXTS: dict[str, dict[str, Any]] = {
    "Bert": TEXT, "Roberta": TEXT, "Electra": {**TEXT, "embedding_size": 16}, "MPNet": TEXT, "Camembert": TEXT,
    "XLMRoberta": TEXT, "Ernie": TEXT, "MegatronBert": TEXT, "RoFormer": {**TEXT, "embedding_size": 16}, "Nezha": TEXT,
    "Albert": {**TEXT, "embedding_size": 16}, "ConvBert": {**TEXT, "embedding_size": 16, "conv_kernel_size": 3},
    "DebertaV2": {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    "Deberta": {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 40, "num_labels": CLASSES,
                   "max_position_embeddings": 32},
    "FNet": {**TEXT}, "SqueezeBert": {**TEXT, "embedding_size": 16}, "MobileBert": {**TEXT, "embedding_size": 16,
        "intra_bottleneck_size": 16, "true_hidden_size": 16}, "LayoutLM": TEXT, "ModernBert": {**CAUSAL, "global_attn_every_n_layers": 2},
    "Funnel": {"block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 24, "vocab_size": 40,
               "num_labels": CLASSES},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40, "num_labels": CLASSES,
             "pad_token_id": 0},
    "OpenAIGPT": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40, "num_labels": CLASSES,
                  "pad_token_id": 0},
    "GPTNeo": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
               "vocab_size": 40, "max_position_embeddings": 32, "num_labels": CLASSES, "pad_token_id": 0},
    "GPTNeoX": {**TEXT}, "GPTBigCode": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 40,
                                        "num_labels": CLASSES, "pad_token_id": 0},
    "OPT": {**TEXT, "ffn_dim": 24, "word_embed_proj_dim": 16}, "Bloom": {**TEXT, "n_layer": 2, "n_head": 2},
    "Llama": CAUSAL, "Mistral": CAUSAL, "Qwen2": CAUSAL, "Qwen3": CAUSAL, "Gemma": CAUSAL, "Gemma2": CAUSAL, "Phi": CAUSAL,
    "Phi3": {**CAUSAL, "num_key_value_heads": 2}, "StableLm": CAUSAL, "Falcon": TEXT, "Starcoder2": CAUSAL, "Persimmon": CAUSAL,
    "Mixtral": {**CAUSAL, "num_local_experts": 3, "num_experts_per_tok": 2}, "Qwen2Moe": {**CAUSAL, "num_experts": 3,
        "num_experts_per_tok": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
    "T5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 40,
           "num_labels": CLASSES, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    "Bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 40,
             "max_position_embeddings": 32, "num_labels": CLASSES, "pad_token_id": 0, "eos_token_id": 1},
}  # fmt: skip
FURTHER: dict[str, dict[str, Any]] = {
    "XLNet": {"vocab_size": 40, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24, "num_labels": CLASSES, "pad_token_id": 0},
    "Longformer": {**TEXT, "attention_window": 4}, "BigBird": {**TEXT, "block_size": 4, "attention_type": "original_full"},
    "Reformer": {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "attention_head_size": 8, "is_decoder": False,
                 "feed_forward_size": 24, "axial_pos_embds": False, "max_position_embeddings": 32, "num_labels": CLASSES,
                 "attn_layers": ["local", "local"], "local_attn_chunk_length": 8, "pad_token_id": 0},
    "CTRL": {**GPT, "dff": 24}, "BioGpt": TEXT, "GPTJ": {**GPT, "rotary_dim": 4},
    "Mpt": {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32, "vocab_size": 40, "num_labels": CLASSES, "pad_token_id": 0},
    "Flaubert": XLM, "XLM": XLM, "Esm": {**TEXT, "position_embedding_type": "rotary", "mask_token_id": 2},
    "Yoso": {**TEXT, "use_expectation": True}, "IBert": TEXT, "Gemma3Text": CAUSAL, "Olmo2": CAUSAL, "Glm4": CAUSAL,
    "Nemotron": CAUSAL, "SmolLM3": CAUSAL, "Helium": CAUSAL, "Doge": CAUSAL, "ModernBertDecoder": {**CAUSAL, "local_attention": 4},
    "GptOss": {**CAUSAL, "num_local_experts": 3, "num_experts_per_tok": 2}, "RemBert": {**TEXT, "input_embedding_size": 16},
    "JetMoe": {**CAUSAL, "num_local_experts": 3, "num_experts_per_tok": 2, "kv_channels": 8},
    "Qwen3Moe": {**CAUSAL, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
    "DeepseekV2": {**LATENT, "topk_method": "greedy"}, "MiniCPM3": {**LATENT, "num_key_value_heads": 2},
    "Jamba": {**CAUSAL, "num_experts": 2, "num_experts_per_tok": 1, "attn_layer_period": 2, "attn_layer_offset": 1,
              "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "Qwen3Next": {**CAUSAL, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
                  "shared_expert_intermediate_size": 8, "linear_num_value_heads": 2, "linear_num_key_heads": 2,
                  "linear_key_head_dim": 4, "linear_value_head_dim": 4, "layer_types": ["linear_attention", "full_attention"]},
    "Xmod": {**TEXT, "languages": ["en_XX"], "default_language": "en_XX"}, "MT5": TEXTS["T5"], "UMT5": TEXTS["T5"],
    "MBart": TEXTS["Bart"], "PLBart": TEXTS["Bart"],
}  # fmt: skip
TEXTS |= FURTHER
PICTURES: dict[str, dict[str, Any]] = {
    "ViT": PIXELS, "DeiT": PIXELS, "Beit": {**PIXELS, "use_relative_position_bias": True, "layer_scale_init_value": 0.1},
    "Dinov2": {**PIXELS, "mlp_ratio": 2}, "ViTMSN": PIXELS, "Data2VecVision": PIXELS, "IJepa": PIXELS,
    "Siglip": {"vision_config": {**PIXELS}, "num_labels": CLASSES},
    "Swin": {**STAGES, "patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4},
    "Swinv2": {**STAGES, "patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4},
    "ConvNext": {**STAGES, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "ConvNextV2": {**STAGES, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "ResNet": {**STAGES, "embedding_size": 8, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "RegNet": {**STAGES, "embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "groups_width": 8},
    "Bit": {**STAGES, "embedding_size": 32, "hidden_sizes": [32, 32, 32, 32], "depths": [1, 1, 1, 1], "num_groups": 8, "image_size": 64},
    "MobileNetV1": {**STAGES, "depth_multiplier": 0.25, "min_depth": 8},
    "MobileNetV2": {**STAGES, "depth_multiplier": 0.25, "min_depth": 8},
    "EfficientNet": {**STAGES, "width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320},
    "LevitForImageClassification": {**STAGES, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 2, 2],
                                    "key_dim": [8, 8, 8], "depths": [1, 1, 1], "image_size": 64},
    "PoolFormer": {**STAGES, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]},
    "Segformer": {**STAGES, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "Pvt": {**STAGES, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "PvtV2": {**STAGES, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]},
    "Cvt": {"num_labels": CLASSES, "embed_dim": [8, 16, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "MobileViT": {**STAGES, "hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
                  "num_attention_heads": 2},
    "MobileViTV2": {**STAGES, "width_multiplier": 0.25, "image_size": 64},
    "FocalNet": {**STAGES, "embed_dim": 8, "depths": [1, 1, 1, 1]},
    "VanillaViTHybrid": {}, "Dinat": {}, "SwiftFormer": {**STAGES, "depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
    "EfficientFormer": {}, "TextNet": {**STAGES},
    "CLIP": {"vision_config": {**PIXELS, "projection_dim": 16}, "num_labels": CLASSES}, "Dinov2WithRegisters": {**PIXELS, "mlp_ratio": 2},
    "DonutSwin": {**STAGES, "patch_size": 4, "embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4},
    "HGNetV2": {**STAGES, "embedding_size": 16, "hidden_sizes": [16] * 4, "depths": [1] * 4, "stem_channels": [3, 8, 8],
                "stage_in_channels": [8, 16, 16, 16], "stage_mid_channels": [8] * 4, "stage_out_channels": [16] * 4,
                "stage_num_blocks": [1] * 4, "stage_numb_of_layers": [2] * 4},
}  # fmt: skip

WAVES = {**SMALL, "conv_dim": [8, 8], "conv_stride": [4, 2], "conv_kernel": [6, 3], "num_conv_pos_embeddings": 4,
         "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}  # fmt: skip
VIDEO = {**PIXELS, "image_size": 16, "num_frames": 4, "tubelet_size": 2}
OTHERS: dict[str, tuple[str, dict[str, Any], Callable[[], dict[str, Tensor]]]] = {
    "Wav2Vec2": ("SequenceClassification", WAVES, lambda: {"input_values": torch.randn(N, 200)}),
    "Hubert": ("SequenceClassification", WAVES, lambda: {"input_values": torch.randn(N, 200)}),
    "AST": ("AudioClassification",
            {**SMALL, "patch_size": 4, "max_length": 16, "num_mel_bins": 8, "frequency_stride": 4, "time_stride": 4},
            lambda: {"input_values": torch.randn(N, 16, 8)}),
    "Whisper": ("AudioClassification",
                {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                 "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_mel_bins": 8, "max_source_positions": 10, "num_labels": CLASSES,
                 "classifier_proj_size": 8, "vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                 "decoder_start_token_id": 1},
                lambda: {"input_features": torch.randn(N, 8, 20)}),
    "VideoMAE": ("VideoClassification", VIDEO, lambda: {"pixel_values": torch.randn(N, 4, 3, 16, 16)}),
    "Timesformer": ("VideoClassification", {**PIXELS, "image_size": 16, "num_frames": 2},
                    lambda: {"pixel_values": torch.randn(N, 2, 3, 16, 16)}),
    "Vivit": ("VideoClassification", {**VIDEO, "tubelet_size": [2, 8, 8]}, lambda: {"pixel_values": torch.randn(N, 4, 3, 16, 16)}),
    "Perceiver": ("SequenceClassification",
                  {"num_latents": 4, "d_latents": 16, "d_model": 16, "num_blocks": 1, "num_self_attends_per_block": 1,
                   "num_self_attention_heads": 2, "num_cross_attention_heads": 2, "vocab_size": 40, "max_position_embeddings": 8,
                   "num_labels": CLASSES},
                  lambda: {"inputs": tokens(8)}),
    "ImageGPT": ("ImageClassification",
                 {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": 41, "num_labels": CLASSES},
                 lambda: {"input_ids": tokens()}),
}  # fmt: skip


def transformer(name: str) -> Built | None:
    """A network by the name of its family; None where this version of the library has none."""
    import transformers

    if name in OTHERS:
        kind, options, inputs = OTHERS[name]
    else:
        kind = "SequenceClassification" if name in TEXTS else "ImageClassification"
        options = TEXTS.get(name) or PICTURES.get(name, {})
        inputs = _text if name in TEXTS else lambda: {"pixel_values": images(options.get("image_size", 32))}
    family = name.removesuffix("ForImageClassification")
    config = getattr(transformers, f"{family}Config", None)
    made = getattr(transformers, f"{family}For{kind}", None)
    if config is None or made is None or not options:
        return None
    settings = config(**options)
    settings._attn_implementation = settings._experts_implementation = "eager"
    x = inputs()
    if "eos_token_id" in options and "input_ids" in x:
        x["input_ids"][:, -1] = 1  # the end, which these look for
    return made(settings), x


def _text() -> dict[str, Tensor]:
    return {"input_ids": tokens()}
