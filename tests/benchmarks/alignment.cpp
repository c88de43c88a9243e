// SPDX-License-Identifier: MIT
// That memory which does not begin with a cache line costs no more: malloc gives large arrays, and
// with them Eigen's matrices, an address that is 16 bytes behind one.
#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/measure.hpp"
#include "benchmarks/sections.hpp"
#include "benchmarks/statistics.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {
namespace {

constexpr std::size_t line_bytes = 64;

/// Floats from so many bytes behind a cache line on.
class Floats {
 public:
  Floats(std::size_t size, std::size_t behind) : memory_(size + 2 * line_bytes / sizeof(float)) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    first_ = ((line_bytes - address % line_bytes) % line_bytes + behind) / sizeof(float);
  }
  float* data() { return memory_.data() + first_; }

 private:
  std::vector<float> memory_;
  std::size_t first_;
};

/// Seconds of inferring, training and back-propagation, one example per row.
std::vector<double> seconds_of(Eigen::Index channels, std::size_t behind) {
  const Eigen::Index examples = (Eigen::Index{1} << 23) / channels;
  const std::size_t size = static_cast<std::size_t>(examples * channels);
  Floats x(size, behind), y(size, behind);
  for (std::size_t i = 0; i < size; ++i) x.data()[i] = static_cast<float>(i % 997) * 0.01f;
  const auto view = [&](Floats& data) {
    return batchnorm::channels_last(data.data(), examples, channels, Eigen::Index{1});
  };
  batchnorm::BatchNorm<float> layer(channels);
  const auto batch = layer.train(view(x), view(y));
  const auto frozen = layer.freeze();
  const std::vector<Timed> functions = {
      {"infer", [&] { frozen(view(x), view(y)); }},
      {"train", [&] { layer.train(view(x), view(y)); }},
      {"backward", [&] { layer.backward(batch, view(x), view(x), view(y)); }}};
  std::vector<double> seconds;
  for (const std::vector<double>& some : time_interleaved(functions, {5, 0.05})) {
    seconds.push_back(median(some));
  }
  return seconds;
}

}  // namespace

std::string alignment_section() {
  Table table({"f32, 1 thread, rows of", "infer", "16 bytes off", "train", "16 bytes off",
               "backward", "16 bytes off"});
  for (const Eigen::Index channels : {128, 256, 300, 512}) {
    const std::vector<double> aligned = seconds_of(channels, 0);
    const std::vector<double> off = seconds_of(channels, 16);
    Table::Line line = {std::to_string(channels)};
    for (std::size_t i = 0; i < aligned.size(); ++i) {
      line.push_back(duration(aligned[i]));
      line.push_back(ratio(off[i] / aligned[i]));
    }
    table.add(line);
  }
  return table.text();
}

}  // namespace batchnorm_benchmarks
