/**
 * Which pairs of symbols BPE merges, and in which order. The steps and the ties are those of
 * Hugging Face's trainer (tokenizers, models/bpe/trainer.rs), so that the same words give the same
 * merges: the most frequent pair first, of equally frequent ones that of the lowest ids.
 */

/** Words as symbols, and how often each occurs. */
export interface CountedWords {
  readonly words: readonly Int32Array[];
  readonly counts: readonly number[];
}

/** A merge of two symbols into a third. */
export interface Merge {
  readonly left: number;
  readonly right: number;
  readonly merged: number;
}

/** A pair that waits for its turn, with the words in which it was seen. */
interface Candidate {
  readonly key: number;
  count: number;
  readonly words: number[];
}

/** Two ids as one number; ids are below 2^24. */
const KEY = 1 << 24;

/**
 * Merges pairs until `full` says that the vocabulary is, or none is left.
 * @param symbolOf the id of the symbol that two make, which it may have to create
 */
export function mergePairs(
  { words, counts }: CountedWords,
  symbolOf: (left: number, right: number) => number,
  full: () => boolean,
): Merge[] {
  const symbols = words.map((word) => word.slice());
  const lengths = symbols.map((word) => word.length);
  const pairCounts = new Map<number, number>();
  const queue: Candidate[] = [];

  /** Words in which pairs were newly seen since the queue was last filled. */
  let seen = new Map<number, number[]>();
  const change = (left: number, right: number, word: number, sign: 1 | -1) => {
    const key = left * KEY + right;
    pairCounts.set(key, (pairCounts.get(key) ?? 0) + sign * counts[word]);
    if (sign < 0) return;
    const list = seen.get(key);
    if (list === undefined) seen.set(key, [word]);
    else if (list[list.length - 1] !== word) list.push(word);
  };
  const queueSeen = () => {
    for (const [key, list] of seen) {
      const count = pairCounts.get(key) ?? 0;
      if (count > 0) push(queue, { key, count, words: list });
    }
    seen = new Map();
  };

  for (const [word, ids] of symbols.entries()) {
    for (let i = 1; i < ids.length; i++) change(ids[i - 1], ids[i], word, 1);
  }
  queueSeen();

  const merges: Merge[] = [];
  while (!full()) {
    const top = pop(queue);
    if (top === undefined) break;
    const count = pairCounts.get(top.key) ?? 0;
    if (top.count !== count) {
      // Other merges took some of its places: it has to queue again.
      if (count > 0) push(queue, { ...top, count });
      continue;
    }
    const left = Math.floor(top.key / KEY);
    const right = top.key % KEY;
    const merged = symbolOf(left, right);
    merges.push({ left, right, merged });
    for (const word of top.words) {
      lengths[word] = mergeWord(
        symbols[word].subarray(0, lengths[word]),
        { left, right, merged },
        (a, b, sign) => change(a, b, word, sign),
      );
    }
    queueSeen();
  }
  return merges;
}

/** Merges a pair wherever it stands in a word, in place. Returns the new length. */
function mergeWord(
  ids: Int32Array,
  { left, right, merged }: Merge,
  change: (left: number, right: number, sign: 1 | -1) => void,
): number {
  let length = 0;
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] !== left || i + 1 === ids.length || ids[i + 1] !== right) {
      ids[length++] = ids[i];
      continue;
    }
    if (length > 0) {
      change(ids[length - 1], left, -1);
      change(ids[length - 1], merged, 1);
    }
    i++;
    if (i + 1 < ids.length) {
      change(right, ids[i + 1], -1);
      change(merged, ids[i + 1], 1);
    }
    ids[length++] = merged;
  }
  return length;
}

function before(a: Candidate, b: Candidate): boolean {
  return a.count !== b.count ? a.count > b.count : a.key < b.key;
}

/** Adds to a binary heap whose first element comes before all others. */
function push(heap: Candidate[], item: Candidate): void {
  let at = heap.length;
  heap.push(item);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(item, heap[parent])) break;
    heap[at] = heap[parent];
    at = parent;
  }
  heap[at] = item;
}

function pop(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const item = heap.pop();
  if (item === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], item)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = item;
  return top;
}
