// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DISTRIBUTED_EXCHANGE_REFERENCE_HPP
#define BATCHNORM_DISTRIBUTED_EXCHANGE_REFERENCE_HPP

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class Exchange, class = void>
inline constexpr bool has_sum = false;
template <class Exchange>
inline constexpr bool has_sum<
    Exchange, std::void_t<decltype(std::declval<Exchange&>().sum(
                  std::declval<const double*>(), std::size_t{}, std::declval<double*>()))>> = true;

/// Something that exchanges messages between ranks, whatever its type is: two function pointers and
/// an address. Counts calls, and lets none follow an exchange that has failed.
class ExchangeReference {
 public:
  template <class Exchange>
  explicit ExchangeReference(Exchange& exchange)
      : exchange_(&exchange),
        gather_([](void* stored, const void* mine, std::size_t bytes, void* all) {
          (*static_cast<Exchange*>(stored))(mine, bytes, all);
        }) {
    if constexpr (has_sum<Exchange>) {
      sum_ = [](void* stored, const double* mine, std::size_t n, double* all) {
        static_cast<Exchange*>(stored)->sum(mine, n, all);
      };
    }
  }

  bool can_sum() const { return sum_ != nullptr; }
  std::uint64_t calls() const { return calls_; }

  /// One call more, of as many exchanges as it takes.
  /// @throws std::runtime_error when an exchange did not end
  void begin_call() {
    if (exchanging_) {
      raise_runtime_error(
          rule_text("Synchronize", "after an exchange that failed, ranks no longer agree",
                    "another Synchronize, with an exchange (an MPI communicator) of its own",
                    text("a call after the exchange of call ", calls_, " has failed")));
    }
    ++calls_;
  }

  /// The bytes of all ranks, one after the other.
  void gather(const void* mine, std::size_t bytes, void* all) {
    exchanging_ = true;
    gather_(exchange_, mine, bytes, all);
    exchanging_ = false;
  }
  /// The sums over all ranks, the same bits on all.
  void sum(const double* mine, std::size_t n, double* all) {
    exchanging_ = true;
    sum_(exchange_, mine, n, all);
    exchanging_ = false;
  }

 private:
  void* exchange_;
  void (*gather_)(void*, const void*, std::size_t, void*);
  void (*sum_)(void*, const double*, std::size_t, double*) = nullptr;
  std::uint64_t calls_ = 0;
  bool exchanging_ = false;  ///< stays true when an exchange leaves with an exception
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DISTRIBUTED_EXCHANGE_REFERENCE_HPP
