import { assert, assertEquals, assertRejects } from "@std/assert";
import { join, resolve } from "node:path";
import { FormatError } from "../../formats/error.ts";
import {
  fetchModel,
  findCheckpoint,
  findConfig,
  type FindOptions,
  type Location,
  parseLocation,
} from "../../hub/find.ts";
import type { HubSettings } from "../../hub/settings.ts";
import { inspectCheckpoint } from "../../infer/loading.ts";
import { namesIn } from "../train/support.ts";
import {
  COMMIT,
  hubFile,
  NAME,
  OLDER,
  repository,
  shardedFiles,
  teacherFiles,
  withHub,
} from "./support.ts";

const models = { [NAME]: repository() };

/** Fails where anything but a path is looked at. */
const PATHS_ONLY: FindOptions = {
  settings: () => {
    throw new Error("a path was taken for a name");
  },
  events: { progress: () => {}, note: () => {} },
};

/** The URL of a server that is no longer there. */
function closedEndpoint(): string {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  return `http://127.0.0.1:${listener.addr.port}`;
}

async function messageOf(location: Location, options: FindOptions): Promise<string> {
  return (await assertRejects(() => findCheckpoint(location, options), FormatError)).message;
}

Deno.test("find: a path that exists wins over a name, and what is no name is a path", async () => {
  const find = (location: string) => findCheckpoint({ location }, PATHS_ONLY);
  assertEquals(await find("assets/teacher"), { folder: "assets/teacher" });
  for (const path of ["./a/b", "/a/b", "../a", "a", "a/b/c", "a\\b", "a/b.git", "a/-b", ""]) {
    assertEquals(await find(path), { folder: path });
  }
  assertEquals(await findConfig({ location: "assets/teacher" }, PATHS_ONLY.settings), {
    folder: "assets/teacher",
  });
  const { message } = await assertRejects(
    () => findCheckpoint({ location: "assets/teacher", revision: "v1" }, PATHS_ONLY),
    FormatError,
  );
  assert(message.startsWith(`assets/teacher: expected a model's name beside the revision "v1"`));
  assert(message.includes(`${resolve("assets/teacher")}, which wins; leave the revision out`));
});

Deno.test("find: NAME@REVISION on command lines, unless there is such a path", () => {
  assertEquals(parseLocation("a/b@v1.0"), { location: "a/b", revision: "v1.0" });
  assertEquals(parseLocation("a/b@refs/pr/1"), { location: "a/b", revision: "refs/pr/1" });
  assertEquals(parseLocation("a/b"), { location: "a/b" });
  for (const path of ["./a@b", "a@b", "a/b@", "a/b@../c", "node_modules/.deno/x@1"]) {
    assertEquals(parseLocation(path), { location: path });
  }
});

Deno.test("find: only the files that are needed are downloaded, and a second time nothing", async () => {
  await withHub(models, async (place) => {
    const { folder, commit } = await findCheckpoint({ location: NAME }, place.options());
    assertEquals(commit, COMMIT);
    assertEquals(folder, join(place.folder, "hub/models--suture--tiny-qwen2/snapshots", COMMIT));
    assertEquals(namesIn(folder), [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const main = join(place.folder, "hub/models--suture--tiny-qwen2/refs/main");
    assertEquals(Deno.readTextFileSync(main), COMMIT);
    assertEquals(inspectCheckpoint(folder).config.modelType, "qwen2");
    const last = place.notes.filter((note) => note.startsWith("model.safetensors ")).at(-1)!;
    const [, done, total] = / (\d+)\/(\d+)$/.exec(last)!;
    assertEquals(done, total);

    place.hub.log.length = 0;
    assertEquals(await findCheckpoint({ location: NAME }, place.options()), { folder, commit });
    assertEquals(place.hub.log, []);
  });
});

Deno.test("find: weights in several files, with an index, over pages of the tree", async () => {
  const files = shardedFiles();
  const shards = [...files.keys()].filter((name) => /^model-\d+/.test(name));
  assert(shards.length >= 3, `${shards}`);
  await withHub({ [NAME]: repository(files) }, async (place) => {
    place.hub.pageSize = 2;
    const { folder } = await findCheckpoint({ location: NAME }, place.options());
    assertEquals(namesIn(folder)!.filter((name) => name.endsWith(".safetensors")), shards);
    inspectCheckpoint(folder);
    Deno.removeSync(join(folder, shards[1]));
    const offline = await messageOf({ location: NAME }, place.options({ offline: true }));
    assert(offline.includes(`only a part of the model, without ${shards[1]}`), offline);
    await findCheckpoint({ location: NAME }, place.options());
    inspectCheckpoint(folder);
  });
});

Deno.test("find: branches, tags and commits; fetch asks what a branch means today", async () => {
  const newer = new Map(teacherFiles());
  newer.set("generation_config.json", hubFile("generation_config.json", '{"do_sample": true}'));
  const refs = { main: OLDER, "refs/pr/1": COMMIT };
  const both = { [NAME]: { commits: { [OLDER]: teacherFiles(), [COMMIT]: newer }, refs } };
  await withHub(both, async (place) => {
    const find = (revision?: string) =>
      findCheckpoint({ location: NAME, ...(revision && { revision }) }, place.options());
    assertEquals((await find()).commit, OLDER);
    const proposed = await find("refs/pr/1");
    assertEquals(proposed.commit, COMMIT);
    assertEquals(
      Deno.readTextFileSync(join(proposed.folder, "generation_config.json")),
      '{"do_sample": true}',
    );
    refs.main = COMMIT;
    assertEquals((await find("main")).commit, OLDER, "the cache is taken as it is");
    place.hub.log.length = 0;
    const fetched = await fetchModel({ name: NAME, revision: "main" }, place.options());
    assertEquals(fetched.commit, COMMIT);
    assertEquals(place.hub.log.filter(({ path }) => path.includes("resolve")), []);
    assertEquals((await find()).commit, COMMIT);
    place.hub.log.length = 0;
    assertEquals((await find(OLDER)).commit, OLDER);
    assertEquals(place.hub.log, []);
    const unknown = await messageOf({ location: NAME, revision: "v9" }, place.options());
    assert(unknown.includes(`no revision "v9"; its branches and tags are on `), unknown);
  });
});

Deno.test("find: offline, what is in the cache, and an error for the rest", async () => {
  await withHub(models, async (place) => {
    const offline = place.options({ offline: true });
    const message = await messageOf({ location: NAME, revision: "v1" }, offline);
    assertEquals(
      message,
      `${NAME}: expected a folder, or a model on ${new URL(place.hub.endpoint).host}, ` +
        `found no folder ${resolve(NAME)}, and no such model in the cache ` +
        `${join(place.folder, "hub")}; check the path, or download the model without ` +
        `HF_HUB_OFFLINE: deno task fetch ${NAME}@v1`,
    );
    await findCheckpoint({ location: NAME }, place.options());
    place.hub.log.length = 0;
    assertEquals((await findCheckpoint({ location: NAME }, offline)).commit, COMMIT);
    await assertRejects(
      () => fetchModel({ name: NAME, revision: "main" }, offline),
      FormatError,
      "found HF_HUB_OFFLINE set",
    );
    assertEquals(place.hub.log, []);
  });
});

Deno.test("find: what the hub refuses is said in both readings, with what to do", async () => {
  const token = "hf_right";
  const repositories = {
    ...models,
    "suture/private": repository(undefined, { token }),
    "suture/gated": repository(undefined, { gated: true }),
  };
  await withHub(repositories, async (place) => {
    const ask = (location: string, changes: Partial<HubSettings> = {}) =>
      messageOf({ location }, place.options(changes));
    const { endpoint } = place.hub;
    const login = `set HF_TOKEN (${endpoint}/settings/tokens) or run "hf auth login"`;
    const closed = closedEndpoint();
    const cases = [
      [
        await ask("assets/teachr"),
        "no model of this name that is public (401); check the spelling; " +
        `for a private model ${login}`,
      ],
      [await ask("suture/private"), "no model of this name that is public (401)"],
      [
        await ask("suture/private", { token: "hf_other" }),
        "no model of this name that your token may read (404); check the spelling",
      ],
      [await ask(NAME, { token: "stale" }), `that the hub refuses the token (401); ${login}`],
      [
        await ask("suture/gated"),
        `a gated model; accept its licence on ${endpoint}/suture/gated, then ${login}`,
      ],
      [
        await ask("suture/gated", { token }),
        `accept its licence on ${endpoint}/suture/gated with the account of your token`,
      ],
      [
        await ask(NAME, { endpoint: closed }),
        `no connection to ${closed.slice(7)} (tcp connect error`,
      ],
      [await ask(NAME, { endpoint: "http://hub.invalid" }), "deno task fetch suture/tiny-qwen2"],
      [await ask(NAME, { endpoint: `${endpoint}/mirror` }), "(401)"],
    ];
    for (const [message, expected] of cases) assert(message.includes(expected), message);
    assert(cases[0][0].includes(`no folder ${resolve("assets/teachr")}, and no model`));
  });
});

Deno.test("find: what Suture cannot use is refused before its weights are downloaded", async () => {
  const without = (name: string) => {
    const files = teacherFiles();
    files.delete(name);
    return repository(files);
  };
  const other = teacherFiles();
  other.set("config.json", hubFile("config.json", '{"model_type": "mamba"}'));
  const incomplete = shardedFiles();
  incomplete.delete([...incomplete.keys()].find((name) => /^model-00002/.test(name))!);
  const repositories = {
    "suture/other": repository(other),
    "suture/pickled": without("model.safetensors"),
    "suture/slow": without("tokenizer.json"),
    "suture/torn": repository(incomplete),
  };
  await withHub(repositories, async (place) => {
    const ask = (location: string) => messageOf({ location }, place.options());
    const cases = [
      [await ask("suture/other"), "model_type: expected one of qwen2"],
      [await ask("suture/pickled"), "a repository without model.safetensors"],
      [await ask("suture/slow"), "a repository without tokenizer.json"],
      [await ask("suture/torn"), "an index that names model-00002"],
    ];
    for (const [message, expected] of cases) assert(message.includes(expected), message);
    const loaded = place.hub.log.filter(({ path }) => path.endsWith(".safetensors"));
    assertEquals(loaded, []);
  });
});

Deno.test("find: a hub whose answers make no sense", async () => {
  const answers = [
    ["<html>", "text/html"],
    ['{"sha": "../../../etc"}', "application/json"],
  ];
  for (const [body, type] of answers) {
    await using server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => new Response(body, { headers: { "content-type": type } }),
    );
    const endpoint = `http://127.0.0.1:${server.addr.port}`;
    await withHub({}, async (place) => {
      const message = await messageOf({ location: NAME }, place.options({ endpoint }));
      assert(message.includes(`an answer of ${endpoint} that no hub gives (`), message);
      assertEquals(namesIn(place.folder), []);
    });
  }
});

Deno.test("config: of a model on the hub nothing else is read, and nothing written", async () => {
  await withHub(models, async (place) => {
    const { settings } = place.options();
    const found = await findConfig({ location: NAME }, settings);
    assertEquals(found.config?.modelType, "qwen2");
    assertEquals(found.commit, COMMIT);
    assertEquals(namesIn(place.folder), []);
    const files = place.hub.log.filter(({ path }) => path.includes("/resolve/"));
    assertEquals(files.map(({ path }) => path), [`/${NAME}/resolve/${COMMIT}/config.json`]);
    place.hub.faults.push({ kind: "flip", at: 1 });
    await assertRejects(
      () => findConfig({ location: NAME }, settings),
      FormatError,
      "other bytes of config.json than the hub says",
    );
    place.hub.faults.push({ kind: "cut", after: 10 });
    await assertRejects(
      () => findConfig({ location: NAME }, settings),
      FormatError,
      "a cut of the connection at byte 10 of config.json",
    );

    const { folder } = await findCheckpoint({ location: NAME }, place.options());
    place.hub.log.length = 0;
    assertEquals(await findConfig({ location: NAME }, settings), { folder, commit: COMMIT });
    Deno.removeSync(join(folder, "model.safetensors"));
    const partial = await findConfig({ location: NAME }, settings);
    assertEquals(partial.config?.modelType, "qwen2");
    assertEquals(place.hub.log, []);
  });
});
