#include "block.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#if !defined(__x86_64__) || defined(_WIN32)
#error "the emulated CUDA driver switches stacks as x86-64 Linux does"
#endif

// Saves what a call must keep, and goes on where another stack stopped.
extern "C" void sutureSwitch(void** from, void* to);
asm(R"(
.text
.globl sutureSwitch
.hidden sutureSwitch
.type sutureSwitch, @function
sutureSwitch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");

namespace suture {

namespace {
constexpr size_t STACK_BYTES = 64 << 10;
constexpr size_t GUARD_BYTES = 4 << 10;
constexpr size_t SLOT_BYTES = STACK_BYTES + GUARD_BYTES;
// The grid whose block runs on this thread of the host.
thread_local Grid* current = nullptr;
}  // namespace

Grid::Grid() {
  runtime.tick = 1;
  runtime.barrier = onBarrier;
  runtime.mma = onMma;
  runtime.shuffle = onShuffle;
  runtime.outOfBounds = onOutOfBounds;
  runtime.race = onRace;
  runtime.unset = onUnset;
  runtime.misaligned = onMisaligned;
  void* memory = mmap(nullptr, MAX_THREADS * SLOT_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) abort();
  stacks = static_cast<char*>(memory);
  for (u32 i = 0; i < MAX_THREADS; i++) mprotect(stacks + i * SLOT_BYTES, GUARD_BYTES, PROT_NONE);
}

Grid::~Grid() { munmap(stacks, MAX_THREADS * SLOT_BYTES); }

bool Grid::run(const char* name, Index3 blocks, Index3 threads, const Entry& kernelEntry,
               const Bound* kernelBound) {
  kernel = name;
  entry = &kernelEntry;
  bound = kernelBound;
  failed = false;
  *entry->runtime = &runtime;
  runtime.gridDim = blocks;
  runtime.blockDim = threads;
  runtime.launchTick = ++runtime.tick;
  current = this;
  Index3& at = runtime.blockIdx;
  for (at.z = 0; at.z < blocks.z; at.z++) {
    for (at.y = 0; at.y < blocks.y; at.y++) {
      for (at.x = 0; at.x < blocks.x; at.x++) {
        if (!runBlock()) return false;
      }
    }
  }
  return true;
}

// The first code on a fiber's stack.
void Grid::begin() {
  Grid& grid = *current;
  grid.entry->run(grid.bound);
  Fiber& fiber = grid.fibers[grid.runtime.thread];
  fiber.state = State::DONE;
  sutureSwitch(&fiber.stack, grid.scheduler);
  abort();
}

// Gives a thread a stack on which `begin` is called.
void Grid::place(u32 thread) {
  Fiber& fiber = fibers[thread];
  fiber = {};
  fiber.slot = freeSlots[--freeCount];
  auto top = reinterpret_cast<uintptr_t>(stacks + (fiber.slot + 1) * SLOT_BYTES) & ~uintptr_t(15);
  auto** words = reinterpret_cast<void**>(top);
  // As after a call: the return address of `begin` lies at a multiple of 16, less 8.
  words[-2] = reinterpret_cast<void*>(&begin);
  fiber.stack = words - 8;
}

void Grid::resume(u32 thread) {
  const Index3& size = runtime.blockDim;
  runtime.thread = thread;
  runtime.threadIdx = {thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
  sutureSwitch(&scheduler, fibers[thread].stack);
}

bool Grid::runBlock() {
  const u32 count = runtime.blockDim.x * runtime.blockDim.y * runtime.blockDim.z;
  runtime.blockTick = ++runtime.tick;
  freeCount = MAX_THREADS;
  for (u32 i = 0; i < MAX_THREADS; i++) freeSlots[i] = MAX_THREADS - 1 - i;
  for (bool begins = true;; begins = false) {
    for (u32 first = 0; first < count; first += WARP) {
      const u32 end = first + WARP < count ? first + WARP : count;
      if (!runWarp(first, end, begins)) return false;
    }
    bool waits = false;
    for (u32 i = 0; i < count; i++) waits |= fibers[i].state == State::BARRIER;
    if (!waits) return true;
    if (!checkBarrier()) return false;
    for (u32 i = 0; i < count; i++) fibers[i].state = State::READY;
    runtime.tick++;
  }
}

// What a thread does that has stopped.
std::string Grid::doing(u32 thread) const {
  const Fiber& fiber = fibers[thread];
  const std::string line = " in line " + std::to_string(fiber.line);
  switch (fiber.state) {
    case State::BARRIER: return "waits" + line;
    case State::PRODUCT: return "multiplies" + line;
    case State::SHUFFLE: return "shuffles" + line;
    case State::DONE: return "has ended";
    default: return "runs";
  }
}

std::string Grid::inBlock() const {
  return " (block " + std::to_string(runtime.blockIdx.x) + ")";
}

// All threads of the block must wait, and at one barrier.
bool Grid::checkBarrier() {
  const u32 count = runtime.blockDim.x * runtime.blockDim.y * runtime.blockDim.z;
  u32 waits = 0;
  while (fibers[waits].state != State::BARRIER) waits++;
  for (u32 i = 0; i < count; i++) {
    const Fiber& fiber = fibers[i];
    if (fiber.state == State::BARRIER && fiber.line == fibers[waits].line) continue;
    text = std::string("kernel ") + kernel + ": a barrier that not all threads reach: thread " +
           std::to_string(waits) + " " + doing(waits) + ", thread " + std::to_string(i) + " " +
           doing(i) + inBlock();
    return false;
  }
  return true;
}

void Grid::fail(const std::string& what) {
  text = std::string("kernel ") + kernel + ": " + what;
  failed = true;
  sutureSwitch(&fibers[runtime.thread].stack, scheduler);
  abort();
}

void Grid::onBarrier(Runtime*, int line) {
  Grid& grid = *current;
  Fiber& fiber = grid.fibers[grid.runtime.thread];
  fiber.line = line;
  fiber.state = State::BARRIER;
  sutureSwitch(&fiber.stack, grid.scheduler);
}

void Grid::onMma(Runtime*, int line, float* sums, const float* a, const float* b) {
  Grid& grid = *current;
  Fiber& fiber = grid.fibers[grid.runtime.thread];
  fiber.line = line;
  fiber.sums = sums, fiber.a = a, fiber.b = b;
  fiber.state = State::PRODUCT;
  sutureSwitch(&fiber.stack, grid.scheduler);
}

void Grid::onShuffle(Runtime*, int line, float* value, u32 mask) {
  Grid& grid = *current;
  Fiber& fiber = grid.fibers[grid.runtime.thread];
  fiber.line = line;
  fiber.shuffled = value, fiber.mask = mask;
  fiber.state = State::SHUFFLE;
  sutureSwitch(&fiber.stack, grid.scheduler);
}

static std::string element(const Access& access) {
  return std::string(access.global ? "global " : "shared ") + access.array + "[" +
         std::to_string(static_cast<long long>(access.index)) + "]";
}

// The thread and block of a stamp, as far as it tells them.
std::string Grid::where(u64 stamp) const {
  const u64 thread = stamp & THREAD_MASK;
  const std::string who =
      thread == MANY_THREADS ? "several threads" : "thread " + std::to_string(thread);
  return who + ((stamp >> 16) < runtime.blockTick ? " of an earlier block" : "");
}

void Grid::onOutOfBounds(Runtime*, Access access, u64 elements, bool writes) {
  Grid& grid = *current;
  grid.fail("out of bounds: thread " + std::to_string(grid.runtime.thread) + " of block " +
            std::to_string(grid.runtime.blockIdx.x) + (writes ? " writes " : " reads ") +
            element(access) + ", which has " + std::to_string(elements) + " elements");
}

void Grid::onRace(Runtime*, Access access, u64 earlier, bool earlierWrites, bool writes) {
  Grid& grid = *current;
  const bool sameBlock = (earlier >> 16) == grid.runtime.tick;
  grid.fail("race: thread " + std::to_string(grid.runtime.thread) + " of block " +
            std::to_string(grid.runtime.blockIdx.x) + (writes ? " writes " : " reads ") +
            element(access) + ", which " + grid.where(earlier) +
            (earlierWrites ? " wrote" : " read") +
            (sameBlock ? " with no barrier between them" : ""));
}

void Grid::onUnset(Runtime*, Access access) {
  Grid& grid = *current;
  grid.fail("unset memory: thread " + std::to_string(grid.runtime.thread) + " of block " +
            std::to_string(grid.runtime.blockIdx.x) + " reads " + element(access) +
            ", which its block has not written");
}

void Grid::onMisaligned(Runtime*, Access access) {
  Grid& grid = *current;
  grid.fail("misaligned: thread " + std::to_string(grid.runtime.thread) + " of block " +
            std::to_string(grid.runtime.blockIdx.x) + " takes four elements from " +
            element(access) + " on, which does not lie at a multiple of 16 bytes");
}

}  // namespace suture
