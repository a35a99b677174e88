import { assert, assertEquals, assertMatch } from "@std/assert";
import { stepProfile } from "../../bench/profile.ts";
import { profileText } from "../../cli/profile_text.ts";
import { EVERY_DOUBLING, profiled, type WorkProfile } from "../../devices/profiled.ts";
import * as g from "../../graph/build.ts";
import { withCpu } from "../support/devices.ts";

const row = (label: string, seconds: number, flops = 0, bytes = 0) => ({
  label,
  launches: 1,
  seconds,
  flops,
  bytes,
});

const WORK: WorkProfile = {
  name: "distill",
  parts: [
    {
      part: "forward and backward",
      runs: 2,
      rows: [
        row("matmul [4, 4]", 0.5, 1e9),
        row("matmul+ [8, 8]", 0.25, 1e9),
        row("wkv7 [1]", 1, 2e9),
      ],
    },
    { part: "forward and backward, added", runs: 6, rows: [row("matmul [4, 4]", 0.5, 1e9)] },
    { part: "optimizer", runs: 2, rows: [row("loop [64]", 0.25, 0, 1e9)] },
  ],
};

Deno.test("profile: by kind, the longest first; a part that runs three times counts three times", () => {
  const { name, total, kinds } = stepProfile(WORK);
  assertEquals([name, total.launches, total.seconds], ["distill", 7, 3.5]);
  assertEquals(kinds.map(({ kind, total }) => [kind, total.seconds, total.flops]), [
    ["products", 2.25, 5e9],
    ["wkv", 1, 2e9],
    ["optimizer", 0.25, 0],
  ]);
  assertEquals(
    kinds[0].rows.map(({ label, seconds }) => [label, seconds]),
    [["matmul [4, 4]", 2], ["matmul+ [8, 8]", 0.25]],
  );
});

Deno.test("profile: rates beside their share of the machine's peaks", () => {
  const peaks = {
    fmaGflops: 8,
    productGflops: 20,
    machineGflops: 20,
    readGBs: 8,
    copyGBs: 8,
    machineGBs: 8,
  };
  const text = profileText(stepProfile(WORK), peaks);
  assertMatch(text, /^distill +launches +ms +share +GFLOPS +of peak +GB\/s +of peak$/m);
  assertMatch(text, /^products +5 +2250\.00 +64\.3 % +2\.2 +11 %$/m);
  assertMatch(text, /^ {2}matmul \[4, 4\] +4 +2000\.00 +57\.1 % +2\.0 +10 %$/m);
  assertMatch(text, /^optimizer +1 +250\.00 +7\.1 % +4\.0 +50 %$/m);
  assertMatch(text, /^all +7 +3500\.00 +100\.0 %/m);
});

Deno.test("profiled device: the runs that are wanted are timed, and compute the same", async () => {
  await withCpu({ threads: 2 }, async (device) => {
    const done: WorkProfile[] = [];
    const own = profiled(device, EVERY_DOUBLING, (profile) => done.push(profile));
    const [x, out] = [device.allocate(4 * 64), device.allocate(4 * 64)];
    device.write(x, Float32Array.from({ length: 64 }, (_, i) => i));
    const compile = (name?: string) =>
      own.compile([g.mul(g.input("x", [64]), 2)], {
        inputs: { x },
        results: [out],
        ...(name === undefined ? {} : { name }),
      });
    const [pass, optimizer] = [compile("align: pass"), compile("align: optimizer")];
    for (let run = 0; run < 5; run++) {
      device.clear(out);
      pass.run();
      const found = new Float32Array(64);
      await device.read(out, found);
      assertEquals([found[0], found[1], found[63]], [0, 2, 126]);
    }
    optimizer.run();
    pass.free();
    assertEquals(done, []);
    optimizer.free();
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals(done.map(({ name }) => name), ["align"]);
    assertEquals(done[0].parts.map(({ part, runs }) => [part, runs]), [
      ["pass", 5],
      ["optimizer", 1],
    ]);
    assertEquals(done[0].parts[0].rows.map(({ label }) => label), ["loop [64]"]);
    assert(done[0].parts[0].rows[0].seconds > 0);
    // One that never ran has nothing to tell.
    compile().free();
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals(done.length, 1);
    assertEquals([1, 2, 3, 4, 5, 8].map(EVERY_DOUBLING), [true, true, false, true, false, true]);
  });
});
