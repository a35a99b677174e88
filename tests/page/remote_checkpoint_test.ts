/** Checkpoints that come over HTTP, on the CPU device: the same as from disk. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { servePage } from "../../cli/page.ts";
import { pageSite } from "../../cli/page/site.ts";
import { openCheckpoint } from "../../formats/safetensors/checkpoint.ts";
import { writeCheckpoint } from "../../formats/safetensors/write_checkpoint.ts";
import { inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import type { WeightFormat } from "../../infer/weights.ts";
import { modelParameters } from "../../models/decoder.ts";
import type { Models } from "../../page/models.ts";
import { inParts, loadRemote, openRemote } from "../../page/remote_checkpoint.ts";
import { readRange, readText } from "../../page/remote_file.ts";
import { changedCheckpoint } from "../support/checkpoint.ts";
import { counted } from "../support/counted_device.ts";
import { withCpu } from "../support/devices.ts";
import { sharedPath } from "../support/shared.ts";

const STORIES = sharedPath("models", "stories260k");

/** Serves a checkpoint. */
async function served(
  folder: string,
  body: (url: string, files: readonly string[]) => Promise<void>,
): Promise<void> {
  const server = servePage(pageSite([{ name: "x", checkpoint: inspectCheckpoint(folder) }]), 0);
  const url = `http://127.0.0.1:${server.addr.port}`;
  try {
    const models: Models = await (await fetch(`${url}/models.json`)).json();
    await body(url, models[0].files);
  } finally {
    await server.shutdown();
  }
}

/** Fails unless every weight of a checkpoint arrives as it is on disk. */
async function assertSameWeights(
  folder: string,
  partBytes: number,
  blockBytes?: number,
  format: WeightFormat = "f32",
): Promise<void> {
  await withCpu({ threads: 1 }, async (device) => {
    const local = loadCheckpoint(device, inspectCheckpoint(folder), format);
    await served(folder, async (url, files) => {
      const remote = await openRemote({ folder: `${url}/checkpoints/0`, files });
      assertEquals(remote.spec, local.spec);
      const shown: number[] = [];
      const model = await loadRemote(device, remote, {
        ...{ partBytes, blockBytes },
        progress: (bytes, total) => {
          assert(bytes <= total);
          shown.push(bytes / total);
        },
      });
      assertEquals(shown.at(-1), 1);
      for (const [name, memory] of Object.entries(model.bindings)) {
        const [found, expected] = [memory, local.bindings[name]].map(({ bytes }) =>
          new Uint8Array(bytes)
        );
        await device.read(memory, found);
        await device.read(local.bindings[name], expected);
        assertEquals(found, expected, name);
      }
    });
    local.free();
  });
}

Deno.test("remote checkpoint: one file, in one part and in many", async () => {
  await assertSameWeights(STORIES, Infinity);
  await assertSameWeights(STORIES, 100_000);
});

Deno.test("remote checkpoint: tensors of several blocks, the last one shorter", async () => {
  await assertSameWeights(STORIES, Infinity, 5000 * 8);
});

Deno.test("remote checkpoint: bf16 that stays bf16, and several files with an index", async () => {
  using copy = changedCheckpoint(STORIES);
  using store = openCheckpoint(STORIES);
  const tensors = [...store.tensors.values()].map(({ name, shape }) => ({
    name,
    dtype: "BF16" as const,
    shape,
    data: store.readF32(name),
  }));
  Deno.removeSync(`${copy.folder}/model.safetensors`);
  writeCheckpoint(copy.folder, tensors, { shardBytes: 200_000 });
  assert([...Deno.readDirSync(copy.folder)].some(({ name }) => name.endsWith(".index.json")));
  await assertSameWeights(copy.folder, Infinity, 3000 * 8, "bf16");
});

Deno.test("remote checkpoint: one that cannot be loaded leaves nothing on the device", async () => {
  await withCpu({ threads: 1 }, async (cpu) => {
    const device = counted(cpu);
    await served(STORIES, async (url, files) => {
      const remote = await openRemote({ folder: `${url}/checkpoints/0`, files });
      const [tensor] = remote.tensors.values();
      const gone = { ...tensor, file: `${url}/checkpoints/0/gone.safetensors` };
      const tensors = new Map([...remote.tensors, [gone.name, gone]]);
      await assertRejects(
        () =>
          loadRemote(device, { ...remote, tensors }, { partBytes: 100_000, progress: () => {} }),
        Error,
        "gone.safetensors: expected bytes",
      );
    });
    assertEquals(device.held(), { memory: 0, programs: 0 });
  });
});

Deno.test("remote checkpoint: parts hold what fits, in order", () => {
  const parameters = modelParameters(inspectCheckpoint(STORIES).spec);
  for (const bytes of [1, 50_000, 1e9]) {
    assertEquals(inParts(parameters, bytes).flat(), parameters);
  }
  assertEquals(inParts(parameters, 1e9).length, 1);
  assertEquals(inParts(parameters, 1).length, parameters.length);
});

Deno.test("remote file: what a server does not send is an error with its address", async () => {
  await served(STORIES, async (url) => {
    const file = `${url}/checkpoints/0/config.json`;
    const { bytes, size } = await readRange(file, 0, 1);
    assertEquals([bytes[0], size], [123, 480]);
    await assertRejects(
      () => readRange(`${url}/nowhere`, 0, 4),
      Error,
      `${url}/nowhere: expected bytes 0 to 4, found 404`,
    );
    await assertRejects(() => readRange(file, 1000, 1004), Error, "found 416");
  });
  const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const gone = `http://127.0.0.1:${free.addr.port}/x`;
  free.close();
  await assertRejects(() => readText(gone), Error, `${gone}: expected an answer, found none (`);
});
