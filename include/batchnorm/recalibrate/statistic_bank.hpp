// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_STATISTIC_BANK_HPP
#define BATCHNORM_RECALIBRATE_STATISTIC_BANK_HPP

#include <Eigen/Core>
#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// One gamma and beta, and the statistics of several domains, each under a name: cameras, sites,
/// day and night. Which ones normalise is said in every call, never by the order of calls.
///
///     StatisticBank<float> bank(layer.state(), layer.options());   // its gamma and beta
///     bank.set("day", layer.state());                              // statistics of a state,
///     bank.set("night", moments_of(x));                            // or those of some data
///     bank.frozen("night")(x, y);
///
/// Training on several domains takes what a minibatch is normalised with from the minibatch, so
/// that only the commit has to know the domain:
///
///     bank.add("snow");                                            // nothing seen yet
///     BatchNorm<float> layer(bank.parameters(), bank.options());
///     const auto batch = layer.normalize(x, y);                    // backward as always
///     bank.commit("snow", batch);                                  // by the rule of the options
///     bank.set_parameters(layer.state());                          // once gamma and beta moved
///
/// Files: io/safetensors_bank.hpp. Every function that throws leaves the bank as it was. Shapes:
/// one number of channels for all. Cost: a few operations per channel, set_parameters for each
/// domain; a domain is found in a hash table. Thread safety: frozen() and all other const
/// functions may run concurrently. Source: Li et al. 2017 (arXiv:1603.04779), Li et al. 2021
/// (FedBN, arXiv:2102.07623).
///
/// @tparam T         scalar of the data
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
class StatisticBank {
 public:
  using Frozen = FrozenBatchNorm<T, Channels>;        ///< the inference path of a domain
  using Batch = Moments<accumulator_t<T>, Channels>;  ///< of a minibatch of a domain

  /// A bank without domains.
  /// @param parameters  a state whose gamma and beta are meant; its statistics are not taken
  /// @throws std::invalid_argument when its parts differ in size, or the options are wrong
  StatisticBank(const State<T, Channels>& parameters, const Options& options)
      : parameters_(parameters), options_(options) {
    detail::validate_for<T>(options);
    detail::check_state_shape("StatisticBank", parameters);
    parameters_.forget_statistics();
  }

  /// A domain, new or known, gets the statistics and counters of a state, which must be fresh.
  /// @throws what FrozenBatchNorm(state, options) throws, and std::invalid_argument for an empty
  ///         name or another number of channels
  void set(const std::string& domain, const State<T, Channels>& statistics) {
    check_name("StatisticBank::set", domain);
    detail::check_state_shape("StatisticBank::set", statistics);
    if (statistics.channels() != channels()) {
      detail::fail_argument("StatisticBank::set", "channels of the statistics",
                            detail::text(channels()), detail::text(statistics.channels()));
    }
    Domain next{statistics, {}};
    next.state.gamma = parameters_.gamma;
    next.state.beta = parameters_.beta;
    next.frozen = Frozen(next.state, options_);
    domains_[domain] = std::move(next);
  }

  /// The same from the moments of its data, with the variance that Options::running_variance asks
  /// for.
  /// @throws also what set_statistics(state, moments) throws
  void set(const std::string& domain, const Batch& moments) {
    State<T, Channels> state = parameters_;
    set_statistics(state, moments, options_.running_variance);
    set(domain, state);
  }

  /// A domain that has seen nothing yet, to be trained with commit().
  /// @throws std::invalid_argument for an empty name, or one that is taken
  void add(const std::string& domain) {
    check_name("StatisticBank::add", domain);
    if (contains(domain)) {
      detail::fail_argument("StatisticBank::add", "name of a new domain", "one that is free",
                            quoted(domain));
    }
    domains_[domain] = Domain{parameters_, {}};
  }

  /// Moves the statistics of a domain on, as BatchNorm::commit does.
  /// @throws what that throws, and std::invalid_argument for a domain that is not there
  void commit(const std::string& domain, const Batch& batch) {
    const Domain& now = find("StatisticBank::commit", domain);
    BatchNorm<T, Channels> layer(now.state, options_);
    layer.commit(batch);
    if (layer.state().batches_seen == 0) return;  // an empty minibatch
    set(domain, layer.state());
  }

  /// All domains get the gamma and beta of a state.
  /// @throws std::invalid_argument for another number of channels
  /// @throws std::domain_error for numbers that are not finite
  void set_parameters(const State<T, Channels>& parameters) {
    detail::check_state_shape("StatisticBank::set_parameters", parameters);
    if (parameters.channels() != channels()) {
      detail::fail_argument("StatisticBank::set_parameters", "channels of gamma and beta",
                            detail::text(channels()), detail::text(parameters.channels()));
    }
    StatisticBank next(parameters, options_);
    for (const std::string& name : domains()) {
      const Domain& domain = domains_.at(name);
      if (domain.frozen.channels() == 0) {
        next.add(name);
      } else {
        next.set(name, domain.state);
      }
    }
    *this = std::move(next);
  }

  /// The inference path of one domain. It stays where it is until the domain is set, committed to,
  /// erased, or gets other parameters.
  /// @throws std::invalid_argument for a domain that is not there, naming those that are
  /// @throws std::domain_error for one that has seen nothing
  const Frozen& frozen(const std::string& domain) const {
    const Domain& found = find("StatisticBank::frozen", domain);
    if (found.frozen.channels() == 0) {
      detail::fail_domain("StatisticBank::frozen", detail::text("statistics of ", quoted(domain)),
                          "those of some data", "none: it has seen nothing yet");
    }
    return found.frozen;
  }

  /// All of one domain: gamma, beta, its statistics and counters.
  /// @throws std::invalid_argument for a domain that is not there
  const State<T, Channels>& state(const std::string& domain) const {
    return find("StatisticBank::state", domain).state;
  }

  /// Whether there is such a domain. Errors: none.
  bool contains(const std::string& domain) const { return domains_.count(domain) != 0; }
  /// Forgets a domain, if it is there. Errors: none.
  void erase(const std::string& domain) { domains_.erase(domain); }
  /// The names of all domains, in alphabetical order.
  std::vector<std::string> domains() const {
    std::vector<std::string> names;
    for (const auto& entry : domains_) names.push_back(entry.first);
    std::sort(names.begin(), names.end());
    return names;
  }

  /// gamma and beta, as a state that has seen nothing.
  const State<T, Channels>& parameters() const { return parameters_; }
  /// What all domains are normalised and committed with.
  const Options& options() const { return options_; }
  /// Number of channels.
  Index channels() const { return parameters_.channels(); }

 private:
  struct Domain {
    State<T, Channels> state;
    Frozen frozen;  ///< empty until something was seen
  };

  static std::string quoted(const std::string& name) { return detail::text("\"", name, "\""); }

  static void check_name(const char* function, const std::string& domain) {
    if (!domain.empty()) return;
    detail::fail_argument(function, "name of a domain", "one letter or more", "none");
  }

  const Domain& find(const char* function, const std::string& domain) const {
    const auto found = domains_.find(domain);
    if (found != domains_.end()) return found->second;
    std::string known;
    for (const std::string& name : domains()) known += (known.empty() ? "" : ", ") + quoted(name);
    detail::fail_argument(function, "name of a domain",
                          known.empty() ? std::string("one that was set; there is none yet")
                                        : detail::text("one of ", known),
                          quoted(domain));
  }

  State<T, Channels> parameters_;
  Options options_;
  std::unordered_map<std::string, Domain> domains_;  // whose entries stay where they are
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_STATISTIC_BANK_HPP
