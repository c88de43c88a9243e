// SPDX-License-Identifier: MIT
// A network in JSON, the JSON of a model of Keras, or an archive from a stranger. It may be refused
// with an exception, nothing else; what is read is loaded, as a user would.

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "attempt.hpp"
#include "batchnorm/io/audio_json.hpp"
#include "batchnorm/io/checkpoint.hpp"
#include "batchnorm/io/keras_config.hpp"
#include "batchnorm/io/keras_names.hpp"
#include "batchnorm/io/zip.hpp"

namespace {

using namespace batchnorm;
using batchnorm_fuzz::require;

/// Stricter than batchnorm_fuzz::attempt: nothing here is an argument that the caller could mend.
template <class Body>
void attempt(const Body& body) {
  try {
    body();
  } catch (const std::runtime_error&) {
  } catch (const std::domain_error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::vector<detail::KerasBatchNorm> norms = detail::read_keras_config(text);
  for (const detail::KerasBatchNorm& norm : norms) {
    detail::find_keras_norm(norm.folder + norm.name, norms);
    validate(norm.options());
    require(norm.folder.back() == '/');
  }
  attempt([&] {
    const auto member =
        detail::zip_member(detail::FileContext{"fuzz", "archive"}, text, "config.json");
    if (member && !member->empty()) {
      require(member->data() >= text.data());
      require(member->data() + member->size() <= text.data() + text.size());
    }
  });
  attempt([&] {
    const Tensors tensors = parse_audio_json(text, "fuzz");
    require(inspect(tensors).find('\x1b') == std::string::npos);
    for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
      attempt([&] { load_state<float>(tensors, layer.prefix, Epsilon(1e-3)); });
      attempt([&] { load_state<double>(tensors, layer.prefix, LoadOptions::saved()); });
    }
  });
  return 0;
}
