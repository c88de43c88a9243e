// SPDX-License-Identifier: MIT
// Arrays with their axes in every order, dense and not, forwards and backwards.
#ifndef BATCHNORM_TESTS_SUPPORT_ARRAYS_HPP
#define BATCHNORM_TESTS_SUPPORT_ARRAYS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "batchnorm/view/batch_view.hpp"

namespace batchnorm_test {

/// How an array lies in memory.
struct Storage {
  std::array<std::size_t, 3> order;  ///< axes from the outermost to the innermost; 1 is channels
  batchnorm::Index step;             ///< of the innermost axis
  batchnorm::Index gap;              ///< elements between what lies along an axis
  std::array<bool, 3> reversed;      ///< by place in the order
};

inline std::vector<Storage> all_storages() {
  std::vector<Storage> all;
  std::array<std::size_t, 3> order = {0, 1, 2};
  do {
    all.push_back({order, 1, 0, {false, false, false}});
    all.push_back({order, 1, 3, {false, false, false}});
    all.push_back({order, 2, 0, {false, false, false}});
    all.push_back({order, 1, 0, {true, true, true}});
    all.push_back({order, 1, 1, {true, false, false}});
    all.push_back({order, 1, 0, {false, false, true}});
  } while (std::next_permutation(order.begin(), order.end()));
  return all;
}

struct Shape {
  batchnorm::Index samples, channels, positions;
  batchnorm::Index elements() const { return samples * channels * positions; }
};

template <class T>
class Array {
 public:
  using Index = batchnorm::Index;

  Array(const Shape& shape, const Storage& storage, const T& fill) : shape_(shape) {
    const Index sizes[] = {shape.samples, shape.channels, shape.positions};
    Index size = storage.step;
    for (std::size_t place = 3; place-- > 0;) {
      const std::size_t axis = storage.order[place];
      strides_[axis] = storage.reversed[place] ? -size : size;
      if (storage.reversed[place]) first_ += size * (sizes[axis] - 1);
      size = size * sizes[axis] + storage.gap;
    }
    memory_.assign(static_cast<std::size_t>(size), fill);
  }

  batchnorm::BatchView<T> view() { return view_of<T>(memory_.data() + first_); }
  batchnorm::BatchView<const T> view() const { return view_of<const T>(memory_.data() + first_); }
  T& at(Index n, Index c, Index p) {
    return memory_[static_cast<std::size_t>(first_ + n * strides_[0] + c * strides_[1] +
                                            p * strides_[2])];
  }
  const std::vector<T>& memory() const { return memory_; }

  /// Calls body(element, sample, channel, position).
  template <class Body>
  void each(const Body& body) {
    for (Index n = 0; n < shape_.samples; ++n) {
      for (Index c = 0; c < shape_.channels; ++c) {
        for (Index p = 0; p < shape_.positions; ++p) body(at(n, c, p), n, c, p);
      }
    }
  }

 private:
  template <class U>
  batchnorm::BatchView<U> view_of(U* first) const {
    return batchnorm::BatchView<U>(first, shape_.samples, shape_.channels, shape_.positions,
                                   strides_[0], strides_[1], strides_[2]);
  }

  Shape shape_;
  Index strides_[3] = {};
  Index first_ = 0;
  std::vector<T> memory_;
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_ARRAYS_HPP
