// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_INSPECT_HPP
#define BATCHNORM_IO_ONNX_INSPECT_HPP

#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/norm_table.hpp"
#include "batchnorm/io/onnx_batch_norms.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The norms of find_batch_norms as the table that inspect makes of a checkpoint, with what stands
/// before and behind every node, what else uses its input, and below the table what should be
/// looked at. Names of the file are made safe to print. Errors: none. Cost: a line per norm.
inline std::string inspect(const std::vector<OnnxBatchNorm>& norms) {
  detail::NormTable table({"stands behind", "stands before", "input used by", "frozen"});
  for (const OnnxBatchNorm& norm : norms) {
    table.add(norm.node, detail::text("ONNX ", norm.opset), norm.found, norm.tensors,
              norm.options.epsilon, norm.report,
              {detail::in_line(norm.behind), detail::joined(norm.before),
               detail::joined(norm.other_users), norm.can_be_frozen() ? "yes" : "no"});
  }
  return table.lines();
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_INSPECT_HPP
