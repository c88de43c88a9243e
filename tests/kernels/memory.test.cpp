// SPDX-License-Identifier: MIT
// What is prefetched is read later, in every operand at once; what is stored past the cache is what
// was computed.
#include "batchnorm/kernels/instructions.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "batchnorm/layer.hpp"
#include "kernels/spies.hpp"
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr std::ptrdiff_t ample = std::ptrdiff_t{1} << 30;

/// The order of axes by letters: channels are C, samples N, positions P.
constexpr Storage ncp = {{0, 1, 2}, 1, 0, {false, false, false}};
constexpr Storage ncp_gaps = {{0, 1, 2}, 1, 5, {false, false, false}};
constexpr Storage npc = {{0, 2, 1}, 1, 0, {false, false, false}};
constexpr Storage npc_gaps = {{0, 2, 1}, 1, 5, {false, false, false}};
constexpr Storage cnp = {{1, 0, 2}, 1, 0, {false, false, false}};

/// A map or reduction of two arrays, the tiles of which are noted.
struct Walk {
  Walk(const Shape& walked, const Storage& first, const Storage& second)
      : shape(walked), x(numbered(shape, first)), r(numbered(shape, second)), y(x) {
    data.from = {x.view().data(), r.view().data()};
    data.inputs = 2;
  }
  void map() {
    const detail::Operands<double> mapped = with_output();
    detail::map<double>(Execution(), call(maps), mapped, outputs, inputs);
  }
  /// Maps some channels, with others behind them.
  void map_channels(Index first, Index last) {
    const detail::Operands<double> mapped = with_output();
    const auto mapping = call(maps);
    detail::Mapper<double>(mapping, mapped, detail::plan_of(mapped, outputs, inputs))
        .run_channels(InstructionSet::best, first, last, shape.channels);
  }
  void reduce() {
    spied_tiles().clear();
    const auto reducing = call(reductions);
    const detail::Plan plan = detail::plan_of(data, nullptr, inputs);
    const std::size_t channels = static_cast<std::size_t>(shape.channels);
    std::vector<double> sums[] = {std::vector<double>(channels), std::vector<double>(channels)};
    const detail::RegionReducer<double> reducer(reducing, data, plan, 2);
    const detail::Partition partition(plan.traversal(), 0, shape.channels);
    for (Index block = 0; block < partition.blocks(); ++block) {
      for (Index slice = 0; slice < partition.slices(); ++slice) {
        reducer.run(InstructionSet::best, partition.region(block, slice), false,
                    {sums[0].data(), sums[1].data()});
      }
    }
  }

  detail::FormulaCall<double> call(const detail::KernelTable<double>& kernels) const {
    return {kernels, source, detail::FormulaOptions<double>{1, 1}};
  }
  detail::Operands<double> with_output() {
    spied_tiles().clear();
    detail::Operands<double> mapped = data;
    mapped.to[0] = y.view().data();
    mapped.outputs = 1;
    return mapped;
  }

  Shape shape;
  Array<double> x, r, y;
  detail::Operands<double> data;
  detail::ViewShape outputs[1] = {detail::ViewShape(y.view())};
  detail::ViewShape inputs[2] = {detail::ViewShape(x.view()), detail::ViewShape(r.view())};
  detail::KernelTable<double> maps = spy_kernels(spy_map, 8, 1);
  detail::KernelTable<double> reductions = spy_kernels(spy_sums, 8, 1);
  SpiedCoefficients source{shape.channels, 1, true};
};

/// For every element of an array which of the rows that kernels were given reads it; -1 for gaps.
std::vector<std::ptrdiff_t> readers(const Array<double>& array, std::size_t input) {
  std::vector<std::ptrdiff_t> reader(array.memory().size(), -1);
  std::ptrdiff_t number = 0;
  for (const SpiedTile& tile : spied_tiles()) {
    for (Index row = 0; row < tile.rows; ++row) {
      const double* const first = tile.from[input] + row * tile.from_step[input];
      std::fill_n(reader.begin() + (first - array.memory().data()), tile.columns, number++);
    }
  }
  return reader;
}

struct Prefetched {
  std::size_t later = 0;    ///< is read by this row or a later one
  std::size_t earlier = 0;  ///< has been read before
};

/// What becomes of the first element that every row prefetches.
Prefetched prefetched(const Array<double>& array, std::size_t input) {
  const std::vector<std::ptrdiff_t> reader = readers(array, input);
  Prefetched found;
  std::ptrdiff_t number = 0;
  for (const SpiedTile& tile : spied_tiles()) {
    for (Index row = 0; row < tile.rows; ++row, ++number) {
      const std::ptrdiff_t at = tile.from[input] - array.memory().data() +
                                row * tile.from_step[input] + tile.ahead[input];
      const bool inside = at >= 0 && at < static_cast<std::ptrdiff_t>(reader.size());
      if (!tile.prefetch || !inside || reader[static_cast<std::size_t>(at)] < 0) continue;
      ++(reader[static_cast<std::size_t>(at)] >= number ? found.later : found.earlier);
    }
  }
  return found;
}

void check_prefetched(const Walk& walk) {
  REQUIRE(!spied_tiles().empty());
  for (const auto& [array, input] : {std::pair{&walk.x, std::size_t{0}}, {&walk.r, 1}}) {
    INFO("input " << input);
    const Prefetched found = prefetched(*array, input);
    CHECK(found.later > 50);
    CHECK(16 * found.earlier <= found.later);
  }
  // Rows are prefetched at the same place of every input; elements have the same numbers in both.
  if (walk.shape.positions > 1) return;
  const double* const end_x = walk.x.memory().data() + walk.x.memory().size();
  const double* const end_r = walk.r.memory().data() + walk.r.memory().size();
  for (const SpiedTile& tile : spied_tiles()) {
    if (!tile.prefetch || !tile.per_column) continue;
    if (end_x - tile.from[0] <= tile.ahead[0] || end_r - tile.from[1] <= tile.ahead[1]) continue;
    CHECK(tile.from[0][tile.ahead[0]] == tile.from[1][tile.ahead[1]]);
  }
}

}  // namespace

TEST_CASE("what is prefetched from memory is read next, in every input") {
  struct Case {
    Shape shape;
    Storage first, second;
  };
  for (const Case& each : {Case{{3000, 60, 1}, npc, npc_gaps},
                           {{40, 36, 100}, npc_gaps, npc},
                           {{3000, 5, 11}, npc, npc},
                           {{60, 33, 83}, ncp, ncp_gaps},
                           {{200, 65, 12}, ncp, ncp},
                           {{7, 9, 3000}, ncp, ncp_gaps},
                           {{7, 9, 3000}, cnp, ncp}}) {
    INFO(each.shape.samples << " x " << each.shape.channels << " x " << each.shape.positions);
    Walk walk(each.shape, each.first, each.second);
    {
      const Caches caches(1 << 20, 1 << 16);  // written past the cache
      walk.map();
      check_prefetched(walk);
    }
    walk.reduce();
    check_prefetched(walk);
  }
}

TEST_CASE("maps within the caches prefetch nothing") {
  const Caches caches(1 << 20, ample);
  for (const Storage& storage : {npc, ncp, cnp}) {
    Walk walk({100, 60, 4}, storage, storage);
    walk.map();
    CHECK(std::none_of(spied_tiles().begin(), spied_tiles().end(),
                       [](const SpiedTile& tile) { return tile.prefetch; }));
  }
}

TEST_CASE("while channels are mapped, the same places of the next ones are prefetched") {
  const Caches caches(1 << 20, 1 << 16);
  Walk walk({5, 12, 300}, ncp, ncp_gaps);
  walk.map_channels(3, 5);
  REQUIRE(!spied_tiles().empty());
  for (const SpiedTile& tile : spied_tiles()) {
    CHECK(tile.prefetch);
    for (const auto& [array, input] : {std::pair{&walk.x, std::size_t{0}}, {&walk.r, 1}}) {
      const auto view = array->view();
      CHECK(tile.ahead[input] == 2 * view.channel_stride());
      CHECK(*(tile.from[input] + tile.ahead[input]) == *tile.from[input] + 2 * 300);
    }
  }
}

TEMPLATE_TEST_CASE("outputs that are stored past the cache are those that are stored in it", "",
                   float, double, Eigen::half, long double) {
  Options options;
  options.epilogue = Epilogue::leaky_relu(0.25);
  for (const Shape& shape :
       {Shape{40, 33, 3}, {6, 9, 300}, {3, 2, 5000}, {700, 5, 1}, {9, 37, 9}}) {
    State<TestType> state(shape.channels);
    for (Index c = 0; c < shape.channels; ++c) {
      state.running_mean[c] = static_cast<parameter_t<TestType>>(c % 5);
      state.gamma[c] = static_cast<parameter_t<TestType>>(c % 3 + 1);
    }
    const FrozenBatchNorm<TestType> layer(state, options);
    for (const Storage& storage : all_storages()) {
      Array<TestType> x(shape, storage, TestType(3)), cached = x, streamed = x;
      int number = 0;
      x.each([&](TestType& e, Index, Index, Index) {
        e = static_cast<TestType>(static_cast<float>(number++ % 19 - 9));
      });
      const auto in = static_cast<const Array<TestType>&>(x).view();
      {
        const Caches caches(4096, ample);
        layer(with_residual(in, in), cached.view());
      }
      const Caches caches(4096, 4096);
      layer(with_residual(in, in), streamed.view());
      CHECK(streamed.memory() == cached.memory());
      layer(with_residual(in, in), x.view());  // in place
      CHECK(x.memory() == cached.memory());
    }
  }
}
