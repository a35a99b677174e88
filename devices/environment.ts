/** Variables of the environment, as far as a command may read them. */

/** The value of a variable; undefined where it is not set or may not be read. */
export function variable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  const value = state === "granted" ? Deno.env.get(name) : undefined;
  return value === "" ? undefined : value;
}
