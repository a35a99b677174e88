/** The page in a browser: it writes what the CPU writes, and can be used by everybody. */

import {
  assert,
  assertEquals,
  assertGreater,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { servePage } from "../../cli/page.ts";
import { pageSite } from "../../cli/page/site.ts";
import type { Device } from "../../devices/device.ts";
import { type RadRwkv6, radRwkv6, type RadRwkv7, radRwkv7 } from "../../dsl/mixers.ts";
import { recipe } from "../../dsl/recipe.ts";
import { layers } from "../../dsl/selectors.ts";
import { samples } from "../../dsl/sources.ts";
import { cosine } from "../../dsl/schedules.ts";
import { align, distill } from "../../dsl/stages.ts";
import { teacher } from "../../dsl/teachers.ts";
import { tokens } from "../../dsl/tokens.ts";
import { generate } from "../../infer/generation.ts";
import { checkpointTokenizer, inspectCheckpoint, loadCheckpoint } from "../../infer/loading.ts";
import { stateText } from "../../page/words.ts";
import { openChromium, type Tab } from "../support/chromium.ts";
import { sharedPath } from "../support/shared.ts";
import { run, withFolder } from "../train/support.ts";

const STORIES = sharedPath("models", "stories260k");
const PROMPT = "Once upon a time, there was a little girl";
/** Whether docs/page.png is to be made: of a student that has learnt to write. */
const PICTURE = Deno.env.has("SUTURE_SCREENSHOT");
const TOKENS = PICTURE ? 64 : 16;

/** stories260k with another mixer, after some training on what it writes itself. */
async function convert(device: Device, folder: string, mixer: RadRwkv6 | RadRwkv7) {
  const output = join(folder, `stories260k-${mixer.kind}`);
  const amount = tokens(PICTURE ? "60K" : "2K");
  const stage = { tokens: amount, context: 128, batch: 4 };
  await run(
    device,
    recipe({
      teacher: teacher(STORIES),
      surgery: [layers.all.to(mixer)],
      stages: [
        align({ ...stage, lr: cosine(5e-3, 1e-5) }),
        distill({ ...stage, lr: cosine(1e-3, 1e-5) }),
      ],
      data: samples(teacher(STORIES), amount),
      output,
    }),
  );
  return output;
}

/** What the CPU writes, and the state that it is left with. */
async function written(device: Device, folder: string) {
  const checkpoint = inspectCheckpoint(folder);
  const tokenizer = checkpointTokenizer(folder, checkpoint.config);
  const model = loadCheckpoint(device, checkpoint);
  const ids = [...tokenizer.encode(PROMPT)];
  const options = { tokens: TOKENS, temperature: 0, topP: 1, seed: 0 };
  for await (const id of generate(model, [...ids], options)) ids.push(id);
  model.free();
  return { text: tokenizer.decode(ids), state: stateText(checkpoint.spec, ids.length) };
}

/** Serves checkpoints and opens their page in a browser. */
async function withPage(
  folders: readonly string[],
  body: (tab: Tab, url: string) => Promise<void>,
): Promise<void> {
  const site = pageSite(
    folders.map((folder) => ({
      name: folder.slice(folder.lastIndexOf("/") + 1),
      checkpoint: inspectCheckpoint(folder),
    })),
  );
  const server = servePage(site, 0);
  try {
    await using browser = await openChromium();
    await body(await browser.tab(), `http://127.0.0.1:${server.addr.port}/`);
  } finally {
    await server.shutdown();
  }
}

const STATUS = `document.querySelector("#status").textContent`;
const SUBGROUPS =
  `import("/devices/webgpu/adapter.ts").then(({ openGpu }) => openGpu()).then((gpu) => gpu.subgroups)`;
const texts = (tab: Tab, selector: string) =>
  tab.evaluate<string[]>(
    `[...document.querySelectorAll("${selector}")].map((each) => each.textContent)`,
  );

/** Presses a key, and lets it go. */
async function press(tab: Tab, key: string, code: number, more: object = {}): Promise<void> {
  const event = { key, code: key, windowsVirtualKeyCode: code, ...more };
  await tab.call("Input.dispatchKeyEvent", { type: "keyDown", ...event });
  await tab.call("Input.dispatchKeyEvent", { type: "keyUp", ...event });
}

/** Writes the prompt as a person at a keyboard does. */
async function writeByKeyboard(tab: Tab): Promise<void> {
  assertEquals(await tab.evaluate("document.activeElement.id"), "prompt");
  await tab.evaluate(`document.querySelector("#tokens").value = ${TOKENS}`);
  await tab.evaluate(`document.activeElement.select()`);
  await tab.call("Input.insertText", { text: PROMPT });
  await press(tab, "Enter", 13, { modifiers: 2 });
}

/** Holds what the page writes with some checkpoints against what the CPU writes. */
async function assertSameText(device: Device, folders: readonly string[]) {
  const expected: { text: string; state: string }[] = [];
  for (const folder of folders) expected.push(await written(device, folder));
  await withPage(folders, async (tab, url) => {
    await tab.call("Emulation.setDeviceMetricsOverride", {
      ...{ width: 1000, height: 970, deviceScaleFactor: 1, mobile: false },
    });
    await tab.open(url);
    await tab.until(`${STATUS} === "Ready."`);
    // SwiftShader has subgroups, of 4 threads.
    assertEquals(await tab.evaluate(SUBGROUPS), "enabled");
    await writeByKeyboard(tab);
    await tab.until(`${STATUS} === "Done."`);
    assertEquals(await texts(tab, ".output"), expected.map(({ text }) => text));
    assertEquals(await texts(tab, ".state"), expected.map(({ state }) => state));
    // A line and a dot of each model, where there is one to compare with.
    for (const part of ["polyline", "circle[visibility=visible]"]) {
      const count = `document.querySelectorAll("#states ${part}").length`;
      assertEquals(await tab.evaluate(count), folders.length === 1 ? 0 : 2);
    }
    const named = await tab.evaluate<string>(
      `document.querySelector("#states svg").getAttribute("aria-label") ?? ""`,
    );
    if (folders.length > 1) assertMatch(named, /^State of the Student: 10 KiB at 1 token, 10 KiB/);
    for (const speed of await texts(tab, ".speed")) assertStringIncludes(speed, "tokens/s");
    assertEquals(tab.problems, []);
    if (!PICTURE || folders.length === 1) return;
    const { data } = await tab.call("Page.captureScreenshot", { captureBeyondViewport: true });
    Deno.writeFileSync(
      new URL("../../docs/page.png", import.meta.url),
      Uint8Array.fromBase64(data),
    );
  });
}

Deno.test("page: RAD-RWKV7 and its teacher write in Chromium what the CPU writes", async () => {
  await withFolder(async (folder, device) => {
    const student = await convert(device, folder, radRwkv7({ rope: true }));
    await assertSameText(device, [student, STORIES]);
  });
});

Deno.test("page: RAD-RWKV6 writes in Chromium what the CPU writes", async () => {
  await withFolder(async (folder, device) => {
    const student = await convert(device, folder, radRwkv6({ rope: true }));
    await assertSameText(device, [student]);
  });
});

/** The contrast of an element's text with the background that is behind it (WCAG 2.2). */
const CONTRAST = `(selector) => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let behind = element;
  while (behind !== document.documentElement &&
    numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [low, high] = [
    luminance(getComputedStyle(element).color),
    luminance(getComputedStyle(behind).backgroundColor),
  ].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}`;

Deno.test("page: it fits a phone, is legible in the light and in the dark, and names its parts", async () => {
  await withPage([STORIES], async (tab, url) => {
    await tab.call("Emulation.setDeviceMetricsOverride", {
      ...{ width: 320, height: 568, deviceScaleFactor: 2, mobile: true },
    });
    await tab.open(url);
    await tab.until(`${STATUS} === "Ready."`);
    await tab.evaluate(`document.querySelector(".written").append("x".repeat(999))`);
    assertEquals(await tab.evaluate("document.documentElement.scrollWidth"), 320);
    const backgrounds: string[] = [];
    for (const value of ["light", "dark"]) {
      const features = [{ name: "prefers-color-scheme", value }];
      await tab.call("Emulation.setEmulatedMedia", { features });
      backgrounds.push(await tab.evaluate("getComputedStyle(document.body).backgroundColor"));
      const parts = ["h1", "header p", "label", "textarea", "#write", "#stop", "#keys", "#status"];
      for (const part of [...parts, ".facts", ".written", "dt", ".state"]) {
        const contrast = await tab.evaluate<number>(`(${CONTRAST})("${part}")`);
        assertGreater(contrast, 4.5, `${part} in the ${value}`);
      }
    }
    assert(backgrounds[0] !== backgrounds[1]);
    const { nodes } = await tab.call("Accessibility.getFullAXTree");
    const roles = ["textbox", "spinbutton", "button", "progressbar", "region"];
    const named = new Map<string, string[]>();
    for (const { role, name, ignored } of nodes) {
      if (ignored || !roles.includes(role?.value)) continue;
      assert(name?.value !== undefined && name.value !== "", `a ${role.value} without a name`);
      named.set(role.value, [...named.get(role.value) ?? [], name.value]);
    }
    assertEquals(named.get("textbox"), ["Prompt"]);
    assertEquals(named.get("spinbutton"), ["Tokens", "Temperature", "Top-p", "Seed"]);
    assertEquals(named.get("button"), ["Write", "Stop"]);
    assertEquals(named.get("region"), ["Model: stories260k"]);
    assertEquals(tab.problems, []);
  });
});

Deno.test("page: a keyboard reaches everything, and stops what it began", async () => {
  await withPage([STORIES], async (tab, url) => {
    await tab.open(url);
    await tab.until(`${STATUS} === "Ready."`);
    await tab.evaluate(`document.querySelector("#tokens").value = 100000`);
    const reached = [];
    for (let i = 0; i < 6; i++) {
      reached.push(await tab.evaluate<string>("document.activeElement.id"));
      if (i < 5) await press(tab, "Tab", 9);
    }
    assertEquals(reached, ["prompt", "tokens", "temperature", "top-p", "seed", "write"]);
    await press(tab, "Enter", 13, { text: "\r" });
    await tab.until(`document.querySelector(".written").textContent !== ""`);
    assertEquals(await tab.evaluate(STATUS), "Writing …");
    // The focus goes to the button that can be pressed now, and back.
    assertEquals(await tab.evaluate("document.activeElement.id"), "stop");
    await press(tab, "Escape", 27);
    await tab.until(`${STATUS} === "Stopped."`);
    assertEquals(await tab.evaluate("document.activeElement.id"), "write");
    assertEquals(await tab.evaluate(`document.querySelector("#write").disabled`), false);
    assertEquals(tab.problems, []);
  });
});

Deno.test("page: without WebGPU it says what to do", async () => {
  await withPage([STORIES], async (tab, url) => {
    await tab.call("Page.addScriptToEvaluateOnNewDocument", {
      source: "Object.defineProperty(navigator, 'gpu', { value: undefined })",
    });
    await tab.open(url);
    await tab.until(`!document.querySelector("#no-webgpu").hidden`);
    const [problem] = await texts(tab, "#no-webgpu");
    assertStringIncludes(problem, "This browser offers no WebGPU");
    assertEquals(await tab.evaluate(`document.querySelector("#write").disabled`), true);
    assertEquals(tab.problems, []);
  });
});

/** Keeps the page's GPU where a test can destroy it. */
const KEEP_GPU = `const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...given) {
    return globalThis.keptGpu = await request.apply(this, given);
  };`;

Deno.test("page: where the GPU is lost it says so, and writes no more", async () => {
  await withPage([STORIES], async (tab, url) => {
    await tab.call("Page.addScriptToEvaluateOnNewDocument", { source: KEEP_GPU });
    await tab.open(url);
    await tab.until(`${STATUS} === "Ready."`);
    await tab.evaluate(`keptGpu.destroy(), keptGpu.lost.then(() => 0)`);
    await writeByKeyboard(tab);
    await tab.until(`!document.querySelector("#error").hidden`);
    const [problem] = await texts(tab, "#error");
    assertMatch(problem, /^webgpu: the device was lost: .*\nReload the page to begin again\.$/s);
    const disabled = `["write", "stop"].map((id) => document.getElementById(id).disabled)`;
    assertEquals(await tab.evaluate(disabled), [true, true]);
  });
});

Deno.test("page: where the server is gone it names the file, and what to look at", async () => {
  await withPage([STORIES], async (tab, url) => {
    await tab.call("Page.addScriptToEvaluateOnNewDocument", {
      source: `const known = fetch; fetch = (url, options) =>
        known(url.endsWith("/config.json") ? "/nothing" : url, options)`,
    });
    await tab.open(url);
    await tab.evaluate(`new Promise((resolve) => {
      const shown = () => document.querySelector("#error").hidden ? setTimeout(shown, 50) : resolve(0);
      shown();
    })`);
    const [problem] = await texts(tab, "#error");
    assertStringIncludes(problem, "expected a file, found 404");
    assertEquals(await texts(tab, ".amount"), ["Waits to be loaded."]);
    assertEquals(await tab.evaluate(`document.querySelector("#write").disabled`), true);
  });
});
