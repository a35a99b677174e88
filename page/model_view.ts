/// <reference lib="dom" />
/** What the page shows of one model: what it is, how it loads, what it writes. */

import type { ModelSpec } from "../models/config.ts";
import type { Speed } from "./turns.ts";
import { modelText, speedText, stateText } from "./words.ts";

/** A model's part of the page. */
export interface ModelView {
  describe(spec: ModelSpec): void;
  progress(bytes: number, total: number): void;
  ready(): void;
  /** Begins a text with its prompt. */
  begin(prompt: string): void;
  write(text: string): void;
  speed(speed: Speed): void;
  /** @param largest the state that fills the bar */
  state(bytes: number, largest: number, spec: ModelSpec): void;
  end(): void;
}

/** Puts a model's part, made of the page's template, at the end of a list. */
export function addModelView(list: HTMLElement, name: string, role: string): ModelView {
  const template = document.querySelector<HTMLTemplateElement>("#model")!;
  const view = (template.content.cloneNode(true) as DocumentFragment).firstElementChild!;
  const part = <T extends HTMLElement>(kind: string) => view.querySelector<T>(`.${kind}`)!;
  const heading = part("name");
  heading.textContent = `${role}: ${name}`;
  heading.id = `${role}-name`;
  view.setAttribute("aria-labelledby", heading.id);
  const [facts, loading, bar, amount, output, prompt, written, speed, state] = [
    ...["facts", "loading", "bar", "amount", "output", "prompt", "written", "speed", "state"],
  ].map((kind) => part(kind));
  const meter = part<HTMLMeterElement>("meter");
  output.setAttribute("aria-label", `Text of the ${role}`);
  bar.setAttribute("aria-label", `Weights of the ${role}`);
  meter.setAttribute("aria-label", `State of the ${role}`);
  list.append(view);
  return {
    describe: (spec) => facts.textContent = modelText(spec),
    progress: (bytes, total) => {
      (bar as HTMLProgressElement).max = total;
      (bar as HTMLProgressElement).value = bytes;
      const megabytes = (n: number) => (n / 1e6).toFixed(1);
      amount.textContent = `${megabytes(bytes)} of ${megabytes(total)} MB of weights`;
    },
    ready: () => loading.hidden = true,
    begin: (text) => {
      prompt.textContent = text;
      written.textContent = "";
      speed.textContent = "–";
      output.setAttribute("aria-busy", "true");
    },
    write: (text) => written.append(text),
    speed: (own) => speed.textContent = speedText(own),
    state: (bytes, largest, spec) => {
      state.textContent = stateText(bytes, spec);
      meter.max = largest;
      meter.value = bytes;
    },
    end: () => output.setAttribute("aria-busy", "false"),
  };
}
