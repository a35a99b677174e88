// CUDA C++ for g++: what the rendered kernels use of it, with every access to memory checked.
#pragma once
#include "runtime.h"

namespace suture {

static Runtime* runtime;

inline void noteRead(Shadow& shadow, const Access& access) {
  Runtime& r = *runtime;
  const u64 written = shadow.written, writeTick = written >> 16;
  if (access.global) {
    if (writeTick >= r.launchTick &&
        (writeTick < r.blockTick || (writeTick == r.tick && (written & THREAD_MASK) != r.thread))) {
      r.race(runtime, access, written, true, false);
    }
  } else {
    if (writeTick < r.blockTick) r.unset(runtime, access);
    if (writeTick == r.tick && (written & THREAD_MASK) != r.thread) {
      r.race(runtime, access, written, true, false);
    }
  }
  const u64 read = shadow.read, readTick = read >> 16;
  if (readTick == r.tick) {
    if ((read & THREAD_MASK) != r.thread) shadow.read = read | MANY_THREADS;
    return;
  }
  const bool others = access.global && readTick >= r.launchTick &&
                      (readTick < r.blockTick || (read & OTHER_BLOCK));
  shadow.read = r.tick << 16 | (others ? OTHER_BLOCK : 0) | r.thread;
}

inline void noteWrite(Shadow& shadow, const Access& access) {
  Runtime& r = *runtime;
  const u64 written = shadow.written, writeTick = written >> 16;
  const u64 read = shadow.read, readTick = read >> 16;
  const bool otherWrote =
      (access.global && writeTick >= r.launchTick && writeTick < r.blockTick) ||
      (writeTick == r.tick && (written & THREAD_MASK) != r.thread);
  if (otherWrote) r.race(runtime, access, written, true, true);
  const bool otherRead =
      (access.global && readTick >= r.launchTick &&
       (readTick < r.blockTick || (read & OTHER_BLOCK))) ||
      (readTick == r.tick && (read & THREAD_MASK) != r.thread);
  if (otherRead) r.race(runtime, access, read, false, true);
  shadow.written = r.tick << 16 | r.thread;
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
  T get(u64 index) const {
    noteRead(at(index, false), {declared->name, index, true});
    return data[index];
  }
  T set(u64 index, T value) const {
    noteWrite(at(index, true), {declared->name, index, true});
    return data[index] = value;
  }
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
  T data[elements];
  Shadow shadow[elements];

  Element<T, Shared> operator[](long long index) { return {*this, u64(index)}; }
  T get(u64 index) {
    noteRead(at(index, false), {Name::text(), index, false});
    return data[index];
  }
  T set(u64 index, T value) {
    noteWrite(at(index, true), {Name::text(), index, false});
    return data[index] = value;
  }
  Shadow& at(u64 index, bool writes) {
    if (index >= elements) runtime->outOfBounds(runtime, {Name::text(), index, false}, elements, writes);
    return shadow[index];
  }
};

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

}  // namespace suture

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define threadIdx (suture::runtime->threadIdx)
#define blockIdx (suture::runtime->blockIdx)
#define blockDim (suture::runtime->blockDim)
#define gridDim (suture::runtime->gridDim)
#define __syncthreads() suture::runtime->barrier(suture::runtime, __LINE__)

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
static inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float sqrtf(float a) { return __builtin_sqrtf(a); }
static inline float fabsf(float a) { return __builtin_fabsf(a); }
static inline float rintf(float a) { return __builtin_rintf(a); }
