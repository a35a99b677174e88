"""Matrix products in PyTorch, f32: GFLOPS of the fastest of several runs.

    python bench/matmul_peer.py THREADS '[[m, n, k, transposeA, transposeB], ...]'

Prints a JSON list of GFLOPS, in the order of the shapes.
"""

import json
import os
import sys
import time

threads, shapes = int(sys.argv[1]), json.loads(sys.argv[2])
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OMP_NUM_THREADS"] = str(threads)

import torch  # noqa: E402

torch.set_num_threads(threads)


def fastest(a, b, out, seconds=0.2):
    best, began = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return best


rates = []
for m, n, k, transpose_a, transpose_b in shapes:
    a = torch.rand(k, m).T if transpose_a else torch.rand(m, k)
    b = torch.rand(n, k).T if transpose_b else torch.rand(k, n)
    rates.append(2 * m * n * k / fastest(a, b, torch.empty(m, n)) / 1e9)
print(json.dumps(rates))
