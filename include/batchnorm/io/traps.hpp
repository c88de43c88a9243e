// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_TRAPS_HPP
#define BATCHNORM_IO_TRAPS_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/layer_prefix.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// Tensors beside a layer that say that its own are not what they seem to be.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A second copy of a tensor, averaged over the training: the network may run with that one.
inline void report_averages(const Tensors& tensors, const FoundBatchNorm& layer,
                            LoadReport& report) {
  for (const Role role : vector_roles) {
    const std::string shadow = layer.key(role) + "/ExponentialMovingAverage";
    if (!layer.has(role) || !tensors.contains(shadow)) continue;
    note(report, Finding::unexpected, shadow,
         "not read: an average of " + in_quotes(layer.key(role)) +
             " over the training, which a network may be meant to run with");
  }
}

/// One number that mean and variance may have to be divided by: sums were kept instead of averages.
inline void report_sums(const Tensors& tensors, const FoundBatchNorm& layer, LoadReport& report) {
  if (!layer.has_statistics() || layer.has(Role::factor)) return;
  const std::string& prefix = layer.prefix.statistics;
  for (const std::string& key : tensors.keys(prefix)) {
    const std::string name = key.substr(prefix.size());
    const bool says_sum =
        name.find("factor") != std::string::npos || name.find("accumulat") != std::string::npos;
    if (!says_sum || name.find_first_of(path_separators) != std::string::npos) continue;
    if (vector_size(tensors.shape(key)) != 1) continue;
    refuse(report, Finding::unexpected, key, "running mean and variance",
           "averages, or a Naming that has the number of their sums as Role::factor",
           "this number beside them, as if they were sums");
  }
}

/// Statistics alone beside a count of values are those of an input normaliser.
inline void report_normaliser(const Tensors& tensors, const FoundBatchNorm& layer,
                              LoadReport& report) {
  const std::string key = layer.prefix.statistics + "count";
  const bool is_bare = !layer.has(Role::gamma) && !layer.has(Role::beta);
  if (!layer.has_statistics() || !is_bare || !tensors.contains(key)) return;
  note(report, Finding::suspicious, key,
       "a count beside statistics without gamma and beta: an input normaliser, which may clamp its "
       "output and may be used backwards");
}

/// Whether a file is called like one of several: model-00001-of-00002.safetensors.
inline bool is_called_shard(const std::string& file) {
  const std::size_t of = file.rfind("-of-");
  const auto is_digit = [&](std::size_t place) {
    return place < file.size() && file[place] >= '0' && file[place] <= '9';
  };
  return of != std::string::npos && of > 0 && is_digit(of - 1) && is_digit(of + 4);
}

/// Why what is missing may lie elsewhere.
inline void report_elsewhere(const Tensors& tensors, LoadReport& report) {
  if (is_called_shard(tensors.name())) {
    note(report, Finding::suspicious, "",
         "the file is called like one of several: open their index.json for all of the layer");
  }
  const std::string ending = "flat_param";
  for (const std::string& key : tensors.keys()) {
    if (key.size() < ending.size()) continue;
    if (key.compare(key.size() - ending.size(), ending.size(), ending) != 0) continue;
    note(report, Finding::suspicious, key,
         "parameters of several layers in one (FSDP): what is missing may be in there");
    return;
  }
}

/// All of it.
/// @param is_incomplete  whether something is missing without a word of the caller
inline void report_traps(const Tensors& tensors, const FoundBatchNorm& layer, bool is_incomplete,
                         LoadReport& report) {
  report_averages(tensors, layer, report);
  report_sums(tensors, layer, report);
  report_normaliser(tensors, layer, report);
  if (is_incomplete) report_elsewhere(tensors, report);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_TRAPS_HPP
