/// <reference lib="dom" />
/** How the states of the models grow with their texts, drawn over logarithmic axes. */

import { stateBytes } from "../infer/state.ts";
import type { ModelSpec } from "../models/config.ts";
import { bytesText, LONG_TEXT } from "./words.ts";

/** A model in the chart. */
export interface ChartedModel {
  readonly role: string;
  readonly spec: ModelSpec;
}

/** The drawing. */
export interface StateChart {
  /** Puts the dots at the tokens that the texts have. */
  show(tokens: readonly number[]): void;
}

const HEIGHT = 200;
const [TOP, RIGHT, BOTTOM, LEFT] = [22, 16, 40, 68];
/** Powers of two between marks, across and up; the marks are then a factor of 8, 32 … apart. */
const ACROSS = 3;
const MOST_MARKS = 5;

type Attributes = Readonly<Record<string, string | number>>;

function svgElement(name: string, attributes: Attributes, text = ""): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, `${value}`);
  element.textContent = text;
  return element;
}

const tokensText = (tokens: number) => tokens >= 1024 ? `${tokens / 1024}K` : `${tokens}`;

/** Draws into a figure, and again whenever its width changes. */
export function drawStates(figure: HTMLElement, models: readonly ChartedModel[]): StateChart {
  const svg = figure.querySelector("svg")!;
  const dots = models.map((_, i) => svgElement("circle", { class: `dot model-${i}`, r: 5 }));
  const powers = (to: number) => Array.from({ length: to + 1 }, (_, power) => 2 ** power);
  let tokens = models.map(() => 0);
  let width = 0;
  /** Tokens at the right end, as a power of two. */
  let end = 0;
  let place = () => {};

  const draw = () => {
    end = Math.ceil(Math.log2(Math.max(LONG_TEXT, ...tokens)));
    const curves = models.map(({ spec }) =>
      powers(end).map((count) => ({ count, bytes: stateBytes(spec, 1, count) }))
    );
    const bytes = curves.flat().map((point) => point.bytes);
    const low = Math.floor(Math.log2(Math.min(...bytes)));
    const high = Math.max(low + 1, Math.ceil(Math.log2(Math.max(...bytes))));
    const x = (count: number) => LEFT + (width - LEFT - RIGHT) * Math.log2(count) / end;
    const y = (value: number) =>
      HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (Math.log2(value) - low) / (high - low);
    const up = Math.ceil((high - low) / MOST_MARKS);
    const marks = powers(high).slice(low).filter((_, i) => i % up === 0);
    const text = (left: number, top: number, anchor: string, content: string, kind = "") =>
      svgElement("text", { class: kind, x: left, y: top, "text-anchor": anchor }, content);
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("width", `${width}`);
    svg.setAttribute("height", `${HEIGHT}`);
    svg.replaceChildren(
      ...marks.flatMap((value) => [
        svgElement("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        text(LEFT - 8, y(value) + 4, "end", bytesText(value)),
      ]),
      ...powers(end).filter((_, power) => power % ACROSS === 0).map((count) =>
        text(x(count), HEIGHT - BOTTOM + 18, "middle", tokensText(count))
      ),
      text((LEFT + width - RIGHT) / 2, HEIGHT - 6, "middle", "tokens"),
      ...curves.map((points, i) =>
        svgElement("polyline", {
          class: `line model-${i}`,
          points: points.map(({ count, bytes }) => `${x(count)},${y(bytes)}`).join(" "),
        })
      ),
      // Names stand above the ends of their lines; one that would cover another stands below.
      ...models.map(({ role }, i) => {
        const height = (model: number) => y(curves[model][end].bytes);
        const covers = i > 0 && Math.abs(height(i) - height(0)) < 16;
        const top = height(i) + (covers ? 16 : -8);
        return text(width - RIGHT, top, "end", role, `name model-${i}`);
      }),
      ...dots,
    );
    place = () =>
      dots.forEach((dot, i) => {
        const count = tokens[i];
        dot.setAttribute("visibility", count === 0 ? "hidden" : "visible");
        if (count === 0) return;
        dot.setAttribute("cx", `${x(count)}`);
        dot.setAttribute("cy", `${y(stateBytes(models[i].spec, 1, count))}`);
      });
    place();
  };
  svg.setAttribute(
    "aria-label",
    models.map(({ role, spec }) => {
      const [first, then] = [1, LONG_TEXT].map((count) => bytesText(stateBytes(spec, 1, count)));
      return `State of the ${role}: ${first} at 1 token, ${then} at ${tokensText(LONG_TEXT)}`;
    }).join("; "),
  );
  figure.hidden = false;
  new ResizeObserver(([{ contentRect }]) => {
    width = Math.max(200, contentRect.width);
    draw();
  }).observe(figure);
  return {
    show: (counts) => {
      tokens = [...counts];
      if (width > 0 && Math.max(...tokens) > 2 ** end) draw();
      else place();
    },
  };
}
