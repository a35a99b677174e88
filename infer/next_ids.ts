/** Ids that the texts of a session go on with. */

/** Of every text as many, [batch][count]; nothing of a text that rests. */
export type NextIds = readonly (ArrayLike<number> | undefined)[];

/** How many ids every text has. Throws where they are not as many, or not in the vocabulary. */
export function commonLength(ids: NextIds, batch: number, vocabSize: number): number {
  const texts = ids.filter((text) => text !== undefined);
  const count = texts[0]?.length ?? 0;
  if (ids.length !== batch || count === 0 || texts.some((text) => text.length !== count)) {
    throw new Error(`session: expected ${batch} texts of one length above 0`);
  }
  for (const text of texts) {
    for (let i = 0; i < count; i++) {
      if (!(text[i] >= 0 && text[i] < vocabSize)) {
        throw new RangeError(`session: id ${text[i]}, expected 0 … ${vocabSize - 1}`);
      }
    }
  }
  return count;
}
