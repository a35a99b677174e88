/** `deno task fetch`: downloads a model into the Hugging Face cache. */

import { isModelName } from "../dsl/model_name.ts";
import { exists } from "../formats/files.ts";
import { fetchModel, parseLocation } from "../hub/find.ts";
import { downloadEvents } from "./checkpoints.ts";
import { command, main } from "./command/command.ts";
import { UsageError } from "./command/flags.ts";
import { standardProgress } from "./terminal/progress.ts";
import { bytesText } from "./terminal/table.ts";

/** The command. */
export const fetch = command({
  name: "fetch",
  summary: "downloads a model into the Hugging Face cache, or what is new of it",
  arguments: { NAME: "a model, as in Qwen/Qwen2.5-0.5B-Instruct, or NAME@REVISION" },
  flags: {},
  run: async ({ arguments: { NAME } }, { print, say }) => {
    const { location: name, revision = "main" } = parseLocation(NAME);
    if (!isModelName(name)) {
      throw new UsageError(`NAME: expected a model's name, found ${JSON.stringify(NAME)}`);
    }
    const progress = standardProgress(say);
    try {
      const events = downloadEvents(progress);
      const { folder, commit, bytes } = await fetchModel({ name, revision }, { events });
      progress.end();
      if (exists(name)) say(`other commands take the folder ${name} of this place for ${name}`);
      print(`${name} at commit ${commit}, ${bytesText(bytes)}, is in\n${folder}\n`);
      return { report: { name, revision, commit, folder, bytes } };
    } finally {
      progress.end();
    }
  },
});

if (import.meta.main) await main(fetch);
