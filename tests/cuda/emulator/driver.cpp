// The CUDA driver's calls that Suture makes, on the CPU. Kernels run when they are launched; a
// kernel that errs breaks its stream for good, as a real one breaks its context.
#include <dlfcn.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "block.h"
#include "image.h"

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

using suture::u32;
using suture::u64;

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

struct Text {
  int code;
  const char* name;
  const char* text;
};
constexpr Text TEXTS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
};

constexpr u64 TOTAL_BYTES = u64(16) << 30;
constexpr u64 MAX_GRID_X = 2147483647, MAX_GRID_YZ = 65535;

struct Allocation {
  u64 bytes;
  suture::Shadow* shadow;
};

// Several threads may use the driver, each with streams of its own.
std::mutex mutex;
std::map<u64, Allocation> allocations;
u64 usedBytes = 0;
bool initialized = false;
int primaryContext = 0;
thread_local void* currentContext = nullptr;
// What the last failure was, beside the text of its code.
thread_local int detailCode = 0;
thread_local std::string detail, errorText;

int failWith(int code, const std::string& what) {
  detailCode = code;
  detail = what;
  return code;
}

struct Function {
  std::string name;
  const suture::Entry* entry;
};

struct Module {
  void* library;
  std::vector<std::unique_ptr<Function>> functions;
};

struct Launch {
  const Function* function;
  suture::Index3 blocks, threads;
  std::vector<u64> operands;
};

struct Graph {
  std::vector<Launch> launches;
};

struct Stream {
  suture::Grid grid;
  int failed = 0;
  std::unique_ptr<Graph> capture;
};

struct Event {
  std::chrono::steady_clock::time_point time = std::chrono::steady_clock::now();
};

// Where an address lies in an allocation; null where it lies in none.
const std::pair<const u64, Allocation>* find(u64 address) {
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return nullptr;
  const auto& found = *std::prev(after);
  return address < found.first + found.second.bytes ? &found : nullptr;
}

int checkRange(u64 address, u64 bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  const auto* found = find(address);
  if (found == nullptr || address + bytes > found->first + found->second.bytes) {
    return failWith(INVALID_VALUE, std::to_string(bytes) + " bytes at " +
                                       std::to_string(address) + " are not in one allocation");
  }
  return SUCCESS;
}

int checkStream(Stream* stream, bool mayCapture = false) {
  if (!initialized) return NOT_INITIALIZED;
  if (currentContext == nullptr) return INVALID_CONTEXT;
  if (stream == nullptr) return INVALID_HANDLE;
  if (stream->failed != 0) return stream->failed;
  return stream->capture && !mayCapture ? CAPTURE_UNSUPPORTED : SUCCESS;
}

int launchNow(Stream* stream, const Launch& launch) {
  const suture::Entry& entry = *launch.function->entry;
  std::vector<suture::Bound> bound;
  {
    std::lock_guard<std::mutex> lock(mutex);
    for (u32 i = 0; i < entry.count; i++) {
      const u64 address = launch.operands[i];
      const auto* found = find(address);
      const u64 wanted = entry.arrays[i].elements * 4;
      const std::string what = "kernel " + launch.function->name + ": " + entry.arrays[i].name;
      if (found == nullptr) {
        return stream->failed = failWith(ILLEGAL_ADDRESS, what + " is not in device memory");
      }
      if (address % 4 != 0) return stream->failed = failWith(MISALIGNED_ADDRESS, what + " is misaligned");
      if (address + wanted > found->first + found->second.bytes) {
        return stream->failed = failWith(
                   ILLEGAL_ADDRESS, what + " has " + std::to_string(wanted) + " bytes, of which " +
                                        std::to_string(found->first + found->second.bytes - address) +
                                        " are in its allocation");
      }
      bound.push_back({reinterpret_cast<unsigned char*>(address),
                       found->second.shadow + (address - found->first) / 4});
    }
  }
  if (stream->grid.run(launch.function->name.c_str(), launch.blocks, launch.threads, entry,
                       bound.data())) {
    return SUCCESS;
  }
  return stream->failed = failWith(LAUNCH_FAILED, stream->grid.failure());
}

}  // namespace

API cuInit(unsigned flags) {
  if (flags != 0) return INVALID_VALUE;
  initialized = true;
  return SUCCESS;
}

API cuDriverGetVersion(int* version) {
  *version = 13000;
  return SUCCESS;
}

API cuGetErrorName(int code, const char** name) {
  for (const Text& known : TEXTS) {
    if (known.code == code) return *name = known.name, SUCCESS;
  }
  return *name = nullptr, INVALID_VALUE;
}

API cuGetErrorString(int code, const char** text) {
  for (const Text& known : TEXTS) {
    if (known.code != code) continue;
    errorText = known.text;
    if (code == detailCode) errorText += ": " + detail;
    return *text = errorText.c_str(), SUCCESS;
  }
  return *text = nullptr, INVALID_VALUE;
}

API cuDeviceGetCount(int* count) {
  *count = 1;
  return initialized ? SUCCESS : NOT_INITIALIZED;
}

API cuDeviceGet(int* device, int ordinal) {
  *device = 0;
  return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}

API cuDeviceGetName(char* name, int bytes, int) {
  // Its build is in the name, so that kernels that were cached for another are not taken.
  std::strncpy(name, "emulated GPU " SUTURE_BUILD, bytes);
  return SUCCESS;
}

API cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 16: return *value = 1, SUCCESS;       // multiprocessors
    case 75: return *value = 9, SUCCESS;       // compute capability
    case 76: return *value = 0, SUCCESS;
    case 97: return *value = 232448, SUCCESS;  // shared memory of a block
    case 115: return *value = 1, SUCCESS;      // memory pools
    default: return INVALID_VALUE;
  }
}

API cuDeviceGetDefaultMemPool(void** pool, int) {
  *pool = &primaryContext;
  return SUCCESS;
}

API cuMemPoolSetAttribute(void* pool, int attribute, void*) {
  return pool == &primaryContext && attribute == 4 ? SUCCESS : INVALID_VALUE;
}

API cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = &primaryContext;
  return !initialized ? NOT_INITIALIZED : device == 0 ? SUCCESS : INVALID_DEVICE;
}

API cuDevicePrimaryCtxRelease_v2(int device) { return device == 0 ? SUCCESS : INVALID_DEVICE; }

API cuCtxSetCurrent(void* context) {
  currentContext = context;
  return SUCCESS;
}

API cuMemGetInfo_v2(size_t* free, size_t* total) {
  std::lock_guard<std::mutex> lock(mutex);
  *free = TOTAL_BYTES - usedBytes;
  *total = TOTAL_BYTES;
  return SUCCESS;
}

API cuMemAllocAsync(u64* address, size_t bytes, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  if (bytes == 0) return INVALID_VALUE;
  std::lock_guard<std::mutex> lock(mutex);
  if (bytes > TOTAL_BYTES - usedBytes) return OUT_OF_MEMORY;
  const size_t room = (bytes + 255) / 256 * 256;
  void* memory = std::aligned_alloc(256, room);
  auto* shadow = static_cast<suture::Shadow*>(std::calloc(room / 4, sizeof(suture::Shadow)));
  if (memory == nullptr || shadow == nullptr) return OUT_OF_MEMORY;
  // Not a number in every element: what was never written shows.
  std::memset(memory, 0xff, room);
  *address = reinterpret_cast<u64>(memory);
  allocations[*address] = {bytes, shadow};
  usedBytes += bytes;
  return SUCCESS;
}

API cuMemFreeAsync(u64 address, Stream* stream) {
  if (stream == nullptr) return INVALID_HANDLE;
  std::lock_guard<std::mutex> lock(mutex);
  auto found = allocations.find(address);
  if (found == allocations.end()) return failWith(INVALID_VALUE, "nothing was allocated there");
  usedBytes -= found->second.bytes;
  std::free(found->second.shadow);
  std::free(reinterpret_cast<void*>(address));
  allocations.erase(found);
  return SUCCESS;
}

API cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
  *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *memory == nullptr ? OUT_OF_MEMORY : SUCCESS;
}

API cuMemFreeHost(void* memory) {
  std::free(memory);
  return SUCCESS;
}

API cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  if (int code = checkRange(to, bytes)) return code;
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return SUCCESS;
}

API cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  if (int code = checkRange(from, bytes)) return code;
  std::memcpy(to, reinterpret_cast<void*>(from), bytes);
  return SUCCESS;
}

API cuMemsetD8Async(u64 to, unsigned char value, size_t bytes, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  if (int code = checkRange(to, bytes)) return code;
  std::memset(reinterpret_cast<void*>(to), value, bytes);
  return SUCCESS;
}

API cuStreamCreate(Stream** stream, unsigned) {
  if (!initialized) return NOT_INITIALIZED;
  if (currentContext == nullptr) return INVALID_CONTEXT;
  *stream = new Stream();
  return SUCCESS;
}

API cuStreamDestroy_v2(Stream* stream) {
  delete stream;
  return SUCCESS;
}

API cuStreamSynchronize(Stream* stream) { return checkStream(stream); }

API cuStreamBeginCapture_v2(Stream* stream, int) {
  if (int code = checkStream(stream)) return code;
  stream->capture = std::make_unique<Graph>();
  return SUCCESS;
}

API cuStreamEndCapture(Stream* stream, Graph** graph) {
  if (int code = checkStream(stream, true)) return code;
  *graph = stream->capture.release();
  return *graph == nullptr ? INVALID_VALUE : SUCCESS;
}

API cuGraphInstantiateWithFlags(Graph** executable, const Graph* graph, u64) {
  *executable = new Graph(*graph);
  return SUCCESS;
}

API cuGraphLaunch(const Graph* graph, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  for (const Launch& launch : graph->launches) {
    if (int code = launchNow(stream, launch)) return code;
  }
  return SUCCESS;
}

API cuGraphExecDestroy(Graph* graph) {
  delete graph;
  return SUCCESS;
}

API cuGraphDestroy(Graph* graph) {
  delete graph;
  return SUCCESS;
}

API cuEventCreate(Event** event, unsigned) {
  *event = new Event();
  return SUCCESS;
}

API cuEventDestroy_v2(Event* event) {
  delete event;
  return SUCCESS;
}

API cuEventRecord(Event* event, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  event->time = std::chrono::steady_clock::now();
  return SUCCESS;
}

API cuEventSynchronize(Event* event) { return event == nullptr ? INVALID_HANDLE : SUCCESS; }

API cuEventElapsedTime(float* milliseconds, const Event* from, const Event* to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return SUCCESS;
}

API cuModuleLoadData(Module** module, const void* image) {
  if (currentContext == nullptr) return INVALID_CONTEXT;
  const auto& header = *static_cast<const suture::ImageHeader*>(image);
  if (std::memcmp(header.magic, suture::IMAGE_MAGIC, sizeof header.magic) != 0) {
    return INVALID_IMAGE;
  }
  // A file of its own name, so that no two modules share their arrays.
  char path[] = "/tmp/suture-kernels-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) return failWith(INVALID_IMAGE, "there is no room in /tmp");
  const char* bytes = static_cast<const char*>(image) + sizeof header;
  bool written = true;
  for (u64 done = 0; written && done < header.bytes;) {
    const ssize_t count = write(file, bytes + done, header.bytes - done);
    written = count > 0;
    if (written) done += count;
  }
  close(file);
  void* library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  const std::string error = library != nullptr ? "" : written ? dlerror() : "/tmp is full";
  unlink(path);
  if (library == nullptr) return failWith(INVALID_IMAGE, error);
  *module = new Module{library, {}};
  return SUCCESS;
}

API cuModuleUnload(Module* module) {
  dlclose(module->library);
  delete module;
  return SUCCESS;
}

API cuModuleGetFunction(const Function** function, Module* module, const char* name) {
  const void* entry = dlsym(module->library, (std::string(name) + "_entry").c_str());
  if (entry == nullptr) return failWith(NOT_FOUND, name);
  module->functions.push_back(std::make_unique<Function>(
      Function{name, static_cast<const suture::Entry*>(entry)}));
  *function = module->functions.back().get();
  return SUCCESS;
}

API cuLaunchKernel(const Function* function, u32 gridX, u32 gridY, u32 gridZ, u32 blockX,
                   u32 blockY, u32 blockZ, u32 sharedBytes, Stream* stream, void** parameters,
                   void** extra) {
  if (int code = checkStream(stream, true)) return code;
  const u64 threads = u64(blockX) * blockY * blockZ;
  if (function == nullptr) return INVALID_HANDLE;
  if (gridX == 0 || gridX > MAX_GRID_X || gridY == 0 || gridY > MAX_GRID_YZ || gridZ == 0 ||
      gridZ > MAX_GRID_YZ || threads == 0 || threads > suture::MAX_THREADS || sharedBytes != 0 ||
      extra != nullptr) {
    return failWith(INVALID_VALUE, "kernel " + function->name + ": a launch of " +
                                       std::to_string(gridX) + " blocks of " +
                                       std::to_string(threads) + " threads");
  }
  Launch launch{function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, {}};
  for (u32 i = 0; i < function->entry->count; i++) {
    launch.operands.push_back(*static_cast<const u64*>(parameters[i]));
  }
  if (!stream->capture) return launchNow(stream, launch);
  stream->capture->launches.push_back(launch);
  return SUCCESS;
}
