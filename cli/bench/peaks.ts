/** `deno task bench peaks`: what this machine or its GPU reaches at best. */

import type { GpuPeaks } from "../../bench/gpu_peaks.ts";
import { type CpuPeaks, measurePeaks, type Peaks, threadCounts } from "../../bench/peaks.ts";
import { formOf, formsOf } from "./forms.ts";
import type { BenchPart, PartContext, PartResult } from "./part.ts";

/** Arithmetic, products and memory; on the CPU by threads. */
export const peaksPart: BenchPart = {
  name: "peaks",
  title: "Peaks of the machine",
  measure: async (flags, context) => {
    const own = formOf(flags);
    if (own.name === "GPU") return gpuResult(await context.peaks(own));
    return cpuResult(await byThreads(formsOf(flags, true), context));
  },
};

const HEAD = ["FMA in kernels", "best product", "read", "copy"] as const;

const cells = ({ fmaGflops, productGflops, readGBs, copyGBs }: Peaks) => [
  `${fmaGflops.toFixed(1)} GFLOPS`,
  `${productGflops.toFixed(1)} GFLOPS`,
  `${readGBs.toFixed(1)} GB/s`,
  `${copyGBs.toFixed(1)} GB/s`,
];

/** The peaks of a form. */
interface OfForm {
  readonly form: string;
  readonly peak: CpuPeaks;
}

async function byThreads(
  forms: ReturnType<typeof formsOf>,
  { threads, peaks }: PartContext,
): Promise<OfForm[]> {
  const measured: OfForm[] = [];
  for (const count of threadCounts(threads)) {
    for (const form of forms) {
      const peak = count === threads
        ? await peaks(form)
        : await measurePeaks({ threads: count, ...form });
      if ("threads" in peak) measured.push({ form: form.name, peak });
    }
  }
  return measured;
}

const cpuResult = (measured: readonly OfForm[]): PartResult => ({
  content: [{
    rows: [
      ["threads", "form", ...HEAD],
      ...measured.map(({ form, peak }) => [`${peak.threads}`, form, ...cells(peak)]),
    ],
  }],
  report: { peaks: measured.map(({ form, peak }) => ({ form, ...peak })) },
});

/** Measured peaks, and those that the maker states where the GPU is known. */
function gpuResult(peak: CpuPeaks | GpuPeaks): PartResult {
  const stated = "datasheet" in peak ? peak.datasheet : undefined;
  return {
    content: [{
      rows: [
        ["", ...HEAD],
        ["measured", ...cells(peak)],
        ...(stated === undefined ? [] : [[
          `data sheet, ${stated.name}`,
          `${stated.gflops} GFLOPS`,
          `${
            stated.tf32Gflops === undefined ? "" : `TF32: ${stated.tf32Gflops}, `
          }bf16: ${stated.bf16Gflops} GFLOPS`,
          `${stated.GBs} GB/s`,
          `${stated.GBs} GB/s`,
        ]]),
      ],
    }],
    report: { peaks: [{ form: "GPU", ...peak }] },
  };
}
