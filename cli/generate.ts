/** `deno task generate`: continues a prompt, token by token, or many prompts side by side. */

import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { generate as continuation, type GenerateOptions } from "../infer/generation.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../infer/loading.ts";
import { inferenceBytes } from "../infer/memory_need.ts";
import type { LoadedModel } from "../infer/session.ts";
import { stateBytes } from "../infer/state.ts";
import { CHECKPOINT, checkpointFolder } from "./checkpoints.ts";
import { command, main, type Output } from "./command/command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { absent, optional, path, real, text, UsageError, whole } from "./command/flags.ts";
import { type Continuation, continuations, readPrompts } from "./prompts.ts";
import { bytesText } from "./terminal/table.ts";
import { weightsFlag } from "./weights.ts";

/** Texts that are written at a time where nothing is said. */
const DEFAULT_STREAMS = 8;

/** The command. */
export const generate = command({
  name: "generate",
  summary: "continues a prompt with a checkpoint",
  arguments: { CHECKPOINT },
  flags: {
    prompt: absent(text("P", "the text to continue"), "--prompts"),
    prompts: absent(path("FILE", "a UTF-8 file with a text to continue on every line"), "--prompt"),
    streams: absent(
      whole("texts of --prompts that are written at a time", 1, 64),
      `${DEFAULT_STREAMS}`,
    ),
    tokens: optional(whole("new tokens at most", 1), 128),
    temperature: optional(
      real(
        "T",
        "0 takes the likeliest token, 1 the model's odds",
        "a number from 0",
        (t) => t >= 0,
      ),
      0,
    ),
    "top-p": optional(
      real(
        "P",
        "draw from the likeliest tokens that make up this probability",
        "a number above 0, at most 1",
        (p) => p > 0 && p <= 1,
      ),
      1,
    ),
    seed: optional(whole("seed of the draws; text n of --prompts has seed + n − 1", 0), 0),
    weights: weightsFlag,
    ...deviceFlags,
  },
  run: async ({ arguments: { CHECKPOINT: named }, flags }, { print, say }) => {
    const folder = await checkpointFolder(named, say);
    const checkpoint = inspectCheckpoint(folder);
    const { config, spec } = checkpoint;
    const tokenizer = checkpointTokenizer(folder, config);
    const stop = [
      ...config.eosTokenIds,
      ...(tokenizer.eosId === undefined ? [] : [tokenizer.eosId]),
    ];
    const options = {
      tokens: flags.tokens,
      temperature: flags.temperature,
      topP: flags["top-p"],
      seed: flags.seed,
      stop,
    };
    const texts = textsOf(flags);
    texts.forEach((text, i) => {
      if (tokenizer.encode(text).length > 0) return;
      const which = flags.prompt === undefined ? `--prompts: text ${i + 1}` : "--prompt";
      throw new UsageError(`${which}: expected at least one token of text`);
    });
    const memory = inferenceBytes(checkpoint.spec);
    return await withDevice({ ...flags, memory }, say, async (device) => {
      const model = loadCheckpoint(device, checkpoint, flags.weights);
      if (flags.prompt === undefined) {
        const { streams = DEFAULT_STREAMS } = flags;
        const report = await writeAll(model, tokenizer, texts, options, streams, print, say);
        model.free();
        return { report: { ...report, weights: flags.weights, device: device.description } };
      }
      const prompt = tokenizer.encode(flags.prompt);
      const stream = tokenizer.stream();
      print(Array.from(prompt, (id) => stream.push(id)).join(""));
      const ids: number[] = [];
      const start = performance.now();
      const elapsed = () => (performance.now() - start) / 1000;
      // Before the first token kernels are made and the prompt is read.
      let firstSeconds = 0;
      for await (const id of continuation(model, prompt, options)) {
        if (ids.length === 0) firstSeconds = elapsed();
        ids.push(id);
        print(stream.push(id));
      }
      const seconds = elapsed();
      print(`${stream.end()}\n`);
      const tokensPerSecond = (ids.length - 1) / (seconds - firstSeconds);
      const bytes = stateBytes(spec, 1, prompt.length + ids.length);
      const speed = ids.length > 1 ? `, ${tokensPerSecond.toFixed(1)} tokens/s from then on` : "";
      say(
        `${ids.length} tokens, the first after ${firstSeconds.toFixed(2)} s${speed}, ` +
          `${bytesText(bytes)} of state`,
      );
      model.free();
      return {
        report: {
          prompt: flags.prompt,
          text: tokenizer.decode([...prompt, ...ids]),
          promptIds: [...prompt],
          ids,
          tokens: ids.length,
          seconds,
          firstSeconds,
          ...(ids.length > 1 && { tokensPerSecond }),
          stateBytes: bytes,
          weights: flags.weights,
          device: device.description,
        },
      };
    });
  },
});

/** The prompts that were given, by one of the two flags. */
function textsOf(
  { prompt, prompts, streams }: { prompt?: string; prompts?: string; streams?: number },
): string[] {
  if (prompt === undefined && prompts !== undefined) return readPrompts(prompts);
  if (prompt === undefined || prompts !== undefined) {
    const found = prompt === undefined ? "neither" : "both";
    throw new UsageError(`--prompt, --prompts: expected one of the two, found ${found}`);
  }
  if (streams !== undefined) {
    throw new UsageError("--streams: expected --prompts, of which so many are written at a time");
  }
  return [prompt];
}

/** Continues all prompts of a file and prints them in their order. */
async function writeAll(
  model: LoadedModel,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  options: GenerateOptions,
  streams: number,
  print: Output["print"],
  say: Output["say"],
) {
  const texts: Continuation[] = [];
  const start = performance.now();
  for await (const text of continuations(model, tokenizer, prompts, options, streams)) {
    texts.push(text);
    print(`[${texts.length}] ${text.text}\n`);
  }
  const seconds = (performance.now() - start) / 1000;
  const tokens = texts.reduce((sum, { ids }) => sum + ids.length, 0);
  say(`${texts.length} texts, ${tokens} tokens, ${(tokens / seconds).toFixed(1)} tokens/s`);
  return { texts, tokens, seconds, tokensPerSecond: tokens / seconds, streams };
}

if (import.meta.main) await main(generate);
