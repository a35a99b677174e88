import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { cacheFolder, openKernelCache } from "../../../devices/cuda/kernel_cache.ts";

const KEY = { source: "void k() {}", target: "cubin 90", made: "NVRTC 13.0, driver 13.0, GPU" };
const CODE = Uint8Array.from({ length: 1000 }, (_, i) => i * i);

/** A cache in a new folder, and how often it had code made. */
function counted(folder: string) {
  const cache = openKernelCache(folder);
  let made = 0;
  const code = (key = KEY) =>
    cache.code(key, () => {
      made++;
      return CODE;
    });
  return { code, made: () => made };
}

Deno.test("kernel cache: the same source for the same GPU, compiler and driver is made once", () => {
  const folder = join(Deno.makeTempDirSync(), "not", "there");
  const { code, made } = counted(folder);
  assertEquals([code(), code(), code()], [CODE, CODE, CODE]);
  assertEquals(made(), 1);
  assertEquals(counted(folder).code(), CODE);
  for (const other of ["source", "target", "made"]) code({ ...KEY, [other]: "another" });
  assertEquals(made(), 4);
  assertEquals([...Deno.readDirSync(folder)].filter(({ name }) => !name.endsWith(".bin")), []);
});

Deno.test("kernel cache: what is cut short or changed is made again", () => {
  const folder = Deno.makeTempDirSync();
  const { code, made } = counted(folder);
  code();
  const [{ name }] = [...Deno.readDirSync(folder)];
  const path = join(folder, name);
  const stored = Deno.readFileSync(path);
  for (
    const [i, broken] of [stored.subarray(0, 500), stored.subarray(0, 8), flipped(stored)].entries()
  ) {
    Deno.writeFileSync(path, broken);
    assertEquals(code(), CODE);
    assertEquals(made(), i + 2);
    assertEquals(Deno.readFileSync(path), stored);
  }
});

function flipped(data: Uint8Array): Uint8Array {
  const other = data.slice();
  other[700] ^= 1;
  return other;
}

Deno.test("kernel cache: a folder that cannot be written is no error", () => {
  const file = Deno.makeTempFileSync();
  const { code, made } = counted(join(file, "cache"));
  assertEquals([code(), code()], [CODE, CODE]);
  assertEquals(made(), 2);
});

Deno.test("kernel cache: lies in the user's cache folder", () => {
  const folder = (variables: Record<string, string>) => cacheFolder((name) => variables[name]);
  assertEquals(folder({ XDG_CACHE_HOME: "/c", HOME: "/h" }), "/c/suture/cuda");
  assertEquals(folder({ HOME: "/h" }), "/h/.cache/suture/cuda");
  assertEquals(folder({ LOCALAPPDATA: "/l", USERPROFILE: "/u" }), "/l/suture/cuda");
  assertEquals(folder({}), undefined);
});
