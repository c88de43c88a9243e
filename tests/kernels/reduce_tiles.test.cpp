// SPDX-License-Identifier: MIT
// A tile that is reduced adds to its totals the terms of its elements, one by one, with every
// instruction set, and to no others. Data are integers, so that every order of additions is right.
#include <vector>

#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/moments.hpp"
#include "kernels/tiles.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

struct Kind {
  bool rectified, residual;
  bool one_channel;  ///< all rows add to the same totals
};

/// x - k and its square.
void moment_terms(const Kind&, const Real* x, const Real* k, Real* sums) {
  sums[0] += x[0] - k[0];
  sums[1] += (x[0] - k[0]) * (x[0] - k[0]);
}

/// g and g (x - pivot) r, in the words of backward.hpp; with ReLU.
void gradient_terms(const Kind& kind, const Real* x, const Real* k, Real* sums) {
  const Real z = (x[0] - k[0]) * k[2] + k[3] + (kind.residual ? x[2] : 0);
  const Real g = kind.rectified && !(z > 0) ? 0 : x[1];
  sums[0] += g;
  sums[1] += g * (x[0] - k[0]) * k[1];
}

/// A tile and what surrounds it.
template <class T>
struct Problem {
  using C = parameter_t<T>;
  using A = accumulator_t<T>;

  Problem(Random& random, const detail::KernelTable<T>& kernels, const Kind& kind, Index rows,
          Index columns, bool per_column, Index width)
      : options(detail::formula_options<C>(kind.rectified ? Epilogue::relu() : Epilogue::none(),
                                           kind.residual)),
        k(random, kind.rectified ? kernels.epilogue_coefficients : kernels.coefficients,
          per_column ? columns : rows, per_column ? width : 0, C(3)) {
    tile.row_step = kind.one_channel ? 0 : 1;
    tile.rows = rows;
    tile.columns = columns;
    tile.per_column = per_column;
    tile.inputs = kernels.inputs + (kind.residual ? 1 : 0);
    tile.coefficients = kind.rectified ? kernels.epilogue_coefficients : kernels.coefficients;
    tile.options = &options;
    tile.prefetch = random.below(2) == 0;
    for (int i = 0; i < tile.coefficients; ++i) tile.k[static_cast<Size>(i)] = k.table(i);
    for (int i = 0; i < tile.inputs; ++i) {
      inputs.emplace_back(rows, columns, width, random_step(random, columns),
                          static_cast<Index>(random.below(Rows<T>::line)));
      for (Index r = 0; r < rows; ++r) {
        for (Index c = 0; c < columns; ++c) {
          inputs.back()(r, c) = static_cast<T>(static_cast<float>(small_integer(random, 8)));
        }
      }
    }
    for (Size i = 0; i < detail::max_inputs; ++i) {
      Rows<T>& input = inputs[i < inputs.size() ? i : 0];
      tile.from[i] = input.data();
      tile.from_step[i] = input.step();
    }
  }
  Problem(const Problem&) = delete;

  Index entries() const {
    return tile.per_column ? tile.columns : tile.row_step == 0 ? 1 : tile.rows;
  }

  /// The sums of a column, a row or all rows, element by element.
  template <class Terms>
  std::vector<Real> expected(const Terms& terms, const Kind& kind, Index entry) {
    std::vector<Real> sums(detail::max_sums, 0);
    for (Index r = 0; r < tile.rows; ++r) {
      for (Index c = 0; c < tile.columns; ++c) {
        if ((tile.per_column ? c : r * tile.row_step) != entry) continue;
        Real x[detail::max_inputs] = {}, of_element[detail::max_coefficients] = {};
        for (Size i = 0; i < inputs.size(); ++i) x[i] = static_cast<Real>(inputs[i](r, c));
        for (int i = 0; i < tile.coefficients; ++i) of_element[i] = k(i, entry);
        terms(kind, x, of_element, sums.data());
      }
    }
    return sums;
  }

  detail::FormulaOptions<C> options;
  CoefficientTables<C> k;
  std::vector<Rows<T>> inputs;
  detail::Tile<T> tile;
};

/// Totals begin with numbers that are still in them in the end; those around them stay.
template <class T, class Terms>
bool is_right(Random& random, const detail::KernelTable<T>& kernels, InstructionSet set,
              const Kind& kind, Index rows, Index columns, bool per_column, const Terms& terms) {
  using A = accumulator_t<T>;
  const Index width = kernels.width_of(set), lanes = per_column ? 1 : kernels.lanes_of(set);
  const Index margin = per_column ? width : 3;
  Problem<T> problem(random, kernels, kind, rows, columns, per_column, width);
  const Index entries = problem.entries();
  std::vector<A> totals[detail::max_sums];
  for (Size j = 0; j < detail::max_sums; ++j) {
    totals[j].assign(static_cast<Size>(margin + entries * lanes + 3), A(12345));
    problem.tile.sums[j] = totals[j].data() + margin;
  }
  kernels(set, problem.tile);
  for (Index entry = 0; entry < entries; ++entry) {
    const std::vector<Real> expected = problem.expected(terms, kind, entry);
    for (Size j = 0; j < detail::max_sums; ++j) {
      Real sum = 0;
      for (Index lane = 0; lane < lanes; ++lane) {
        A& total = problem.tile.sums[j][entry * lanes + lane];
        sum += static_cast<Real>(total) - 12345;
        total = A(12345);
      }
      if (sum != expected[j]) return false;
    }
  }
  for (const std::vector<A>& each : totals) {
    for (const A& total : each) {
      if (total != A(12345)) return false;
    }
  }
  return true;
}

/// One row of one channel in the type of the totals.
template <class T, class Terms>
bool is_right_in_accumulator(Random& random, const detail::KernelTable<T>& kernels,
                             const Kind& kind, Index columns, const Terms& terms) {
  using A = accumulator_t<T>;
  Problem<T> problem(random, kernels, kind, 1, columns, false, 1);
  A totals[detail::max_sums] = {A(100), A(-100)};
  for (Size j = 0; j < detail::max_sums; ++j) problem.tile.sums[j] = &totals[j];
  kernels.in_accumulator(problem.tile);
  const std::vector<Real> expected = problem.expected(terms, kind, 0);
  return totals[0] == static_cast<A>(expected[0] + 100) &&
         totals[1] == static_cast<A>(expected[1] - 100);
}

template <class T, class Terms>
void check_all(const detail::KernelTable<T>& kernels, bool gradients, const Terms& terms) {
  Random random(32);
  const auto random_kind = [&] {
    return Kind{gradients && random.below(2) == 0, gradients && random.below(2) == 0,
                random.below(2) == 0};
  };
  for (const InstructionSet set : instruction_sets_here()) {
    const Index width = kernels.width_of(set);
    for (const bool per_column : {false, true}) {
      if (!per_column && !takes_all_tiles(kernels, set)) continue;
      const auto check = [&](Index rows, Index columns) {
        const Kind kind = random_kind();
        INFO(rows << " rows of " << columns << ", per column " << per_column << ", rectified "
                  << kind.rectified << ", residual " << kind.residual << ", one channel "
                  << kind.one_channel << ", instruction set " << static_cast<int>(set));
        CHECK(is_right(random, kernels, set, kind, rows, columns, per_column, terms));
      };
      for_tile_shapes(width, check);
      // More than are summed before totals are joined.
      for (const Index many : {31, 32, 33, 50}) {
        check(many, width + 3);
        check(2, many * width + 5);
      }
    }
  }
  for (Index columns = 0; columns < 40; ++columns) {
    CHECK(is_right_in_accumulator(random, kernels, random_kind(), columns, terms));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a tile of the sums of moments", "", float, double, long double, Eigen::half,
                   Eigen::bfloat16) {
  check_all<TestType>(detail::reduce_kernels<detail::MomentSums, TestType>, false, moment_terms);
}

TEMPLATE_TEST_CASE("a tile of the sums of gradients", "", float, double, long double, Eigen::half,
                   Eigen::bfloat16) {
  using Source = detail::FromInput<parameter_t<TestType>>;
  check_all<TestType>(detail::reduce_kernels<detail::GradientTerms<Source>, TestType>, true,
                      gradient_terms);
}
