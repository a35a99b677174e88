/** Python with PyTorch, transformers and NVIDIA's compiler, in a virtual environment that is made when it is missing. */

import { variable } from "../devices/environment.ts";
import { FormatError } from "../formats/error.ts";

/** The environment, beside deno.json, and what goes in. */
const FOLDER = ".venv";
const PYTHON = `${FOLDER}/bin/python`;
const PACKAGES = [
  "torch==2.13.0",
  "transformers==5.18.0",
  "safetensors",
  "tokenizers",
  "numpy",
  "nvidia-cuda-nvrtc==13.0.88",
];
/** Says which packages are in; written last. */
const READY = `${FOLDER}/ready`;
/** Held while the environment is made: several programs may want it at once. */
const LOCK = `${FOLDER}/lock`;

/** How a program is run. */
interface RunOptions {
  readonly advice?: string;
  /** Ends it before it is done. */
  readonly signal?: AbortSignal;
}

/**
 * What a program inherits: all, but where LD_LIBRARY_PATH is set, which Deno passes on to nothing.
 * PyTorch's wheels find their libraries without it.
 */
function inheritance() {
  if (variable("LD_LIBRARY_PATH") === undefined) return {};
  const env = ["PATH", "HOME", "XDG_CACHE_HOME"].map((name) => [name, variable(name) ?? ""]);
  return { clearEnv: true, env: Object.fromEntries(env) };
}

/** Runs a program to its end and returns what it wrote. @throws FormatError where it failed. */
async function run(
  command: string,
  args: readonly string[],
  { advice = "see its message", signal }: RunOptions = {},
): Promise<string> {
  const pipes = { stdout: "piped", stderr: "piped" } as const;
  const child = new Deno.Command(command, {
    args: [...args],
    ...{ ...pipes, ...inheritance(), signal },
  });

  let output: Deno.CommandOutput;
  try {
    output = await child.output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new FormatError({
      file: command,
      expected: "a program that can be run",
      found: "none",
      advice: "install python3 with venv and pip, then run: deno task python",
    });
  }
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (output.success) return decode(output.stdout);
  throw new FormatError({
    file: `${command} ${args.join(" ")}`,
    expected: "to run",
    found: decode(output.stderr).trim().split("\n").slice(-3).join(" / "),
    advice,
  });
}

function isReady(): boolean {
  try {
    return Deno.readTextFileSync(READY) === `${PACKAGES.join("\n")}\n`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Makes the environment, if it is wanted, where it is missing or has other packages, from PyPI. Two
 * programs that want it at once make it once.
 * @throws FormatError where there is no python3 or a package cannot be installed.
 */
export async function preparePython(
  note: (line: string) => void,
  python: Python = FOLDER,
): Promise<void> {
  if (python !== FOLDER || isReady()) return;
  Deno.mkdirSync(FOLDER, { recursive: true });
  using lock = Deno.openSync(LOCK, { write: true, create: true });
  lock.lockSync(true);
  if (isReady()) return;
  note(`making ${FOLDER} with ${PACKAGES.join(", ")}`);
  const advice = "this needs python3 with venv and pip, and PyPI: try again with deno task python";
  await run("python3", ["-m", "venv", FOLDER], { advice });
  const install = ["-m", "pip", "install", "-q", "--retries", "0", ...PACKAGES];
  await run(PYTHON, install, { advice });
  Deno.writeTextFileSync(READY, `${PACKAGES.join("\n")}\n`);
}

/** Which Python has PyTorch: that of the environment, or the one that is found. */
export const PYTHONS = [".venv", "python3"] as const;

/** One of them. */
export type Python = typeof PYTHONS[number];

const programOf = (python: Python) => python === FOLDER ? PYTHON : python;

/** Runs a script and returns what it printed. @throws FormatError */
export function runPython(args: readonly string[], python: Python = FOLDER): Promise<string> {
  return run(programOf(python), args);
}

/** The same for so many seconds at most; undefined where it takes longer. @throws FormatError */
export async function runPythonFor(
  seconds: number,
  args: readonly string[],
  python: Python = FOLDER,
): Promise<string | undefined> {
  const signal = AbortSignal.timeout(1000 * seconds);
  try {
    return await run(programOf(python), args, { signal });
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

/** Where the environment has NVRTC, which needs no GPU. @throws FormatError */
export async function nvrtcPath(): Promise<string> {
  const find = "import nvidia, pathlib; print(next(file for folder in nvidia.__path__ " +
    "for file in pathlib.Path(folder).rglob('libnvrtc.so.13')))";
  return (await runPython(["-c", find])).trim();
}
