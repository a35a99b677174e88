/**
 * Which stretch of the text is sample i: the cubic "magic prime" walk of the RWKV trainers, which
 * visits every slot once before any twice. Exact integers throughout.
 */

function isPrime(n: bigint): boolean {
  if (n < 2n) return false;
  for (const p of [2n, 3n, 5n, 7n]) if (n % p === 0n) return n === p;
  for (let d = 11n; d * d <= n; d += 2n) if (n % d === 0n) return false;
  return true;
}

/** The largest prime p ≤ n with p ≡ 2 (mod 3), for which cubes are a permutation. */
export function magicPrime(n: bigint): bigint {
  if (n < 2n) throw new RangeError(`magic prime: expected at least 2 slots, found ${n}`);
  let p = n - (n - 2n) % 3n;
  // 2 is such a prime.
  while (!isPrime(p)) p -= 3n;
  return p;
}

/** Integer square root: ⌊√n⌋. */
function sqrt(n: bigint): bigint {
  if (n < 2n) return n;
  let x = 1n << BigInt((n.toString(2).length + 1) >> 1);
  for (let y = (x + n / x) >> 1n; y < x; y = (x + n / x) >> 1n) x = y;
  return x;
}

/** The slots of a token stream. */
export interface SlotWalk {
  readonly prime: number;
  /** Slot of sample i, from 1. */
  slot(i: number): number;
}

/**
 * slot(i) = (⌊p·(√5−1)/2⌋·i³) mod p, p the magic prime of ⌊tokens/context⌋. A stream with only one
 * slot has that one.
 */
export function slotWalk(tokens: number, context: number): SlotWalk {
  const slots = BigInt(Math.floor(tokens / context));
  if (slots === 1n) return { prime: 1, slot: () => 0 };
  const p = magicPrime(slots);
  // ⌊p·(√5−1)/2⌋ = ⌊(⌊√(5p²)⌋ − p)/2⌋ since 5p² is never a square.
  const factor = (sqrt(5n * p * p) - p) / 2n;
  return {
    prime: Number(p),
    slot: (i) => {
      const n = BigInt(i);
      return Number(factor * n * n * n % p);
    },
  };
}
