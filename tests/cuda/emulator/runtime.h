// What the emulated driver and the kernels that it runs share. Plain data: a kernel's shared
// library is built on its own, and is told where the runtime is.
#pragma once

namespace suture {

using u64 = unsigned long long;
using u32 = unsigned int;

struct Index3 {
  u32 x, y, z;
};

// Who touched one element last. A stamp is `tick << 16 | thread`. A tick is one stretch of one block
// between barriers; ticks only grow, so that a tick tells the launch and the block as well.
struct Shadow {
  u64 written;
  u64 read;
};

constexpr u64 THREAD_MASK = 0x7fff;
// In the stamp of a read: several threads in that tick.
constexpr u64 MANY_THREADS = 0x7fff;
// In the stamp of a read: another block of that launch read before.
constexpr u64 OTHER_BLOCK = 0x8000;

struct Access {
  const char* array;
  u64 index;
  bool global;
};

struct Runtime {
  Index3 threadIdx, blockIdx, blockDim, gridDim;
  u32 thread;
  // Now, when this block began, and when this launch began.
  u64 tick, blockTick, launchTick;
  void (*barrier)(Runtime*, int line);
  // sums += a·b by the 32 threads of a warp, of which each has 4, 4 and 2 numbers.
  void (*mma)(Runtime*, int line, float* sums, const float* a, const float* b);
  // These do not return: the launch ends with an error.
  void (*outOfBounds)(Runtime*, Access, u64 elements, bool writes);
  void (*race)(Runtime*, Access, u64 earlier, bool earlierWrites, bool writes);
  void (*unset)(Runtime*, Access);
  void (*misaligned)(Runtime*, Access);
  // Gives a value, and gets that of the thread of the warp whose number differs in the mask's bits.
  void (*shuffle)(Runtime*, int line, float* value, u32 mask);
};

// A global array of a kernel, as it is declared and as it is bound.
struct Declared {
  const char* name;
  u64 elements;
};
struct Bound {
  unsigned char* data;
  Shadow* shadow;
};

// What a module tells the driver of a kernel.
struct Entry {
  u32 count;
  const Declared* arrays;
  void (*run)(const Bound*);
  // Where the module keeps the address of the runtime.
  Runtime** runtime;
};

}  // namespace suture
