// SPDX-License-Identifier: MIT
// The drivers visit every element exactly once, with the coefficients of its channel, write nothing
// beside, and give no kernel less than a unit of memory without a margin: for every order of axes,
// strides, gaps and directions, whatever the width of the kernels, the size of the caches and the
// number of threads.
#include <vector>

#include "batchnorm/kernels/fused.hpp"
#include "kernels/spies.hpp"
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using detail::Outcome;

namespace {

const auto from_the_end = [](Index tasks, Task task) {
  for (Index i = tasks - 1; i >= 0; --i) task(i);
};

Execution on_threads(Index threads) {
  return Execution::parallel_for(from_the_end, threads);
}

detail::FormulaCall<double> call_of(const detail::KernelTable<double>& kernels,
                                    const SpiedCoefficients& source) {
  return {kernels, source, detail::FormulaOptions<double>{1, 1}};
}

/// No kernel may be given less than a unit of what has no margin: an array of the caller's.
bool units_are_whole(const Array<double>& array, Index width) {
  const double* const begin = array.memory().data();
  const double* const end = begin + array.memory().size();
  return std::none_of(spied_tiles().begin(), spied_tiles().end(), [&](const SpiedTile& tile) {
    return tile.columns < width && tile.from[0] >= begin && tile.from[0] < end;
  });
}

/// Maps one array in place and another into a third, with coefficients 0 and 1.
bool maps_once(const Execution& execution, const Shape& shape, const Storage& first,
               const Storage& second, int width) {
  Array<double> in_place = numbered(shape, first), x = numbered(shape, second);
  Array<double> y(shape, first, -7.0);
  Array<double> right_in_place = in_place, right_y = y;
  right_in_place.each([](double& e, Index, Index c, Index) { e += static_cast<double>(3 * c); });
  double number = 0;
  right_y.each(
      [&](double& e, Index, Index c, Index) { e = ++number + static_cast<double>(3 * c + 1); });
  const auto kernels = spy_kernels(spy_map, width, 2);
  const SpiedCoefficients source(shape.channels, 2, width == 8);
  detail::Operands<double> data;
  data.from = {in_place.view().data(), x.view().data()};
  data.to = {in_place.view().data(), y.view().data()};
  data.inputs = data.outputs = 2;
  const detail::ViewShape outputs[] = {detail::ViewShape(in_place.view()),
                                       detail::ViewShape(y.view())};
  const detail::ViewShape inputs[] = {detail::ViewShape(in_place.view()),
                                      detail::ViewShape(x.view())};
  spied_tiles().clear();
  detail::map<double>(execution, call_of(kernels, source), data, outputs, inputs);
  return in_place.memory() == right_in_place.memory() && y.memory() == right_y.memory() &&
         units_are_whole(in_place, width);
}

/// Takes the sums of the first attempt, or wants another one for every third channel.
class SpiedReduction : public detail::Reduction<double> {
 public:
  SpiedReduction(Index channels, Outcome wanted) : wanted_(wanted) {
    for (auto& each : sums) each.assign(static_cast<std::size_t>(channels), -7.0);
  }
  double* result(std::size_t j) override { return sums[j].data(); }
  void prepare(const detail::Plan&, const detail::Operands<double>&, InstructionSet, Index,
               Index) override {}
  Index finish_many(Index first, Index last) override {
    return wanted_ == Outcome::done ? last : (std::min)(last, (first + 2) / 3 * 3);
  }
  Outcome finish(Index channel, int tried, bool) override {
    if (channel % 3 != 0 || tried > 0) return Outcome::done;
    for (auto& each : sums) each[static_cast<std::size_t>(channel)] = -9.0;
    return wanted_;
  }

  std::vector<double> sums[2];

 private:
  Outcome wanted_;
};

/// The sums of two arrays, in all channels or in some.
bool reduces_once(const Execution& execution, const Shape& shape, const Storage& first,
                  const Storage& second, int width, Outcome wanted) {
  Array<double> x = numbered(shape, first), weights = numbered(shape, second);
  weights.each(
      [](double& e, Index n, Index c, Index p) { e = static_cast<double>((n + 2 * c + p) % 5); });
  detail::Operands<double> data;
  data.from = {x.view().data(), weights.view().data()};
  data.inputs = 2;
  const detail::ViewShape inputs[] = {detail::ViewShape(x.view()),
                                      detail::ViewShape(weights.view())};
  const detail::Plan plan = detail::plan_of(data, nullptr, inputs);
  const bool some = shape.channels > 6 && !plan.traversal().channels_wrap();
  const Index begin = some ? 2 : 0, end = some ? shape.channels - 3 : shape.channels;
  SpiedReduction right(shape.channels, wanted), reduction = right;
  for (Index c = begin; c < end; ++c)
    right.sums[0][static_cast<std::size_t>(c)] = right.sums[1][static_cast<std::size_t>(c)] = 0;
  x.each([&](double& e, Index n, Index c, Index p) {
    if (c < begin || c >= end) return;
    const double term = e - static_cast<double>(3 * c);
    right.sums[0][static_cast<std::size_t>(c)] += term;
    right.sums[1][static_cast<std::size_t>(c)] += term * weights.at(n, c, p);
  });
  const auto kernels = spy_kernels(spy_sums, width, 1);
  const SpiedCoefficients source(shape.channels, 1, width == 8);
  const auto call = call_of(kernels, source);
  spied_tiles().clear();
  detail::Reducer<double>(reduction, call, data, plan, 2).run(execution, begin, end);
  return reduction.sums[0] == right.sums[0] && reduction.sums[1] == right.sums[1] &&
         units_are_whole(x, width);
}

}  // namespace

TEST_CASE("every element is mapped once") {
  for (const Shape& shape : small_shapes()) {
    const std::vector<Storage> storages = all_storages();
    for (std::size_t i = 0; i < storages.size(); ++i) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", storage "
                         << i);
      for (const int width : {1, 8, 16}) {
        for (const std::ptrdiff_t level_3 : {std::ptrdiff_t{2048}, std::ptrdiff_t{1} << 30}) {
          const Caches caches(1024, level_3);
          CHECK(maps_once(Execution(), shape, storages[i], storages[i], width));
          CHECK(maps_once(Execution(), shape, storages[i], storages[(5 * i + 7) % storages.size()],
                          width));
        }
      }
    }
  }
}

TEST_CASE("every element is reduced once") {
  for (const Shape& shape : small_shapes()) {
    const std::vector<Storage> storages = all_storages();
    for (std::size_t i = 0; i < storages.size(); ++i) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", storage "
                         << i);
      for (const int width : {4, 8, 16}) {
        for (const Outcome wanted :
             {Outcome::done, Outcome::retry, Outcome::retry_in_accumulator}) {
          CHECK(reduces_once(Execution(), shape, storages[i], storages[i], width, wanted));
          if (wanted != Outcome::done) continue;
          CHECK(reduces_once(Execution(), shape, storages[i],
                             storages[(5 * i + 7) % storages.size()], width, wanted));
        }
      }
    }
  }
}

TEST_CASE("the same with several threads, and with more than fits the caches") {
  const std::vector<Storage> storages = all_storages();
  for (const Shape& shape : large_shapes()) {
    for (std::size_t i = 0; i < storages.size(); ++i) {
      if (i % 6 > 1 && i != 2) continue;  // of every order dense ones and those with gaps
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", storage "
                         << i);
      const Caches caches(65536, i % 2 == 0 ? 65536 : 1 << 30);
      for (const Index threads : {1, 5}) {
        if (threads == 1 && i % 6 != 0) continue;
        CHECK(maps_once(on_threads(threads), shape, storages[i], storages[i], 8));
        CHECK(reduces_once(on_threads(threads), shape, storages[i], storages[i], 8, Outcome::done));
      }
    }
  }
}
