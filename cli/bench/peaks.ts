/** `deno task bench peaks`: what this machine reaches at best, by threads. */

import { measurePeaks, type Peaks, threadCounts } from "../../bench/peaks.ts";
import { findBlas } from "../../devices/cpu/blas.ts";
import type { BenchPart } from "./part.ts";

/** Arithmetic, products and memory. */
export const peaksPart: BenchPart = {
  name: "peaks",
  title: "Peaks of the machine",
  measure: async ({ blas }, { threads, peaks }) => {
    const libraries = blas === "auto" && findBlas() !== undefined ? ["none", "auto"] : [blas];
    const measured: Peaks[] = [];
    for (const count of threadCounts(threads)) {
      for (const library of libraries) {
        const known = count === threads
          ? await peaks(library)
          : await measurePeaks({ threads: count, blas: library });
        measured.push(known);
      }
    }
    return {
      content: [{
        rows: [
          ["threads", "products", "FMA in kernels", "best product", "read", "copy"],
          ...measured.map((peak) => [
            `${peak.threads}`,
            peak.products,
            `${peak.fmaGflops.toFixed(1)} GFLOPS`,
            `${peak.productGflops.toFixed(1)} GFLOPS`,
            `${peak.readGBs.toFixed(1)} GB/s`,
            `${peak.copyGBs.toFixed(1)} GB/s`,
          ]),
        ],
      }],
      report: { peaks: measured },
    };
  },
};
