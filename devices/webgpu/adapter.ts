/** Finding a GPU, and asking it for all that it has. */

import type { WgslSubgroups } from "../../kernels/render/wgsl.ts";
import { findSubgroups } from "./subgroups.ts";

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

/** What is asked for where there is it: time by launch, and threads that exchange values. */
const FEATURES = ["timestamp-query", "subgroups"] as const;

/** Whether an adapter has a feature. Deno's do not list subgroups, of which they say the size. */
const offers = ({ features, info }: GPUAdapter, feature: typeof FEATURES[number]): boolean =>
  features.has(feature) || feature === "subgroups" && (info.subgroupMaxSize ?? 0) > 0;

/** A GPU that is ready, and its name. */
export interface Gpu {
  readonly device: GPUDevice;
  readonly name: string;
  /** Whether the driver computes on the CPU. */
  readonly software: boolean;
  /** How kernels ask for subgroups, where there are such as they count on. */
  readonly subgroups?: WgslSubgroups;
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

/** The device of an adapter, with some of the features; the others are not asked for. */
function requestDevice(
  adapter: GPUAdapter,
  features: readonly typeof FEATURES[number][],
): Promise<GPUDevice> {
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const requiredFeatures = features.filter((feature) => offers(adapter, feature));
  return adapter.requestDevice({ requiredLimits, requiredFeatures });
}

/** Opens the GPU; throws where there is none. */
export async function openGpu(): Promise<Gpu> {
  const adapter = await findAdapter();
  if (adapter === undefined) throw new Error(NOTHING);
  const device = await requestDevice(adapter, FEATURES).catch(async () => {
    // An adapter may tell a size, and yet have no subgroups for programs.
    const again = await findAdapter() ?? adapter;
    return await requestDevice(again, FEATURES.filter((feature) => feature !== "subgroups"));
  });
  const subgroups = await findSubgroups(device);
  const found = { device, name: nameOf(adapter), software: isSoftware(adapter) };
  return { ...found, ...(subgroups !== undefined && { subgroups }) };
}
