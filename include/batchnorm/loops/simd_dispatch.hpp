// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_SIMD_DISPATCH_HPP
#define BATCHNORM_LOOPS_SIMD_DISPATCH_HPP

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
  static const bool found = [] {
    __builtin_cpu_init();
    // Conversions of half are a set of their own, which every processor with AVX2 has. Volatile:
    // compilers ask before they know whether they have to, and virtual machines take microseconds
    // to answer.
    unsigned leaf = 1, features = 0, unused = 0;
    asm volatile("cpuid" : "+a"(leaf), "=b"(unused), "=c"(features), "=d"(unused));
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           (features & (1u << 29)) != 0;
  }();
  return found;
}

template <class Body>
[[gnu::target("avx2,fma,f16c"), gnu::noinline]] void run_avx2(const Body& body) {
  body.template run<avx2_bytes>();
}
template <class Body>
[[gnu::target("avx2"), gnu::noinline]] void run_avx2_unfused(const Body& body) {
  body.template run<avx2_bytes>();
}

inline bool may_use_avx2() {
  return has_avx2() &&
         instruction_set_limit().load(std::memory_order_relaxed) == InstructionSet::best;
}
#endif

template <class Body>
[[gnu::noinline]] void run_baseline(const Body& body) {
  body.template run<baseline_bytes>();
}

/// Calls body.run<Bytes>() with the widest vectors that this processor has, or as execution says.
/// Everything below run() has to be always_inline, or it is compiled for the baseline.
template <class Body>
void dispatch(InstructionSet instruction_set, const Body& body) {
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if (instruction_set == InstructionSet::best && may_use_avx2()) {
    run_avx2(body);
    return;
  }
#endif
  static_cast<void>(instruction_set);
  run_baseline(body);
}

/// The same with the widest vectors but the arithmetic of the baseline: no product is fused with a
/// sum, unless the compiler was told so for all code. Lanes give the same bits at any width.
template <class Body>
void dispatch_unfused(const Body& body) {
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if (may_use_avx2()) {
    run_avx2_unfused(body);
    return;
  }
#endif
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
