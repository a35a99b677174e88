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
  /** The state after some tokens of the text. */
  state(spec: ModelSpec, tokens: number): void;
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
  const [facts, loading, amount, output, prompt, written, speed, state] = [
    ...["facts", "loading", "amount", "output", "prompt", "written", "speed", "state"],
  ].map((kind) => part(kind));
  const bar = part<HTMLProgressElement>("bar");
  output.setAttribute("aria-label", `Text of the ${role}`);
  bar.setAttribute("aria-label", `Weights of the ${role}`);
  list.append(view);
  /** Shows the end of the text, unless the reader has gone up. */
  const follow = (change: () => void) => {
    const atEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
    change();
    if (atEnd) output.scrollTop = output.scrollHeight;
  };
  return {
    describe: (spec) => {
      facts.textContent = modelText(spec);
      state.textContent = stateText(spec, 0);
    },
    progress: (bytes, total) => {
      bar.max = total;
      bar.value = bytes;
      const megabytes = (n: number) => (n / 1e6).toFixed(1);
      amount.textContent = `${megabytes(bytes)} of ${megabytes(total)} MB of weights`;
    },
    ready: () => loading.hidden = true,
    begin: (text) => {
      prompt.textContent = text;
      written.textContent = "";
      speed.textContent = "–";
      output.setAttribute("aria-busy", "true");
      output.scrollTop = output.scrollHeight;
    },
    write: (text) => follow(() => written.append(text)),
    speed: (own) => speed.textContent = speedText(own),
    state: (spec, tokens) => state.textContent = stateText(spec, tokens),
    end: () => output.setAttribute("aria-busy", "false"),
  };
}
