import { assert, assertEquals } from "@std/assert";
import { extend, layers, pipe, radRwkv6, radRwkv7, validate, withFlags } from "../../mod.ts";
import { type Mixer, withMixerFlags } from "../../dsl/mixers.ts";
import { conversion, loose } from "./example.ts";

/** A mixer as a recipe has it. */
const read = (mixer: Mixer): Mixer => {
  return extend(conversion, { surgery: [layers.all.to(mixer)] }).surgery[0].mixer;
};

Deno.test("radRwkv7: each flag for itself, the rest as published", () => {
  const published = radRwkv7();
  assertEquals(read(radRwkv7({ rope: false })), { ...published, rope: false });
  assertEquals(read(radRwkv7({ balanceState: true })), { ...published, balanceState: true });
  assertEquals(read(radRwkv7({ groupNorm: false })), { ...published, groupNorm: false });
  assertEquals(read(radRwkv7({ gate: 0 })), { ...published, gate: 0 });
  assertEquals(read(radRwkv7({ gate: undefined, rope: undefined })), published);
});

Deno.test("radRwkv6: each flag for itself, the rest as published", () => {
  const published = radRwkv6();
  assertEquals(published, {
    kind: "radRwkv6",
    rope: false,
    tokenShift: true,
    balanceState: true,
    groupNorm: false,
    gate: 1,
    ranks: { tokenShift: "auto", decay: "auto", gate: "auto" },
    reinitialise: [],
  });
  assertEquals(read(radRwkv6({ rope: true })), { ...published, rope: true });
  assertEquals(read(radRwkv6({ tokenShift: false })), { ...published, tokenShift: false });
  assertEquals(read(radRwkv6({ balanceState: false })), { ...published, balanceState: false });
  assertEquals(read(radRwkv6({ groupNorm: true })), { ...published, groupNorm: true });
  assertEquals(read(radRwkv6({ gate: 2 })), { ...published, gate: 2 });
  const ranks = { ...published.ranks, tokenShift: 16 };
  assertEquals(read(radRwkv6({ ranks: { tokenShift: 16 } })), { ...published, ranks });
  assertEquals(read(radRwkv6({ reinitialise: true })).kind, "radRwkv6");
  const json = loose(extend(conversion, { surgery: [layers.all.to(published)] }));
  json.surgery[0].mixer = { kind: "radRwkv6" };
  assertEquals(extend(json, {}).surgery[0].mixer, published);
});

Deno.test("radRwkv6: withFlags changes it, and flags of the other mixer are found", () => {
  const base = extend(conversion, { surgery: [layers.all.to(radRwkv6())] });
  const changed = pipe(base, withFlags({ tokenShift: false, gate: 0 }));
  assertEquals(changed.surgery[0].mixer, radRwkv6({ tokenShift: false, gate: 0 }));
  const wrong = radRwkv6({ ranks: { iclr: 8 }, valueResidual: 1 } as never);
  assertEquals(
    validate({ ...base, surgery: [layers.all.to(wrong)] }).map(({ path, hint }) => [path, hint]),
    [
      ["surgery[0].mixer.valueResidual", undefined],
      ["surgery[0].mixer.ranks.iclr", undefined],
    ],
  );
  const shift = radRwkv7({ tokenShift: true } as never);
  const [{ path, expected }] = validate({ ...base, surgery: [layers.all.to(shift)] });
  assertEquals(path, "surgery[0].mixer.tokenShift");
  assertEquals(
    expected,
    "one of the keys kind, rope, balanceState, groupNorm, gate, ranks, reinitialise",
  );
});

Deno.test("radRwkv7: ranks are automatic but for those that are written", () => {
  const auto = radRwkv7().ranks;
  assertEquals(read(radRwkv7({ ranks: "auto" })).kind, "radRwkv7");
  assertEquals(radRwkv7({ ranks: {} }).ranks, auto);
  assertEquals(radRwkv7({ ranks: { decay: 64 } }).ranks, { ...auto, decay: 64 });
  const json = loose(conversion);
  json.surgery[0].mixer.ranks = "auto";
  assertEquals(extend(json, {}), conversion);
  json.surgery[0].mixer.ranks = { gate: "auto" };
  assertEquals(extend(json, {}), conversion);
});

Deno.test("radRwkv7: re-initialised projections, all, some, in one order", () => {
  const all = ["receptance", "key", "value", "output"];
  assertEquals<unknown>(radRwkv7({ reinitialise: true }).reinitialise, all);
  assertEquals(radRwkv7({ reinitialise: false }), radRwkv7());
  assert(Object.isFrozen(radRwkv7({ reinitialise: true }).reinitialise));
  const some = radRwkv7({ reinitialise: ["output", "key", "key"] });
  assertEquals(some.reinitialise, ["key", "output"]);
  assertEquals(read(some), some);
  const json = loose(conversion);
  json.surgery[0].mixer.reinitialise = true;
  assertEquals(extend(json, {}).surgery[0].mixer, radRwkv7({ reinitialise: true }));
});

Deno.test("withMixerFlags: changes what it names and leaves mistakes to validation", () => {
  const base = radRwkv7({ rope: false, ranks: { decay: 64 } });
  assertEquals(withMixerFlags(base, { gate: 1, rope: undefined }), { ...base, gate: 1 });
  assertEquals(withMixerFlags(base, { ranks: "auto" }).ranks, radRwkv7().ranks);
  const wrong = withMixerFlags(base, { ranks: 3, reinitialise: "key", kind: "x" } as never);
  assertEquals(
    validate({ ...conversion, surgery: [layers.all.to(wrong)] }).map(({ path }) => path),
    [
      "surgery[0].mixer.ranks",
      "surgery[0].mixer.reinitialise",
    ],
  );
});
