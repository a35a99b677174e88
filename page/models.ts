/** What the page's server says that it has. */

/** The files of a checkpoint on a server. */
export interface ServedFiles {
  /** The URL that they are under. */
  readonly folder: string;
  readonly files: readonly string[];
}

/** A checkpoint that is served, and what it is called. */
export interface ServedModel extends ServedFiles {
  readonly name: string;
}

/** The student, and the teacher after it where there is one. */
export type Models = readonly ServedModel[];
