/**
 * Every CUDA kernel of training steps and of decoding, compiled by the real NVRTC, which needs no
 * GPU: registers, shared memory and spills.
 */

import type { Device } from "../devices/device.ts";
import { moduleKernels } from "../devices/cuda/modules.ts";
import { openKernelCache } from "../devices/cuda/kernel_cache.ts";
import type { Nvrtc } from "../devices/cuda/nvrtc.ts";
import { createStore, layoutOf, storeBindings, storeInputs } from "../devices/store.ts";
import { align, distill, finetune } from "../dsl/stages.ts";
import { schedule } from "../graph/schedule.ts";
import type { Step } from "../graph/step.ts";
import { size, type Tensor } from "../graph/tensor.ts";
import { openSession } from "../infer/session.ts";
import { storedAs, WEIGHT_FORMATS } from "../infer/weights.ts";
import { joining } from "../kernels/gpu/joined.ts";
import { GPU_SCHEDULING, gpuKernelsOf } from "../kernels/gpu/program.ts";
import type { ProductNumbers } from "../kernels/gpu/matmul/tiling.ts";
import { buildProgram } from "../kernels/program.ts";
import { type CudaKernel, renderCuda } from "../kernels/render/cuda.ts";
import type { DecoderConfig } from "../models/config.ts";
import { modelParameters } from "../models/decoder.ts";
import { createTrainer } from "../train/trainer.ts";
import { type BenchMixer, benchModels, type BenchShape, SHAPES } from "./shapes.ts";

/** Ampere, Hopper and Blackwell of data centres: A100, H100 and B200. */
export const ARCHITECTURES = [80, 90, 100] as const;

/** Where it is kept what ptxas said, from the folder of deno.json. */
export const NVRTC_LOGS = "out/nvrtc";

/** What a kernel takes of a multiprocessor, on one architecture. */
export interface KernelResources {
  readonly name: string;
  readonly architecture: number;
  /** Registers of a thread. */
  readonly registers: number;
  /** Shared memory of a block, in bytes. */
  readonly sharedBytes: number;
  /** Bytes of registers that a thread writes to memory and reads back, for want of room. */
  readonly spillBytes: number;
}

/** What ptxas says of the kernels of a module. */
export function readResources(log: string, architecture: number): KernelResources[] {
  const parts = log.split(/Compiling entry function '/).slice(1);
  return parts.map((part) => {
    const number = (pattern: RegExp) => Number(pattern.exec(part)?.[1] ?? 0);
    return {
      name: part.slice(0, part.indexOf("'")),
      architecture,
      registers: number(/Used (\d+) registers/),
      sharedBytes: number(/(\d+) bytes smem/),
      spillBytes: number(/(\d+) bytes spill stores/) + number(/(\d+) bytes spill loads/),
    };
  });
}

/** The name of a kernel's code, which kernels of other shapes have as well. */
const kindOf = (name: string) => name.replace(/_\d+$/, "");

/**
 * Compiles kernels for some architectures, those of one kind as a module. What ptxas said is kept in
 * a folder. @throws CudaError with NVRTC's log.
 */
export function compileKernels(
  nvrtc: Nvrtc,
  kernels: readonly CudaKernel[],
  folder: string,
  architectures: readonly number[] = ARCHITECTURES,
): KernelResources[] {
  const cache = openKernelCache(folder);
  const made = `NVRTC ${nvrtc.version.major}.${nvrtc.version.minor}`;
  const kinds = new Set(kernels.map(({ name }) => kindOf(name)));
  return architectures.flatMap((architecture) =>
    [...kinds].flatMap((kind) => {
      const source = renderCuda(kernels.filter(({ name }) => kindOf(name) === kind));
      const log = cache.code({ source, target: `sm_${architecture}`, made }, () => {
        const { log } = nvrtc.compile(source, kind, { kind: "cubin", architecture });
        return new TextEncoder().encode(log);
      });
      return readResources(new TextDecoder().decode(log), architecture);
    })
  );
}

/** The CUDA kernels of some programs, each once, under names of their own. */
export function kernelsOf(
  programs: readonly (readonly Tensor[])[],
  numbers: ProductNumbers = "f32",
): CudaKernel[] {
  const kernels = (step: Step) => gpuKernelsOf(step, numbers);
  const launches = programs.flatMap((results) =>
    buildProgram(schedule(results, GPU_SCHEDULING), kernels, joining(Infinity)).launches
  );
  return [...moduleKernels(launches).values()];
}

/** A device that has no memory and keeps what it is asked to compile. */
function recorder(): { readonly device: Device; readonly programs: (readonly Tensor[])[] } {
  const programs: (readonly Tensor[])[] = [];
  const memory = (bytes: number) => ({ bytes, slice: (_: number, part: number) => memory(part) });
  const nothing = () => {};
  const device: Device = {
    kind: "cuda",
    memoryUse: () => ({ inUse: 0, peak: 0 }),
    description: "records programs",
    allocate: memory,
    free: nothing,
    write: nothing,
    read: () => Promise.resolve(),
    clear: nothing,
    compile: (results) => {
      programs.push(results);
      const profile = () => Promise.resolve([]);
      return { flops: 0, arenaBytes: 0, run: nothing, profile, free: nothing };
    },
    close: () => Promise.resolve(),
  };
  return { device, programs };
}

/** A bench's shape with fewer layers, which are all alike, and another width of heads. */
function shaped(shape: BenchShape, headDim: number): BenchShape {
  const { hiddenSize } = shape.config;
  const attentionHeads = hiddenSize / headDim;
  const config: DecoderConfig = {
    ...shape.config,
    ...{ layers: 2, headDim, attentionHeads },
    keyValueHeads: Math.max(1, attentionHeads / 2),
  };
  return { ...shape, config };
}

/** Head widths of the kernels in the table. */
export const HEAD_WIDTHS = [64, 128] as const;

/**
 * The kernels of a head width: of training and decoding with each mixer and with attention, multiplying
 * in f32, and those that are others in TF32.
 */
export async function trainingKernels(headDim: number): Promise<CudaKernel[]> {
  const programs: (readonly Tensor[])[] = [];
  for (const mixer of ["rwkv6", "rwkv7"] as const) {
    programs.push(...await recordPrograms(headDim, mixer));
  }
  const ofTensorCores = kernelsOf(programs, "tf32").filter(({ name }) => /_tf32_/.test(name));
  return [...kernelsOf(programs), ...ofTensorCores];
}

/** The programs of alignment, distillation, training with attention, and decoding. */
async function recordPrograms(
  headDim: number,
  mixer: BenchMixer,
): Promise<readonly (readonly Tensor[])[]> {
  const shape = shaped(SHAPES.small, headDim);
  const { batch, context } = shape;
  const { teacher, student } = benchModels(shape, mixer);
  const { device, programs } = recorder();
  for (
    const [stage, trained] of [[align, student], [distill, student], [finetune, teacher]] as const
  ) {
    const sizes = new Map(modelParameters(trained).map((p) => [p.name, size(p.shape)]));
    const trainer = await createTrainer({
      ...{ device, student: trained },
      stage: stage({ batch, context, tokens: batch * context }),
      values: (name) => new Float32Array(sizes.get(name)!),
      teacher: {
        spec: teacher,
        store: createStore(device, layoutOf(modelParameters(teacher))),
      },
    });
    trainer.free();
  }
  const decoded = [
    [teacher, "f32"],
    ...WEIGHT_FORMATS.map((format) => [student, format] as const),
  ] as const;
  for (const [spec, format] of decoded) {
    const store = createStore(device, layoutOf(storedAs(modelParameters(spec), format)));
    const model = { inputs: storeInputs(store.layout, ""), bindings: storeBindings(store, "") };
    // A prompt of all the lengths in which prompts are taken.
    await openSession({ spec, device, ...model }).advance([new Int32Array(128 + 16 + 1)]);
  }
  return programs;
}

/** The largest of a kind of kernel: those of one name, which differ in shapes and in what is fused. */
interface TableRow {
  readonly name: string;
  readonly kernels: number;
  /** By architecture. */
  readonly most: readonly Omit<KernelResources, "name">[];
}

/** Kernels by the names of their code. */
export function resourceTable(resources: readonly KernelResources[]): TableRow[] {
  const names = [...new Set(resources.map(({ name }) => kindOf(name)))].sort();
  return names.map((name) => {
    const own = resources.filter((r) => kindOf(r.name) === name);
    const architectures = [...new Set(own.map(({ architecture }) => architecture))];
    const most = architectures.map((architecture) => {
      const these = own.filter((r) => r.architecture === architecture);
      const largest = (key: "registers" | "sharedBytes" | "spillBytes") =>
        Math.max(...these.map((r) => r[key]));
      return {
        architecture,
        registers: largest("registers"),
        sharedBytes: largest("sharedBytes"),
        spillBytes: largest("spillBytes"),
      };
    });
    return { name, kernels: own.length / architectures.length, most };
  });
}

/** The table as Markdown. */
export function tableText(rows: readonly TableRow[]): string {
  const cell = ({ registers, sharedBytes, spillBytes }: TableRow["most"][number]) =>
    `${registers} / ${sharedBytes} / ${spillBytes}`;
  const heads = ["kernel", "variants", ...rows[0].most.map((m) => `sm_${m.architecture}`)];
  const lines = rows.map(({ name, kernels, most }) => [name, String(kernels), ...most.map(cell)]);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...lines.map(line)].join("\n");
}
