// SPDX-License-Identifier: MIT
// Any state that is written comes back to the last bit: every scalar, every dtype of files, 1 to
// 300 channels.

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Index most_channels = 300;

template <class T>
using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t,
                                std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>>;

/// A finite number of any pattern of bits, subnormal numbers and both zeros often among them.
template <class T>
T random_number(std::mt19937_64& random, bool is_negative_allowed) {
  constexpr int size = static_cast<int>(8 * sizeof(T));
  const bool has_exponent_of_float = std::is_same<T, float>::value || sizeof(T) == 2;
  const int exponent_bits = size == 64                                                      ? 11
                            : has_exponent_of_float && !std::is_same<T, Eigen::half>::value ? 8
                                                                                            : 5;
  const int mantissa_bits = size - 1 - exponent_bits;
  const std::uint64_t exponents = (std::uint64_t{1} << exponent_bits) - 1;  // the last one is NaN
  std::uint64_t exponent = random() % exponents;
  if (random() % 8 == 0) exponent = 0;
  std::uint64_t mantissa = random() & ((std::uint64_t{1} << mantissa_bits) - 1);
  if (random() % 8 == 0) mantissa = 0;
  const std::uint64_t sign = is_negative_allowed ? random() % 2 : 0;
  const Bits<T> bits =
      static_cast<Bits<T>>((sign << (size - 1)) | (exponent << mantissa_bits) | mantissa);
  T number;
  std::memcpy(static_cast<void*>(&number), &bits, sizeof number);
  return number;
}

template <class T>
State<T> random_state(Index channels, std::mt19937_64& random) {
  using Scalar = typename State<T>::Scalar;
  State<T> state(channels);
  for (Index channel = 0; channel < channels; ++channel) {
    state.gamma[channel] = random_number<Scalar>(random, true);
    state.beta[channel] = random_number<Scalar>(random, true);
    state.running_mean[channel] = random_number<Scalar>(random, true);
    state.running_variance[channel] = random_number<Scalar>(random, false);
  }
  state.batches_seen = static_cast<Index>(random() >> 1);
  state.samples_seen = static_cast<Index>(random() >> 1);
  return state;
}

template <class Vector>
bool same_bits(const Vector& a, const Vector& b) {
  return a.size() == b.size() &&
         std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()),
                     sizeof(typename Vector::Scalar) * static_cast<std::size_t>(a.size())) == 0;
}

template <class T>
bool same(const State<T>& a, const State<T>& b) {
  return same_bits(a.gamma, b.gamma) && same_bits(a.beta, b.beta) &&
         same_bits(a.running_mean, b.running_mean) &&
         same_bits(a.running_variance, b.running_variance) && a.batches_seen == b.batches_seen &&
         a.samples_seen == b.samples_seen;
}

std::string prefix_of(Index channels) {
  return "bn" + std::to_string(channels) + ".";
}

/// One of the systems that keep every bit, and need one prefix only.
Naming naming_of(Index channels) {
  std::vector<Naming> exact;
  for (const Naming& naming : Naming::all()) {
    if (naming.is_exact() && !naming.has_scale_layer()) exact.push_back(naming);
  }
  return exact[static_cast<std::size_t>(channels) % exact.size()];
}

using Scalars = std::tuple<double, float, Eigen::half, Eigen::bfloat16>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("a state comes back bit by bit", "", Scalars) {
  const TemporaryFolder folder;
  const std::string path = folder.file("states.safetensors");
  std::mt19937_64 random(20150211);
  std::vector<State<TestType>> states;
  Tensors tensors;
  for (Index channels = 1; channels <= most_channels; ++channels) {
    states.push_back(random_state<TestType>(channels, random));
    save_state(tensors, prefix_of(channels), states.back(), Options::dlib(), naming_of(channels));
  }
  write_safetensors(path, tensors);
  const Tensors mapped = open_checkpoint(path);
  const Tensors read = read_safetensors(path);
  CHECK(find_batch_norms(mapped).size() == states.size());
  for (const State<TestType>& state : states) {
    INFO(state.channels() << " channels");
    const std::string prefix = prefix_of(state.channels());
    const auto loaded = load_state<TestType>(mapped, prefix, LoadOptions::saved());
    REQUIRE(same(loaded.state, state));
    REQUIRE(same(load_state<TestType>(read, prefix, LoadOptions::saved()).state, state));
    REQUIRE(loaded.found.naming == naming_of(state.channels()));
  }
}

TEMPLATE_LIST_TEST_CASE("a file of every dtype is read bit by bit", "", Scalars) {
  // Wider scalars hold the numbers of narrower dtypes exactly, so the way back gives the same bits.
  std::mt19937_64 random(15020311);
  for (Index channels = 1; channels <= most_channels; ++channels) {
    const std::size_t size = static_cast<std::size_t>(channels);
    std::vector<TestType> vectors[4];
    Tensors tensors;
    const char* const names[] = {"weight", "bias", "running_mean", "running_var"};
    for (int vector = 0; vector < 4; ++vector) {
      for (std::size_t i = 0; i < size; ++i) {
        vectors[vector].push_back(random_number<TestType>(random, vector < 3));
      }
      tensors.set(names[vector], {channels}, vectors[vector]);
    }
    const State<double> state = load_state<double>(tensors, "", Epsilon(1e-5)).state;
    const State<double>::Vector* const loaded[] = {&state.gamma, &state.beta, &state.running_mean,
                                                   &state.running_variance};
    int different = 0;
    for (int vector = 0; vector < 4; ++vector) {
      for (std::size_t i = 0; i < size; ++i) {
        const TestType narrow = static_cast<TestType>((*loaded[vector])[static_cast<Index>(i)]);
        different += std::memcmp(static_cast<const void*>(&narrow),
                                 static_cast<const void*>(&vectors[vector][i]), sizeof narrow) != 0;
      }
    }
    REQUIRE(different == 0);
  }
}
