/** `deno task bench memory`: what `deno task memory` measures, planned beside measured. */

import { memory } from "../memory.ts";
import { residualText } from "../plan/text.ts";
import { bytesText } from "../terminal/table.ts";
import { taskReport } from "./task.ts";
import type { BenchPart } from "./part.ts";

/** A training step whose memory is measured, as words of `deno task memory`. */
type Case = readonly string[];

const QUICK_CASES: readonly Case[] = [
  ["--shape", "small", "--stage", "2"],
  ["--shape", "smollm", "--stage", "2", "--context", "2048", "--rematerialise"],
  ["--shape", "qwen05b", "--stage", "1"],
];
const CASES: readonly Case[] = [
  ...QUICK_CASES,
  ["--shape", "qwen05b", "--stage", "2", "--rematerialise"],
];

/** Each in a process of its own. */
export const memoryPart: BenchPart = {
  name: "memory",
  title: "Memory, planned and measured",
  measure: async ({ quick }, { say }) => {
    const rows = [];
    for (const words of quick ? QUICK_CASES : CASES) {
      const { planned, device_bytes, process_bytes, seconds_per_step } = await taskReport(
        memory.name,
        words,
      );
      const { total, process } = planned as { total: number; process: number };
      const row = {
        words,
        planned: { device: total - process, process: total },
        device: Number(device_bytes),
        process: Number(process_bytes),
        seconds: Number(seconds_per_step),
      };
      say(`${words.join(" ")}: ${bytesText(row.process)}, planned ${bytesText(total)}`);
      rows.push(row);
    }
    const cells = (planned: number, found: number) => [
      bytesText(planned),
      bytesText(found),
      residualText(planned, found),
    ];
    return {
      content: [{
        rows: [
          [
            `deno task ${memory.name} …`,
            "device, planned",
            "measured",
            "",
            "process, planned",
            "measured",
            "",
            "s a step",
          ],
          ...rows.map(({ words, planned, device, process, seconds }) => [
            words.join(" "),
            ...cells(planned.device, device),
            ...cells(planned.process, process),
            seconds.toFixed(1),
          ]),
        ],
      }],
      report: { steps: rows },
    };
  },
};
