// SPDX-License-Identifier: MIT
// The loops of the usual layers, compiled once for all test programs (instances_*.cpp) instead of
// in each: that halves what the tests take to compile. Not part of the precompiled header, in which
// g++ forgets that a template is extern. Builds of few programs do without
// (-DBATCHNORM_TEST_INSTANCES=OFF): each then compiles the few loops that it uses.
#ifndef BATCHNORM_TESTS_SUPPORT_INSTANCES_HPP
#define BATCHNORM_TESTS_SUPPORT_INSTANCES_HPP

#include "batchnorm/batchnorm.hpp"

namespace batchnorm_test {
namespace instances = batchnorm::detail;
template <class T>
using BatchStatisticsOf = instances::BatchStatistics<batchnorm::accumulator_t<T>, Eigen::Dynamic>;
template <class T>
using RunningStatisticsOf = instances::RunningStatistics<T, Eigen::Dynamic>;
template <class T, class Statistics>
using CoefficientsOf = instances::CentredCoefficients<T, Eigen::Dynamic, Statistics>;
}  // namespace batchnorm_test

#define BATCHNORM_TEST_NORMALIZE(KEYWORD, T, COEFFICIENTS, INPUTS)                    \
  KEYWORD template void batchnorm::detail::normalize_view<batchnorm::parameter_t<T>>( \
      const batchnorm::Execution&, const batchnorm::Epilogue&, const COEFFICIENTS&,   \
      const batchnorm::BatchView<T>&, const batchnorm::loops::Views<const T, INPUTS>&);

#define BATCHNORM_TEST_FORWARD(KEYWORD, T, INPUTS)                                                 \
  BATCHNORM_TEST_NORMALIZE(KEYWORD, T, batchnorm::FrozenBatchNorm<T>::Stored, INPUTS)              \
  BATCHNORM_TEST_NORMALIZE(                                                                        \
      KEYWORD, T,                                                                                  \
      batchnorm_test::CoefficientsOf<T BATCHNORM_TEST_COMMA batchnorm_test::BatchStatisticsOf<T>>, \
      INPUTS)                                                                                      \
  BATCHNORM_TEST_NORMALIZE(KEYWORD, T,                                                             \
                           batchnorm_test::CoefficientsOf<                                         \
                               T BATCHNORM_TEST_COMMA batchnorm_test::RunningStatisticsOf<T>>,     \
                           INPUTS)                                                                 \
  KEYWORD template batchnorm::Moments<batchnorm::accumulator_t<T>>                                 \
  batchnorm::detail::normalize_resident<T, Eigen::Dynamic, INPUTS>(                                \
      const batchnorm::Options&, const batchnorm::State<T>&,                                       \
      const batchnorm::loops::Views<const T, INPUTS>&, const batchnorm::BatchView<T>&,             \
      const batchnorm::Execution&);
#define BATCHNORM_TEST_COMMA ,

#define BATCHNORM_TEST_BACKWARD(KEYWORD, T, STATISTICS, CONSTANT, RESIDUAL)        \
  KEYWORD template batchnorm::Gradients<T>                                         \
  batchnorm::detail::input_gradients<T, Eigen::Dynamic, CONSTANT, RESIDUAL>(       \
      const batchnorm::Options&, const batchnorm::State<T>&, const STATISTICS<T>&, \
      const batchnorm::loops::Views<const T, RESIDUAL ? 3 : 2>&,                   \
      const batchnorm::loops::Views<T, RESIDUAL ? 2 : 1>&, const batchnorm::Execution&);

#define BATCHNORM_TEST_FROM_OUTPUT(KEYWORD, T, STATISTICS, CONSTANT)               \
  KEYWORD template batchnorm::Gradients<T>                                         \
  batchnorm::detail::output_gradients<T, Eigen::Dynamic, CONSTANT>(                \
      const batchnorm::Options&, const batchnorm::State<T>&, const STATISTICS<T>&, \
      const batchnorm::loops::Views<const T, 2>&, const batchnorm::BatchView<T>&,  \
      const batchnorm::Execution&);

#define BATCHNORM_TEST_INSTANCES(KEYWORD, T)                                                  \
  KEYWORD template batchnorm::Moments<batchnorm::accumulator_t<T>>                            \
  batchnorm::detail::moments_of_view<Eigen::Dynamic, T>(const batchnorm::BatchView<const T>&, \
                                                        const batchnorm::Execution&);         \
  BATCHNORM_TEST_FORWARD(KEYWORD, T, 1)                                                       \
  BATCHNORM_TEST_FORWARD(KEYWORD, T, 2)                                                       \
  BATCHNORM_TEST_BACKWARD(KEYWORD, T, batchnorm_test::BatchStatisticsOf, false, false)        \
  BATCHNORM_TEST_BACKWARD(KEYWORD, T, batchnorm_test::BatchStatisticsOf, false, true)         \
  BATCHNORM_TEST_BACKWARD(KEYWORD, T, batchnorm_test::RunningStatisticsOf, true, false)       \
  BATCHNORM_TEST_BACKWARD(KEYWORD, T, batchnorm_test::RunningStatisticsOf, true, true)        \
  BATCHNORM_TEST_FROM_OUTPUT(KEYWORD, T, batchnorm_test::BatchStatisticsOf, false)            \
  BATCHNORM_TEST_FROM_OUTPUT(KEYWORD, T, batchnorm_test::RunningStatisticsOf, true)

#ifndef BATCHNORM_TEST_WITHOUT_INSTANCES
BATCHNORM_TEST_INSTANCES(extern, float)
BATCHNORM_TEST_INSTANCES(extern, double)
BATCHNORM_TEST_INSTANCES(extern, long double)
BATCHNORM_TEST_INSTANCES(extern, Eigen::half)
BATCHNORM_TEST_INSTANCES(extern, Eigen::bfloat16)
#endif

#endif  // BATCHNORM_TESTS_SUPPORT_INSTANCES_HPP
