// The emulated driver's memory: allocations with a shadow, and copies.
#include <cstdlib>
#include <cstring>
#include <map>

#include "driver.h"

using namespace suture;

namespace {

constexpr u64 TOTAL_BYTES = u64(16) << 30;

// Several threads may use the driver, each with streams of its own.
std::mutex mutex;
std::map<u64, Allocation> allocations;
u64 usedBytes = 0;

int checkRange(u64 address, u64 bytes) {
  Allocation found;
  if (!findAllocation(address, &found) || address + bytes > found.address + found.bytes) {
    return failWith(INVALID_VALUE, std::to_string(bytes) + " bytes at " +
                                       std::to_string(address) + " are not in one allocation");
  }
  return SUCCESS;
}

}  // namespace

bool suture::findAllocation(u64 address, Allocation* found) {
  std::lock_guard<std::mutex> lock(mutex);
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return false;
  *found = std::prev(after)->second;
  return address < found->address + found->bytes;
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
  allocations[*address] = {*address, bytes, shadow};
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
