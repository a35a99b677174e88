/** Which hub and which cache, by the variables that Python's huggingface_hub reads. */

import { join } from "node:path";
import { FormatError, systemError } from "../formats/error.ts";

/** Where models come from and where they are kept. */
export interface HubSettings {
  /** The folder of the cache: `~/.cache/huggingface/hub` unless something else is asked for. */
  readonly cache: string;
  /** URL of the hub, without a slash at the end. */
  readonly endpoint: string;
  readonly token?: string;
  /** Whether nothing may be asked of the hub. */
  readonly offline: boolean;
}

const ENDPOINT = "https://huggingface.co";

const isTrue = (value: string | undefined) => /^(1|on|yes|true)$/i.test(value ?? "");

/**
 * Reads the environment: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME; HF_ENDPOINT; HF_TOKEN or the file
 * that `hf auth login` writes; HF_HUB_OFFLINE.
 * @param variable the value of a variable
 * @throws FormatError for an endpoint that is no URL, and a token file that cannot be read.
 */
export function hubSettings(
  variable: (name: string) => string | undefined = Deno.env.get,
): HubSettings {
  const user = variable("HOME") ?? variable("USERPROFILE") ?? ".";
  const expanded = (path: string) => path.replace(/^~(?=$|[/\\])/, user);
  const given = (...names: string[]) => {
    const value = names.map(variable).find((text) => text !== undefined && text !== "");
    return value === undefined ? undefined : expanded(value);
  };
  const home = given("HF_HOME") ?? join(given("XDG_CACHE_HOME") ?? join(user, ".cache"), FOLDER);
  const token = given("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") ??
    readToken(given("HF_TOKEN_PATH") ?? join(home, "token"));
  return {
    cache: given("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"),
    endpoint: readEndpoint(variable("HF_ENDPOINT") || ENDPOINT),
    ...(token === undefined || token.trim() === "" ? {} : { token: token.trim() }),
    offline: isTrue(variable("HF_HUB_OFFLINE")),
  };
}

const FOLDER = "huggingface";

function readEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "https:" || url?.protocol === "http:") return text.replace(/\/+$/, "");
  throw new FormatError({
    file: "HF_ENDPOINT",
    expected: `a URL such as ${ENDPOINT}`,
    found: JSON.stringify(text),
    advice: "correct the variable, or unset it",
  });
}

function readToken(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw systemError(path, "read", error);
  }
}
