/** What messages say where memory runs out. */

/** What is chosen elsewhere and decides how much memory is needed. */
export const NEEDS_LESS =
  "a smaller batch, a shorter context, accumulation, rematerialisation, a teacher in bf16 or " +
  "--weights in fewer bits need less";
