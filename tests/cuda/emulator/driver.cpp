// The CUDA driver's calls that Suture makes, on the CPU: the device, its context and its errors. The
// others are in memory.cpp, streams.cpp and modules.cpp.
#include "driver.h"

#include <cstring>

using namespace suture;

namespace {

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

bool initialized = false;
int primaryContext = 0;
thread_local void* current = nullptr;
// What the last failure was, beside the text of its code.
thread_local int detailCode = 0;
thread_local std::string detail, errorText;

}  // namespace

int suture::failWith(int code, const std::string& what) {
  detailCode = code;
  detail = what;
  return code;
}

bool suture::isInitialized() { return initialized; }

void* suture::currentContext() { return current; }

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
  current = context;
  return SUCCESS;
}
