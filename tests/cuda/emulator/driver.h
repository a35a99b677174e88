// What the parts of the emulated driver share: codes, allocations, and streams of work.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "block.h"

#define API extern "C" __attribute__((visibility("default"))) int

namespace suture {

enum Code {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  MISALIGNED_ADDRESS = 716,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
};

// Says what failed, beside the text of the code, which it returns.
int failWith(int code, const std::string& what);

bool isInitialized();
void* currentContext();

// A piece of device memory.
struct Allocation {
  u64 address, bytes;
  Shadow* shadow;
};

// The allocation in which an address lies; false where it lies in none.
bool findAllocation(u64 address, Allocation* found);

struct Stream;

// Something that a stream does in its turn: a code.
using Work = std::function<int(Stream*)>;

struct Graph {
  std::vector<Work> works;
};

struct Stream {
  Grid grid;
  int failed = 0;
  std::unique_ptr<Graph> capture;
};

// Whether a stream may be used. `mayCapture` for what can be recorded.
int checkStream(Stream* stream, bool mayCapture = false);

// Does it now, or records it where the stream captures.
int submit(Stream* stream, Work work);

// Breaks a stream for good, as a failed kernel breaks a context.
int breakStream(Stream* stream, int code, const std::string& what);

}  // namespace suture
