/** A worker thread of the CPU device: waits for commands in shared memory until it is told to go. */

import { COMMANDS, finish, nextCommand, OtherThreadFailed, WORDS } from "./control.ts";
import { ALIGNMENT } from "./heap.ts";
import { createPlayer, type PlayerOptions } from "./player.ts";

/** What the main thread sends once, when the worker starts. */
export type WorkerStart = PlayerOptions;

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<WorkerStart>) => void;
  postMessage(message: string): void;
  close(): void;
};

scope.onmessage = ({ data }) => {
  const { memory, words } = data;
  const player = createPlayer(data);
  const text = () => {
    const address = ALIGNMENT * Atomics.load(words, WORDS.textLine);
    const bytes = Atomics.load(words, WORDS.textBytes);
    return new TextDecoder().decode(new Uint8Array(memory.buffer, address, bytes).slice());
  };
  scope.postMessage("ready");
  for (let last = 0;;) {
    last = nextCommand(words, last);
    const command = Atomics.load(words, WORDS.command);
    try {
      if (command === COMMANDS.exit) break;
      if (command === COMMANDS.loadKernels) player.loadKernels(JSON.parse(text()));
      else if (command === COMMANDS.loadProgram) {
        const program = JSON.parse(text());
        player.setScratch(program.scratch[data.thread]);
        player.loadProgram(program);
      } else if (command === COMMANDS.dropProgram) player.dropProgram(JSON.parse(text()).id);
      else {
        const [id, launches] = [WORDS.program, WORDS.launches].map((w) => Atomics.load(words, w));
        player.play(id, command === COMMANDS.profile ? new Float64Array(launches) : undefined);
      }
    } catch (error) {
      if (!(error instanceof OtherThreadFailed)) {
        console.error(`cpu worker ${data.thread}: ${error instanceof Error ? error.stack : error}`);
      }
      Atomics.store(words, WORDS.failed, 1);
    }
    finish(words);
  }
  player.close();
  finish(words);
  scope.close();
};
