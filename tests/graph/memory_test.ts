import { assert, assertEquals } from "@std/assert";
import * as g from "../../graph/build.ts";
import { planMemory } from "../../graph/memory.ts";
import { schedule } from "../../graph/schedule.ts";

Deno.test("memory: scratch of a step shares no byte with what lives while it runs", () => {
  const [x, y] = [g.input("x", [32, 64]), g.input("y", [64, 64])];
  const first = g.linear(x, y);
  const second = g.linear(first, y);
  const made = schedule([g.linear(second, y)], {
    epilogues: false,
    folds: false,
    accumulates: false,
  });
  assertEquals(made.steps.length, 3);
  const scratch = [[100, 200], [300], []];
  const memory = planMemory(made, scratch);
  const range = (place: ReturnType<typeof memory.place>, bytes: number) => {
    assert(place.kind === "arena");
    return { begin: place.offset, end: place.offset + bytes };
  };
  scratch.forEach((pieces, at) => {
    const live = [...made.steps[at].reads, ...made.steps[at].writes].flatMap((t) => {
      const place = memory.place(t);
      return place.kind === "arena" ? [range(place, memory.bytes(t))] : [];
    });
    const all = [...live, ...pieces.map((bytes, i) => range(memory.scratch(at, i), bytes))]
      .sort((a, b) => a.begin - b.begin);
    all.forEach(({ begin }, i) => assert(i === 0 || all[i - 1].end <= begin));
    all.forEach(({ end }) => assert(end <= memory.arenaBytes));
  });
});
