// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_REGION_HPP
#define BATCHNORM_LOOPS_REDUCE_REGION_HPP

#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/reduce_plain.hpp"
#include "batchnorm/loops/reduce_rows.hpp"
#include "batchnorm/loops/reduce_runs.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "batchnorm/loops/sixteen_bits.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// The inside of loop 1, for one region of one array; reduce.hpp says what a Reduction is and cuts
// the array into regions.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Reduces one region of neighbouring elements; run<Bytes>() is the body for one vector width. That
/// for more than AVX2 has is for rows, and for runs of elements of 16 bits.
template <class Job>
class RegionReducer {
 public:
  explicit RegionReducer(const Job& job) : job_(job) {}

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<typename Job::L, Bytes>;
    if constexpr (Bytes > simd::avx2_bytes && !simd::is_16_bit<typename Job::T>) {
      RowReducer<Job, lanes>(job_).run();
    } else if (job_.plan.traversal().along_rows) {
      RowReducer<Job, lanes>(job_).run();
    } else {
      RunReducer<Job, lanes>(job_).run();
    }
  }

 private:
  const Job& job_;
};

/// Reduces one region. Vectors are for neighbouring elements, and sum in lanes of `Lane` unless the
/// lanes have to be as wide as the totals.
template <class Formula, class Lane, class A, class T, std::size_t Inputs, class Source>
void reduce_region(InstructionSet instruction_set, const Source& source, const Plan<Inputs>& plan,
                   const std::array<const T*, Inputs>& data, const Region& region, bool wide,
                   A* const* into) {
  constexpr bool has_vectors = simd::lanes_of < Lane, simd::baseline_bytes >> 1;
  if (has_vectors && !wide && plan.contiguous()) {
    const Numbers<Lane, Formula::coefficients> numbers(source);
    const ReduceJob<Formula, T, Lane, A, Inputs> job{numbers, plan, data, region, into};
    if constexpr (has_vectors) {
      const bool enough = plan.traversal().suits_long_vectors(sizeof(Lane), simd::is_16_bit<T>);
      simd::dispatch(simd::limit_unless(enough, instruction_set), RegionReducer(job));
    }
  } else {
    const Numbers<A, Formula::coefficients> numbers(source);
    const ReduceJob<Formula, T, A, A, Inputs> job{numbers, plan, data, region, into};
    if constexpr (has_vectors) {
      simd::dispatch<simd::avx2_bytes>(instruction_set, PlainReducer(job));
    } else {
      PlainReducer(job).template run<1>();
    }
  }
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_REGION_HPP
