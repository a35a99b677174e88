import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { createStore, layoutOf, type Store } from "../../devices/store.ts";
import { FormatError } from "../../formats/error.ts";
import { writeSafetensors } from "../../formats/safetensors/write.ts";
import { openRunFolder, type RunState, TELEMETRY_FILE } from "../../train/run_folder.ts";
import { BEGINNING } from "../../train/stage.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/checkpoint.ts";
import { withCpu } from "../support/devices.ts";
import { namesIn } from "./support.ts";

const LAYOUT = layoutOf([{ name: "x", shape: [2, 3] }, { name: "y.weight", shape: [5] }]);

function stateAt(stage: number, step = 0): RunState {
  return {
    run: "abc",
    inputs: [{ name: "model.safetensors", digest: "0" }],
    stage,
    progress: step === 0 ? BEGINNING : { step, seconds: 1.5, recent: [2, 0.1] },
    elapsed: 3.25,
    trainings: Array.from({ length: stage }, () => ({ tokens: 8, seconds: 1, trainingLoss: 0.5 })),
    measures: [{ loss: 1, perplexity: Math.E, context: 16 }],
  };
}

function filled(device: Device, value: number): Store {
  const store = createStore(device, LAYOUT);
  for (const { name, size } of LAYOUT.tensors) {
    store.write(name, new Float32Array(size).fill(value));
  }
  return store;
}

async function valueOf(store: Store): Promise<number[]> {
  return [(await store.read("x"))[5], (await store.read("y.weight"))[0]];
}

/** Runs with a path for a run's folder, and a device. */
async function withPath(run: (path: string, device: Device) => Promise<void>): Promise<void> {
  using temporary: TemporaryFolder = temporaryFolder();
  await withCpu({ threads: 1 }, (device) => run(join(temporary.folder, "a", "run"), device));
}

Deno.test("run folder: begins without a state", async () => {
  await withPath((path) => {
    using folder = openRunFolder(path);
    assertEquals(folder.state(), undefined);
    assertEquals(namesIn(path), ["lock"]);
    return Promise.resolve();
  });
});

Deno.test("run folder: the student between stages, and back", async () => {
  await withPath(async (path, device) => {
    using folder = openRunFolder(path);
    await folder.saveStage(stateAt(1), filled(device, 2));
    assertEquals(folder.state(), stateAt(1));
    const back = filled(device, 0);
    folder.loadStage(back);
    assertEquals(await valueOf(back), [2, 2]);
  });
});

Deno.test("run folder: a stage in progress counts until the stage is finished", async () => {
  await withPath(async (path, device) => {
    using folder = openRunFolder(path);
    await folder.saveStage(stateAt(0), filled(device, 1));
    const stores = {
      weights: filled(device, 3),
      first: filled(device, 4),
      second: filled(device, 5),
    };
    await folder.saveProgress(stateAt(0, 7), stores);
    assertEquals(folder.state(), stateAt(0, 7));
    const back = {
      weights: filled(device, 0),
      first: filled(device, 0),
      second: filled(device, 0),
    };
    folder.loadProgress(back);
    assertEquals(
      await Promise.all([back.weights, back.first, back.second].map(valueOf)),
      [[3, 3], [4, 4], [5, 5]],
    );
    const progress = await Deno.readFile(join(path, "progress.safetensors"));
    await folder.saveStage(stateAt(1), filled(device, 3));
    assertEquals(namesIn(path), ["lock", "stage.safetensors"]);
    // As if the process had been killed before it was removed.
    await Deno.writeFile(join(path, "progress.safetensors"), progress);
    assertEquals(folder.state(), stateAt(1));
  });
});

Deno.test("run folder: a checkpoint of another version is not taken for one of this", async () => {
  await withPath((path) => {
    using folder = openRunFolder(path);
    writeSafetensors(join(path, "stage.safetensors"), [], { format: "pt", suture: "{}" });
    assertThrows(
      () => folder.state(),
      FormatError,
      "stage.safetensors: expected a checkpoint of this version of Suture, found another one; " +
        "run it with --restart",
    );
    return Promise.resolve();
  });
});

Deno.test("run folder: one process at a time", async () => {
  await withPath((path) => {
    const folder = openRunFolder(path);
    assertThrows(
      () => openRunFolder(path),
      FormatError,
      `${path}: expected a run that no other process works on, found one that does; wait for it`,
    );
    assertEquals(namesIn(path), ["lock"], "the other one has its folder still");
    folder[Symbol.dispose]();
    openRunFolder(path)[Symbol.dispose]();
    return Promise.resolve();
  });
});

Deno.test("run folder: telemetry is lines, and forgets what will be done again", async () => {
  await withPath((path) => {
    using folder = openRunFolder(path);
    const file = join(path, TELEMETRY_FILE);
    const lines = () =>
      Deno.readTextFileSync(file).trimEnd().split("\n").map((line) => JSON.parse(line));
    folder.trimLog(stateAt(0, 1));
    assertEquals(namesIn(path), ["lock"]);
    for (const stage of [0, 1]) {
      for (const step of [1, 2, 3]) folder.log(stage, { step });
    }
    assertEquals(lines().length, 6);
    // The disk was full in the middle of a line.
    Deno.writeTextFileSync(file, '{"stageIndex":1,"st', { append: true });
    folder.trimLog(stateAt(1, 2));
    assertEquals(lines().map(({ stageIndex, step }) => [stageIndex, step]), [
      [0, 1],
      [0, 2],
      [0, 3],
      [1, 1],
      [1, 2],
    ]);
    folder.log(1, { step: 3 });
    assertEquals(lines().length, 6);
    folder.trimLog(stateAt(0));
    assertEquals(namesIn(path), ["lock"]);
    return Promise.resolve();
  });
});

Deno.test("run folder: cleared, removed, or discarded with the folders made for it", async () => {
  await withPath((path) => {
    const above = join(path, "..");
    const first = openRunFolder(path);
    Deno.mkdirSync(join(path, "tokenizer"));
    Deno.writeTextFileSync(join(path, "tokens-0.idx"), "");
    first.clear();
    assertEquals(namesIn(path), ["lock"]);
    first[Symbol.dispose]();

    using second = openRunFolder(path);
    second.discard();
    assertEquals(namesIn(path), ["lock"], "it was there before");
    second.remove();
    assertEquals(namesIn(above), []);

    openRunFolder(join(path, "b", "c")).discard();
    assertEquals(namesIn(above), []);
    Deno.removeSync(above);
    openRunFolder(path).discard();
    assertEquals(namesIn(above), undefined);

    const shared = openRunFolder(path);
    Deno.writeTextFileSync(join(above, "of-someone-else"), "");
    shared.discard();
    assertEquals(namesIn(above), ["of-someone-else"]);
    return Promise.resolve();
  });
});

Deno.test("run folder: what the system refuses names the path and leaves nothing", async () => {
  await withPath((path) => {
    const file = join(path, "..", "..", "file");
    Deno.writeTextFileSync(file, "");
    const error = assertThrows(() => openRunFolder(join(file, "run")), FormatError);
    assert(error.message.includes("file"), error.message);
    assertEquals(namesIn(join(path, "..", "..")), ["file"]);
    return Promise.resolve();
  });
});
