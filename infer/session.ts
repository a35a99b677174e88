/**
 * Texts in the making: prompt tokens in chunks, then one token at a time. Mixers carry a state of
 * constant size; attention layers keep a cache that grows, up to their window where they have one,
 * behind the same interface.
 */

import type { Device, Executable, Memory } from "../devices/device.ts";
import { size, type Tensor } from "../graph/tensor.ts";
import type { ModelSpec } from "../models/config.ts";
import { mixerStateShapes } from "../models/decoder.ts";
import { rotaryFrequencies, rotaryTables } from "../models/rotary.ts";
import { decodingGraph, stateInput } from "./decoding_graph.ts";
import { commonLength, type NextIds } from "./next_ids.ts";
import { fitCache, type LayerState, stateBytes, stateSize, type TextState } from "./state.ts";

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

/** One or more texts that advance together, each at its own position. */
export interface Session {
  /** Tokens so far, of the longest text. */
  readonly position: number;
  /** Bytes of state that so many tokens of every text leave behind. */
  readonly stateBytes: number;
  /**
   * Takes more tokens of every text, ids [batch][count], and returns the logits after the last,
   * [batch, vocabulary]. A text that is `undefined` rests: its state is lost, its logits mean
   * nothing.
   */
  advance(ids: NextIds): Promise<Float32Array>;
  /**
   * As `advance`, but returns of every text the id of its largest logit, the first of equals, [batch]:
   * the device finds it, and logits are not copied.
   */
  advanceGreedily(ids: NextIds): Promise<Int32Array>;
  /** The state of a text, to go on from elsewhere. */
  save(text: number): Promise<TextState>;
  /** Puts a text into a state, whatever it was before. */
  restore(text: number, state: TextState): Promise<void>;
  /** Puts a text back to before its first token. */
  reset(text: number): void;
  free(): void;
}

type States = readonly Readonly<Record<string, Memory>>[];

interface Step {
  readonly length: number;
  readonly ids: Memory;
  readonly cosine: Memory;
  readonly sine: Memory;
  /** From the first set of states to the second, and back; one where they are the same. */
  readonly run: readonly Executable[];
}

const isCache = (spec: ModelSpec, layer: number) => spec.mixers[layer].kind === "attention";
/** Whether a state is written in place: caches are, and the kernels of the recurrences allow it. */
const isInPlace = (spec: ModelSpec, layer: number, name: string) =>
  isCache(spec, layer) || name === "wkv";

/**
 * Starts a session of so many texts; the states are those before any token.
 * @param from tokens that count as taken, of which states and caches hold nothing but zeros: the time
 * of the next ones is what it would be after a text of that length
 */
export function openSession(model: LoadedModel, batch = 1, from = 0): Session {
  const { spec, device } = model;
  const { config, mixers } = spec;
  const half = config.headDim / 2;
  const frequencies = rotaryFrequencies(config);
  const logitsMemory = device.allocate(4 * batch * config.vocabSize);
  const placesMemory = device.allocate(4 * batch);
  const start = device.allocate(4 * batch);
  const positions = new Array<number>(batch).fill(from);
  let capacity = FIRST_CAPACITY;
  while (capacity < from) capacity *= 2;
  /** Which of the sets holds the present state. */
  let present = 0;
  let steps = new Map<number, Step>();

  const shapes = (layer: number, tokens = capacity) =>
    mixerStateShapes(config, mixers[layer], batch, tokens);
  const makeStates = (): readonly States[] => {
    let same = true;
    const make = (other?: States): States =>
      mixers.map((_, layer) => {
        const entries = Object.entries(shapes(layer)).map(([name, shape]) => {
          if (other !== undefined && isInPlace(spec, layer, name)) {
            return [name, other[layer][name]];
          }
          if (other !== undefined) same = false;
          const memory = device.allocate(4 * size(shape));
          device.clear(memory);
          return [name, memory];
        });
        return Object.fromEntries(entries);
      });
    const first = make();
    const second = make(first);
    return same ? [first] : [first, second];
  };
  let states = makeStates();
  const freeStates = () => {
    const memories = states.flatMap((set) => set.flatMap((own) => Object.values(own)));
    new Set(memories).forEach(device.free);
  };

  const compile = (length: number): Step => {
    const { logits, places, states: after } = decodingGraph(
      spec,
      [batch, length],
      (name) => model.inputs.get(name)!,
      mixers.map((_, layer) => shapes(layer)),
    );
    const results = [logits, places, ...after.flatMap((own) => Object.values(own))];
    const names = after.map((own) => Object.keys(own));
    const memory = {
      ids: device.allocate(4 * batch * length),
      cosine: device.allocate(4 * batch * length * half),
      sine: device.allocate(4 * batch * length * half),
    };
    const bind = (from: States, to: States) =>
      device.compile(results, {
        inputs: {
          ...model.bindings,
          ...memory,
          start,
          ...Object.fromEntries(
            from.flatMap((own, layer) =>
              Object.entries(own).map(([name, at]) => [stateInput(layer, name), at])
            ),
          ),
        },
        results: [
          logitsMemory,
          placesMemory,
          ...names.flatMap((own, layer) => own.map((n) => to[layer][n])),
        ],
        name: length === 1 ? "decoding a token" : `taking ${length} tokens of a prompt`,
      });
    return {
      length,
      ...memory,
      run: states.map((from, i) => bind(from, states[(i + 1) % states.length])),
    };
  };
  const freeSteps = () => {
    for (const { ids, cosine, sine, run } of steps.values()) {
      [ids, cosine, sine].forEach(device.free);
      run.forEach((executable) => executable.free());
    }
    steps = new Map();
  };

  /** The memory of one text's part of a state; texts come first in every state. */
  const partOf = (memory: Memory, text: number) => {
    const bytes = memory.bytes / batch;
    return memory.slice(text * bytes, bytes);
  };
  const save = async (text: number): Promise<TextState> => {
    const layers = states[present].map(async (own): Promise<LayerState> => {
      const parts = Object.entries(own).map(async ([name, memory]) => {
        const part = partOf(memory, text);
        const values = new Float32Array(part.bytes / 4);
        await device.read(part, values);
        return [name, values];
      });
      return Object.fromEntries(await Promise.all(parts));
    });
    return { position: positions[text], layers: await Promise.all(layers) };
  };
  const put = (text: number, state: TextState) => {
    positions[text] = state.position;
    state.layers.forEach((layer, index) =>
      Object.entries(layer).forEach(([name, values]) => {
        const memory = partOf(states[present][index][name], text);
        const fitting = isCache(spec, index)
          ? fitCache(values, shapes(index)[name].slice(1))
          : values;
        device.write(memory, fitting);
      })
    );
  };

  /** Moves the caches into larger ones. */
  const grow = async (needed: number) => {
    if (needed <= capacity) return;
    let larger = capacity;
    while (larger < needed) larger *= 2;
    const grows = mixers.some((_, layer) =>
      stateSize(shapes(layer, larger)) > stateSize(shapes(layer))
    );
    if (!grows) return;
    const kept = await Promise.all(positions.map((_, text) => save(text)));
    freeSteps();
    freeStates();
    capacity = larger;
    states = makeStates();
    present = 0;
    kept.forEach((state, text) => put(text, state));
  };

  const take = (ids: NextIds, from: number, length: number) => {
    const step = steps.get(length) ?? compile(length);
    steps.set(length, step);
    const ahead = positions.flatMap((at) => Array.from({ length }, (_, i) => at + i));
    const { cosine, sine } = rotaryTables(frequencies, ahead);
    const flat = new Int32Array(batch * length);
    ids.forEach((text, b) => {
      for (let i = 0; i < length; i++) flat[b * length + i] = text?.[from + i] ?? 0;
    });
    device.write(step.ids, flat);
    device.write(step.cosine, cosine);
    device.write(step.sine, sine);
    device.write(start, Int32Array.from(positions));
    step.run[present].run();
    present = (present + 1) % states.length;
    ids.forEach((text, b) => positions[b] = text === undefined ? 0 : positions[b] + length);
  };
  const furthest = () => Math.max(...positions);

  /** Takes more tokens of every text; what comes of the last ones is in the device's memory. */
  const advance = async (ids: NextIds) => {
    const count = commonLength(ids, batch, config.vocabSize);
    ids.forEach((text, b) => {
      if (text === undefined) positions[b] = 0;
    });
    await grow(furthest() + count);
    for (let from = 0; from < count;) {
      const length = CHUNKS.find((n) => n <= count - from)!;
      take(ids, from, length);
      from += length;
    }
  };

  return {
    get position() {
      return furthest();
    },
    get stateBytes() {
      return stateBytes(spec, batch, furthest());
    },
    advance: async (ids) => {
      await advance(ids);
      const logits = new Float32Array(batch * config.vocabSize);
      await device.read(logitsMemory, logits);
      return logits;
    },
    advanceGreedily: async (ids) => {
      await advance(ids);
      const places = new Float32Array(batch);
      await device.read(placesMemory, places);
      return Int32Array.from(places, (place) => place % config.vocabSize);
    },
    save,
    restore: async (text, state) => {
      await grow(state.position);
      put(text, state);
    },
    reset: (text) => {
      positions[text] = 0;
      for (const own of states[present]) {
        Object.values(own).forEach((memory) => device.clear(partOf(memory, text)));
      }
    },
    free: () => {
      freeSteps();
      freeStates();
      device.free(logitsMemory);
      device.free(placesMemory);
      device.free(start);
    },
  };
}
