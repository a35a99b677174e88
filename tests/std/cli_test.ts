import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli";

Deno.test("values: next argument, after =, none", () => {
  assertEquals(parseArgs(["--name", "x", "--n=5", "--on", "--off", "-v", "file", "7"]), {
    _: [7],
    name: "x",
    n: 5,
    on: true,
    off: true,
    v: "file",
  });
});

Deno.test("string flags keep text, and are empty without a value", () => {
  const args = parseArgs(["--seed", "007", "--out", "--device=cpu", "1e3"], {
    string: ["seed", "out", "device", "_"],
  });
  const seed: string | undefined = args.seed;
  assertEquals(seed, "007");
  assertEquals(args, { _: ["1e3"], seed: "007", out: "", device: "cpu" });
});

Deno.test("boolean flags take no value and default to false", () => {
  const args = parseArgs(["--json", "recipe.ts", "--resume=false"], {
    boolean: ["json", "resume", "help"],
  });
  const json: boolean = args.json;
  assertEquals(json, true);
  assertEquals(args, { _: ["recipe.ts"], json: true, resume: false, help: false });
  assertEquals(parseArgs(["--json", "false"], { boolean: "json" }), { _: [], json: false });
  assertEquals(parseArgs(["--x", "y"], { boolean: true }), { _: ["y"], x: true });
});

Deno.test("collect gathers repeated flags; otherwise the last one wins", () => {
  const args = parseArgs(["--f", "a", "--g", "1", "--f", "b", "--g", "2"], {
    string: ["f", "g", "h"],
    collect: ["f", "h"],
  });
  const f: string[] = args.f;
  assertEquals(f, ["a", "b"]);
  assertEquals(args, { _: [], f: ["a", "b"], g: "2", h: [] });
});

Deno.test("default and alias", () => {
  const args = parseArgs(["-s", "3"], {
    string: ["seed", "device"],
    alias: { seed: "s", device: ["d"] },
    default: { device: "cpu" },
  });
  const device: string = args.device;
  assertEquals(device, "cpu");
  assertEquals(args, { _: [], s: "3", seed: "3", device: "cpu", d: "cpu" });
  assertEquals(parseArgs(["-h", "x"], { boolean: ["help"], alias: { help: "h" } }), {
    _: ["x"],
    h: true,
    help: true,
  });
});

Deno.test("negatable", () => {
  const options = { string: ["blas"], negatable: ["blas"] } as const;
  const blas: string | false | undefined = parseArgs(["--no-blas"], options).blas;
  assertEquals(blas, false);
  assertEquals(parseArgs(["--no-color"]), { _: [], "no-color": true });
});

Deno.test("double dash", () => {
  assertEquals(parseArgs(["a", "--", "--b", "1"]), { _: ["a", "--b", "1"] });
  const args = parseArgs(["a", "--", "--b"], { "--": true });
  const rest: string[] = args["--"];
  assertEquals(rest, ["--b"]);
  assertEquals(args._, ["a"]);
});

Deno.test("unknown is told each undeclared argument and may refuse it", () => {
  const seen: unknown[] = [];
  const args = parseArgs(["--known", "1", "--typo", "x", "-q", "pos"], {
    string: ["known"],
    boolean: ["q"],
    unknown: (arg, key, value) => {
      seen.push([arg, key, value]);
      return key === undefined;
    },
  });
  assertEquals(seen, [["--typo", "typo", "x"], ["pos", undefined, undefined]]);
  assertEquals(args, { _: ["pos"], known: "1", q: true });
});

Deno.test("short flags in one argument", () => {
  assertEquals(parseArgs(["-abc", "x"]), { _: [], a: true, b: true, c: "x" });
  assertEquals(parseArgs(["-n5"]), { _: [], n: 5 });
  assertEquals(parseArgs(["-n=5"]), { _: [], n: 5 });
  assertEquals(parseArgs(["-"]), { _: ["-"] });
});

Deno.test("a flag does not swallow the next flag, stopEarly, __proto__", () => {
  assertEquals(parseArgs(["--a", "--b", "1"], { string: ["a"] }), { _: [], a: "", b: 1 });
  assertEquals(parseArgs(["--a", "x", "y", "--b"], { boolean: ["a"], stopEarly: true }), {
    _: ["x", "y", "--b"],
    a: true,
  });
  const args = parseArgs(["--__proto__", "x"]);
  assertEquals(Object.getPrototypeOf(args), Object.prototype);
});
