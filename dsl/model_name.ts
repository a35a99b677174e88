/** Names of models on a hub, and of their revisions: what they look like, not whether they exist. */

/** Longest name and revision, as on the hub and in git. */
const NAME_LIMIT = 96;
const REVISION_LIMIT = 255;

/** `Qwen/Qwen2.5-0.5B-Instruct`: an organisation or user, and a model. A path can look the same. */
export function isModelName(text: string): boolean {
  return text.length <= NAME_LIMIT && /^\w[\w.-]*\/\w([\w.-]*\w)?$/.test(text) &&
    !/--|\.\.|\.git$/.test(text);
}

/** A branch, a tag or a commit: parts without dots at their ends, between slashes. */
export function isRevision(text: string): boolean {
  return text.length <= REVISION_LIMIT && /^\w([\w.-]*\w)?(\/\w([\w.-]*\w)?)*$/.test(text) &&
    !/\.\.|\.lock$/.test(text);
}

/** Whether a revision is a whole commit hash, which never means anything else. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);
