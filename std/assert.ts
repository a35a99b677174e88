/**
 * The part of `@std/assert` that our tests use, over node:assert. Same names, same signatures: the
 * import map can point to jsr:@std/assert instead.
 */
import { AssertionError as NodeAssertionError } from "node:assert";
import { inspect } from "node:util";
import { equal } from "./equal.ts";

/** What a failed assertion throws. */
export class AssertionError extends NodeAssertionError {
  constructor(message: string, options?: ErrorOptions) {
    super({ message });
    if (options !== undefined && "cause" in options) this.cause = options.cause;
  }
}

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function show(value: unknown): string {
  return inspect(value, { depth: 6, maxArrayLength: 64, maxStringLength: 2000, sorted: true });
}

function failure(text: string, msg?: string): AssertionError {
  return new AssertionError(msg ? `${text}: ${msg}` : text);
}

/** Node's comparison of two values, line by line, where it finds a difference. */
function difference(actual: unknown, expected: unknown): string {
  const { message } = new NodeAssertionError({ actual, expected, operator: "deepStrictEqual" });
  return message.slice(message.indexOf("\n") + 1);
}

/** Throws an AssertionError unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Throws unless the two are equal in depth (see `equal`). */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  throw failure(
    `Values are not equal${msg ? `: ${msg}` : ""}\n${difference(actual, expected)}`,
  );
}

/** Throws if the two are equal in depth. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw failure(`Expected actual: ${show(actual)} not to be: ${show(expected)}`, msg);
}

/**
 * Throws unless the two numbers differ by `tolerance` at most; without one, by 1e-7 of the expected.
 */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (delta <= allowed) return;
  throw failure(
    `Expected actual: ${actual} to be close to ${expected}: delta ${delta} is greater than ${allowed}`,
    msg,
  );
}

function checkError<E extends Error>(
  error: unknown,
  expected?: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E {
  if (!(error instanceof Error)) {
    throw failure(`A non-Error object was thrown: ${show(error)}`, msg);
  }
  if (expected !== undefined && !(error instanceof expected)) {
    throw new AssertionError(
      `Expected error to be instance of ${expected.name}, but was ${error.constructor.name}` +
        (msg ? `: ${msg}` : ""),
      { cause: error },
    );
  }
  if (msgIncludes !== undefined && !error.message.includes(msgIncludes)) {
    throw new AssertionError(
      `Expected error message to include ${JSON.stringify(msgIncludes)}, ` +
        `but got ${JSON.stringify(error.message)}${msg ? `: ${msg}` : ""}`,
      { cause: error },
    );
  }
  return error as E;
}

/** Throws unless `fn` throws; returns what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Throws unless `fn` throws an error of the class whose message includes the text; returns it. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  // deno-lint-ignore no-explicit-any
  ErrorClass: abstract new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  classOrMessage?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const expected = typeof classOrMessage === "function" ? classOrMessage : undefined;
  const note = typeof classOrMessage === "string" ? classOrMessage : msg;
  let thrown: unknown;
  try {
    fn();
  } catch (error) {
    thrown = error;
    return expected === undefined ? thrown : checkError(thrown, expected, msgIncludes, note);
  }
  throw failure("Expected function to throw", note);
}

/** Rejects unless `fn` rejects; resolves to what it was rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Rejects unless `fn` rejects with an error of the class whose message includes the text. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  // deno-lint-ignore no-explicit-any
  ErrorClass: abstract new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  classOrMessage?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const expected = typeof classOrMessage === "function" ? classOrMessage : undefined;
  const note = typeof classOrMessage === "string" ? classOrMessage : msg;
  let promise: unknown;
  try {
    promise = fn();
  } catch (error) {
    throw new AssertionError(
      `Function throws when expected to reject${note ? `: ${note}` : ""}`,
      { cause: error },
    );
  }
  try {
    await promise;
  } catch (error) {
    return expected === undefined ? error : checkError(error, expected, msgIncludes, note);
  }
  throw failure("Expected function to reject", note);
}

/** Throws unless the text matches. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  // A global expression remembers where it stopped.
  if (new RegExp(expected.source, expected.flags.replace(/[gy]/g, "")).test(actual)) return;
  throw failure(`Expected actual: ${show(actual)} to match: ${expected}`, msg);
}

/** Throws unless the text includes the other. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw failure(`Expected actual: ${show(actual)} to contain: ${show(expected)}`, msg);
}

/** Throws unless `actual` > `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (actual > expected) return;
  throw failure(`Expect ${show(actual)} > ${show(expected)}`, msg);
}

/** Throws unless `actual` < `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (actual < expected) return;
  throw failure(`Expect ${show(actual)} < ${show(expected)}`, msg);
}

/** Always throws. */
export function fail(msg?: string): never {
  throw failure("Failed assertion", msg);
}
