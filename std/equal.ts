/** Deep equality as `@std/assert` defines it. */

/**
 * Whether two values are equal in depth: same constructor, same own enumerable keys and symbols,
 * same elements. `NaN` equals `NaN` and `0` equals `-0`; Maps and Sets compare whatever their order.
 */
export function equal(a: unknown, b: unknown): boolean {
  return compare(a, b, new Map());
}

/** `seen` holds the pairs that are being compared further up: a cycle is equal where it closes. */
function compare(a: unknown, b: unknown, seen: Map<object, unknown>): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a === "number" && typeof b === "number") return a === b;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (!sameConstructor(a, b)) return false;
  if (seen.get(a) === b) return true;
  seen.set(a, b);

  if (a instanceof Date) return Object.is(a.getTime(), (b as Date).getTime());
  if (a instanceof RegExp || a instanceof URL) return String(a) === String(b);
  if (a instanceof WeakMap || a instanceof WeakSet || a instanceof WeakRef) return false;
  if (a instanceof ArrayBuffer || a instanceof SharedArrayBuffer) {
    return sameElements(new Uint8Array(a), new Uint8Array(b as ArrayBuffer));
  }
  if (a instanceof DataView) return sameElements(bytesOf(a), bytesOf(b as DataView));
  if (ArrayBuffer.isView(a)) {
    return sameElements(a as unknown as ArrayLike<number>, b as unknown as ArrayLike<number>);
  }
  if (a instanceof Map) return sameMap(a, b as Map<unknown, unknown>, seen);
  if (a instanceof Set) return sameSet(a, b as Set<unknown>, seen);
  if (a instanceof Error) {
    const other = b as Error;
    if (a.name !== other.name || a.message !== other.message) return false;
    if (!compare(a.cause, other.cause, seen)) return false;
  }
  return sameProperties(a, b, seen);
}

function sameConstructor(a: object, b: object): boolean {
  // An object without a prototype equals a plain one.
  return a.constructor === b.constructor ||
    (a.constructor === Object && !b.constructor) || (b.constructor === Object && !a.constructor);
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Elements of typed arrays, which hold numbers or BigInts only. */
function sameElements(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i] && !Object.is(a[i], b[i])) return false;
  }
  return true;
}

function sameMap(
  a: Map<unknown, unknown>,
  b: Map<unknown, unknown>,
  seen: Map<object, unknown>,
): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) {
    if (b.has(key)) {
      if (!compare(value, b.get(key), seen)) return false;
    } else {
      const other = [...b].find(([candidate]) => compare(key, candidate, new Map(seen)));
      if (other === undefined || !compare(value, other[1], seen)) return false;
    }
  }
  return true;
}

function sameSet(a: Set<unknown>, b: Set<unknown>, seen: Map<object, unknown>): boolean {
  if (a.size !== b.size) return false;
  for (const value of a) {
    if (b.has(value)) continue;
    if (![...b].some((candidate) => compare(value, candidate, new Map(seen)))) return false;
  }
  return true;
}

function sameProperties(a: object, b: object, seen: Map<object, unknown>): boolean {
  const keys = propertiesOf(a);
  if (keys.length !== propertiesOf(b).length) return false;
  return keys.every((key) =>
    Object.hasOwn(b, key) &&
    compare(
      (a as Record<PropertyKey, unknown>)[key],
      (b as Record<PropertyKey, unknown>)[key],
      seen,
    )
  );
}

function propertiesOf(value: object): PropertyKey[] {
  const symbols = Object.getOwnPropertySymbols(value)
    .filter((symbol) => Object.prototype.propertyIsEnumerable.call(value, symbol));
  return [...Object.keys(value), ...symbols];
}
