import { assert, assertEquals } from "@std/assert";
import { lastLine, PEERS, peersOf, runPeer } from "../../bench/peer.ts";
import { preparePython } from "../../bench/python.ts";
import { temporaryFolder } from "../support/checkpoint.ts";

const OPTIONS = {
  shape: "tiny",
  stage: 1,
  threads: 1,
  device: "cpu",
  python: ".venv",
  seconds: 0.1,
  limit: 600,
} as const;

Deno.test("peer: the bar is the native kernel in PyTorch as it comes", () => {
  assertEquals(Object.keys(PEERS)[0], "torch");
  assertEquals(PEERS.torch.words.join(" "), "--wkv native --malloc default");
  assertEquals(lastLine("a warning\n{}\n"), "{}");
});

Deno.test("peer: a step in PyTorch, by its median and its fastest; one that takes too long", async () => {
  await preparePython(console.error);
  const result = await runPeer("torch-chunked", OPTIONS);
  assert("median" in result && result.median > 0 && result.best >= result.median);
  assertEquals(await runPeer("torch-chunked", { ...OPTIONS, limit: 0.2 }), {
    failed: "nothing after 0.2 s",
  });
  const wrong = await runPeer("torch", { ...OPTIONS, shape: "huge" as "tiny" });
  assert("failed" in wrong && wrong.failed.includes("invalid choice"));
});

Deno.test("peer: on a GPU PyTorch has no C++ kernel", async () => {
  assertEquals(Object.keys(peersOf("cuda")), ["torch", "torch-bf16", "torch-compile"]);
  assertEquals(Object.keys(peersOf("cpu")), Object.keys(PEERS));
  const words = Object.values(peersOf("cuda")).flatMap(({ words }) => words);
  assert(!words.includes("native") && words.includes("chunked"));
  assertEquals(await runPeer("torch-keep", { ...OPTIONS, device: "cuda" }), {
    failed: "not on cuda",
  });
  const other = { ...OPTIONS, device: "cuda", python: "python3", shape: "huge" as "tiny" } as const;
  const wrong = await runPeer("torch", other);
  assert("failed" in wrong && wrong.failed.includes("invalid choice"));
});

Deno.test("peer: without python3 the error says what to install", async () => {
  using own = temporaryFolder();
  const script = new URL("../../cli/python.ts", import.meta.url).pathname;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "-A", script],
    cwd: own.folder,
    env: { PATH: own.folder, NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  });
  const { success, stderr } = await process.output();
  const text = new TextDecoder().decode(stderr);
  assert(
    !success && text.includes("python3: expected a program that can be run, found none"),
    text,
  );
  assert(text.includes("install python3 with venv and pip, then run: deno task python"), text);
});
