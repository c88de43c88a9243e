// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_INSPECT_HPP
#define BATCHNORM_IO_INSPECT_HPP

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/layer_options.hpp"
#include "batchnorm/io/left_out.hpp"
#include "batchnorm/io/norm_table.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The epsilon that lies in the file, in its metadata or as a tensor.
inline std::optional<double> epsilon_in_file(const Tensors& tensors, const FoundBatchNorm& norm) {
  const std::string& prefix = norm.prefix.parameters;
  if (has_options(tensors, prefix)) return load_options(tensors, prefix).epsilon;
  return number_in_file(tensors, norm, Role::epsilon);
}

/// Puts the layers of a checkpoint into a table, and below what was left out.
/// @param more  what stands in the further columns, for every layer
inline void fill_table(NormTable& table, const Tensors& tensors,
                       const std::vector<FoundBatchNorm>& norms,
                       const std::vector<std::vector<std::string>>& more) {
  for (std::size_t i = 0; i < norms.size(); ++i) {
    const FoundBatchNorm& norm = norms[i];
    table.add(layer_name(norm.prefix.parameters), norm.naming.system(), norm, tensors,
              epsilon_in_file(tensors, norm), examine_batch_norm(tensors, norm),
              more.empty() ? std::vector<std::string>() : more[i]);
  }
  for (const LeftOut& kind : find_left_out(tensors, norms)) table.remark(kind.text());
}

}  // namespace detail

/// The batch norms among the tensors of a checkpoint as a table for a person: names, channels,
/// type, epsilon where it is in the file, ranges of mean and variance; below it what should be
/// looked at, and what looks like batch norm and is not listed. Names of the file are made safe to
/// print. inspect in onnx_inspect.hpp makes the same table of an ONNX model.
/// @throws std::runtime_error when the metadata of a layer is not what this library writes
/// Cost: reads the elements of all batch norms.
inline std::string inspect(const Tensors& tensors) {
  detail::NormTable table({});
  detail::fill_table(table, tensors, find_batch_norms(tensors), {});
  return table.lines();
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_INSPECT_HPP
