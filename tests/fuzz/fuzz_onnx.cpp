// SPDX-License-Identifier: MIT
// A model from a stranger, and all that the library does with it: finding and loading norms, the
// table, folding. It may be refused with one of the library's own errors; anything else, and a fold
// that makes an invalid graph of a valid one, is a crash.

#include <cstddef>
#include <cstdint>
#include <string>

#include "attempt.hpp"
#include "batchnorm/io/onnx.hpp"

namespace {

using namespace batchnorm;
using batchnorm_fuzz::attempt;
using batchnorm_fuzz::require;

void use(const OnnxModel& model) {
  const std::vector<OnnxBatchNorm> norms = find_batch_norms(model);
  require(inspect(norms).find('\x1b') == std::string::npos);
  for (const OnnxBatchNorm& norm : norms) {
    const bool loaded = attempt([&] { load_state<float>(norm); });
    require(!loaded || norm.can_be_frozen());
    attempt([&] { load_state<double>(norm, OnnxTraining::accept).freeze(); });
  }
  FoldOptions options;
  options.probes = 1;
  const OnnxFoldResult result = fold_batch_norms(model, options);  // refuses invalid graphs
  require(result.folds.size() + result.left.size() == norms.size());
  require(attempt([&] { check_onnx(result.model); }));
  if (result.folds.empty()) {
    require(result.model.proto.SerializeAsString() == model.proto.SerializeAsString());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  attempt([&] { use(parse_onnx(data, size, "fuzz")); });
  return 0;
}
