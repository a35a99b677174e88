import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { sharedPath } from "../support/shared.ts";
import { assertRefused, runTask } from "../support/task.ts";

const STORIES = sharedPath("models", "stories260k");

Deno.test("page: --help, and what cannot be", async () => {
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const [help, wrong, missing, occupied] = await Promise.all([
    runTask("page", "--help"),
    runTask("page", STORIES, "--port", "65536"),
    runTask("page", STORIES, "--against", "/nowhere/teacher"),
    runTask("page", STORIES, "--port", `${port}`),
  ]);
  taken.close();
  assertEquals({ code: help.code, stderr: help.stderr }, { code: 0, stderr: "" });
  for (const word of ["CHECKPOINT", "--against", "--port", "--json"]) {
    assert(help.stdout.includes(`  ${word} `), `${help.stdout} lacks ${word}`);
  }
  assertRefused(wrong, '--port: expected a whole number from 0 to 65535, found "65536"');
  assertRefused(missing, "/nowhere/teacher");
  assertRefused(occupied, `--port: expected a free port, found ${port} in use; 0 takes any`);
});

Deno.test("page: serves until it is told to end", async () => {
  // The task's own process passes no signal on, so this is what it runs.
  const args = ["run", "--no-prompt", "--allow-read", "--allow-net=127.0.0.1", "cli/page.ts"];
  const process = new Deno.Command(Deno.execPath(), {
    args: [...args, STORIES, "--against", STORIES, "--port", "0"],
    cwd: fileURLToPath(new URL("../../", import.meta.url)),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const errors = new Response(process.stderr).text();
  const { value: url = "" } = await reader.read();
  assertMatch(url, /^http:\/\/127\.0\.0\.1:\d+\/\n$/);
  const models = await (await fetch(`${url.trim()}models.json`)).json();
  assertEquals(models.map(({ name }: { name: string }) => name), ["stories260k", "stories260k"]);
  process.kill("SIGINT");
  assertEquals((await reader.read()).done, true);
  assertEquals([(await process.status).code, await errors], [0, "Ctrl-C ends it\n"]);
});
