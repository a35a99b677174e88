/// <reference lib="dom" />
/** The page: loads its models, and writes what the form asks for. */

import type { Device } from "../devices/device.ts";
import { openWebgpu } from "../devices/webgpu/device.ts";
import { generate, type GenerateOptions } from "../infer/generation.ts";
import type { LoadedModel } from "../infer/session.ts";
import { addModelView, type ModelView } from "./model_view.ts";
import type { Models, ServedModel } from "./models.ts";
import { loadRemote, openRemote, type RemoteCheckpoint } from "./remote_checkpoint.ts";
import { readText } from "./remote_file.ts";
import { drawStates, type StateChart } from "./state_chart.ts";
import { type Speed, takeTurns, withTurn } from "./turns.ts";

const element = <T extends HTMLElement>(id: string) => document.querySelector<T>(`#${id}`)!;
const form = element<HTMLFormElement>("ask");
const prompt = element<HTMLTextAreaElement>("prompt");
const write = element<HTMLButtonElement>("write");
const stop = element<HTMLButtonElement>("stop");
const number = (id: string) => element<HTMLInputElement>(id).valueAsNumber;
/** The status is read out loud where it changes: it tells of steps, not of every token. */
const say = (text: string) => {
  const status = element("status");
  if (status.textContent !== text) status.textContent = text;
};

/** Says what went wrong, and what to do; returns whether it can be tried again. */
function fail(error: unknown): boolean {
  const place = element("error");
  const message = error instanceof Error ? error.message : String(error);
  // A device that has failed once refuses all that is asked of it.
  const gone = message.startsWith("webgpu: ");
  place.textContent = gone ? `${message}\nReload the page to begin again.` : message;
  place.hidden = false;
  say("");
  return !gone;
}

/** A model that is ready, and where it is shown. */
interface ReadyModel {
  readonly model: LoadedModel;
  readonly checkpoint: RemoteCheckpoint;
  readonly view: ModelView;
}

/** How much one piece of GPU memory, bound as a whole, may hold; undefined without WebGPU. */
async function findPartBytes(): Promise<number | undefined> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  const limits = adapter?.limits;
  return limits && Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);
}

async function load(
  device: Device,
  served: ServedModel,
  view: ModelView,
  partBytes: number,
): Promise<ReadyModel> {
  const checkpoint = await openRemote(served);
  view.describe(checkpoint.spec);
  const model = await loadRemote(device, checkpoint, { partBytes, progress: view.progress });
  view.ready();
  return { model, checkpoint, view };
}

/** Writes with all models in turns, from one prompt. */
async function writeTexts(
  models: readonly ReadyModel[],
  chart: StateChart | undefined,
  text: string,
  options: GenerateOptions,
  stopped: () => boolean,
): Promise<void> {
  const texts = models.map(({ model, checkpoint: { config, tokenizer }, view }) => {
    const ids = tokenizer.encode(text);
    if (ids.length === 0) throw new Error("Prompt: expected at least one token of text");
    const stream = tokenizer.stream();
    view.begin(Array.from(ids, (id) => stream.push(id)).join(""));
    const ends = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
    const stop = [...config.eosTokenIds, ...ends];
    return { ids: generate(model, ids, { ...options, stop }), stream, position: ids.length };
  });
  const speeds: (Speed | undefined)[] = [];
  say("Reading the prompt …");
  try {
    for await (const turn of takeTurns(texts.map(({ ids }) => ids), stopped)) {
      const { model: { spec }, view } = models[turn.text];
      const own = texts[turn.text];
      if (turn.id === undefined) {
        view.write(own.stream.end());
        view.end();
      } else {
        view.write(own.stream.push(turn.id));
        own.position++;
        view.speed(speeds[turn.text] = withTurn(speeds[turn.text], turn));
      }
      view.state(spec, own.position);
      chart?.show(texts.map(({ position }) => position));
      if (models.every((_, i) => speeds[i] !== undefined)) say("Writing …");
    }
  } finally {
    models.forEach(({ view }) => view.end());
  }
}

/** Answers the form. */
function listen(models: readonly ReadyModel[], chart: StateChart | undefined): void {
  let wanted = true;
  /** Lets one of the two buttons be pressed; where the other had the focus, it gets it. */
  const allow = (button: HTMLButtonElement, other: HTMLButtonElement) => {
    button.disabled = false;
    if (document.activeElement === other) button.focus();
    other.disabled = true;
  };
  const end = () => {
    wanted = false;
    if (!stop.disabled) say("Stopping …");
  };
  stop.addEventListener("click", end);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && end());
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit(write);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (write.disabled) return;
    wanted = true;
    allow(stop, write);
    element("error").hidden = true;
    let again = true;
    try {
      const options = {
        tokens: number("tokens"),
        temperature: number("temperature"),
        topP: number("top-p"),
        seed: number("seed"),
      };
      await writeTexts(models, chart, prompt.value, options, () => !wanted);
      say(wanted ? "Done." : "Stopped.");
    } catch (error) {
      again = fail(error);
    }
    if (again) allow(write, stop);
    else stop.disabled = true;
  });
  write.disabled = false;
  say("Ready.");
}

try {
  const partBytes = await findPartBytes();
  if (partBytes === undefined) element("no-webgpu").hidden = false;
  else {
    say("Loading …");
    const models: Models = JSON.parse(await readText("/models.json"));
    document.title = `${models.map(({ name }) => name).join(" and ")} – Suture`;
    const role = (i: number) => models.length === 1 ? "Model" : i === 0 ? "Student" : "Teacher";
    const views = models.map(({ name }, i) => addModelView(element("models"), name, role(i)));
    const device = await openWebgpu();
    element("device").textContent = device.description;
    const ready: ReadyModel[] = [];
    for (const [i, each] of models.entries()) {
      ready.push(await load(device, each, views[i], partBytes));
    }
    const charted = ready.map(({ model: { spec } }, i) => ({ role: role(i), spec }));
    // Of one model the words tell as much.
    listen(ready, ready.length > 1 ? drawStates(element("states"), charted) : undefined);
  }
} catch (error) {
  fail(error);
}
