/** The files of a tokenizer in a Hugging Face folder. */

/** What a tokenizer is; nothing is read without it. */
export const TOKENIZER_FILE = "tokenizer.json";

/** Its special tokens by their roles. */
export const TOKENIZER_CONFIG_FILE = "tokenizer_config.json";

/** Files that go with it where they exist. */
export const OTHER_TOKENIZER_FILES: readonly string[] = Object.freeze([
  ...[TOKENIZER_CONFIG_FILE, "special_tokens_map.json", "added_tokens.json"],
  ...["vocab.json", "merges.txt", "chat_template.jinja", "tokenizer.model"],
]);
