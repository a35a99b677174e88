import { assertEquals } from "@std/assert";
import {
  cublasLtNames,
  driverNames,
  nvrtcNames,
  toolkitFolders,
} from "../../../devices/cuda/names.ts";

Deno.test("cuda libraries: names on Linux and Windows, the version that fits the driver first", () => {
  assertEquals(driverNames("linux"), ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"]);
  assertEquals(driverNames("windows"), ["nvcuda.dll"]);
  assertEquals(nvrtcNames("linux"), ["libnvrtc.so.13", "libnvrtc.so.12"]);
  assertEquals(nvrtcNames("linux", 12), ["libnvrtc.so.12", "libnvrtc.so.13"]);
  assertEquals(nvrtcNames("windows", 13), ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]);
  assertEquals(cublasLtNames("linux", 13), ["libcublasLt.so.13", "libcublasLt.so.12"]);
  // A newer cuBLASLt does not work with an older driver, and ours are there instead.
  assertEquals(cublasLtNames("linux", 12), ["libcublasLt.so.12"]);
  assertEquals(cublasLtNames("windows", 12), ["cublasLt64_12.dll"]);
});

Deno.test("cuda libraries: the toolkit's folders", () => {
  assertEquals(toolkitFolders("linux", undefined), ["/usr/local/cuda/lib64"]);
  assertEquals(toolkitFolders("linux", "/opt/cuda"), ["/opt/cuda/lib64"]);
  assertEquals(toolkitFolders("windows", undefined), []);
  assertEquals(toolkitFolders("windows", "C:\\CUDA"), ["C:\\CUDA\\bin\\x64", "C:\\CUDA\\bin"]);
});
