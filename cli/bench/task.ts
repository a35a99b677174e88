/** Tasks as processes of their own: the memory of a process is its largest ever. */

import { FormatError } from "../../formats/error.ts";

/**
 * Runs `deno task NAME WORDS --json` and returns its report. What it says on stderr is passed on.
 * @throws FormatError where it fails
 */
export async function taskReport(
  name: string,
  words: readonly string[],
): Promise<Readonly<Record<string, unknown>>> {
  const args = ["task", "--quiet", name, ...words, "--json"];
  const output = await new Deno.Command("deno", { args, stdout: "piped", stderr: "inherit" })
    .output();
  const text = new TextDecoder().decode(output.stdout);
  if (output.success) return JSON.parse(text);
  throw new FormatError({
    file: `deno ${args.join(" ")}`,
    expected: "to run",
    found: `exit code ${output.code}`,
    advice: "see its message above",
  });
}
