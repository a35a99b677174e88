/**
 * How a text falls into pieces before BPE. The stages are those of npm:@huggingface/tokenizers,
 * except where it differs from the Python library.
 */
import {
  ByteLevelPreTokenizer,
  MetaspacePreTokenizer,
  type PreTokenizer,
  SplitPreTokenizer,
} from "@huggingface/tokenizers";
import type { JsonObject } from "../json.ts";
import { charactersOfBytes } from "./byte_level.ts";

/** Splits one text. `first` says whether the text begins the input. */
export type Stage = (text: string, first: boolean) => readonly string[];

/** The stages of a pre_tokenizer, and whether each piece is at last written byte by byte. */
export interface Stages {
  readonly split: readonly Stage[];
  readonly byteLevel: boolean;
}

/**
 * The stages of a checked `pre_tokenizer`. Each works on a piece alone, so that what BPE makes of a
 * piece does not depend on where in a text it stands.
 */
export function stagesOf(config: JsonObject | null): Stages {
  const split: Stage[] = [];
  let byteLevel = false;
  for (const step of steps(config)) {
    switch (step.type) {
      case "ByteLevel":
        if (step.add_prefix_space) {
          split.push((text) => [text.startsWith(" ") ? text : ` ${text}`]);
        }
        if (step.use_regex ?? true) {
          const { pattern } = new ByteLevelPreTokenizer({ ...step, type: "ByteLevel" });
          split.push((text) => text.match(pattern) ?? []);
        }
        byteLevel = true;
        break;
      case "Split":
        split.push(splitStage(step));
        break;
      case "Digits":
        // The library's pattern knows ASCII digits only; Python's splits off all numeric characters.
        split.push(
          step.individual_digits
            ? (text) => text.match(/\P{N}+|\p{N}/gu) ?? []
            : (text) => text.match(/\P{N}+|\p{N}+/gu) ?? [],
        );
        break;
      case "Metaspace":
        split.push(...metaspaceStages(step));
        break;
    }
  }
  return { split, byteLevel };
}

function steps(config: JsonObject | null): JsonObject[] {
  if (config === null) return [];
  if (config.type !== "Sequence") return [config];
  return (config.pretokenizers as JsonObject[]).flatMap(steps);
}

function splitStage(step: JsonObject): Stage {
  const splitter: PreTokenizer & { pattern: RegExp | null } = new SplitPreTokenizer(
    step as unknown as ConstructorParameters<typeof SplitPreTokenizer>[0],
  );
  const { pattern } = splitter;
  if (pattern === null || step.behavior === "Removed") {
    return (text) => splitter.pre_tokenize_text(text);
  }
  // The library's way of isolating matches builds an object for each; most patterns leave no gap.
  return (text) => {
    const matches = text.match(pattern) ?? [];
    const covered = matches.reduce((sum, { length }) => sum + length, 0);
    return covered === text.length ? matches : splitter.pre_tokenize_text(text);
  };
}

function metaspaceStages(step: JsonObject): Stage[] {
  const metaspace = new MetaspacePreTokenizer(
    step as unknown as ConstructorParameters<typeof MetaspacePreTokenizer>[0],
  );
  const mark: Stage = (text, first) =>
    metaspace.pre_tokenize_text(text, { section_index: first ? 0 : 1 });
  if (step.split === false) return [mark];
  // Python splits before every mark unless told not to; the library never does.
  const { replacement } = metaspace;
  return [mark, (text) => splitBefore(text, replacement)];
}

function splitBefore(text: string, mark: string): string[] {
  const pieces: string[] = [];
  let start = 0;
  for (let at = text.indexOf(mark, 1); at !== -1; at = text.indexOf(mark, at + 1)) {
    pieces.push(text.slice(start, at));
    start = at;
  }
  pieces.push(text.slice(start));
  return pieces;
}

/** A text in the byte-level alphabet. */
export function byteLevelText(text: string): string {
  return charactersOfBytes(new TextEncoder().encode(text));
}
