/// <reference lib="dom" />
/** The page: loads its models, and writes what the form asks for. */

import type { Device } from "../devices/device.ts";
import { openWebgpu } from "../devices/webgpu/device.ts";
import { generate, type GenerateOptions } from "../infer/generation.ts";
import type { LoadedModel } from "../infer/session.ts";
import { stateBytes } from "../infer/state.ts";
import { addModelView, type ModelView } from "./model_view.ts";
import type { Models, ServedModel } from "./models.ts";
import { loadRemote, openRemote, type RemoteCheckpoint } from "./remote_checkpoint.ts";
import { readText } from "./remote_file.ts";
import { type Speed, takeTurns, withTurn } from "./turns.ts";

const element = <T extends HTMLElement>(id: string) => document.querySelector<T>(`#${id}`)!;
const form = element<HTMLFormElement>("ask");
const prompt = element<HTMLTextAreaElement>("prompt");
const write = element<HTMLButtonElement>("write");
const stop = element<HTMLButtonElement>("stop");
const number = (id: string) => element<HTMLInputElement>(id).valueAsNumber;
const say = (text: string) => element("status").textContent = text;

/** Says what went wrong, and what to do. */
function fail(error: unknown): void {
  const place = element("error");
  place.textContent = error instanceof Error ? error.message : String(error);
  place.hidden = false;
  say("");
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
  role: string,
  partBytes: number,
): Promise<ReadyModel> {
  const view = addModelView(element("models"), served.name, role);
  const checkpoint = await openRemote(served);
  view.describe(checkpoint.spec);
  const model = await loadRemote(device, checkpoint, { partBytes, progress: view.progress });
  view.ready();
  return { model, checkpoint, view };
}

/** Writes with all models in turns, from one prompt. */
async function writeTexts(
  models: readonly ReadyModel[],
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
  const states = models.map(() => 0);
  try {
    for await (const turn of takeTurns(texts.map(({ ids }) => ids), stopped)) {
      const { model: { spec }, view } = models[turn.text];
      const own = texts[turn.text];
      if (turn.id === undefined) view.write(own.stream.end());
      else {
        view.write(own.stream.push(turn.id));
        own.position++;
        view.speed(speeds[turn.text] = withTurn(speeds[turn.text], turn));
      }
      states[turn.text] = stateBytes(spec, 1, own.position);
      const largest = Math.max(...states);
      models.forEach((each, i) => each.view.state(states[i], largest, each.model.spec));
    }
  } finally {
    models.forEach(({ view }) => view.end());
  }
}

/** Answers the form. */
function listen(models: readonly ReadyModel[]): void {
  let wanted = true;
  const end = () => wanted = false;
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
    write.disabled = true;
    stop.disabled = false;
    element("error").hidden = true;
    say("Writing …");
    try {
      const options = {
        tokens: number("tokens"),
        temperature: number("temperature"),
        topP: number("top-p"),
        seed: number("seed"),
      };
      await writeTexts(models, prompt.value, options, () => !wanted);
      say(wanted ? "Done." : "Stopped.");
    } catch (error) {
      fail(error);
    }
    write.disabled = false;
    stop.disabled = true;
  });
  write.disabled = false;
  say("Ready.");
}

try {
  const partBytes = await findPartBytes();
  if (partBytes === undefined) element("no-webgpu").hidden = false;
  else {
    say("Loading …");
    const device = await openWebgpu();
    element("device").textContent = device.description;
    const models: Models = JSON.parse(await readText("/models.json"));
    const ready: ReadyModel[] = [];
    for (const [i, each] of models.entries()) {
      const role = models.length === 1 ? "Model" : i === 0 ? "Student" : "Teacher";
      ready.push(await load(device, each, role, partBytes));
    }
    listen(ready);
  }
} catch (error) {
  fail(error);
}
