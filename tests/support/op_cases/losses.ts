import * as g from "../../../graph/build.ts";
import { ids, type OpCase, opCase, real } from "../op_case.ts";

/** Tokens, width, vocabulary, teacher's width, range of the hidden states. */
const sizes: readonly (readonly [number, number, number, number, number])[] = [
  [1, 1, 2, 1, 1],
  [1, 8, 101, 8, 1],
  [5, 7, 9, 4, 1],
  [21, 33, 130, 10, 1],
  [67, 16, 259, 16, 1],
  [6, 12, 66, 12, 12],
];

/** The head with its losses. */
export const lossCases: readonly OpCase[] = [
  ...sizes.flatMap(([tokens, width, vocabulary, teacherWidth, range]) => {
    const name = `[${tokens}, ${width}] vocabulary ${vocabulary}${range > 1 ? ", confident" : ""}`;
    const student = {
      hidden: real([tokens, width], -range, range),
      head: real([vocabulary, width]),
    };
    return [
      opCase(
        `cross_entropy ${name}`,
        { ...student, targets: ids([tokens], vocabulary) },
        ({ hidden, head, targets }) => g.crossEntropy(hidden, head, targets),
      ),
      opCase(
        `kl_divergence ${name}`,
        {
          ...student,
          teacherHidden: real([tokens, teacherWidth], -range, range),
          teacherHead: real([vocabulary, teacherWidth]),
        },
        ({ hidden, head, teacherHidden, teacherHead }) =>
          g.klDivergence(hidden, head, teacherHidden, teacherHead),
        ["hidden", "head"],
      ),
    ];
  }),
  opCase(
    "mean cross_entropy with a tied head",
    { table: real([19, 10]), at: ids([2, 4], 19), targets: ids([8], 19) },
    ({ table, at, targets }) => {
      const hidden = g.reshape(g.embedding(table, at), [8, 10]);
      return g.meanAll(g.crossEntropy(g.tanh(hidden), table, targets));
    },
  ),
  opCase(
    "losses that count differently",
    { hidden: real([5, 6]), head: real([7, 6]), targets: ids([5], 7), weight: real([5], 0, 1) },
    ({ hidden, head, targets, weight }) =>
      g.sum(g.mul(g.crossEntropy(hidden, head, targets), weight), [0]),
  ),
];
