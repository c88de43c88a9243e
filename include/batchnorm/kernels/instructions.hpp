// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_INSTRUCTIONS_HPP
#define BATCHNORM_KERNELS_INSTRUCTIONS_HPP

#include <cstddef>
#include <cstdint>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Single instructions that compilers do not choose by themselves. All inline assembly stands here.
//
// What is inlined into a kernel is compiled for the baseline first, as a function of its own. g++
// 12 takes some operations on vectors of AVX apart there, and inlining into the function for AVX2
// does not put them together again; assembly stays whole. clang++ 14 keeps them whole, and refuses
// assembly for AVX in a function for less. So all but cpuid is for g++ alone:
//
//   instruction          what for                      what g++ 12 does instead
//   cpuid                F16C, at run time             __builtin_cpu_supports does not know F16C in
//                                                      all versions of g++ and clang++
//   vbroadcastss, -sd    one number in every lane      in halves: kernels of up to twice the length
//   vcvtps2pd            float to double               in halves, shuffled: six instructions
//   vsqrtpd              square roots                  in halves
//   vfmadd213ps, -pd     a b + c, rounded once         does so itself from -O1 on; without
//                                                      optimisation it rounds twice
//   vcvtph2ps, vcvtps2ph half to float, and back       has no operation on vectors for it
//   vpmovzxwd            16 bits to 32                 in halves, shuffled: four instructions
//   vbroadcasti128, vpshufb
//                        bfloat16 to float, AVX2       shuffles of halves
//   vcmpunordps          which lanes are NaN           assumes with -ffast-math that none is
//   vptestmd, vcmpunordps, vpaddd, vpternlogd
//                        float to bfloat16, AVX-512    8 instructions without masks, in place of 5
//   vpermt2w             odd words of two vectors      shuffles and blends of halves
//   vpackusdw, vpermq    the same with AVX2            shuffles and blends of halves
//   vmovntps             store past the cache          its built-in functions for AVX are declared
//                                                      to those who include all of immintrin.h only

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Prefetches the line `ahead` elements from `at` into L2. Computed as a number: it may lie past
/// the end of the memory, which is not read.
template <class T>
[[gnu::always_inline]] inline void prefetch_line(const T* at, Index ahead) {
#if defined(__GNUC__)
  const std::uintptr_t line =
      reinterpret_cast<std::uintptr_t>(at) + static_cast<std::uintptr_t>(ahead) * sizeof(T);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read through it
  __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 2);
#else
  static_cast<void>(at);
  static_cast<void>(ahead);
#endif
}

/// Makes streamed stores visible to other threads, as ordinary stores are by themselves.
inline void finish_streaming() {
#if defined(__x86_64__) && (defined(__clang__) || defined(__GNUC__))
  __builtin_ia32_sfence();
#endif
}

#if defined(__x86_64__) && (defined(__clang__) || defined(__GNUC__))
/// Register ecx of cpuid, leaf 1. Volatile: otherwise compilers run it before they know whether
/// they have to, which takes a virtual machine microseconds.
inline unsigned cpu_features() {
  unsigned leaf = 1, features = 0, unused = 0;
  asm volatile("cpuid" : "+a"(leaf), "=b"(unused), "=c"(features), "=d"(unused));
  return features;
}
#endif

/// Named as the instructions, result first. Operands are vectors that the instruction has: no type
/// is checked.
namespace assembly {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
inline constexpr bool available = true;

template <class V, class C>
[[gnu::always_inline]] inline void vbroadcastss(V& vector, const C& value) {
  asm("vbroadcastss %1, %0" : "=v"(vector) : "vm"(value));
}
template <class V, class C>
[[gnu::always_inline]] inline void vbroadcastsd(V& vector, const C& value) {
  asm("vbroadcastsd %1, %0" : "=v"(vector) : "vm"(value));
}
template <class Wide, class Narrow>
[[gnu::always_inline]] inline void vcvtps2pd(Wide& wide, const Narrow& narrow) {
  asm("vcvtps2pd %1, %0" : "=v"(wide) : "vm"(narrow));
}
template <class V>
[[gnu::always_inline]] inline void vsqrtpd(V& root, const V& x) {
  asm("vsqrtpd %1, %0" : "=v"(root) : "vm"(x));
}
template <class V>
[[gnu::always_inline]] inline void vfmadd213ps(V& a, const V& b, const V& c) {
  asm("vfmadd213ps %2, %1, %0" : "+v"(a) : "v"(b), "vm"(c));
}
template <class V>
[[gnu::always_inline]] inline void vfmadd213pd(V& a, const V& b, const V& c) {
  asm("vfmadd213pd %2, %1, %0" : "+v"(a) : "v"(b), "vm"(c));
}
template <class Wide, class Bits>
[[gnu::always_inline]] inline void vcvtph2ps(Wide& wide, const Bits& bits) {
  asm("vcvtph2ps %1, %0" : "=v"(wide) : "vm"(bits));
}
template <class Bits, class Wide>
[[gnu::always_inline]] inline void vcvtps2ph(Bits& bits, const Wide& wide) {
  asm("vcvtps2ph $0, %1, %0" : "=v"(bits) : "v"(wide));
}
template <class Wide, class Bits>
[[gnu::always_inline]] inline void vpmovzxwd(Wide& wide, const Bits& bits) {
  asm("vpmovzxwd %1, %0" : "=v"(wide) : "vm"(bits));
}
/// The 16 bytes at an address, twice.
template <class V>
[[gnu::always_inline]] inline void vbroadcasti128(V& vector, const void* from) {
  struct Memory {
    unsigned char bytes[16];
  };
  asm("vbroadcasti128 %1, %0" : "=x"(vector) : "m"(*static_cast<const Memory*>(from)));
}
/// Bytes of each half of a vector, chosen by their numbers; zero where these are above 127.
template <class V, class Bytes>
[[gnu::always_inline]] inline void vpshufb(V& vector, const Bytes& bytes, const Bytes& chosen) {
  asm("vpshufb %2, %1, %0" : "=x"(vector) : "x"(bytes), "x"(chosen));
}
/// All bits of the lanes that are NaN.
template <class Words, class V>
[[gnu::always_inline]] inline void vcmpunordps(Words& nan, const V& x) {
  asm("vcmpunordps %1, %1, %0" : "=x"(nan) : "x"(x));
}
/// The lower halves of the lanes of two vectors whose upper halves are zero, side by side.
template <class Bits, class Wide>
[[gnu::always_inline]] inline void vpackusdw(Bits& bits, const Wide& first, const Wide& second) {
  asm("vpackusdw %2, %1, %0\n\tvpermq $0xd8, %0, %0" : "=x"(bits) : "x"(first), "x"(second));
}
/// Words of two vectors, chosen by their numbers; `bits` holds the first vector.
template <class Bits, class Wide>
[[gnu::always_inline]] inline void vpermt2w(Bits& bits, const Bits& chosen, const Wide& second) {
  asm("vpermt2w %2, %1, %0" : "+v"(bits) : "v"(chosen), "v"(second));
}
/// Floats rounded to bfloat16, in the upper halves of their lanes; NaN becomes all ones.
template <class Words>
[[gnu::always_inline]] inline void round_to_bfloat16(Words& rounded, const Words& x) {
  std::uint16_t odd, not_a_number;
  asm("vptestmd %4, %3, %1\n\t"
      "vcmpunordps %3, %3, %2\n\t"
      "vpaddd %5, %3, %0\n\t"
      "vpaddd %6, %0, %0%{%1%}\n\t"
      "vpternlogd $255, %0, %0, %0%{%2%}"
      : "=&v"(rounded), "=&Yk"(odd), "=&Yk"(not_a_number)
      : "v"(x), "v"(Words{} + 0x10000u), "v"(Words{} + 0x7fffu), "v"(Words{} + 1u));
}
/// To memory aligned to the size of the vector, of 16 bytes or more.
template <class V>
[[gnu::always_inline]] inline void vmovntps(void* to, const V& bits) {
  struct Memory {
    unsigned char bytes[sizeof(V)];
  };
  if constexpr (sizeof(V) > 16) {
    asm("vmovntps %1, %0" : "=m"(*static_cast<Memory*>(to)) : "v"(bits));
  } else {
    asm("%vmovntps %1, %0" : "=m"(*static_cast<Memory*>(to)) : "x"(bits));
  }
}
#else
inline constexpr bool available = false;

// Named where they are not called.
template <class... Operands>
void vbroadcastss(Operands&...);
template <class... Operands>
void vbroadcastsd(Operands&...);
template <class... Operands>
void vcvtps2pd(Operands&...);
template <class... Operands>
void vsqrtpd(Operands&...);
template <class... Operands>
void vfmadd213ps(Operands&...);
template <class... Operands>
void vfmadd213pd(Operands&...);
template <class... Operands>
void vcvtph2ps(Operands&...);
template <class... Operands>
void vcvtps2ph(Operands&...);
template <class... Operands>
void vpmovzxwd(Operands&...);
template <class... Operands>
void vbroadcasti128(Operands&...);
template <class... Operands>
void vpshufb(Operands&...);
template <class... Operands>
void vcmpunordps(Operands&...);
template <class... Operands>
void vpackusdw(Operands&...);
template <class... Operands>
void vpermt2w(Operands&...);
template <class... Operands>
void round_to_bfloat16(Operands&...);
template <class... Operands>
void vmovntps(Operands&...);
#endif

}  // namespace assembly
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_INSTRUCTIONS_HPP
