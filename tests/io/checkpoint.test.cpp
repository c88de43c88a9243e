// SPDX-License-Identifier: MIT
#include "batchnorm/io/checkpoint.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/index_malformed.hpp"
#include "support/layer_files.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/safetensors_malformed.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
namespace fs = std::filesystem;

namespace {

/// Two shards, the layer cut in the middle, and their index.
class Sharded {
 public:
  Sharded() {
    const Tensors layer = pytorch_layer("1.");
    Tensors first;
    for (const char* key : {"1.weight", "1.bias", "1.num_batches_tracked"}) {
      first.set(key, layer.tensor(key));
    }
    Tensors second;
    for (const char* key : {"1.running_mean", "1.running_var"}) second.set(key, layer.tensor(key));
    first.metadata()["format"] = "pt";
    second.metadata()["format"] = "pt";
    fs::create_directory(folder_.file("sub"));
    write(first, second);
    write_index(R"("1.weight":"a.safetensors","1.bias":"a.safetensors",)"
                R"("1.num_batches_tracked":"a.safetensors",)"
                R"("1.running_mean":"sub/b.safetensors","1.running_var":"sub/b.safetensors")");
  }

  void write(const Tensors& first, const Tensors& second) const {
    write_safetensors(folder_.file("a.safetensors"), first);
    write_safetensors(folder_.file("sub/b.safetensors"), second);
  }
  void write_index(const std::string& map) const {
    write_bytes(path(), "{\"metadata\":{\"total_size\":56},\"weight_map\":{" + map + "}}");
  }
  std::string path() const { return folder_.file("model.safetensors.index.json"); }
  std::string shard(const std::string& name) const { return folder_.file(name); }

 private:
  TemporaryFolder folder_;
};

std::string refusal_of(const std::string& path) {
  try {
    open_checkpoint(path);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a mapped checkpoint is the one that is read") {
  const TemporaryFolder folder;
  const std::string path = folder.file("net.safetensors");
  Tensors tensors = pytorch_layer();
  tensors.metadata()["format"] = "pt";
  write_safetensors(path, tensors);
  const Tensors mapped = open_checkpoint(path);
  const Tensors read = read_safetensors(path);
  CHECK(mapped.name() == path);
  CHECK(mapped.keys() == read.keys());
  CHECK(mapped.metadata() == read.metadata());
  for (const std::string& key : read.keys()) {
    CHECK(mapped.values<double>(key) == read.values<double>(key));
    CHECK(mapped.shape(key) == read.shape(key));
    CHECK(mapped.dtype(key) == read.dtype(key));
  }
}

TEST_CASE("a checkpoint may be written over while it is mapped") {
  const TemporaryFolder folder;
  const std::string path = folder.file("net.safetensors");
  write_safetensors(path, pytorch_layer());
  Tensors mapped = open_checkpoint(path);
  mapped.erase("bn.bias");
  write_safetensors(path, mapped);
  CHECK(mapped.values<float>("bn.weight") == std::vector<float>{1.5f, -2.0f, 0.5f});
  CHECK(open_checkpoint(path).size() == 4);
}

TEST_CASE("layers are found and loaded by the path of their checkpoint") {
  const TemporaryFolder folder;
  const std::string path = folder.file("net.safetensors");
  write_safetensors(path, pytorch_layer());
  REQUIRE(find_batch_norms(path).size() == 1);
  CHECK(find_batch_norms(path)[0].channels == 3);
  const LoadedState<float> layer = load_state<float>(path, "bn.", Epsilon(1e-5));
  CHECK(layer.state.running_variance == Eigen::Vector3d(4.0f, 0.25f, 2.0f));
  CHECK(layer.report.file == path);
}

TEST_CASE("one layer is written under the names of a system") {
  const TemporaryFolder folder;
  const std::string path = folder.file("bn.safetensors");
  State<float> state(2);
  state.beta << 3.0f, 4.0f;
  save_state(path, "bn/", state, Options::keras(), Naming::keras());
  const LoadedState<float> layer = load_state<float>(path, "bn/", LoadOptions::saved());
  CHECK(layer.found.naming == Naming::keras());
  CHECK(layer.state.beta == Eigen::Vector2f(3.0f, 4.0f));
  CHECK(layer.options.epsilon == 1e-3);
}

TEST_CASE("a malformed file is refused for the same reason when it is mapped") {
  const TemporaryFolder folder;
  const std::string path = folder.file("broken.safetensors");
  for (const Malformed& malformed : malformed_files()) {
    INFO(malformed.what);
    write_bytes(path, malformed.bytes);
    CHECK_THAT(refusal_of(path),
               contains_text("open_checkpoint: \"" + path + "\": " + malformed.message));
  }
}

TEST_CASE("a malformed index is refused for the same reason as its bytes") {
  const TemporaryFolder folder;
  const std::string path = folder.file("broken.index.json");
  for (const Malformed& malformed : malformed_indices()) {
    INFO(malformed.what);
    write_bytes(path, malformed.bytes);
    CHECK_THAT(refusal_of(path),
               contains_text("open_checkpoint: \"" + path + "\": " + malformed.message));
  }
}

TEST_CASE("shards make one checkpoint") {
  const Sharded sharded;
  const Tensors all = open_checkpoint(sharded.path());
  CHECK(all.size() == 5);
  CHECK(all.name() == sharded.path());
  CHECK(all.metadata().at("format") == "pt");
  REQUIRE(find_batch_norms(sharded.path()).size() == 1);
  const LoadedState<double> layer = load_state<double>(sharded.path(), "1.", Epsilon(1e-5));
  CHECK(layer.state.gamma == Eigen::Vector3d(1.5, -2.0, 0.5));
  CHECK(layer.state.running_variance == Eigen::Vector3d(4.0, 0.25, 2.0));
  CHECK(layer.state.batches_seen == 460);
}

TEST_CASE("an index and its shards have to agree") {
  const Sharded sharded;
  const std::string named = R"("1.weight":"a.safetensors","1.num_batches_tracked":"a.safetensors",)"
                            R"("1.running_mean":"sub/b.safetensors",)"
                            R"("1.running_var":"sub/b.safetensors")";
  sharded.write_index(named);
  CHECK_THAT(refusal_of(sharded.path()),
             contains_text("tensor \"1.bias\": found in shard \"a.safetensors\": expected an entry "
                           "of the index for it, got none"));
  sharded.write_index(named + R"(,"1.bias":"sub/b.safetensors")");
  CHECK_THAT(refusal_of(sharded.path()),
             contains_text("tensor \"1.bias\": found in shard \"a.safetensors\": expected an entry "
                           "of the index for it, got one for \"sub/b.safetensors\""));
  sharded.write_index(named + R"(,"1.bias":"a.safetensors","2.bias":"a.safetensors")");
  CHECK_THAT(refusal_of(sharded.path()),
             contains_text("tensor \"2.bias\": tensors of the index: expected it in shard "
                           "\"a.safetensors\", got none"));
  sharded.write_index(named + R"(,"1.bias":"c.safetensors")");
  CHECK_THAT(refusal_of(sharded.path()), contains_text("tensor \"1.bias\": found in shard"));
  fs::remove(sharded.shard("a.safetensors"));
  CHECK_THAT(refusal_of(sharded.path()),
             contains_text("\"" + sharded.shard("a.safetensors") + "\": file: expected to open"));
}

TEST_CASE("a broken shard is named") {
  const Sharded sharded;
  write_bytes(sharded.shard("sub/b.safetensors"), "short");
  CHECK_THAT(refusal_of(sharded.path()),
             contains_text("open_checkpoint: \"" + sharded.shard("sub/b.safetensors") +
                           "\": the file is truncated"));
}

TEST_CASE("shards may not disagree about the options of a layer") {
  const Sharded sharded;
  Tensors first = read_safetensors(sharded.shard("a.safetensors"));
  Tensors second = read_safetensors(sharded.shard("sub/b.safetensors"));
  second.metadata()["format"] = "tf";
  sharded.write(first, second);
  CHECK(open_checkpoint(sharded.path()).metadata().at("format") == "pt");
  first.metadata()["batchnorm:1."] = "{\"epsilon\":1e-5}";
  second.metadata()["batchnorm:1."] = "{\"epsilon\":1e-3}";
  sharded.write(first, second);
  CHECK_THAT(
      refusal_of(sharded.path()),
      contains_text("metadata \"batchnorm:1.\": expected the same in all shards, got another "
                    "text in \"sub/b.safetensors\""));
}

TEST_CASE("an index of nothing is an empty checkpoint") {
  const TemporaryFolder folder;
  write_bytes(folder.file("index.json"), "{\"weight_map\":{}}");
  CHECK(open_checkpoint(folder.file("index.json")).size() == 0);
}

namespace {

/// Kilobytes of this program that are in memory; 0 where the system does not say.
long resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long number = 0;
    if (word == "VmRSS:" && status >> number) return number;
  }
  return 0;
}

/// A file with a tensor of that many zeros in front of a layer, which the file system need not
/// store. False where it cannot.
bool write_sparse(const std::string& path, std::uint64_t zeros) {
  const std::uint64_t end = zeros + 8;
  const auto entry = [&](const std::string& name, std::uint64_t begin) {
    return ",\"" + name + "\":" +
           tensor_json("\"F32\"", "[2]",
                       "[" + std::to_string(begin) + "," + std::to_string(begin + 8) + "]");
  };
  const std::string json = "{\"big\":" +
                           tensor_json("\"U8\"", "[" + std::to_string(zeros) + "]",
                                       "[0," + std::to_string(zeros) + "]") +
                           entry("bn.running_mean", zeros) + entry("bn.running_var", end) + "}";
  const std::string header = container(json);
  write_bytes(path, header);
  std::error_code error;
  fs::resize_file(path, header.size() + zeros + 16, error);
  if (error) return false;
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(header.size() + zeros));
  for (const std::uint32_t bits : {0x40000000u, 0xc0400000u, 0x40800000u, 0x3f000000u}) {
    file << little_endian(bits);  // mean 2 -3, variance 4 0.5
  }
  return static_cast<bool>(file.flush());
}

}  // namespace

TEST_CASE("of a file of more than 4 GiB only what is asked for is looked at") {
  const TemporaryFolder folder;
  const std::string path = folder.file("large.safetensors");
  const std::uint64_t zeros = (std::uint64_t{1} << 32) + 4096;
  if (sizeof(void*) < 8 || !write_sparse(path, zeros)) {
    WARN("left out: a checkpoint of more than 4 GiB, because there is no place for it");
    return;
  }
  const long before = resident_kilobytes();
  const Tensors large = open_checkpoint(path);
  CHECK(large.shape("big") == std::vector<Index>{static_cast<Index>(zeros)});
  const LoadOptions bare = LoadOptions(Epsilon(0.5)).without_scale_and_shift();
  const LoadedState<double> layer = load_state<double>(large, "bn.", bare);
  CHECK(layer.state.running_mean == Eigen::Vector2d(2.0, -3.0));
  CHECK(layer.state.running_variance == Eigen::Vector2d(4.0, 0.5));
  CHECK(layer.freeze().scale()[1] == 1.0);
  constexpr long a_few_megabytes = 64 * 1024;
  CHECK(resident_kilobytes() - before < a_few_megabytes);
}
