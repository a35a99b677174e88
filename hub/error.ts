/** What went wrong between us and a hub: what was found, and what to do about it. */

/** A request that the hub does not grant, or a download that does not come to its end. */
export class HubError extends Error {
  override readonly name = "HubError";

  /**
   * @param found in the words that follow "found"
   * @param passing whether the same request may be granted a little later
   */
  constructor(
    readonly found: string,
    readonly advice: string,
    readonly passing: boolean,
    options?: ErrorOptions,
  ) {
    super(`found ${found}; ${advice}`, options);
  }
}

/** What a request was for. */
export interface Wanted {
  readonly name: string;
  readonly revision: string;
  readonly endpoint: string;
  /** Whether a token was sent along. */
  readonly withToken: boolean;
}

/**
 * What a refusal means, by the status and the hub's own X-Error-Code. A hub answers 401 also for
 * models that do not exist, so that nobody learns the names of private ones.
 */
export function refusal(response: Response, wanted: Wanted): HubError {
  const { status, headers } = response;
  const { name, revision, endpoint, withToken } = wanted;
  const page = `${endpoint}/${name}`;
  const login = `set HF_TOKEN (${endpoint}/settings/tokens) or run "hf auth login"`;
  const error = (found: string, advice: string) => new HubError(found, advice, false);
  switch (headers.get("x-error-code")) {
    case "RevisionNotFound":
      return error(`no revision "${revision}"`, `its branches and tags are on ${page}/tree/main`);
    case "EntryNotFound":
      return error(`that ${pathOf(response)} is gone`, "the repository has changed: try again");
    case "GatedRepo":
      return error(
        "a gated model",
        `accept its licence on ${page}` +
          (withToken ? " with the account of your token" : `, then ${login}`),
      );
  }
  if (status === 408 || status === 429 || status >= 500) {
    const found = status === 429 ? "too many requests (429)" : `a hub out of order (${status})`;
    const more = status === 429 && !withToken ? `; for higher limits ${login}` : "";
    return new HubError(found, `try again in a few minutes${more}`, true);
  }
  if (status === 401 && /invalid credentials/i.test(headers.get("x-error-message") ?? "")) {
    return error("that the hub refuses the token (401)", `${login} with one that is still valid`);
  }
  if (status === 401 || status === 404) {
    const which = withToken ? "that your token may read" : "that is public";
    const what = `no model of this name ${which} (${status})`;
    return error(what, `check the spelling${withToken ? "" : `; for a private model ${login}`}`);
  }
  if (status === 403) {
    return error("that the token does not allow it (403)", "use one that may read this model");
  }
  return error(`status ${status} for ${pathOf(response)}`, "check HF_ENDPOINT");
}

const pathOf = ({ url }: Response) => new URL(url).pathname;
