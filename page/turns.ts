/** Several texts that are written side by side, a token of each at a time. */

/** One token of one text. */
export interface Turn {
  /** The number of the text. */
  readonly text: number;
  /** The token; undefined where the text has ended. */
  readonly id: number | undefined;
  /** How long it took, without the turns of the others. */
  readonly seconds: number;
}

/** Takes turns until all texts have ended or it is stopped; none is left open. */
export async function* takeTurns(
  texts: readonly AsyncGenerator<number>[],
  stopped: () => boolean,
): AsyncGenerator<Turn> {
  let going = texts.map((_, text) => text);
  try {
    while (going.length > 0) {
      const left: number[] = [];
      for (const text of going) {
        if (stopped()) return;
        const begin = performance.now();
        const { value, done } = await texts[text].next();
        const id: number | undefined = done ? undefined : value;
        if (!done) left.push(text);
        yield { text, id, seconds: (performance.now() - begin) / 1000 };
      }
      going = left;
    }
  } finally {
    await Promise.all(texts.map((text) => text.return(undefined)));
  }
}

/** How fast a text is written: the prompt's time, and tokens and seconds after the first token. */
export interface Speed {
  readonly promptSeconds: number;
  readonly tokens: number;
  readonly seconds: number;
}

/** The speed after one more turn. */
export function withTurn(speed: Speed | undefined, { seconds }: Turn): Speed {
  if (speed === undefined) return { promptSeconds: seconds, tokens: 0, seconds: 0 };
  return { ...speed, tokens: speed.tokens + 1, seconds: speed.seconds + seconds };
}
