/** Training one layer of stage 1 on a device; the next layer of the same form takes its place. */

import type { Device, Executable, Memory } from "../../devices/device.ts";
import { createStore, layoutOf, type Store, storeBindings } from "../../devices/store.ts";
import * as g from "../../graph/build.ts";
import { size, type Tensor } from "../../graph/tensor.ts";
import type { Parameter } from "../../models/parameter.ts";
import { rotaryFrequencies, rotaryTables } from "../../models/rotary.ts";
import { createOptimizer, type Optimizer } from "../optimizer.ts";
import { TEACHER_PREFIX } from "../stage_graph.ts";
import {
  layerGraph,
  type LayerRole,
  partShapes,
  type StreamedLayers,
  type ValueName,
} from "./layers.ts";

/** What a layer's graph reads and writes beside its weights. */
export type StreamName = "stream" | "next" | ValueName;

/** The layer that is in memory. */
export interface LayerTrainer {
  readonly key: string;
  /** The weights; their names are those under `model.layers.N.`. */
  readonly teacher: Store;
  readonly trained: Store;
  readonly frozen: Store;
  readonly gradients: Store;
  readonly optimizer: Optimizer;
  /** What the layer reads, and what it writes, of one part of a batch. */
  readonly reads: readonly StreamName[];
  readonly writes: readonly StreamName[];
  write(name: StreamName, values: Float32Array): void;
  read(name: StreamName, into: Float32Array): Promise<void>;
  readonly arenaBytes: number;
  /** Computes part `i` of a batch: what is passed on, and what is added to loss and gradients. */
  run(part: number): void;
  /** The layer's part of the loss of the batch; 0 where it is not aligned. */
  loss(): Promise<number>;
  free(): void;
}

const free = (owned: { free(): void }) => owned.free();

/** Prepares a layer, its weights yet to be set. */
export function createLayerTrainer(
  device: Device,
  layers: StreamedLayers,
  role: LayerRole,
): LayerTrainer {
  const { config, stage, aligned, values } = layers;
  const graph = layerGraph(layers, role);
  using owned = new DisposableStack();
  const allocate = (bytes: number): Memory => owned.adopt(device.allocate(bytes), device.free);
  const store = (parameters: readonly Parameter[]): Store =>
    owned.adopt(createStore(device, layoutOf(parameters)), free);
  const teacher = store(role.given);
  const [trained, frozen, gradients] = [role.trained, role.frozen, role.trained].map(store);
  const shapes = partShapes(layers);
  const valueNames = values.filter((name) => role.layer > 0 || graph.passed[name] !== undefined);
  const names: StreamName[] = ["stream", ...(role.isLast ? [] : ["next" as const]), ...valueNames];
  const streams = Object.fromEntries(names.map((name) => {
    const shape = name === "stream" || name === "next" ? shapes.stream : shapes.value;
    return [name, allocate(4 * size(shape))];
  })) as Partial<Record<StreamName, Memory>>;

  const half = config.headDim / 2;
  const tables = rotaryTables(
    rotaryFrequencies(config),
    Array.from({ length: stage.context }, (_, i) => i),
  );
  const memory = {
    cosine: allocate(4 * stage.context * half),
    sine: allocate(4 * stage.context * half),
  };
  device.write(memory.cosine, tables.cosine);
  device.write(memory.sine, tables.sine);
  const lossMemory = allocate(4);
  device.clear(lossMemory);

  const summed = ["loss", ...role.trained.map(({ name }) => name)];
  const passed = Object.keys(graph.passed) as (keyof typeof graph.passed)[];
  const inputs: Record<string, Memory> = {
    ...memory,
    ...Object.fromEntries(Object.entries(streams).filter(([name]) => name !== "next")),
    ...storeBindings(teacher, TEACHER_PREFIX),
    ...storeBindings(trained, ""),
    ...storeBindings(frozen, ""),
    ...storeBindings(gradients, "gradient."),
    "gradient.loss": lossMemory,
  };
  const results = [
    ...graph.loss.map((_, i) => i === 0 ? lossMemory : gradients.at(summed[i])),
    ...passed.map((name) => streams[name]!),
  ];
  const compile = (sums: readonly Tensor[]): Executable => {
    const tensors = [...sums, ...passed.map((name) => graph.passed[name]!)];
    return owned.adopt(device.compile(tensors, { inputs, results }), free);
  };
  const first = compile(graph.loss);
  // Later parts of an accumulated batch add to what the earlier ones left.
  const more = stage.accumulate === 1 ? undefined : compile(
    graph.loss.map((t, i) => g.add(g.input(`gradient.${summed[i]}`, t.shape), t)),
  );
  const clip = stage.clip / Math.sqrt(aligned);
  const optimizer = owned.adopt(
    createOptimizer(device, trained, gradients, { ...stage, clip }),
    free,
  );
  const kept = owned.move();
  return {
    key: role.key,
    teacher,
    trained,
    frozen,
    gradients,
    optimizer,
    write: (name, values) => device.write(streams[name]!, values),
    read: (name, into) => device.read(streams[name]!, into),
    reads: ["stream", ...(role.layer > 0 ? valueNames : [])],
    writes: passed,
    arenaBytes: Math.max(first.arenaBytes, more?.arenaBytes ?? 0),
    run: (part) => (part === 0 ? first : more!).run(),
    loss: async () => {
      const value = new Float32Array(1);
      await device.read(lossMemory, value);
      return value[0];
    },
    free: () => kept.dispose(),
  };
}
