/** A headless Chromium with WebGPU in software, spoken to by its DevTools protocol. */

/** Programs that may be there, the smallest first. */
const PROGRAMS = ["chromium-headless-shell", "chromium", "google-chrome"];
const MISSING = `expected ${PROGRAMS.join(" or ")}, found none; on Debian: ` +
  "apt-get install --no-install-recommends chromium-headless-shell";

const FLAGS = [
  ...["--headless", "--no-sandbox", "--no-first-run", "--remote-debugging-port=0"],
  ...["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
];

/** Parameters and results of the protocol. */
// deno-lint-ignore no-explicit-any
type Values = Record<string, any>;

/** A tab. */
export interface Tab {
  /** What went wrong so far: exceptions, errors on the console, refused requests. */
  readonly problems: readonly string[];
  /** Calls a method of the DevTools protocol. */
  call(method: string, parameters?: Values): Promise<Values>;
  /** The value of an expression, as JSON has it; promises are awaited. */
  evaluate<T>(expression: string): Promise<T>;
  /** Waits until an expression is true; throws with the tab's problems after some minutes. */
  until(expression: string, seconds?: number): Promise<void>;
  /** Goes to an address. */
  open(url: string): Promise<void>;
}

/** A browser; it ends when it is disposed of. */
export interface Chromium extends AsyncDisposable {
  tab(): Promise<Tab>;
}

function start(folder: string): Deno.ChildProcess {
  for (const program of PROGRAMS) {
    try {
      return new Deno.Command(program, {
        args: [...FLAGS, `--user-data-dir=${folder}`, "about:blank"],
        stdin: "null",
        stdout: "null",
        stderr: "piped",
      }).spawn();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new Error(MISSING);
}

/** The address that a browser says it listens at, and the reading of the rest of what it says. */
async function addressOf(
  process: Deno.ChildProcess,
): Promise<{ url: string; rest: Promise<void> }> {
  const reader = process.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`chromium ended: ${said}`);
    said += value;
    const [url] = /ws:\/\/\S+(?=\s)/.exec(said) ?? [];
    if (url === undefined) continue;
    const drain = async () => {
      while (!(await reader.read()).done);
    };
    return { url, rest: drain() };
  }
}

/** A tab of a browser of its own, on a page of this machine, which may use WebGPU; a blank page may not. */
export async function openBlankTab(): Promise<Tab & AsyncDisposable> {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response("", { headers: { "content-type": "text/html" } }),
  );
  const browser = await openChromium();
  const tab = await browser.tab();
  await tab.open(`http://127.0.0.1:${server.addr.port}/`);
  return {
    ...tab,
    [Symbol.asyncDispose]: async () => {
      await browser[Symbol.asyncDispose]();
      await server.shutdown();
    },
  };
}

/** Starts a browser. Throws, saying what to install, where there is none. */
export async function openChromium(): Promise<Chromium> {
  const folder = Deno.makeTempDirSync({ prefix: "suture-chromium-" });
  const process = start(folder);
  const { url, rest } = await addressOf(process);
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`chromium: no connection to ${url}`));
  });
  let calls = 0;
  const waiting = new Map<number, (message: Values) => void>();
  const listeners = new Map<string, (message: Values) => void>();
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.id === undefined) return listeners.get(message.sessionId)?.(message);
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  };
  const call = async (method: string, params: Values, sessionId?: string): Promise<Values> => {
    const id = ++calls;
    const answer = new Promise<Values>((resolve) => waiting.set(id, resolve));
    socket.send(JSON.stringify({ id, method, params, sessionId }));
    const { result, error } = await answer;
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  };

  const tab = async (): Promise<Tab> => {
    const { targetId } = await call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
    const problems: string[] = [];
    let loaded = () => {};
    listeners.set(sessionId, ({ method, params }) => {
      if (method === "Page.loadEventFired") loaded();
      if (method === "Runtime.exceptionThrown") {
        const { text, exception } = params.exceptionDetails;
        problems.push(`${text} ${exception?.description ?? ""}`);
      }
      if (method === "Log.entryAdded" && params.entry.level === "error") {
        problems.push(`${params.entry.text} ${params.entry.url ?? ""}`);
      }
    });
    const own = (method: string, parameters: Values = {}) => call(method, parameters, sessionId);
    for (const domain of ["Page", "Runtime", "Log"]) await own(`${domain}.enable`);
    const evaluate = async <T>(expression: string): Promise<T> => {
      const { result, exceptionDetails } = await own("Runtime.evaluate", {
        expression,
        awaitPromise: true,
        returnByValue: true,
      });
      if (exceptionDetails !== undefined) {
        throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      }
      return result.value;
    };
    return {
      problems,
      call: own,
      evaluate,
      until: async (expression, seconds = 300) => {
        for (const end = Date.now() + 1000 * seconds; !await evaluate<boolean>(expression);) {
          if (problems.length > 0 || Date.now() > end) {
            throw new Error(`waited for ${expression}: ${problems.join("\n")}`);
          }
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      },
      open: async (url) => {
        const done = new Promise<void>((resolve) => loaded = resolve);
        await own("Page.navigate", { url });
        await done;
      },
    };
  };

  return {
    tab,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise((resolve) => socket.onclose = resolve);
      await call("Browser.close", {});
      await process.status;
      await Promise.all([rest, closed]);
      Deno.removeSync(folder, { recursive: true });
    },
  };
}
