/** One operation alone: its time, and what it computes beside another device. */

import type { Device } from "../devices/device.ts";
import { createStore, layoutOf } from "../devices/store.ts";
import * as g from "../graph/build.ts";
import { vectorJacobian } from "../graph/gradient.ts";
import { type Shape, size as sizeOf, type Tensor } from "../graph/tensor.ts";
import { createOptimizer } from "../train/optimizer.ts";
import { largestDifference } from "./difference.ts";
import { quickNumbers } from "./quick_values.ts";
import { timeRuns } from "./timing.ts";

/** Numbers of a range, or ids below a count. */
export type Input =
  | { readonly shape: Shape; readonly from: number; readonly to: number }
  | { readonly shape: Shape; readonly below: number };

type Inputs<Name extends string> = Readonly<Record<Name, Input>>;
type Named<Name extends string> = Readonly<Record<Name, Tensor>>;

/** An operation at one size. */
export interface Operation {
  readonly name: string;
  /** What its size is, for people. */
  readonly size: string;
  /** Bytes that it has to read and write, each once. */
  readonly bytes: number;
  prepare(device: Device): Prepared;
}

/** An operation that is ready on a device. */
interface Prepared {
  readonly flops: number;
  run(): unknown;
  /** What it computed. */
  read(): Promise<Float32Array[]>;
  readonly result: ReturnType<Device["allocate"]>;
  free(): void;
}

/** What was measured. */
export interface OperationBench {
  readonly name: string;
  readonly size: string;
  readonly seconds: number;
  readonly flops: number;
  readonly bytes: number;
  /** The largest difference from another device, of the largest value of a tensor. */
  readonly difference: number;
}

function valuesOf(input: Input, seed: number): Float32Array | Int32Array {
  const count = sizeOf(input.shape);
  if (!("below" in input)) return quickNumbers(count, seed, input.from, input.to);
  const { below } = input;
  return Int32Array.from(quickNumbers(count, seed, 0, below), (x) => Math.min(below - 1, x));
}

const bytesOf = (list: readonly { readonly shape: Shape }[]) =>
  list.reduce((bytes, { shape }) => bytes + 4 * sizeOf(shape), 0);

const isReal = (input: Input) => !("below" in input);

const tensorsOf = <Name extends string>(inputs: Inputs<Name>): Named<Name> =>
  Object.fromEntries(
    Object.entries<Input>(inputs).map(([name, input]) => [
      name,
      g.input(name, input.shape, isReal(input) ? "f32" : "i32"),
    ]),
  ) as Named<Name>;

/** An operation of a graph; its bytes are those of inputs and results unless others are named. */
export function operation<Name extends string>(
  name: string,
  size: string,
  inputs: Inputs<Name>,
  build: (inputs: Named<Name>) => readonly Tensor[],
  bytes?: number,
): Operation {
  const list = Object.entries<Input>(inputs);
  const results = build(tensorsOf(inputs));
  return {
    name,
    size,
    bytes: bytes ?? bytesOf([...Object.values<Input>(inputs), ...results]),
    prepare: (device) => {
      const owned = new DisposableStack();
      const memory = (bytes: number) => owned.adopt(device.allocate(bytes), device.free);
      const bound = Object.fromEntries(list.map(([name, input], i) => {
        const own = memory(4 * sizeOf(input.shape));
        device.write(own, valuesOf(input, i + 1));
        return [name, own];
      }));
      const outputs = results.map(({ shape }) => memory(4 * sizeOf(shape)));
      const executable = owned.adopt(
        device.compile(results, { inputs: bound, results: outputs }),
        (own) => own.free(),
      );
      return {
        flops: executable.flops,
        run: executable.run,
        read: () =>
          Promise.all(results.map(async ({ shape }, i) => {
            const found = new Float32Array(sizeOf(shape));
            await device.read(outputs[i], found);
            return found;
          })),
        result: outputs[0],
        free: () => owned.dispose(),
      };
    },
  };
}

/** FLOPs of AdamW for a value: the norm, the scaled gradient, both moments, and the update. */
const OPTIMIZER_FLOPS = 18;

/** AdamW over one tensor of so many values, with the clipping norm. */
export function optimizerOperation(values: number): Operation {
  return {
    name: "AdamW",
    size: `${values}`,
    // The gradient is read twice, the others are read and written.
    bytes: 4 * 8 * values,
    prepare: (device) => {
      const layout = layoutOf([{ name: "weights", shape: [values] }]);
      const owned = new DisposableStack();
      const store = (seed: number) => {
        const own = owned.adopt(createStore(device, layout), (store) => store.free());
        own.write("weights", quickNumbers(values, seed, -0.5, 0.5));
        return own;
      };
      const [weights, gradients] = [store(1), store(2)];
      const optimizer = owned.adopt(
        createOptimizer(device, weights, gradients, {
          betas: [0.9, 0.95],
          epsilon: 1e-8,
          weightDecay: 0.01,
          clip: 1,
        }),
        (own) => own.free(),
      );
      let step = 0;
      return {
        flops: OPTIMIZER_FLOPS * values,
        run: () => optimizer.step(step++, 1e-3),
        read: () =>
          Promise.all([weights, optimizer.first, optimizer.second].map(async (store) => {
            const found = new Float32Array(values);
            await device.read(store.at("weights"), found);
            return found;
          })),
        result: weights.memory,
        free: () => owned.dispose(),
      };
    },
  };
}

/** An operation, and the same with the gradients of all its real inputs. */
export function differentiated<Name extends string>(
  name: string,
  size: string,
  inputs: Inputs<Name>,
  build: (inputs: Named<Name>) => Tensor,
  bytes?: { readonly forward: number; readonly gradient: number },
): Operation[] {
  const { shape } = build(tensorsOf(inputs));
  const real = (Object.keys(inputs) as Name[]).filter((name) => isReal(inputs[name]));
  const cotangent: Input = { shape, from: -1, to: 1 };
  return [
    operation(name, size, inputs, (tensors) => [build(tensors)], bytes?.forward),
    operation(
      `${name}, with gradients`,
      size,
      { ...inputs, cotangent } as Inputs<Name | "cotangent">,
      (tensors) => {
        const of = build(tensors);
        const pairs = [{ of, gradient: tensors.cotangent }];
        return [of, ...vectorJacobian(pairs, real.map((name) => tensors[name]))];
      },
      bytes?.gradient,
    ),
  ];
}

/** Runs an operation on two devices, compares what they compute, and times it on the first. */
export async function benchOperation(
  operation: Operation,
  device: Device,
  reference: Device,
  seconds: number,
): Promise<OperationBench> {
  const { name, size, bytes } = operation;
  const once = async (on: Device) => {
    const own = operation.prepare(on);
    await own.run();
    return { own, found: await own.read() };
  };
  const { own, found } = await once(device);
  try {
    const other = await once(reference);
    other.own.free();
    return {
      name,
      size,
      seconds: await timeRuns(device, own.run, own.result, seconds),
      flops: own.flops,
      bytes,
      difference: largestDifference(found, other.found),
    };
  } finally {
    own.free();
  }
}
