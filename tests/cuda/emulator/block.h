// Runs a block of threads, each a fiber that gives way at barriers.
#pragma once
#include <string>

#include "runtime.h"

namespace suture {

constexpr u32 MAX_THREADS = 1024;
constexpr u32 WARP = 32;

// Runs blocks one after another. Not for several threads of the host at once.
class Grid {
 public:
  Grid();
  ~Grid();
  Grid(const Grid&) = delete;
  // Runs all blocks. False after an error, which `failure` then describes.
  bool run(const char* kernel, Index3 blocks, Index3 threads, const Entry& entry,
           const Bound* bound);
  const std::string& failure() const { return text; }

 private:
  enum class State { READY, BARRIER, PRODUCT, SHUFFLE, DONE };

  struct Fiber {
    void* stack = nullptr;  // where it stopped
    State state = State::READY;
    int line = 0;  // of the barrier, the product or the shuffle at which it waits
    u32 slot = 0;  // its piece of the stacks
    // Of the product.
    float* sums = nullptr;
    const float* a = nullptr;
    const float* b = nullptr;
    // Of the shuffle: what it gives, then what it gets.
    float* shuffled = nullptr;
    u32 mask = 0;
  };

  Runtime runtime = {};
  Fiber fibers[MAX_THREADS];
  u32 freeSlots[MAX_THREADS];
  u32 freeCount = 0;
  char* stacks = nullptr;
  void* scheduler = nullptr;
  const Entry* entry = nullptr;
  const Bound* bound = nullptr;
  const char* kernel = "";
  std::string text;
  bool failed = false;

  bool runBlock();
  bool runWarp(u32 first, u32 end, bool begins);
  bool multiply(u32 first, u32 end);
  bool exchange(u32 first, u32 end);
  std::string doing(u32 thread) const;
  std::string inBlock() const;
  void resume(u32 thread);
  void place(u32 thread);
  bool checkBarrier();
  [[noreturn]] void fail(const std::string& what);
  std::string where(u64 stamp) const;

  static void begin();
  static void onBarrier(Runtime*, int line);
  static void onMma(Runtime*, int line, float* sums, const float* a, const float* b);
  static void onShuffle(Runtime*, int line, float* value, u32 mask);
  static void onOutOfBounds(Runtime*, Access, u64 elements, bool writes);
  static void onRace(Runtime*, Access, u64 earlier, bool earlierWrites, bool writes);
  static void onUnset(Runtime*, Access);
  static void onMisaligned(Runtime*, Access);
};

}  // namespace suture
