/** Long work on a terminal: one line that moves, or a plain line now and then elsewhere. */

import type { StepEvent } from "../train/stage.ts";
import { bytesText } from "./table.ts";

/** Shows what happens. */
export interface Progress {
  /** A line that stays. */
  note(line: string): void;
  /** Training. */
  step(event: StepEvent): void;
  /** Anything else; `total` 0 where it is not known. */
  count(what: string, done: number, total: number): void;
  /** Tokens that are being made of text. */
  tokens(event: TokenEvent): void;
  /** Bytes that arrive, `done` of `total`. */
  bytes(what: string, done: number, total: number): void;
  /** Ends the moving line. */
  end(): void;
}

/** How far the making of tokens is. */
export interface TokenEvent {
  readonly what: string;
  /** Of the text. */
  readonly bytesDone: number;
  readonly bytes: number;
  /** Tokens so far, and those of this call a second. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
}

/** How progress is shown. */
export interface ProgressOptions {
  readonly write: (text: string) => void;
  readonly terminal: boolean;
  /** Columns of the terminal. */
  readonly columns: number;
}

const BAR = 24;
/** Milliseconds between drawings of the moving line, and between plain lines. */
const FRAME = 100;
const LINE = 5000;
/** Weight of the last step in the smoothed loss and speed. */
const SMOOTHING = 0.1;

/** Seconds as `1:02:03` or `2:03`, from four days on as `4.2 days`. */
export function clock(seconds: number): string {
  const days = seconds / 86_400;
  if (days >= 4) return `${days.toLocaleString("en-US", { maximumFractionDigits: 1 })} days`;
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A bar of `BAR` characters. */
function bar(share: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * BAR * 8);
  const full = Math.floor(eighths / 8);
  const part = " ▏▎▍▌▋▊▉"[eighths % 8];
  return ("█".repeat(full) + (full < BAR ? part : "")).padEnd(BAR);
}

/** 12,345. */
const thousands = (n: number) => Math.round(n).toLocaleString("en-US");

/** Makes a display. */
export function createProgress({ write, terminal, columns }: ProgressOptions): Progress {
  let open = false;
  let shown = -Infinity;
  let stage = "";
  let loss = 0;
  let speed = 0;
  let download = { from: 0, since: 0, done: Infinity };

  const end = () => {
    if (open) write("\r\x1b[K");
    open = false;
  };
  const due = () => {
    const now = performance.now();
    if (now - shown < (terminal ? FRAME : LINE)) return false;
    shown = now;
    return true;
  };
  const draw = (line: string) => {
    if (!terminal) return write(`${line}\n`);
    write(`\r\x1b[K${[...line].slice(0, Math.max(20, columns - 1)).join("")}`);
    open = true;
  };
  return {
    note: (line) => {
      end();
      write(`${line}\n`);
    },
    step: (event) => {
      const fresh = event.stage !== stage || event.step === 1;
      stage = event.stage;
      loss = fresh ? event.loss : loss + SMOOTHING * (event.loss - loss);
      speed = fresh ? event.tokensPerSecond : speed + SMOOTHING * (event.tokensPerSecond - speed);
      if (!due() && event.step !== event.steps) return;
      const { step, steps, tokens } = event;
      const left = clock((steps - step) * (tokens / step) / speed);
      const share = `${String(Math.floor(100 * step / steps)).padStart(3)}%`;
      const middle = terminal ? `${bar(step / steps)} ` : "";
      draw(
        `${stage} ${middle}${share}  step ${step}/${steps}  loss ${loss.toFixed(4)}  ` +
          `${thousands(speed)} tokens/s  ${left} left`,
      );
    },
    tokens: ({ what, bytesDone, bytes, tokens, tokensPerSecond, secondsLeft }) => {
      if (!due() && bytesDone !== bytes) return;
      const share = bytes > 0 ? bytesDone / bytes : 1;
      const middle = terminal ? ` ${bar(share)}` : "";
      draw(
        `${what}${middle} ${String(Math.floor(100 * share)).padStart(3)}%  ` +
          `${thousands(tokens)} tokens  ${thousands(tokensPerSecond)} tokens/s  ` +
          `${clock(secondsLeft)} left`,
      );
    },
    count: (what, done, total) => {
      if (!due() && done !== total) return;
      const share = total > 0 ? ` ${bar(done / total)} ${Math.floor(100 * done / total)}%` : "";
      draw(
        `${what}${terminal ? share : ""}  ${thousands(done)}${total ? `/${thousands(total)}` : ""}`,
      );
    },
    bytes: (what, done, total) => {
      const now = performance.now();
      // What is there when it begins did not arrive now.
      if (done < download.done) download = { from: done, since: now, done };
      download.done = done;
      if (!due() && done !== total) return;
      const rate = (done - download.from) / Math.max(0.001, (now - download.since) / 1000);
      const left = rate > 0 ? `  ${clock((total - done) / rate)} left` : "";
      const share = `${String(Math.floor(100 * done / Math.max(1, total))).padStart(3)}%`;
      const middle = terminal ? `${bar(done / Math.max(1, total))} ` : "";
      draw(
        `${what} ${middle}${share}  ${bytesText(done)}/${bytesText(total)}  ` +
          `${bytesText(Math.round(rate))}/s${left}`,
      );
    },
    end,
  };
}

/** Progress on stderr. */
export function standardProgress(say: (line: string) => void): Progress {
  const terminal = Deno.stderr.isTerminal();
  const encoder = new TextEncoder();
  return createProgress({
    terminal,
    columns: terminal ? columnsOf() : 80,
    write: (text) =>
      terminal ? void Deno.stderr.writeSync(encoder.encode(text)) : say(text.trimEnd()),
  });
}

function columnsOf(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80;
  }
}
