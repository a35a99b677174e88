/** The constants behind a kernel's code. */

/** Constants under construction. */
export interface ConstantPool {
  /** Where an f32 lies. */
  real(value: number): number;
  /** Where 32 bits lie. */
  word(bits: number): number;
  /** Where a vector of words lies, at a multiple of 64 bytes. */
  words(bits: readonly number[]): number;
  bytes(): Uint8Array;
}

/** The bits of an f32. */
export function realBits(value: number): number {
  return new Uint32Array(new Float32Array([value]).buffer)[0];
}

/** An empty pool. */
export function constantPool(): ConstantPool {
  const words: number[] = [];
  const known = new Map<string, number>();
  const take = (key: string, bits: readonly number[], alignment: number): number => {
    const held = known.get(key);
    if (held !== undefined) return held;
    while (words.length % alignment !== 0) words.push(0);
    const at = words.length * 4;
    words.push(...bits);
    known.set(key, at);
    return at;
  };
  const pool: ConstantPool = {
    real: (value) => pool.word(realBits(value)),
    word: (bits) => take(String(bits >>> 0), [bits >>> 0], 1),
    words: (bits) => take(bits.join(), bits, 16),
    bytes: () => new Uint8Array(new Uint32Array(words).buffer),
  };
  return pool;
}
