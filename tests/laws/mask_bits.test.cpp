// SPDX-License-Identifier: MIT
// What counts decides, to the last bit, and nothing else: not how much padding lies between it, not
// what the padding holds, not how many threads there are.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using MaskMatrix = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;

/// Sequences of different lengths, of some channels, with their gradients.
struct Sequences {
  Index channels;
  std::vector<Index> lengths;
  std::vector<std::vector<double>> x, dy;  ///< per sequence, position by position

  Sequences(Random& random, Index channel_count, std::vector<Index> all_lengths)
      : channels(channel_count), lengths(std::move(all_lengths)) {
    for (const Index length : lengths) {
      x.emplace_back();
      dy.emplace_back();
      for (Index i = 0; i < length * channels; ++i) {
        x.back().push_back(5 + random.normal());
        dy.back().push_back(random.normal());
      }
    }
  }
};

enum class Order { channels_first, channels_last, positions_outermost };

/// Sequences in one array, padded to some length in front and behind.
template <class T>
struct Padded {
  Index samples, channels, positions;
  Order order;
  std::vector<T> x, dy, y, dx;
  MaskMatrix mask;

  Padded(const Sequences& sequences, Order memory, Index length, bool in_front, T padding)
      : samples(static_cast<Index>(sequences.lengths.size())),
        channels(sequences.channels),
        positions(length),
        order(memory),
        x(static_cast<std::size_t>(samples * channels * positions), padding),
        dy(x.size(), T(0)),
        y(x.size()),
        dx(x.size()),
        mask(MaskMatrix::Constant(samples, positions, false)) {
    for (Index n = 0; n < samples; ++n) {
      const std::size_t sequence = static_cast<std::size_t>(n);
      const Index own = sequences.lengths[sequence];
      // With gaps inside a sequence, too, where there is room.
      for (Index i = 0; i < own; ++i) {
        const Index p = place(i, own, in_front);
        mask(n, p) = true;
        for (Index c = 0; c < channels; ++c) {
          const std::size_t from = static_cast<std::size_t>(i * channels + c);
          view(x)(n, c, p) = static_cast<T>(sequences.x[sequence][from]);
          view(dy)(n, c, p) = static_cast<T>(sequences.dy[sequence][from]);
        }
      }
    }
  }

  Index place(Index i, Index own, bool in_front) const {
    return in_front ? positions - own + i : i;
  }

  BatchView<T> view(std::vector<T>& data) const {
    switch (order) {
      case Order::channels_first:
        return channels_first(data.data(), samples, channels, positions);
      case Order::channels_last:
        return channels_last(data.data(), samples, channels, positions);
      default:
        return BatchView<T>(data.data(), samples, channels, positions, channels, 1,
                            samples * channels);
    }
  }

  /// What belongs to the elements that count, sequence by sequence.
  std::vector<T> counted(std::vector<T>& data) const {
    std::vector<T> all;
    for (Index n = 0; n < samples; ++n) {
      for (Index p = 0; p < positions; ++p) {
        for (Index c = 0; mask(n, p) && c < channels; ++c) all.push_back(view(data)(n, c, p));
      }
    }
    return all;
  }
};

/// Moments, outputs and gradients of what counts.
template <class T>
std::vector<double> results(Padded<T>& batch, MaskedOutput output, const Execution& execution) {
  BatchNorm<T> layer(batch.channels);
  const auto x = batch.view(batch.x);
  const auto moments = layer.train(masked(x, batch.mask, output), batch.view(batch.y), execution);
  const auto gradients = layer.backward(moments, masked(x, batch.mask, output),
                                        batch.view(batch.dy), batch.view(batch.dx), execution);
  std::vector<double> all;
  const auto add = [&](const auto& list) {
    for (const auto& each : list) all.push_back(static_cast<double>(each));
  };
  add(moments.mean);
  add(moments.sum_of_squares);
  add(layer.state().running_variance);
  add(gradients.gamma);
  add(gradients.beta);
  add(batch.counted(batch.y));
  add(batch.counted(batch.dx));
  return all;
}

const auto from_the_end = [](Index tasks, Task task) {
  for (Index i = tasks - 1; i >= 0; --i) task(i);
};

template <class T>
void check_padding(Index channels, const std::vector<Index>& lengths) {
  Random random(136);
  const Sequences sequences(random, channels, lengths);
  const Index longest = *std::max_element(lengths.begin(), lengths.end());
  const T nan = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
  const T infinity = static_cast<T>(std::numeric_limits<float>::infinity());
  for (const Order order :
       {Order::channels_first, Order::channels_last, Order::positions_outermost}) {
    INFO(channels << " channels, order " << static_cast<int>(order));
    Padded<T> tight(sequences, order, longest, false, T(0));
    const auto expected = results(tight, MaskedOutput::normalize, {});
    for (const Index more : {0, 1, 7, 61}) {
      for (const bool in_front : {false, true}) {
        Padded<T> loose(sequences, order, longest + more, in_front, more == 7 ? infinity : nan);
        CHECK((results(loose, MaskedOutput::normalize, {}) == expected));
        CHECK((results(loose, MaskedOutput::zero, {}) == expected));
        CHECK((results(loose, MaskedOutput::keep, {}) == expected));
      }
    }
    Padded<T> loose(sequences, order, longest + 5, false, nan);
    for (const Index threads : {2, 5, 16}) {
      const auto execution = Execution::parallel_for(from_the_end, threads);
      CHECK((results(loose, MaskedOutput::normalize, execution) == expected));
    }
  }
}

}  // namespace

TEST_CASE("a sequence's output does not depend on the padding of its mates, to the bit") {
  check_padding<float>(1, {3, 1, 9, 4});
  check_padding<float>(3, {17, 2, 30, 8, 8});
  check_padding<double>(5, {40, 1, 33});
  check_padding<float>(24, {100, 3, 77, 200, 150, 1});
  check_padding<Eigen::bfloat16>(7, {20, 31, 4});
}

TEST_CASE("so it is with many values and threads that share them") {
  check_padding<float>(40, {700, 650, 300, 2000, 1, 512, 900});
}

TEST_CASE("equal lengths: batch mates add nothing but their own values") {
  // Without any padding a mask says nothing, and yet the bits are those with padding.
  check_padding<float>(4, {64, 64, 64});
}

namespace {

/// Moments with a mask are those of a matrix of nothing but the examples that count.
template <class Matrix>
void check_compacted(Index channels, Index examples, Index every) {
  Random random(137);
  Matrix x(channels, examples);
  Eigen::Array<bool, 1, Eigen::Dynamic> mask(examples);
  for (Index i = 0; i < examples; ++i) {
    mask[i] = every == 0 ? i < examples * 2 / 3 : random.below(static_cast<Size>(every)) != 0;
    for (Index c = 0; c < channels; ++c) {
      x(c, i) = static_cast<typename Matrix::Scalar>(3 + random.normal());
    }
  }
  mask[0] = mask[examples - 1] = true;
  Matrix rest(channels, mask.count());
  Index next = 0;
  for (Index i = 0; i < examples; ++i) {
    if (mask[i]) {
      rest.col(next++) = x.col(i);
    } else {
      x.col(i).setConstant(std::numeric_limits<typename Matrix::Scalar>::quiet_NaN());
    }
  }
  const auto expected = moments_of(rest);
  const auto result = moments_of(masked(x, mask));
  INFO(channels << " x " << examples << ", one of " << every);
  CHECK(result.count == expected.count);
  CHECK(result.mean == expected.mean);
  CHECK(result.sum_of_squares == expected.sum_of_squares);
  BatchNorm<typename Matrix::Scalar> with_mask(channels), without(channels);
  Matrix y(channels, examples), y_rest(channels, rest.cols());
  with_mask.train(masked(x, mask), y);
  without.train(rest, y_rest);
  CHECK(with_mask.state().running_mean == without.state().running_mean);
  CHECK(with_mask.state().running_variance == without.state().running_variance);
  next = 0;
  bool same = true;
  for (Index i = 0; i < examples; ++i) {
    if (mask[i]) same = same && y.col(i) == y_rest.col(next++);
  }
  CHECK(same);
}

}  // namespace

TEST_CASE("a matrix with a mask has the bits of a matrix of the examples that count") {
  for (const Index channels : {1, 2, 4, 33, 70, 530}) {
    for (const Index examples : {3, 18, 300, 5000}) {
      if (channels * examples > 400000) continue;
      for (const Index every : {0, 2, 9}) {
        check_compacted<Eigen::MatrixXf>(channels, examples, every);
        check_compacted<Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
            channels, examples, every);
        check_compacted<Eigen::MatrixXd>(channels, examples, every);
      }
    }
  }
}

TEST_CASE("a channel whose sampled values mislead is summed again, with a mask as without") {
  // The first values, of which pivots are made, are far from the others, or squares overflow.
  for (const double outlier : {1e6, 1e25}) {
    Eigen::MatrixXf x(40, 2000);
    Random random(138);
    for (float& value : x.reshaped()) value = static_cast<float>(random.normal());
    for (Index i = 0; i < x.cols(); i += 8) x(2, i) = static_cast<float>(outlier);
    Eigen::Array<bool, Eigen::Dynamic, 1> mask(2000);
    for (Index i = 0; i < 2000; ++i) mask[i] = i % 11 != 3;
    Eigen::MatrixXf rest(40, mask.count());
    for (Index i = 0, next = 0; i < 2000; ++i) {
      if (mask[i]) rest.col(next++) = x.col(i);
    }
    const auto expected = moments_of(rest);
    const auto result = moments_of(masked(x, mask));
    CHECK(result.mean == expected.mean);
    CHECK(result.sum_of_squares == expected.sum_of_squares);
  }
}

TEMPLATE_TEST_CASE("weights that are all 1 give the bits of none", "", float, double) {
  using Matrix = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic>;
  Random random(139);
  for (const Index examples : {3, 41, 3000}) {
    Matrix x(19, examples), dy(19, examples), y(19, examples), dx(x), y_plain(y), dx_plain(x);
    for (TestType& value : x.reshaped()) value = static_cast<TestType>(7 + random.normal());
    for (TestType& value : dy.reshaped()) value = static_cast<TestType>(random.normal());
    const Eigen::VectorXf ones = Eigen::VectorXf::Ones(examples);
    // Weights of 2 are of the same sets of values, but have to be multiplied with: were ones, too,
    // their sums would differ in some last bit.
    const auto doubled = moments_of(weighted(x, Eigen::VectorXf(2 * ones), Weights::frequency));
    const auto plain = moments_of(x);
    CHECK((examples == 3 || doubled.sum_of_squares != 2 * plain.sum_of_squares));
    for (const Weights kind : {Weights::frequency, Weights::reliability, Weights::importance}) {
      BatchNorm<TestType> layer(19), expected(19);
      const auto batch = layer.train(weighted(x, ones, kind), y);
      const auto batch_plain = expected.train(x, y_plain);
      CHECK(batch.mean == batch_plain.mean);
      CHECK(batch.sum_of_squares == batch_plain.sum_of_squares);
      CHECK(y == y_plain);
      CHECK(layer.state().running_variance == expected.state().running_variance);
      const auto gradients = layer.backward(batch, weighted(x, ones, kind), dy, dx);
      CHECK(gradients.gamma == expected.backward(batch_plain, x, dy, dx_plain).gamma);
      CHECK(dx == dx_plain);
    }
  }
}
