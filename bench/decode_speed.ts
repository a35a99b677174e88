/** Tokens/s of decoding, beside what the memory could give. */

import type { Device } from "../devices/device.ts";
import * as g from "../graph/build.ts";
import { tensorBytes } from "../graph/tensor.ts";
import { type LoadedModel, openSession } from "../infer/session.ts";
import { stateBytes } from "../infer/state.ts";
import { median } from "./timing.ts";

/** What is measured. */
export interface DecodeSpeedOptions {
  /** Texts that are written at a time. */
  readonly streams: number;
  /** Time that is measured, after a warm-up. */
  readonly seconds: number;
}

/** What was measured. */
export interface DecodeSpeed {
  readonly streams: number;
  /** Of a long prompt, of one text. */
  readonly promptTokensPerSecond: number;
  /** Of all streams together. */
  readonly tokensPerSecond: number;
  /** Bytes of weights and states that a token of every stream reads. */
  readonly bytes: number;
  /** Of decoding, and of a kernel that only sums or copies as many bytes; 10⁹ bytes a second. */
  readonly gigabytesPerSecond: number;
  readonly readGigabytesPerSecond: number;
  /** The one by the other. */
  readonly share: number;
}

/** Columns of the rows that the plain read sums. */
const READ_COLUMNS = 16384;
/** Rounds of the warm-up: until the engine has optimised the kernels. */
const WARM_ROUNDS = 3;
/** Time of one round of tokens. */
const ROUND_SECONDS = 0.1;
/** Tokens of the long prompt: the longest chunk in which prompts are taken. */
const PROMPT_TOKENS = 128;
/** Times that it is taken, after one that is not counted. */
const PROMPT_ROUNDS = 3;
/** The ids that texts begin with: enough for every mixer to have a state. */
const PROMPT = [1, 2, 3];

/** Bytes that one step reads: every weight once, of untied embeddings a row a stream; states. */
function bytesPerStep({ spec, inputs }: LoadedModel, streams: number): number {
  const embeddings = "model.embed_tokens.weight";
  let bytes = stateBytes(spec, streams, PROMPT.length);
  for (const [name, { shape, dtype }] of inputs) {
    const rows = name === embeddings && !spec.config.tieWordEmbeddings ? streams : shape[0];
    bytes += tensorBytes([rows, ...shape.slice(1)], dtype);
  }
  return bytes;
}

/**
 * A kernel that moves so many bytes, about: one that sums them on a CPU, and on a GPU one that copies
 * half as many, which every thread does with one of its own.
 */
function plainRead(device: Device, bytes: number) {
  const copies = device.kind !== "cpu";
  const moved = copies ? bytes / 2 : bytes;
  const rows = Math.max(1, Math.round(moved / 4 / READ_COLUMNS));
  const memory = device.allocate(4 * rows * READ_COLUMNS);
  const result = device.allocate(copies ? memory.bytes : 4 * rows);
  device.clear(memory);
  const input = g.input("memory", [rows, READ_COLUMNS]);
  const executable = device.compile([copies ? g.copy(input) : g.sum(input, [-1])], {
    inputs: { memory },
    results: [result],
  });
  return {
    bytes: copies ? 2 * memory.bytes : memory.bytes,
    /** Moves them so many times, and waits. */
    run: async (times: number) => {
      for (let i = 0; i < times; i++) executable.run();
      await device.read(result.slice(0, 4), new Float32Array(1));
    },
    free: () => {
      executable.free();
      [memory, result].forEach(device.free);
    },
  };
}

/** Tokens/s of a long prompt. */
async function promptSpeed(model: LoadedModel): Promise<number> {
  const session = openSession(model);
  const { vocabSize } = model.spec.config;
  const prompt = Array.from({ length: PROMPT_TOKENS }, (_, i) => i % vocabSize);
  const times: number[] = [];
  try {
    for (let round = 0; round <= PROMPT_ROUNDS; round++) {
      session.reset(0);
      const start = performance.now();
      await session.advance([prompt]);
      times.push(spent(start));
    }
  } finally {
    session.free();
  }
  return PROMPT_TOKENS / median(times.slice(1));
}

/**
 * Decodes greedily with every stream, in turn with a plain read of as many bytes by the same
 * threads; medians of the rounds count.
 */
export async function benchDecodeSpeed(
  model: LoadedModel,
  { streams, seconds }: DecodeSpeedOptions,
): Promise<DecodeSpeed> {
  const { device } = model;
  const promptTokensPerSecond = await promptSpeed(model);
  const bytes = bytesPerStep(model, streams);
  const read = plainRead(device, bytes);
  const session = openSession(model, streams);
  try {
    const prompts = Array.from({ length: streams }, (_, s) => PROMPT.map((id) => id + s));
    let ids = await session.advanceGreedily(prompts);
    const step = async (times: number) => {
      for (let i = 0; i < times; i++) {
        ids = await session.advanceGreedily(Array.from(ids, (id) => [id]));
      }
    };
    const timed = async (run: (times: number) => Promise<void>, times: number) => {
      const start = performance.now();
      await run(times);
      return (performance.now() - start) / 1000 / times;
    };
    const [steps, reads]: [number[], number[]] = [[], []];
    const start = performance.now();
    for (let round = 0; round < 2 * WARM_ROUNDS || spent(start) < seconds; round++) {
      const times = Math.ceil(ROUND_SECONDS / (steps.at(-1) ?? ROUND_SECONDS));
      steps.push(await timed(step, times));
      reads.push(await timed(read.run, times));
    }
    const token = median(steps.slice(WARM_ROUNDS));
    const plain = median(reads.slice(WARM_ROUNDS));
    const [gigabytesPerSecond, readGigabytesPerSecond] = [
      bytes / token / 1e9,
      read.bytes / plain / 1e9,
    ];
    return {
      streams,
      promptTokensPerSecond,
      tokensPerSecond: streams / token,
      bytes,
      gigabytesPerSecond,
      readGigabytesPerSecond,
      share: gigabytesPerSecond / readGigabytesPerSecond,
    };
  } finally {
    session.free();
    read.free();
  }
}

const spent = (start: number) => (performance.now() - start) / 1000;
