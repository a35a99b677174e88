/** The hub that make_fixtures.py downloads from. Prints its URL and runs until stdin ends. */

import { temporaryFolder } from "../support/checkpoint.ts";
import { writeTeacher } from "../train/support.ts";
import { serveHub } from "./hub_server.ts";
import { COMMIT, hubFiles, repository } from "./support.ts";

const SMALL = {
  hidden_size: 16,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
};

using temporary = temporaryFolder();
const files = hubFiles(writeTeacher(temporary.folder, SMALL));
const models = {
  "suture/whole": repository(files),
  "suture/config-only": repository(files, { refs: { main: COMMIT, "v1.0": COMMIT } }),
};
// Python takes every redirect within a host for one to a renamed model.
await using hub = serveHub(models, "localhost");
console.log(hub.endpoint);
for await (const _ of Deno.stdin.readable);
