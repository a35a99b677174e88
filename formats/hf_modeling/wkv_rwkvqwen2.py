"""The recurrences of RAD-RWKV6 and RAD-RWKV7: a token at a time, and in chunks.

Per head, r, k, v and the others are [batch, heads, time, width] in f32.
"""

import torch

# Tokens of a chunk. The products of decays within one stay well inside the range of f32: a token's
# decay is at least exp(-5) in RAD-RWKV6 and exp(-exp(-1/2)) in RAD-RWKV7.
CHUNK_RWKV6 = 16
CHUNK_RWKV7 = 32


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
    the chunk plus the sum over s <= t of u_s^T b_s + v_s^T k_s, where b = a kappa / P, k = k / P
    and u_t = -S_{t-1} kappa_t. The u_t depend on earlier ones: a triangular system.
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
