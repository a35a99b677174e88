/** Reads the small f32 safetensors files of the golden values. */

/** A tensor of a file. */
export interface Stored {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Every tensor of a file by name; throws for element types other than F32. */
export async function readTensors(path: string): Promise<Record<string, Stored>> {
  const bytes = await Deno.readFile(path);
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)));
  delete header.__metadata__;
  return Object.fromEntries(
    Object.entries<{ dtype: string; shape: number[]; data_offsets: [number, number] }>(header)
      .map(([name, { dtype, shape, data_offsets }]) => {
        if (dtype !== "F32") throw new Error(`${path}: ${name}: expected F32, found ${dtype}`);
        const [begin, end] = data_offsets.map((offset) => 8 + headerBytes + offset);
        return [name, { shape, data: new Float32Array(bytes.buffer.slice(begin, end)) }];
      }),
  );
}
