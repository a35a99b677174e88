"""What mixes the tokens of a layer: RAD-RWKV6, RAD-RWKV7, or the teacher's softmax attention."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .wkv_rwkvqwen2 import (
    CHUNK_RWKV6,
    CHUNK_RWKV7,
    recurrence,
    wkv6_chunk,
    wkv6_step,
    wkv7_chunk,
    wkv7_step,
)


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

    def initialise(self):
        """The values before training, but for those of the projections."""
        if self.config.gate_rank_type == 1:
            init.zeros_(self.gate.weight)

    def rank(self, key):
        rank = getattr(self.config, key)
        if rank is None:
            raise ValueError(f"config.json: expected {key}, the rank of the tensors; found none")
        return rank

    def lora(self, name, key):
        """Two matrices: [hidden, rank] and [rank, heads * width]."""
        rank = self.rank(key)
        first = torch.empty(self.config.hidden_size, rank)
        second = torch.empty(rank, self.heads * self.width)
        self.register_parameter(f"{name}1", nn.Parameter(first))
        self.register_parameter(f"{name}2", nn.Parameter(second))

    def gated(self, y, x):
        """y [batch, time, heads, width] f32, normed, gated by x, through the output projection."""
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
        super().initialise()
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
            raise ValueError("config.json: expected use_tokenshift false, as in all of RAD-RWKV7")
        wide = self.heads * self.width
        ranks = {"w": "decay", "a": "iclr", "v": "value_residual_mix"}
        for name, key in ranks.items():
            self.register_parameter(f"{name}0", nn.Parameter(torch.empty(1, 1, wide)))
            self.lora(name, f"lora_rank_{key}")
        self.k_k = nn.Parameter(torch.empty(1, 1, wide))
        self.k_a = nn.Parameter(torch.empty(1, 1, wide))
        self.r_k = nn.Parameter(torch.empty(self.heads, self.width))  # stored, not used

    def initialise(self):
        super().initialise()
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
