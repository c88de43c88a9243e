// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_LAYER_HANDLE_HPP
#define BATCHNORM_RECALIBRATE_LAYER_HANDLE_HPP

#include <Eigen/Core>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A layer that belongs to somebody else, with any way to say the number of its channels: what a
/// list of the layers of a network is made of. Made from a pointer to a layer, which must outlive
/// it. Shapes: one number per channel. Cost: a few operations per channel. Thread safety: that of
/// the layer; immutable itself.
template <class T>
class LayerHandle {
 public:
  /// Of the layer at this address.
  /// @throws std::invalid_argument for a null pointer
  template <int Channels>
  LayerHandle(BatchNorm<T, Channels>* layer)
      : layer_(layer), read_(&read<Channels>), options_(&options<Channels>), set_(&set<Channels>) {
    if (layer == nullptr) {
      detail::fail_argument("LayerHandle", "a layer", "its address", "a null pointer");
    }
  }

  /// Where the layer lies: what it is known by.
  const void* address() const { return layer_; }
  /// A copy of its state.
  /// @throws std::invalid_argument when the layer is empty, or the parts of its state differ in
  ///         size
  State<T> state() const { return read_(layer_); }
  /// Its options.
  const Options& options() const { return options_(layer_); }

  /// Gives the layer the statistics and the counters of a state, `from`, with as many channels.
  /// Errors: none.
  void set_statistics(const State<T>& from) const { set_(layer_, from); }

 private:
  template <int Channels>
  static BatchNorm<T, Channels>& layer(void* address) {
    return *static_cast<BatchNorm<T, Channels>*>(address);
  }
  template <int Channels>
  static State<T> read(void* address) {
    detail::check_state_shape("LayerHandle", layer<Channels>(address).state());
    return layer<Channels>(address).state().template cast<T, Eigen::Dynamic>();
  }
  template <int Channels>
  static const Options& options(void* address) {
    return layer<Channels>(address).options();
  }
  template <int Channels>
  static void set(void* address, const State<T>& from) {
    State<T, Channels>& state = layer<Channels>(address).state();
    for (Index channel = 0; channel < from.channels(); ++channel) {
      state.running_mean[channel] = from.running_mean[channel];
      state.running_variance[channel] = from.running_variance[channel];
    }
    detail::copy_history(from, state);
  }

  void* layer_;
  State<T> (*read_)(void*);
  const Options& (*options_)(void*);
  void (*set_)(void*, const State<T>&);
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_LAYER_HANDLE_HPP
