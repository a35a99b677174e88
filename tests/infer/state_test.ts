/** What the tokens of a text leave behind. */

import { assertEquals } from "@std/assert";
import { openSession } from "../../infer/session.ts";
import { stateBytes } from "../../infer/state.ts";
import type { MixerSpec } from "../../models/config.ts";
import { withCpu } from "../support/devices.ts";
import { ATTENTION, radRwkv6, radRwkv7, randomModel } from "../support/model.ts";

Deno.test("states: a mixer's state does not grow, a cache does", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const [recurrent, cached] = [[radRwkv7(), radRwkv7()], [ATTENTION, radRwkv7()]];
    const model = randomModel(device, recurrent);
    const session = openSession(model);
    assertEquals(session.stateBytes, 2 * 4 * 4 * 8 * 8);
    await session.advance([new Int32Array(20)]);
    assertEquals(session.stateBytes, 2 * 4 * 4 * 8 * 8);
    session.free();
    const { config } = model.spec;
    const bytes = (tokens: number) => stateBytes({ config, mixers: cached }, 3, tokens);
    // Keys and values of 2 heads of 8 in f32, and 4 matrices of 8 × 8, of 3 texts.
    assertEquals(bytes(100), 3 * (2 * 100 * 2 * 8 * 4 + 4 * 8 * 8 * 4));
    const windowed: MixerSpec[] = [{ kind: "attention", window: 30 }];
    const [early, late] = [20, 1e6].map((tokens) =>
      stateBytes({ config, mixers: windowed }, 1, tokens)
    );
    assertEquals([early, late], [20, 30].map((rows) => 2 * rows * 2 * 8 * 4));
    // Of RAD-RWKV6 also the input of the token before, where there is a token shift.
    const shifted = (tokenShift: boolean) =>
      stateBytes({ config, mixers: [radRwkv6({ tokenShift })] }, 1, 100);
    assertEquals([shifted(false), shifted(true)], [4 * 4 * 8 * 8, 4 * 4 * 8 * 8 + 4 * 24]);
    model.free();
  });
});
