// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_BANK_HPP
#define BATCHNORM_IO_SAFETENSORS_BANK_HPP

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/safetensors_state.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/recalibrate/statistic_bank.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// A statistic bank under a prefix such as "1.": gamma and beta once, and each domain as the batch
// norm without scale and shift that it is, so that other readers can take one of them.
//   1.weight                             gamma, unless Options::scale is false
//   1.bias                               beta, unless Options::shift is false
//   1.domains.night.running_mean         of the domain "night", as in safetensors_state.hpp
//   1.domains.night.running_var
//   1.domains.night.num_batches_tracked
// with the counters and the options of each in the metadata, as of every layer.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline std::string domains_prefix(const std::string& prefix) {
  return prefix + "domains.";
}

/// Options of a domain: those of the bank without scale and shift, which stand elsewhere.
inline Options domain_options(const Options& options) {
  Options of_domain = options;
  of_domain.scale = of_domain.shift = false;
  return of_domain;
}

/// The names of the domains that a file has under this prefix.
inline std::vector<std::string> stored_domains(const Tensors& tensors, const std::string& prefix) {
  const std::string beginning = domains_prefix(prefix), ending = ".running_mean";
  std::vector<std::string> names;
  for (const std::string& key : tensors.keys(beginning)) {
    if (key.size() <= beginning.size() + ending.size()) continue;
    const std::size_t end = key.size() - ending.size();
    if (key.compare(end, ending.size(), ending) != 0) continue;
    names.push_back(key.substr(beginning.size(), end - beginning.size()));
  }
  return names;
}

/// Removes a bank, if there is one.
inline void erase_bank(Tensors& tensors, const std::string& prefix) {
  for (const std::string& domain : stored_domains(tensors, prefix)) {
    const std::string of_domain = domains_prefix(prefix) + domain + ".";
    for (const char* const name : {"running_mean", "running_var", "num_batches_tracked"}) {
      tensors.erase(of_domain + name);
    }
    tensors.metadata().erase(metadata_key(of_domain));
  }
  tensors.erase(prefix + "weight");
  tensors.erase(prefix + "bias");
}

/// gamma or beta of a file, which must fit the domains.
template <class Vector>
void read_parameters(const Tensors& tensors, const std::string& key, Vector& numbers) {
  using Scalar = typename Vector::Scalar;
  const std::vector<Index>& shape = tensors.shape(key);
  if (shape != std::vector<Index>{numbers.size()}) {
    fail_tensor(FileContext{"load_bank", tensors.name()}, key, "shape",
                shape_text({numbers.size()}), shape_text(shape));
  }
  const auto values = tensors.values<double>(key);
  for (Index channel = 0; channel < numbers.size(); ++channel) {
    numbers[channel] = convert<Scalar>(values[static_cast<std::size_t>(channel)]);
  }
}

/// The options of a bank, which all domains have been saved with.
inline Options read_bank_options(const char* function, const Tensors& tensors,
                                 const std::string& prefix,
                                 const std::vector<std::string>& domains) {
  const auto of_domain = [&](const std::string& domain) {
    return load_options_for(function, tensors, domains_prefix(prefix) + domain + ".");
  };
  Options options = of_domain(domains[0]);
  for (const std::string& domain : domains) {
    const double epsilon = of_domain(domain).epsilon;
    if (!(epsilon < options.epsilon) && !(epsilon > options.epsilon)) continue;
    fail_file(FileContext{function, tensors.name()}, text("epsilon of domain ", in_quotes(domain)),
              text("that of all domains, ", options.epsilon), text(epsilon));
  }
  options.scale = tensors.contains(prefix + "weight");
  options.shift = tensors.contains(prefix + "bias");
  return options;
}

}  // namespace detail

/// Puts a bank into a collection, in place of one that has this prefix. Loading gives back every
/// bit. A domain that has seen nothing yet is one when it is loaded. Cost: a copy of its numbers
/// into the tensors.
/// @param prefix  what the layer is called, with its dot, such as "1."; may be empty
/// @throws std::invalid_argument for a bank without domains, std::domain_error as save_state.
///         Nothing is changed then.
template <class T, int Channels>
void save_bank(Tensors& tensors, const std::string& prefix,
               const StatisticBank<T, Channels>& bank) {
  using Scalar = typename State<T, Channels>::Scalar;
  const std::vector<std::string> domains = bank.domains();
  if (domains.empty()) {
    detail::fail_argument("save_bank", "domains of a bank", "one or more", "none");
  }
  const Options& options = bank.options();
  Tensors saved;
  for (const std::string& domain : domains) {
    save_state(saved, detail::domains_prefix(prefix) + domain + ".", bank.state(domain),
               detail::domain_options(options));
  }
  const State<T, Channels>& parameters = bank.parameters();
  if (options.scale) {
    detail::save_channels<Scalar>(saved, prefix + "weight", parameters.gamma);
  }
  if (options.shift) detail::save_channels<Scalar>(saved, prefix + "bias", parameters.beta);
  detail::erase_bank(tensors, prefix);
  for (const std::string& key : saved.keys()) tensors.set(key, saved.tensor(key));
  for (const auto& [key, text] : saved.metadata()) tensors.metadata()[key] = text;
}

/// Takes a bank out of a collection, the tensors, converting it to the scalar asked for. The prefix
/// is that of save_bank. Cost: reads the elements of the bank.
/// @throws std::runtime_error naming file and tensor when there is no domain, a tensor is missing
///         or has another shape, or the domains were saved with different epsilons;
///         std::invalid_argument and std::domain_error for what StatisticBank::set refuses
template <class T, int Channels = Eigen::Dynamic>
StatisticBank<T, Channels> load_bank(const Tensors& tensors, const std::string& prefix) {
  constexpr const char* function = "load_bank";
  const std::string beginning = detail::domains_prefix(prefix);
  const std::vector<std::string> domains = detail::stored_domains(tensors, prefix);
  if (domains.empty()) {
    detail::fail_tensor(detail::FileContext{function, tensors.name()},
                        beginning + "NAME.running_mean", "tensors of a statistic bank",
                        "one domain or more", "none");
  }
  std::map<std::string, State<T, Channels>> states;
  for (const std::string& domain : domains) {
    states.emplace(domain, load_state<T, Channels>(tensors, beginning + domain + "."));
  }
  const Options options = detail::read_bank_options(function, tensors, prefix, domains);
  State<T, Channels> parameters = states.begin()->second;
  if (options.scale) detail::read_parameters(tensors, prefix + "weight", parameters.gamma);
  if (options.shift) detail::read_parameters(tensors, prefix + "bias", parameters.beta);
  StatisticBank<T, Channels> bank(parameters, options);
  for (const auto& [domain, state] : states) {
    if (state.batches_seen == 0 && detail::has_initial_statistics(state)) {
      bank.add(domain);
    } else {
      bank.set(domain, state);
    }
  }
  return bank;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_BANK_HPP
