// What stands before a kernel of CuPy's so that g++ compiles it for the processor: CUDA's words and functions.
//
// A kernel is run block by block.  The threads of a block are fibers (see device.cpp), which meet at __syncthreads().
#pragma once
#include <cuda_runtime.h>
#include <math.h>
#include <string.h>

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __forceinline__
#undef __noinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static thread_local  // one block at a time is run by a thread of the processor
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)

// ------------------------------------------------------------------------------------- where a thread is

struct Position {
  uint3 thread, block;
  dim3 block_size, grid_size;
  bool backwards;  // whether a thread that is alone begins with the last element
};
static thread_local Position position;
#define threadIdx position.thread
#define blockIdx position.block
#define blockDim position.block_size
#define gridDim position.grid_size
#define warpSize 32

extern "C" {
void wait_for_block();
void wait_for_warp();
unsigned own_number();          // in the block
char* mailbox(unsigned lane);   // 16 bytes for each lane of the warp
char* dynamic_memory();         // shared memory whose size is known at the launch
}
inline void __syncthreads() { wait_for_block(); }
inline void __syncwarp(unsigned = ~0u) { wait_for_warp(); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// The value that another lane of the warp has in x, or its own where there is no such lane.
template <class T>
inline T shuffled(T x, int from) {
  memcpy(mailbox(own_number() % 32), &x, sizeof(T));
  wait_for_warp();
  T found = x;
  if (0 <= from && from < 32) memcpy(&found, mailbox(from), sizeof(T));
  wait_for_warp();
  return found;
}
template <class T>
inline T __shfl_sync(unsigned, T x, int from, int = 32) { return shuffled(x, from); }
template <class T>
inline T __shfl_up_sync(unsigned, T x, unsigned d, int = 32) { return shuffled(x, int(own_number() % 32) - int(d)); }
template <class T>
inline T __shfl_down_sync(unsigned, T x, unsigned d, int = 32) { return shuffled(x, int(own_number() % 32) + int(d)); }
template <class T>
inline T __shfl_xor_sync(unsigned, T x, int mask, int = 32) { return shuffled(x, int(own_number() % 32) ^ mask); }

// ------------------------------------------------------------------------------------- functions of numbers

template <class To, class From>
inline To same_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "");
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline int __float_as_int(float x) { return same_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / ::sqrt(x); }
using std::abs;
using std::fabs;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::pow;
using std::signbit;

template <class T, class U>
using Numbers = std::enable_if_t<std::is_arithmetic<T>::value && std::is_arithmetic<U>::value, std::common_type_t<T, U>>;
template <class T, class U>
inline Numbers<T, U> min(T a, U b) { return b < a ? b : a; }
template <class T, class U>
inline Numbers<T, U> max(T a, U b) { return a < b ? b : a; }

// Fibers take turns, so nothing comes between.
template <class T, class F>
inline T replaced(T* place, F function) {
  T old = *place;
  *place = function(old);
  return old;
}
template <class T>
inline T atomicAdd(T* p, T v) { return replaced(p, [=](T x) { return T(x + v); }); }
template <class T>
inline T atomicMax(T* p, T v) { return replaced(p, [=](T x) { return x < v ? v : x; }); }
template <class T>
inline T atomicMin(T* p, T v) { return replaced(p, [=](T x) { return v < x ? v : x; }); }
template <class T>
inline T atomicExch(T* p, T v) { return replaced(p, [=](T) { return v; }); }
template <class T>
inline T atomicCAS(T* p, T old, T v) { return replaced(p, [=](T x) { return x == old ? v : x; }); }
template <class T>
inline T atomicOr(T* p, T v) { return replaced(p, [=](T x) { return T(x | v); }); }
template <class T>
inline T atomicAnd(T* p, T v) { return replaced(p, [=](T x) { return T(x & v); }); }
template <class T>
inline T __ldg(const T* p) { return *p; }

// ------------------------------------------------------------------------------------- how it is called

// A launch gives the address of each argument; the graph that keeps a launch must know how large they are.
template <class... A, size_t... I>
inline void call_with(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*(std::remove_reference_t<A>*)arguments[I]...);
}
template <class... A>
inline void call(void (*kernel)(A...), void** arguments) {
  call_with(kernel, arguments, std::index_sequence_for<A...>());
}
template <class... A>
inline const size_t* sizes(void (*)(A...)) {
  static const size_t found[] = {sizeof(std::remove_reference_t<A>)..., 0};
  return found;
}
