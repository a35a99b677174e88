"""Matrix products in PyTorch, f32: GFLOPS of the fastest of several runs.

    python bench/matmul_peer.py THREADS '[[m, n, k, transposeA, transposeB], ...]' [cpu|cuda]

Prints a JSON list of GFLOPS, in the order of the shapes.
"""

import json
import os
import sys
import time

threads, shapes = int(sys.argv[1]), json.loads(sys.argv[2])
device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OMP_NUM_THREADS"] = str(threads)

import torch  # noqa: E402

torch.set_num_threads(threads)


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def fastest(a, b, out, seconds=0.2):
    """Seconds of a product, of the fastest batch; batches grow, so that waiting for one counts little."""
    torch.mm(a, b, out=out)
    wait()
    best, runs, batches, began = float("inf"), 1, 0, time.perf_counter()
    while batches < 2 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        for _ in range(runs):
            torch.mm(a, b, out=out)
        wait()
        taken = time.perf_counter() - start
        best, batches = min(best, taken / runs), batches + 1
        runs *= 2 if taken < seconds / 4 else 1
    return best


rates = []
for m, n, k, transpose_a, transpose_b in shapes:
    rand = lambda *sizes: torch.rand(*sizes, device=device)
    a = rand(k, m).T if transpose_a else rand(m, k)
    b = rand(n, k).T if transpose_b else rand(k, n)
    rates.append(2 * m * n * k / fastest(a, b, torch.empty(m, n, device=device)) / 1e9)
print(json.dumps(rates))
