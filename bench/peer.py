"""The training step that Suture is compared with, as a good PyTorch user would write it.

    python bench/peer.py --shape tiny|small|smollm --stage 1|2
        [--device cpu|cuda] [--wkv native|chunked] [--compile] [--bf16] [--malloc keep|default]
        [--threads 2] [--steps N] [--seconds 20] [--json] [--profile]
    python bench/peer.py --check [--golden DIR]

A Qwen2-style teacher with random weights is converted to RAD-RWKV7 in every layer. Stage 1: the
teacher's forward pass gives every mixer its input and its target, all student mixers are trained on
them at once. Stage 2: KL(teacher || student), everything is trained. Each step is forward, backward,
gradient clip at 1.0 and fused AdamW.

It needs torch and safetensors (the latter for --check only); --wkv native also needs g++, with which
wkv7_peer.cpp beside this file is built once into a cache folder.
"""

import argparse
import ctypes
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", choices=["tiny", "small", "smollm"], default="tiny")
    p.add_argument("--stage", type=int, choices=[1, 2], default=1)
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda has --wkv chunked alone")
    p.add_argument("--wkv", choices=["native", "chunked"], default="native")
    p.add_argument("--compile", action="store_true", help="torch.compile the teacher and the student")
    p.add_argument("--bf16", action="store_true", help="bf16 teacher, bf16 autocast of the student")
    p.add_argument("--malloc", choices=["keep", "default"], default="keep",
                   help="keep: freed memory stays with the process (as jemalloc or tcmalloc would have it)")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=0, help="timed steps; 0: as many as fit in --seconds, 3 at least")
    p.add_argument("--seconds", type=float, default=20)
    p.add_argument("--json", action="store_true")
    p.add_argument("--profile", action="store_true", help="print where the time goes, by operator")
    p.add_argument("--check", action="store_true", help="check mixers, WKV7 and models, then exit")
    p.add_argument("--golden", default=os.path.join(HERE, "..", "..", "shared", "golden"))
    return p.parse_args(argv)


def prepare_process(threads, malloc):
    """Settings that must come before torch is imported."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if malloc == "keep":  # large blocks come from the heap and are not given back: no page faults every step
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)
            libc.mallopt(m_top_pad, 64 << 20)


ARGS = arguments() if __name__ == "__main__" else arguments([])
if __name__ == "__main__":
    prepare_process(ARGS.threads, ARGS.malloc)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

SHAPES = {
    #          C    I     L   H  K  N   V      B   T
    "tiny":   (128, 352,  4,  2, 1, 64, 2048,  16, 256),
    "small":  (256, 704,  6,  4, 2, 64, 4096,  8,  256),
    "smollm": (576, 1536, 30, 9, 3, 64, 49152, 1,  256),
}


class Config:
    """Widths and flags; the defaults are the published flags of RAD-RWKV7."""

    def __init__(self, hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, *, tied=False,
                 theta=10000.0, eps=1e-6, rope=True, groupnorm=True, balance=False, ranks=None):
        self.hidden, self.intermediate, self.layers = hidden, intermediate, layers
        self.heads, self.kv_heads, self.head_dim, self.vocab = heads, kv_heads, head_dim, vocab
        self.tied, self.theta, self.eps = tied, theta, eps
        self.rope, self.groupnorm, self.balance = rope, groupnorm, balance
        rank = lambda e, m: max(1, round(hidden**e * m / 32)) * 32
        self.ranks = ranks or dict(decay=rank(0.5, 1.8), iclr=rank(0.5, 1.8), value=rank(0.5, 1.3), gate=rank(0.8, 0.6))


# ---------------------------------------------------------------------------------------- WKV7

def build_native():
    """Compiles wkv7_peer.cpp for this machine and torch, once; gives torch.ops.peer.wkv7."""
    if hasattr(torch.ops.peer, "wkv7"):
        return
    source = os.path.join(HERE, "wkv7_peer.cpp")
    if shutil.which("g++") is None:
        sys.exit("peer.py: --wkv native needs g++, which was not found; install it, or use --wkv chunked")
    home = os.path.dirname(torch.__file__)
    flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-std=c++20", "-fopenmp", "-fPIC", "-shared", "-w",
             "-DAT_PARALLEL_OPENMP=1", f"-I{home}/include", f"-I{home}/include/torch/csrc/api/include"]
    links = [f"-L{home}/lib", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{home}/lib"]
    cpu = subprocess.run(["g++", "-march=native", "-Q", "--help=target"], capture_output=True).stdout
    key = hashlib.sha256(open(source, "rb").read() + repr((flags, torch.__version__)).encode() + cpu).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    target = os.path.join(cache, "suture-peer", f"wkv7_{key}.so")
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        beside = f"{target}.{os.getpid()}"
        subprocess.run(["g++", *flags, source, "-o", beside, *links], check=True)
        os.replace(beside, target)
    torch.ops.load_library(target)

    @torch.library.register_fake("peer::wkv7")
    def _(r, w, k, v, kappa, a, state):
        B, T, H, N = r.shape
        return torch.empty_like(r), torch.empty_like(state), torch.empty_like(r), r.new_empty(B, H, -(-T // 16), N, N)

    @torch.library.register_fake("peer::wkv7_backward")
    def _(r, w, k, v, kappa, a, sa, checkpoints, dy, dstate):
        return tuple(torch.empty_like(r) for _ in range(6)) + (torch.empty_like(dstate),)

    def setup(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:6], output[2], output[3])

    def backward(ctx, dy, dstate, _dsa, _dcheckpoints):
        return torch.ops.peer.wkv7_backward(*ctx.saved_tensors, dy.contiguous(), dstate.contiguous())

    torch.library.register_autograd("peer::wkv7", backward, setup_context=setup)


def wkv7_native(r, w, k, v, kappa, a, state=None):
    """y [B,T,H,N] and the final state [B,H,value,key]; w is the decay itself."""
    B, T, H, N = r.shape
    if state is None:
        state = r.new_zeros(B, H, N, N)
    y, final, _, _ = torch.ops.peer.wkv7(*(x.contiguous() for x in (r, w, k, v, kappa, a)), state)
    return y, final


def wkv7_chunked(r, w, k, v, kappa, a, state=None, chunk=16):
    """The same by chunks: inside one, sa solves a unit lower triangular system; across, one state."""
    B, T, H, N = r.shape
    pad = -T % chunk
    if pad:
        r, k, v, kappa, a = (F.pad(x, (0, 0, 0, 0, 0, pad)) for x in (r, k, v, kappa, a))
        w = F.pad(w, (0, 0, 0, 0, 0, pad), value=1.0)
    M = (T + pad) // chunk
    r, w, k, v, kappa, a = (x.view(B, M, chunk, H, N).permute(0, 3, 1, 2, 4) for x in (r, w, k, v, kappa, a))
    log = w.log()
    inclusive = log.cumsum(-2)  # over the chunk, this token's decay included
    up, down = inclusive.exp(), (-inclusive).exp()
    r_, kappa_ = r * up, kappa * (inclusive - log).exp()
    k_, b_ = k * down, a * kappa * down
    ones = torch.ones(chunk, chunk, dtype=torch.bool, device=r.device)
    rk, rb = (r_ @ torch.stack((k_, b_)).mT).tril()
    kk, kb = (kappa_ @ torch.stack((k_, b_)).mT).masked_fill(ones.triu(), 0)
    eye = torch.eye(chunk, dtype=r.dtype, device=r.device)
    inverse = torch.linalg.solve_triangular(eye + kb, eye.expand_as(kb), upper=False, unitriangular=True)
    u, z = inverse @ kappa_, inverse @ (kk @ v)  # sa = u·Sᵀ + z
    local = rk @ v - rb @ z
    reach = r_ - rb @ u  # y = reach·Sᵀ + local
    end = up[..., -1:, :]
    keys, bs, gain = k_ * end, b_ * end, v.mT @ (k_ * end) - z.mT @ (b_ * end)
    if state is None:
        state = r.new_zeros(B, H, N, N)
    S, out = state, []
    for m in range(M):
        out.append(reach[:, :, m] @ S.mT)
        S = S * end[:, :, m] - (S @ u[:, :, m].mT) @ bs[:, :, m] + gain[:, :, m]
    y = torch.stack(out, 2) + local
    return y.permute(0, 2, 3, 1, 4).reshape(B, T + pad, H, N)[:, :T], S


def wkv7_loop(r, w, k, v, kappa, a, state=None):
    """The definition, token by token."""
    B, T, H, N = r.shape
    S, out = r.new_zeros(B, H, N, N) if state is None else state, []
    for t in range(T):
        sa = S @ kappa[:, t, :, :, None]
        S = S * w[:, t, :, None] - sa * (a * kappa)[:, t, :, None] + v[:, t, :, :, None] * k[:, t, :, None]
        out.append((S @ r[:, t, :, :, None])[..., 0])
    return torch.stack(out, 1), S


# ---------------------------------------------------------------------------------------- blocks

def rope_tables(c, time, device=None, dtype=torch.float32):
    """cos and sin [time, 1, head_dim], half-split."""
    f = c.theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
    angle = torch.outer(torch.arange(time, dtype=torch.float64), f).repeat(1, 2)[:, None]
    return angle.cos().to(device, dtype), angle.sin().to(device, dtype)


def rotate(x, rope):
    """x [B,T,heads,N]."""
    cos, sin = rope
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def split(x, heads):
    return x.view(*x.shape[:-1], heads, -1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim)
        self.k_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim)
        self.v_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)

    def forward(self, x, v_first, rope):
        c = self.c
        q = rotate(split(self.q_proj(x), c.heads), rope).transpose(1, 2)
        k = rotate(split(self.k_proj(x), c.kv_heads), rope).transpose(1, 2)
        v = split(self.v_proj(x), c.kv_heads).transpose(1, 2)
        q, k = q.to(v.dtype), k.to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=c.kv_heads != c.heads)
        return self.o_proj(y.transpose(1, 2).flatten(2)), v_first


class RadRwkv7(nn.Module):
    """The mixer, with the names and shapes of its checkpoint."""

    def __init__(self, c, layer, wkv):
        super().__init__()
        C, H, N = c.hidden, c.heads, c.head_dim
        D = H * N
        self.c, self.layer, self.wkv = c, layer, wkv
        self.q_proj = nn.Linear(C, D)
        self.k_proj = nn.Linear(C, c.kv_heads * N)
        self.v_proj = nn.Linear(C, c.kv_heads * N)
        self.o_proj = nn.Linear(D, C, bias=False)
        depth = layer / max(1, c.layers - 1)
        ramp = torch.arange(D) / (D - 1)
        p = lambda x: nn.Parameter(x.view(1, 1, -1))
        self.w0 = p(-7 + 5 * ramp ** (0.85 + math.sqrt(depth)) + 0.5)
        self.a0, self.v0 = p(torch.zeros(D)), p(torch.ones(D))
        for name, rank in (("w", "decay"), ("a", "iclr"), ("v", "value"), ("g", "gate")):
            r = c.ranks[rank]
            second = nn.init.orthogonal_(torch.empty(r, D), gain=0.1 * max(1.0, math.sqrt(r / D)))
            setattr(self, name + "1", nn.Parameter(torch.zeros(C, r)))
            setattr(self, name + "2", nn.Parameter(second))
        self.k_k, self.k_a = p(torch.full((D,), 0.85)), p(torch.ones(D))
        self.r_k = nn.Parameter(torch.zeros(H, N))
        self.ln_x = nn.GroupNorm(H, D, eps=N * 1e-5) if c.groupnorm else None

    def forward(self, x, v_first, rope):
        """x [B,T,C] → output [B,T,C] and layer 0's values [B,T,H,N]."""
        c = self.c
        B, T, _ = x.shape
        H, N = c.heads, c.head_dim
        lora = lambda one, two, act=lambda z: z: (act(x @ one) @ two)
        r, k, v = split(self.q_proj(x), H), split(self.k_proj(x), c.kv_heads), split(self.v_proj(x), c.kv_heads)
        if c.rope:
            r, k = rotate(r, rope), rotate(k, rope)
        if c.kv_heads != H:
            k, v = (z.repeat_interleave(H // c.kv_heads, 2) for z in (k, v))
        w = torch.exp(-math.exp(-0.5) * torch.sigmoid((self.w0 + lora(self.w1, self.w2, torch.tanh)).float()))
        a = torch.sigmoid(self.a0 + lora(self.a1, self.a2))
        gate = lora(self.g1, self.g2, torch.sigmoid)
        if self.layer == 0:
            v_first = v
        else:
            v = torch.lerp(v, v_first, split(torch.sigmoid(self.v0 + lora(self.v1, self.v2)), H).to(v.dtype))
        a, w = split(a, H), split(w, H)
        if c.balance:
            kappa = F.normalize(k, dim=-1)
            k = k * (1 - w + a)
        else:
            kappa = F.normalize(k * self.k_k.view(H, N), dim=-1)
            k = k * (1 + (a - 1) * self.k_a.view(H, N))
        y, _ = self.wkv(*(z.to(w.dtype) for z in (r, w, k, v, kappa, a)))
        if self.ln_x is not None:
            y = self.ln_x(y.reshape(B * T, H * N)).view(B, T, H * N)
        else:
            y = y.flatten(2) * N**-0.5
        return self.o_proj(y * gate), v_first


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.intermediate, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.intermediate, bias=False)
        self.down_proj = nn.Linear(c.intermediate, c.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Norm(nn.RMSNorm):
    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Layer(nn.Module):
    def __init__(self, c, mixer):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(c.hidden, c.eps), Norm(c.hidden, c.eps)
        self.self_attn, self.mlp = mixer, Mlp(c)

    def forward(self, x, v_first, rope):
        y, v_first = self.self_attn(self.input_layernorm(x), v_first, rope)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), v_first


class Body(nn.Module):
    def __init__(self, c, mixer):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(Layer(c, mixer(i)) for i in range(c.layers))
        self.norm = Norm(c.hidden, c.eps)


class Model(nn.Module):
    """Qwen2 with its attention, or with RAD-RWKV7 mixers when wkv is given. State dict as in Hugging Face files."""

    def __init__(self, c, wkv=None):
        super().__init__()
        self.c = c
        self.model = Body(c, (lambda i: RadRwkv7(c, i, wkv)) if wkv else (lambda i: Attention(c)))
        self.lm_head = nn.Linear(c.hidden, c.vocab, bias=False)
        if c.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        for name, p in self.named_parameters():
            if name.endswith("proj.weight") or "embed" in name or "lm_head" in name:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("proj.bias"):
                nn.init.zeros_(p)

    def forward(self, ids, rope):
        """Logits [B,T,V]."""
        x, v_first = self.model.embed_tokens(ids), None
        for layer in self.model.layers:
            x, v_first = layer(x, v_first, rope)
        return self.lm_head(self.model.norm(x))

    def mixer_stream(self, ids, rope):
        """Every mixer's input and output; the last MLP and the head aren't run."""
        x, stream = self.model.embed_tokens(ids), []
        for i, layer in enumerate(self.model.layers):
            if i:
                x = x + mlp(norm(x))
            h = layer.input_layernorm(x)
            y, _ = layer.self_attn(h, None, rope)
            x = x + y
            norm, mlp = layer.post_attention_layernorm, layer.mlp
            stream.append((h, y))
        return stream


# ---------------------------------------------------------------------------------------- stages

def align_loss(mixers, stream, rope, C):
    """Mean over layers, batch and time of ‖teacher − student‖₂·C^(−½)."""
    v_first, total = None, 0.0
    for mixer, (h, target) in zip(mixers, stream):
        y, v_first = mixer(h, v_first, rope)
        total = total + torch.linalg.vector_norm(target.float() - y.float(), dim=-1).mean()
    return total * (C**-0.5 / len(mixers))


def distill_loss(student_logits, teacher_logits):
    """KL(teacher ‖ student), summed over the vocabulary, mean over tokens."""
    V = student_logits.shape[-1]
    s = F.log_softmax(student_logits.view(-1, V).float(), -1)
    t = F.log_softmax(teacher_logits.view(-1, V).float(), -1)
    return F.kl_div(s, t, log_target=True, reduction="batchmean")


def mixers_of(model):
    return nn.ModuleList(layer.self_attn for layer in model.model.layers)


def make_step(teacher, student, c, rope, stage, *, bf16=False, compile=False, lr=1e-4):
    """A function of ids [B,T] that takes one optimizer step and returns the loss, and what it trains."""
    if bf16:
        teacher = teacher.bfloat16()
    if stage == 1:
        mixers = mixers_of(student)
        trained = [p for p in mixers.parameters()]
        give = teacher.mixer_stream
        loss_of = lambda given, ids: align_loss(mixers, given, rope, c.hidden)
    else:
        trained = [p for p in student.parameters()]
        give = teacher.__call__
        loss_of = lambda given, ids: distill_loss(student(ids, rope), given)
    if compile:
        give, loss_of = torch.compile(give, dynamic=False), torch.compile(loss_of, dynamic=False)
    optimizer = torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)
    trope = tuple(x.bfloat16() for x in rope) if bf16 else rope

    def step(ids):
        with torch.no_grad():
            given = give(ids, trope)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
            loss = loss_of(given, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step, optimizer, trained


def bench(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    *widths, batch, context = SHAPES[args.shape]
    c = Config(*widths)
    if args.wkv == "native":
        build_native()
    wkv = wkv7_native if args.wkv == "native" else wkv7_chunked
    teacher, student = Model(c).requires_grad_(False), Model(c, wkv)
    student.load_state_dict(teacher.state_dict(), strict=False)
    teacher, student = teacher.to(args.device), student.to(args.device)
    rope = rope_tables(c, context, args.device)
    step, _, trained = make_step(teacher, student, c, rope, args.stage, bf16=args.bf16, compile=args.compile)
    batches = torch.randint(0, c.vocab, (4, batch, context)).to(args.device)

    def timed(i):
        start = time.perf_counter()
        loss = float(step(batches[i % 4]))
        return time.perf_counter() - start, loss

    first, loss = timed(0)
    warm = []
    while not warm or len(warm) < 3 and sum(warm) < args.seconds / 3:
        warm.append(timed(1 + len(warm))[0])
    steps = args.steps or max(3, min(100, round(args.seconds / min(warm))))
    losses, seconds = [loss], []
    for i in range(steps):
        s, loss = timed(i)
        seconds.append(s)
        losses.append(loss)
    if not math.isfinite(losses[-1]):
        sys.exit(f"peer.py: the loss is {losses[-1]} after {steps} steps")
    median, least = statistics.median(seconds), min(seconds)
    result = {
        "shape": args.shape, "stage": args.stage, "wkv": args.wkv, "dtype": "bf16" if args.bf16 else "f32",
        "compile": args.compile, "malloc": args.malloc, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "batch": batch, "context": context, "trained_parameters": sum(p.numel() for p in trained), "steps": steps,
        "first_step_seconds": first, "seconds_per_step": median, "seconds_per_step_min": least,
        "tokens_per_second": batch * context / median, "tokens_per_second_best": batch * context / least,
        "loss_first": losses[0], "loss_last": losses[-1],
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(f"PyTorch {torch.__version__}, {result['threads']} threads, {result['dtype']}, wkv7 {args.wkv}"
              f"{', torch.compile' if args.compile else ''}, malloc {args.malloc}: {args.shape} stage {args.stage}, "
              f"{batch}x{context} tokens a step, {result['trained_parameters'] / 1e6:.2f} M parameters trained")
        print(f"seconds_per_step {median:.4f} (median of {steps}; least {least:.4f}, first {first:.2f})  "
              f"loss {losses[0]:.5f} -> {losses[-1]:.5f}")
        print(f"tokens_per_second {result['tokens_per_second']:.0f} (best {result['tokens_per_second_best']:.0f})")
    if args.profile:
        profile(lambda: [timed(i) for i in range(3)], 3)


GROUPS = [
    ("wkv7", ("peer::wkv7", "GeneratedBackwardFor_peer")),
    ("matmul", ("aten::addmm", "aten::mm", "aten::bmm", "aten::matmul", "aten::linear", "aten::baddbmm", "aten::_mkl",
                "mkldnn::", "aten::mkldnn")),
    ("attention", ("aten::_scaled_dot", "aten::scaled_dot")),
    ("optimizer", ("aten::_fused_adamw", "Optimizer.")),
    ("clip", ("aten::_foreach", "aten::linalg_vector_norm", "aten::stack", "aten::clamp")),
    ("softmax and KL", ("aten::_log_softmax", "aten::log_softmax", "aten::kl_div", "aten::xlogy")),
    ("norms", ("aten::native_group_norm", "aten::_fused_rms_norm", "aten::rms_norm", "aten::native_layer_norm",
               "aten::norm", "aten::group_norm", "aten::rsqrt")),
    ("copies", ("aten::copy_", "aten::cat", "aten::clone", "aten::contiguous", "aten::_to_copy", "aten::repeat",
                "aten::index_select", "aten::embedding", "aten::slice_backward", "aten::fill_", "aten::zero_",
                "aten::index_add_", "aten::select_backward")),
    ("sums (bias and broadcast gradients)", ("aten::sum", "aten::mean")),
]


def profile(run, steps):
    from torch.profiler import ProfilerActivity, profile as record
    with record(activities=[ProfilerActivity.CPU]) as p:
        start = time.perf_counter()
        run()
        wall = time.perf_counter() - start
    rows = sorted(((e.self_cpu_time_total / 1e3 / steps, e.count // steps, e.key) for e in p.key_averages()), reverse=True)
    groups = {}
    for ms, _, key in rows:
        name = next((g for g, prefixes in GROUPS if any(key.startswith(x) for x in prefixes)), None)
        name = name or ("pointwise and the rest" if key.startswith("aten::") else "Python and autograd")
        groups[name] = groups.get(name, 0) + ms
    total = sum(groups.values())
    print(f"\nprofile: {wall / steps * 1e3:.1f} ms a step with the profiler on")
    for name, ms in sorted(groups.items(), key=lambda x: -x[1]):
        print(f"  {ms:9.2f} ms {ms / total * 100:5.1f} %  {name}")
    print("the longest operators (self time):")
    for ms, count, key in rows[:22]:
        print(f"  {ms:9.2f} ms {count:6d} calls  {key}")


# ---------------------------------------------------------------------------------------- checks

def check(folder):
    """WKV7 against a float64 loop, mixers and models against the golden files; True when all hold."""
    from safetensors.torch import load_file
    build_native()
    torch.manual_seed(2)
    ok = True
    worst = lambda got, want: ((got.double() - want.double()).abs().max() / want.double().abs().max().clamp_min(1e-12)).item()

    def report(name, out, grad, out_limit=2e-5, grad_limit=2e-4):
        nonlocal ok
        good = out <= out_limit and grad <= grad_limit
        ok &= good
        print(f"{'ok  ' if good else 'FAIL'} {name:44s} outputs {out:.1e}  gradients {grad:.1e}")

    forms = {"native": wkv7_native, "chunked": wkv7_chunked, "loop": wkv7_loop}

    def compare(name, form, xs, want, cot):
        leaves = [x.float().requires_grad_() for x in xs]
        got = form(*leaves)
        grads = torch.autograd.grad(got, leaves, [z.float() for z in cot])
        report(name, max(map(worst, got, want[0])), max(map(worst, grads, want[1])))

    for B, T, H, N in ((2, 48, 3, 64), (1, 21, 2, 64), (2, 37, 2, 8), (1, 33, 1, 128), (1, 33, 2, 32)):
        d = lambda *s: torch.randn(*s, dtype=torch.float64)
        xs = [d(B, T, H, N), torch.exp(-math.exp(-0.5) * torch.sigmoid(2 * d(B, T, H, N))), d(B, T, H, N), d(B, T, H, N),
              F.normalize(d(B, T, H, N), dim=-1), torch.sigmoid(d(B, T, H, N)), d(B, H, N, N)]
        leaves = [x.clone().requires_grad_() for x in xs]
        want = wkv7_loop(*leaves)
        cot = [torch.randn_like(z) for z in want]
        grads = torch.autograd.grad(want, leaves, cot)
        for kind in ("native", "chunked"):
            compare(f"wkv7 {kind} B{B} T{T} H{H} N{N}, f64 loop", forms[kind], xs, (want, grads), cot)

    manifest = json.load(open(os.path.join(folder, "manifest.json")))["cases"]
    g = load_file(os.path.join(folder, "wkv7.safetensors"))
    names = ("r", "w", "k", "v", "kappa", "a", "state")
    for kind, form in forms.items():
        compare(f"golden wkv7, {kind}", form, [g["in." + n] for n in names],
                ((g["out.y"], g["out.state"]), [g["grad.in." + n] for n in names]), (g["cotangent.y"], g["cotangent.state"]))

    for case in sorted(x for x in manifest if x.startswith("rad_rwkv7") or x == "qwen2_attention"):
        m, g = manifest[case]["config"], load_file(os.path.join(folder, case + ".safetensors"))
        c = Config(m["C"], 0, 3, m["H"], m["K"], m["N"], 0, theta=m["theta"], groupnorm=m.get("groupnorm", True),
                   balance=m.get("balance", False), ranks=dict(decay=m["R"], iclr=m["R"], value=m["R"], gate=m["R"]))
        rope = rope_tables(c, g["in.x"].shape[1])
        for kind in ("native", "chunked") if case.startswith("rad") else ("native",):
            mixer = RadRwkv7(c, m["layer"], forms[kind]) if case.startswith("rad") else Attention(c)
            mixer.load_state_dict({k[6:]: v for k, v in g.items() if k.startswith("param.")})
            x = g["in.x"].clone().requires_grad_()
            v_first = g["in.v_first"].clone().requires_grad_() if "in.v_first" in g else None
            y, v_out = mixer(x, None if v_first is None else split(v_first, c.heads), rope)
            outs, cots = [y], [g["cotangent.y"]]
            if "out.v_first" in g:
                outs.append(v_out.flatten(2)), cots.append(g["cotangent.v_first"])
            torch.autograd.backward(outs, cots)
            got = {"in.x": x, "in.v_first": v_first, **{"param." + n: p for n, p in mixer.named_parameters()}}
            out = max(worst(o, g["out." + n]) for o, n in zip(outs, ("y", "v_first")))
            unused = manifest[case]["unused_params"]
            grad = max(worst(got[k[5:]].grad, v) for k, v in g.items() if k.startswith("grad.") and k[5:] not in unused)
            report(f"golden {case}{', ' + kind if case.startswith('rad') else ''}", out, grad)

    g = load_file(os.path.join(folder, "stage1_loss.safetensors"))
    s = g["in.student"].clone().requires_grad_()
    stand_in = [lambda h, v, rope, i=i: (s[i], v) for i in range(s.shape[0])]
    loss = align_loss(stand_in, [(None, t) for t in g["in.teacher"]], None, s.shape[-1])
    (grad,) = torch.autograd.grad(loss, s, g["cotangent.loss"][0])
    report("golden stage1_loss", worst(loss.detach(), g["out.loss"]), worst(grad, g["grad.in.student"]))
    g = load_file(os.path.join(folder, "kl_loss.safetensors"))
    s = g["in.student"].clone().requires_grad_()
    loss = distill_loss(s, g["in.teacher"])
    (grad,) = torch.autograd.grad(loss, s, g["cotangent.loss"][0])
    report("golden kl_loss", worst(loss.detach(), g["out.loss"]), worst(grad, g["grad.in.student"]))

    for name in ("tiny-qwen2", "tiny-rwkv7", "tiny-rwkv7gn"):
        j = json.load(open(os.path.join(folder, name, "config.json")))
        heads = j["num_attention_heads"]
        rank = lambda k: j.get("lora_rank_" + k, 8)
        c = Config(j["hidden_size"], j["intermediate_size"], j["num_hidden_layers"], heads, j["num_key_value_heads"],
                   j["hidden_size"] // heads, j["vocab_size"], theta=j["rope_theta"], eps=j["rms_norm_eps"],
                   rope=j.get("use_rope", True), groupnorm=j.get("groupnorm_att", True), balance=j.get("balance_state", False),
                   ranks=dict(decay=rank("decay"), iclr=rank("iclr"), value=rank("value_residual_mix"), gate=rank("gate")))
        g = load_file(os.path.join(folder, name, "expected.safetensors"))
        ids, rope = g["ids"].long(), rope_tables(c, g["ids"].shape[1])
        for kind in ("native", "chunked") if "rwkv7" in name else ("",):
            model = Model(c, forms[kind] if kind else None)
            model.load_state_dict(load_file(os.path.join(folder, name, "model.safetensors")))
            logits = model(ids, rope)
            loss = F.cross_entropy(logits.flatten(0, 1), g["targets"].long().flatten())
            loss.backward()
            params = dict(model.named_parameters())
            out = max(worst(logits.detach(), g["logits"]), worst(loss.detach(), g["cross_entropy"]))
            grad = max(worst(params[k[5:]].grad if params[k[5:]].grad is not None else torch.zeros(()), v)
                       for k, v in g.items() if k.startswith("grad."))
            norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
            report(f"golden {name}{', ' + kind if kind else ''}", out, max(grad, worst(norm, g["grad_norm"])))
    print("all checks hold" if ok else "some checks FAILED")
    return ok


if __name__ == "__main__":
    sys.exit(0 if check(ARGS.golden) else 1) if ARGS.check else bench(ARGS)
