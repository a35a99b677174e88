/** Tests of programs and their memory that every device answers alike. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import * as g from "../../graph/build.ts";

/**
 * Adds them.
 * @param sizes of square matrices, one larger than those before and after it
 * @param tooLarge a size of which the device has no memory for three matrices
 */
export function testPrograms(
  name: string,
  withDevice: (run: (device: Device) => Promise<void>) => Promise<void>,
  sizes: readonly number[],
  tooLarge: number,
): void {
  Deno.test(`${name}: a program runs again on what its memory holds then`, () =>
    withDevice(async (device) => {
      const [x, y] = [device.allocate(4 * 1000), device.allocate(4 * 1000)];
      const input = g.input("x", [1000]);
      const executable = device.compile([g.add(input, g.sum(input, [0]))], {
        inputs: { x },
        results: [y],
      });
      for (const value of [1, 2, 3]) {
        device.write(x, new Float32Array(1000).fill(value));
        executable.run();
        const found = new Float32Array(1000);
        await device.read(y, found);
        assertEquals(found, new Float32Array(1000).fill(1001 * value));
      }
      executable.free();
    }));

  Deno.test(`${name}: programs of different sizes share an arena that grows`, () =>
    withDevice(async (device) => {
      const programs = sizes.map((n) => {
        const [x, y] = [device.allocate(4 * n * n), device.allocate(4 * n * n)];
        device.write(x, Float32Array.from({ length: n * n }, (_, i) => i % (n + 1) === 0 ? 2 : 0));
        const input = g.input("x", [n, n]);
        const fourth = g.matmul(g.matmul(input, input), g.matmul(input, input));
        return { n, y, executable: device.compile([fourth], { inputs: { x }, results: [y] }) };
      });
      for (const { n, y, executable } of [...programs, ...programs.reverse()]) {
        executable.run();
        const found = new Float32Array(n * n);
        await device.read(y, found);
        assertEquals(found, Float32Array.from(found, (_, i) => i % (n + 1) === 0 ? 16 : 0));
      }
      programs.forEach(({ executable }) => executable.free());
    }));

  Deno.test(`${name}: a program for which there is no memory leaves those before it as they were`, () =>
    withDevice(async (device) => {
      const [x, y] = [device.allocate(4 * 64 * 8), device.allocate(4 * 64 * 8)];
      device.clear(x);
      const input = g.input("x", [64, 8]);
      const small = device.compile([g.mul(g.exp(input), g.sum(g.exp(input), [0]))], {
        ...{ inputs: { x }, results: [y] },
      });
      const run = async () => {
        device.clear(y);
        small.run();
        const found = new Float32Array(64 * 8);
        await device.read(y, found);
        return found.findIndex((value) => Math.abs(value - 64) > 1e-4);
      };
      assert(small.arenaBytes > 0);
      assertEquals(await run(), -1);
      const { inUse } = device.memoryUse();
      // Three matrices at once, of which nothing is ever touched.
      const sides = ["a", "b", "c", "d"].map((name) => g.input(name, [tooLarge, 16]));
      const product = (i: number) => g.matmul(sides[i], sides[i + 1], { transposeB: true });
      const large = g.meanAll(g.matmul(product(0), product(2)));
      const bindings = { inputs: {}, results: [y.slice(0, 4)] };
      assertThrows(() => device.compile([large], bindings), RangeError, `${name}: out of memory: `);
      assertEquals(device.memoryUse().inUse, inUse);
      assertEquals(await run(), -1);
      small.free();
    }));
}
