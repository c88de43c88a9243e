// SPDX-License-Identifier: MIT
// One of several translation units of a program. BATCHNORM_TEST_UNIT is its name in units.hpp.

#include "flags/units.hpp"

#include <batchnorm/batchnorm.hpp>

#define BATCHNORM_TEST_TEXT_OF(name) #name
#define BATCHNORM_TEST_TEXT(macro) BATCHNORM_TEST_TEXT_OF(macro)

namespace {

// In here, so that each unit has a function of its own.
#include "benchmarks/programs/training.cpp"

using Results = float[batchnorm_test::Unit::numbers];

void learn_twice(Results& results) {
  const Eigen::Index features = 3, examples = 4;
  batchnorm::BatchNorm<float> layer(features);
  float* to = results;
  for (const float step : {0.25f, 1.75f}) {
    Eigen::MatrixXf x(features, examples);
    for (Eigen::Index i = 0; i < x.size(); ++i) {
      x.data()[i] = step * static_cast<float>((i * 7 + 3) % 11) - static_cast<float>(i % features);
    }
    const Eigen::MatrixXf out = learn(layer, x, x);
    for (Eigen::Index i = 0; i < out.size(); ++i) *to++ = out.data()[i];
  }
}

int limit(int set) {
  return static_cast<int>(
      batchnorm::limit_instruction_set(static_cast<batchnorm::InstructionSet>(set)));
}

}  // namespace

const batchnorm_test::Unit batchnorm_test::BATCHNORM_TEST_UNIT{
    BATCHNORM_TEST_TEXT(BATCHNORM_TEST_UNIT), BATCHNORM_TEST_TEXT(BATCHNORM_INLINE_NAMESPACE),
    learn_twice, limit};
