import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { FormatError } from "../../formats/error.ts";
import { hubSettings } from "../../hub/settings.ts";
import { temporaryFolder } from "../support/checkpoint.ts";

const read = (variables: Record<string, string>) => hubSettings((name) => variables[name]);

Deno.test("settings: where the cache is, as huggingface_hub looks for it", () => {
  const cache = (variables: Record<string, string>) => read({ HOME: "/u", ...variables }).cache;
  assertEquals(cache({}), "/u/.cache/huggingface/hub");
  assertEquals(cache({ XDG_CACHE_HOME: "/x" }), "/x/huggingface/hub");
  assertEquals(cache({ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }), "/h/hub");
  assertEquals(cache({ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }), "/old");
  assertEquals(cache({ HF_HUB_CACHE: "~/c", HUGGINGFACE_HUB_CACHE: "/old" }), "/u/c");
  assertEquals(cache({ HF_HOME: "", HF_HUB_CACHE: "" }), "/u/.cache/huggingface/hub");
});

Deno.test("settings: endpoint and offline", () => {
  assertEquals(read({}).endpoint, "https://huggingface.co");
  assertEquals(read({ HF_ENDPOINT: "https://hf-mirror.com//" }).endpoint, "https://hf-mirror.com");
  for (const text of ["hf-mirror.com", "ftp://x", "file:///etc"]) {
    assertThrows(
      () => read({ HF_ENDPOINT: text }),
      FormatError,
      `HF_ENDPOINT: expected a URL such as https://huggingface.co, found "${text}"`,
    );
  }
  const offline = ["1", "true", "YES", "on", "0", "", "no"].map((value) =>
    read({ HF_HUB_OFFLINE: value }).offline
  );
  assertEquals(offline, [true, true, true, true, false, false, false]);
});

Deno.test("settings: the token, from a variable or from the file that hf auth login writes", () => {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const HF_HOME = join(folder, "home");
  assertEquals(read({ HF_HOME }).token, undefined);
  Deno.mkdirSync(HF_HOME);
  Deno.writeTextFileSync(join(HF_HOME, "token"), "hf_file\n");
  Deno.writeTextFileSync(join(folder, "other"), " \n");
  assertEquals(read({ HF_HOME }).token, "hf_file");
  assertEquals(read({ HF_HOME, HF_TOKEN: " hf_variable " }).token, "hf_variable");
  assertEquals(read({ HF_HOME, HUGGING_FACE_HUB_TOKEN: "hf_old" }).token, "hf_old");
  assertEquals(read({ HF_HOME, HF_TOKEN_PATH: join(folder, "other") }).token, undefined);
  assertThrows(() => read({ HF_TOKEN_PATH: folder }), FormatError, "found a folder");
});
