"""Decoders with RAD-RWKV6 or RAD-RWKV7 in the place of attention (RADLADS, arXiv 2505.03005).

Plain PyTorch for transformers 5, written by Suture beside the weights. A prompt goes through the
recurrence in chunks, a single token through one step of it; both in f32. Layers carry a state of
constant size in `past_key_values`, an `RwkvCache`; those that kept attention carry keys and values
there. Padding, on the left or on the right, leaves states as they are.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.generation import GenerationMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import can_return_tuple

from .cache_rwkvqwen2 import RwkvCache
from .configuration_rwkvqwen2 import RWKV6Qwen2Config, RWKV7Qwen2Config
from .mixers_rwkvqwen2 import Rwkv6Mixer, Rwkv7Mixer, RwkvAttention, RwkvMixer, RwkvRMSNorm, Step


class RwkvMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, inner, bias=bias)
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class RwkvDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config, layer):
        super().__init__()
        mixer = Rwkv6Mixer if config.model_type == "rwkv6qwen2" else Rwkv7Mixer
        kept = config.keeps_attention(layer)
        self.self_attn = RwkvAttention(config, layer) if kept else mixer(config, layer)
        self.mlp = RwkvMLP(config)
        self.input_layernorm = RwkvRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RwkvRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, v_first, step, past_key_values=None):
        y, v_first = self.self_attn(self.input_layernorm(x), v_first, step, past_key_values)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), v_first


class RwkvQwen2PreTrainedModel(PreTrainedModel):
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RwkvDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    # Tokens cannot be taken back from a state, which speculative decoding would ask for.
    _is_stateful = True
    # A mixer without token shift has no use for these; other writers leave them in.
    _keys_to_ignore_on_load_unexpected = [r"self_attn\.time_maa_"]

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, RwkvMixer):
            module.initialise()


class RwkvQwen2Model(RwkvQwen2PreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(RwkvDecoderLayer(config, layer) for layer in layers)
        self.norm = RwkvRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def rotary(self, positions):
        """Cosines and sines of positions [batch or 1, time]: [batch or 1, time, 1, width / 2]."""
        rope = self.config.rope_parameters
        # Angles in f64 where the device has it: high positions leave f32 few digits.
        wide = torch.float32 if positions.device.type == "mps" else torch.float64
        half = torch.arange(0, self.config.head_dim, 2, device=positions.device, dtype=wide)
        frequencies, scale = rope["rope_theta"] ** (-half / self.config.head_dim), 1.0
        if rope["rope_type"] != "default":
            scaled = ROPE_INIT_FUNCTIONS[rope["rope_type"]]
            frequencies, scale = scaled(self.config, positions.device)
        angles = positions[:, :, None, None].to(wide) * frequencies.to(wide)
        return (angles.cos() * scale).float(), (angles.sin() * scale).float()

    def step(self, x, attention_mask, position_ids, past):
        batch, time = x.shape[:2]
        if attention_mask is not None:
            shape = (batch, past + time)
            if tuple(attention_mask.shape) != shape:
                raise ValueError(
                    f"attention_mask: expected {shape}, a number for every token so far and every "
                    f"new one; found {tuple(attention_mask.shape)}"
                )
            attention_mask = attention_mask.bool()
            if attention_mask.all():
                attention_mask = None
        if position_ids is None:
            position_ids = torch.arange(past, past + time, device=x.device)[None]
            if attention_mask is not None:
                position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, past:]
        elif time > 1 and (position_ids.diff(dim=1) < 0).any():
            raise ValueError(
                "position_ids: expected positions that do not go back; found some that do. Texts "
                "packed into one row would share a state: give every text a row, and a mask"
            )
        cos, sin = self.rotary(position_ids)
        tokens = None if attention_mask is None else attention_mask[:, past:]
        return Step(cos, sin, tokens, attention_mask, past)

    @can_return_tuple
    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        output_hidden_states=None,
        output_attentions=None,
        **kwargs,
    ):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected input_ids or inputs_embeds, and not both")
        if output_attentions:
            raise ValueError("output_attentions: these models have no attention weights to give")
        if past_key_values is not None and not isinstance(past_key_values, RwkvCache):
            found = type(past_key_values).__name__
            raise TypeError(f"past_key_values: expected an RwkvCache, or none; found {found}")
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if use_cache and past_key_values is None:
            past_key_values = RwkvCache(self.config)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states

        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        step = self.step(x, attention_mask, position_ids, past)
        streams, v_first = [x], None
        for layer in self.layers:
            x, v_first = layer(x, v_first, step, past_key_values=past_key_values)
            streams.append(x)
        x = self.norm(x)
        return BaseModelOutputWithPast(
            last_hidden_state=x,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*streams[:-1], x) if output_hidden_states else None,
        )


class RwkvQwen2ForCausalLM(RwkvQwen2PreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = RwkvQwen2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        """`generate` makes its cache here."""
        kind = generation_config.cache_implementation
        if kind not in (None, "dynamic"):
            raise ValueError(f'cache_implementation: expected none or "dynamic"; found "{kind}"')
        if model_kwargs.get("past_key_values") is None and generation_config.use_cache is not False:
            model_kwargs["past_key_values"] = RwkvCache(self.config)

    @can_return_tuple
    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        output_hidden_states=None,
        output_attentions=None,
        logits_to_keep=0,
        **kwargs,
    ):
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept, :])
        loss = None
        if labels is not None:
            vocab_size = self.config.vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )


class RWKV6Qwen2ForCausalLM(RwkvQwen2ForCausalLM):
    config_class = RWKV6Qwen2Config


class RWKV7Qwen2ForCausalLM(RwkvQwen2ForCausalLM):
    config_class = RWKV7Qwen2Config
