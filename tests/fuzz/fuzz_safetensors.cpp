// SPDX-License-Identifier: MIT
// A file from a stranger, and all that the library does with it: reading, converting, finding and
// loading layers, writing. It may be refused with one of the library's own errors; anything else,
// and a file that does not come back as it was, is a crash.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "attempt.hpp"
#include "batchnorm/io/checkpoint.hpp"

namespace {

using namespace batchnorm;
using batchnorm_fuzz::attempt;
using batchnorm_fuzz::require;

void read_elements(const Tensors& tensors) {
  for (const std::string& key : tensors.keys()) {
    attempt([&] { tensors.values<double>(key); });
    attempt([&] { tensors.values<float>(key); });
    attempt([&] { tensors.values<std::int32_t>(key); });
    attempt([&] { tensors.values<bool>(key); });
    attempt([&] { tensors.matrix<Eigen::half>(key); });
  }
}

void load_layers(const Tensors& tensors) {
  attempt([&] { require(inspect(tensors).find('\x1b') == std::string::npos); });
  for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
    attempt([&] { load_state<float>(tensors, layer.prefix, Epsilon(1e-5)).freeze(); });
    attempt([&] {
      const LoadOptions bare = LoadOptions(Epsilon(1e-5)).without_scale_and_shift();
      const auto loaded = load_state<float>(tensors, layer.prefix, bare);
      require(!loaded.options.scale && !loaded.options.shift);
    });
    attempt([&] {
      const auto loaded = load_state<double>(tensors, layer.prefix, LoadOptions::saved());
      require(loaded.report.errors() == 0 && loaded.state.channels() == layer.channels);
    });
  }
}

void write_and_read_again(const Tensors& tensors) {
  const detail::FileContext context{"fuzz", "again"};
  const auto order = detail::order_of_writing(tensors);
  const std::string json = detail::build_header(context, tensors, order);
  std::string bytes(detail::safetensors_prefix_size, '\0');
  const std::uint64_t length = json.size();
  detail::copy_little_endian(&bytes[0], &length, 1, sizeof length);
  bytes += json;
  for (const std::string& key : order) {
    const Tensor& tensor = tensors.tensor(key);
    bytes.append(reinterpret_cast<const char*>(tensor.bytes.get()), tensor.size);
  }
  const Tensors again = parse_safetensors(bytes.data(), bytes.size(), "again");
  require(again.keys() == tensors.keys() && again.metadata() == tensors.metadata());
  for (const std::string& key : order) require(again.tensor(key).size == tensors.tensor(key).size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  attempt([&] {
    const Tensors tensors = parse_safetensors(data, size, "fuzz");
    read_elements(tensors);
    load_layers(tensors);
    // One system for each input: all of them would be tried on few inputs.
    std::size_t sum = size;
    for (std::size_t i = 0; i < size; ++i) sum += data[i];
    const LoadOptions given = Epsilon(1e-3);
    const LoadOptions named = given.named(Naming::all()[sum % Naming::all().size()]);
    for (const char* prefix : {"1.", "bn/", ""}) {
      attempt([&] { load_state<float>(tensors, prefix, given); });
      attempt([&] { load_state<float>(tensors, prefix, named); });
    }
    try {
      write_and_read_again(tensors);
    } catch (const std::exception&) {
      std::abort();
    }
  });
  return 0;
}
