/**
 * What a recipe module imports, read from its syntax. The loader follows these and nothing else, so
 * that what it has looked at is all that runs.
 */
import { parse, type ParseResult } from "@babel/parser";

/** One import of another module. */
export interface Import {
  /** As it is written. */
  readonly specifier: string;
  /** Where the text with its quotes begins and ends in the source. */
  readonly start: number;
  readonly end: number;
  /** Line and column, both from 1. */
  readonly place: string;
}

/** What the syntax of a module says: its imports, or why it cannot be a recipe's. */
export type Syntax =
  | { readonly ok: true; readonly imports: readonly Import[] }
  | { readonly ok: false; readonly why: string; readonly place?: string; readonly advice: string };

/** What all nodes of the syntax tree have. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly loc: { readonly start: { readonly line: number; readonly column: number } };
  /** The name of what is declared. */
  readonly id?: { readonly type: string };
}

interface Source extends Node {
  readonly value: string;
  readonly end: number;
}

/** The source and the attributes of `import` and `export … from`. */
interface Reexport extends Node {
  readonly source?: Source | null;
  readonly attributes?: readonly { readonly key: Named; readonly value: { value: string } }[];
}

interface Named {
  readonly name?: string;
  readonly value?: string;
}

/** Imports other than the static ones, and what they are called. */
const OTHER_IMPORTS: Readonly<Record<string, string>> = {
  ImportExpression: "import(…)",
  TSImportEqualsDeclaration: "import … = …",
  TSImportType: 'import("…") in a type',
};

/** What kind of import a node is that is no static one. */
function otherImport({ type, id }: Node): string | undefined {
  if (type === "TSModuleDeclaration" && id?.type === "StringLiteral") return 'declare module "…"';
  return Object.hasOwn(OTHER_IMPORTS, type) ? OTHER_IMPORTS[type] : undefined;
}

/**
 * Comments by which type checkers load files and URLs: `/// <reference`, `@deno-types`, `@ts-types`,
 * `@jsxImportSource`, and the imports of JSDoc.
 */
const IMPORTING_COMMENT =
  /^\/\s*<\s*reference|@(deno|ts|ts-self)-types|@jsx|^\*[^]*(@import|\bimport[\s*]*\()/i;

const placeOf = ({ loc: { start: { line, column } } }: Node) => `${line}:${column + 1}`;

/** The static imports of a module, in their order; any other kind of import is refused. */
export function readSyntax(source: string, language: "typescript" | "javascript"): Syntax {
  let tree: ParseResult;
  try {
    const plugins = language === "typescript" ? ["typescript" as const] : [];
    tree = parse(source, { sourceType: "module", plugins });
  } catch (error) {
    const advice = "Correct the module; `deno task check` finds more of the kind.";
    // The parser calls itself for what is nested.
    if (error instanceof RangeError) return { ok: false, why: "it is nested too deep", advice };
    if (!(error instanceof SyntaxError)) throw error;
    const { line, column } = (error as SyntaxError & { loc: { line: number; column: number } }).loc;
    const why = `SyntaxError: ${error.message.replace(/ \(\d+:\d+\)$/, "")}`;
    return { ok: false, why, place: `${line}:${column + 1}`, advice };
  }
  const other = find(tree.program, (node) => otherImport(node) !== undefined);
  if (other !== undefined) {
    return {
      ok: false,
      why: `it uses ${otherImport(other)}`,
      place: placeOf(other),
      advice: 'Import at the top of the module: import base from "./base.ts";',
    };
  }
  const comments = (tree.comments ?? []) as unknown as readonly (Node & { value: string })[];
  const importing = comments.find(({ value }) => IMPORTING_COMMENT.test(value));
  if (importing !== undefined) {
    return {
      ok: false,
      why: "it has a comment that loads types",
      place: placeOf(importing),
      advice: 'Import them at the top: import type { Recipe } from "@suture/suture";',
    };
  }
  const statements = tree.program.body as unknown as readonly Reexport[];
  const from = statements.filter(({ source }) => source);
  for (const statement of from) {
    const odd = statement.attributes?.find(({ key, value }) =>
      (key.name ?? key.value) !== "type" || value.value !== "json"
    );
    if (odd === undefined) continue;
    return {
      ok: false,
      why: "it imports with an attribute that recipes do not have",
      place: placeOf(statement),
      advice: 'Recipes import modules, and JSON by: with { type: "json" }.',
    };
  }
  const imports = from.map(({ source }) => {
    const { value: specifier, start, end } = source!;
    return { specifier, start, end, place: placeOf(source!) };
  });
  return { ok: true, imports };
}

/** The first node of a tree that fits, in the order of the source. */
function find(node: unknown, fits: (node: Node) => boolean): Node | undefined {
  const open = [node];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next !== "object" || next === null) continue;
    if (!Array.isArray(next) && fits(next as Node)) return next as Node;
    for (const inner of Object.values(next).reverse()) open.push(inner);
  }
}
