import { assert, assertEquals, assertMatch } from "@std/assert";
import { clock, createProgress } from "../../../cli/terminal/progress.ts";
import {
  bytesText,
  countText,
  sideBySide,
  table,
  textColumns,
  wrap,
} from "../../../cli/terminal/table.ts";
import type { StepEvent } from "../../../train/stage.ts";

function event(step: number, more: Partial<StepEvent> = {}): StepEvent {
  return {
    stage: "align",
    step,
    steps: 100,
    loss: 2,
    gradientNorm: 1,
    learningRate: 1e-3,
    tokens: 100 * step,
    seconds: step,
    tokensPerSecond: 50,
    ...more,
  };
}

function watched(terminal: boolean, columns: number | (() => number) = 200) {
  let written = "";
  const progress = createProgress({
    write: (text) => written += text,
    terminal,
    columns: typeof columns === "number" ? () => columns : columns,
  });
  const taken = () => {
    const text = written;
    written = "";
    return text;
  };
  return { progress, taken };
}

Deno.test("progress: seconds as a clock", () => {
  const texts = [0, 59.4, 59.6, 61, 3599, 3600, 90061, 4.16 * 86_400, 1e8, -5].map(clock);
  assertEquals(texts, [
    "0:00",
    "0:59",
    "1:00",
    "1:01",
    "59:59",
    "1:00:00",
    "25:01:01",
    "4.2 days",
    "1,157.4 days",
    "0:00",
  ]);
});

Deno.test("progress: a bar with loss, tokens/s and time left on a terminal", () => {
  const { progress, taken } = watched(true);
  progress.step(event(25));
  const line = taken();
  assertEquals(
    line,
    "\r\x1b[Kalign ██████                    25%  step 25/100  loss 2.0000  50 tokens/s  2:30 left",
  );
  progress.step(event(26));
  assertEquals(taken(), "", "not more often than the eye sees");
  progress.note("checkpoint");
  assertEquals(taken(), "\r\x1b[Kcheckpoint\n");
  progress.step(event(100));
  assertMatch(taken(), /100%.*0:00 left$/);
  progress.end();
  progress.end();
  assertEquals(taken(), "\r\x1b[K", "the line goes once");
});

Deno.test("progress: loss and speed are smoothed within a stage", () => {
  const { progress, taken } = watched(true);
  progress.step(event(1, { loss: 4, tokensPerSecond: 100 }));
  progress.step(event(100, { loss: 2, tokensPerSecond: 200 }));
  assertMatch(taken(), /loss 3\.8000 {2}110 tokens\/s/);
  progress.step(event(100, { stage: "distill", loss: 1 }));
  assertMatch(taken(), /distill .*loss 1\.0000 {2}50 tokens/);
});

Deno.test("progress: where the terminal is narrow the bar is short, then what matters least goes", () => {
  let columns = 0;
  const { progress, taken } = watched(true, () => columns);
  const shown = (width: number) => {
    columns = width;
    progress.step(event(100));
    return taken().replace("\r\x1b[K", "");
  };
  const bar = (length: number) => `align ${"█".repeat(length)} 100%`;
  const all = "  step 100/100  loss 2.0000  50 tokens/s  0:00 left";
  assertEquals(shown(200), bar(24) + all);
  assertEquals(shown(79), bar(16) + all);
  assertEquals(shown(69), bar(6) + all);
  assertEquals(shown(68), `${bar(18)}  step 100/100  loss 2.0000  0:00 left`);
  assertEquals(shown(50), `${bar(14)}  loss 2.0000  0:00 left`);
  assertEquals(shown(32), `${bar(9)}  0:00 left`);
  assertEquals(shown(28), "align 100%  0:00 left");
  for (let width = 21; width < 120; width++) assert(shown(width).length < width);
});

Deno.test("progress: plain lines now and then where there is no terminal", () => {
  const { progress, taken } = watched(false);
  progress.step(event(1));
  progress.step(event(2));
  progress.count("tokenising", 1, 0);
  progress.step(event(100));
  progress.end();
  const lines = taken();
  assertMatch(lines, /^align {3}1% {2}step 1\/100 .*\nalign 100% {2}step 100\/100 .*\n$/);
  // deno-lint-ignore no-control-regex
  assert(!/[\r\x1b█]/.test(lines));
});

Deno.test("progress: other work, with and without a known end", () => {
  const { progress, taken } = watched(true);
  progress.count("writing samples", 2500, 10000);
  assertMatch(taken(), /writing samples ██████ +25% {2}2,500\/10,000$/);
  progress.count("writing samples", 10000, 10000);
  assertMatch(taken(), /100% {2}10,000\/10,000$/);
  const other = watched(true);
  other.progress.count("tokenising", 1234, 0);
  assertEquals(other.taken(), "\r\x1b[Ktokenising  1,234 so far");
});

Deno.test("progress: tokens that are made of text, with their speed and the time left", () => {
  const made = {
    what: "tokenising",
    bytesDone: 250,
    bytes: 1000,
    tokens: 12_345,
    tokensPerSecond: 6789.4,
    secondsLeft: 75,
  };
  const { progress, taken } = watched(true);
  progress.tokens(made);
  assertMatch(taken(), /tokenising ██████ +25% {2}12,345 tokens {2}6,789 tokens\/s {2}1:15 left$/);
  const plain = watched(false);
  plain.progress.tokens({ ...made, bytesDone: 0, bytes: 0 });
  assertEquals(plain.taken(), "tokenising 100%  12,345 tokens  6,789 tokens/s  1:15 left\n");
});

Deno.test("tables: columns as wide as they must be, numbers to the right", () => {
  assertEquals(
    table([["", "loss"], ["teacher", "1.5"], ["ü", "10.25"]]),
    "          loss\n──────────────\nteacher    1.5\nü        10.25\n",
  );
});

Deno.test("tables: what is wider than the terminal goes on below, with the first column", () => {
  const rows = [["", "tokens", "loss", "speed"], ["teacher", "", "1.5", "200"]];
  const whole =
    "         tokens  loss  speed\n────────────────────────────\nteacher           1.5    200\n";
  assertEquals(table(rows, 28), whole);
  assertEquals(
    table(rows, 27),
    "         tokens\n───────────────\nteacher\n\n" +
      "         loss  speed\n────────────────────\nteacher   1.5    200\n",
  );
  // What cannot be made narrower stays as wide as it is.
  assertEquals(table(rows, 3).split("\n\n").length, 3);
  assertEquals(table([["a", "b"]], 1), "a  b\n────\n");
});

Deno.test("tables: letters of East Asia take two columns, marks take none", () => {
  assertEquals(["abc", "老人", "e\u0301", "🙂", "カナ한"].map(textColumns), [3, 4, 1, 2, 6]);
  assertEquals(table([["", "n"], ["老人", "1"]]), "      n\n───────\n老人  1\n");
  assertEquals(wrap("很久很久以前 once", 7), ["很久很", "久以前", "once"]);
});

Deno.test("tables: bytes and counts", () => {
  assertEquals([0, 1023, 1024, 1536, 2 ** 20, 20 * 2 ** 30, 2 ** 52].map(bytesText), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 KiB",
    "1.0 MiB",
    "20.0 GiB",
    "4096.0 TiB",
  ]);
  assertEquals([0, 999, 1000, 1.05e6, 3e9, 2.5e12, 1e18].map(countText), [
    "0",
    "999",
    "1.00 K",
    "1.05 M",
    "3.00 G",
    "2.50 T",
    "1.00 E",
  ]);
});

Deno.test("tables: text in two columns, cut at words", () => {
  assertEquals(wrap("the old whale\n\nswam", 8), ["the old", "whale", "", "swam"]);
  assertEquals(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
  const texts = [
    { title: "teacher", text: "a 鯨 swam" },
    { title: "student", text: "one two three four five six seven" },
  ] as const;
  assertEquals(
    sideBySide(...texts, 60),
    `teacher${" ".repeat(21)} │ student\n` +
      `a 鯨 swam${" ".repeat(19)} │ one two three four five six\n` +
      `${" ".repeat(28)} │ seven\n`,
  );
  assertEquals(
    sideBySide(...texts, 20),
    "teacher\n───────\na 鯨 swam\n\nstudent\n───────\none two three four\nfive six seven\n",
  );
});

Deno.test("progress: bytes that arrive, from those that are there already", () => {
  const { progress, taken } = watched(true);
  progress.bytes("downloading x", 512, 1024);
  assertEquals(
    taken(),
    `\r\x1b[Kdownloading x ${"█".repeat(12)}${" ".repeat(12)}  50%  512 B/1.0 KiB  0 B/s`,
  );
  progress.bytes("downloading x", 600, 1024);
  assertEquals(taken(), "", "not more often than the eye sees");
  progress.bytes("downloading x", 1024, 1024);
  assertMatch(taken(), /x █{24} 100% {2}1\.0 KiB\/1\.0 KiB {2}[\d.]+ [KM]iB\/s {2}0:00 left$/);
  progress.end();

  const plain = watched(false);
  plain.progress.bytes("downloading x", 0, 0);
  assertEquals(plain.taken(), "downloading x   0%  0 B/0 B  0 B/s\n");
});
