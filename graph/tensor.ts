/**
 * The tensor graph: immutable nodes, each one operation on tensors that earlier nodes made.
 *
 * A graph is whatever can be reached from the tensors that are asked for; nothing else holds it.
 */

/** Sizes of a tensor's axes, outermost first. A scalar is `[1]`. */
export type Shape = readonly number[];

/** How the weights of an input may be stored in fewer bits than f32 (kernels/weights/weights.ts). */
export type WeightDType =
  /** The upper half of an f32. */
  | "bf16"
  /** Blocks of 32 along a row: an f16 scale and 32 signed bytes. */
  | "q8_0"
  /** Blocks of 32 along a row: an f16 scale and 32 numbers of four bits. */
  | "q4_0";

/**
 * Element types inside a program: real numbers, token ids, and weights that are stored in fewer
 * bits. Those are inputs, matrices [rows, columns], and are read as the transposed right operand of
 * a matrix product and as the table of an embedding; all that is computed is f32.
 */
export type DType = "f32" | "i32" | WeightDType;

/** Values of a block of `q8_0` and `q4_0`, which share a scale. */
export const WEIGHT_BLOCK = 32;

/** Whether weights of a type come in blocks with a scale. */
export const isBlocked = (dtype: DType): dtype is "q8_0" | "q4_0" =>
  dtype === "q8_0" || dtype === "q4_0";

/** Whether a type is one that only weights are stored in. */
export const isWeight = (dtype: DType): dtype is WeightDType =>
  dtype === "bf16" || isBlocked(dtype);

/** Bytes of a tensor. */
export function tensorBytes(shape: Shape, dtype: DType): number {
  const elements = size(shape);
  switch (dtype) {
    case "f32":
    case "i32":
      return 4 * elements;
    case "bf16":
      return 2 * elements;
    case "q8_0":
      return elements / WEIGHT_BLOCK * (2 + WEIGHT_BLOCK);
    case "q4_0":
      return elements / WEIGHT_BLOCK * (2 + WEIGHT_BLOCK / 2);
    default:
      return dtype satisfies never;
  }
}

/** Pointwise operations on one tensor. */
export type UnaryFunction =
  /** The same value, stored on its own. */
  | "copy"
  | "neg"
  | "abs"
  | "exp"
  | "log"
  | "sqrt"
  | "reciprocal"
  | "tanh"
  | "sigmoid";

/** Pointwise operations on two tensors of one shape; `less` and `equal` give 0 or 1. */
export type BinaryFunction =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "min"
  | "max"
  | "less"
  | "equal"
  /** The first, once the second is there: an order of computation, not of numbers. */
  | "after";

/** What attention is told besides its tensors. */
export interface AttentionOp {
  readonly scale: number;
  /** Latest keys that a query sees, its own included; every earlier one where it is missing. */
  readonly window?: number;
}

/** What a node computes. */
export type Op =
  /** A value from outside, known by name. */
  | { readonly kind: "input"; readonly name: string }
  /** One number everywhere. */
  | { readonly kind: "constant"; readonly value: number }
  /** The position along the last axis, as a real number. */
  | { readonly kind: "iota" }
  | { readonly kind: "unary"; readonly fn: UnaryFunction }
  | { readonly kind: "binary"; readonly fn: BinaryFunction }
  /** condition ≠ 0 ? a : b. */
  | { readonly kind: "select" }
  /** Over the given axes, which stay with size 1. */
  | { readonly kind: "reduce"; readonly fn: "sum" | "max"; readonly axes: readonly number[] }
  | { readonly kind: "reshape" }
  | { readonly kind: "permute"; readonly axes: readonly number[] }
  /** Axes of size 1 repeated. */
  | { readonly kind: "expand" }
  | { readonly kind: "slice"; readonly begin: readonly number[] }
  /** Zeros around a tensor. */
  | { readonly kind: "pad"; readonly before: readonly number[] }
  | { readonly kind: "concat"; readonly axis: number }
  /** a·b with leading batch axes; `transposed` operands are stored with their last axes swapped. */
  | { readonly kind: "matmul"; readonly transposeA: boolean; readonly transposeB: boolean }
  /** x/√(mean(x²)+ε)·weight over the last axis. */
  | { readonly kind: "rms_norm"; readonly epsilon: number }
  /** Per head (last axis) zero mean and unit variance, then weight and bias of [heads, width]. */
  | { readonly kind: "group_norm"; readonly epsilon: number }
  /** Rotates the halves of the last axis by angles given as cosines and sines. */
  | { readonly kind: "rotary"; readonly inverse: boolean }
  /** Rows of a table [vocabulary, width] by id. */
  | { readonly kind: "embedding" }
  /** (gradient, ids) → gradient of the table. */
  | { readonly kind: "embedding_gradient" }
  /** Causal softmax attention with grouped key/value heads → (output, log-sum-exp). */
  | ({ readonly kind: "attention" } & AttentionOp)
  /** (q, k, v, output, log-sum-exp, gradient) → (dq, dk, dv). */
  | ({ readonly kind: "attention_gradient" } & AttentionOp)
  /** One step or chunk of attention over a cache that it extends → (output, keys, values). */
  | ({ readonly kind: "cached_attention" } & AttentionOp)
  /** The RWKV-6 recurrence → (y, last state, states before every chunk). */
  | { readonly kind: "wkv6" }
  /** (r, w, k, v, chunk states, dy, dstate) → gradients of the first four and the state. */
  | { readonly kind: "wkv6_gradient" }
  /** The RWKV-7 recurrence → (y, last state, states before every chunk). */
  | { readonly kind: "wkv7" }
  /** (r, w, k, v, kappa, a, chunk states, dy, dstate) → gradients of the first six and the state. */
  | { readonly kind: "wkv7_gradient" }
  /** (hidden, head, targets) → cross-entropy of every token, in nats. */
  | { readonly kind: "cross_entropy" }
  /** (hidden, head, targets, dloss) → (losses, dhidden, dhead). */
  | { readonly kind: "cross_entropy_gradient" }
  /** (hidden, head, teacher hidden, teacher head) → KL(teacher ‖ student) of every token, in nats. */
  | { readonly kind: "kl_divergence" }
  /** (hidden, head, teacher hidden, teacher head, dloss) → (losses, dhidden, dhead). */
  | { readonly kind: "kl_divergence_gradient" };

/** The kinds of operation. */
export type OpKind = Op["kind"];

/** An operation applied to tensors. */
export interface Node {
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly { readonly shape: Shape; readonly dtype: DType }[];
}

/** One output of a node. */
export interface Tensor {
  readonly node: Node;
  readonly output: number;
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Number of elements. */
export function size(shape: Shape): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** Whether two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

/** A tensor for messages: what made it and its shape. */
export function describe(tensor: Tensor): string {
  const { op } = tensor.node;
  const name = op.kind === "input"
    ? `input ${op.name}`
    : op.kind === "unary" || op.kind === "binary"
    ? op.fn
    : op.kind;
  const dtype = isWeight(tensor.dtype) ? `${tensor.dtype} ` : "";
  return `${name} ${dtype}[${tensor.shape.join(", ")}]`;
}

/**
 * Every node that the given tensors need, each after its inputs. The order is that of a depth-first
 * walk, so that what is made early for one root is not held while others are computed.
 */
export function topologicalOrder(roots: readonly Tensor[]): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, "open" | "done">();
  for (const root of roots) {
    const stack: Node[] = [root.node];
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      const seen = state.get(node);
      if (seen === undefined) {
        state.set(node, "open");
        for (let i = node.inputs.length - 1; i >= 0; i--) {
          const next = node.inputs[i].node;
          if (!state.has(next)) stack.push(next);
        }
      } else {
        stack.pop();
        if (seen === "open") {
          state.set(node, "done");
          order.push(node);
        }
      }
    }
  }
  return order;
}
