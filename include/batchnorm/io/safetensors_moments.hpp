// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_MOMENTS_HPP
#define BATCHNORM_IO_SAFETENSORS_MOMENTS_HPP

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/moments_bytes.hpp"
#include "batchnorm/version.hpp"

// Moments under a prefix such as "1." as tensors that any reader of safetensors understands:
//   1.moments.count             I64 of shape []
//   1.moments.weight            F64 of shape [], the sum of the weights: count without weights
//   1.moments.squared_weight    F64 of shape [], the sum of their squares
//   1.moments.weights           I64 of shape [], what they say: 0 frequency, or nothing was
//                               weighted; 1 reliability; 2 importance; left out where it is 0
//   1.moments.mean              F64 of one number per channel
//   1.moments.sum_of_squares    F64 of one number per channel

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline std::string moments_key(const std::string& prefix, const char* name) {
  return text(prefix, "moments.", name);
}

/// Copies one vector of moments, which must be one.
template <class Vector>
void read_moments_vector(const FileContext& context, const Tensors& tensors, const std::string& key,
                         Vector& numbers) {
  const std::vector<Index>& shape = tensors.shape(key);
  if (shape != std::vector<Index>{numbers.size()}) {
    fail_tensor(context, key, "shape", shape_text({numbers.size()}), shape_text(shape));
  }
  const auto values = tensors.values<typename Vector::Scalar>(key);
  for (Index channel = 0; channel < numbers.size(); ++channel) {
    numbers[channel] = values[static_cast<std::size_t>(channel)];
  }
}

}  // namespace detail

/// Puts moments into a collection, the tensors, that write_safetensors writes. Shapes: of any
/// number of channels. Cost: a copy of their numbers.
/// @param prefix  what the layer is called, with its dot, such as "1."; may be empty
/// @throws std::domain_error and std::invalid_argument as to_bytes. Nothing is changed then.
template <class T, int Channels>
void save_moments(Tensors& tensors, const std::string& prefix,
                  const Moments<T, Channels>& moments) {
  static_assert(std::is_floating_point<T>::value && std::numeric_limits<T>::digits <= 53,
                "batchnorm: moments are saved in double; convert those of a wider scalar first");
  detail::check_sound_moments("save_moments", moments);
  const auto key = [&](const char* name) { return detail::moments_key(prefix, name); };
  tensors.set_value(key("count"), static_cast<std::int64_t>(moments.count));
  tensors.set_value(key("weight"), moments.weight());
  tensors.set_value(key("squared_weight"), moments.squared_weight());
  const std::uint64_t kind = detail::number_of(moments.weights());
  if (kind != 0) tensors.set_value(key("weights"), static_cast<std::int64_t>(kind));
  tensors.set(key("mean"), moments.mean.template cast<double>());
  tensors.set(key("sum_of_squares"), moments.sum_of_squares.template cast<double>());
}

/// Takes moments out of a collection, the tensors, from under a prefix. Those that save_moments has
/// put in come back to the last bit. Cost: reads their elements.
/// @throws std::runtime_error naming file and tensor when one is missing or has another shape
/// @throws std::domain_error and std::invalid_argument as moments_from_bytes
template <class T = double, int Channels = Eigen::Dynamic>
Moments<T, Channels> load_moments(const Tensors& tensors, const std::string& prefix) {
  constexpr const char* function = "load_moments";
  const detail::FileContext context{function, tensors.name()};
  const auto key = [&](const char* name) { return detail::moments_key(prefix, name); };
  const std::vector<Index>& shape = tensors.shape(key("mean"));
  if (shape.size() != 1 || (Channels != Eigen::Dynamic && shape[0] != Channels)) {
    detail::fail_tensor(
        context, key("mean"), "shape",
        Channels == Eigen::Dynamic ? std::string("one axis") : detail::shape_text({Channels}),
        detail::shape_text(shape));
  }
  Moments<T, Channels> moments(shape[0]);
  moments.count = static_cast<Index>(tensors.value<std::int64_t>(key("count")));
  detail::read_moments_vector(context, tensors, key("mean"), moments.mean);
  detail::read_moments_vector(context, tensors, key("sum_of_squares"), moments.sum_of_squares);
  detail::check_sound_moments(function, moments);
  const double weight = tensors.value<double>(key("weight"));
  const double squared_weight = tensors.value<double>(key("squared_weight"));
  detail::check_weight(function, moments.count, weight, squared_weight);
  const std::uint64_t kind =
      tensors.contains(key("weights"))
          ? static_cast<std::uint64_t>(tensors.value<std::int64_t>(key("weights")))
          : 0;
  detail::check_weights_number(function, kind);
  moments.set_weight(weight, squared_weight, detail::weights_of_number[kind]);
  return moments;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_MOMENTS_HPP
