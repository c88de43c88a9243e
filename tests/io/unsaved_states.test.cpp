// SPDX-License-Identifier: MIT
// States that save_state refuses, because load_state would.
#include <cmath>
#include <stdexcept>

#include "batchnorm/io/safetensors_state.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

TEST_CASE("what could not be loaded again is not saved, and the file stays as it was") {
  State<double> good(3);
  good.running_mean << 0.5, -2.0, 3.0;
  good.running_variance << 1.5, 0.0, 2.5;
  good.batches_seen = 5;
  Options propagate;
  propagate.non_finite = NonFinite::propagate;
  Tensors tensors;
  save_state(tensors, "bn.", good, Options());
  const auto refused = [&](const State<double>& bad, const Options* options, const char* text) {
    CHECK_THROWS_MATCHES(options == nullptr ? save_state(tensors, "bn.", bad)
                                            : save_state(tensors, "bn.", bad, *options),
                         std::domain_error, says(text));
    const State<double> kept = load_state<double>(tensors, "bn.");
    CHECK(kept.running_mean == good.running_mean);
    CHECK(kept.running_variance == good.running_variance);
  };
  const Options options;
  const char* const finite =
      "save_state: running statistics of channel 1: expected finite numbers, got NaN or infinity";
  for (const double value : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    State<double> bad = good;
    bad.running_mean[1] = value;
    refused(bad, &options, finite);
    refused(bad, nullptr, finite);
    bad = good;
    bad.running_variance[1] = value;
    refused(bad, &options, finite);
  }
  State<double> below = good;
  below.running_variance[2] = -1.0;
  for (const Options* const each : {&options, static_cast<const Options*>(nullptr)}) {
    refused(below, each, "save_state: running variance of channel 2: expected zero or larger");
  }
  refused(below, &propagate, "save_state: running variance of channel 2: expected zero or larger");
}
