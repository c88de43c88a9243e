// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/fuzz_corpus.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/safetensors_malformed.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

Tensors parse(const std::string& bytes, const std::string& name = "memory") {
  const ExactCopy copy(bytes);
  return parse_safetensors(copy.data(), copy.size(), name);
}

std::string refusal_of(const std::string& bytes) {
  try {
    parse(bytes, "memory");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

// 1.5, -0.25 as F32; 7, -1 as I64; 1, 0, 1 as BOOL; 2.0 as BF16 scalar.
std::string small_file() {
  const std::string json = R"({"__metadata__":{"format":"pt"},)"
                           R"("steps":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
                           R"("w":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},)"
                           R"("lr":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
                           R"("mask":{"dtype":"BOOL","shape":[3],"data_offsets":[26,29]}}  )";
  return container(json, little_endian(std::uint64_t{7}) + little_endian(~std::uint64_t{0}) +
                             little_endian(std::uint32_t{0x3fc00000}) +
                             little_endian(std::uint32_t{0xbe800000}) +
                             little_endian(std::uint16_t{0x4000}) + std::string("\1\0\1", 3));
}

}  // namespace

TEST_CASE("a file made by hand is read") {
  const Tensors file = parse(small_file());
  CHECK(file.keys() == std::vector<std::string>{"lr", "mask", "steps", "w"});
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.dtype("w") == "F32");
  CHECK(file.shape("w") == std::vector<Index>{1, 2});
  CHECK(file.values<float>("w") == std::vector<float>{1.5f, -0.25f});
  CHECK(file.values<std::int64_t>("steps") == std::vector<std::int64_t>{7, -1});
  CHECK(file.shape("lr").empty());
  CHECK(file.value<double>("lr") == 2.0);
  CHECK(file.values<bool>("mask") == std::vector<bool>{true, false, true});
}

TEST_CASE("a file without tensors is a file") {
  CHECK(parse(container("{}")).size() == 0);
  CHECK(parse(container("{}      ")).size() == 0);
  CHECK(parse(container("{\"__metadata__\":{}}")).metadata().empty());
}

TEST_CASE("tensors without elements have their place") {
  const Tensors file = parse(container(R"({"b":{"dtype":"F64","shape":[0,3],"data_offsets":[0,0]},)"
                                       R"("a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
                                       R"("c":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}})",
                                       little_endian(std::uint64_t{0x3ff0000000000000u})));
  CHECK(file.values<double>("b").empty());
  CHECK(file.value<double>("a") == 1.0);
  CHECK(file.shape("b") == std::vector<Index>{0, 3});
}

TEST_CASE("bytes after the last tensor are allowed") {
  CHECK(parse(small_file() + "trailing").values<bool>("mask").size() == 3);
}

TEST_CASE("a header that is not padded is read, as older writers left it") {
  CHECK(parse(file_with(tensor_json())).values<float>("a") == std::vector<float>{0.0f, 0.0f});
}

TEST_CASE("dtypes that the library does not know are kept, not interpreted") {
  const std::string bytes = two_tensors(tensor_json("\"F5\"", "[6]", "[0,3]"),
                                        tensor_json("\"F8_E4M3\"", "[2]", "[3,5]"), 5);
  const Tensors file = parse(bytes);
  CHECK(file.dtype("a") == "F5");
  CHECK(file.tensor("a").size == 3);
  CHECK_THROWS_MATCHES(
      file.values<float>("a"), std::runtime_error,
      says("Tensors::values: \"memory\": tensor \"a\": dtype: expected one that converts to the "
           "scalar asked for, got F5"));
  CHECK_THROWS_MATCHES(file.values<float>("b"), std::runtime_error, says("got F8_E4M3"));
}

TEST_CASE("every dtype of the format may stand in a file, at any byte") {
  const Tensors file = parse(file_of_all_dtypes());
  CHECK(file.size() == 22);
  for (const std::string& key : file.keys()) {
    INFO(key);
    CHECK(file.dtype(key) == key);
  }
  // All bits are 1: the largest or the last number before zero, and NaN.
  CHECK(file.values<std::int64_t>("I64") == std::vector<std::int64_t>{-1, -1});
  CHECK(file.values<int>("I16") == std::vector<int>{-1, -1});
  CHECK(file.values<std::uint32_t>("U32") == std::vector<std::uint32_t>{4294967295u, 4294967295u});
  CHECK(file.values<unsigned>("U16") == std::vector<unsigned>{65535, 65535});
  CHECK(std::isnan(file.values<double>("F64")[1]));
  CHECK(std::isnan(file.values<float>("F32")[1]));
  CHECK(file.values<bool>("BOOL") == std::vector<bool>{true, true});
  for (const char* key : {"C64", "F4", "F6_E2M3", "F6_E3M2", "F8_E4M3", "F8_E5M2", "F8_E8M0"}) {
    INFO(key);
    CHECK_THROWS_MATCHES(file.values<double>(key), std::runtime_error,
                         says(std::string("scalar asked for, got ") + key));
  }
}

TEST_CASE("a number is read from any byte") {
  // 1 as BOOL, then 1.5 as F32 at byte 1 and -2 as I64 at byte 5.
  const std::string json = R"({"__metadata__":null,)"
                           R"("b":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]},)"
                           R"("f":{"dtype":"F32","shape":[],"data_offsets":[1,5]},)"
                           R"("n":{"dtype":"I64","shape":[],"data_offsets":[5,13]}})";
  CHECK(json.size() % 8 != 0);
  const Tensors file = parse(container(json, "\1" + little_endian(std::uint32_t{0x3fc00000}) +
                                                 little_endian(static_cast<std::uint64_t>(-2))));
  CHECK(file.value<float>("f") == 1.5f);
  CHECK(file.value<double>("f") == 1.5);
  CHECK(file.value<std::int64_t>("n") == -2);
}

TEST_CASE("every malformed file is refused with its reason") {
  CHECK(malformed_files().size() >= 40);
  std::set<std::string> names;
  for (const Malformed& malformed : malformed_files()) {
    INFO(malformed.what);
    CHECK(names.insert(malformed.what).second);
    CHECK(refusal_of(malformed.bytes) == "parse_safetensors: \"memory\": " + malformed.message);
  }
}

TEST_CASE("a malformed file is refused for the same reason as its bytes, by its path") {
  const TemporaryFolder folder;
  const std::string path = folder.file("broken.safetensors");
  for (const Malformed& malformed : malformed_files()) {
    INFO(malformed.what);
    write_bytes(path, malformed.bytes);
    CHECK_THROWS_MATCHES(read_safetensors(path), std::runtime_error,
                         says("read_safetensors: \"" + path + "\": " + malformed.message));
  }
}

TEST_CASE("a file cut anywhere is refused") {
  const std::string whole = small_file();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO("bytes left: " << size);
    CHECK_THAT(refusal_of(whole.substr(0, size)), contains_text("truncated"));
  }
}

TEST_CASE("no change of a single byte does worse than being refused") {
  const std::string whole = small_file();
  std::size_t refused = 0;
  for (std::size_t place = 0; place < whole.size(); ++place) {
    for (const int change : {0x01, 0x10, 0x80, 0xff}) {
      std::string bytes = whole;
      bytes[place] = static_cast<char>(bytes[place] ^ change);
      // Anything else than std::runtime_error, or a read outside, ends the test.
      if (!refusal_of(bytes).empty()) ++refused;
    }
  }
  CHECK(refused > whole.size());
}

TEST_CASE("null bytes are refused unless there are none") {
  CHECK_THROWS_MATCHES(
      parse_safetensors(nullptr, 9, "x"), std::invalid_argument,
      says("parse_safetensors: bytes of \"x\": expected data, got a null pointer"));
  CHECK_THROWS_AS(parse_safetensors(nullptr, 0, "x"), std::runtime_error);
}

TEST_CASE("what cannot be opened or read is named with the reason of the system") {
  const TemporaryFolder folder;
  const std::string missing = folder.file("missing.safetensors");
  CHECK_THROWS_MATCHES(
      read_safetensors(missing), std::runtime_error,
      says("read_safetensors: \"" + missing + "\": file: expected to open it, got"));
  CHECK_THROWS_MATCHES(
      read_safetensors(folder.path().string()), std::runtime_error,
      says("read_safetensors: \"" + folder.path().string() + "\": file: expected to"));
}

TEST_CASE("what is written has the layout of the format") {
  const TemporaryFolder folder;
  const std::string path = folder.file("net.safetensors");
  Tensors tensors;
  tensors.metadata()["format"] = "pt";
  tensors.set("flags", {3}, std::vector<bool>{true, false, true});
  tensors.set("z", {1}, std::vector<float>{1.5f});
  tensors.set("half", {1}, std::vector<Eigen::half>{Eigen::half(1.0f)});
  tensors.set("a \"name\"\n", {2}, std::vector<float>{1.0f, 2.0f});
  tensors.set_value("n", std::int64_t{-2});
  tensors.set_value("d", 1.0);
  write_safetensors(path, tensors);

  const PlainFile file(read_bytes(path));
  CHECK(file.header_size % 8 == 0);
  CHECK(file.header.size() == 7);
  CHECK(file.header["__metadata__"]["format"] == "pt");
  CHECK(file.header["n"]["dtype"] == "I64");
  CHECK(file.header["n"]["shape"].empty());
  CHECK(file.header["n"]["shape"].is_array());
  CHECK(file.header["n"]["data_offsets"] == nlohmann::json({0, 8}));
  CHECK(file.header["d"]["data_offsets"] == nlohmann::json({8, 16}));
  CHECK(file.header["a \"name\"\n"]["data_offsets"] == nlohmann::json({16, 24}));
  CHECK(file.header["z"]["data_offsets"] == nlohmann::json({24, 28}));
  CHECK(file.header["half"]["dtype"] == "F16");
  CHECK(file.header["half"]["data_offsets"] == nlohmann::json({28, 30}));
  CHECK(file.header["flags"]["dtype"] == "BOOL");
  CHECK(file.header["flags"]["data_offsets"] == nlohmann::json({30, 33}));
  CHECK(file.data.size() == 33);
  CHECK(file.bytes_of("n") == little_endian(static_cast<std::uint64_t>(-2)));
  CHECK(file.bytes_of("d") == little_endian(std::uint64_t{0x3ff0000000000000u}));
  CHECK(file.bytes_of("a \"name\"\n") ==
        little_endian(std::uint32_t{0x3f800000}) + little_endian(std::uint32_t{0x40000000}));
  CHECK(file.bytes_of("half") == little_endian(std::uint16_t{0x3c00}));
  CHECK(file.bytes_of("flags") == std::string("\1\0\1", 3));
}

TEST_CASE("a header of any length is padded with spaces, so that the data is aligned") {
  const TemporaryFolder folder;
  for (std::size_t length = 1; length <= 9; ++length) {
    Tensors tensors;
    tensors.set_value(std::string(length, 'n'), 1.0);
    write_safetensors(folder.file("x"), tensors);
    const std::string bytes = read_bytes(folder.file("x"));
    const PlainFile file(bytes);
    CHECK(file.header_size % 8 == 0);
    const std::string padding = bytes.substr(bytes.rfind('}', 8 + file.header_size) + 1);
    CHECK(padding.size() < 16);
    CHECK(padding ==
          std::string(padding.size() - 8, ' ') + file.bytes_of(std::string(length, 'n')));
  }
}

TEST_CASE("the order of calls does not change the file") {
  const TemporaryFolder folder;
  Tensors one;
  one.set_value("a", 1.0f);
  one.set_value("b", 2.0f);
  Tensors other;
  other.set_value("b", 2.0f);
  other.set_value("a", 1.0f);
  write_safetensors(folder.file("1"), one);
  write_safetensors(folder.file("2"), other);
  CHECK(read_bytes(folder.file("1")) == read_bytes(folder.file("2")));
}

TEST_CASE("a file read and written again has the same tensors, unknown dtypes included") {
  const TemporaryFolder folder;
  const std::string original = container(R"({"q":{"dtype":"F4","shape":[4],"data_offsets":[4,6]},)"
                                         R"("w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                                         little_endian(std::uint32_t{0x7fa12345}) + "\xab\xcd");
  write_safetensors(folder.file("copy"), parse(original));
  const PlainFile copy(read_bytes(folder.file("copy")));
  CHECK(copy.bytes_of("q") == "\xab\xcd");
  CHECK(copy.bytes_of("w") == little_endian(std::uint32_t{0x7fa12345}));
  CHECK(copy.header["q"]["dtype"] == "F4");
}

TEST_CASE("every pattern of bits survives a file") {
  const TemporaryFolder folder;
  const std::string path = folder.file("bits");
  // -0, the smallest subnormal, both infinities, quiet and signalling NaN with payloads.
  const std::vector<std::uint32_t> patterns32 = {0x80000000u, 1u,          0x7f800000u, 0xff800000u,
                                                 0x7fc12345u, 0x7f812345u, 0x3f800001u};
  const std::vector<std::uint64_t> patterns64 = {0x8000000000000000u, 1u,
                                                 0x7ff0000000000000u, 0xfff0000000000000u,
                                                 0x7ff8000000012345u, 0x7ff0000000012345u,
                                                 0x3ff0000000000001u};
  std::vector<float> floats(patterns32.size());
  std::memcpy(floats.data(), patterns32.data(), floats.size() * 4);
  std::vector<double> doubles(patterns64.size());
  std::memcpy(doubles.data(), patterns64.data(), doubles.size() * 8);
  Tensors tensors;
  tensors.set("f", {7}, floats);
  tensors.set("d", {7}, doubles);
  write_safetensors(path, tensors);
  const Tensors again = read_safetensors(path);
  const std::vector<float> floats_again = again.values<float>("f");
  const std::vector<double> doubles_again = again.values<double>("d");
  CHECK(std::memcmp(floats_again.data(), floats.data(), floats.size() * 4) == 0);
  CHECK(std::memcmp(doubles_again.data(), doubles.data(), doubles.size() * 8) == 0);
}

TEST_CASE("a writer tells how far it is") {
  const TemporaryFolder folder;
  Tensors tensors;
  const std::size_t large = (std::size_t{1} << 24) + 5;
  tensors.set("large", {static_cast<Index>(large)}, std::vector<unsigned char>(large, 7));
  tensors.set("none", {0}, std::vector<float>());
  tensors.set_value("small", 1.0);
  std::vector<std::uint64_t> steps;
  write_safetensors(folder.file("x"), tensors, [&](std::uint64_t done, std::uint64_t all) {
    CHECK(all == large + 8);
    steps.push_back(done);
  });
  CHECK(steps == std::vector<std::uint64_t>{8, 8 + (1u << 24), 8 + large});
  CHECK(read_safetensors(folder.file("x")).values<unsigned char>("large")[large - 1] == 7);
}

TEST_CASE("a failed write says why and leaves nothing behind") {
  const TemporaryFolder folder;
  Tensors tensors;
  tensors.set_value("a", 1.0);
  const std::string nowhere = folder.file("missing/net.safetensors");
  CHECK_THROWS_MATCHES(
      write_safetensors(nowhere, tensors), std::runtime_error,
      says("write_safetensors: \"" + nowhere + "\": nothing was written: expected to create"));
  CHECK(folder.number_of_files() == 0);
}

TEST_CASE("names that are not UTF-8 are refused before the file is touched") {
  const TemporaryFolder folder;
  const std::string path = folder.file("net.safetensors");
  write_bytes(path, "old");
  Tensors tensors;
  tensors.set_value("a\xff", 1.0);
  CHECK_THROWS_MATCHES(write_safetensors(path, tensors), std::invalid_argument,
                       says("write_safetensors: names and metadata: expected UTF-8, got"));
  Tensors texts;
  texts.metadata()["note"] = "\xc3";
  CHECK_THROWS_AS(write_safetensors(path, texts), std::invalid_argument);
  CHECK(read_bytes(path) == "old");
}

TEST_CASE("one layer goes to a file and comes back") {
  const TemporaryFolder folder;
  const std::string path = folder.file("bn.safetensors");
  State<float> state(3);
  state.gamma << 1.0f, -2.0f, 0.5f;
  state.beta << 0.1f, 0.2f, 0.3f;
  state.running_mean << -1.0f, 0.0f, 1e-40f;
  state.running_variance << 1.0f, 0.0f, 4.0f;
  state.batches_seen = 12;
  state.samples_seen = 768;
  save_state(path, "1.", state, Options::keras());
  const State<float> again = load_state<float>(path, "1.");
  CHECK(again.gamma == state.gamma);
  CHECK(again.beta == state.beta);
  CHECK(again.running_mean == state.running_mean);
  CHECK(again.running_variance == state.running_variance);
  CHECK(again.batches_seen == 12);
  CHECK(again.samples_seen == 768);
  CHECK(load_options(read_safetensors(path), "1.").epsilon == 1e-3);

  save_state(path, "2.", state);
  CHECK(load_state<float>(path, "2.", Options()).gamma == state.gamma);
  CHECK_FALSE(has_options(read_safetensors(path), "2."));
}
