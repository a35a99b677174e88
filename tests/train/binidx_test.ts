import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { binidx } from "../../dsl/sources.ts";
import { openBinidx } from "../../formats/binidx/token_file.ts";
import { indexBytes } from "../../formats/binidx/write.ts";
import type { Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import { batchReader, splitTokens } from "../../train/data.ts";
import { slotWalk } from "../../train/sampling.ts";
import { checkSources } from "../../train/sources.ts";
import { temporaryFolder } from "../support/checkpoint.ts";

/** 20 GB of u16. */
const TOKENS = 10_000_000_000;
const DOCUMENT = 1_000_000_000;

/** Bytes that files give while something is done. */
function bytesRead(act: () => void): number {
  const { prototype } = Deno.FsFile;
  const readSync = prototype.readSync;
  let bytes = 0;
  prototype.readSync = function (into) {
    const count = readSync.call(this, into);
    bytes += count ?? 0;
    return count;
  };
  try {
    act();
  } finally {
    prototype.readSync = readSync;
  }
  return bytes;
}

Deno.test("a token file of 20 GB is opened, checked and sampled without being read", () => {
  using temporary = temporaryFolder();
  const prefix = join(temporary.folder, "large");
  const lengths = Int32Array.from({ length: TOKENS / DOCUMENT }, () => DOCUMENT);
  using idx = Deno.createSync(`${prefix}.idx`);
  for (const bytes of indexBytes(() => [lengths], "U16")) idx.writeSync(bytes);
  // A file with holes: nothing is stored but what is written below.
  using bin = Deno.createSync(`${prefix}.bin`);
  bin.truncateSync(2 * TOKENS);
  const put = (at: number, ...tokens: number[]) => {
    bin.seekSync(2 * at, Deno.SeekMode.Start);
    bin.writeSync(new Uint8Array(Uint16Array.from(tokens).buffer));
  };

  const context = 512;
  const walk = slotWalk(TOKENS - 1, context);
  assert(walk.prime * context > 0.999 * TOKENS, "the walk goes over the whole file");
  const starts = [1, 2, 3].map((sample) => walk.slot(sample) * context);
  assert(Math.max(...starts) * 2 > 2 ** 33, `far beyond what 32 bits address: ${starts}`);
  starts.forEach((start, i) => put(start + 510, 1000 + i, 2000 + i, 3000 + i));
  put(TOKENS - 1, 7);

  let opened = 0;
  const sampled = bytesRead(() => {
    opened = bytesRead(() => openBinidx(prefix).close());
    using file = openBinidx(prefix);
    assertEquals([file.length, file.documents], [TOKENS, 10]);
    assertEquals(file.document(9), { start: TOKENS - DOCUMENT, end: TOKENS });
    const { ids, targets } = batchReader(file, context, 3)(1);
    for (const i of [0, 1, 2]) {
      const row = [...ids.subarray(i * context + 509, (i + 1) * context)];
      assertEquals(row, [0, 1000 + i, 2000 + i]);
      assertEquals([...targets.subarray((i + 1) * context - 2, (i + 1) * context)], [
        2000 + i,
        3000 + i,
      ]);
    }
    const { train, heldOut } = splitTokens(file, 0.02);
    assertEquals(train.length + heldOut.length, TOKENS);
    assertEquals([...heldOut.read(heldOut.length - 2, 2)], [0, 7]);
  });
  assert(opened < 100, `${opened} bytes to open it`);
  assert(sampled < 3 * opened + 2 * 3 * (context + 1) + 100, `${sampled} bytes to sample it`);

  // What a run looks at before it begins: as many places in any file.
  const vocabulary = { tokenizer: {} as Tokenizer, vocabSize: 5000, folderOf: () => "" };
  const checked = bytesRead(() => checkSources([binidx(prefix)], vocabulary, () => {}));
  assert(checked < 40e6, `${checked} bytes to check it`);
});
