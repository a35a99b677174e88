/** `deno task tokenize`: text or JSON lines as a token file. */

import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { TOKEN_TYPES, tokenTypeFor } from "../formats/binidx/header.ts";
import { FormatError } from "../formats/error.ts";
import type { Tokenizer } from "../formats/tokenizer/tokenizer.ts";
import { loadTokenizer } from "../formats/tokenizer/load.ts";
import { tokenizerFiles } from "../train/tokenizer_files.ts";
import { checkpointFolder } from "./checkpoints.ts";
import { command, main } from "./command/command.ts";
import {
  absent,
  optional,
  path,
  required,
  seconds,
  text,
  threads,
  toggle,
} from "./command/flags.ts";
import { standardProgress } from "./terminal/progress.ts";
import { resumeCommand } from "./command/command_line.ts";
import { listenForStop } from "./command/signals.ts";
import { bytesText } from "./terminal/table.ts";
import { chunksOf, type InputFile, inputFiles, type Position } from "./tokenize/input.ts";
import { canResume, openJob } from "./tokenize/job.ts";
import { encodeInOrder } from "./tokenize/threads.ts";

const FLAGS = {
  tokenizer: required(path("CHECKPOINT", "a folder with tokenizer.json, or the name of a model")),
  out: required(path("PREFIX", "writes PREFIX.bin and PREFIX.idx")),
  field: absent(
    text("NAME", "reads the sources as JSON lines, the text in this field"),
    "files named .jsonl are JSON lines with a field text, all others a document each",
  ),
  "append-eod": toggle("append the tokenizer's end-of-text token to every document"),
  threads: threads("threads that encode"),
  resume: toggle("go on where an earlier run with the same sources and flags stopped"),
  "checkpoint-every": optional(seconds("time between checkpoints; 0 is after every MiB"), 10),
};

/** The id that ends documents. */
function endOf(tokenizer: Tokenizer, folder: string): number {
  if (tokenizer.eosId !== undefined) return tokenizer.eosId;
  throw new FormatError({
    file: join(folder, "tokenizer_config.json"),
    at: "eos_token",
    expected: "a token of the vocabulary, which --append-eod appends",
    found: "none",
    advice: "name one there, or leave --append-eod out",
  });
}

/** SHA-256 of a tokenizer's files, names included. */
function digestOf(folder: string): string {
  const digest = createHash("sha256");
  for (const { name, content } of tokenizerFiles(folder)) {
    digest.update(`${name} ${content.length} `).update(content);
  }
  return digest.digest("hex");
}

/** Bytes of the sources before a position. */
function bytesBefore(files: readonly InputFile[], { file, byte }: Position): number {
  return files.slice(0, file).reduce((sum, { bytes }) => sum + bytes, byte);
}

/** Whether an error says what is wrong with the sources, and not with what is written. */
function isOfSources(error: unknown, files: readonly InputFile[]): boolean {
  return error instanceof FormatError &&
    error.problems.every(({ file }) =>
      files.some(({ path }) => file === path || file.startsWith(`${path}:`))
    );
}

/** The command. */
export const tokenize = command({
  name: "tokenize",
  summary: "makes a token file (binidx) of text or JSON lines, on all cores",
  arguments: { "SOURCE...": "files, patterns of files or npm:PACKAGE/PATTERN, in this order" },
  flags: FLAGS,
  run: async ({ arguments: { "SOURCE...": sources }, flags }, { print, say }) => {
    const began = performance.now();
    const folder = await checkpointFolder(flags.tokenizer, say, "tokenizer");
    const tokenizer = loadTokenizer(folder);
    const files = inputFiles(sources, flags.field);
    const type = tokenTypeFor(tokenizer.vocabularySize);
    const end = flags["append-eod"] ? { end: endOf(tokenizer, folder) } : {};
    const threads = flags.threads ?? navigator.hardwareConcurrency;
    const prefix = resolve(flags.out);
    const resumes = flags.resume && canResume(prefix);
    if (flags.resume && !resumes) say("there is nothing to resume: the run starts afresh");
    if (!flags.resume && canResume(prefix)) {
      say("starts afresh; --resume would have gone on with the unfinished run of before");
    }
    if (end.end === undefined && tokenizer.eosId !== undefined) {
      const token = JSON.stringify(tokenizer.tokenOf(tokenizer.eosId));
      say(`nothing stands between documents; --append-eod puts ${token} after each`);
    }
    const making = { files, tokenizer: digestOf(folder), type, ...end };
    using job = openJob(prefix, making, resumes);
    if (resumes) say(`resumed after ${job.documents.toLocaleString("en-US")} documents`);

    const size = TOKEN_TYPES[type].array.BYTES_PER_ELEMENT;
    const bytes = bytesBefore(files, { file: files.length, byte: 0, line: 1 });
    const start = { bytes: bytesBefore(files, job.position), tokens: job.tokenBytes / size };
    const progress = standardProgress(say);
    const show = () => {
      const elapsed = (performance.now() - began) / 1000;
      const bytesDone = bytesBefore(files, job.position);
      const tokens = job.tokenBytes / size;
      progress.tokens({
        what: "tokenising",
        bytesDone,
        bytes,
        tokens,
        tokensPerSecond: (tokens - start.tokens) / elapsed,
        secondsLeft: bytesDone === bytes
          ? 0
          : elapsed * (bytes - bytesDone) / Math.max(1, bytesDone - start.bytes),
      });
    };
    using stop = listenForStop(() => progress.note("stopping; a second signal ends at once"));
    let last = performance.now();
    job.checkpoint();
    const order = { tokenizer: folder, type, ...end };
    try {
      for await (const done of encodeInOrder(chunksOf(files, job.position), threads, order)) {
        job.append(done.encoded, done.chunk.next);
        show();
        if (!stop.wanted && performance.now() - last < 1000 * flags["checkpoint-every"]) continue;
        job.checkpoint();
        last = performance.now();
        if (stop.wanted) break;
      }
    } catch (error) {
      // Sources that must be corrected are no longer what a run would go on with.
      if (!resumes && isOfSources(error, files)) job.discard();
      throw error;
    } finally {
      progress.end();
    }
    const tokens = job.tokenBytes / size;
    const { documents } = job;
    const elapsed = (performance.now() - began) / 1000;
    if (stop.wanted && job.position.file < files.length) {
      const go = resumeCommand("tokenize", sources, FLAGS, flags);
      say(`stopped after ${documents.toLocaleString("en-US")} documents\nGo on with: ${go}`);
      return { report: { kind: "stopped", tokens, documents }, failed: true };
    }
    if (tokens === 0) {
      job.discard();
      throw new FormatError({
        file: sources.join(", "),
        expected: "at least one token",
        found: "none",
        advice: "check the sources: their documents are empty",
      });
    }
    job.finish();
    const speed = (tokens - start.tokens) / elapsed;
    print(
      `${flags.out}: ${tokens.toLocaleString("en-US")} tokens of ` +
        `${documents.toLocaleString("en-US")} document${documents === 1 ? "" : "s"}, ${type}, ` +
        `${bytesText(tokens * size)}, ` +
        `in ${elapsed.toFixed(1)} s (${Math.round(speed).toLocaleString("en-US")} tokens/s)\n`,
    );
    return {
      report: {
        kind: "done",
        prefix: flags.out,
        tokens,
        documents,
        type,
        ...end,
        seconds: elapsed,
        tokensPerSecond: speed,
        threads,
      },
    };
  },
});

if (import.meta.main) await main(tokenize);
