// SPDX-License-Identifier: MIT
// Mean and variance of vectors that are hard for floating point, against exact rational arithmetic:
// our own group exact_moments always, the group stats (with NIST's vectors) when it is given.
#include "batchnorm/math/moments.hpp"

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/conformance.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// What is promised whenever the mean is at most 1e6 deviations large: mean within `share`
/// deviations, variance within `share` of itself; and no mean can be nearer than its last bit.
void check_contract(double mean, double variance, const Numbers& exact, double share) {
  const double deviation = std::sqrt(exact[1]);
  if (std::fabs(exact[0]) > 1e6 * deviation) return;
  CHECK(outside({mean}, {exact[0]}, Tolerance(share * deviation, 0x1p-53)) == "");
  CHECK(outside({variance}, {exact[1]}, Tolerance(0, share)) == "");
}

template <class T>
void run_case(const Group& group, const nlohmann::json& test_case) {
  const std::string id = test_case.at("id").get<std::string>() + "/";
  INFO(id << " " << dtype_suffix<T>());
  const std::vector<T> x = group.tensors.values<T>(id + "x");
  const Index count = static_cast<Index>(x.size());
  const nlohmann::json& bounds = test_case.at("tol").at(dtype_suffix<T>());
  const double mean_bound = bounds.at("mean").get<double>();
  const double variance_bound = bounds.at("var").get<double>();
  const auto expected = [&](const char* what) { return group.tensors.values<double>(id + what); };

  const auto moments = moments_of(channels_first(x.data(), count, Index{1}, Index{1}));
  const Numbers mean = as_numbers(moments.mean);
  const Numbers variance = as_numbers(moments.population_variance());
  const double bessel = static_cast<double>(count) / static_cast<double>(count - 1);
  CHECK(moments.count == count);
  CHECK(variance[0] >= 0.0);
  CHECK(outside(mean, expected("mean.f64"), Tolerance(mean_bound, 0)) == "");
  CHECK(outside(variance, expected("var_biased.f64"), Tolerance(variance_bound, 0)) == "");
  CHECK(outside(as_numbers(moments.sample_variance()), expected("var_unbiased.f64"),
                Tolerance(variance_bound * bessel, 0x1p-51)) == "");
  check_contract(mean[0], variance[0], {expected("mean.f64")[0], expected("var_biased.f64")[0]},
                 std::is_same<T, double>::value ? 1e-12 : 1e-6);
}

void run_all(const Group& group) {
  for (const nlohmann::json& test_case : group.cases()) {
    if (has(test_case.at("dtypes"), "f64")) run_case<double>(group, test_case);
    if (has(test_case.at("dtypes"), "f32")) run_case<float>(group, test_case);
  }
}

}  // namespace

TEST_CASE("moments of our own hard vectors") {
  const Group group = load_group(reference_dir(), "exact_moments");
  REQUIRE(group.cases().size() == 35);
  run_all(group);
}

TEST_CASE("moments of the group stats") {
  if (is_left_out("stats", 26)) return;
  const Group group = load_group(conformance_dir(), "stats");
  CHECK(group.cases().size() == 26);
  run_all(group);
}
