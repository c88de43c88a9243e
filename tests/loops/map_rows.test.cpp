// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map_rows.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "batchnorm/loops/fetch.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "loops/map_formulas.hpp"
#include "loops/map_memory.hpp"
#include "loops/region_sums.hpp"
#include "support/catch.hpp"

using batchnorm::InstructionSet;
using namespace batchnorm_test;
namespace loops = batchnorm::loops;
namespace simd = batchnorm::simd;

namespace {

constexpr std::size_t room = 5 * 640;
constexpr Index most_rows = 5;
template <class T>
using Memory = MapMemoryOf<T, room>;

/// How rows lie, and how they are gone through.
struct Way {
  loops::MapSteps<2, 2> steps;
  std::size_t first = 16;
  std::size_t apart = 0;  ///< elements that the second output lies after the first
  bool far = false;
};

/// Maps rows whose numbers are different in every column.
template <class C, class T>
struct MapsRows {
  using Job = loops::MapJob<C, Rounding, T, 2>;
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    simd::Vector<C, lanes> constants[3] = {};
    simd::broadcast<C, lanes>(constants[2], C(-0.3));
    loops::RowMapper<Job, lanes>(steps, {table[0], table[1]}, constants, {streaming, far, 0})
        .map(at, rows, columns);
  }
  loops::MapData<T, 2, 2> at;
  loops::MapSteps<2, 2> steps;
  Index rows, columns;
  const C* table[2];
  bool streaming = false;
  bool far = false;
};

/// The same with the first input and output alone.
template <class C, class T>
struct MapsOne {
  using Job = loops::MapJob<C, Line, T, 1>;
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    const simd::Vector<C, lanes> constants[3] = {};
    loops::RowMapper<Job, lanes>({{step}, {step}}, {table[0], table[1]}, constants,
                                 {streaming, far, 0})
        .map(at, most_rows, columns);
  }
  loops::MapData<T, 1, 1> at;
  Index step;
  Index columns;
  const C* table[2];
  bool streaming;
  bool far;
};

/// Numbers of every column.
template <class C>
struct ColumnTables {
  C first[640];
  C second[640];
  ColumnTables() {
    for (int c = 0; c < 640; ++c) {
      first[c] = C(1) / static_cast<C>(c + 3);
      second[c] = C(-7) / static_cast<C>(c + 3);
    }
  }
};

/// Some columns of a row, of which this is the number.
template <class T>
loops::MapData<T, 2, 2> at_column(loops::MapData<T, 2, 2> at, const loops::MapSteps<2, 2>& steps,
                                  Index row, Index column) {
  for (std::size_t i = 0; i < 2; ++i) {
    at.to[i] += row * steps.to[i] + column;
    at.from[i] += row * steps.from[i] + column;
  }
  return at;
}

/// Whether outputs are those of single elements in the first columns of some rows, and untouched
/// elsewhere.
template <class T>
bool mapped(const Memory<T>& memory, Memory<T>& single, const Way& way, Index rows, Index columns) {
  Memory<T> wanted(2);
  for (Index row = 0; row < rows; ++row) {
    const auto from = at_column(single.at(way.first, way.apart), way.steps, row, 0);
    const auto to = at_column(wanted.at(way.first, way.apart), way.steps, row, 0);
    for (std::size_t i = 0; i < 2; ++i) std::copy(from.to[i], from.to[i] + columns, to.to[i]);
  }
  return std::equal(wanted.out[0], wanted.out[0] + room, memory.out[0]) &&
         std::equal(wanted.out[1], wanted.out[1] + room, memory.out[1]);
}

/// Some of the columns that `widths` says, streamed or not, against all elements one by one.
template <class C, class T>
void check_rows(const Way& way, const std::vector<Index>& widths) {
  static const ColumnTables<C> tables;
  for (const InstructionSet set : instruction_sets) {
    Memory<T> single(2);
    for (Index row = 0; row < most_rows; ++row) {
      for (Index c = 0; c < widths.back(); ++c) {
        const auto at = at_column(single.at(way.first, way.apart), way.steps, row, c);
        simd::dispatch(set, MapsRows<C, T>{at, {}, 1, 1, {tables.first + c, tables.second + c}});
      }
    }
    REQUIRE(!(single.out[1][way.first + way.apart] == Memory<T>::untouched()));
    for (const Index columns : widths) {
      for (const Index rows : {Index{0}, Index{1}, Index{2}, Index{3}, most_rows}) {
        for (const bool streaming : {false, true}) {
          Memory<T> memory(2);
          simd::dispatch(set, MapsRows<C, T>{memory.at(way.first, way.apart),
                                             way.steps,
                                             rows,
                                             columns,
                                             {tables.first, tables.second},
                                             streaming,
                                             way.far});
          simd::finish_streaming();
          if (mapped(memory, single, way, rows, columns)) continue;
          FAIL_CHECK(rows << " rows of " << columns << ", " << way.steps.to[0] << " and "
                          << way.steps.to[1] << " apart, from " << way.first << " on, streaming "
                          << streaming << ", far " << way.far << ", elements of " << sizeof(T)
                          << " bytes");
        }
      }
    }
  }
}

/// Rows of inputs and outputs that are as far apart.
loops::MapSteps<2, 2> all(Index step) {
  return {{step, step}, {step, step}};
}

/// Widths around vectors, pairs of them, and the shortest row that is streamed.
const std::vector<Index> short_rows = {1, 3, 4, 5, 8, 15, 31, 32, 33, 64, 71, 90};

/// Rows that stay aligned, and rows that do not.
template <class C, class T>
void check_short_rows() {
  for (const Index step : {100, 104, 128}) {
    for (const std::size_t first : std::vector<std::size_t>{16, 17, 19, 24}) {
      check_rows<C, T>({all(step), first}, short_rows);
    }
  }
}

/// Rows so long that more of them are asked for ahead when they are far away; the memory ends soon
/// after the last one.
template <class C, class T>
void check_far_rows() {
  const Index longest = 600;
  REQUIRE(loops::RowFetcher<T, 2, loops::Nearness::first_level, 4096>::pays(longest));
  for (const Index step : {600, 617, 640}) {
    check_rows<C, T>({all(step), 16, 0, true}, {33, 530, longest - 16});
  }
}

/// One input and one output.
template <class C, class T>
void check_far_rows_of_one() {
  static const ColumnTables<C> tables;
  for (const InstructionSet set : instruction_sets) {
    for (const Index step : {600, 640}) {
      const auto maps = [&](Memory<T>& memory, bool streaming, bool far) {
        simd::dispatch(set, MapsOne<C, T>{{{memory.out[0] + 16}, {memory.in[0] + 17}},
                                          step,
                                          590,
                                          {tables.first, tables.second},
                                          streaming,
                                          far});
        simd::finish_streaming();
      };
      Memory<T> near(3);
      maps(near, false, false);
      for (const bool streaming : {false, true}) {
        Memory<T> far(3);
        maps(far, streaming, true);
        INFO("step " << step << ", streaming " << streaming << ", " << sizeof(T) << " bytes");
        CHECK(std::equal(near.out[0], near.out[0] + room, far.out[0]));
        CHECK(!(far.out[0][16 + 4 * step + 589] == Memory<T>::untouched()));
      }
    }
  }
}

}  // namespace

TEST_CASE("an element of a row has the same bits wherever it stands, streamed or not") {
  check_short_rows<float, float>();
  check_short_rows<double, double>();
  check_short_rows<float, Eigen::half>();
  check_short_rows<float, Eigen::bfloat16>();
}

TEST_CASE("rows of outputs that are not aligned alike, or that lose that, are mapped as well") {
  check_rows<float, float>({all(128), 16, 1}, short_rows);
  check_rows<float, float>({all(128), 16, 4}, short_rows);
  check_rows<float, float>({{{128, 100}, {100, 100}}, 16}, short_rows);
  check_rows<float, float>({{{100, 128}, {128, 100}}, 24, 8}, short_rows);
  check_rows<double, double>({{{127, 128}, {100, 128}}, 16, 2}, short_rows);
}

TEST_CASE("asking for far rows ahead changes nothing") {
  check_far_rows<float, float>();
  check_far_rows<double, double>();
  check_far_rows<float, Eigen::half>();
  check_far_rows<float, Eigen::bfloat16>();
  check_far_rows_of_one<float, float>();
  check_far_rows_of_one<double, double>();
  check_far_rows_of_one<float, Eigen::bfloat16>();
}

TEST_CASE("rows of inputs may lie backwards, or one over the other") {
  static const ColumnTables<float> tables;
  for (const InstructionSet set : instruction_sets) {
    for (const bool far : {false, true}) {
      for (const Index step : {-300, 0}) {
        const loops::MapSteps<2, 2> steps = {{300, 300}, {step, step}};
        const auto last_row_first = [](Memory<float>& memory) {
          loops::MapData<float, 2, 2> at = memory.at(16);
          for (const float*& from : at.from) from += 4 * 300;
          return at;
        };
        Memory<float> memory(4), wanted(4);
        simd::dispatch(
            set,
            MapsRows<float, float>{
                last_row_first(memory), steps, 5, 280, {tables.first, tables.second}, false, far});
        for (Index row = 0; row < 5; ++row) {
          simd::dispatch(set,
                         MapsRows<float, float>{at_column(last_row_first(wanted), steps, row, 0),
                                                steps,
                                                1,
                                                280,
                                                {tables.first, tables.second}});
        }
        INFO("step " << step << ", far " << far);
        for (int output = 0; output < 2; ++output) {
          CHECK(std::equal(wanted.out[output], wanted.out[output] + room, memory.out[output]));
        }
      }
    }
  }
}
