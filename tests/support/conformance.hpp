// SPDX-License-Identifier: MIT
// Reads the conformance groups (an index in JSON, numbers in safetensors;
// tests/reference/README.md) and compares results with them.
#ifndef BATCHNORM_TESTS_SUPPORT_CONFORMANCE_HPP
#define BATCHNORM_TESTS_SUPPORT_CONFORMANCE_HPP

#include <Eigen/Core>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "batchnorm/io/safetensors.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

namespace batchnorm_test {

using batchnorm::Index;
using Numbers = std::vector<double>;

struct Group {
  nlohmann::json index;
  batchnorm::Tensors tensors;

  const nlohmann::json& cases() const { return index.at("cases"); }
};

inline Group load_group(const std::string& folder, const std::string& name) {
  std::ifstream file(folder + "/" + name + ".json");
  if (!file) throw std::runtime_error("no conformance group " + name + " in " + folder);
  nlohmann::json index = nlohmann::json::parse(file);
  const std::string tensors = folder + "/" + index.at("tensors").get<std::string>();
  return {std::move(index), batchnorm::read_safetensors(tensors)};
}

/// True, and a line in the output that says so, when this run was given no folder with the groups
/// that are not in the tree.
inline bool is_left_out(const std::string& group, int cases) {
  if (!conformance_dir().empty()) return false;
  WARN("left out: " << cases << " cases of " << group
                    << ", because BATCHNORM_CONFORMANCE_DIR names no folder");
  return true;
}

/// Ends of tensor names, and the keys of tolerances: f64, f32, bf16.
template <class T>
const char* dtype_suffix() {
  if (std::is_same<T, double>::value) return "f64";
  return std::is_same<T, float>::value ? "f32" : "bf16";
}

template <class Entry>
bool has(const nlohmann::json& list, const Entry& word) {
  for (const auto& entry : list) {
    if (entry == word) return true;
  }
  return false;
}

/// How a densely stored batch is cut into samples, channels and positions.
struct Shape {
  bool channels_last;
  Index samples, channels, positions = 1;

  Shape(const std::string& layout, const std::vector<Index>& sizes)
      : channels_last(layout.size() > 2 && layout.back() == 'C'),
        samples(sizes.front()),
        channels(channels_last ? sizes.back() : sizes[1]) {
    for (const Index size : sizes) positions *= size;
    positions /= samples * channels;
  }

  std::size_t size() const { return static_cast<std::size_t>(samples * channels * positions); }
  std::size_t channel_of(std::size_t element) const {
    const std::size_t step = channels_last ? 1 : static_cast<std::size_t>(positions);
    return element / step % static_cast<std::size_t>(channels);
  }

  template <class T>
  batchnorm::BatchView<T> view(T* data) const {
    return channels_last ? batchnorm::channels_last(data, samples, channels, positions)
                         : batchnorm::channels_first(data, samples, channels, positions);
  }
};

/// How far a result may be from the expected value: a bound per channel, or atol + rtol |expected|.
struct Tolerance {
  Numbers per_channel;
  double absolute = 0, relative = 0;

  Tolerance(double atol, double rtol) : absolute(atol), relative(rtol) {}
  explicit Tolerance(Numbers bounds) : per_channel(std::move(bounds)) {}
  explicit Tolerance(const nlohmann::json& entry)
      : Tolerance(entry.at("atol").get<double>(), entry.at("rtol").get<double>()) {}

  double at(std::size_t channel, double expected) const {
    return per_channel.empty() ? absolute + relative * std::fabs(expected) : per_channel[channel];
  }
};

/// One row of a [8, channels] table of tolerances; the rows are named by the index.
class ToleranceTable {
 public:
  ToleranceTable(const Group& group, const std::string& tensor)
      : names_(group.index.at("tol_rows")), values_(group.tensors.values<double>(tensor)) {}

  Tolerance operator[](const std::string& row) const {
    const std::size_t channels = values_.size() / names_.size();
    std::size_t first = 0;
    while (names_.at(first / channels) != row) first += channels;  // at() throws past the last name
    const auto begin = values_.begin() + static_cast<std::ptrdiff_t>(first);
    return Tolerance(Numbers(begin, begin + static_cast<std::ptrdiff_t>(channels)));
  }

 private:
  nlohmann::json names_;
  Numbers values_;
};

template <class Container>
Numbers as_numbers(const Container& values) {
  Numbers numbers;
  for (Index i = 0; i < static_cast<Index>(values.size()); ++i) {
    numbers.push_back(static_cast<double>(*(values.data() + i)));
  }
  return numbers;
}

/// Empty when every element is as near as its tolerance allows, else what is wrong. Where NaN is
/// expected only NaN will do. `channel_of` says to which channel an element belongs.
template <class ChannelOf>
std::string outside(const Numbers& result, const Numbers& expected, const Tolerance& tolerance,
                    const ChannelOf& channel_of) {
  if (result.size() != expected.size()) return "another number of elements";
  for (std::size_t i = 0; i < result.size(); ++i) {
    const double allowed = tolerance.at(channel_of(i), expected[i]);
    const bool near = std::isnan(expected[i]) ? std::isnan(result[i])
                                              : std::fabs(result[i] - expected[i]) <= allowed;
    if (!near) {
      return batchnorm::detail::text("element ", i, " of channel ", channel_of(i), ": ", result[i],
                                     ", expected ", expected[i], ", off by ",
                                     result[i] - expected[i], ", allowed ", allowed);
    }
  }
  return {};
}

inline std::string outside(const Numbers& result, const Numbers& expected,
                           const Tolerance& tolerance) {
  return outside(result, expected, tolerance, [](std::size_t i) { return i; });
}

inline std::string outside(const Numbers& result, const Numbers& expected,
                           const Tolerance& tolerance, const Shape& shape) {
  return outside(result, expected, tolerance, [&](std::size_t i) { return shape.channel_of(i); });
}

/// 1 / sqrt(variance + epsilon) of each channel, in double.
inline Numbers inverse_roots(Numbers variances, double epsilon) {
  for (double& variance : variances) variance = 1.0 / std::sqrt(variance + epsilon);
  return variances;
}

/// A tensor of one number per channel as the vector of a state.
template <class T>
batchnorm::ChannelVector<batchnorm::parameter_t<T>> channel_vector(
    const batchnorm::Tensors& tensors, const std::string& name) {
  using Scalar = batchnorm::parameter_t<T>;
  const std::vector<Scalar> values = tensors.values<Scalar>(name);
  return Eigen::Map<const batchnorm::ChannelVector<Scalar>>(values.data(),
                                                            static_cast<Index>(values.size()));
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_CONFORMANCE_HPP
