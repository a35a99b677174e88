/** What the tests of hub/ share: small models on a hub, and a cache of their own. */

import { join } from "node:path";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { writeCheckpoint } from "../../formats/safetensors/write_checkpoint.ts";
import type { Patience } from "../../hub/download.ts";
import type { FindOptions } from "../../hub/find.ts";
import type { HubSettings } from "../../hub/settings.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { writeTeacher } from "../train/support.ts";
import { type HubFile, type HubRepository, type HubServer, serveHub } from "./hub_server.ts";

/** A model of the hub, and one of its revisions. */
export const NAME = "suture/tiny-qwen2";
export const [COMMIT, OLDER] = ["c0ffee".repeat(6) + "c0ff", "0".repeat(39) + "1"];

const encoder = new TextEncoder();

/** A file as the hub keeps it: large kinds in LFS. */
export function hubFile(name: string, content: string | Uint8Array): HubFile {
  const bytes = typeof content === "string" ? encoder.encode(content) : content;
  return { content: bytes, lfs: /\.safetensors$|^tokenizer\.json$/.test(name) };
}

/** The files of a folder, as the hub keeps them. */
export function hubFiles(folder: string): Map<string, HubFile> {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  return new Map(names.map((name) => [name, hubFile(name, Deno.readFileSync(join(folder, name)))]));
}

let made: ReadonlyMap<string, HubFile> | undefined;

/** A small teacher with a tokenizer, in one file of weights, and files that nobody needs. */
export function teacherFiles(): Map<string, HubFile> {
  if (made === undefined) {
    using temporary = temporaryFolder();
    made = hubFiles(writeTeacher(temporary.folder));
  }
  return new Map([
    ...made,
    ["README.md", hubFile("README.md", "A model.\n")],
    ["generation_config.json", hubFile("generation_config.json", "{}")],
    ["consolidated.safetensors", hubFile("consolidated.safetensors", "the same once more")],
  ]);
}

/** The same in several files of weights with an index. */
export function shardedFiles(shardBytes = 8_000): Map<string, HubFile> {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  writeTeacher(folder);
  const tensors = (() => {
    using store = openCheckpoint(folder);
    return [...store.tensors.values()].map(({ name, dtype, shape }) => {
      return { name, dtype, shape, data: store.read(name) };
    });
  })();
  Deno.removeSync(join(folder, "model.safetensors"));
  writeCheckpoint(folder, tensors, { shardBytes });
  return new Map([...teacherFiles(), ...hubFiles(folder)].filter(([name]) => {
    return name !== "model.safetensors";
  }));
}

/** A repository whose main branch is these files. */
export function repository(
  files: ReadonlyMap<string, HubFile> = teacherFiles(),
  more: Partial<HubRepository> = {},
): HubRepository {
  return { commits: { [COMMIT]: files }, refs: { main: COMMIT }, ...more };
}

/** As patient as a test: attempts follow at once. */
const IMPATIENT: Patience = { attempts: 3, pause: 0, stall: 30_000 };

/** A hub, an empty cache, and what happens. */
export interface Place {
  readonly hub: HubServer;
  /** The folder that holds the cache and nothing else. */
  readonly folder: string;
  readonly notes: string[];
  /** Options that find checkpoints there. */
  options(changes?: Partial<HubSettings>, patience?: Partial<Patience>): FindOptions;
}

/** Runs a test with a hub that has these models. */
export async function withHub(
  models: Readonly<Record<string, HubRepository>>,
  test: (place: Place) => Promise<void>,
): Promise<void> {
  using temporary = temporaryFolder();
  await using hub = serveHub(models);
  const notes: string[] = [];
  const { folder } = temporary;
  await test({
    hub,
    folder,
    notes,
    options: (changes = {}, patience = {}) => ({
      settings: () => ({
        cache: join(folder, "hub"),
        endpoint: hub.endpoint,
        offline: false,
        ...changes,
      }),
      patience: { ...IMPATIENT, ...patience },
      events: {
        progress: (file, bytes, total) => notes.push(`${file} ${bytes}/${total}`),
        note: (line) => notes.push(line),
      },
    }),
  });
}
