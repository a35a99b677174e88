// CUDA C++ for g++: what the rendered kernels use of it, with every access to memory checked.
#pragma once
#include "runtime.h"

namespace suture {

static Runtime* runtime;

inline u64 stamp(u64 tick) { return tick << 16; }

// A write races with what another thread wrote or read in the same tick and, in global memory, with
// what another block of the launch did.
__attribute__((noinline)) static void checkWrite(Shadow& shadow, const Access& access) {
  const Runtime& r = *runtime;
  const u64 own = stamp(r.tick) | r.thread;
  const u64 written = shadow.written, read = shadow.read;
  const bool otherBlockWrote =
      access.global && written >= stamp(r.launchTick) && written < stamp(r.blockTick);
  if (otherBlockWrote || (written >= stamp(r.tick) && written != own)) {
    r.race(runtime, access, written, true, true);
  }
  const bool otherBlockRead = access.global && read >= stamp(r.launchTick) &&
                              (read < stamp(r.blockTick) || (read & OTHER_BLOCK));
  if (otherBlockRead || (read >= stamp(r.tick) && (read & ~OTHER_BLOCK) != own)) {
    r.race(runtime, access, read, false, true);
  }
  shadow.written = own;
}

// A read races with what another thread wrote in the same tick and, in global memory, with what
// another block of the launch wrote. Shared memory is unset until the block writes it.
__attribute__((noinline)) static void checkRead(Shadow& shadow, const Access& access) {
  const Runtime& r = *runtime;
  const u64 own = stamp(r.tick) | r.thread;
  const u64 written = shadow.written, read = shadow.read;
  if (!access.global && written < stamp(r.blockTick)) r.unset(runtime, access);
  const bool otherBlockWrote =
      access.global && written >= stamp(r.launchTick) && written < stamp(r.blockTick);
  if (otherBlockWrote || (written >= stamp(r.tick) && written != own)) {
    r.race(runtime, access, written, true, false);
  }
  if (read >= stamp(r.tick)) {
    if ((read & ~OTHER_BLOCK) != own) shadow.read = read | MANY_THREADS;
    return;
  }
  const bool others = access.global && read >= stamp(r.launchTick) &&
                      (read < stamp(r.blockTick) || (read & OTHER_BLOCK));
  shadow.read = own | (others ? OTHER_BLOCK : 0);
}

// What is most often so is decided in place.
inline void noteGlobalRead(Shadow& shadow, const char* name, u64 index) {
  const u64 start = stamp(runtime->launchTick);
  if (shadow.written >= start || shadow.read >= start) {
    return checkRead(shadow, {name, index, true});
  }
  shadow.read = stamp(runtime->tick) | runtime->thread;
}

inline void noteGlobalWrite(Shadow& shadow, const char* name, u64 index) {
  const u64 start = stamp(runtime->launchTick);
  if (shadow.written >= start || shadow.read >= start) {
    return checkWrite(shadow, {name, index, true});
  }
  shadow.written = stamp(runtime->tick) | runtime->thread;
}

inline void noteSharedRead(Shadow& shadow, const char* name, u64 index) {
  const u64 start = stamp(runtime->blockTick), now = stamp(runtime->tick);
  if (shadow.written < start || shadow.written >= now) {
    return checkRead(shadow, {name, index, false});
  }
  const u64 own = now | runtime->thread;
  shadow.read = shadow.read < now || shadow.read == own ? own : own | MANY_THREADS;
}

inline void noteSharedWrite(Shadow& shadow, const char* name, u64 index) {
  const u64 now = stamp(runtime->tick);
  if (shadow.written >= now || shadow.read >= now) {
    return checkWrite(shadow, {name, index, false});
  }
  shadow.written = now | runtime->thread;
}

// One element of an array: reading and assigning are checked.
template <class T, class A>
struct Element {
  A& array;
  u64 index;
  operator T() const { return array.get(index); }
  T operator=(T value) const { return array.set(index, value); }
  T operator=(const Element& other) const { return *this = T(other); }
};

template <class T>
struct Global {
  T* data;
  Shadow* shadow;
  const Declared* declared;

  Global(const Bound& bound, const Declared& as)
      : data(reinterpret_cast<T*>(bound.data)), shadow(bound.shadow), declared(&as) {}
  Element<T, const Global> operator[](long long index) const { return {*this, u64(index)}; }
  __attribute__((noinline)) T get(u64 index) const {
    noteGlobalRead(at(index, false), declared->name, index);
    return data[index];
  }
  __attribute__((noinline)) T set(u64 index, T value) const {
    noteGlobalWrite(at(index, true), declared->name, index);
    return data[index] = value;
  }
  void misaligned(u64 index) const { runtime->misaligned(runtime, {declared->name, index, true}); }
  Shadow& at(u64 index, bool writes) const {
    if (index >= declared->elements) {
      runtime->outOfBounds(runtime, {declared->name, index, true}, declared->elements, writes);
    }
    return shadow[index];
  }
};

// One block runs at a time, so that one array serves all. Name::text() is its name.
template <class T, u64 elements, class Name>
struct Shared {
  alignas(16) T data[elements];
  Shadow shadow[elements];

  Element<T, Shared> operator[](long long index) { return {*this, u64(index)}; }
  __attribute__((noinline)) T get(u64 index) {
    noteSharedRead(at(index, false), Name::text(), index);
    return data[index];
  }
  __attribute__((noinline)) T set(u64 index, T value) {
    noteSharedWrite(at(index, true), Name::text(), index);
    return data[index] = value;
  }
  void misaligned(u64 index) { runtime->misaligned(runtime, {Name::text(), index, false}); }
  Shadow& at(u64 index, bool writes) {
    if (index >= elements) runtime->outOfBounds(runtime, {Name::text(), index, false}, elements, writes);
    return shadow[index];
  }
};

template <class T>
struct Four {
  T x, y, z, w;
};
template <class T>
inline Four<T> four(T x, T y, T z, T w) {
  return {x, y, z, w};
}

// Four neighbours: each is checked, and that the first lies at a multiple of 16 bytes.
template <class A>
inline void checkAligned(A& array, long long at) {
  if ((reinterpret_cast<u64>(array.data) + 4 * u64(at)) % 16 != 0) array.misaligned(u64(at));
}
template <class A>
inline auto read4(A& array, long long at) {
  checkAligned(array, at);
  // In their order, which arguments of a call need not have.
  const auto x = array.get(at), y = array.get(at + 1), z = array.get(at + 2), w = array.get(at + 3);
  return four(x, y, z, w);
}
template <class A>
inline void write4(A& array, long long at, Four<float> values) {
  checkAligned(array, at);
  array.set(at, values.x);
  array.set(at + 1, values.y);
  array.set(at + 2, values.z);
  array.set(at + 3, values.w);
}

inline void multiply(int line, float& s0, float& s1, float& s2, float& s3, float a0, float a1,
                     float a2, float a3, float b0, float b1) {
  float sums[4] = {s0, s1, s2, s3};
  const float a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
  runtime->mma(runtime, line, sums, a, b);
  s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
}

template <u32... I>
struct Numbers {};

template <class... P, u32... I>
inline void call(void (*kernel)(P...), const Bound* bound, const Declared* arrays, Numbers<I...>) {
  kernel(P(bound[I], arrays[I])...);
}

template <class... P>
inline void run(void (*kernel)(P...), const Bound* bound, const Declared* arrays) {
  call(kernel, bound, arrays, Numbers<__integer_pack(sizeof...(P))...>());
}

inline float shuffleXor(int line, u32 threads, float value, u32 mask) {
  if (threads != 0xffffffffu) __builtin_trap();
  runtime->shuffle(runtime, line, &value, mask);
  return value;
}

}  // namespace suture

using float4 = suture::Four<float>;
using int4 = suture::Four<int>;
using suture::read4;
using suture::write4;

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads, blocks)
#define threadIdx (suture::runtime->threadIdx)
#define blockIdx (suture::runtime->blockIdx)
#define blockDim (suture::runtime->blockDim)
#define gridDim (suture::runtime->gridDim)
#define __syncthreads() suture::runtime->barrier(suture::runtime, __LINE__)

#define __shfl_xor_sync(...) suture::shuffleXor(__LINE__, __VA_ARGS__)

#define SUTURE_GLOBAL(T, name) suture::Global<T> name
#define SUTURE_SHARED(T, name, elements)      \
  struct name##_name {                        \
    static const char* text() { return #name; } \
  };                                          \
  static suture::Shared<T, elements, name##_name> name
#define SUTURE_ARRAYS(kernel, ...)                                                           \
  static const suture::Declared kernel##_arrays[] = {__VA_ARGS__};                           \
  static void kernel##_run(const suture::Bound* bound) {                                     \
    suture::run(&kernel, bound, kernel##_arrays);                                            \
  }                                                                                          \
  extern "C" __attribute__((visibility("default"))) const suture::Entry kernel##_entry = {   \
      sizeof(kernel##_arrays) / sizeof(suture::Declared), kernel##_arrays, &kernel##_run,    \
      &suture::runtime};

static inline float __int_as_float(int bits) { return __builtin_bit_cast(float, bits); }
static inline int __float_as_int(float value) { return __builtin_bit_cast(int, value); }
// A finite f16.
static inline float from_f16(int bits) {
  const int magnitude = bits & 0x7fff;
  const float value = magnitude < 0x400 ? magnitude * 0x1p-24f
                                        : __int_as_float((magnitude << 13) + (112 << 23));
  return bits & 0x8000 ? -value : value;
}
// As cvt.rna.tf32.f32: to the nearest of 11 bits, of two the one farther from 0.
static inline float to_tf32(float a) {
  if (a != a) return a;
  const int bits = __float_as_int(a);
  const int magnitude = bits & 0x7fffffff;
  if (magnitude == 0x7f800000) return a;
  return __int_as_float((bits & (int)0x80000000) | ((magnitude + 0x1000) & ~0x1fff));
}
#define mma(...) suture::multiply(__LINE__, __VA_ARGS__)
#define fmaf __builtin_fmaf
#define sqrtf __builtin_sqrtf
#define fabsf __builtin_fabsf
#define rintf __builtin_rintf
// What is too large becomes the largest, and what is no number 0.
static inline int __float2int_rz(float a) {
  if (!(a < 2147483648.f)) return a != a ? 0 : 2147483647;
  return a < -2147483648.f ? -2147483647 - 1 : (int)a;
}
static inline int __float2int_rn(float a) { return __float2int_rz(rintf(a)); }
