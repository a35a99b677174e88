/** A Markdown file of results: a section a machine, in it a section a part. */

/** One part's results. */
export interface ResultSection {
  /** Without its `###`. */
  readonly title: string;
  readonly body: string;
}

/** The machine that they are of. */
export interface ResultMachine {
  /** How the heading of its section begins. */
  readonly key: string;
  /** Without its `##`. */
  readonly heading: string;
}

const FRESH = "# What was measured, and where\n";

/** A text in front of the first heading of a level, and every heading with what follows it. */
function split(text: string, level: string): { before: string; sections: string[] } {
  const [before, ...sections] = text.split(new RegExp(`^(?=${level} )`, "m"));
  // A text that begins with a heading has nothing in front of it.
  return before.startsWith(`${level} `)
    ? { before: "", sections: [before, ...sections] }
    : { before, sections };
}

const join = (parts: readonly string[]) =>
  `${parts.map((part) => part.trim()).filter((part) => part !== "").join("\n\n")}\n`;

/**
 * Puts results into the file's text: those of the same titles in the section of the same machine are
 * replaced, all else stays as it is.
 */
export function withResults(
  text: string | undefined,
  { key, heading }: ResultMachine,
  results: readonly ResultSection[],
): string {
  const { before, sections } = split(text ?? FRESH, "##");
  const isOwn = (section: string) => section.startsWith(`## ${key}`);
  const own = split(sections.find(isOwn)?.replace(/^.*\n?/, "") ?? "", "###");
  const parts = results.map(({ title, body }) => ({
    begin: `### ${title}\n`,
    text: `### ${title}\n\n${body}`,
  }));
  const kept = own.sections.map((section) =>
    parts.find(({ begin }) => section.startsWith(begin))?.text ?? section
  );
  const added = parts.filter(({ begin }) => !kept.some((section) => section.startsWith(begin)));
  const section = join([`## ${heading}`, own.before, ...kept, ...added.map(({ text }) => text)]);
  return join([
    before,
    ...(sections.some(isOwn)
      ? sections.map((other) => isOwn(other) ? section : other)
      : [...sections, section]),
  ]);
}
