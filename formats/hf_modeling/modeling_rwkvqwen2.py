"""Decoders with RAD-RWKV6 or RAD-RWKV7 in the place of attention (RADLADS, arXiv 2505.03005).

Plain PyTorch for transformers 5, written by Suture beside the weights. A prompt goes through the
recurrence in chunks, a single token through one step of it; both in f32. Every layer carries a state
of constant size in `past_key_values`, an `RwkvCache`; layers that kept attention carry keys and
values there. Padding, on the left or on the right, leaves states as they are.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer
from transformers.generation import GenerationMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import can_return_tuple

from .configuration_rwkvqwen2 import RWKV6Qwen2Config, RWKV7Qwen2Config

# Tokens of a chunk. The products of decays within one stay well inside the range of f32: a token's
# decay is at least exp(-5) in RAD-RWKV6 and exp(-exp(-1/2)) in RAD-RWKV7.
CHUNK_RWKV6 = 16
CHUNK_RWKV7 = 32


# The recurrences. Per head, r, k, v and the others are [batch, heads, time, width] in f32.


def wkv6_step(r, log_w, k, v, state):
    """One token: S = diag(w) S + k^T v; y = r S. The state is [batch, heads, key, value]."""
    state = log_w.exp().mT * state + k.mT @ v
    return r @ state, state


def wkv6_chunk(r, log_w, k, v, state):
    """The same for a few tokens, by the decays between them: W_ts = prod of w over s < i <= t."""
    decay = log_w.cumsum(-2)
    # Measured from the middle, exponents are at most half as large; it cancels.
    middle = decay.shape[-2] // 2
    centred = decay - decay[..., middle : middle + 1, :].detach()
    scores = ((r * centred.exp()) @ (k * (-centred).exp()).mT).tril()
    y = scores @ v + (r * decay.exp()) @ state
    last = decay[..., -1:, :]
    return y, last.exp().mT * state + (k * (last - decay).exp()).mT @ v


def wkv7_step(r, log_w, k, v, kappa, a, state):
    """One token: S = S diag(w) - (S kappa^T)(a kappa) + v^T k; y = S r. S is [value, key]."""
    state = state * log_w.exp() - (state @ kappa.mT) @ (a * kappa) + v.mT @ k
    return r @ state.mT, state


def wkv7_chunk(r, log_w, k, v, kappa, a, state):
    """
    The same for a few tokens. With P_t the product of decays up to t, S_t / P_t is the state before
    the chunk plus the sum over s <= t of u_s^T b_s + v_s^T k_s, where b = a kappa / P, k = k / P and
    u_t = -S_{t-1} kappa_t. The u_t depend on earlier ones: a triangular system.
    """
    decay = log_w.cumsum(-2)
    z = -kappa * (decay - log_w).exp()
    b = a * kappa * (-decay).exp()
    k = k * (-decay).exp()
    r = r * decay.exp()
    right = z @ state.mT + (z @ k.mT).tril(-1) @ v
    u = torch.linalg.solve_triangular(
        -(z @ b.mT).tril(-1), right, upper=False, unitriangular=True
    )
    y = r @ state.mT + (r @ b.mT).tril() @ u + (r @ k.mT).tril() @ v
    return y, (state + u.mT @ b + v.mT @ k) * decay[..., -1:, :].exp()


def recurrence(step, chunk, size, inputs, state):
    """Inputs [batch, time, heads, width] through a recurrence; y of that shape, and the state."""
    device = inputs[0].device.type
    with torch.autocast(device, enabled=False):
        inputs = [x.float().transpose(1, 2) for x in inputs]
        if inputs[0].shape[2] == 1:
            y, state = step(*inputs, state)
            return y.transpose(1, 2), state
        parts = []
        for part in zip(*(x.split(size, dim=2) for x in inputs)):
            y, state = chunk(*part, state)
            parts.append(y)
        return torch.cat(parts, dim=2).transpose(1, 2), state


# States.


class RwkvCacheLayer(CacheLayerMixin):
    """What one RWKV layer remembers: the same amount after any number of tokens."""

    def __init__(self):
        super().__init__()
        self.wkv: Tensor | None = None  # [batch, heads, width, width], f32
        self.shift: Tensor | None = None  # [batch, 1, hidden], the input of the token before
        self.seen = 0  # tokens, padding included

    def _change(self, change):
        self.wkv, self.shift = (t if t is None else change(t) for t in (self.wkv, self.shift))

    def get_seq_length(self):
        return self.seen

    def get_max_length(self):
        return -1

    def get_mask_sizes(self, query_length):
        return self.seen + query_length, 0

    def reset(self):
        self.wkv, self.shift, self.seen = None, None, 0

    def batch_select_indices(self, indices):
        self._change(lambda t: t[indices.to(t.device)])

    def reorder_cache(self, beam_idx):
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats):
        self._change(lambda t: t.repeat_interleave(repeats, dim=0))

    def offload(self):
        self._change(lambda t: t.to("cpu"))

    def prefetch(self):
        pass  # the forward pass moves it

    def lazy_initialization(self, key_states, value_states):
        raise TypeError("an RWKV layer has no keys and values to keep")

    def update(self, key_states, value_states, *args, **kwargs):
        raise TypeError("an RWKV layer has no keys and values to keep")

    def crop(self, *args, **kwargs):
        raise ValueError("the state of an RWKV layer cannot go back: tokens cannot be taken away")


class RwkvCache(Cache):
    """`past_key_values` of these models: a state for RWKV layers, keys and values for others."""

    def __init__(self, config):
        kept = map(config.keeps_attention, range(config.num_hidden_layers))
        super().__init__(layers=[DynamicLayer() if k else RwkvCacheLayer() for k in kept])


# The decoder.


class Step(NamedTuple):
    """What all layers are told of a forward pass."""

    cos: Tensor | None  # [batch or 1, time, 1, width / 2], f32
    sin: Tensor | None
    tokens: Tensor | None  # which of the new tokens are text, bool [batch, time]; None: all
    keys: Tensor | None  # which of all tokens are, bool [batch, past + time]; None: all
    past: int


def rotate(x, step):
    """Turns pairs of channels, one from each half of a head. x is [batch, time, heads, width]."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * step.cos - b * step.sin, b * step.cos + a * step.sin), -1).to(x.dtype)


class RwkvRMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class RwkvMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, inner, bias=bias)
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Projections(nn.Module):
    """What attention and RWKV share: q (receptance), k, v, o, as in the teacher."""

    def __init__(self, config, layer):
        super().__init__()
        self.layer = layer
        self.heads, self.width = config.num_attention_heads, config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        wide, narrow = self.heads * self.width, config.num_key_value_heads * self.width
        self.q_proj = nn.Linear(config.hidden_size, wide, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, narrow, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, narrow, bias=config.attention_bias)
        self.o_proj = nn.Linear(wide, config.hidden_size, bias=config.attention_output_bias)
        self.q_norm = self.k_norm = None
        if config.attention_qk_norm:
            self.q_norm = RwkvRMSNorm(self.width, config.rms_norm_eps)
            self.k_norm = RwkvRMSNorm(self.width, config.rms_norm_eps)

    def split(self, x):
        """[batch, time, heads * width] as heads."""
        return x.unflatten(-1, (-1, self.width))

    def repeat(self, x):
        """Key/value heads [batch, time, heads, width], repeated for their groups of queries."""
        return x.repeat_interleave(self.groups, dim=2)

    def queries(self, x):
        q = self.split(self.q_proj(x))
        return q if self.q_norm is None else self.q_norm(q)

    def keys(self, x):
        k = self.split(self.k_proj(x))
        return k if self.k_norm is None else self.k_norm(k)

    def values(self, x):
        return self.split(self.v_proj(x))


class RwkvAttention(Projections):
    """Softmax attention, as the teacher has it; with RoPE whatever `use_rope` says of RWKV."""

    def __init__(self, config, layer):
        super().__init__(config, layer)
        self.window = config.window(layer)

    def mask(self, step, time, device):
        """Which keys each query sees, bool [batch or 1, 1, time, past + time]."""
        query = torch.arange(step.past, step.past + time, device=device)[:, None]
        key = torch.arange(step.past + time, device=device)
        seen = key <= query
        if self.window is not None:
            seen = seen & (key > query - self.window)
        if step.keys is None:
            return seen[None, None]
        # Padding sees itself, for a row without keys has no softmax.
        return (seen & step.keys[:, None, None, :]) | (key == query)

    def forward(self, x, v_first, step, cache):
        q, k, v = self.queries(x), self.keys(x), self.values(x)
        q, k = rotate(q, step), rotate(k, step)
        value = self.repeat(v)
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        whole = step.keys is None and self.window is None and step.past == 0
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.repeat_interleave(self.groups, dim=1),
            v.repeat_interleave(self.groups, dim=1),
            attn_mask=None if whole else self.mask(step, x.shape[1], x.device),
            is_causal=whole,
        )
        return self.o_proj(y.transpose(1, 2).flatten(2)), value if v_first is None else v_first


class RwkvMixer(Projections):
    """What RAD-RWKV6 and RAD-RWKV7 share: gate, normalisation and state."""

    def __init__(self, config, layer):
        super().__init__(config, layer)
        self.config = config
        if config.gate_rank_type == 1:
            self.gate = nn.Linear(config.hidden_size, self.heads * self.width, bias=False)
        elif config.gate_rank_type == 2:
            self.lora("g", "lora_rank_gate")
        self.ln_x = None
        if config.groupnorm_att:
            wide = self.heads * self.width
            self.ln_x = nn.GroupNorm(self.heads, wide, eps=self.width * 1e-5)

    def rank(self, key):
        rank = getattr(self.config, key)
        if rank is None:
            raise ValueError(f"config.json: expected {key}, the rank that the tensors have; found none")
        return rank

    def lora(self, name, key):
        """Two matrices: [hidden, rank] and [rank, heads * width]."""
        rank = self.rank(key)
        first = torch.empty(self.config.hidden_size, rank)
        self.register_parameter(f"{name}1", nn.Parameter(first))
        self.register_parameter(f"{name}2", nn.Parameter(torch.empty(rank, self.heads * self.width)))

    def gated(self, y, x):
        """y [batch, time, heads, width] f32, normed and gated by x, through the output projection."""
        batch, time = y.shape[:2]
        if self.ln_x is not None:
            y = F.group_norm(
                y.reshape(batch * time, -1),
                self.heads,
                self.ln_x.weight.float(),
                self.ln_x.bias.float(),
                self.ln_x.eps,
            )
        y = y.reshape(batch, time, -1).to(x.dtype)
        if self.config.gate_rank_type == 1:
            y = y * torch.sigmoid(self.gate(x))
        elif self.config.gate_rank_type == 2:
            y = y * (torch.sigmoid(x @ self.g1) @ self.g2)
        return self.o_proj(y)

    def state(self, x, cache):
        """The state before these tokens."""
        if cache is not None and cache.layers[self.layer].wkv is not None:
            return cache.layers[self.layer].wkv.to(x.device)
        size = (x.shape[0], self.heads, self.width, self.width)
        return torch.zeros(size, dtype=torch.float32, device=x.device)

    def keep(self, cache, wkv, x):
        """Leaves the state behind for later tokens."""
        if cache is not None:
            own = cache.layers[self.layer]
            own.wkv, own.seen = wkv, own.seen + x.shape[1]


def silent(tokens, log_w, *others):
    """Padding neither decays the state nor adds to it: w = 1, and 0 for what is multiplied in."""
    if tokens is None:
        return log_w, *others
    pad = ~tokens[:, :, None, None]
    return tuple(t.masked_fill(pad, 0) for t in (log_w, *others))


class Rwkv6Mixer(RwkvMixer):
    """RAD-RWKV6."""

    NAMES = "rkvwg"

    def __init__(self, config, layer):
        super().__init__(config, layer)
        hidden, wide = config.hidden_size, self.heads * self.width
        if config.use_tokenshift:
            rank = self.rank("lora_rank_tokenshift")
            for name in "x" + self.NAMES:
                maa = nn.Parameter(torch.empty(1, 1, hidden))
                self.register_parameter(f"time_maa_{name}", maa)
            self.time_maa_w1 = nn.Parameter(torch.empty(hidden, 5 * rank))
            self.time_maa_w2 = nn.Parameter(torch.empty(5, rank, hidden))
        self.time_decay = nn.Parameter(torch.empty(1, 1, wide))
        self.lora("time_decay_w", "lora_rank_decay")

    def initialise(self):
        channel = torch.linspace(0, 1, self.heads * self.width)
        depth = self.layer / max(1, self.config.num_hidden_layers - 1)
        init.copy_(self.time_decay, (-6 + 5 * channel ** (0.7 + 1.3 * depth)).view(1, 1, -1))
        if self.config.use_tokenshift:
            for name in "x" + self.NAMES:
                init.constant_(getattr(self, f"time_maa_{name}"), float(name == "x"))
            init.zeros_(self.time_maa_w1)
            init.uniform_(self.time_maa_w2, -0.01, 0.01)
        init.zeros_(self.time_decay_w1)
        init.uniform_(self.time_decay_w2, -0.01, 0.01)
        if self.config.gate_rank_type == 2:
            init.zeros_(self.g1)
            init.uniform_(self.g2, -0.01, 0.01)

    def before(self, x, step, cache):
        """The input of the token of the text before each, zero before the first."""
        own = None if cache is None else cache.layers[self.layer]
        first = torch.zeros_like(x[:, :1]) if own is None or own.shift is None else own.shift.to(x)
        inputs = torch.cat((first, x), dim=1)
        if step.tokens is None:
            before, last = inputs[:, :-1], inputs[:, -1:]
        else:
            # The latest input that is text, at every token: padding is passed over.
            at = torch.arange(1, x.shape[1] + 1, device=x.device) * step.tokens
            at = F.pad(at.cummax(dim=1).values, (1, 0))
            latest = inputs.gather(1, at[:, :, None].expand_as(inputs))
            before, last = latest[:, :-1], latest[:, -1:]
        if own is not None:
            own.shift = last
        return before

    def shifted(self, x, step, cache):
        """x mixed with the token before it, for each of r, k, v, w, g."""
        if not self.config.use_tokenshift:
            return [x] * 5
        difference = self.before(x, step, cache) - x
        low = torch.tanh((x + difference * self.time_maa_x) @ self.time_maa_w1)
        low = low.unflatten(-1, (5, -1))
        mixes = [
            getattr(self, f"time_maa_{name}") + low[:, :, i] @ self.time_maa_w2[i]
            for i, name in enumerate(self.NAMES)
        ]
        return [x + difference * mix for mix in mixes]

    def forward(self, x, v_first, step, cache):
        x_r, x_k, x_v, x_w, x_g = self.shifted(x, step, cache)
        r, k, v = self.queries(x_r), self.keys(x_k), self.repeat(self.values(x_v))
        if self.config.use_rope:
            r, k = rotate(r, step), rotate(k, step)
        k = self.repeat(k).float()
        low = torch.tanh(x_w @ self.time_decay_w1) @ self.time_decay_w2
        log_w = -(self.time_decay.float() + low.float()).exp()
        log_w = self.split(log_w.clamp(min=-5))
        if self.config.balance_state:
            k = k * (1 - log_w.exp())
        log_w, k = silent(step.tokens, log_w, k)
        inputs = (r, log_w, k, v)
        y, wkv = recurrence(wkv6_step, wkv6_chunk, CHUNK_RWKV6, inputs, self.state(x, cache))
        self.keep(cache, wkv, x)
        return self.gated(y * self.width**-0.5, x_g), v if v_first is None else v_first


class Rwkv7Mixer(RwkvMixer):
    """RAD-RWKV7."""

    def __init__(self, config, layer):
        super().__init__(config, layer)
        if config.use_tokenshift:
            raise ValueError("config.json: expected use_tokenshift false; RAD-RWKV7 has no token shift")
        wide = self.heads * self.width
        ranks = {"w": "decay", "a": "iclr", "v": "value_residual_mix"}
        for name, key in ranks.items():
            self.register_parameter(f"{name}0", nn.Parameter(torch.empty(1, 1, wide)))
            self.lora(name, f"lora_rank_{key}")
        self.k_k = nn.Parameter(torch.empty(1, 1, wide))
        self.k_a = nn.Parameter(torch.empty(1, 1, wide))
        self.r_k = nn.Parameter(torch.empty(self.heads, self.width))  # stored, not used

    def initialise(self):
        channel = torch.linspace(0, 1, self.heads * self.width)
        depth = self.layer / max(1, self.config.num_hidden_layers - 1)
        init.copy_(self.w0, (-6.5 + 5 * channel ** (0.85 + depth**0.5)).view(1, 1, -1))
        for name, value in {"a0": 0.0, "v0": 1.0, "k_k": 0.85, "k_a": 1.0, "r_k": 0.0}.items():
            init.constant_(getattr(self, name), value)
        for name in "wav" + ("g" if self.config.gate_rank_type == 2 else ""):
            second = getattr(self, f"{name}2")
            init.zeros_(getattr(self, f"{name}1"))
            init.orthogonal_(second, gain=0.1 * max(1, second.shape[0] / second.shape[1]) ** 0.5)

    def low(self, name, x, between=lambda t: t):
        """base + between(x first) second, as heads in f32."""
        first, second = getattr(self, f"{name}1"), getattr(self, f"{name}2")
        value = (between(x @ first) @ second).float() + getattr(self, f"{name}0").float()
        return self.split(value)

    def forward(self, x, v_first, step, cache):
        r, k, v = self.queries(x), self.keys(x), self.repeat(self.values(x))
        if self.config.use_rope:
            r, k = rotate(r, step), rotate(k, step)
        k = self.repeat(k).float()
        log_w = -math.exp(-0.5) * torch.sigmoid(self.low("w", x, torch.tanh))
        a = torch.sigmoid(self.low("a", x))
        if v_first is None:
            v_first = v
        else:
            v = v + (v_first - v) * torch.sigmoid(self.low("v", x)).to(v.dtype)
        if self.config.balance_state:
            kappa = F.normalize(k, dim=-1)
            k = k * (1 - log_w.exp() + a)
        else:
            kappa = F.normalize(k * self.split(self.k_k.float()), dim=-1)
            k = k * (1 + (a - 1) * self.split(self.k_a.float()))
        log_w, k, a = silent(step.tokens, log_w, k, a)
        inputs = (r, log_w, k, v, kappa, a)
        y, wkv = recurrence(wkv7_step, wkv7_chunk, CHUNK_RWKV7, inputs, self.state(x, cache))
        self.keep(cache, wkv, x)
        y = y if self.config.groupnorm_att else y * self.width**-0.5
        return self.gated(y, x), v_first


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
            if module.config.gate_rank_type == 1:
                init.zeros_(module.gate.weight)
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
        """Cosines and sines of positions [batch or 1, time], each [batch or 1, time, 1, width / 2]."""
        rope = self.config.rope_parameters
        # Angles in f64 where the device has it: a position of some ten thousands leaves f32 few digits.
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
                    f"attention_mask: expected {shape}, one number for every token so far and every new "
                    f"one; found {tuple(attention_mask.shape)}"
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
                "position_ids: expected positions that do not go back; found some that do. Texts packed "
                "into one row would share a state: give every text a row, with an attention_mask"
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
