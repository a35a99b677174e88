// The calls of cuBLASLt that Suture makes, as plain loops on the CPU. Matrices are column-major.
// What a real library would do without a word, or only sometimes, is an error here: operands out
// of bounds, results over operands, addresses that are not aligned as promised.
#include <cmath>
#include <cstring>
#include <utility>

#include "driver.h"

using namespace suture;

namespace {

enum Status { OK = 0, NOT_READY = 1, INVALID = 7, UNSUPPORTED = 15 };

// Values of cublas_api.h, library_types.h and cublasLt.h.
enum ComputeType { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };
constexpr int R_32F = 0;
enum LayoutAttribute { LAYOUT_BATCH_COUNT = 5, LAYOUT_BATCH_OFFSET = 6 };
enum DescAttribute { DESC_TRANSA = 3, DESC_TRANSB = 4 };
enum PreferenceAttribute { MAX_WORKSPACE = 1, REDUCTION_MASK = 3, MIN_ALIGNMENT_A = 5 };
constexpr u32 REDUCTION_IN_PLACE = 1;

// As many bytes as a real one asks for, sometimes.
constexpr u64 WORKSPACE_BYTES = u64(1) << 20;

struct Handle {
  bool open = true;
};

struct Layout {
  u64 rows, columns;
  long long leading;
  int batch = 1;
  long long offset = 0;
};

struct Desc {
  int compute;
  int transposed[2] = {0, 0};
};

struct Preference {
  u64 workspace = 0;
  u32 reduction = 7;
  // Of A, B, C and D.
  u32 alignment[4] = {256, 256, 256, 256};
};

struct Algo {
  u64 workspace;
  u32 alignment[4];
  int compute;
  int inPlace;
  u64 unused[4];
};
static_assert(sizeof(Algo) == 64);

struct Heuristic {
  Algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

// Bytes from the first element to the end of the last.
u64 extent(const Layout& m) {
  return 4 * ((m.batch - 1) * m.offset + (m.columns - 1) * m.leading + m.rows);
}

bool fits(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  const auto [m, k] = desc.transposed[0] ? std::pair(a.columns, a.rows) : std::pair(a.rows, a.columns);
  const auto [k2, n] = desc.transposed[1] ? std::pair(b.columns, b.rows) : std::pair(b.rows, b.columns);
  for (const Layout* each : {&a, &b, &c, &d}) {
    if (each->leading < static_cast<long long>(each->rows) || each->batch != a.batch) return false;
    if (each->rows == 0 || each->columns == 0 || each->offset < 0) return false;
  }
  if (d.batch > 1 && d.offset < static_cast<long long>(d.leading * d.columns)) return false;
  return k == k2 && c.rows == m && c.columns == n && d.rows == m && d.columns == n;
}

float rounded(float value, int compute) {
  if (std::isnan(value)) return value;
  u32 bits;
  std::memcpy(&bits, &value, 4);
  if (compute == COMPUTE_32F_FAST_TF32) bits = (bits + 0x1000) & ~u32(0x1fff);
  std::memcpy(&value, &bits, 4);
  return value;
}

struct Product {
  Desc desc;
  Layout a, b, c, d;
  u64 atA, atB, atC, atD;
  float alpha, beta;
  Algo algo;
};

int multiply(Stream* stream, const Product& p, u64* count) {
  const Layout* layouts[] = {&p.a, &p.b, &p.c, &p.d};
  const u64 addresses[] = {p.atA, p.atB, p.atC, p.atD};
  for (int i = 0; i < 4; i++) {
    if (i == 2 && p.beta == 0) continue;
    Allocation found;
    const bool inside = findAllocation(addresses[i], &found);
    if (!inside || addresses[i] + extent(*layouts[i]) > found.address + found.bytes) {
      return breakStream(stream, ILLEGAL_ADDRESS, std::string("cublasLtMatmul: ") + "ABCD"[i] +
                                                      " is not in one allocation");
    }
    const u64 end = p.atD + extent(p.d);
    if (i < 2 && addresses[i] < end && p.atD < addresses[i] + extent(*layouts[i])) {
      return breakStream(stream, LAUNCH_FAILED, std::string("cublasLtMatmul: D lies on ") + "AB"[i]);
    }
  }
  const u64 rows = p.d.rows, columns = p.d.columns;
  const u64 depth = p.desc.transposed[0] ? p.a.rows : p.a.columns;
  // In place, partial sums meet in an order that is not always the same.
  const bool backwards = p.algo.inPlace && (*count)++ % 2 == 1;
  const auto packed = [&](const Layout& layout, u64 at, u64 lines, bool along) {
    std::vector<float> values(lines * depth);
    const float* from = reinterpret_cast<const float*>(at);
    for (u64 line = 0; line < lines; line++) {
      for (u64 i = 0; i < depth; i++) {
        const u64 k = backwards ? depth - 1 - i : i;
        const u64 element = along ? line * layout.leading + k : k * layout.leading + line;
        values[line * depth + i] = rounded(from[element], p.desc.compute);
      }
    }
    return values;
  };
  for (int i = 0; i < p.d.batch; i++) {
    const auto a = packed(p.a, p.atA + 4 * i * p.a.offset, rows, p.desc.transposed[0]);
    const auto b = packed(p.b, p.atB + 4 * i * p.b.offset, columns, !p.desc.transposed[1]);
    const float* c = reinterpret_cast<const float*>(p.atC) + i * p.c.offset;
    float* d = reinterpret_cast<float*>(p.atD) + i * p.d.offset;
    for (u64 column = 0; column < columns; column++) {
      for (u64 row = 0; row < rows; row++) {
        float sum = 0;
        for (u64 k = 0; k < depth; k++) sum += a[row * depth + k] * b[column * depth + k];
        // Where beta is 0, C is not read, and may be not a number.
        const float before = p.beta == 0 ? 0 : p.beta * c[column * p.c.leading + row];
        d[column * p.d.leading + row] = p.alpha * sum + before;
      }
    }
  }
  return SUCCESS;
}

template <typename T>
int assign(T* to, const void* from, size_t bytes) {
  if (from == nullptr || bytes != sizeof(T)) return INVALID;
  std::memcpy(to, from, sizeof(T));
  return OK;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) size_t cublasLtGetVersion() { return 130000; }

extern "C" __attribute__((visibility("default"))) const char* cublasLtGetStatusName(int status) {
  switch (status) {
    case OK: return "CUBLAS_STATUS_SUCCESS";
    case NOT_READY: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case INVALID: return "CUBLAS_STATUS_INVALID_VALUE";
    case UNSUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS_INTERNAL_ERROR";
  }
}

API cublasLtCreate(Handle** handle) {
  if (currentContext() == nullptr) return NOT_READY;
  *handle = new Handle();
  return OK;
}

API cublasLtDestroy(Handle* handle) {
  delete handle;
  return OK;
}

API cublasLtMatrixLayoutCreate(Layout** layout, int type, u64 rows, u64 columns, long long leading) {
  if (type != R_32F) return INVALID;
  *layout = new Layout{rows, columns, leading};
  return OK;
}

API cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* from, size_t bytes) {
  switch (attribute) {
    case LAYOUT_BATCH_COUNT: return assign(&layout->batch, from, bytes);
    case LAYOUT_BATCH_OFFSET: return assign(&layout->offset, from, bytes);
    default: return INVALID;
  }
}

API cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return OK;
}

API cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
  const bool known = compute == COMPUTE_32F || compute == COMPUTE_32F_FAST_TF32;
  if (!known || scale != R_32F) return INVALID;
  *desc = new Desc{compute};
  return OK;
}

API cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* from, size_t bytes) {
  if (attribute != DESC_TRANSA && attribute != DESC_TRANSB) return INVALID;
  return assign(&desc->transposed[attribute - DESC_TRANSA], from, bytes);
}

API cublasLtMatmulDescDestroy(Desc* desc) {
  delete desc;
  return OK;
}

API cublasLtMatmulPreferenceCreate(Preference** preference) {
  *preference = new Preference();
  return OK;
}

API cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* from,
                                         size_t bytes) {
  switch (attribute) {
    case MAX_WORKSPACE: return assign(&preference->workspace, from, bytes);
    case REDUCTION_MASK: return assign(&preference->reduction, from, bytes);
    default:
      if (attribute < MIN_ALIGNMENT_A || attribute >= MIN_ALIGNMENT_A + 4) return INVALID;
      return assign(&preference->alignment[attribute - MIN_ALIGNMENT_A], from, bytes);
  }
}

API cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return OK;
}

API cublasLtMatmulAlgoGetHeuristic(const Handle* handle, const Desc* desc, const Layout* a,
                                   const Layout* b, const Layout* c, const Layout* d,
                                   const Preference* preference, int wanted, Heuristic* results,
                                   int* count) {
  *count = 0;
  if (handle == nullptr || wanted < 1 || !fits(*desc, *a, *b, *c, *d)) return INVALID;
  // Something that it cannot do, as real ones have: then our kernels do it.
  if (d->rows == 1 && d->columns == 1 && d->batch == 1) return UNSUPPORTED;
  const u64 workspace = preference->workspace < WORKSPACE_BYTES ? 0 : WORKSPACE_BYTES;
  Heuristic& result = results[0];
  result = {};
  result.algo.workspace = result.workspace = workspace;
  std::memcpy(result.algo.alignment, preference->alignment, sizeof result.algo.alignment);
  result.algo.compute = desc->compute;
  result.algo.inPlace = (preference->reduction & REDUCTION_IN_PLACE) != 0;
  *count = 1;
  return OK;
}

API cublasLtMatmul(const Handle* handle, const Desc* desc, const float* alpha, u64 atA,
                   const Layout* a, u64 atB, const Layout* b, const float* beta, u64 atC,
                   const Layout* c, u64 atD, const Layout* d, const Algo* algo, u64 workspace,
                   size_t workspaceBytes, Stream* stream) {
  static u64 runs = 0;
  if (handle == nullptr || checkStream(stream, true) != SUCCESS) return NOT_READY;
  if (!fits(*desc, *a, *b, *c, *d) || algo->compute != desc->compute) return INVALID;
  const u64 addresses[] = {atA, atB, atC, atD};
  for (int i = 0; i < 4; i++) {
    if (addresses[i] % algo->alignment[i] != 0) return INVALID;
  }
  Allocation found;
  if (workspaceBytes < algo->workspace || !findAllocation(workspace, &found) ||
      workspace + workspaceBytes > found.address + found.bytes) {
    return INVALID;
  }
  const Product product{*desc, *a, *b, *c, *d, atA, atB, atC, atD, *alpha, *beta, *algo};
  // What fails in it, the stream says from then on.
  submit(stream, [product](Stream* on) { return multiply(on, product, &runs); });
  return OK;
}
