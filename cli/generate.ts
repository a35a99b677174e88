/** `deno task generate`: continues a prompt, token by token. */

import { generate as continuation } from "../infer/generate.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../infer/load.ts";
import { inferenceBytes } from "../infer/memory_need.ts";
import { stateBytes } from "../infer/session.ts";
import { CHECKPOINT, checkpointFolder } from "./checkpoints.ts";
import { command, main } from "./command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { optional, real, required, text, UsageError, whole } from "./flags.ts";

/** The command. */
export const generate = command({
  name: "generate",
  summary: "continues a prompt with a checkpoint",
  arguments: { CHECKPOINT },
  flags: {
    prompt: required(text("P", "the text to continue")),
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
    seed: optional(whole("seed of the draws", 0), 0),
    ...deviceFlags,
  },
  run: async ({ arguments: { CHECKPOINT: named }, flags }, { print, say }) => {
    const folder = await checkpointFolder(named, say);
    const checkpoint = inspectCheckpoint(folder);
    const { config, spec } = checkpoint;
    const tokenizer = checkpointTokenizer(folder, config);
    const prompt = tokenizer.encode(flags.prompt);
    if (prompt.length === 0) throw new UsageError("--prompt: expected at least one token of text");
    const stop = [
      ...config.eosTokenIds,
      ...(tokenizer.eosId === undefined ? [] : [tokenizer.eosId]),
    ];
    const memory = inferenceBytes(checkpoint.spec);
    return await withDevice({ ...flags, memory }, say, async (device) => {
      const model = loadCheckpoint(device, checkpoint);
      const stream = tokenizer.stream();
      print(Array.from(prompt, (id) => stream.push(id)).join(""));
      const ids: number[] = [];
      const start = performance.now();
      const options = {
        tokens: flags.tokens,
        temperature: flags.temperature,
        topP: flags["top-p"],
        seed: flags.seed,
        stop,
      };
      for await (const id of continuation(model, prompt, options)) {
        ids.push(id);
        print(stream.push(id));
      }
      const seconds = (performance.now() - start) / 1000;
      print(`${stream.end()}\n`);
      const tokensPerSecond = ids.length / seconds;
      const bytes = stateBytes(spec, 1, prompt.length + ids.length);
      say(
        `${ids.length} tokens, ${tokensPerSecond.toFixed(1)} tokens/s, ` +
          `${bytes.toLocaleString("en")} bytes of state`,
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
          tokensPerSecond,
          stateBytes: bytes,
          device: device.description,
        },
      };
    });
  },
});

if (import.meta.main) await main(generate);
