/** `deno task bench matmul`: GFLOPS of matrix products, in turn with PyTorch's. */

import { benchMatmul, type MatmulBench, matmulPeer } from "../../bench/matmul.ts";
import { preparePython } from "../../bench/python.ts";
import { rateCells } from "../profile_text.ts";
import { type Form, formsOf } from "./forms.ts";
import { type BenchPart, machinePeaks, peerDevice } from "./part.ts";

/** Products of the shapes that training has: the best turn of each. */
export const matmulPart: BenchPart = {
  name: "matmul",
  title: "Matrix products",
  measure: async (flags, context) => {
    const { all, say, threads, device } = context;
    const forms = formsOf(flags, all);
    const withPeer = flags.vs !== undefined || all && flags.device === "cpu";
    const machine = { threads, python: flags.python, device: peerDevice(flags) };
    if (withPeer) await preparePython(say, flags.python);
    const turns = flags.turns ?? (withPeer && !flags.quick ? 3 : 1);
    const ours = new Map<Form, readonly MatmulBench[]>();
    let theirs: readonly number[] | undefined;
    for (let turn = 1; turn <= turns; turn++) {
      for (const form of forms) {
        const rows = await device(benchMatmul, form);
        const before = ours.get(form) ?? rows;
        ours.set(form, rows.map((row, i) => row.gflops < before[i].gflops ? before[i] : row));
      }
      if (!withPeer) continue;
      const rates = await matmulPeer(machine);
      theirs = rates.map((rate, i) => Math.max(rate, theirs?.[i] ?? 0));
    }
    const { machineGflops: peak } = await machinePeaks(context, forms);
    const ratio = (gflops: number, i: number) =>
      theirs === undefined ? [] : [`${(gflops / theirs[i]).toFixed(2)} ×`];
    const head = [...ours.keys()].flatMap(({ label }) => [
      ...[`GFLOPS, ${label}`, "of peak"],
      ...(theirs === undefined ? [] : ["to torch"]),
    ]);
    const [first] = ours.values();
    return {
      content: [{
        rows: [
          ["m × n × k", ...(theirs === undefined ? [] : ["GFLOPS, torch"]), ...head],
          ...first.map(({ m, n, k }, i) => [
            `${m} × ${n} × ${k}`,
            ...(theirs === undefined ? [] : [theirs[i].toFixed(1)]),
            ...[...ours.values()].flatMap((rows) => [
              ...rateCells(rows[i].gflops, peak),
              ...ratio(rows[i].gflops, i),
            ]),
          ]),
        ],
      }],
      report: {
        peak_gflops: peak,
        products: [...ours].flatMap(([form, rows]) =>
          rows.map((row, i) => ({
            ...row,
            form: form.label,
            ...(theirs && { torch_gflops: theirs[i], ratio: row.gflops / theirs[i] }),
          }))
        ),
      },
    };
  },
};
