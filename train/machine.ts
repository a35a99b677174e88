/** The machine and the programs that a run was done with. */

import { cpus } from "node:os";
import config from "../deno.json" with { type: "json" };

/** The processor's name, where this process may ask for it. */
function processor(): string {
  try {
    return cpus()[0]?.model.trim() || Deno.build.arch;
  } catch {
    return Deno.build.arch;
  }
}

/** Machine and versions, as the report has them. */
export function machineReport() {
  return {
    machine: {
      name: processor(),
      cores: navigator.hardwareConcurrency,
      os: Deno.build.target,
    },
    versions: {
      suture: config.version,
      deno: Deno.version.deno,
      v8: Deno.version.v8,
      typescript: Deno.version.typescript,
    },
  };
}
