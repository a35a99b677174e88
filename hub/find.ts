/** From what a user writes, a path or a model's name, to a folder with a checkpoint. */

import { resolve } from "node:path";
import { isModelName, isRevision } from "../dsl/model_name.ts";
import type { Checkpoint } from "../dsl/teachers.ts";
import { FormatError } from "../formats/error.ts";
import { exists } from "../formats/files.ts";
import type { ModelConfig } from "../formats/hf_config/config.ts";
import { readConfig } from "../formats/hf_config/read.ts";
import { cachedCommit, snapshotFolder } from "./cache.ts";
import { PATIENCE, type Patience } from "./download.ts";
import { HubError } from "./error.ts";
import { type HubSettings, hubSettings } from "./settings.ts";
import {
  CONFIG_FILE,
  downloadConfig,
  type DownloadEvents,
  downloadSnapshot,
  missingFiles,
  type ModelId,
  type Needs,
  type Snapshot,
} from "./snapshot.ts";

/** A path, or a name and a revision: what a recipe's `teacher(…)` says. */
export type Location = Pick<Checkpoint, "location" | "revision">;

/** A checkpoint on this machine; one that has a name has a commit too. */
export interface FoundCheckpoint {
  readonly folder: string;
  readonly commit?: string;
}

/** How checkpoints are found. */
export interface FindOptions {
  /** Asked for only where there is no folder. Default: what the environment says. */
  readonly settings?: () => HubSettings;
  readonly events: DownloadEvents;
  readonly patience?: Patience;
  /** Default: the whole checkpoint. What is downloaded is always whole. */
  readonly needs?: Needs;
}

/** `NAME@REVISION`, as command lines write it; a path with an @ that exists is a path. */
export function parseLocation(text: string): Location {
  const [, location, revision] = /^([^@]+)@(.+)$/.exec(text) ?? [];
  const named = location !== undefined && isModelName(location) && isRevision(revision);
  return named && !exists(text) ? { location, revision } : { location: text };
}

/** The name of a model as command lines write it. */
export function locationText({ location, revision }: Location): string {
  return revision === undefined ? location : `${location}@${revision}`;
}

/**
 * The model that a location names; undefined where it is a path: one that exists, or one that
 * cannot be a name.
 * @throws FormatError for a folder with a revision.
 */
function modelOf({ location, revision }: Location): ModelId | undefined {
  if (!isModelName(location)) return undefined;
  if (!exists(location)) return { name: location, revision: revision ?? "main" };
  if (revision === undefined) return undefined;
  throw new FormatError({
    file: location,
    expected: `a model's name beside the revision "${revision}"`,
    found: `a folder of this name, ${resolve(location)}, which wins`,
    advice: "leave the revision out, or run it in another folder",
  });
}

/** What the cache has of a model, whole or not. */
function cached({ cache }: HubSettings, { name, revision }: ModelId): Snapshot | undefined {
  const commit = cachedCommit({ cache, name }, revision);
  if (commit === undefined) return undefined;
  const folder = snapshotFolder({ cache, name }, commit);
  return exists(folder) ? { folder, commit } : undefined;
}

/** An error in both readings of a location: it may have been meant as a path. */
function absent({ location }: Location, { endpoint }: HubSettings, error: HubError): FormatError {
  return new FormatError({
    file: location,
    expected: `a folder, or a model on ${new URL(endpoint).host}`,
    found: `no folder ${resolve(location)}, and ${error.found}`,
    advice: error.advice,
  }, { cause: error });
}

const granted = (permission: Deno.PermissionDescriptor) =>
  Deno.permissions.querySync(permission).state === "granted";

/** Why a model that is not in the cache cannot be downloaded by this process, if it cannot. */
function hindrance(
  location: Location,
  { endpoint, cache, offline }: HubSettings,
  writes: boolean,
  lacks: readonly string[],
): HubError | undefined {
  const found = lacks.length === 0
    ? `no such model in the cache ${cache}`
    : `in the cache ${cache} only a part of the model, without ${lacks.slice(0, 3).join(", ")}`;
  const command = `deno task fetch ${locationText(location)}`;
  if (offline) {
    const advice = `check the path, or download the model without HF_HUB_OFFLINE: ${command}`;
    return new HubError(found, advice, false);
  }
  const may = granted({ name: "net", host: new URL(endpoint).host }) &&
    (!writes || granted({ name: "write", path: cache }));
  const advice = `check the path, or download the model: ${command}`;
  return may ? undefined : new HubError(found, advice, false);
}

/**
 * Finds a checkpoint: a folder; else a model in the Hugging Face cache, which is taken as it is;
 * else one on the hub, which is downloaded where the process may.
 * @throws FormatError that says why there is none, as a path and as a name, and what to do.
 */
export async function findCheckpoint(
  location: Location,
  { settings: ask = hubSettings, events, patience = PATIENCE, needs = "checkpoint" }: FindOptions,
): Promise<FoundCheckpoint> {
  const id = modelOf(location);
  if (id === undefined) return { folder: location.location };
  const settings = ask();
  const known = cached(settings, id);
  const lacks = known === undefined ? [] : missingFiles(known.folder, needs);
  if (known !== undefined && lacks.length === 0) return known;
  const hindered = hindrance(location, settings, true, lacks);
  if (hindered !== undefined) throw absent(location, settings, hindered);
  try {
    return await downloadSnapshot(settings, id, patience, events);
  } catch (error) {
    throw error instanceof HubError ? absent(location, settings, error) : error;
  }
}

/** A checkpoint on this machine, or the config of one that is on the hub. */
export type FoundConfig =
  | FoundCheckpoint & { readonly config?: undefined }
  | { readonly config: ModelConfig; readonly commit: string };

/**
 * Finds a checkpoint, or the config of one that is not on this machine: of a model on the hub
 * nothing but its config.json is read, and nothing is written.
 * @throws FormatError as `findCheckpoint`
 */
export async function findConfig(
  location: Location,
  ask: () => HubSettings = hubSettings,
): Promise<FoundConfig> {
  const id = modelOf(location);
  if (id === undefined) return { folder: location.location };
  const settings = ask();
  const known = cached(settings, id);
  if (known !== undefined) {
    const lacks = missingFiles(known.folder, "checkpoint");
    if (lacks.length === 0) return known;
    if (!lacks.includes(CONFIG_FILE)) {
      return { config: readConfig(known.folder), commit: known.commit };
    }
  }
  const hindered = hindrance(location, settings, false, []);
  if (hindered !== undefined) throw absent(location, settings, hindered);
  try {
    return await downloadConfig(settings, id);
  } catch (error) {
    throw error instanceof HubError ? absent(location, settings, error) : error;
  }
}

/**
 * Downloads a model, or what is new of it: other than `findCheckpoint` this asks the hub what a
 * branch or tag means today.
 * @throws FormatError
 */
export async function fetchModel(
  id: ModelId,
  { settings: ask = hubSettings, events, patience = PATIENCE }: FindOptions,
): Promise<Snapshot & { readonly bytes: number }> {
  const settings = ask();
  try {
    if (settings.offline) {
      throw new HubError("HF_HUB_OFFLINE set", "unset it to download", false);
    }
    return await downloadSnapshot(settings, id, patience, events);
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    const expected = `a model on ${new URL(settings.endpoint).host}`;
    const { found, advice } = error;
    throw new FormatError({ file: id.name, expected, found, advice }, { cause: error });
  }
}
