// Shuffles: what the threads of a warp exchange, all 32 of them at once.
#include "block.h"

namespace suture {

// All threads of the warp must wait at one shuffle; each then has what its partner gave.
bool Grid::exchange(u32 first, u32 end) {
  u32 shuffles = first;
  while (fibers[shuffles].state != State::SHUFFLE) shuffles++;
  float given[WARP];
  for (u32 lane = 0; lane < WARP; lane++) {
    const u32 i = first + lane;
    const Fiber& fiber = fibers[i];
    if (i < end && fiber.state == State::SHUFFLE && fiber.line == fibers[shuffles].line) {
      given[lane] = *fiber.shuffled;
      continue;
    }
    text = std::string("kernel ") + kernel +
           ": a shuffle that not all threads of a warp reach: thread " + std::to_string(shuffles) +
           " " + doing(shuffles) + ", thread " + std::to_string(i) + " " +
           (i < end ? doing(i) : "is not in the block") + inBlock();
    return false;
  }
  for (u32 lane = 0; lane < WARP; lane++) {
    Fiber& fiber = fibers[first + lane];
    *fiber.shuffled = given[(lane ^ fiber.mask) % WARP];
    fiber.state = State::READY;
  }
  return true;
}

}  // namespace suture
