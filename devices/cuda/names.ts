/** What NVIDIA's libraries are called on every system, of the two versions of CUDA that are known. */

/** A system, as Deno names it. */
export type System = typeof Deno.build.os;

/** Major versions, the newest first. */
const VERSIONS = [13, 12] as const;

/** Names of the driver's library; WSL has it in a folder of its own. */
export const driverNames = (os: System): string[] =>
  os === "windows" ? ["nvcuda.dll"] : ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"];

/** Names of NVRTC: those that work with a driver of a major version first. */
export function nvrtcNames(os: System, major = Infinity): string[] {
  const fit = VERSIONS.filter((version) => version <= major);
  const others = VERSIONS.filter((version) => version > major);
  return [...fit, ...others].map((version) =>
    os === "windows" ? `nvrtc64_${version}0_0.dll` : `libnvrtc.so.${version}`
  );
}

/** Names of cuBLASLt that works with a driver of a major version. */
export const cublasLtNames = (os: System, major: number): string[] =>
  VERSIONS.filter((version) => version <= major).map((version) =>
    os === "windows" ? `cublasLt64_${version}.dll` : `libcublasLt.so.${version}`
  );

/** Folders in which the CUDA toolkit keeps its libraries, where it lies at a path. */
export function toolkitFolders(os: System, path: string | undefined): string[] {
  const toolkit = path ?? (os === "windows" ? undefined : "/usr/local/cuda");
  if (toolkit === undefined) return [];
  return os === "windows" ? [`${toolkit}\\bin\\x64`, `${toolkit}\\bin`] : [`${toolkit}/lib64`];
}
