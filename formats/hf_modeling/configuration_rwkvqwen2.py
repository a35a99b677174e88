"""Configs of decoders whose attention was converted to RAD-RWKV6 or RAD-RWKV7 (arXiv 2505.03005).

Written by Suture beside the weights; for transformers 5.
"""

from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_rope_utils import RopeParameters


class _ConvertedConfig(PreTrainedConfig):
    """What both blocks share. Every flag stands for itself: none follows from another."""

    keys_to_ignore_at_inference = ["past_key_values"]

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    tie_word_embeddings: bool = False
    rope_parameters: RopeParameters | dict | None = None
    attention_bias: bool = True
    attention_output_bias: bool = False
    attention_qk_norm: bool = False
    mlp_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: int | None = None
    max_window_layers: int = 28
    layer_types: list[str] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    use_rope: bool = True
    use_tokenshift: bool = False
    balance_state: bool = False
    groupnorm_att: bool = True
    gate_rank_type: int = 2
    lora_rank_tokenshift: int | None = None
    lora_rank_decay: int | None = None
    lora_rank_iclr: int | None = None
    lora_rank_value_residual_mix: int | None = None
    lora_rank_gate: int | None = None
    # Attention stays in the last `num_attention_layers` layers, or in those that the list names.
    num_attention_layers: int = 0
    attention_layers: list[int] | None = None

    def __post_init__(self, **kwargs):
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)

    def keeps_attention(self, layer: int) -> bool:
        """Whether a layer has softmax attention."""
        if self.attention_layers is not None:
            return layer in self.attention_layers
        return layer >= self.num_hidden_layers - self.num_attention_layers

    def window(self, layer: int) -> int | None:
        """How many keys a query of an attention layer sees, its own included; None for all."""
        if not self.use_sliding_window or self.sliding_window is None:
            return None
        if self.layer_types is not None:
            return self.sliding_window if self.layer_types[layer] == "sliding_attention" else None
        return self.sliding_window if layer >= self.max_window_layers else None


class RWKV6Qwen2Config(_ConvertedConfig):
    """RAD-RWKV6; the defaults of the flags are the published ones."""

    model_type = "rwkv6qwen2"

    use_rope: bool = False
    use_tokenshift: bool = True
    balance_state: bool = True
    groupnorm_att: bool = False
    gate_rank_type: int = 1


class RWKV7Qwen2Config(_ConvertedConfig):
    """RAD-RWKV7; the defaults of the flags are the published ones."""

    model_type = "rwkv7qwen2"
