// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_INSTRUCTION_SET_HPP
#define BATCHNORM_KERNELS_INSTRUCTION_SET_HPP

#include <algorithm>
#include <atomic>

#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/version.hpp"

// Run-time dispatch. A kernel's body is a template on the vector width, inlined into one function
// per instruction set; that function alone carries the target attribute, so the flags of the user's
// build stay as they are. Everything that such a body calls has to be always_inline, or it would be
// compiled for the baseline.

namespace batchnorm {
/// Data, no code: shared by units that are compiled with different flags.
namespace program {
inline std::atomic<int> instruction_set_limit{0};  ///< an InstructionSet
}  // namespace program

inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline constexpr int instruction_sets = 3;

#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
/// Those that kernels are compiled for, BATCHNORM_INSTRUCTION_SETS (version.hpp).
inline constexpr int compiled_sets = BATCHNORM_NUMBER_OF_INSTRUCTION_SETS;

inline bool has_avx2() {
  constexpr unsigned f16c = 1u << 29;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         (cpu_features() & f16c) != 0;
}

/// Only processors that have VBMI2 as well (Ice Lake, Zen 4, and later): earlier ones lower their
/// clock for vectors of 64 bytes, and with it that of the code around.
inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vbmi2");
}

inline InstructionSet detected_instruction_set() {
  static const InstructionSet found = [] {
    __builtin_cpu_init();
    if (compiled_sets < 2 || !has_avx2()) return InstructionSet::baseline;
    return compiled_sets < 3 || !has_avx512() ? InstructionSet::avx2 : InstructionSet::best;
  }();
  return found;
}

template <class Kernel>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"), gnu::noinline]] void run_avx512(
    const typename Kernel::Work& work) {
  Kernel::template run<simd::avx512_bytes>(work);
}
template <class Kernel>
[[gnu::target("avx2,fma,f16c"), gnu::noinline]] void run_avx2(const typename Kernel::Work& work) {
  Kernel::template run<simd::avx2_bytes>(work);
}
template <class Kernel>
[[gnu::target("avx2"), gnu::noinline]] void run_avx2_unfused(const typename Kernel::Work& work) {
  Kernel::template run<simd::avx2_bytes>(work);
}
#else
inline constexpr int compiled_sets = 1;

inline InstructionSet detected_instruction_set() {
  return InstructionSet::baseline;
}
template <class Kernel>
void run_avx512(const typename Kernel::Work&);  // not compiled
template <class Kernel>
void run_avx2(const typename Kernel::Work&);
template <class Kernel>
void run_avx2_unfused(const typename Kernel::Work&);
#endif

template <class Kernel>
[[gnu::noinline]] void run_baseline(const typename Kernel::Work& work) {
  Kernel::template run<simd::baseline_bytes>(work);
}

/// The lowest of requested, process-wide limit and detected.
inline InstructionSet usable_instruction_set(InstructionSet requested) {
  const int limit = program::instruction_set_limit.load(std::memory_order_relaxed);
  return (std::max)({requested, static_cast<InstructionSet>(limit), detected_instruction_set()});
}

/// Runs a kernel that is compiled without fused multiply-add (unless the compiler was told to fuse
/// in all code), so that a lane's bits are the same at any width.
template <class Kernel>
void run_unfused(const typename Kernel::Work& work) {
  if constexpr (compiled_sets >= 2) {
    if (usable_instruction_set(InstructionSet::best) != InstructionSet::baseline) {
      return run_avx2_unfused<Kernel>(work);
    }
  }
  run_baseline<Kernel>(work);
}

}  // namespace detail

/// Limits the vector instructions of every call in this process, whatever its Execution says: for
/// bit-equal results on different processors, and for tests. Errors: none; a limit that the
/// processor does not reach changes nothing. Thread safety: from any thread; calls that run already
/// are not affected.
/// @return the limit that was in force before; at first InstructionSet::best, which is none
inline InstructionSet limit_instruction_set(InstructionSet limit) {
  return static_cast<InstructionSet>(
      program::instruction_set_limit.exchange(static_cast<int>(limit)));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_INSTRUCTION_SET_HPP
