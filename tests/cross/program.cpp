// SPDX-License-Identifier: MIT
// Run by cmake/cross.cmake on processors of another kind: layers against the oracle in every
// layout, and files whose bytes are the same everywhere. Needs no test framework, which the
// packages of a cross compiler do not have. Prints what is wrong, and how much was looked at.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "batchnorm/batchnorm.hpp"
#include "batchnorm/io/checkpoint.hpp"
#include "support/bounds.hpp"
#include "support/generators.hpp"
#include "support/layers.hpp"
#include "support/layouts.hpp"
#include "support/reference_batch_norm.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

int checks = 0;
int failures = 0;

void check(bool right, const std::string& what, const std::string& found = "") {
  ++checks;
  if (right) return;
  ++failures;
  std::printf("wrong: %s %s\n", what.c_str(), found.c_str());
}

template <class T>
void check_layer(const Batch& values, const Batch& gradient, const reference::Layer& oracle,
                 Layout layout, const std::string& where) {
  const Bounds<T> bounds(oracle, values);
  const reference::Gradients right = reference::backward(oracle, values, gradient, true);
  BatchNorm<T> layer = make_layer<T>(oracle, Options{});
  const Stored<T> x(values, layout), dy(gradient, layout);
  Stored<T> y = Stored<T>::like(values, layout), dx = Stored<T>::like(values, layout);
  const auto batch = layer.train(x.view(), y.view());
  const auto gradients = layer.backward(batch, x.view(), dy.view(), dx.view());
  const PerChannel steepest = largest(gradient);
  const auto y_error = beyond(y.read(), reference::forward(oracle, values),
                              [&](Size n, Size c, Size p) { return bounds.y(n, c, p); });
  const auto dx_error = beyond(
      dx.read(), right.x, [&](Size n, Size c, Size p) { return bounds.dx(n, c, p, steepest[c]); });
  check(y_error.empty(), where + ", output", y_error);
  check(dx_error.empty(), where + ", input gradient", dx_error);
  const PerChannel dgamma = bounds.dgamma(gradient), dbeta = bounds.dbeta(gradient);
  const auto within = [](const auto& result, const PerChannel& expected, const PerChannel& bound) {
    return beyond_channels(result, expected, [&](Size c) { return bound[c]; }).empty();
  };
  check(within(gradients.gamma, right.gamma, dgamma), where + ", dgamma");
  check(within(gradients.beta, right.beta, dbeta), where + ", dbeta");
  check(y.gaps_are_untouched() && dx.gaps_are_untouched(), where + ", memory between elements");
}

template <class T>
void check_layers(const std::string& scalar, const std::vector<Named>& batches) {
  Random random(21);
  for (const Named& named : batches) {
    const Batch& x = named.values;
    if (x.values.size() > 2000) continue;  // the oracle's numbers are emulated, too
    const Batch dy = stored_as<T>(normal_batch(random, x.samples, x.channels, x.positions));
    const reference::Layer oracle = random_layer<T>(random, x);
    for (const Layout layout : all_layouts) {
      check_layer<T>(x, dy, oracle, layout, scalar + ", " + named.name + ", " + name_of(layout));
    }
  }
}

/// The layout of bytes is that of the format, whatever the processor stores first.
void check_files() {
  const std::string json = R"({"n.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                           R"("n.bias":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
                           R"("n.running_mean":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},)"
                           R"("n.running_var":{"dtype":"F32","shape":[2],"data_offsets":[24,32]}})";
  std::string numbers;
  for (const std::uint32_t bits : {0x3fc00000u, 0xbe800000u, 0x40000000u, 0u, 0x3f800000u,
                                   0x40400000u, 0x3e800000u, 0x41100000u}) {
    numbers += little_endian(bits);
  }
  const std::string bytes = container(json, numbers);
  const Tensors file = parse_safetensors(reinterpret_cast<const unsigned char*>(bytes.data()),
                                         bytes.size(), "memory");
  check(file.values<float>("n.weight") == std::vector<float>{1.5f, -0.25f}, "a file, gamma");
  check(file.values<float>("n.running_var") == std::vector<float>{0.25f, 9.0f}, "a file, variance");

  Moments<double> moments(1);
  moments.count = 3;
  moments.mean[0] = 1.5;
  moments.sum_of_squares[0] = 0.25;
  const std::vector<unsigned char> stored = to_bytes(moments);
  // 1.5 and 0.25 as little-endian IEEE numbers, wherever they stand.
  const std::string text(stored.begin(), stored.end());
  check(text.find(little_endian(std::uint64_t{0x3ff8000000000000})) != text.npos,
        "bytes of a mean");
  check(text.find(little_endian(std::uint64_t{0x3fd0000000000000})) != text.npos,
        "bytes of a sum of squares");
  const auto read = moments_from_bytes<double>(stored.data(), stored.size());
  check(read.count == 3 && read.mean[0] == 1.5 && read.sum_of_squares[0] == 0.25, "moments again");
}

}  // namespace

int main() {
  check_layers<float>("float", adversarial_batches<float>(22));
  check_layers<double>("double", adversarial_batches<double>(22));
  Random random(23);
  check_layers<Eigen::half>(
      "half", {{"runs of 49", stored_as<Eigen::half>(normal_batch(random, 5, 3, 49, 2, 1))},
               {"37 channels", stored_as<Eigen::half>(normal_batch(random, 11, 37, 1, -2, 3))}});
  check_layers<Eigen::bfloat16>("bfloat16", adversarial_batches<Eigen::bfloat16>(22));
  check_files();
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
