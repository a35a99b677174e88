/** Tokens that are found in a text before anything else is done with it, such as `<|endoftext|>`. */

/** An entry of `added_tokens`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  /** Whether it is looked for in the text after the normalizer. */
  readonly normalized: boolean;
  /** Whether it takes the whitespace on its left, on its right. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A checked entry with its defaults. */
export function addedToken(entry: Readonly<Record<string, unknown>>): AddedToken {
  const special = entry.special === true;
  return {
    id: entry.id as number,
    content: entry.content as string,
    special,
    normalized: entry.normalized === undefined ? !special : entry.normalized === true,
    lstrip: entry.lstrip === true,
    rstrip: entry.rstrip === true,
  };
}

/** What lies between added tokens, as text, and the tokens, as ids. */
export type Section = string | number;

/** Cuts a text at the added tokens that it holds: the leftmost first, of those the longest. */
export function sectionSplitter(
  tokens: readonly AddedToken[],
  contentOf: (token: AddedToken) => string,
): (text: string) => readonly Section[] {
  if (tokens.length === 0) return (text) => text === "" ? [] : [text];
  const byContent = new Map(tokens.map((token) => [contentOf(token), token]));
  byContent.delete("");
  const longestFirst = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map(escape).join("|"), "gu");
  return (text) => {
    const sections: Section[] = [];
    let end = 0;
    let stripStart = false;
    const between = (from: number, to: number, stripEnd: boolean) => {
      let part = text.slice(from, to);
      if (stripStart) part = part.trimStart();
      if (stripEnd) part = part.trimEnd();
      if (part !== "") sections.push(part);
    };
    for (const match of text.matchAll(pattern)) {
      const token = byContent.get(match[0]) as AddedToken;
      between(end, match.index, token.lstrip);
      sections.push(token.id);
      end = match.index + match[0].length;
      stripStart = token.rstrip;
    }
    between(end, text.length, false);
    return sections;
  };
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, (c) => c === "-" ? "\\x2d" : `\\${c}`);
}
