// SPDX-License-Identifier: MIT
// A model.json of TensorFlow.js from a stranger, and behind a zero the bytes of every file that it
// names. It may be refused; when it is not, its layers are found, examined and loaded or refused.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "attempt.hpp"
#include "batchnorm/io/checkpoint.hpp"
#include "batchnorm/io/tfjs.hpp"

namespace {

using namespace batchnorm;
using batchnorm_fuzz::attempt;
using batchnorm_fuzz::require;

void use(const Tensors& tensors) {
  attempt([&] { require(inspect(tensors).find('\x1b') == std::string::npos); });
  for (const FoundBatchNorm& norm : find_batch_norms(tensors)) {
    attempt([&] { load_state<float>(tensors, norm.prefix, Epsilon(1e-3)).freeze(); });
    attempt([&] { load_state<float>(tensors, norm.prefix, LoadOptions::saved()).freeze(); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = (std::min)(all.find('\0'), size);
  const std::size_t begin = (std::min)(zero + 1, size);
  const detail::FileContext context{"open_tfjs", "fuzz"};
  const auto file = [&](const std::string& name) {
    if (name.find("../") != std::string::npos || name.front() == '/' ||
        name.find('\\') != std::string::npos)
      std::abort();
    detail::FileBytes bytes;
    bytes.bytes = std::shared_ptr<const unsigned char>(std::shared_ptr<void>(), data + begin);
    bytes.size = size - begin;
    return bytes;
  };
  attempt([&] { use(detail::TfjsReader(context, file).read(all.substr(0, zero))); });
  return 0;
}
