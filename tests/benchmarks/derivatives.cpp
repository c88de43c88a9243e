// SPDX-License-Identifier: MIT
// That forward mode costs what backward does, and double backward about twice as much, also with
// weights.
#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "benchmarks/measure.hpp"
#include "benchmarks/sections.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {
namespace {

using View = batchnorm::BatchView<float>;

Table::Line line_of(const std::string& name, const View& x, const View& dy, const View& v,
                    const View& out, const View& other) {
  batchnorm::BatchNorm<float> layer(x.channels());
  const batchnorm::Gradients<float> direction(x.channels());
  const Eigen::ArrayXXf weights =
      0.5f + 0.5f * Eigen::ArrayXXf::Random(x.samples(), x.positions()).abs();
  const auto weighed = weighted(x, weights, batchnorm::Weights::reliability);
  const auto batch = layer.train(x, out);
  const auto heavy = layer.normalize(weighed, out);
  const std::vector<Timed> functions = {
      {"backward", [&] { layer.backward(batch, x, dy, out); }},
      {"jvp", [&] { jvp(layer, batch, x, v, direction, out); }},
      {"double backward",
       [&] { (void)double_backward(layer, batch, x, dy, v, direction, out, other); }},
      {"frozen", [&] { (void)double_backward_frozen(layer, x, dy, v, direction, out, other); }},
      {"backward, weights", [&] { layer.backward(heavy, weighed, dy, out); }},
      {"jvp, weights", [&] { jvp(layer, heavy, weighed, v, direction, out); }},
      {"double backward, weights",
       [&] { (void)double_backward(layer, heavy, weighed, dy, v, direction, out, other); }}};
  // The fastest of many: on a machine with other work to do, medians are of that.
  const std::vector<std::vector<double>> seconds = time_interleaved(functions, {15, 0.02});
  const auto time = [&](std::size_t i) {
    return *std::min_element(seconds[i].begin(), seconds[i].end());
  };
  Table::Line line = {name};
  for (std::size_t i = 0; i < functions.size(); ++i) {
    const std::size_t base = i < 4 ? 0 : 4;
    line.push_back(i == base ? duration(time(i)) : ratio(time(i) / time(base)));
  }
  line.push_back(ratio(time(6) / time(0)));
  return line;
}

}  // namespace

std::string derivatives_section() {
  Table table({"f32, 1 thread", "backward", "jvp", "double", "frozen", "backward, weights", "jvp",
               "double", "of backward"});
  const auto add = [&](const std::string& name, Eigen::Index samples, Eigen::Index channels,
                       Eigen::Index positions, bool last) {
    const std::size_t size = static_cast<std::size_t>(samples * channels * positions);
    std::vector<float> x(size), dy(size), v(size), out(size), other(size);
    for (std::size_t i = 0; i < size; ++i) {
      x[i] = static_cast<float>(i % 997) * 0.01f;
      dy[i] = static_cast<float>(i % 13) - 6.0f;
      v[i] = static_cast<float>(i % 17) - 8.0f;
    }
    const auto view = [&](std::vector<float>& data) {
      return last ? batchnorm::channels_last(data.data(), samples, channels, positions)
                  : batchnorm::channels_first(data.data(), samples, channels, positions);
    };
    table.add(line_of(name, view(x), view(dy), view(v), view(out), view(other)));
  };
  add("nc 32x256", 32, 256, 1, true);
  add("nc 64x512", 64, 512, 1, true);
  add("nc 1024x1024", 1024, 1024, 1, true);
  add("nc 16384x512", 16384, 512, 1, true);
  add("nchw 32x256x56x56", 32, 256, 56 * 56, false);
  add("nchw 32x2048x7x7", 32, 2048, 49, false);
  add("nhwc 32x512x28x28", 32, 512, 28 * 28, true);
  return table.text();
}

}  // namespace batchnorm_benchmarks
