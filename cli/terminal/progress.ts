/** Long work on a terminal: one line that moves, or a plain line now and then elsewhere. */

import type { StepEvent } from "../../train/stage.ts";
import { bytesText, textColumns } from "./table.ts";
import { terminalColumns } from "./columns.ts";

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
  /** Columns of the terminal, which may change. */
  readonly columns: () => number;
}

/** Characters of a bar at most, and at least; a bar with less is none. */
const [BAR, SHORT_BAR] = [24, 6];
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

/** A bar of so many characters. */
function bar(share: number, length: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * length * 8);
  const full = Math.floor(eighths / 8);
  const part = " ▏▎▍▌▋▊▉"[eighths % 8];
  return ("█".repeat(full) + (full < length ? part : "")).padEnd(length);
}

/** A line of progress. */
interface Line {
  readonly what: string;
  /** Of 1; undefined where no end is known. */
  readonly share?: number;
  /** What is told of it; the higher the rank, the sooner it is left out. */
  readonly told: readonly { readonly text: string; readonly rank: number }[];
}

/**
 * A line with a bar. Where the terminal is narrow the bar is short; then what matters least is left
 * out, and the bar at last.
 */
function lineText({ what, share, told }: Line, columns: number, bars: boolean): string {
  const percent = share === undefined ? "" : ` ${`${Math.floor(100 * share)}`.padStart(3)}%`;
  const texts = (rank: number) =>
    told.filter((one) => one.rank <= rank).map(({ text }) => `  ${text}`);
  const written = (rank: number, length: number) =>
    `${what}${length > 0 ? ` ${bar(share!, length)}` : ""}${percent}${texts(rank).join("")}`;
  const room = (rank: number) => columns - textColumns(written(rank, 0)) - 1;
  const ranks = [...new Set(told.map(({ rank }) => rank))].sort((a, b) => b - a);
  if (bars && share !== undefined) {
    for (const rank of ranks) {
      const length = Math.min(BAR, room(rank));
      if (length >= SHORT_BAR) return written(rank, length);
    }
  }
  return written(ranks.find((rank) => room(rank) >= -1) ?? ranks[ranks.length - 1], 0);
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
  const draw = (line: Line) => {
    if (!terminal) return write(`${lineText(line, Infinity, false)}\n`);
    // A line that reaches the last column may go on in the next row.
    const room = Math.max(20, columns() - 1);
    write(`\r\x1b[K${[...lineText(line, room, true)].slice(0, room).join("")}`);
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
      draw({
        what: stage,
        share: step / steps,
        told: [
          { text: `step ${step}/${steps}`, rank: 2 },
          { text: `loss ${loss.toFixed(4)}`, rank: 1 },
          { text: `${thousands(speed)} tokens/s`, rank: 3 },
          { text: `${left} left`, rank: 0 },
        ],
      });
    },
    tokens: ({ what, bytesDone, bytes, tokens, tokensPerSecond, secondsLeft }) => {
      if (!due() && bytesDone !== bytes) return;
      draw({
        what,
        share: bytes > 0 ? bytesDone / bytes : 1,
        told: [
          { text: `${thousands(tokens)} tokens`, rank: 1 },
          { text: `${thousands(tokensPerSecond)} tokens/s`, rank: 2 },
          { text: `${clock(secondsLeft)} left`, rank: 0 },
        ],
      });
    },
    count: (what, done, total) => {
      if (!due() && done !== total) return;
      const known = total > 0;
      draw({
        what,
        ...(known && { share: done / total }),
        told: [{
          text: `${thousands(done)}${known ? `/${thousands(total)}` : " so far"}`,
          rank: 0,
        }],
      });
    },
    bytes: (what, done, total) => {
      const now = performance.now();
      // What is there when it begins did not arrive now.
      if (done < download.done) download = { from: done, since: now, done };
      download.done = done;
      if (!due() && done !== total) return;
      const rate = (done - download.from) / Math.max(0.001, (now - download.since) / 1000);
      const left = rate > 0 ? [{ text: `${clock((total - done) / rate)} left`, rank: 0 }] : [];
      draw({
        what,
        share: done / Math.max(1, total),
        told: [
          { text: `${bytesText(done)}/${bytesText(total)}`, rank: 1 },
          { text: `${bytesText(Math.round(rate))}/s`, rank: 2 },
          ...left,
        ],
      });
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
    columns: () => terminalColumns(Deno.stderr),
    write: (text) =>
      terminal ? void Deno.stderr.writeSync(encoder.encode(text)) : say(text.trimEnd()),
  });
}
