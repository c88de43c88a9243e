// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DETAIL_COLLECTIVE_HPP
#define BATCHNORM_DETAIL_COLLECTIVE_HPP

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// What a layer knows of calls that several ranks (processes, threads) make together. How they talk
// and what they say is distributed/synchronize.hpp, which programs for one machine never compile.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Two numbers per channel of some values: their means and sums of squares, or their two sums of
/// gradients.
struct ChannelShare {
  Index count = 0;  ///< values per channel
  double weight = 0.0;
  double squared_weight = 0.0;
  std::uint32_t weights = 0;  ///< what they say: 1 + Weights; 0 where every value counts once
  double* first = nullptr;
  double* second = nullptr;
};

enum class CollectiveKind : std::uint32_t { train, normalize, moments, backward, refusal };

/// A call as the ranks compare it.
struct CollectiveCall {
  const char* function = nullptr;  ///< for messages
  CollectiveKind kind = CollectiveKind::train;
  Index channels = 0;
  Index samples = 0;               ///< of this rank
  Index scalar = 0;                ///< see scalar_code
  std::uint64_t options = 0;       ///< see Fingerprint
  std::uint64_t state = 0;         ///< minibatches seen, or a fingerprint of the minibatch
  bool reject_non_finite = false;  ///< NaN and infinity of a rank refuse its minibatch
};

/// Computes the share of `samples` samples from `first` on. The first piece, which may be empty,
/// starts with sample 0: it checks the arguments of the whole call.
class CollectivePiece {
 public:
  template <class Body>
  explicit CollectivePiece(const Body& body)
      : body_(&body), call_([](const void* stored, Index first, Index samples, ChannelShare& to) {
          (*static_cast<const Body*>(stored))(first, samples, to);
        }) {}

  void operator()(Index first, Index samples, ChannelShare& to) const {
    call_(body_, first, samples, to);
  }

 private:
  const void* body_;
  void (*call_)(const void*, Index, Index, ChannelShare&);
};

/// The other ranks, as a layer sees them. No virtual functions: compilers guess which one is
/// called, and compile it in every program that trains.
class Collective {
 public:
  /// Computes the pieces of this rank and joins them with those of all others. `own` and `all` have
  /// room for the channels. All ranks get the same bits, or all fail with the same message.
  void combine(std::uint64_t layer, const CollectiveCall& call, const CollectivePiece& piece,
               ChannelShare& own, ChannelShare& all) {
    combine_(*this, layer, call, piece, own, all);
  }
  /// How many samples all ranks had in the last call.
  Index samples() const { return samples_; }
  /// Whether gradients of gamma and beta are those of all ranks.
  bool sums_parameter_gradients() const { return sums_parameter_gradients_; }

 protected:
  using Combine = void (*)(Collective& self, std::uint64_t layer, const CollectiveCall& call,
                           const CollectivePiece& piece, ChannelShare& own, ChannelShare& all);
  Collective(Combine ranks, bool whole_gradients)
      : combine_(ranks), sums_parameter_gradients_(whole_gradients) {}
  ~Collective() = default;

  Index samples_ = 0;

 private:
  Combine combine_;
  bool sums_parameter_gradients_;
};

/// Numbers that must be the same on all ranks, as one (FNV-1a, on words).
class Fingerprint {
 public:
  Fingerprint& add(std::uint64_t word) {
    value_ = (value_ ^ word) * 0x100000001b3u;
    value_ ^= value_ >> 29;
    return *this;
  }
  Fingerprint& add(double number) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &number, sizeof bits);
    return add(bits);
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

/// The scalar of a layer's data as a number, which messages make a name of again.
template <class T>
constexpr Index scalar_code() {
  return std::is_same<T, float>::value             ? 1
         : std::is_same<T, double>::value          ? 2
         : std::is_same<T, Eigen::half>::value     ? 3
         : std::is_same<T, Eigen::bfloat16>::value ? 4
                                                   : 0;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DETAIL_COLLECTIVE_HPP
