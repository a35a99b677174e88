/** A device that times every launch of some runs of its programs. */

import type { Device, Executable, ProfileRow } from "./device.ts";

/** Where the time of one part of some work goes. */
export interface PartProfile {
  /** What `Bindings.name` has after its colon; empty where there is none. */
  readonly part: string;
  /** Runs of the part in all. */
  readonly runs: number;
  /** Of the run that was timed last. */
  readonly rows: readonly ProfileRow[];
}

/** Where the time of some work goes, part by part. */
export interface WorkProfile {
  /** What `Bindings.name` has before its colon: a stage, for one. */
  readonly name: string;
  readonly parts: readonly PartProfile[];
}

interface Work {
  readonly parts: Map<string, { runs: number; rows: readonly ProfileRow[] }>;
  programs: number;
  /** Resolves when all runs that were timed are over. */
  timed: Promise<unknown>;
}

const NAMELESS = "programs without a name";

/** Runs 1, 2, 4, 8, …: the later, the more like all others, and never more than a few. */
export const EVERY_DOUBLING = (run: number): boolean => (run & (run - 1)) === 0;

/**
 * A device on which the runs that `wanted` names, counted from 1 for every program, are timed launch
 * by launch; what they compute stays the same. Soon after the last program of some work is freed, or
 * before the device is closed, `onDone` is told of it, unless none of its runs was timed.
 */
export function profiled(
  device: Device,
  wanted: (run: number) => boolean,
  onDone: (profile: WorkProfile) => void,
): Device {
  const works = new Map<string, Work>();
  const told: Promise<void>[] = [];
  const finish = (name: string, work: Work) => {
    works.delete(name);
    const own = work.timed.then(() => tell(name, work));
    told.push(own);
    // `close` waits for it, and throws what it throws.
    own.catch(() => {});
  };
  const tell = (name: string, { parts }: Work) => {
    const timed = [...parts].filter(([, { rows }]) => rows.length > 0);
    if (timed.length === 0) return;
    onDone({ name, parts: timed.map(([part, own]) => ({ part, ...own })) });
  };
  return {
    ...device,
    compile: (results, bindings): Executable => {
      const executable = device.compile(results, bindings);
      const [, name, part = ""] = /^(.*?)(?:: ([^:]*))?$/.exec(bindings.name ?? NAMELESS)!;
      const work: Work = works.get(name) ??
        { parts: new Map(), programs: 0, timed: Promise.resolve() };
      works.set(name, work);
      work.programs++;
      const own = work.parts.get(part) ?? { runs: 0, rows: [] };
      work.parts.set(part, own);
      let runs = 0;
      const profile = () => {
        own.runs++;
        const timed = executable.profile();
        work.timed = Promise.all([work.timed, timed.then((rows) => own.rows = rows)]);
        work.timed.catch(() => {});
        return timed;
      };
      return {
        ...executable,
        profile,
        run: () => {
          if (wanted(++runs)) profile();
          else {
            own.runs++;
            executable.run();
          }
        },
        free: () => {
          executable.free();
          if (--work.programs === 0) finish(name, work);
        },
      };
    },
    close: async () => {
      [...works].forEach(([name, work]) => finish(name, work));
      try {
        await Promise.all(told);
      } finally {
        await device.close();
      }
    },
  };
}
