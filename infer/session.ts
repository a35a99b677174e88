/**
 * A text in the making: prompt tokens in chunks, then one token at a time. Mixers carry a state of
 * constant size; attention layers keep a cache that grows, up to their window where they have one,
 * behind the same interface.
 */

import type { Device, Executable, Memory } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import { type Shape, size, type Tensor } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { decoderForward, mixerStateShapes } from "../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../models/rotary.ts";

/** A model whose weights are on a device. */
export interface LoadedModel {
  readonly spec: ModelSpec;
  readonly device: Device;
  /** Parameters by name, as graph inputs and as memory. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly bindings: Readonly<Record<string, Memory>>;
}

/** Lengths in which a prompt is taken, longest first. */
const CHUNKS = [128, 16, 1] as const;
/** Tokens that a cache holds at first; it doubles when it is full. */
const FIRST_CAPACITY = 256;

/** One or more texts that advance together. */
export interface Session {
  /** Tokens so far. */
  readonly position: number;
  /** Bytes of state that the tokens so far have left behind. */
  readonly stateBytes: number;
  /**
   * Takes more tokens of every text, ids [batch][count], and returns the logits after the last,
   * [batch, vocabulary].
   */
  advance(ids: readonly ArrayLike<number>[]): Promise<Float32Array>;
  free(): void;
}

type States = readonly Readonly<Record<string, Memory>>[];

interface Step {
  readonly length: number;
  readonly ids: Memory;
  readonly cosine: Memory;
  readonly sine: Memory;
  /** From the first set of states to the second, and back. */
  readonly run: readonly [Executable, Executable];
}

const isCache = (spec: ModelSpec, layer: number) => spec.mixers[layer].kind === "attention";

/**
 * Starts a session; the state is that before any token.
 * @param from tokens that count as taken, of which states and caches hold nothing but zeros: the time
 * of the next ones is what it would be after a text of that length
 */
export function openSession(model: LoadedModel, batch = 1, from = 0): Session {
  const { spec, device } = model;
  const { config, mixers } = spec;
  const half = config.headDim / 2;
  const frequencies = rotaryFrequencies(config);
  const logitsMemory = device.allocate(4 * batch * config.vocabSize);
  const start = device.allocate(4 * batch);
  let position = from;
  let capacity = FIRST_CAPACITY;
  while (capacity < from) capacity *= 2;
  /** Which of the two sets holds the present state. */
  let present: 0 | 1 = 0;
  let steps = new Map<number, Step>();

  const shapes = (layer: number, tokens = capacity) =>
    mixerStateShapes(config, mixers[layer], batch, tokens);
  const makeStates = (): [States, States] => {
    const make = (other?: States): States =>
      mixers.map((_, layer) => {
        // Caches are written in place, so both sets share them.
        if (other !== undefined && isCache(spec, layer)) return other[layer];
        const entries = Object.entries(shapes(layer)).map(([name, shape]) => {
          const memory = device.allocate(4 * size(shape));
          device.clear(memory);
          return [name, memory];
        });
        return Object.fromEntries(entries);
      });
    const first = make();
    return [first, make(first)];
  };
  let states = makeStates();
  const freeStates = () => {
    states[0].forEach((own) => Object.values(own).forEach(device.free));
    states[1].forEach((own, layer) => {
      if (!isCache(spec, layer)) Object.values(own).forEach(device.free);
    });
  };

  const compile = (length: number): Step => {
    const ids = g.input("ids", [batch, length], "i32");
    const tables = [1, length, half];
    const cosine = g.input("cosine", tables);
    const sine = g.input("sine", tables);
    const stateInputs = mixers.map((_, layer) =>
      Object.fromEntries(
        Object.entries(shapes(layer)).map(([name, shape]) => [
          name,
          g.input(`state.${layer}.${name}`, shape),
        ]),
      )
    );
    const output = decoderForward(spec, {
      ids,
      cosine,
      sine,
      weight: (name) => model.inputs.get(name)!,
      states: stateInputs,
      start: g.input("start", [batch], "i32"),
    });
    const hidden = g.reshape(output.hidden, [batch, length, config.hiddenSize]);
    const last = g.reshape(g.slice(hidden, 1, length - 1, length), [batch, config.hiddenSize]);
    const logits = g.matmul(last, output.head, { transposeB: true });
    const results = [logits, ...output.states.flatMap((own) => Object.values(own))];
    const names = output.states.map((own) => Object.keys(own));
    const memory = {
      ids: device.allocate(4 * batch * length),
      cosine: device.allocate(4 * length * half),
      sine: device.allocate(4 * length * half),
    };
    const bind = (from: States, to: States) =>
      device.compile(results, {
        inputs: {
          ...model.bindings,
          ...memory,
          start,
          ...Object.fromEntries(
            from.flatMap((own, layer) =>
              Object.entries(own).map(([name, at]) => [`state.${layer}.${name}`, at])
            ),
          ),
        },
        results: [logitsMemory, ...names.flatMap((own, layer) => own.map((n) => to[layer][n]))],
        name: length === 1 ? "decoding a token" : `taking ${length} tokens of a prompt`,
      });
    return {
      length,
      ...memory,
      run: [bind(states[0], states[1]), bind(states[1], states[0])],
    };
  };
  const freeSteps = () => {
    for (const { ids, cosine, sine, run } of steps.values()) {
      [ids, cosine, sine].forEach(device.free);
      run.forEach((executable) => executable.free());
    }
    steps = new Map();
  };

  /** Moves the caches into larger ones. */
  const grow = async (needed: number) => {
    let larger = capacity;
    while (larger < needed) larger *= 2;
    const grows = mixers.some((_, layer) =>
      stateSize(shapes(layer, larger)) > stateSize(shapes(layer))
    );
    if (!grows) return;
    const old = states[present];
    const kept = await Promise.all(old.map(async (own, layer) => {
      const entries = Object.entries(shapes(layer)).map(async ([name, shape]) => {
        const values = new Float32Array(size(shape));
        await device.read(own[name], values);
        return { name, values, rows: shape[2] };
      });
      return await Promise.all(entries);
    }));
    freeSteps();
    freeStates();
    capacity = larger;
    states = makeStates();
    present = 0;
    kept.forEach((own, layer) =>
      own.forEach(({ name, values, rows }) => {
        const memory = states[0][layer][name];
        if (!isCache(spec, layer)) return device.write(memory, values);
        // A head's rows stay first: a cache that still grows is not yet a ring.
        const [, , newRows, width] = shapes(layer)[name];
        const part = rows * width;
        for (let head = 0; head * part < values.length; head++) {
          const target = memory.slice(4 * head * newRows * width, 4 * part);
          device.write(target, values.subarray(head * part, (head + 1) * part));
        }
      })
    );
  };

  const take = (ids: readonly ArrayLike<number>[], from: number, length: number) => {
    const step = steps.get(length) ?? compile(length);
    steps.set(length, step);
    const positions = Array.from({ length }, (_, i) => position + i);
    const { cosine, sine } = rotaryTables(frequencies, positions);
    const flat = new Int32Array(batch * length);
    ids.forEach((text, b) => {
      for (let i = 0; i < length; i++) flat[b * length + i] = text[from + i];
    });
    device.write(step.ids, flat);
    device.write(step.cosine, cosine);
    device.write(step.sine, sine);
    device.write(start, new Int32Array(batch).fill(position));
    step.run[present].run();
    present = present === 0 ? 1 : 0;
    position += length;
  };

  return {
    get position() {
      return position;
    },
    get stateBytes() {
      return stateBytes(spec, batch, position);
    },
    advance: async (ids) => {
      const count = ids[0].length;
      if (ids.length !== batch || count === 0 || ids.some((text) => text.length !== count)) {
        throw new Error(`session: expected ${batch} texts of one length above 0`);
      }
      for (const text of ids) {
        for (let i = 0; i < count; i++) {
          if (!(text[i] >= 0 && text[i] < config.vocabSize)) {
            throw new RangeError(`session: id ${text[i]}, expected 0 … ${config.vocabSize - 1}`);
          }
        }
      }
      await grow(position + count);
      for (let from = 0; from < count;) {
        const length = CHUNKS.find((n) => n <= count - from)!;
        take(ids, from, length);
        from += length;
      }
      const logits = new Float32Array(batch * config.vocabSize);
      await device.read(logitsMemory, logits);
      return logits;
    },
    free: () => {
      freeSteps();
      freeStates();
      device.free(logitsMemory);
      device.free(start);
    },
  };
}

/** Bytes of state, f32, that a model holds after some tokens. */
export function stateBytes({ config, mixers }: ModelSpec, batch: number, tokens: number): number {
  const sizes = mixers.map((mixer) => stateSize(mixerStateShapes(config, mixer, batch, tokens)));
  return 4 * sizes.reduce((sum, own) => sum + own, 0);
}

/** Values in a layer's state. */
function stateSize(shapes: Readonly<Record<string, Shape>>): number {
  return Object.values(shapes).reduce((sum, shape) => sum + size(shape), 0);
}
