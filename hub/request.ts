/** Requests to a hub: the token goes to the hub alone, and refusals say what they mean. */

import { HubError, refusal, type Wanted } from "./error.ts";
import type { HubSettings } from "./settings.ts";

/** `fetch`, which throws HubError for any status but success and "range not satisfiable". */
export type Request = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** Makes requests for one revision of a model. */
export function requests(settings: HubSettings, name: string, revision: string): Request {
  const { endpoint, token } = settings;
  const wanted: Wanted = { name, revision, endpoint, withToken: token !== undefined };
  const { origin } = new URL(endpoint);
  return async (url, init) => {
    const headers = new Headers(init?.headers);
    // fetch itself takes the token off where a hub redirects to its storage.
    if (token !== undefined && new URL(url).origin === origin) {
      headers.set("authorization", `Bearer ${token}`);
    }
    let response: Response;
    try {
      response = await fetch(url, { ...init, headers });
    } catch (error) {
      throw unreachable(new URL(url).host, name, error);
    }
    if (response.ok || response.status === 416) return response;
    await response.body?.cancel();
    throw refusal(response, wanted);
  };
}

/** Why there is no answer. */
function unreachable(host: string, name: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) {
    const [, refused = host] = /net access to "([^"]+)"/.exec(error.message) ?? [];
    const advice = `run this first, which may reach any host: deno task fetch ${name}`;
    return new HubError(`that this task may not reach ${refused}`, advice, false, { cause: error });
  }
  if (!(error instanceof Error)) return error;
  const cause = error.cause instanceof Error ? error.cause.message : error.message;
  const why = /dns error|tcp connect error[^:]*|[^:]*timed out|[^:]*closed[^:]*/.exec(cause)?.[0];
  const advice = "check the network, its proxy (HTTPS_PROXY) and HF_ENDPOINT; " +
    "what is downloaded already is kept";
  const found = `no connection to ${host} (${why ?? cause})`;
  return new HubError(found, advice, true, { cause: error });
}
