// SPDX-License-Identifier: MIT
#include "batchnorm/loops/simd_dispatch.hpp"

#include <cstddef>
#include <vector>

#include "batchnorm/loops/simd.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

constexpr Index memory_size = 64;

/// The body of a loop that leaves a note of the width that it ran with, and computes y = x k + 1 by
/// whole vectors of floats.
struct Probe {
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    *bytes = Bytes;
    constexpr int lanes = simd::lanes_of<float, Bytes>;
    simd::Vector<float, lanes> one;
    simd::Vector<float, lanes> k;
    simd::broadcast<float, lanes>(one, 1.0f);
    simd::broadcast<float, lanes>(k, 2.0f);
    for (Index i = 0; i + lanes <= memory_size; i += lanes) {
      simd::Vector<float, lanes> x;
      simd::read<float, lanes>(x, from + i);
      const simd::Vector<float, lanes> y = x * k + one;
      simd::write<float, lanes>(to + i, y);
    }
  }
  int* bytes;
  const float* from;
  float* to;
};

template <class Dispatch>
int width_in(const Dispatch& dispatch) {
  int bytes = 0;
  std::vector<float> from(memory_size), to(memory_size);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i) - 20;
  dispatch(Probe{&bytes, from.data(), to.data()});
  for (std::size_t i = 0; i < from.size(); ++i) CHECK(to[i] == 2 * from[i] + 1);
  return bytes;
}
int width_of(InstructionSet instruction_set) {
  return width_in([&](const Probe& probe) { simd::dispatch(instruction_set, probe); });
}
int unfused_width() {
  return width_in([](const Probe& probe) { simd::dispatch_unfused(probe); });
}

/// y = x x - z of whole vectors.
template <class C>
struct SquareLess {
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    simd::Vector<C, lanes> x, z;
    for (Index i = 0; i + lanes <= memory_size; i += lanes) {
      simd::read<C, lanes>(x, squared + i);
      simd::read<C, lanes>(z, taken + i);
      const simd::Vector<C, lanes> y = x * x - z;
      simd::write<C, lanes>(to + i, y);
    }
  }
  const C* squared;
  const C* taken;
  C* to;
};

int avx2_width() {
#if defined(__GNUC__) && defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return simd::avx2_bytes;
#endif
  return simd::baseline_bytes;
}
/// Zen 4 and Ice Lake have all of these; the first processors with AVX-512 lack the last.
int best_width() {
#if defined(__GNUC__) && defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2")) {
    return simd::avx512_bytes;
  }
#endif
  return avx2_width();
}

/// Lifts the limit of a run without AVX2 or AVX-512 (support/main.cpp) while it lives.
class Unlimited {
 public:
  Unlimited() : before_(limit_instruction_set(InstructionSet::best)) {}
  ~Unlimited() { limit_instruction_set(before_); }
  Unlimited(const Unlimited&) = delete;
  Unlimited& operator=(const Unlimited&) = delete;

 private:
  InstructionSet before_;
};

}  // namespace

TEST_CASE("the baseline is taken when asked for") {
  CHECK(width_of(InstructionSet::baseline) == simd::baseline_bytes);
}

TEST_CASE("the best is what this processor has") {
  const Unlimited unlimited;
  CHECK(width_of(InstructionSet::best) == best_width());
  if (best_width() < simd::avx512_bytes) WARN("left out: this processor has no AVX-512");
  if (best_width() < simd::avx2_bytes) WARN("left out: this processor has no AVX2");
}

TEST_CASE("AVX2 is the most where no more is asked for") {
  const Unlimited unlimited;
  CHECK(width_of(InstructionSet::avx2) == avx2_width());
  CHECK(width_of(simd::limit_unless(false, InstructionSet::best)) == avx2_width());
  CHECK(width_of(simd::limit_unless(true, InstructionSet::best)) == best_width());
  CHECK(width_of(simd::limit_unless(false, InstructionSet::baseline)) == simd::baseline_bytes);
}

TEST_CASE("a limit holds for every call, and gives back the one before") {
  const Unlimited unlimited;
  CHECK(limit_instruction_set(InstructionSet::baseline) == InstructionSet::best);
  CHECK(width_of(InstructionSet::best) == simd::baseline_bytes);
  CHECK(width_of(InstructionSet::baseline) == simd::baseline_bytes);
  CHECK(limit_instruction_set(InstructionSet::baseline) == InstructionSet::baseline);
  CHECK(limit_instruction_set(InstructionSet::best) == InstructionSet::baseline);
  CHECK(width_of(InstructionSet::best) == best_width());
  CHECK(width_of(InstructionSet::baseline) == simd::baseline_bytes);
  CHECK(limit_instruction_set(InstructionSet::avx2) == InstructionSet::best);
  CHECK(width_of(InstructionSet::best) == avx2_width());
  CHECK(width_of(InstructionSet::baseline) == simd::baseline_bytes);
}

TEST_CASE("the vectors of AVX2 are there without fused arithmetic as well") {
  const Unlimited unlimited;
  CHECK(unfused_width() == avx2_width());
  limit_instruction_set(InstructionSet::avx2);
  CHECK(unfused_width() == avx2_width());
  limit_instruction_set(InstructionSet::baseline);
  CHECK(unfused_width() == simd::baseline_bytes);
}

// Compilers fuse only when they optimise, and everywhere when they are told to.
#if !defined(__FMA__)
template <class C>
void check_products_are_rounded(C small) {
  // (1 + s)^2 = 1 + 2 s + s^2, of which the last term is at most half of a last place: it is lost
  // unless the product is fused with the difference.
  const std::vector<C> squared(memory_size, C(1) + small), taken(memory_size, C(1) + 2 * small);
  std::vector<C> to(memory_size, C(-1));
  simd::dispatch_unfused(SquareLess<C>{squared.data(), taken.data(), to.data()});
  CHECK(to == std::vector<C>(memory_size, C(0)));
}

TEST_CASE("a product is rounded before something is added to it") {
  const Unlimited unlimited;
  check_products_are_rounded<float>(0x1p-12f);
  check_products_are_rounded<double>(0x1p-27);
}
#endif
