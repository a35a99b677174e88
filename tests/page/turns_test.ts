import { assertEquals, assertRejects } from "@std/assert";
import { speedText, stateText } from "../../page/words.ts";
import { takeTurns, withTurn } from "../../page/turns.ts";
import { ATTENTION, radRwkv7, smallConfig } from "../support/model.ts";

/** Counts up, and notes when it ends. */
async function* counting(from: number, count: number, ended: number[]): AsyncGenerator<number> {
  try {
    for (let i = 0; i < count; i++) yield from + i;
  } finally {
    ended.push(from);
  }
}

Deno.test("turns: a token of each text until all have ended", async () => {
  const ended: number[] = [];
  const found: (readonly [number, number | undefined])[] = [];
  const texts = [counting(10, 1, ended), counting(20, 3, ended)];
  for await (const { text, id } of takeTurns(texts, () => false)) found.push([text, id]);
  assertEquals(found, [
    ...[[0, 10], [1, 20], [0, undefined], [1, 21], [1, 22], [1, undefined]] as const,
  ]);
  assertEquals(ended, [10, 20]);
});

Deno.test("turns: texts end where they are stopped, and where one of them fails", async () => {
  const ended: number[] = [];
  const found: (number | undefined)[] = [];
  const texts = [counting(10, 9, ended), counting(20, 9, ended)];
  for await (const { id } of takeTurns(texts, () => found.length === 3)) found.push(id);
  assertEquals([found, ended], [[10, 20, 11], [10, 20]]);

  // deno-lint-ignore require-yield
  async function* failing(): AsyncGenerator<number> {
    throw await Promise.resolve(new Error("out of memory"));
  }
  const turns = takeTurns([counting(30, 9, ended), failing()], () => false);
  await assertRejects(async () => await Array.fromAsync(turns), Error, "out of memory");
  assertEquals(ended, [10, 20, 30]);
});

Deno.test("turns: the first token is the prompt's, the speed is of those after it", () => {
  const turn = (seconds: number) => ({ text: 0, id: 1, seconds });
  const first = withTurn(undefined, turn(2));
  assertEquals(speedText(first), "prompt in 2.00 s");
  const third = withTurn(withTurn(first, turn(0.1)), turn(0.3));
  assertEquals(third, { promptSeconds: 2, tokens: 2, seconds: 0.4 });
  assertEquals(speedText(third), "5.0 tokens/s, prompt in 2.00 s");
});

Deno.test("words: whether a state grows", () => {
  const config = smallConfig();
  assertEquals(stateText(10240, { config, mixers: [radRwkv7()] }), "10,240 bytes, constant");
  assertEquals(
    stateText(10240, { config, mixers: [radRwkv7(), ATTENTION] }),
    "10,240 bytes, growing with the text",
  );
});
