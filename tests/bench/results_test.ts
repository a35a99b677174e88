import { assertEquals } from "@std/assert";
import { withResults } from "../../bench/results.ts";

const MACHINE = { key: "A Chip, 2 cores", heading: "A Chip, 2 cores, 24 GiB" };
const section = (title: string, body: string) => ({ title, body });

Deno.test("results: a file that is not there, and one more machine", () => {
  const first = withResults(undefined, MACHINE, [section("Peaks", "| a |"), section("Steps", "b")]);
  assertEquals(
    first,
    "# What was measured, and where\n\n## A Chip, 2 cores, 24 GiB\n\n### Peaks\n\n| a |\n\n### Steps\n\nb\n",
  );
  const other = { key: "B", heading: "B, 1 core" };
  assertEquals(
    withResults(first, other, [section("Peaks", "c")]),
    `${first}\n## B, 1 core\n\n### Peaks\n\nc\n`,
  );
});

Deno.test("results: what was measured again is replaced in its place, all else stays", () => {
  const before = [
    "# Results\n\nWords.\n",
    "## Another, 2 cores\n\n### Peaks\n\nold\n",
    "## A Chip, 2 cores, 16 GiB, old\n\nWhere the time goes.\n",
    "### Peaks\n\nold\n\n    a command\n",
    "### By hand\n\nkept\n",
    "## A Chip, 24 cores\n\n### Peaks\n\nold\n",
  ].join("\n");
  assertEquals(
    withResults(before, MACHINE, [section("Steps", "new\n"), section("Peaks", "new")]),
    [
      "# Results\n\nWords.\n",
      "## Another, 2 cores\n\n### Peaks\n\nold\n",
      "## A Chip, 2 cores, 24 GiB\n\nWhere the time goes.\n",
      "### Peaks\n\nnew\n",
      "### By hand\n\nkept\n",
      "### Steps\n\nnew\n",
      "## A Chip, 24 cores\n\n### Peaks\n\nold\n",
    ].join("\n"),
  );
});

Deno.test("results: writing the same again changes nothing", () => {
  const once = withResults(undefined, MACHINE, [section("Peaks", "a"), section("Steps", "b")]);
  assertEquals(
    withResults(once, MACHINE, [section("Steps", "b"), section("Peaks", "a")]),
    once,
  );
});
