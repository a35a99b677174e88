// The emulated driver's modules and launches.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "driver.h"
#include "image.h"

using namespace suture;

namespace {

constexpr u64 MAX_GRID_X = 2147483647, MAX_GRID_YZ = 65535;

struct Function {
  std::string name;
  const Entry* entry;
};

struct Module {
  void* library;
  std::vector<std::unique_ptr<Function>> functions;
};

struct Launch {
  const Function* function;
  Index3 blocks, threads;
  std::vector<u64> operands;
};

int launchNow(Stream* stream, const Launch& launch) {
  const Entry& entry = *launch.function->entry;
  std::vector<Bound> bound;
  for (u32 i = 0; i < entry.count; i++) {
    const u64 address = launch.operands[i];
    const u64 wanted = entry.arrays[i].elements * 4;
    const std::string what = "kernel " + launch.function->name + ": " + entry.arrays[i].name;
    Allocation found;
    if (!findAllocation(address, &found)) {
      return breakStream(stream, ILLEGAL_ADDRESS, what + " is not in device memory");
    }
    if (address % 4 != 0) return breakStream(stream, MISALIGNED_ADDRESS, what + " is misaligned");
    const u64 room = found.address + found.bytes - address;
    if (wanted > room) {
      return breakStream(stream, ILLEGAL_ADDRESS,
                         what + " has " + std::to_string(wanted) + " bytes, of which " +
                             std::to_string(room) + " are in its allocation");
    }
    bound.push_back({reinterpret_cast<unsigned char*>(address),
                     found.shadow + (address - found.address) / 4});
  }
  if (stream->grid.run(launch.function->name.c_str(), launch.blocks, launch.threads, entry,
                       bound.data())) {
    return SUCCESS;
  }
  return breakStream(stream, LAUNCH_FAILED, stream->grid.failure());
}

}  // namespace

API cuModuleLoadData(Module** module, const void* image) {
  if (currentContext() == nullptr) return INVALID_CONTEXT;
  const auto& header = *static_cast<const ImageHeader*>(image);
  if (std::memcmp(header.magic, IMAGE_MAGIC, sizeof header.magic) != 0) {
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
      Function{name, static_cast<const Entry*>(entry)}));
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
      gridZ > MAX_GRID_YZ || threads == 0 || threads > MAX_THREADS || sharedBytes != 0 ||
      extra != nullptr) {
    return failWith(INVALID_VALUE, "kernel " + function->name + ": a launch of " +
                                       std::to_string(gridX) + " blocks of " +
                                       std::to_string(threads) + " threads");
  }
  Launch launch{function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, {}};
  for (u32 i = 0; i < function->entry->count; i++) {
    launch.operands.push_back(*static_cast<const u64*>(parameters[i]));
  }
  return submit(stream, [launch](Stream* on) { return launchNow(on, launch); });
}
