// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_SELECTED_HPP
#define BATCHNORM_KERNELS_SELECTED_HPP

#include <array>
#include <cstddef>
#include <memory>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/input.hpp"

// What the loops know of masks and weights: two interfaces. What stands behind them is compiled in
// programs that call masked() or weighted(), and nowhere else (math/masked.hpp).

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
struct FormulaCall;
template <class T>
struct Operands;
template <class T>
struct ReduceAndMap;
template <class T>
class Reduction;
template <class T>
class RegionReducer;

/// Operands of which a list of values is read, as if these were all that there are and lay densely:
/// rows and columns are those of the plan of such an array.
template <class T>
class Gathered {
 public:
  using Targets = std::array<accumulator_t<T>*, max_sums>;

  /// Packs `lines` lines of `length` elements of an operand (PackedTile::pack): across channels
  /// line i is row + i * row_step, from a column on; along channels it is column + i, from a row
  /// on.
  virtual void pack(std::size_t operand, T* to, Index step, Index column, Index row, Index lines,
                    Index length, Index row_step) const = 0;
  /// Whether a region of rows has to be summed by sum().
  virtual bool in_lines() const = 0;
  virtual void sum(const RegionReducer<T>& reducer, InstructionSet set, const Region& region,
                   bool in_accumulator, const Targets& into) const = 0;
  /// Adds some rows of a region to the totals of a tile, one per column.
  virtual void sum_rows(const RegionReducer<T>& reducer, InstructionSet set, const Tile<T>& model,
                        const Region& region, Index begin, Index end, Index columns) const = 0;

  Gathered() = default;
  Gathered(const Gathered&) = default;
  Gathered& operator=(const Gathered&) = default;
  virtual ~Gathered() = default;
};

/// Some channels of a loop that takes a few at a time.
struct ChannelRange {
  Index first;
  Index last;
  /// From a channel to the one that is read next at the same place; 0 where that is not known.
  Index next = 0;

  Index count() const { return last - first; }
};

/// Sums of what is masked, which are added to those of what counts.
template <class T>
class MaskedSums {
 public:
  virtual Reduction<T>& reduction() = 0;
  /// Adds the sums of the channels [first, last), and finishes with the coefficients of the map.
  virtual void join(Index first, Index last) = 0;
  /// Finishes them alone.
  virtual void finish(Index first, Index last) = 0;

  MaskedSums() = default;
  MaskedSums(const MaskedSums&) = delete;
  MaskedSums& operator=(const MaskedSums&) = delete;
  virtual ~MaskedSums() = default;
};

/// Which list of a selection a loop is about.
enum class ListOf {
  weighted,  ///< what counts, with its weights
  counted,   ///< what counts
  masked     ///< what does not, where it has a gradient all the same
};

/// The values that a mask or weights select, and the loops over them.
template <class T>
class SelectedValues {
 public:
  const Selection& what() const { return selection_; }
  Index count() const { return selection_.counted.count(); }
  /// Whether an output is like that of an input without a mask.
  bool maps_all() const { return selection_.output == MaskedOutput::normalize; }

  /// Reduces a list. Reads nothing of what is not on it.
  virtual void reduce(const Execution& execution, Reduction<T>& reduction,
                      const FormulaCall<T>& call, const Operands<T>& data, const ViewShape* inputs,
                      std::size_t sums, ListOf list, const ChannelRange& channels) const = 0;
  /// Reduces what counts, with its weights; and maps, some channels at a time, where that saves a
  /// pass over memory.
  /// @return whether it has mapped
  virtual bool reduce_and_map(const Execution& execution, const ReduceAndMap<T>& work,
                              const ViewShape* outputs, const ViewShape* inputs) const = 0;
  /// Maps what counts, and fills what does not.
  virtual void map(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
                   const ViewShape* outputs, const ViewShape* inputs) const = 0;
  /// The same with dL/dx, and with dL/dresidual as second output; for maps_all() with constant
  /// statistics instead of filling.
  ///
  /// @param masked_gradients  false where what is masked is known to have no gradient
  virtual void map_gradient(const Execution& execution, const FormulaCall<T>& call,
                            const Operands<T>& data, const ViewShape* outputs,
                            const ViewShape* inputs, const ChannelRange& channels,
                            bool masked_gradients) const = 0;
  /// Reduces what counts, and for maps_all() what is masked and has a gradient, the second operand.
  virtual void reduce_gradient(const Execution& execution, Reduction<T>& reduction,
                               const FormulaCall<T>& call, const Operands<T>& data,
                               MaskedSums<T>& masked, const ViewShape* inputs,
                               std::size_t sums) const = 0;
  /// The same, then maps gradients: some channels at a time where that saves a pass over memory.
  virtual void reduce_and_map_gradient(const Execution& execution, const ReduceAndMap<T>& work,
                                       MaskedSums<T>& masked, const ViewShape* outputs,
                                       const ViewShape* inputs) const = 0;

  /// Gives what does not count the output that was asked for: the input of a number, or 0.
  virtual void fill(const Execution& execution, const Operands<T>& data, const ViewShape* outputs,
                    const ViewShape* inputs, int kept_input) const = 0;

  SelectedValues(const SelectedValues&) = delete;
  SelectedValues& operator=(const SelectedValues&) = delete;
  virtual ~SelectedValues() = default;

 protected:
  explicit SelectedValues(Selection selection) : selection_(std::move(selection)) {}

 private:
  Selection selection_;
};

template <class T>
using SelectedPointer = std::unique_ptr<const SelectedValues<T>>;

/// What is selected of an input; null where that is everything, each value counting once.
template <class T>
SelectedPointer<T> selected_of(const char* function, const Input<T>& in) {
  if (in.mask() == nullptr) return nullptr;
  return in.mask()->select(function, *in.mask(), in.view());
}

/// How many values per channel count.
template <class T>
Index count_of(const SelectedPointer<T>& selected, const Input<T>& in) {
  return selected ? selected->count() : in.view().values_per_channel();
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_SELECTED_HPP
