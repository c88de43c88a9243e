// SPDX-License-Identifier: MIT
#include "batchnorm/kernels/join_results.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/random_bits.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const InstructionSet sets[] = {InstructionSet::baseline,
                               detail::usable_instruction_set(InstructionSet::avx2)};

}  // namespace

TEMPLATE_TEST_CASE("bits choose what is replaced, by others or by zeros", "", float, double,
                   Eigen::half, Eigen::bfloat16, long double) {
  Random random(42);
  for (const InstructionSet set : sets) {
    for (const Index count : {0, 1, 7, 8, 9, 31, 200, 203}) {
      const auto bits = random_bits(random, count / 8 + 1);
      const auto from = whole_numbers<TestType>(random, count);
      const auto by = whole_numbers<TestType>(random, count);
      for (const bool zeros : {false, true}) {
        std::vector<TestType> to(static_cast<Size>(count + 1), TestType(7)), expected = to;
        for (Index i = 0; i < count; ++i) {
          const Size at = static_cast<Size>(i);
          expected[at] = !is_set(bits, i) ? from[at] : zeros ? TestType(0) : by[at];
        }
        detail::run_for_masks<detail::ReplaceKernel<TestType>>(
            set, {from.data(), zeros ? nullptr : by.data(), bits.data(), count, to.data()});
        CHECK(to == expected);
      }
    }
  }
}

TEMPLATE_TEST_CASE("a number among those that bits choose is found, zeros of both signs are not",
                   "", float, double, Eigen::half, Eigen::bfloat16) {
  Random random(43);
  for (const InstructionSet set : sets) {
    for (const Index count : {1, 8, 17, 40, 203}) {
      for (const TestType number :
           {TestType(-0.0f), TestType(1), std::numeric_limits<TestType>::quiet_NaN(),
            std::numeric_limits<TestType>::denorm_min()}) {
        for (Index i = 0; i < count; i += 1 + count / 40) {
          const auto bits = random_bits(random, count / 8 + 1);
          std::vector<TestType> from(static_cast<Size>(count), TestType(0));
          from[static_cast<Size>(i)] = number;
          const bool is_zero =
              static_cast<float>(number) == 0.0f && static_cast<double>(number) == 0.0;
          bool found = false;
          detail::run_for_masks<detail::SearchKernel<TestType>>(
              set, {from.data(), bits.data(), count, &found});
          CHECK(found == (is_set(bits, i) && !is_zero));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("weighted terms are added; a weight of 0 leaves what was there", "", float,
                   double, Eigen::bfloat16, long double) {
  using C = parameter_t<TestType>;
  constexpr Index room = detail::WeightedTermsKernel<TestType>::room;
  Random random(44);
  for (const InstructionSet set : sets) {
    for (const Index count : {1, 3, 8, 21}) {
      std::vector<TestType> from(static_cast<Size>(count + room), TestType(3)), to(from);
      std::vector<TestType> terms(from.size(), std::numeric_limits<TestType>::quiet_NaN());
      std::vector<C> weights(from.size(), C(0));
      std::vector<TestType> expected = from;
      for (Index i = 0; i < count; i += 2) {
        weights[static_cast<Size>(i)] = C(2);
        terms[static_cast<Size>(i)] = TestType(5);
        expected[static_cast<Size>(i)] = TestType(13);
      }
      detail::run_for_masks<detail::WeightedTermsKernel<TestType>>(
          set, {from.data(), terms.data(), weights.data(), C(0), count, to.data()});
      CHECK(to == expected);
      // One weight for all, where the results are: nothing behind the last one changes.
      std::fill(terms.begin(), terms.end(), TestType(5));
      std::vector<TestType> all = from;
      std::fill_n(all.begin(), count, TestType(8));
      detail::run_for_masks<detail::WeightedTermsKernel<TestType>>(
          set, {from.data(), terms.data(), nullptr, C(1), count, from.data()});
      CHECK(from == all);
    }
  }
}

TEMPLATE_TEST_CASE("what is delivered past the cache is what is delivered through it", "", float,
                   double, Eigen::half, long double) {
  Random random(45);
  for (const InstructionSet set : sets) {
    for (const Index count : {0, 1, 15, 64, 200}) {
      for (const Index offset : {0, 1, 5, 16}) {
        for (const bool streaming : {false, true}) {
          const auto from = whole_numbers<TestType>(random, count);
          std::vector<TestType> to(static_cast<Size>(offset + count + 1), TestType(7)),
              expected = to;
          std::copy(from.begin(), from.end(), expected.begin() + offset);
          detail::run_for_masks<detail::DeliverKernel<TestType>>(
              set, {to.data() + offset, from.data(), count, streaming});
          detail::finish_streaming();
          CHECK(to == expected);
        }
      }
    }
  }
}
