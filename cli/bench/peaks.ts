/** `deno task bench peaks`: what this machine reaches at best, by threads. */

import { measurePeaks, type Peaks, threadCounts } from "../../bench/peaks.ts";
import { formsOf } from "./forms.ts";
import type { BenchPart } from "./part.ts";

/** Arithmetic, products and memory. */
export const peaksPart: BenchPart = {
  name: "peaks",
  title: "Peaks of the machine",
  measure: async (flags, { threads, peaks }) => {
    const measured: { readonly form: string; readonly peak: Peaks }[] = [];
    for (const count of threadCounts(threads)) {
      for (const form of formsOf(flags, true)) {
        const peak = count === threads
          ? await peaks(form)
          : await measurePeaks({ threads: count, ...form });
        measured.push({ form: form.name, peak });
      }
    }
    return {
      content: [{
        rows: [
          ["threads", "form", "FMA in kernels", "best product", "read", "copy"],
          ...measured.map(({ form, peak }) => [
            `${peak.threads}`,
            form,
            `${peak.fmaGflops.toFixed(1)} GFLOPS`,
            `${peak.productGflops.toFixed(1)} GFLOPS`,
            `${peak.readGBs.toFixed(1)} GB/s`,
            `${peak.copyGBs.toFixed(1)} GB/s`,
          ]),
        ],
      }],
      report: { peaks: measured.map(({ form, peak }) => ({ form, ...peak })) },
    };
  },
};
