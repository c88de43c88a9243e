// SPDX-License-Identifier: MIT
// That leaving padding out of the statistics costs no more than reading the mask.
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

using Mask = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Sequences between half as long as the array and as long as it, and elements at random.
struct Masks {
  Mask padding, random;

  Masks(Eigen::Index samples, Eigen::Index positions)
      : padding(samples, positions), random(samples, positions) {
    std::uint32_t state = 1;
    const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 16; };
    for (Eigen::Index n = 0; n < samples; ++n) {
      const Eigen::Index length =
          positions == 1 ? (n < samples / 4 * 3 ? 1 : 0)
                         : positions / 2 + static_cast<Eigen::Index>(next()) % (positions / 2);
      for (Eigen::Index p = 0; p < positions; ++p) {
        padding(n, p) = p < length;
        random(n, p) = next() % 2 == 0;
      }
    }
  }
};

Table::Line line_of(const std::string& name, const batchnorm::BatchView<float>& x,
                    const batchnorm::BatchView<float>& dy, const batchnorm::BatchView<float>& y) {
  using batchnorm::masked;
  using batchnorm::weighted;
  using batchnorm::Weights;
  const Masks masks(x.samples(), x.positions());
  const Eigen::ArrayXXf weights =
      0.5f + 0.5f * Eigen::ArrayXXf::Random(x.samples(), x.positions()).abs();
  batchnorm::BatchNorm<float> layer(x.channels());
  // As behind a loss that leaves padding out.
  for (Eigen::Index n = 0; n < x.samples(); ++n) {
    for (Eigen::Index p = 0; p < x.positions(); ++p) {
      for (Eigen::Index c = 0; !masks.padding(n, p) && c < x.channels(); ++c) dy(n, c, p) = 0;
    }
  }
  const auto padded = masked(x, masks.padding), scattered = masked(x, masks.random);
  const auto weighed = weighted(x, weights, Weights::reliability);
  const auto batch = layer.normalize(x, y), some = layer.normalize(padded, y);
  const auto few = layer.normalize(scattered, y), heavy = layer.normalize(weighed, y);
  const std::vector<Timed> functions = {
      {"train", [&] { layer.train(x, y); }},
      {"padding", [&] { layer.train(padded, y); }},
      {"random", [&] { layer.train(scattered, y); }},
      {"weights", [&] { layer.train(weighed, y); }},
      {"backward", [&] { layer.backward(batch, x, dy, y); }},
      {"backward, padding", [&] { layer.backward(some, padded, dy, y); }},
      {"backward, random", [&] { layer.backward(few, scattered, dy, y); }},
      {"backward, weights", [&] { layer.backward(heavy, weighed, dy, y); }}};
  const std::vector<std::vector<double>> seconds = time_interleaved(functions, {5, 0.05});
  Table::Line line = {name, std::to_string(masks.padding.size())};
  for (std::size_t i = 0; i < functions.size(); ++i) {
    const double time = median(seconds[i]);
    line.push_back(i % 4 == 0 ? duration(time) : ratio(time / median(seconds[i / 4 * 4])));
  }
  return line;
}

}  // namespace

std::string masks_section() {
  Table table({"f32, 1 thread", "mask bytes", "train", "padding", "random", "weights", "backward",
               "padding", "random", "weights"});
  const auto add = [&](const std::string& name, Eigen::Index samples, Eigen::Index channels,
                       Eigen::Index positions, bool last) {
    const std::size_t size = static_cast<std::size_t>(samples * channels * positions);
    std::vector<float> x(size), dy(size), y(size);
    for (std::size_t i = 0; i < size; ++i) {
      x[i] = static_cast<float>(i % 997) * 0.01f;
      dy[i] = static_cast<float>(i % 13) - 6.0f;
    }
    const auto view = [&](std::vector<float>& data) {
      return last ? batchnorm::channels_last(data.data(), samples, channels, positions)
                  : batchnorm::channels_first(data.data(), samples, channels, positions);
    };
    table.add(line_of(name, view(x), view(dy), view(y)));
  };
  add("ncl 64x256x512", 64, 256, 512, false);
  add("ncl 256x256x128", 256, 256, 128, false);
  add("nlc 64x512x256", 64, 256, 512, true);
  add("nc 32768x256", 32768, 256, 1, true);
  return table.text();
}

}  // namespace batchnorm_benchmarks
