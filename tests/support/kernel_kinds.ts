/** A kernel of every kind that training and decoding have, small. */

import { attention } from "../../kernels/attention/attention.ts";
import { attentionGradient } from "../../kernels/attention/gradient.ts";
import { contiguousLayout, type Kernel } from "../../kernels/kernel.ts";
import { matmulKernel } from "../../kernels/matmul/matmul.ts";
import { matvecKernel } from "../../kernels/matvec/matvec.ts";
import { tileMatmulKernel } from "../../kernels/matmul/tiles/matmul.ts";
import { wkv6 } from "../../kernels/wkv/wkv6.ts";
import { wkv6Gradient } from "../../kernels/wkv/wkv6_gradient.ts";
import { wkv7 } from "../../kernels/wkv/wkv7.ts";
import { wkv7Gradient } from "../../kernels/wkv/wkv7_gradient.ts";

const [batch, time, heads, width] = [2, 64, 2, 64];
const size = { batch, time, heads, width };
const l = contiguousLayout([batch, time, heads, width]);
const attentionShape = { ...size, kvHeads: heads, scale: 1, q: l, k: l, v: l };
const four = { r: l, w: l, k: l, v: l };
const seven = { ...four, kappa: l, a: l };
const product = {
  ...{ batch: 1, m: 96, n: 128, k: 128 },
  a: { batchStride: 0, mStride: 128, kStride: 1 },
  b: { batchStride: 0, kStride: 128, nStride: 1 },
};

const row = { ...product, m: 1, b: { batchStride: 0, kStride: 1, nStride: 128 } };

export const KERNELS: Readonly<Record<string, Kernel>> = {
  matmul: matmulKernel(product, 2),
  tiles: tileMatmulKernel(product, 2),
  tilesTurned: tileMatmulKernel({
    ...product,
    a: { batchStride: 0, mStride: 1, kStride: 96 },
    b: { batchStride: 0, kStride: 1, nStride: 128 },
  }, 2),
  wkv6: wkv6({ ...size, inputs: four, keepStates: true }),
  wkv6Gradient: wkv6Gradient({ ...size, inputs: four }),
  wkv7: wkv7({ ...size, inputs: seven, keepStates: true }),
  wkv7Gradient: wkv7Gradient({ ...size, inputs: seven }),
  attention: attention(attentionShape),
  attentionGradient: attentionGradient(attentionShape),
  matvec: matvecKernel(row),
  matvecAcross: matvecKernel({ ...product, m: 1 }),
  matvecBf16: matvecKernel({ ...row, weight: "bf16" }),
  matvecQ8: matvecKernel({ ...row, weight: "q8_0" }),
  matvecQ8Whole: matvecKernel({ ...row, weight: "q8_0" }, undefined, true),
  matvecQ4: matvecKernel({ ...row, weight: "q4_0" }),
};
