/** `deno task bench matmul`: GFLOPS of matrix products. */

import { benchMatmul } from "../../bench/matmul.ts";
import { machineReport } from "../../train/machine.ts";
import type { Outcome, Output } from "../command.ts";
import { withDevice } from "../device.ts";
import { table } from "../table.ts";
import { unpinBlas } from "./pins.ts";
import type { BenchFlags } from "./flags.ts";

/** Times products of the shapes that training has. */
export function matmulBench(flags: BenchFlags, { print, say }: Output): Promise<Outcome> {
  unpinBlas();
  return withDevice(flags, say, async (device) => {
    const rows = await benchMatmul(device);
    print(table([
      ["m × n × k", "GFLOPS", "ms"],
      ...rows.map(({ m, n, k, gflops, seconds }) => [
        `${m} × ${n} × ${k}`,
        gflops.toFixed(1),
        (1000 * seconds).toFixed(3),
      ]),
    ]));
    return { report: { rows, device: device.description, ...machineReport() } };
  });
}
