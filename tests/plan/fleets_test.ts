import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { DEVICES, EFFICIENCY, fleetOf } from "../../plan/fleets.ts";

Deno.test("fleets: by name, however it is written", () => {
  for (const text of ["8x MI300X", "8 x mi300x", " 8×MI300X "]) {
    assertEquals(fleetOf(text)?.name, "8x MI300X");
  }
  assertEquals(fleetOf("H100")?.devices, 1);
  for (const text of ["4x RTX 4090", "4 x rtx  4090 "]) {
    assertEquals([fleetOf(text)?.name, fleetOf(text)?.devices], ["4x RTX 4090", 4]);
  }
  assertEquals(fleetOf("m4 max")?.row.name, "M4 Max");
  for (
    const text of [
      "",
      "8",
      "8x",
      "0x H100",
      "8x TPU",
      "-1x H100",
      "99999999x H100",
      "1.5x H100",
      "8x RTX",
    ]
  ) {
    assertEquals(fleetOf(text), undefined, text);
  }
});

Deno.test("fleets: a device reaches the assumed share of its bf16 peak", () => {
  for (const { name, peak, memory, price, priceFrom } of DEVICES) {
    const fleet = fleetOf(`3x ${name}`)!;
    assertEquals([fleet.devices, fleet.memory, fleet.price], [3, memory, price]);
    assertAlmostEquals(fleet.speed.distill / peak.bf16, EFFICIENCY.distill);
    assert(priceFrom.length > 0 && peak.bf16 >= peak.f32);
  }
});
