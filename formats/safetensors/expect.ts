/** Whether a checkpoint has the tensors that an architecture asks for. */
import type { Dtype } from "../dtype.ts";
import { FormatError, type Problem, quote, show } from "../error.ts";
import type { TensorInfo } from "./header.ts";

/** Tensors by name, and what messages call the place where they are. */
export interface TensorList {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** A tensor that must be there. */
export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Types that weights are stored in. */
const FLOAT_DTYPES: readonly Dtype[] = Object.freeze(["F64", "F32", "F16", "BF16"]);

/**
 * Checks names, shapes and types. Further tensors do not matter.
 * @param dtypes the types that are accepted. Default `FLOAT_DTYPES`.
 * @throws FormatError with every tensor that is missing or other than expected.
 */
export function expectTensors(
  store: TensorList,
  expected: Iterable<ExpectedTensor>,
  dtypes: readonly Dtype[] = FLOAT_DTYPES,
): void {
  const problems: Problem[] = [];
  for (const { name, shape } of expected) {
    const at = `tensor ${quote(name)}`;
    const tensor = store.tensors.get(name);
    if (tensor === undefined) {
      problems.push({
        file: store.path,
        at,
        expected: `a tensor of shape ${show(shape)}`,
        found: "none of this name",
        advice: "check that the checkpoint is complete and that config.json belongs to it",
      });
      continue;
    }
    const same = tensor.shape.length === shape.length &&
      tensor.shape.every((size, i) => size === shape[i]);
    if (!same) {
      problems.push({
        file: tensor.file,
        at,
        expected: `shape ${show(shape)}`,
        found: show(tensor.shape),
        advice: "config.json and weights are of different models",
      });
    }
    if (!dtypes.includes(tensor.dtype)) {
      problems.push({
        file: tensor.file,
        at,
        expected: `dtype ${dtypes.join(", ")}`,
        found: tensor.dtype,
        advice: "use the checkpoint before quantisation",
      });
    }
  }
  if (problems.length > 0) throw new FormatError(problems);
}
