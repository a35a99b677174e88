"""Makes tests/models/fixtures/golden: a golden directory of sizes and flags that ../shared/golden lacks.

    python tests/models/make_fixtures.py

Needs torch 2.13.0, transformers 5.18.0 and safetensors 0.8.0; see tests/formats/make_fixtures.py.
Computed in float64, stored as F32. The blocks are written here from the paper's formulas, the
checkpoints are transformers' own.
"""

import json
import math
import os
import shutil

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures", "golden")
manifest = {"cases": {}}
torch.manual_seed(20)


def exact(x):
    """Rounded to f32, so that what is stored is what was computed with."""
    return x.float().double()


def rand(*shape, scale=1.0):
    return exact(scale * torch.randn(shape, dtype=torch.float64))


def save(name, config, inputs, params, run, note=""):
    """Runs a block with gradients by random cotangents, and stores all of it."""
    leaves = {f"in.{k}": v.requires_grad_() for k, v in inputs.items()}
    leaves |= {f"param.{k}": v.requires_grad_() for k, v in params.items()}
    outputs = run()
    cotangents = {k: rand(*v.shape) for k, v in outputs.items()}
    total = sum((outputs[k] * cotangents[k]).sum() for k in outputs)
    grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    tensors = dict(leaves)
    tensors |= {f"out.{k}": v for k, v in outputs.items()}
    tensors |= {f"cotangent.{k}": v for k, v in cotangents.items()}
    unused = []
    for (key, leaf), grad in zip(leaves.items(), grads):
        if grad is None:
            unused.append(key)
        tensors[f"grad.{key}"] = torch.zeros_like(leaf) if grad is None else grad
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, f"{OUT}/{name}.safetensors")
    manifest["cases"][name] = {"config": config, "note": note, "unused_params": unused}


def rotary(x, theta):
    """Split halves; x [B, T, heads, N]."""
    N, T = x.shape[3], x.shape[1]
    angle = torch.arange(T).double()[:, None] * theta ** (-torch.arange(0, N, 2).double() / N)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., : N // 2], x[..., N // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def wkv7(r, w, k, v, kappa, a, state):
    ys = []
    for t in range(r.shape[1]):
        R, W, K, V, P, A = (x[:, t] for x in (r, w, k, v, kappa, a))
        moved = torch.einsum("bhij,bhj->bhi", state, P)
        state = state * W[:, :, None] - torch.einsum("bhi,bhj->bhij", moved, A * P)
        state = state + torch.einsum("bhi,bhj->bhij", V, K)
        ys.append(torch.einsum("bhij,bhj->bhi", state, R))
    return torch.stack(ys, 1), state


def wkv6(r, w, k, v, state):
    """State [B, H, key, value]."""
    ys = []
    for t in range(r.shape[1]):
        R, W, K, V = (x[:, t] for x in (r, w, k, v))
        state = state * W[..., None] + torch.einsum("bhi,bhj->bhij", K, V)
        ys.append(torch.einsum("bhi,bhij->bhj", R, state))
    return torch.stack(ys, 1), state


def projections(C, H, K, N, bias=True, output_bias=False):
    s = C**-0.5
    p = {"q_proj.weight": rand(H * N, C, scale=s), "k_proj.weight": rand(K * N, C, scale=s),
         "v_proj.weight": rand(K * N, C, scale=s), "o_proj.weight": rand(C, H * N, scale=s)}
    if bias:
        p |= {f"{n}_proj.bias": rand(heads * N, scale=0.1) for n, heads in (("q", H), ("k", K), ("v", K))}
    if output_bias:
        p["o_proj.bias"] = rand(C, scale=0.1)
    return p


def heads(x, p, name, N):
    y = F.linear(x, p[f"{name}_proj.weight"], p.get(f"{name}_proj.bias"))
    return y.view(x.shape[0], x.shape[1], -1, N)


def attention(name, B, T, C, H, K, N, theta, **biases):
    p, x = projections(C, H, K, N, **biases), rand(B, T, C)

    def run():
        q, k = (rotary(heads(x, p, n, N), theta) for n in "qk")
        v = heads(x, p, "v", N)
        k, v = (t.repeat_interleave(H // K, 2) for t in (k, v))
        scores = torch.einsum("bthn,bshn->bhts", q, k) * N**-0.5
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        y = torch.einsum("bhts,bshn->bthn", scores.softmax(-1), v).reshape(B, T, H * N)
        return {"y": F.linear(y, p["o_proj.weight"], p.get("o_proj.bias"))}

    save(name, dict(C=C, H=H, K=K, N=N, theta=theta), {"x": x}, p, run)


def rad_rwkv7(name, B, T, C, H, K, N, R, *, layer, rope, balance, groupnorm, gate, theta=10000.0, **biases):
    D = H * N
    p, x = projections(C, H, K, N, **biases), rand(B, T, C)
    v_first = rand(B, T, D)
    ranks = {"w": R, "a": R + 1, "v": R + 2, "g": R + 3}
    for n in "wav" + ("g" if gate == 2 else ""):
        p |= {f"{n}1": rand(C, ranks[n], scale=C**-0.5), f"{n}2": rand(ranks[n], D, scale=0.5)}
        if n != "g":
            p[f"{n}0"] = rand(1, 1, D, scale=0.5)
    if gate == 1:
        p["gate.weight"] = rand(D, C, scale=C**-0.5)
    p |= {"k_k": exact(0.85 + rand(1, 1, D, scale=0.1)), "k_a": exact(1 + rand(1, 1, D, scale=0.1)), "r_k": rand(H, N)}
    if groupnorm:
        p |= {"ln_x.weight": exact(1 + rand(D, scale=0.1)), "ln_x.bias": rand(D, scale=0.1)}
    view = lambda t: t.view(*t.shape[:-1], H, N)

    def run():
        r, k, v = (heads(x, p, n, N) for n in "qkv")
        if rope:
            r, k = rotary(r, theta), rotary(k, theta)
        k, v = (t.repeat_interleave(H // K, 2) for t in (k, v))
        w = torch.exp(-math.exp(-0.5) * torch.sigmoid(p["w0"] + torch.tanh(x @ p["w1"]) @ p["w2"]))
        a = torch.sigmoid(p["a0"] + x @ p["a1"] @ p["a2"])
        w, a = view(w), view(a)
        first = v
        if layer > 0:
            nu = view(torch.sigmoid(p["v0"] + x @ p["v1"] @ p["v2"]))
            v = v + (view(v_first) - v) * nu
        if balance:
            kappa, k = F.normalize(k, dim=-1), k * (1 - w + a)
        else:
            kappa = F.normalize(k * view(p["k_k"])[0, 0], dim=-1)
            k = k * (1 + (a - 1) * view(p["k_a"])[0, 0])
        y, _ = wkv7(r, w, k, v, kappa, a, torch.zeros(B, H, N, N).double())
        if groupnorm:
            y = F.group_norm(y.reshape(B * T, D), H, p["ln_x.weight"], p["ln_x.bias"], N * 1e-5)
        else:
            y = y * N**-0.5
        y = y.reshape(B, T, D)
        if gate == 1:
            y = y * torch.sigmoid(x @ p["gate.weight"].T)
        elif gate == 2:
            y = y * (torch.sigmoid(x @ p["g1"]) @ p["g2"])
        y = F.linear(y, p["o_proj.weight"], p.get("o_proj.bias"))
        return {"y": y} | ({"v_first": first.reshape(B, T, D)} if layer == 0 else {})

    config = dict(C=C, H=H, K=K, N=N, R=R, theta=theta, layer=layer, use_rope=rope, balance=balance, groupnorm=groupnorm)
    inputs = {"x": x} | ({"v_first": v_first} if layer > 0 else {})
    save(name, config, inputs, p, run, f"gate_rank_type {gate}")


def rad_rwkv6(name, B, T, C, H, K, N, R, *, rope, shift, balance, groupnorm, gate, theta=10000.0, **biases):
    D = H * N
    p, x = projections(C, H, K, N, **biases), rand(B, T, C)
    if shift:
        p |= {f"time_maa_{n}": exact(torch.rand(1, 1, C).double()) for n in "xrkvwg"}
        p |= {"time_maa_w1": rand(C, 5 * R, scale=C**-0.5), "time_maa_w2": rand(5, R, C, scale=0.5)}
    # Some decays are past the clamp: exp(d) > 5 where d > 1.6.
    p |= {"time_decay": rand(1, 1, D, scale=1.5), "time_decay_w1": rand(C, R + 1, scale=C**-0.5),
          "time_decay_w2": rand(R + 1, D, scale=0.5)}
    if gate == 1:
        p["gate.weight"] = rand(D, C, scale=C**-0.5)
    elif gate == 2:
        p |= {"g1": rand(C, R + 2, scale=C**-0.5), "g2": rand(R + 2, D, scale=0.5)}
    if groupnorm:
        p |= {"ln_x.weight": exact(1 + rand(D, scale=0.1)), "ln_x.bias": rand(D, scale=0.1)}
    view = lambda t: t.view(*t.shape[:-1], H, N)

    def run():
        mixed = dict.fromkeys("rkvwg", x)
        if shift:
            dx = F.pad(x, (0, 0, 1, -1)) - x
            m = torch.tanh((x + dx * p["time_maa_x"]) @ p["time_maa_w1"]).view(B, T, 5, R)
            m = torch.einsum("btur,urc->ubtc", m, p["time_maa_w2"])
            mixed = {n: x + dx * (p[f"time_maa_{n}"] + m[u]) for u, n in enumerate("rkvwg")}
        r, k, v = (heads(mixed[n], p, letter, N) for n, letter in zip("rkv", "qkv"))
        if rope:
            r, k = rotary(r, theta), rotary(k, theta)
        k, v = (t.repeat_interleave(H // K, 2) for t in (k, v))
        d = p["time_decay"] + torch.tanh(mixed["w"] @ p["time_decay_w1"]) @ p["time_decay_w2"]
        w = view(torch.exp((-torch.exp(d)).clamp(min=-5)))
        if balance:
            k = k * (1 - w)
        y, _ = wkv6(r, w, k, v, torch.zeros(B, H, N, N).double())
        y = y * N**-0.5
        if groupnorm:
            y = F.group_norm(y.reshape(B * T, D), H, p["ln_x.weight"], p["ln_x.bias"], N * 1e-5)
        y = y.reshape(B, T, D)
        if gate == 1:
            y = y * torch.sigmoid(mixed["g"] @ p["gate.weight"].T)
        elif gate == 2:
            y = y * (torch.sigmoid(mixed["g"] @ p["g1"]) @ p["g2"])
        return {"y": F.linear(y, p["o_proj.weight"], p.get("o_proj.bias"))}

    config = dict(C=C, H=H, K=K, N=N, R=R, theta=theta, use_rope=rope, use_tokenshift=shift, balance=balance, groupnorm=groupnorm)
    save(name, config, {"x": x}, p, run, f"gate_rank_type {gate}")


def losses():
    teacher, student = rand(2, 1, 7, 12), rand(2, 1, 7, 12)
    run = lambda: {"loss": ((teacher - student).norm(dim=-1) * 12**-0.5).mean().view(1)}
    save("stage1_loss_two_layers", {"layers": 2}, {"teacher": teacher, "student": student}, {}, run)
    p, q = rand(3, 5, 40, scale=3.0), rand(3, 5, 40, scale=3.0)
    def kl():
        logp, logq = p.log_softmax(-1), q.log_softmax(-1)
        return {"loss": (logp.exp() * (logp - logq)).sum(-1).mean().view(1)}
    save("kl_loss_v40", {"V": 40}, {"teacher": p, "student": q}, {}, kl)


def checkpoint(name, model, config, T, layer=1):
    """A transformers model with its logits, attention outputs, loss and some gradients."""
    folder = f"{OUT}/{name}"
    os.makedirs(folder)
    for p in model.parameters():
        p.data = exact(p.data)
    said = []
    hooks = [l.self_attn.register_forward_hook(lambda _m, _i, o: said.append(o[0])) for l in model.model.layers]
    ids = torch.randint(0, config.vocab_size, (2, T))
    targets = torch.randint(0, config.vocab_size, (2, T))
    logits = model(ids).logits
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    named = dict(model.named_parameters())
    norm = torch.sqrt(sum((p.grad**2).sum() for p in named.values()))
    tensors = {"logits": logits, "mixer_out": torch.stack(said), "cross_entropy": loss.view(1), "grad_norm": norm.view(1)}
    for key, p in named.items():
        if key == "model.norm.weight" or key == "model.embed_tokens.weight" or f"layers.{layer}.self_attn" in key:
            tensors[f"grad.{key}"] = p.grad
    tensors = {k: v.detach().float().contiguous() for k, v in tensors.items()}
    save_file(tensors | {"ids": ids.int(), "targets": targets.int()}, f"{folder}/expected.safetensors")
    for h in hooks:
        h.remove()
    model.float().save_pretrained(folder)
    os.remove(f"{folder}/generation_config.json")


shutil.rmtree(OUT, ignore_errors=True)
os.makedirs(OUT)
state = rand(1, 3, 12, 12)
parts = {n: rand(1, 35, 3, 12) for n in ("r", "k", "v")}
parts |= {n: exact(torch.sigmoid(rand(1, 35, 3, 12))) for n in ("w", "a")}
parts["kappa"] = exact(F.normalize(rand(1, 35, 3, 12), dim=-1))
inputs = {n: parts[n] for n in ("r", "w", "k", "v", "kappa", "a")} | {"state": state}
save("wkv7_n12", {"B": 1, "T": 35, "H": 3, "N": 12}, inputs, {},
     lambda: dict(zip(("y", "state"), wkv7(*inputs.values()))))
attention("qwen2_attention_n16", 1, 40, 24, 3, 1, 16, 1e6)
attention("attention_biases", 2, 9, 16, 2, 2, 8, 500.0, bias=False, output_bias=True)
size = dict(B=1, T=19, C=16, H=2, K=1, N=8, R=3)
# Every flag with and without every other: a covering array of strength 2, and the gate's three kinds.
rad_rwkv7("rad_rwkv7_a", **size, layer=0, rope=True, balance=True, groupnorm=True, gate=0)
rad_rwkv7("rad_rwkv7_b", **size, layer=1, rope=False, balance=True, groupnorm=False, gate=0)
rad_rwkv7("rad_rwkv7_c", **size, layer=1, rope=True, balance=False, groupnorm=True, gate=1)
rad_rwkv7("rad_rwkv7_d", **size, layer=0, rope=False, balance=False, groupnorm=False, gate=1)
rad_rwkv7("rad_rwkv7_e", **size, layer=1, rope=False, balance=True, groupnorm=True, gate=2, bias=False, output_bias=True)
rad_rwkv7("rad_rwkv7_f", **size, layer=0, rope=True, balance=False, groupnorm=False, gate=2)
rad_rwkv7("rad_rwkv7_g", **size, layer=0, rope=False, balance=False, groupnorm=True, gate=0)
rad_rwkv7("rad_rwkv7_h", **(size | {"H": 4, "K": 2, "N": 16, "T": 34}), layer=1, rope=True, balance=True, groupnorm=False, gate=1, theta=1e6)
losses()
manifest["lr_schedule"] = {"total_steps": 110, "warmup": 10, "init": 3e-3, "final": 1e-4, "points": {
    str(s): 3e-3 * (0.01 + 0.99 * s / 10) if s < 10 else 1e-4 + 2.9e-3 * math.cos(math.pi / 2 * (s - 10) / 100)
    for s in (0, 5, 9, 10, 11, 60, 109)}}

common = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, attn_implementation="eager")
config = LlamaConfig(**common, num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
                     max_position_embeddings=64, rope_parameters=dict(rope_type="llama3", rope_theta=100.0, factor=4.0,
                     low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16))
checkpoint("tiny-llama3", LlamaForCausalLM(config).double(), config, 30)
config = LlamaConfig(**common, num_attention_heads=2, num_key_value_heads=2, attention_bias=True, mlp_bias=True)
checkpoint("tiny-llama-biases", LlamaForCausalLM(config).double(), config, 11)
config = Qwen2Config(**common, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, rms_norm_eps=1e-5)
checkpoint("tiny-qwen2-tied", Qwen2ForCausalLM(config).double(), config, 17)

# RAD-RWKV6, after all that was there before it, so that the random numbers of that stay the same.
parts = {n: rand(1, 35, 3, 12) for n in ("r", "k", "v")}
inputs = {"r": parts["r"], "w": exact(torch.sigmoid(rand(1, 35, 3, 12))), "k": parts["k"], "v": parts["v"],
          "state": rand(1, 3, 12, 12)}
save("wkv6_n12", {"B": 1, "T": 35, "H": 3, "N": 12}, inputs, {},
     lambda: dict(zip(("y", "state"), wkv6(*inputs.values()))))
# Every pair of flags in all four ways, and the gate's three kinds with each.
rad_rwkv6("rad_rwkv6_a", **size, rope=False, shift=True, balance=True, groupnorm=False, gate=0)
rad_rwkv6("rad_rwkv6_b", **size, rope=True, shift=False, balance=False, groupnorm=True, gate=0)
rad_rwkv6("rad_rwkv6_c", **size, rope=False, shift=False, balance=True, groupnorm=True, gate=1)
rad_rwkv6("rad_rwkv6_d", **size, rope=True, shift=True, balance=False, groupnorm=False, gate=1)
rad_rwkv6("rad_rwkv6_e", **size, rope=True, shift=True, balance=True, groupnorm=True, gate=2, bias=False, output_bias=True)
rad_rwkv6("rad_rwkv6_f", **size, rope=False, shift=False, balance=False, groupnorm=False, gate=2)
rad_rwkv6("rad_rwkv6_g", **size, rope=False, shift=True, balance=False, groupnorm=True, gate=1)
rad_rwkv6("rad_rwkv6_h", **(size | {"H": 4, "K": 2, "N": 16, "T": 34}), rope=True, shift=False, balance=True, groupnorm=False, gate=2, theta=1e6)

with open(f"{OUT}/manifest.json", "w") as f:
    json.dump(manifest, f, indent=1)
    f.write("\n")

# Families, with random numbers of their own.
torch.manual_seed(21)


def family(name, kind, config):
    """A checkpoint whose attention depends on positions and norms, with a text longer than its window."""
    model = kind(config).double()
    for key, p in model.named_parameters():
        if "norm" in key:
            p.data = 1 + rand(*p.shape, scale=0.2)
    checkpoint(name, model, config, 30)


wide = dict(vocab_size=40, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            initializer_range=0.3, attn_implementation="eager")
# Pairs of wavelengths 6 (kept), 20 and 63 (between) and 199 (stretched).
bands = dict(rope_type="llama3", rope_theta=100.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
yarn = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=64, beta_fast=8.0, beta_slow=1.0)
family("tiny-qwen3", Qwen3ForCausalLM, Qwen3Config(**wide, head_dim=12))
family("tiny-qwen3-window", Qwen3ForCausalLM, Qwen3Config(**wide, head_dim=12, attention_bias=True, tie_word_embeddings=True,
       use_sliding_window=True, sliding_window=7, layer_types=["sliding_attention", "full_attention", "sliding_attention"]))
family("tiny-mistral", MistralForCausalLM, MistralConfig(**wide, head_dim=12, sliding_window=8))
narrow = wide | dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
family("tiny-qwen2-window", Qwen2ForCausalLM, Qwen2Config(**narrow, use_sliding_window=True, sliding_window=5, max_window_layers=1))
family("tiny-llama3-bands", LlamaForCausalLM, LlamaConfig(**narrow, max_position_embeddings=256, rope_parameters=bands))
family("tiny-llama-yarn", LlamaForCausalLM, LlamaConfig(**narrow, head_dim=16, max_position_embeddings=256, rope_parameters=yarn))
family("tiny-llama-linear", LlamaForCausalLM, LlamaConfig(**narrow, rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=2.5)))
