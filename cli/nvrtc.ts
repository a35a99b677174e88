/** `deno task nvrtc`: what the real NVRTC makes of every CUDA kernel, which needs no GPU. */

import {
  compileKernels,
  HEAD_WIDTHS,
  NVRTC_LOGS,
  resourceTable,
  tableText,
  trainingKernels,
} from "../bench/cuda_kernels.ts";
import { nvrtcPath, preparePython } from "../bench/python.ts";
import { openNvrtc } from "../devices/cuda/nvrtc.ts";
import { command, main } from "./command/command.ts";

/** The command. */
export const nvrtc = command({
  name: "nvrtc",
  summary: "compiles the CUDA kernels of training and decoding by NVRTC, without a GPU: the most " +
    "registers of a thread, bytes of shared memory of a block and bytes of spills",
  arguments: {},
  flags: {},
  run: async (_, { print, say }) => {
    await preparePython(say);
    const compiler = openNvrtc(await nvrtcPath());
    try {
      const { path, version: { major, minor } } = compiler;
      print(`NVRTC ${major}.${minor} (${path}): the most registers of a thread, bytes of\n`);
      print("shared memory of a block and bytes of spills among the kernels of a name\n");
      const widths = [];
      for (const headDim of HEAD_WIDTHS) {
        const kernels = await trainingKernels(headDim);
        const rows = resourceTable(compileKernels(compiler, kernels, NVRTC_LOGS));
        print(`\nTraining and decoding with heads of ${headDim}:\n\n${tableText(rows)}\n`);
        widths.push({ headDim, kernels: rows });
      }
      return { report: { nvrtc: `${major}.${minor}`, widths } };
    } finally {
      compiler.close();
    }
  },
});

if (import.meta.main) await main(nvrtc);
