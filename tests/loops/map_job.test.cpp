// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map_job.hpp"

#include "loops/map_formulas.hpp"
#include "support/catch.hpp"

using namespace batchnorm_test;
namespace loops = batchnorm::loops;

TEST_CASE("a job knows where its operands have an element, outputs first") {
  Random random(71);
  const Batch a = integer_batch(random, 3, 5, 20);
  const Stored<float> first(a, Layout::channels_first);
  const Stored<float> second(a, Layout::channels_last, 3);
  Stored<float> sum = Stored<float>::like(a, Layout::channels_first, 1);
  Stored<float> rest = Stored<float>::like(a, Layout::padded);
  with_map_job<float, Pair>(
      PairNumbers(), loops::Views<float, 2>{sum.view(), rest.view()},
      loops::Views<const float, 2>{first.view(), second.view()}, nullptr, false,
      [&](const auto& job) {
        const loops::Traversal& traversal = job.plan.traversal();
        REQUIRE((traversal.outer == 3 && traversal.inner == 20 && !traversal.along_rows));
        for (Index n = 0; n < 3; ++n) {
          for (Index c = 0; c < 5; ++c) {
            for (Index p = 0; p < 20; ++p) {
              const auto at = job.locate(c, n, p);
              CHECK((at.to[0] == &sum.view()(n, c, p) && at.to[1] == &rest.view()(n, c, p)));
              CHECK(
                  (at.from[0] == &first.view()(n, c, p) && at.from[1] == &second.view()(n, c, p)));
            }
          }
        }
        const auto step = job.steps(&loops::Layout::inner_stride);
        CHECK((step.to[0] == 1 && step.to[1] == 2 && step.from[0] == 1 && step.from[1] == 5));
      });
}
