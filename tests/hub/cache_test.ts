import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { FormatError } from "../../formats/error.ts";
import { findCheckpoint, findConfig, type FindOptions } from "../../hub/find.ts";
import { cachedCommit, linkBlob, snapshotFolder, writeRef } from "../../hub/cache.ts";
import type { Needs } from "../../hub/snapshot.ts";
import { inspectCheckpoint } from "../../infer/loading.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { namesIn } from "../train/support.ts";
import { COMMIT, NAME, OLDER, repository, withHub } from "./support.ts";

/** The cache that make_fixtures.py made with Python's huggingface_hub. */
const PYTHON = fileURLToPath(new URL("fixtures/python_cache", import.meta.url));

const offline = (cache: string): FindOptions => ({
  settings: () => ({ cache, endpoint: "https://huggingface.co", offline: true }),
  events: { progress: () => {}, note: () => {} },
});

Deno.test("cache: what Python's huggingface_hub has downloaded is found", async () => {
  for (const revision of [undefined, "main", COMMIT]) {
    const named = { location: "suture/whole", ...(revision && { revision }) };
    const { folder, commit } = await findCheckpoint(named, offline(PYTHON));
    assertEquals(commit, COMMIT);
    assertEquals(inspectCheckpoint(folder).config.layers, 1);
  }
  const { settings } = offline(PYTHON);
  const named = { location: "suture/config-only", revision: "v1.0" };
  const found = await findConfig(named, settings);
  assertEquals([found.commit, found.config?.hiddenSize], [COMMIT, 16]);
  await assertRejects(
    () => findCheckpoint(named, offline(PYTHON)),
    FormatError,
    "only a part of the model, without tokenizer.json, model.safetensors;",
  );
});

Deno.test("cache: a tokenizer without the weights is enough for who needs no more", async () => {
  using temporary = temporaryFolder();
  const model = { cache: temporary.folder, name: "suture/whole" };
  const folder = snapshotFolder(model, COMMIT);
  Deno.mkdirSync(folder, { recursive: true });
  writeRef(model, "main", COMMIT);
  const find = (needs?: Needs) =>
    findCheckpoint({ location: model.name }, { ...offline(model.cache), needs });
  const without = "only a part of the model, without tokenizer.json;";
  await assertRejects(() => find("tokenizer"), FormatError, without);
  const source = snapshotFolder({ ...model, cache: PYTHON }, COMMIT);
  Deno.copyFileSync(join(source, "tokenizer.json"), join(folder, "tokenizer.json"));
  assertEquals(await find("tokenizer"), { folder, commit: COMMIT });
  for (const needs of [undefined, "checkpoint"] as const) {
    await assertRejects(() => find(needs), FormatError, "without config.json, model.safetensors;");
  }
});

Deno.test("cache: what we download is laid out as Python's", async () => {
  await withHub({ "suture/whole": repository() }, async (place) => {
    await findCheckpoint({ location: "suture/whole" }, place.options());
    const [ours, theirs] = [join(place.folder, "hub"), PYTHON].map((cache) => {
      const model = join(cache, "models--suture--whole");
      const snapshot = join(model, "snapshots", COMMIT);
      return {
        ref: Deno.readTextFileSync(join(model, "refs/main")),
        links: namesIn(snapshot)!.filter((name) => name !== "generation_config.json")
          .map((
            name,
          ) => [name, Deno.readLinkSync(join(snapshot, name)).replace(/\w{40,}/, "HASH")]),
        hashes: namesIn(join(model, "blobs"))!.map(({ length }) => length).sort(),
      };
    });
    assertEquals(ours.ref, theirs.ref);
    assertEquals(ours.links, theirs.links);
    assertEquals(ours.hashes, [40, ...theirs.hashes]); // generation_config.json is there too
    assertEquals(namesIn(join(place.folder, "hub/.locks/models--suture--whole"))!.length, 5);
  });
});

Deno.test("cache: files in the place of links, as on Windows", async () => {
  using temporary = temporaryFolder();
  const model = { cache: temporary.folder, name: "suture/whole" };
  const folder = snapshotFolder(model, COMMIT);
  Deno.mkdirSync(folder, { recursive: true });
  const source = snapshotFolder({ ...model, cache: PYTHON }, COMMIT);
  for (const name of namesIn(source)!) Deno.copyFileSync(join(source, name), join(folder, name));
  writeRef(model, "main", COMMIT);
  const found = await findCheckpoint({ location: model.name }, offline(model.cache));
  assertEquals(found, { folder, commit: COMMIT });
});

Deno.test("cache: refs by branch, tag and pull request; a commit is its own", () => {
  using temporary = temporaryFolder();
  const model = { cache: temporary.folder, name: NAME };
  assertEquals(cachedCommit(model, COMMIT), COMMIT);
  assertEquals(cachedCommit(model, "main"), undefined);
  for (const revision of ["main", "v1.0", "refs/pr/1"]) {
    writeRef(model, revision, OLDER);
    writeRef(model, revision, COMMIT);
    assertEquals(cachedCommit(model, revision), COMMIT);
  }
  const refs = join(temporary.folder, "models--suture--tiny-qwen2/refs");
  assertEquals(namesIn(refs), ["main", "refs", "v1.0"]);
  assertEquals(cachedCommit(model, "refs"), undefined, "a folder");
  Deno.writeTextFileSync(join(refs, "main"), "../../../etc");
  assertEquals(cachedCommit(model, "main"), undefined, "no commit");
});

Deno.test("cache: a link whose blob is gone is made anew", () => {
  using temporary = temporaryFolder();
  const model = { cache: temporary.folder, name: NAME };
  const folder = join(temporary.folder, "models--suture--tiny-qwen2");
  linkBlob(model, COMMIT, "config.json", "a".repeat(40));
  Deno.mkdirSync(join(folder, "blobs"));
  Deno.writeTextFileSync(join(folder, "blobs", "b".repeat(40)), "{}");
  const read = () => Deno.readTextFileSync(join(snapshotFolder(model, COMMIT), "config.json"));
  assertThrows(read, Deno.errors.NotFound);
  linkBlob(model, COMMIT, "config.json", "b".repeat(40));
  assertEquals(read(), "{}");
  linkBlob(model, COMMIT, "config.json", "a".repeat(40));
  assertEquals(read(), "{}", "what is there stays");
});

Deno.test("cache: a file in its place is one clear error", async () => {
  await withHub({ [NAME]: repository() }, async (place) => {
    const cache = join(place.folder, "file");
    Deno.writeTextFileSync(cache, "");
    await assertRejects(
      () => findCheckpoint({ location: NAME }, place.options({ cache })),
      FormatError,
      "found a file where a folder should be; check the path",
    );
  });
});
