import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { createStore, layoutOf, ROW, storeBindings, storeInputs } from "../../devices/store.ts";
import { withCpu } from "../support/devices.ts";

const TENSORS = [
  { name: "a", shape: [3, 5] },
  { name: "b", shape: [1] },
  { name: "c", shape: [40] },
];

Deno.test("layout: tensors start at cache lines, the whole is full rows", () => {
  const { tensors, size } = layoutOf(TENSORS);
  assertEquals(tensors.map(({ offset, size }) => [offset, size]), [[0, 15], [16, 1], [32, 40]]);
  assertEquals(size, ROW);
  assertEquals(layoutOf([]).size, ROW);
  assertEquals(layoutOf([{ name: "x", shape: [ROW] }, { name: "y", shape: [1] }]).size, 2 * ROW);
});

Deno.test("store: zeros at first, then what was written, tensor by tensor", async () => {
  await withCpu({ threads: 1 }, async (device) => {
    const dirty = device.allocate(4 * ROW);
    device.write(dirty, new Float32Array(ROW).fill(7));
    device.free(dirty);
    const store = createStore(device, layoutOf(TENSORS));
    assertEquals(await store.read("c"), new Float32Array(40));
    store.write("b", Float32Array.of(5));
    store.write("a", new Float32Array(15).fill(2));
    assertEquals(await store.read("b"), Float32Array.of(5));
    assertEquals(await store.read("a"), new Float32Array(15).fill(2));
    assertEquals(await store.read("c"), new Float32Array(40));
    assertThrows(
      () => store.write("b", new Float32Array(2)),
      Error,
      "b: expected 1 values, found 2",
    );
    assertThrows(() => store.at("d"), Error, "there is no d");
    await assertRejects(() => store.read("d"), Error, "there is no d");
    store.free();
  });
});

Deno.test("store: inputs and bindings have the same names and sizes", async () => {
  await withCpu({ threads: 1 }, (device) => {
    const store = createStore(device, layoutOf(TENSORS));
    const inputs = storeInputs(store.layout, "student.");
    const bindings = storeBindings(store, "student.");
    for (const [name, { node, shape }] of inputs) {
      assertEquals(node.op, { kind: "input", name: `student.${name}` });
      const bytes = 4 * shape.reduce((n, m) => n * m, 1);
      assertEquals(bindings[`student.${name}`].bytes, bytes);
    }
    assertEquals(inputs.size, Object.keys(bindings).length);
  });
});
