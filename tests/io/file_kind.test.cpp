// SPDX-License-Identifier: MIT
#include "batchnorm/io/file_kind.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// The first member of a zip archive, as its local header says it (PKWARE, APPNOTE 4.3.7).
std::string zip_of(const std::string& member) {
  return "PK\x03\x04" + std::string(22, '\0') +
         little_endian(static_cast<std::uint16_t>(member.size())) + std::string(2, '\0') + member +
         "contents";
}

struct OtherFile {
  std::string name;
  std::string bytes;
  std::string what;  ///< what the error calls it
  std::string way;   ///< a word of the way to convert it
};

std::vector<OtherFile> other_files() {
  const std::string pickle = "\x80\x02";
  const std::string magic_number = "\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19";
  const std::string zeros(16, '\0');
  return {
      {"net.pt", zip_of("archive/data.pkl"), "checkpoint of PyTorch", "torch.load"},
      {"net.pth", zip_of("net/data.pkl"), "checkpoint of PyTorch", "torch.load"},
      {"old.pt", pickle + magic_number + ".", "checkpoint of PyTorch", "torch.load"},
      {"net.pdparams", pickle + "}q\x01(X\x09" + zeros, "pickle, of Paddle", "numpy array"},
      {"net.npz", zip_of("bn/gamma.npy"), "arrays of NumPy", "numpy.load"},
      {"net.npy", "\x93NUMPY\1\0v\0{'descr': '<f4'" + zeros, "array of NumPy", "numpy.load"},
      {"net.keras", zip_of("metadata.json"), "archive of Keras 3", "model.weights.h5"},
      {"net.zip", zip_of("readme.txt"), "zip archive", "unpack"},
      {"net.h5", "\x89HDF\r\n\x1a\n" + zeros, "HDF5", "h5py"},
      {"net.gguf", "GGUF\3" + zeros, "GGUF", "GGUFReader"},
      {"net.onnx", std::string("\x08\x07\x12\x07pytorch\x1a\x03") + "1.7" + zeros, "ONNX",
       "onnx.load"},
      {"bare.onnx", std::string("\x08\x03:\x9ft\n&") + zeros, "ONNX", "onnx.load"},
      {"net.pb", "\n1\n\x08wav_data\x12\x0bPlaceholder", "frozen graphs of TensorFlow", "numpy"},
      {"variables.index", std::string("\0\0\6\x08\1\x1a\2", 7) + zeros, "index of a checkpoint",
       "load_checkpoint"},
      {"net.tflite", std::string("\x1c\0\0\0TFL3", 8) + zeros, "TensorFlow Lite", "folded"},
      {"net.msgpack", "\x82\xa6params\x81" + zeros, "MessagePack", "flax"},
      {"net.params", std::string("\x12\1\0\0\0\0\0\0", 8) + zeros, "MXNet", "mxnet"},
      {"net.safetensors.gz", "\x1f\x8b\x08" + zeros, "compressed", "gunzip"},
      {"net.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
       "pointer of Git LFS", "git lfs pull"},
      {"page.safetensors", "<!DOCTYPE html><html></html>", "page of the web", "download"},
      {"text.safetensors", "\n {\"weight_map\": {}}", "JSON", "ends in .json"},
      {"model.json", "{\"modelTopology\": {}, \"weightsManifest\": []}", "TensorFlow.js", "HDF5"},
      {"neural.json", "{\"in_shape\": [null, 1], \"layers\": []}", "RTNeural", "weights"},
      {"norm.json", "{\"weight\": [1.0], \"running_var\": [1.0]}", "RTNeural", "weights"}};
}

std::string refusal(const std::string& path) {
  try {
    open_checkpoint(path);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a file of another kind is called by its name, and a way to convert it is shown") {
  const TemporaryFolder folder;
  for (const OtherFile& other : other_files()) {
    INFO(other.name);
    const std::string path = folder.file(other.name);
    write_bytes(path, other.bytes);
    const std::string text = refusal(path);
    CHECK_THAT(text, contains_text("open_checkpoint: \"" + path +
                                   "\": kind of file: expected safetensors, got "));
    const std::string first_line = text.substr(0, text.find('\n'));
    CHECK_THAT(first_line, contains_text(other.what));
    CHECK_THAT(text.substr(first_line.size()), contains_text(other.way));
    CHECK(std::count(text.begin(), text.end(), '\n') <= 2);
  }
}

TEST_CASE("bytes and files that are read say the same") {
  const TemporaryFolder folder;
  for (const OtherFile& other : other_files()) {
    if (other.name.find(".json") != std::string::npos) continue;  // an index, by its name
    INFO(other.name);
    const std::string path = folder.file(other.name);
    write_bytes(path, other.bytes);
    CHECK_THROWS_MATCHES(read_safetensors(path), std::runtime_error, says(other.what));
    const ExactCopy copy(other.bytes);
    CHECK_THROWS_MATCHES(parse_safetensors(copy.data(), copy.size(), path), std::runtime_error,
                         says(other.what));
  }
}

TEST_CASE("the beginning of a file may be short") {
  for (const OtherFile& other : other_files()) {
    for (std::size_t size = 0; size < other.bytes.size(); ++size) {
      INFO(other.name << " " << size);
      const ExactCopy copy(other.bytes.substr(0, size));
      CHECK_THROWS_AS(parse_safetensors(copy.data(), copy.size(), other.name), std::runtime_error);
    }
  }
}

TEST_CASE("the bytes that tell a kind are enough, and those behind them do not matter") {
  const auto kind_of = [](const std::string& bytes, const std::string& path) {
    detail::FileKind kind;
    return detail::find_file_kind(bytes, path, kind) ? std::string(kind.what) : "";
  };
  const std::string lite("\x1c\0\0\0TFL3", 8), mxnet("\x12\1\0\0\0\0\0\0", 8);
  for (const char* const more : {"", "x"}) {
    CHECK_THAT(kind_of(lite + more, "net"), contains_text("TensorFlow Lite"));
    CHECK_THAT(kind_of(mxnet + more, "net"), contains_text("MXNet"));
  }
  CHECK_THAT(kind_of(std::string("\0\7\6\x08\1\x1a\2", 7), "variables.index"),
             contains_text("index of a checkpoint"));
  CHECK(kind_of(lite.substr(0, 7), "net").empty());
  CHECK(kind_of(mxnet.substr(0, 7), "net").empty());
}

TEST_CASE("a kind says which reader takes it") {
  const auto reader_of = [](const std::string& bytes, const std::string& path) {
    const auto kind = detail::other_kind(bytes, path);
    return kind ? kind->reader : detail::FileReader::none;
  };
  CHECK(reader_of("\x89HDF\r\n\x1a\n", "net") == detail::FileReader::keras);
  CHECK(reader_of(zip_of("metadata.json"), "net") == detail::FileReader::keras);
  CHECK(reader_of(zip_of("net/data.pkl"), "net") == detail::FileReader::none);
  CHECK(reader_of("\x08\x07\x12\x07pytorch", "net") == detail::FileReader::onnx);
  // A model without a producer, whose version follows.
  CHECK(reader_of("\x08\x07\x28\x01\x3a\x05graph", "net") == detail::FileReader::onnx);
  CHECK(reader_of("some other order of fields", "net.onnx") == detail::FileReader::onnx);
  CHECK(reader_of("some other order of fields", "net") == detail::FileReader::none);
  CHECK(reader_of(container("{}"), "net.onnx") == detail::FileReader::none);
  CHECK(detail::other_json("{\"weightsManifest\": []}")->reader == detail::FileReader::tfjs);
  CHECK(detail::other_json("{\"in_shape\": []}")->reader == detail::FileReader::audio_json);
  CHECK_FALSE(detail::other_json("{\"weight_map\": {}, \"weightsManifest\": []}"));
  CHECK_FALSE(detail::other_json("{}"));
}

TEST_CASE("a safetensors file is one whatever its length looks like") {
  // Headers whose length, as bytes, begins like another kind: 1f 8b is that of gzip, 0a that of a
  // protobuf, 80 02 that of a pickle, 08 07 12 that of ONNX.
  for (const std::size_t length : {0x8b1fu, 0x0au, 0x280u, 0x120708u, 0x504u}) {
    INFO(length);
    const std::string json = "{" + std::string(length - 2, ' ') + "}";
    CHECK(parse_safetensors(container(json).data(), 8 + length, "net.pb").size() == 0);
  }
}

TEST_CASE("a safetensors file begins with a length that is one and a brace, both inside of it") {
  const std::string file = container("{}") + std::string(16, ' ');
  const auto is_other = [&](std::size_t size) {
    return detail::other_kind(std::string_view(file).substr(0, size), "net.onnx").has_value();
  };
  CHECK(is_other(7));
  CHECK(is_other(8));  // the brace is behind the end
  CHECK_FALSE(is_other(9));
  // The longest header of the format has 100000000 bytes.
  const auto is_other_of = [](std::uint64_t length) {
    return detail::other_kind(little_endian(length) + "{", "net.onnx").has_value();
  };
  CHECK_FALSE(is_other_of(100000000));
  CHECK(is_other_of(100000001));
}

TEST_CASE("what is of no known kind is told by the rule of the format that it breaks") {
  CHECK_THROWS_MATCHES(parse_safetensors("\5\0\0\0\0\0\0\0hello", 13, "x"), std::runtime_error,
                       says("header at byte 8: expected a JSON object that begins with {"));
}

TEST_CASE("HDF5 may begin behind a block of other bytes, at 512 or twice as far") {
  const std::string magic = "\x89HDF\r\n\x1a\n";
  for (const std::size_t begin : {512u, 1024u, 4096u}) {
    const auto kind = detail::other_kind(std::string(begin, '\0') + magic, "net.mat");
    REQUIRE(kind);
    CHECK(kind->reader == detail::FileReader::keras);
  }
  CHECK_FALSE(detail::other_kind(std::string(513, '\0') + magic, "net.mat"));
  CHECK_FALSE(detail::other_kind(std::string(512, '\0') + magic.substr(0, 7), "net.mat"));
}

TEST_CASE("three bytes are enough for kinds that are told by the values of bytes") {
  const auto kind_of = [](std::string_view bytes, const std::string& path = "net") {
    detail::FileKind kind{"none", "", detail::FileReader::none};
    const bool found = detail::find_file_kind(bytes, path, kind);
    CHECK(found == (std::string(kind.what) != "none"));
    return std::string(kind.what);
  };
  const std::string none = "none";
  const std::string pickle = detail::kind_pickle.what;
  CHECK(kind_of("\x80\x01.") == none);
  CHECK(kind_of("\x80\x02.") == pickle);
  CHECK(kind_of("\x80\x05.") == pickle);
  CHECK(kind_of("\x80\x06.") == none);
  CHECK(kind_of("\x80\x02") == none);
  CHECK(kind_of("") == none);
  const std::string map = detail::kind_messagepack.what;
  CHECK(kind_of("\x80\xa5x") == none);
  CHECK(kind_of("\x81\xa5x") == map);
  CHECK(kind_of("\x8f\xa5x") == map);
  CHECK(kind_of("\x90\xa5x") == none);
  CHECK(kind_of("\x81\x9fx") == none);
  CHECK(kind_of("\x81\xa0x") == map);
  CHECK(kind_of("\x81\xbfx") == map);
  CHECK(kind_of("\x81\xc0x") == none);
  const std::string model = detail::kind_protobuf.what;
  CHECK(kind_of({"\x08\0\x12", 3}) == none);
  CHECK(kind_of("\x08\x01\x12") == model);
  CHECK(kind_of("\x08\x20\x12") == model);
  CHECK(kind_of("\x08\x21\x12") == none);
  CHECK(kind_of("\x08\x07\x28") == model);  // model_version
  CHECK(kind_of("\x08\x07\x7a") == model);  // field 15, with a length
  CHECK(kind_of("\x08\x07\x82") == none);
  CHECK(kind_of("\x08\x07\x0a") == none);  // field 1 again
  CHECK(kind_of("\x08\x07\x13") == none);  // no length
  CHECK(kind_of("\x07\x07\x12") == none);
  CHECK(kind_of("xyz", "net.onnx") == model);
  CHECK(kind_of("\nyz", "net.pb") == detail::kind_graph.what);
  CHECK(kind_of("\nyz", "net.caffemodel") == detail::kind_graph.what);
  CHECK(kind_of("\nyz", "net.txt") == none);
  CHECK(kind_of("xyz", "net.pb") == none);
  CHECK(kind_of({"\0yz", 3}, "net.index") == detail::kind_tensorflow.what);
  CHECK(kind_of({"\0yz", 3}, "net") == none);
  CHECK(kind_of("xyz", "net.index") == none);
  CHECK(kind_of("[1]") == detail::kind_json.what);
  CHECK(kind_of("{}\n") == detail::kind_json.what);
  CHECK(kind_of(" \t\r\n{") == detail::kind_json.what);
  CHECK(kind_of(std::string(600, ' ') + "{") == detail::kind_json.what);
  CHECK(kind_of(" \t\r\n") == none);
  CHECK(kind_of(" x{") == none);
}

TEST_CASE("the first member of an archive is told by its name, of the length that it has") {
  const auto kind_of = [](const std::string& bytes) {
    return std::string(detail::kind_of_zip(bytes).what);
  };
  const std::string zip = detail::kind_zip.what;
  CHECK(kind_of(zip_of("x.npy")) == detail::kind_numpy.what);
  CHECK(kind_of(zip_of("net/version")) == detail::kind_pytorch.what);
  CHECK(kind_of(zip_of("config.json")) == detail::kind_keras.what);
  CHECK(kind_of(zip_of("model.weights.h5")) == detail::kind_keras.what);
  CHECK(kind_of(zip_of("xconfig.json")) == zip);
  CHECK(kind_of(zip_of("x")) == zip);
  CHECK(kind_of(zip_of("metadata.json").substr(0, 30)) == zip);
  // The name is cut by the end of the bytes.
  CHECK(kind_of(zip_of(std::string(200, 'x') + ".npy").substr(0, 234)) == detail::kind_numpy.what);
  CHECK(kind_of(zip_of(std::string(200, 'x') + ".npy").substr(0, 233)) == zip);
}
