/** What one architecture makes of config.json. A new one is a value of this type in config.ts. */
import type { JsonObject } from "../json.ts";
import type { DecoderConfig } from "./decoder.ts";
import type { Fields } from "./fields.ts";

/** How a family's config.json is read and written. */
export interface Family<C extends DecoderConfig & { readonly modelType: string }> {
  readonly modelType: C["modelType"];
  /** The class that transformers loads. */
  readonly architecture: string;
  /** Notes problems in the fields, and returns something all the same. */
  read(fields: Fields): C;
  /** All keys but `architectures` and `model_type`. @throws RangeError for what has no key. */
  write(config: C): JsonObject;
}
