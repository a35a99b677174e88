/** What `deno task plan` prints. */

import { scheduleText } from "../../dsl/schedules.ts";
import type { StageBudget } from "../../plan/budget.ts";
import type { Fleet } from "../../plan/fleets.ts";
import type { Plan } from "../../plan/plan.ts";
import { clock } from "../terminal/progress.ts";
import { bytesText, countText, paragraph, table } from "../terminal/table.ts";

/** What is planned, and what the paper says of the same. */
export interface Planned {
  readonly plan: Plan;
  /** FLOPs of a token in each layer's mixer. */
  readonly layerFlops: readonly number[];
  readonly budgets: readonly StageBudget[];
  readonly fleet: Fleet;
  /** Hours that the paper reports for each stage. */
  readonly published?: readonly number[];
}

/** Dollars as 12.34, or 1,234 where cents do not matter. */
export function dollarsText(dollars: number): string {
  return dollars < 100
    ? `$${dollars.toFixed(2)}`
    : `$${Math.round(dollars).toLocaleString("en-US")}`;
}

/** Seconds of this machine as a clock; of a fleet, which is paid by the hour, in hours. */
export function timeText(seconds: number, { holdsModels }: Pick<Fleet, "holdsModels">): string {
  if (seconds < 1) return "<1 s";
  if (holdsModels) return clock(seconds);
  return seconds < 18 ? "<0.01 h" : `${(seconds / 3600).toFixed(2)} h`;
}

/** A relative difference as +12 %. */
export function residualText(found: number, expected: number): string {
  const percent = Math.round(100 * (found / expected - 1));
  return `${percent > 0 ? "+" : percent < 0 ? "−" : "±"}${Math.abs(percent)} %`;
}

/** All of them together. */
export const sum = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0);

/** The flags of converting mixers, in brackets after their names. */
const FLAGS = /(RAD-RWKV\d) \(([^)]*)\)/g;

/** A row for neighbouring layers that are alike; flags stand once, under the table. */
function layerTable({ layers }: Plan, flops: readonly number[], columns: number): string {
  const rows: { first: number; last: number; cells: readonly string[] }[] = [];
  for (const [i, { layer, from, to, parameters, copied, stateBytes }] of layers.entries()) {
    const cells = [
      from.replace(FLAGS, "$1"),
      to.replace(FLAGS, "$1"),
      countText(parameters),
      countText(copied),
      bytesText(4 * parameters),
      countText(Math.round(flops[i])),
      bytesText(stateBytes),
    ];
    const before = rows.at(-1);
    if (before?.cells.join() === cells.join()) before.last = layer;
    else rows.push({ first: layer, last: layer, cells });
  }
  const flags = layers.flatMap(({ from, to }) =>
    [...`${from} ${to}`.matchAll(FLAGS)].map(([, name, flags]) => `${name}: ${flags}\n`)
  );
  return table([
    ["layers", "from", "to", "parameters", "copied", "bytes", "FLOPs/token", "state at 32K"],
    ...rows.map(({ first, last, cells }) => [
      first === last ? `${first}` : `${first}-${last}`,
      ...cells,
    ]),
  ], columns) + [...new Set(flags)].join("");
}

function stageTable({ plan, budgets, fleet, published }: Planned, columns: number): string {
  const hours = published === undefined ? [] : ["paper", "residual"];
  return table([
    [
      ...["stage", "kind", "steps", "tokens", "context", "batch", "trains", "FLOPs", "time"],
      ...hours,
      ...(fleet.price > 0 ? ["cost"] : []),
    ],
    ...plan.stages.map((stage, i) => {
      const { flops, seconds, dollars } = budgets[i];
      return [
        stage.name,
        stage.kind,
        `${stage.steps}`,
        countText(stage.tokens),
        `${stage.context}`,
        `${stage.batch}`,
        countText(stage.trained),
        countText(flops),
        timeText(seconds, fleet),
        ...(published === undefined
          ? []
          : [`${published[i].toFixed(2)} h`, residualText(seconds, 3600 * published[i])]),
        ...(fleet.price > 0 ? [dollarsText(dollars)] : []),
      ];
    }),
  ], columns);
}

function memoryTable({ plan, budgets, fleet }: Planned, columns: number): string {
  return table([
    [
      fleet.devices === 1 ? "memory" : "memory of a device",
      ...["weights", "gradients", "optimizer", "activations", "kept", "computed again"],
      ...(fleet.devices === 1 ? [] : ["gathered"]),
      ...(fleet.holdsModels ? ["process"] : []),
      ...["all", "fits"],
    ],
    ...plan.stages.map(({ name }, i) => {
      const { memory, fits } = budgets[i];
      return [
        name,
        bytesText(memory.weights),
        bytesText(memory.gradients),
        bytesText(memory.optimizer),
        bytesText(memory.activations),
        bytesText(memory.kept),
        bytesText(memory.rematerialised),
        ...(fleet.devices === 1 ? [] : [bytesText(memory.gathered)]),
        ...(fleet.holdsModels ? [bytesText(memory.process)] : []),
        bytesText(memory.total),
        fits ? "yes" : "no",
      ];
    }),
  ], columns);
}

/** On what the numbers rest. */
function basis({ plan, fleet }: Planned): string[] {
  const speeds = [...new Set(plan.stages.map(({ kind }) => kind))].map((kind) =>
    `${kind} ${countText(fleet.speed[kind])}FLOP/s`
  ).join(", ");
  if (fleet.holdsModels) {
    return [
      `times are for this machine, from a few steps of a small model: ${speeds}; ` +
      "reading the data and measuring the models come on top",
    ];
  }
  return [
    `${fleet.name}: ${speeds} a device, fitted to the paper's hours on 8x MI300X and assumed ` +
    `elsewhere; ${dollarsText(fleet.price)} an hour of a device (--price)`,
    "bf16 with f32 weights and moments in the optimizer, all sharded over the devices (FSDP, " +
    "ZeRO stage 3)",
  ];
}

/** What will be done, without what it takes. */
export function outlineText(plan: Plan, layerFlops: readonly number[]): string {
  const stages = table([
    ["stage", "kind", "steps", "tokens", "context", "batch", "trains"],
    ...plan.stages.map(({ name, kind, steps, tokens, context, batch, trained }) => [
      ...[name, kind, `${steps}`, countText(tokens), `${context}`, `${batch}`],
      countText(trained),
    ]),
  ]);
  return `${layerTable(plan, layerFlops, Infinity)}\n${stages}`;
}

/** The whole plan, for a terminal of so many columns. */
export function planText(planned: Planned, columns = Infinity): string {
  const { plan, layerFlops, budgets, fleet, published } = planned;
  const { teacher } = plan;
  const seconds = sum(budgets.map((budget) => budget.seconds));
  const money = fleet.price > 0 ? `, ${dollarsText(sum(budgets.map((b) => b.dollars)))}` : "";
  const paper = published === undefined ? "" : `; the paper reports ${sum(published)} h, ` +
    `${residualText(seconds, 3600 * sum(published))}`;
  const lines = [
    `student: ${countText(plan.parameters)} parameters, ${bytesText(plan.weightBytes)} in f32, ` +
    `state at 32K ${bytesText(plan.stateBytesAt32K)}`,
    ...(teacher === undefined ? [] : [
      `teacher: ${countText(teacher.parameters)} parameters, ` +
      `state at 32K ${bytesText(teacher.stateBytesAt32K)}`,
    ]),
    `training: ${countText(sum(budgets.map(({ flops }) => flops)))} FLOPs, ` +
    `${timeText(seconds, fleet)}${money}${paper}`,
    ...plan.stages.flatMap(({ name, lr, mixerLr }) =>
      mixerLr === undefined
        ? []
        : [`${name}: learning rate ${scheduleText(lr)}, mixers ${scheduleText(mixerLr)}`]
    ),
    ...plan.stages.flatMap(({ name }, i) => {
      const { advice, memory, bandwidthBound } = budgets[i];
      return [
        ...(advice === undefined ? [] : [
          `${name}: needs ${bytesText(memory.total)} of the ${bytesText(fleet.memory)} of a ` +
          `device: ${advice}`,
        ]),
        ...(bandwidthBound ? [`${name}: the memory's bandwidth decides its time`] : []),
      ];
    }),
    ...basis(planned),
  ];
  const tables = [
    layerTable(plan, layerFlops, columns),
    stageTable(planned, columns),
    memoryTable(planned, columns),
  ];
  const told = lines.map((line) => paragraph(line, columns));
  return `${tables.join("\n")}\n${told.join("\n")}\n`;
}
