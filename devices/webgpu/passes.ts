/** Times compute passes on the GPU's own clock. */

/** Timestamps that one query set holds at most. */
const QUERIES = 4096;

/**
 * Runs each piece of work as a pass of its own and gives its seconds on the GPU. All are submitted
 * before the call returns, so that what follows it is done after them.
 * @throws Error where the GPU cannot tell.
 */
export async function timePasses(
  device: GPUDevice,
  works: readonly ((pass: GPUComputePassEncoder) => void)[],
): Promise<number[]> {
  if (!device.features.has("timestamp-query")) {
    throw new Error("webgpu: expected a GPU that can time launches, found no timestamp-query");
  }
  const buffer = (size: number, usage: number) => device.createBuffer({ size, usage });
  const parts: { readonly staging: GPUBuffer; readonly mapped: Promise<unknown> }[] = [];
  for (let first = 0; first < works.length; first += QUERIES / 2) {
    const part = works.slice(first, first + QUERIES / 2);
    const count = 2 * part.length;
    const querySet = device.createQuerySet({ type: "timestamp", count });
    const resolved = buffer(8 * count, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC);
    const staging = buffer(8 * count, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    const encoder = device.createCommandEncoder();
    part.forEach((work, i) => {
      const pass = encoder.beginComputePass({
        timestampWrites: {
          querySet,
          beginningOfPassWriteIndex: 2 * i,
          endOfPassWriteIndex: 2 * i + 1,
        },
      });
      work(pass);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, 8 * count);
    device.queue.submit([encoder.finish()]);
    querySet.destroy();
    resolved.destroy();
    parts.push({ staging, mapped: staging.mapAsync(GPUMapMode.READ) });
  }
  const seconds: number[] = [];
  for (const { staging, mapped } of parts) {
    await mapped;
    const times = new BigUint64Array(staging.getMappedRange());
    // The clock may be read in another order than things happen, by a little.
    for (let i = 0; i < times.length; i += 2) {
      seconds.push(Math.max(0, Number(times[i + 1] - times[i])) / 1e9);
    }
    staging.destroy();
  }
  return seconds;
}
