// SPDX-License-Identifier: MIT
// A tile that is mapped equals its elements mapped one by one, with every instruction set, and
// nothing beside it is written. Data are integers so small that no type rounds them.
#include <array>
#include <vector>

#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/combination.hpp"
#include "batchnorm/math/normalize.hpp"
#include "kernels/tiles.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Real slopes[] = {1, 0, 0.25L};

/// What a tile is made of.
struct Kind {
  bool per_column;
  bool residual;
  bool second_output;
  bool fixed;        ///< statistics
  bool dense;        ///< rows follow one another without gaps
  bool one_channel;  ///< all rows have the same coefficients
  bool streaming;
  Real slope;       ///< 1: no epilogue
  Size over_input;  ///< the first output is this input; none if there is no such input
};

Kind random_kind(Random& random, bool per_column, bool backward) {
  const auto maybe = [&] { return random.below(2) == 0; };
  Kind kind = {};
  kind.per_column = per_column;
  kind.residual = maybe();
  kind.second_output = backward && kind.residual;
  kind.fixed = backward && maybe();
  kind.dense = maybe();
  kind.one_channel = !per_column && maybe();
  kind.streaming = maybe();
  kind.slope = slopes[random.below(3)];
  kind.over_input = kind.streaming ? detail::max_inputs : random.below(4);
  return kind;
}

/// The forward map of one value, in the words of normalize.hpp: input x, and a residual.
std::array<Real, 2> forward(const Kind& kind, const Real* x, const Real* k) {
  const Real z = (x[0] - k[0]) * k[1] + k[2] + (kind.residual ? x[1] : 0);
  return {z < 0 ? kind.slope * z : z, 0};
}

/// Back-propagation of one value, in those of backward.hpp: inputs x, dy, and a residual.
std::array<Real, 2> backward(const Kind& kind, const Real* x, const Real* k) {
  const Real z = (x[0] - k[0]) * k[4] + k[5] + (kind.residual ? x[2] : 0);
  const Real g = kind.slope != 1 && !(z > 0) ? kind.slope * x[1] : x[1];
  return {k[1] * (kind.fixed ? g : g + (x[0] - k[0]) * k[2] + k[3]), g};
}

/// Two outputs of three inputs, in those of combination.hpp.
std::array<Real, 2> two_combinations(const Kind& kind, const Real* x, const Real* k) {
  const Real centred = x[0] - k[0];
  const Real through_statistics = k[4] * x[2] + centred * k[2] + k[3];
  return {k[1] * x[1] + (kind.fixed ? 0 : through_statistics), k[5] * x[2] + centred * k[6] + k[7]};
}

template <class T>
detail::FormulaOptions<parameter_t<T>> formula_options(const Kind& kind) {
  auto options = detail::formula_options<parameter_t<T>>(
      Epilogue::leaky_relu(static_cast<double>(kind.slope)), kind.residual);
  options.fixed_statistics = kind.fixed;
  return options;
}

/// Maps one tile, and says whether all memory is as it should be.
template <class T, class Expected>
bool is_right(Random& random, const detail::KernelTable<T>& kernels, InstructionSet set,
              const Kind& kind, Index rows, Index columns, const Expected& expected) {
  using C = parameter_t<T>;
  const Index width = kernels.width_of(set);
  const Index entries = kind.per_column ? columns : kind.one_channel ? 1 : rows;
  const auto options = formula_options<T>(kind);
  detail::Tile<T> tile;
  tile.rows = rows;
  tile.columns = columns;
  tile.per_column = kind.per_column;
  tile.row_step = kind.one_channel ? 0 : 1;
  tile.streaming = kind.streaming;
  tile.inputs = kernels.inputs + (kind.residual ? 1 : 0);
  tile.outputs = kind.second_output ? 2 : 1;
  tile.coefficients = options.rectified ? kernels.epilogue_coefficients : kernels.coefficients;
  tile.options = &options;
  tile.prefetch = random.below(2) == 0;
  tile.ahead = {100000, -100000, 7};
  const CoefficientTables<C> k(random, tile.coefficients, entries, kind.per_column ? width : 0,
                               unwritten<C>());
  for (int i = 0; i < tile.coefficients; ++i) tile.k[static_cast<Size>(i)] = k.table(i);

  const Size inputs = static_cast<Size>(tile.inputs), outputs = static_cast<Size>(tile.outputs);
  std::vector<Rows<T>> operands;  // inputs, then outputs
  // Outputs that are streamed are as far from a line.
  const auto place = [&] { return static_cast<Index>(random.below(Rows<T>::line)); };
  const Index step = random_step(random, columns), past_line = place();
  for (Size i = 0; i < inputs + outputs; ++i) {
    const bool same = kind.streaming && i >= inputs;
    operands.emplace_back(rows, columns, width,
                          kind.dense ? columns
                          : same     ? step
                                     : random_step(random, columns),
                          same ? past_line : place());
  }
  for (Size i = 0; i < inputs; ++i) {
    for (Index r = 0; r < rows; ++r) {
      for (Index c = 0; c < columns; ++c) {
        operands[i](r, c) = static_cast<T>(static_cast<float>(small_integer(random, 8)));
      }
    }
  }
  const auto target = [&](Size output) {
    return output == 0 && kind.over_input < inputs ? kind.over_input : inputs + output;
  };
  std::vector<Rows<T>> right = operands;
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < columns; ++c) {
      Real x[detail::max_inputs] = {}, of_element[detail::max_coefficients] = {};
      for (Size i = 0; i < inputs; ++i) x[i] = static_cast<Real>(operands[i](r, c));
      for (int i = 0; i < tile.coefficients; ++i)
        of_element[i] = k(i, kind.per_column ? c : r * tile.row_step);
      const std::array<Real, 2> y = expected(kind, x, of_element);
      for (Size o = 0; o < outputs; ++o)
        right[target(o)](r, c) = static_cast<T>(static_cast<float>(y[o]));
    }
  }
  for (Size i = 0; i < detail::max_inputs; ++i) {
    Rows<T>& operand = operands[i < inputs ? i : 0];
    tile.from[i] = operand.data();
    tile.from_step[i] = operand.step();
  }
  for (Size o = 0; o < detail::max_outputs; ++o) {
    Rows<T>& operand = operands[target(o < outputs ? o : 0)];
    tile.to[o] = operand.data();
    tile.to_step[o] = operand.step();
  }
  kernels(set, tile);
  detail::finish_streaming();
  return operands == right;
}

void leave(Kind&) {}

/// @param adjust  of a random kind what the formula has
/// @param wide    more columns than have their coefficients copied at a time; 0: they are not
template <class T, class Expected, class Adjust>
void check_all(const detail::KernelTable<T>& kernels, bool is_backward, const Expected& expected,
               const Adjust& adjust, Index wide) {
  Random random(31);
  for (const InstructionSet set : instruction_sets_here()) {
    for (const bool per_column : {false, true}) {
      if (!per_column && !takes_all_tiles(kernels, set)) continue;
      const auto check = [&](Index rows, Index columns) {
        Kind kind = random_kind(random, per_column, is_backward);
        adjust(kind);
        if (columns < kernels.width_of(set) || !takes_all_tiles(kernels, set)) {
          kind.streaming = false;
        }
        INFO(rows << " rows of " << columns << ", per column " << per_column << ", residual "
                  << kind.residual << ", slope " << static_cast<double>(kind.slope) << ", fixed "
                  << kind.fixed << ", dense " << kind.dense << ", one channel " << kind.one_channel
                  << ", streaming " << kind.streaming << ", over input " << kind.over_input
                  << ", instruction set " << static_cast<int>(set));
        CHECK(is_right(random, kernels, set, kind, rows, columns, expected));
      };
      for_tile_shapes(kernels.width_of(set), check);
      for (int times = 0; wide > 0 && times < 8; ++times) {
        for (const Index more : {Index{0}, Index{1}, kernels.width_of(set) + 1, wide + 5}) {
          check(1 + times % 4, wide + more);
        }
      }
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a tile of the forward map", "", float, double, long double, Eigen::half,
                   Eigen::bfloat16) {
  check_all<TestType>(detail::map_kernels<detail::Forward, TestType>, false, forward, leave, 0);
}

TEMPLATE_TEST_CASE("a tile of back-propagation", "", float, double, long double, Eigen::half,
                   Eigen::bfloat16) {
  using Source = detail::FromInput<parameter_t<TestType>>;
  check_all<TestType>(detail::map_kernels<detail::Backward<Source>, TestType>, true, backward,
                      leave, 0);
}

TEMPLATE_TEST_CASE("a tile of two combinations", "", float, double, long double, Eigen::half,
                   Eigen::bfloat16) {
  const auto adjust = [](Kind& kind) {
    kind.residual = false;
    kind.second_output = true;
    kind.slope = 1;
  };
  check_all<TestType>(detail::map_kernels<detail::TwoCombinations, TestType>, true,
                      two_combinations, adjust, 1024);
}
