/** Finding a GPU, and asking it for all that it has. */

/** Limits that kernels and memory live within; the adapter's own are asked for. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** What is asked for where there is it: time by launch. */
const FEATURES = ["timestamp-query"] as const;

/** A GPU that is ready, and its name. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly name: string;
  /** Whether the driver computes on the CPU. */
  readonly software: boolean;
}

const NOTHING = "webgpu: found no adapter, expected a GPU with a driver for Vulkan, Metal or " +
  "DirectX 12; on Debian, mesa-vulkan-drivers and libvulkan1 have one that computes on the CPU";

/** The adapter that the system prefers, or what there is instead. */
async function findAdapter(): Promise<GPUAdapter | undefined> {
  if (navigator.gpu === undefined) return undefined;
  return await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }) ?? undefined;
}

/** A GPU's name; software drivers say so themselves. */
function nameOf({ info }: GPUAdapter): string {
  return info.description || info.device || info.architecture || info.vendor || "unknown";
}

const isSoftware = ({ info }: GPUAdapter): boolean =>
  info.isFallbackAdapter || /llvmpipe|swiftshader|software/i.test(nameOf({ info } as GPUAdapter));

/** Whether there is a GPU, for people who ask for any device. */
export async function describeGpu(): Promise<{ name: string; software: boolean } | undefined> {
  const adapter = await findAdapter();
  return adapter && { name: nameOf(adapter), software: isSoftware(adapter) };
}

/** Opens the GPU; throws where there is none. */
export async function openGpu(): Promise<Gpu> {
  const adapter = await findAdapter();
  if (adapter === undefined) throw new Error(NOTHING);
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature));
  const device = await adapter.requestDevice({ requiredLimits, requiredFeatures });
  return { device, name: nameOf(adapter), software: isSoftware(adapter) };
}
