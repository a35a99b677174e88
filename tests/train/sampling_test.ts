import { assert, assertEquals, assertThrows } from "@std/assert";
import { magicPrime, slotWalk } from "../../train/sampling.ts";
import { sharedPath } from "../support/shared.ts";

interface Walk {
  readonly tokens: number;
  readonly ctx: number;
  readonly magic_prime: number;
  readonly slots: Readonly<Record<string, number>>;
}

Deno.test("sampling: primes and slots are those of the published trainer", async () => {
  const { sampling } = JSON.parse(await Deno.readTextFile(sharedPath("golden", "manifest.json")));
  assert(sampling.length > 0);
  for (const { tokens, ctx, magic_prime, slots } of sampling as Walk[]) {
    const { prime, slot } = slotWalk(tokens, ctx);
    assertEquals(prime, magic_prime, `${tokens} / ${ctx}`);
    for (const [i, expected] of Object.entries(slots)) {
      assertEquals(slot(Number(i)), expected, `${tokens} / ${ctx}: slot of sample ${i}`);
    }
  }
});

Deno.test("sampling: the magic prime is the largest that is 2 modulo 3", () => {
  const isPrime = (n: number) => {
    for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
    return n > 1;
  };
  for (let n = 2; n < 700; n++) {
    let expected = n;
    while (!isPrime(expected) || expected % 3 !== 2) expected--;
    assertEquals(magicPrime(BigInt(n)), BigInt(expected), `${n}`);
  }
  assertThrows(() => magicPrime(1n), RangeError, "magic prime: expected at least 2 slots, found 1");
});

Deno.test("sampling: every slot below the prime is visited once before any twice", () => {
  for (const slots of [2, 3, 5, 6, 11, 100, 1000, 4099]) {
    const { prime, slot } = slotWalk(slots * 16 + 7, 16);
    const first = new Set(Array.from({ length: prime }, (_, i) => slot(i + 1)));
    assertEquals(first.size, prime);
    assert([...first].every((s) => s >= 0 && s < slots));
    assertEquals(slot(prime + 1), slot(1), "then it begins again");
  }
});

Deno.test("sampling: the factor is the golden one in exact integers", () => {
  // (√5−1)/2 to 60 digits.
  const golden = 618033988749894848204586834365638117720309179805762862135448n;
  for (const slots of [2, 11, 196_523, 10 ** 10]) {
    const { prime, slot } = slotWalk(slots, 1);
    const factor = BigInt(prime) * golden / 10n ** 60n;
    assertEquals(BigInt(slot(1)), factor % BigInt(prime));
  }
});

Deno.test("sampling: a text of one slot has that one", () => {
  const { prime, slot } = slotWalk(31, 16);
  assertEquals([prime, slot(1), slot(2), slot(99)], [1, 0, 0, 0]);
});
