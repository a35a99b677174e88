/** Matrix products on the GPU by cuBLASLt: one plan a shape, launched on the context's stream. */

import type { MatmulShape } from "../../kernels/kernel.ts";
import type { ProductPrecision } from "../device.ts";
import type { CudaContext } from "./context.ts";
import { CUBLASLT, type CublasLt, HEURISTIC } from "./cublas_lt.ts";
import { type Gemm, type GemmMatrix, gemmOf } from "./gemm.ts";
import type { CudaAllocator } from "./memory.ts";

/** What NVIDIA advises for Hopper; older GPUs use less of it. */
const WORKSPACE_BYTES = 32 << 20;

/**
 * Partial sums of a long inner dimension go through the workspace, never in place, where several
 * groups of threads add to the result in turn: so a product has the same bits every time.
 */
const REDUCTION_SCHEMES = CUBLASLT.reductionScheme.computeType |
  CUBLASLT.reductionScheme.outputType;

/** What cudaMalloc gives at least, beyond which nothing gets faster. */
const MOST_ALIGNED = 256n;

/** Products of a GPU by the library. */
export interface Products {
  /** For people. */
  readonly description: string;
  /**
   * What launches a product; undefined where the library has no way to do it.
   * @param operands device addresses of a, b, what is added to (for one that accumulates), result
   */
  prepare(shape: MatmulShape, operands: readonly bigint[]): (() => void) | undefined;
  close(): void;
}

/** Descriptors of a product, and the way that the library chose. */
interface Plan {
  readonly desc: Deno.PointerValue;
  readonly a: Deno.PointerValue;
  readonly b: Deno.PointerValue;
  readonly d: Deno.PointerValue;
  /** Undefined where it has none. */
  readonly algorithm?: Uint8Array<ArrayBuffer>;
  readonly beta: Float32Array<ArrayBuffer>;
}

/** Bytes of which an address is a multiple: a power of two. */
function alignment(address: bigint): number {
  const own = address & -address;
  return Number(own === 0n || own > MOST_ALIGNED ? MOST_ALIGNED : own);
}

const ONE = new Float32Array([1]);

/** Products of `context` by an open library, which it closes. */
export function createProducts(
  lt: CublasLt,
  context: CudaContext,
  memory: CudaAllocator,
  precision: ProductPrecision,
): Products {
  const { symbols, check, made } = lt;
  const handle = made("cublasLtCreate", symbols.cublasLtCreate);
  const workspace = memory.allocate(WORKSPACE_BYTES);

  const layout = ({ rows, columns, leading, batchStride }: GemmMatrix, batch: number) => {
    const own = made(
      "cublasLtMatrixLayoutCreate",
      (cell) =>
        symbols.cublasLtMatrixLayoutCreate(
          ...[cell, CUBLASLT.r32f, BigInt(rows), BigInt(columns), BigInt(leading)] as const,
        ),
    );
    if (batch > 1) {
      const set = (
        attribute: number,
        value: Int32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>,
      ) =>
        check(
          "cublasLtMatrixLayoutSetAttribute",
          symbols.cublasLtMatrixLayoutSetAttribute(own, attribute, value, BigInt(value.byteLength)),
        );
      set(CUBLASLT.layout.batchCount, new Int32Array([batch]));
      set(CUBLASLT.layout.batchOffset, new BigInt64Array([BigInt(batchStride)]));
    }
    return own;
  };

  const description = ({ a, b }: Gemm) => {
    const own = made(
      "cublasLtMatmulDescCreate",
      (cell) => symbols.cublasLtMatmulDescCreate(cell, CUBLASLT.compute[precision], CUBLASLT.r32f),
    );
    const { transposeA, transposeB } = CUBLASLT.desc;
    for (const [attribute, { transposed }] of [[transposeA, a], [transposeB, b]] as const) {
      const value = new Int32Array([transposed ? 1 : 0]);
      check(
        "cublasLtMatmulDescSetAttribute",
        symbols.cublasLtMatmulDescSetAttribute(own, attribute, value, 4n),
      );
    }
    return own;
  };

  /** The first way that the library proposes, which is the same one every time. */
  const choose = ({ desc, a, b, d }: Omit<Plan, "algorithm">, alignments: readonly number[]) => {
    const preference = made(
      "cublasLtMatmulPreferenceCreate",
      symbols.cublasLtMatmulPreferenceCreate,
    );
    const set = (
      attribute: number,
      value: Uint32Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>,
    ) =>
      check(
        "cublasLtMatmulPreferenceSetAttribute",
        symbols.cublasLtMatmulPreferenceSetAttribute(
          ...[preference, attribute, value, BigInt(value.byteLength)] as const,
        ),
      );
    try {
      set(CUBLASLT.preference.workspaceBytes, new BigUint64Array([BigInt(WORKSPACE_BYTES)]));
      set(CUBLASLT.preference.reductionSchemes, new Uint32Array([REDUCTION_SCHEMES]));
      CUBLASLT.preference.alignments.forEach((attribute, i) =>
        set(attribute, new Uint32Array([alignments[i]]))
      );
      const result = new Uint8Array(HEURISTIC.bytes);
      const count = new Int32Array(1);
      const status = symbols.cublasLtMatmulAlgoGetHeuristic(
        ...[handle, desc, a, b, d, d, preference, 1, result, count] as const,
      );
      if (status !== CUBLASLT.notSupported) check("cublasLtMatmulAlgoGetHeuristic", status);
      const state = new DataView(result.buffer).getInt32(HEURISTIC.state, true);
      return status === 0 && count[0] > 0 && state === 0
        ? { algorithm: result.slice(0, HEURISTIC.algorithmBytes) }
        : {};
    } finally {
      symbols.cublasLtMatmulPreferenceDestroy(preference);
    }
  };

  const plans = new Map<string, Plan>();
  const planOf = (gemm: Gemm, alignments: readonly number[]): Plan => {
    const key = JSON.stringify([gemm, alignments]);
    const known = plans.get(key);
    if (known !== undefined) return known;
    const described = {
      desc: description(gemm),
      a: layout(gemm.a, gemm.batch),
      b: layout(gemm.b, gemm.batch),
      d: layout(gemm.d, gemm.batch),
      beta: new Float32Array([gemm.beta]),
    };
    const plan = { ...described, ...choose(described, alignments) };
    plans.set(key, plan);
    return plan;
  };

  return {
    description: `cuBLASLt ${lt.version} (${precision})`,
    prepare: (shape, operands) => {
      const gemm = gemmOf(shape);
      if (gemm === undefined) return undefined;
      const [left, right] = operands;
      const result = operands[operands.length - 1];
      const addend = shape.accumulates ? operands[2] : result;
      const { desc, a, b, d, algorithm, beta } = planOf(
        gemm,
        [right, left, addend, result].map(alignment),
      );
      if (algorithm === undefined) return undefined;
      return () =>
        check(
          "cublasLtMatmul",
          symbols.cublasLtMatmul(
            ...[handle, desc, ONE, right, a, left, b, beta, addend, d, result, d] as const,
            ...[algorithm, workspace.address, BigInt(WORKSPACE_BYTES), context.stream] as const,
          ),
        );
    },
    close: () => {
      for (const { desc, a, b, d } of plans.values()) {
        symbols.cublasLtMatmulDescDestroy(desc);
        [a, b, d].forEach((own) => symbols.cublasLtMatrixLayoutDestroy(own));
      }
      symbols.cublasLtDestroy(handle);
      lt.close();
    },
  };
}
