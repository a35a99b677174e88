// Warps: threads that run in turn, and what all 32 of them do at once, products and shuffles.
#include "block.h"

namespace suture {

// Runs the threads of a warp until each waits at a barrier or has ended.
bool Grid::runWarp(u32 first, u32 end, bool begins) {
  for (;; begins = false) {
    bool multiplies = false, exchanges = false;
    for (u32 thread = first; thread < end; thread++) {
      Fiber& fiber = fibers[thread];
      if (begins) place(thread);
      if (fiber.state != State::READY) continue;
      resume(thread);
      if (failed) return false;
      if (fiber.state == State::DONE) freeSlots[freeCount++] = fiber.slot;
      multiplies |= fiber.state == State::PRODUCT;
      exchanges |= fiber.state == State::SHUFFLE;
    }
    if (!multiplies && !exchanges) return true;
    // Where some threads do the one and some the other, either says so.
    if (multiplies && !multiply(first, end)) return false;
    if (exchanges && !exchange(first, end)) return false;
  }
}

// A product of tiles by all 32 threads of a warp: mma.m16n8k8 in TF32, as the PTX manual lays it out.
bool Grid::multiply(u32 first, u32 end) {
  u32 multiplies = first;
  while (fibers[multiplies].state != State::PRODUCT) multiplies++;
  const std::string what = std::string("kernel ") + kernel + ": ";
  for (u32 i = first; i < first + WARP; i++) {
    const bool exists = i < end;
    if (exists && fibers[i].state == State::PRODUCT && fibers[i].line == fibers[multiplies].line) {
      continue;
    }
    text = what + "an mma that not all threads of a warp reach: thread " +
           std::to_string(multiplies) + " " + doing(multiplies) + ", thread " + std::to_string(i) +
           " " + (exists ? doing(i) : "is not in the block") + inBlock();
    return false;
  }
  float a[16][8], b[8][8];
  for (u32 lane = 0; lane < WARP; lane++) {
    const Fiber& fiber = fibers[first + lane];
    const u32 x = lane / 4, y = lane % 4;
    for (u32 i = 0; i < 4; i++) a[x + i % 2 * 8][y + i / 2 * 4] = fiber.a[i];
    for (u32 i = 0; i < 2; i++) b[y + i * 4][x] = fiber.b[i];
    for (u32 i = 0; i < 6; i++) {
      const float number = i < 4 ? fiber.a[i] : fiber.b[i - 4];
      const u32 bits = __builtin_bit_cast(u32, number);
      if (number != number || (bits & 0x1fff) == 0) continue;
      text = what + "an mma of numbers that are not TF32: thread " + std::to_string(first + lane) +
             " has " + std::to_string(number) + " in line " + std::to_string(fiber.line) +
             inBlock();
      return false;
    }
  }
  for (u32 lane = 0; lane < WARP; lane++) {
    Fiber& fiber = fibers[first + lane];
    for (u32 i = 0; i < 4; i++) {
      const u32 row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (u32 step = 0; step < 8; step++) fiber.sums[i] += a[row][step] * b[step][column];
    }
    fiber.state = State::READY;
  }
  return true;
}

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
