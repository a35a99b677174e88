/** Files of a server, read by ranges. */

/** A part of a file. */
export interface FilePart {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of the whole file. */
  readonly size: number;
}

/** What a server answered, where that was no success. */
function refused(url: string, expected: string, { status, statusText }: Response): never {
  throw new Error(`${url}: expected ${expected}, found ${status} ${statusText}; is the server up?`);
}

/** What a server answers; a browser's own error does not say of which address it is. */
async function answerOf(url: string, options?: RequestInit): Promise<Response> {
  try {
    return await fetch(url, options);
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`${url}: expected an answer, found none (${message}); is the server up?`);
  }
}

/**
 * The bytes of a file from `begin` to before `end`, or to the file's end.
 * @throws Error where the server sends anything else.
 */
export async function readRange(url: string, begin: number, end: number): Promise<FilePart> {
  const response = await answerOf(url, { headers: { range: `bytes=${begin}-${end - 1}` } });
  const [, first, size] = /^bytes (\d+)-\d+\/(\d+)$/
    .exec(response.headers.get("content-range") ?? "") ?? [];
  if (response.status !== 206 || Number(first) !== begin) {
    refused(url, `bytes ${begin} to ${end}`, response);
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  const wanted = Math.min(end, Number(size)) - begin;
  if (bytes.length !== wanted) {
    throw new Error(`${url}: expected ${wanted} bytes at ${begin}, found ${bytes.length}`);
  }
  return { bytes, size: Number(size) };
}

/** A text file. */
export async function readText(url: string): Promise<string> {
  const response = await answerOf(url);
  return response.ok ? await response.text() : refused(url, "a file", response);
}
