/** Tests of programs and their memory that every device answers alike. */

import { assertEquals } from "@std/assert";
import type { Device } from "../../devices/device.ts";
import * as g from "../../graph/build.ts";

/**
 * Adds them.
 * @param sizes of square matrices, one larger than those before and after it
 */
export function testPrograms(
  name: string,
  withDevice: (run: (device: Device) => Promise<void>) => Promise<void>,
  sizes: readonly number[],
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
}
