import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { stateBytes } from "../../infer/state.ts";
import { bytesText, modelText, speedText, stateText } from "../../page/words.ts";
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

Deno.test("words: bytes in the unit that fits", () => {
  const bytes = [0, 1, 1023, 1024, 1536, 2 ** 20 - 1, 2 ** 26, 1.5 * 2 ** 40, 2 ** 60];
  assertEquals(bytes.map(bytesText), [
    ...["0 B", "1 B", "1,023 B", "1 KiB", "1.5 KiB", "1,024 KiB"],
    ...["64 MiB", "1.5 TiB", "1,048,576 TiB"],
  ]);
});

Deno.test("words: what a model is, and whether its state grows", () => {
  const config = smallConfig();
  const [constant, hybrid, window] = [
    [radRwkv7()],
    [radRwkv7(), ATTENTION],
    [{ ...ATTENTION, window: 4 }],
  ].map((mixers) => ({ config, mixers }));
  const [state] = [stateBytes(constant, 1, 0)].map(bytesText);
  assertEquals([0, 9].map((tokens) => stateText(constant, tokens)), [
    `${state}, constant`,
    `${state}, constant`,
  ]);
  const bytes = (tokens: number) => bytesText(stateBytes(hybrid, 1, tokens));
  assertEquals(stateText(hybrid, 9), `${bytes(9)}, growing to ${bytes(32768)} at 32K tokens`);
  assertEquals(stateText(hybrid, 40000), `${bytes(40000)}, growing with the text`);
  const windowed = (tokens: number) => bytesText(stateBytes(window, 1, tokens));
  assertEquals(stateText(window, 2), `${windowed(2)}, growing to ${windowed(4)} at 32K tokens`);
  assertMatch(modelText(constant), /^1 layer of RAD-RWKV7; [\d.]+K? parameters$/);
  assertMatch(modelText(hybrid), /^2 layers: 1 of RAD-RWKV7, 1 of attention; [\d.]+K? parameters$/);
});
