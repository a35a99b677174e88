import { assert, assertEquals } from "@std/assert";
import { benchDecode } from "../../bench/decode.ts";
import { greedy } from "../../infer/sampler.ts";
import { openSession } from "../../infer/session.ts";
import { stateBytes } from "../../infer/state.ts";
import { counted } from "../support/counted_device.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv7, randomModel } from "../support/model.ts";

Deno.test("decode bench: a row a window, with the state that the model has there", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    for (const mixer of [radRwkv7(), ATTENTION]) {
      const own = counted(device);
      const model = randomModel(own, [mixer, mixer, mixer]);
      const prompt = [1, 2, 3];
      const told: number[] = [];
      const options = { prompt, tokens: 330, window: 100 };
      const windows = await benchDecode(model, options, (done) => told.push(done));
      assertEquals(windows.map(({ position }) => position), [103, 203, 303]);
      assertEquals(told, [100, 200, 300]);
      for (const { position, milliseconds, stateBytes: bytes, residentBytes } of windows) {
        assertEquals(bytes, stateBytes(model.spec, 1, position));
        assert(milliseconds > 0 && residentBytes > 1e7);
      }
      const states = windows.map(({ stateBytes }) => stateBytes);
      if (mixer === ATTENTION) assert(states[0] < states[1] && states[1] < states[2]);
      else assertEquals(new Set(states).size, 1);
      // It writes what decoding writes.
      const session = openSession(model);
      let id = greedy(await session.advance([prompt]));
      for (let i = 0; i < 300; i++) id = greedy(await session.advance([[id]]));
      assertEquals(session.position, 303);
      session.free();
      model.free();
      assertEquals(own.held(), { memory: 0, programs: 0 });
    }
  });
});
