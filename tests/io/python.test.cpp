// SPDX-License-Identifier: MIT
// A file that is written here opens in Python, with the same bits.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// An interpreter that has numpy: the first `python3` need not be the one. Empty without any.
std::string python_with_numpy(const TemporaryFolder& folder) {
  for (const std::string name :
       {"python3", "python", "/usr/bin/python3", "/usr/local/bin/python3"}) {
    const std::string quiet = " >\"" + folder.file("out") + "\" 2>\"" + folder.file("err") + "\"";
    if (std::system((name + " -c \"import numpy\"" + quiet).c_str()) == 0) return name;
  }
  return "";
}

std::string hexadecimal(const std::string& bytes) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const char letter : bytes) {
    const unsigned char byte = static_cast<unsigned char>(letter);
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

template <class Bits>
std::string hexadecimal(const std::vector<Bits>& numbers) {
  std::string bytes;
  for (const Bits bits : numbers) bytes += little_endian(bits);
  return hexadecimal(bytes);
}

template <class T, class Bits>
std::vector<T> from_bits(const std::vector<Bits>& bits) {
  std::vector<T> numbers(bits.size());
  std::memcpy(static_cast<void*>(numbers.data()), bits.data(), bits.size() * sizeof(Bits));
  return numbers;
}

}  // namespace

TEST_CASE("numpy reads what is written here, to the last bit") {
  const TemporaryFolder folder;
  const std::string python = python_with_numpy(folder);
  if (python.empty()) {
    WARN("left out: reading with numpy, because no Python with numpy is here");
    return;
  }
  // -0, the smallest subnormal, infinity, a NaN with a payload, 1 and a bit.
  const std::vector<std::uint64_t> f64 = {
      0x8000000000000000u, 1, 0x7ff0000000000000u, 0x7ff8000000012345u, 0x3ff0000000000001u, 0x40u};
  const std::vector<std::uint32_t> f32 = {0x80000000u, 1, 0x7f800000u, 0x7fc12345u};
  const std::vector<std::uint16_t> f16 = {0x8000, 1, 0x7c00, 0x3c01};
  Tensors tensors;
  tensors.set("f64", {2, 3}, from_bits<double>(f64));
  tensors.set("f32", {4}, from_bits<float>(f32));
  tensors.set("f16", {4}, from_bits<Eigen::half>(f16));
  tensors.set("bf16", {4}, from_bits<Eigen::bfloat16>(f16));
  tensors.set("flags", {3}, std::vector<bool>{true, false, true});
  State<float> state(2);
  state.gamma << 1.5f, -2.0f;
  state.batches_seen = -1 + (Index{1} << 40);
  save_state(tensors, "1.", state, Options::keras());
  const std::string path = folder.file("net.safetensors");
  write_safetensors(path, tensors);

  const std::string script = source_dir() + "/tests/reference/read_safetensors.py";
  const std::string command = python + " \"" + script + "\" \"" + path + "\" >\"" +
                              folder.file("out") + "\" 2>\"" + folder.file("err") + "\"";
  const int result = std::system(command.c_str());
  INFO(read_bytes(folder.file("err")));
  REQUIRE(result == 0);

  const std::string wide_one =
      hexadecimal(std::vector<std::uint64_t>{0x3ff0000000000000u, 0x3ff0000000000000u});
  const std::string zero(16, '0');
  std::ostringstream expected;
  expected << "1.bias float32 [2] " << zero << "\n"
           << "1.num_batches_tracked int64 [] "
           << hexadecimal(std::vector<std::uint64_t>{0xffffffffffu}) << "\n"
           << "1.running_mean float64 [2] " << zero << zero << "\n"
           << "1.running_var float64 [2] " << wide_one << "\n"
           << "1.weight float32 [2] "
           << hexadecimal(std::vector<std::uint32_t>{0x3fc00000u, 0xc0000000u}) << "\n"
           << "bf16 float32 [4] "
           << hexadecimal(
                  std::vector<std::uint32_t>{0x80000000u, 0x00010000u, 0x7c000000u, 0x3c010000u})
           << "\n"
           << "f16 float16 [4] " << hexadecimal(f16) << "\n"
           << "f32 float32 [4] " << hexadecimal(f32) << "\n"
           << "f64 float64 [2, 3] " << hexadecimal(f64) << "\n"
           << "flags bool [3] 010001\n";
  CHECK(read_bytes(folder.file("out")) == expected.str());
}

TEST_CASE("arrays of NumPy come here by way of the script of the examples") {
  const TemporaryFolder folder;
  const std::string python = python_with_numpy(folder);
  if (python.empty()) {
    WARN("left out: converting with numpy, because no Python with numpy is here");
    return;
  }
  const std::string input = folder.file("net.npz");
  const std::string output = folder.file("net.safetensors");
  const std::string make =
      "import numpy; numpy.savez('" + input +
      "', **{'bn/gamma': numpy.float32([2, 1]), 'bn/beta': numpy.float64([0, 1]), "
      "'bn/avg_mean': numpy.float32([1, -1]), 'bn/avg_var': numpy.float32([3.75, 0.75]), "
      "'bn/N': numpy.int32(5), 'name': numpy.array('text')})";
  const std::string script = source_dir() + "/examples/to_safetensors.py";
  const std::string quiet = " >\"" + folder.file("out") + "\" 2>\"" + folder.file("err") + "\"";
  REQUIRE(std::system((python + " -c \"" + make + "\"" + quiet).c_str()) == 0);
  const int result = std::system(
      (python + " \"" + script + "\" \"" + input + "\" \"" + output + "\"" + quiet).c_str());
  INFO(read_bytes(folder.file("err")));
  REQUIRE(result == 0);
  const auto layers = find_batch_norms(output);
  REQUIRE(layers.size() == 1);
  CHECK(layers[0].naming == Naming::chainer());
  const auto loaded = load_state<double>(output, "bn/", Epsilon(0.25));
  // 2 (3 - 1) / 2 and (3 + 1) / 1 + 1
  CHECK(loaded.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(2, 5));
}
