/** `deno task python`: Python with PyTorch, transformers and NVRTC, for tests and comparisons. */

import { preparePython } from "../bench/python.ts";
import { command, main } from "./command/command.ts";

/** The command. */
export const python = command({
  name: "python",
  summary: "makes .venv with PyTorch, transformers and NVRTC, for the tests, `bench --vs torch` " +
    "and `nvrtc`, unless it is there",
  arguments: {},
  flags: {},
  run: async (_, { print, say }) => {
    await preparePython(say);
    print(".venv is ready\n");
    return { report: { folder: ".venv" } };
  },
});

if (import.meta.main) await main(python);
