import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { FormatError } from "../../formats/error.ts";
import { fetchModel, findCheckpoint } from "../../hub/find.ts";
import { type Fault, hashOf } from "./hub_server.ts";
import { NAME, type Place, repository, teacherFiles, withHub } from "./support.ts";

const WEIGHTS = "model.safetensors";

const weights = () => teacherFiles().get(WEIGHTS)!;

/** Where the cache keeps the weights. */
const blobOf = ({ folder }: Place) =>
  join(folder, "hub/models--suture--tiny-qwen2/blobs", hashOf(weights()));

/** What the storage was asked for, by the ranges, for the weights alone. */
const rangesOf = ({ hub: { log } }: Place) =>
  log.filter(({ host, path }) => host === "storage" && path.endsWith(hashOf(weights())))
    .map(({ range }) => range);

/** Everything but the weights is there, and these faults come next. */
async function beforeWeights(place: Place, faults: readonly Fault[]): Promise<void> {
  await fetchModel({ name: NAME, revision: "main" }, place.options());
  Deno.removeSync(blobOf(place));
  place.hub.log.length = 0;
  place.hub.faults.push(...faults);
}

/** Downloads what is missing, and checks that the weights are the right ones. */
async function downloaded(place: Place): Promise<void> {
  const { folder } = await findCheckpoint({ location: NAME }, place.options());
  assertEquals(Deno.readFileSync(join(folder, WEIGHTS)), weights().content);
  assertEquals(Deno.readFileSync(blobOf(place)), weights().content);
  const rest = [...Deno.readDirSync(join(blobOf(place), ".."))].map(({ name }) => name);
  assert(rest.every((name) => !name.endsWith(".incomplete")), `${rest}`);
}

const refused = (place: Place) =>
  assertRejects(() => findCheckpoint({ location: NAME }, place.options()), FormatError);

const models = { [NAME]: repository() };

Deno.test("download: goes on where the connection was cut, as often as it is", async () => {
  await withHub(models, async (place) => {
    const cuts = [1000, 2000, 1, 5000, 10_000, 30].map((after) =>
      ({ kind: "cut", after }) as const
    );
    await beforeWeights(place, cuts);
    await downloaded(place);
    const starts = [null, 1000, 3000, 3001, 8001, 18001, 18031];
    assertEquals(rangesOf(place), starts.map((n) => n === null ? null : `bytes=${n}-`));
  });
});

Deno.test("download: a later process goes on with what an earlier one has left", async () => {
  await withHub(models, async (place) => {
    await beforeWeights(place, []);
    Deno.writeFileSync(`${blobOf(place)}.incomplete`, weights().content.subarray(0, 12_345));
    await downloaded(place);
    assertEquals(rangesOf(place), ["bytes=12345-"]);
    assert(place.notes.some((note) => note.startsWith(`${WEIGHTS} `)), "progress is told");
  });
});

Deno.test("download: what is left may be whole, too long, or of another file", async () => {
  await withHub(models, async (place) => {
    const left = async (content: Uint8Array) => {
      await beforeWeights(place, []);
      Deno.writeFileSync(`${blobOf(place)}.incomplete`, content);
      await downloaded(place);
      return rangesOf(place);
    };
    const { content } = weights();
    assertEquals(await left(content), []);
    assertEquals(await left(new Uint8Array(content.length + 1)), [null]);
    assertEquals(await left(content.map((byte) => byte ^ 255).subarray(0, 500)), [
      "bytes=500-",
      null,
    ]);
  });
});

Deno.test("download: a server that knows no ranges begins anew", async () => {
  await withHub(models, async (place) => {
    await beforeWeights(place, [
      { kind: "cut", after: 700 },
      { kind: "cut", after: 900, ignoresRange: true },
      { kind: "ignoresRange" },
    ]);
    await downloaded(place);
    assertEquals(rangesOf(place), [null, "bytes=700-", "bytes=900-"]);
  });
});

Deno.test("download: a server that always cuts at the same byte is given up", async () => {
  await withHub(models, async (place) => {
    const cut = { kind: "cut", after: 700, ignoresRange: true } as const;
    await beforeWeights(place, [cut, cut, cut, cut]);
    const { message } = await refused(place);
    assert(message.includes("a cut of the connection at byte 700 of model.safetensors"), message);
    assert(message.includes("run it again: it goes on from there"), message);
    assertEquals(rangesOf(place), [null, "bytes=700-", "bytes=700-"]);
    assertEquals(Deno.statSync(`${blobOf(place)}.incomplete`).size, 700);
    place.hub.faults.length = 0;
    await downloaded(place);
  });
});

Deno.test("download: wrong bytes are loaded once more, and never kept", async () => {
  await withHub(models, async (place) => {
    const flip = { kind: "flip", at: 4711 } as const;
    await beforeWeights(place, [flip]);
    await downloaded(place);
    assertEquals(rangesOf(place), [null, null]);

    await beforeWeights(place, [flip, flip]);
    const { message } = await refused(place);
    assert(message.includes("model.safetensors with SHA-256 "), message);
    assert(message.includes(` in place of ${hashOf(weights())}, twice`), message);
    assertEquals(Deno.statSync(`${blobOf(place)}.incomplete`).size, 0);
    await downloaded(place);
  });
});

Deno.test("download: small files are checked by git's SHA-1", async () => {
  await withHub(models, async (place) => {
    const flip = { kind: "flip", at: 3 } as const;
    place.hub.faults.push(flip, flip);
    const { message } = await refused(place);
    assert(message.includes("config.json with git SHA-1 "), message);
    await downloaded(place);
  });
});

Deno.test("download: files of other sizes than the hub says", async () => {
  await withHub(models, async (place) => {
    const size = weights().content.length;
    const length = (bytes: number) => ({ kind: "length", bytes }) as const;
    await beforeWeights(place, [length(size + 1)]);
    const longer = await refused(place);
    assert(longer.message.includes(`more bytes of ${WEIGHTS} than the ${size} that`), `${longer}`);

    await beforeWeights(place, [length(size - 1), length(size - 1), length(size - 1)]);
    const shorter = await refused(place);
    assert(shorter.message.includes(`after ${size - 1} bytes of ${size}`), shorter.message);
    await downloaded(place);
  });
});

Deno.test("download: passing failures of the storage are waited out, others are not", async () => {
  await withHub(models, async (place) => {
    const status = (status: number) => ({ kind: "status", status }) as const;
    await beforeWeights(place, [status(503), status(429)]);
    await downloaded(place);
    await beforeWeights(place, [status(503), status(500), status(502)]);
    assert((await refused(place)).message.includes("a hub out of order (502)"));
    await beforeWeights(place, [status(403)]);
    assert((await refused(place)).message.includes("(403)"));
    assertEquals(rangesOf(place).length, 1);
  });
});

Deno.test("download: a connection without a byte counts as cut", async () => {
  await withHub(models, async (place) => {
    await beforeWeights(place, [{ kind: "stall", after: 64 }]);
    await findCheckpoint({ location: NAME }, place.options({}, { stall: 100 }));
    await downloaded(place);
    assertEquals(rangesOf(place), [null, "bytes=64-"]);
  });
});

Deno.test("download: the token goes to the hub and not to its storage", async () => {
  const token = "hf_secret";
  await withHub({ [NAME]: repository(undefined, { token }) }, async (place) => {
    await findCheckpoint({ location: NAME }, place.options({ token }));
    const sent = (host: string) =>
      new Set(place.hub.log.filter((l) => l.host === host).map((l) => l.authorization));
    assertEquals(sent("hub"), new Set([`Bearer ${token}`]));
    assertEquals(sent("storage"), new Set([null]));
  });
});

Deno.test("download: several at once load every file once", async () => {
  await withHub(models, async (place) => {
    const found = await Promise.all(
      Array.from({ length: 4 }, () => findCheckpoint({ location: NAME }, place.options())),
    );
    assertEquals(new Set(found.map(({ folder }) => folder)).size, 1);
    assertEquals(rangesOf(place), [null]);
    await downloaded(place);
  });
});
