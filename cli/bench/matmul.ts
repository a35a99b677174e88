/** `deno task bench matmul`: GFLOPS of matrix products, beside PyTorch's. */

import { benchMatmul, type MatmulBench, matmulPeer } from "../../bench/matmul.ts";
import { preparePython } from "../../bench/python.ts";
import { rateCells } from "../profile_text.ts";
import { blasForms, formName } from "./forms.ts";
import type { BenchPart } from "./part.ts";

/** Products of the shapes that training has. */
export const matmulPart: BenchPart = {
  name: "matmul",
  title: "Matrix products",
  measure: async (flags, { all, say, threads, peaks, device }) => {
    const forms = blasForms(flags.blas, all);
    const withPeer = all || flags.vs !== undefined;
    if (withPeer) await preparePython(say);
    const ours: { form: string; peak: number; rows: readonly MatmulBench[] }[] = [];
    for (const blas of forms) {
      const peak = (await peaks(blas)).machineGflops;
      ours.push({ form: formName(blas), peak, rows: await device(benchMatmul, blas) });
    }
    const theirs = withPeer ? await matmulPeer(threads) : undefined;
    const head = ours.flatMap(({ form }) => [
      ...[`GFLOPS, ${form}`, "of peak"],
      ...(theirs === undefined ? [] : ["to torch"]),
    ]);
    const rows = ours[0].rows.map(({ m, n, k }, i) => [
      `${m} × ${n} × ${k}`,
      ...(theirs === undefined ? [] : [theirs[i].toFixed(1)]),
      ...ours.flatMap(({ rows, peak }) => [
        ...rateCells(rows[i].gflops, peak),
        ...(theirs === undefined ? [] : [`${(rows[i].gflops / theirs[i]).toFixed(2)} ×`]),
      ]),
    ]);
    return {
      content: [{
        rows: [["m × n × k", ...(theirs === undefined ? [] : ["GFLOPS, torch"]), ...head], ...rows],
      }],
      report: {
        products: ours.flatMap(({ form, rows }) =>
          rows.map((row, i) => ({ ...row, form, ...(theirs && { torch_gflops: theirs[i] }) }))
        ),
      },
    };
  },
};
