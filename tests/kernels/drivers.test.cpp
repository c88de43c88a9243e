// SPDX-License-Identifier: MIT
// The drivers visit every element exactly once, with the coefficients of its channel, write nothing
// beside, and give no kernel less than a unit of memory without a margin: for every order of axes,
// strides, gaps and directions, whatever the width of the kernels, the size of the caches and the
// number of threads.
#include <algorithm>
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

/// One array that is mapped in place and another that is mapped into a third, with coefficients 0
/// and 1.
class MapProblem {
 public:
  MapProblem(const Shape& shape, const Storage& first, const Storage& second)
      : channels_(shape.channels),
        in_place_(numbered(shape, first)),
        x_(numbered(shape, second)),
        y_(shape, first, -7.0),
        right_in_place_(in_place_),
        right_y_(y_) {
    right_in_place_.each([](double& e, Index, Index c, Index) { e += static_cast<double>(3 * c); });
    double number = 0;
    right_y_.each(
        [&](double& e, Index, Index c, Index) { e = ++number + static_cast<double>(3 * c + 1); });
  }

  bool maps_once(const Execution& execution, int width) const {
    Array<double> in_place = in_place_, x = x_, y = y_;
    const auto kernels = spy_kernels(spy_map, width, 2);
    const SpiedCoefficients source(channels_, 2, width == 8);
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
    return in_place.memory() == right_in_place_.memory() && y.memory() == right_y_.memory() &&
           units_are_whole(in_place, width);
  }

 private:
  Index channels_;
  Array<double> in_place_, x_, y_, right_in_place_, right_y_;
};

/// Takes the sums of the first attempt, or wants another one for every third channel.
class SpiedReduction : public detail::Reduction<double> {
 public:
  SpiedReduction(std::size_t channels, Outcome wanted) : wanted_(wanted) {
    for (auto& each : sums) each.assign(channels, -7.0);
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
class ReduceProblem {
 public:
  ReduceProblem(const Shape& shape, const Storage& first, const Storage& second)
      : x_(numbered(shape, first)), weights_(shape, second, -7.0) {
    weights_.each(
        [](double& e, Index n, Index c, Index p) { e = static_cast<double>((n + 2 * c + p) % 5); });
    data_.from = {x_.view().data(), weights_.view().data()};
    data_.inputs = 2;
    const detail::Plan plan = this->plan();
    const bool some = shape.channels > 6 && !plan.traversal().channels_wrap();
    begin_ = some ? 2 : 0;
    end_ = some ? shape.channels - 3 : shape.channels;
    for (auto& each : right_) each.assign(static_cast<std::size_t>(shape.channels), -7.0);
    for (auto& each : right_) std::fill(each.begin() + begin_, each.begin() + end_, 0.0);
    x_.each([&](double& e, Index n, Index c, Index p) {
      if (c < begin_ || c >= end_) return;
      const double term = e - static_cast<double>(3 * c);
      right_[0][static_cast<std::size_t>(c)] += term;
      right_[1][static_cast<std::size_t>(c)] += term * weights_.at(n, c, p);
    });
  }
  ReduceProblem(const ReduceProblem&) = delete;
  ReduceProblem& operator=(const ReduceProblem&) = delete;

  bool reduces_once(const Execution& execution, int width, Outcome wanted) const {
    SpiedReduction reduction(right_[0].size(), wanted);
    const auto kernels = spy_kernels(spy_sums, width, 1);
    const SpiedCoefficients source(static_cast<Index>(right_[0].size()), 1, width == 8);
    const auto call = call_of(kernels, source);
    const detail::Plan plan = this->plan();
    spied_tiles().clear();
    detail::Reducer<double>(reduction, call, data_, plan, 2).run(execution, begin_, end_);
    return reduction.sums[0] == right_[0] && reduction.sums[1] == right_[1] &&
           units_are_whole(x_, width);
  }

 private:
  detail::Plan plan() const {
    const detail::ViewShape inputs[] = {detail::ViewShape(x_.view()),
                                        detail::ViewShape(weights_.view())};
    return detail::plan_of(data_, nullptr, inputs);
  }

  Array<double> x_, weights_;
  detail::Operands<double> data_;
  Index begin_ = 0, end_ = 0;
  std::vector<double> right_[2];
};

}  // namespace

TEST_CASE("every element is mapped once") {
  for (const Shape& shape : small_shapes()) {
    const std::vector<Storage> storages = all_storages();
    for (std::size_t i = 0; i < storages.size(); ++i) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", storage "
                         << i);
      const MapProblem alike(shape, storages[i], storages[i]);
      const MapProblem other(shape, storages[i], storages[(5 * i + 7) % storages.size()]);
      for (const int width : {1, 8, 16}) {
        for (const std::ptrdiff_t level_3 : {std::ptrdiff_t{2048}, std::ptrdiff_t{1} << 30}) {
          const Caches caches(1024, level_3);
          CHECK(alike.maps_once(Execution(), width));
          CHECK(other.maps_once(Execution(), width));
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
      const ReduceProblem alike(shape, storages[i], storages[i]);
      const ReduceProblem other(shape, storages[i], storages[(5 * i + 7) % storages.size()]);
      for (const int width : {4, 8, 16}) {
        for (const Outcome wanted :
             {Outcome::done, Outcome::retry, Outcome::retry_in_accumulator}) {
          CHECK(alike.reduces_once(Execution(), width, wanted));
          if (wanted != Outcome::done) continue;
          CHECK(other.reduces_once(Execution(), width, wanted));
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
      const MapProblem mapped(shape, storages[i], storages[i]);
      const ReduceProblem reduced(shape, storages[i], storages[i]);
      for (const Index threads : {1, 5}) {
        if (threads == 1 && i % 6 != 0) continue;
        CHECK(mapped.maps_once(on_threads(threads), 8));
        CHECK(reduced.reduces_once(on_threads(threads), 8, Outcome::done));
      }
    }
  }
}
