// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_SIMD_DISPATCH_HPP
#define BATCHNORM_LOOPS_SIMD_DISPATCH_HPP

#include <algorithm>
#include <atomic>

#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/version.hpp"

// Which instructions a loop runs with, decided at run time. The loop bodies are templates on the
// vector width, always inlined into one thin function per instruction set; that function alone
// carries the target attribute, so the flags of the user's build stay as they are.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace simd {

inline std::atomic<InstructionSet>& instruction_set_limit() {
  static std::atomic<InstructionSet> limit{InstructionSet::best};
  return limit;
}

#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
inline bool has_avx2() {
  // Conversions of half are a set of their own, which every processor with AVX2 has. Volatile:
  // compilers ask before they know whether they have to, and virtual machines take microseconds
  // to answer.
  unsigned leaf = 1, features = 0, unused = 0;
  asm volatile("cpuid" : "+a"(leaf), "=b"(unused), "=c"(features), "=d"(unused));
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         (features & (1u << 29)) != 0;
}

/// Of the processors with AVX-512, those that came with VBMI2 or later (Ice Lake, Zen 4): earlier
/// ones lower their clock for vectors of 64 bytes, and with it that of the code around.
inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi2");
}

/// The best that this processor has.
inline InstructionSet instruction_set_found() {
  static const InstructionSet found = [] {
    __builtin_cpu_init();
    if (!has_avx2()) return InstructionSet::baseline;
    return has_avx512() ? InstructionSet::best : InstructionSet::avx2;
  }();
  return found;
}

template <class Body>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"), gnu::noinline]] void run_avx512(
    const Body& body) {
  body.template run<avx512_bytes>();
}
template <class Body>
[[gnu::target("avx2,fma,f16c"), gnu::noinline]] void run_avx2(const Body& body) {
  body.template run<avx2_bytes>();
}
template <class Body>
[[gnu::target("avx2"), gnu::noinline]] void run_avx2_unfused(const Body& body) {
  body.template run<avx2_bytes>();
}
#else
inline InstructionSet instruction_set_found() {
  return InstructionSet::baseline;
}
#endif

template <class Body>
[[gnu::noinline]] void run_baseline(const Body& body) {
  body.template run<baseline_bytes>();
}

/// The most modest of what is asked for, the limit, and what there is.
inline InstructionSet instruction_set_for(InstructionSet asked) {
  return (std::max)(
      {asked, instruction_set_limit().load(std::memory_order_relaxed), instruction_set_found()});
}

/// Calls body.run<Bytes>() with the widest vectors that this processor has, or as execution says.
/// Everything below run() has to be always_inline, or it is compiled for the baseline.
///
/// @tparam MostBytes  avx2_bytes where longer vectors gain nothing: the body is not compiled for
/// them
template <int MostBytes = avx512_bytes, class Body>
void dispatch(InstructionSet asked, const Body& body) {
  const InstructionSet use = instruction_set_for(asked);
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if constexpr (MostBytes >= avx512_bytes) {
    if (use == InstructionSet::best) return run_avx512(body);
  }
  if (use != InstructionSet::baseline) return run_avx2(body);
#endif
  static_cast<void>(use);
  run_baseline(body);
}

/// What is asked for, or AVX2 at most where there is too little for vectors of AVX-512.
inline InstructionSet limit_unless(bool enough, InstructionSet asked) {
  return enough ? asked : (std::max)(asked, InstructionSet::avx2);
}

/// The same with the arithmetic of the baseline: no product is fused with a sum, unless the
/// compiler was told so for all code. Lanes give the same bits at any width; not at that of
/// AVX-512, whose products compilers fuse as soon as they may use it.
template <class Body>
void dispatch_unfused(const Body& body) {
  const InstructionSet use = instruction_set_for(InstructionSet::best);
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if (use != InstructionSet::baseline) return run_avx2_unfused(body);
#endif
  static_cast<void>(use);
  run_baseline(body);
}

}  // namespace simd

/// Limits the vector instructions of every call in this process, whatever its Execution says: for
/// bit-equal results on different processors, and for tests. Thread safe; calls that run already
/// are not affected.
/// @return the limit that was in force before; at first InstructionSet::best, which is none
inline InstructionSet limit_instruction_set(InstructionSet limit) {
  return simd::instruction_set_limit().exchange(limit);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_SIMD_DISPATCH_HPP
