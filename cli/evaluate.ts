/** `deno task evaluate`: how well a checkpoint predicts a text. */

import { FormatError } from "../formats/error.ts";
import { readText } from "../formats/json_file.ts";
import { TEXT_LIMIT } from "../formats/text/text.ts";
import { evaluate as evaluateTokens } from "../infer/evaluation.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../infer/loading.ts";
import { inferenceBytes } from "../infer/memory_need.ts";
import { CHECKPOINT, checkpointFolder } from "./checkpoints.ts";
import { command, main } from "./command/command.ts";
import { deviceFlags, withDevice } from "./device.ts";
import { absent, path, required, UsageError, whole } from "./command/flags.ts";
import { weightsFlag } from "./weights.ts";

/** Context where none is asked for, or the model's own if that is shorter. */
const DEFAULT_CONTEXT = 256;
/** Longer ones are taken for a slip of the finger. */
const CONTEXT_LIMIT = 1 << 20;

/** The command. */
export const evaluate = command({
  name: "evaluate",
  summary: "measures how well a checkpoint predicts a text: loss, perplexity, bits per byte",
  arguments: { CHECKPOINT },
  flags: {
    text: required(path("FILE", "a UTF-8 text file")),
    context: absent(
      whole("tokens of a window; each window starts afresh", 1, CONTEXT_LIMIT),
      `${DEFAULT_CONTEXT}, or the model's max_position_embeddings if that is less`,
    ),
    weights: weightsFlag,
    ...deviceFlags,
  },
  run: async ({ arguments: { CHECKPOINT: named }, flags }, { print, say }) => {
    const folder = await checkpointFolder(named, say);
    const checkpoint = inspectCheckpoint(folder);
    const tokenizer = checkpointTokenizer(folder, checkpoint.config);
    const text = readText(flags.text, TEXT_LIMIT);
    const ids = tokenizer.encode(text);
    const predicted = ids.length - 1;
    if (predicted < 1) {
      throw new FormatError({
        file: flags.text,
        expected: "a text of at least 2 tokens",
        found: `${ids.length}`,
        advice: "there is nothing to predict: give a longer text",
      });
    }
    if (flags.context !== undefined && flags.context > predicted) {
      throw new UsageError(
        `--context: expected at most ${predicted}, the tokens of ${flags.text} that can be ` +
          `predicted, found ${flags.context}`,
      );
    }
    const usual = Math.min(DEFAULT_CONTEXT, checkpoint.config.maxPositionEmbeddings, predicted);
    const context = flags.context ?? usual;
    // The first token is only read: its bytes are not predicted.
    const given = new TextEncoder().encode(tokenizer.decode([ids[0]])).length;
    const bytes = new TextEncoder().encode(text).length - given;
    const memory = inferenceBytes(checkpoint.spec);
    return await withDevice({ ...flags, memory }, say, async (device) => {
      const model = loadCheckpoint(device, checkpoint, flags.weights);
      const read = (start: number, count: number) => ids.subarray(start, start + count);
      const start = performance.now();
      const result = await evaluateTokens(model, { length: ids.length, read }, context);
      const seconds = (performance.now() - start) / 1000;
      model.free();
      const { tokens, loss, perplexity } = result;
      const bitsPerByte = loss * tokens / Math.LN2 / bytes;
      const row = (name: string, value: string) => print(`${name.padEnd(15)}${value}\n`);
      row("tokens", `${tokens}`);
      row("context", `${context}`);
      row("loss", loss.toFixed(4));
      row("perplexity", perplexity.toFixed(3));
      row("bits per byte", bitsPerByte.toFixed(4));
      row("tokens/s", (tokens / seconds).toFixed(0));
      return {
        report: {
          tokens,
          bytes,
          context,
          loss,
          perplexity,
          bitsPerByte,
          seconds,
          tokensPerSecond: tokens / seconds,
          weights: flags.weights,
          device: device.description,
        },
      };
    });
  },
});

if (import.meta.main) await main(evaluate);
