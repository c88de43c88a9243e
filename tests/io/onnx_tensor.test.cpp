// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_tensor.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include "batchnorm/io/tensors.hpp"
#include "support/catch.hpp"
#include "support/onnx_models.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

onnx::TensorProto tensor_of(int type, const Extents& shape) {
  onnx::TensorProto proto;
  proto.set_data_type(type);
  for (const auto extent : shape) proto.add_dims(extent);
  return proto;
}

/// The numbers of a tensor in double; the fault where it has none.
std::vector<double> numbers(const onnx::TensorProto& proto, std::string* fault = nullptr,
                            const std::string& folder = "") {
  OnnxModel model;
  model.folder = folder;
  detail::OnnxTensorReader reader(proto, model);
  Tensor tensor;
  const bool read = reader.read(tensor);
  if (fault != nullptr) *fault = reader.fault();
  if (!read) {
    CHECK(fault != nullptr);
    return {};
  }
  Tensors tensors;
  tensors.set("t", tensor);
  return tensors.values<double>("t");
}

std::string fault_of(const onnx::TensorProto& proto, const std::string& folder = "") {
  std::string fault;
  CHECK(numbers(proto, &fault, folder).empty());
  return fault;
}

}  // namespace

TEST_CASE("typed fields hold the numbers of their type") {
  const std::vector<double> expected = {1.5, -2, 0};
  onnx::TensorProto f32 = tensor_of(onnx::TensorProto::FLOAT, {3});
  onnx::TensorProto f64 = tensor_of(onnx::TensorProto::DOUBLE, {3});
  for (const double value : expected) {
    f32.add_float_data(static_cast<float>(value));
    f64.add_double_data(value);
  }
  CHECK(numbers(f32) == expected);
  CHECK(numbers(f64) == expected);
  // Bits: 1.5 is 0x3e00 in half and 0x3fc0 in bfloat16, -2 is 0xc000 in both.
  onnx::TensorProto half = tensor_of(onnx::TensorProto::FLOAT16, {3});
  for (const int bits : {0x3e00, 0xc000, 0}) half.add_int32_data(bits);
  onnx::TensorProto bfloat16 = tensor_of(onnx::TensorProto::BFLOAT16, {3});
  for (const int bits : {0x3fc0, 0xc000, 0}) bfloat16.add_int32_data(bits);
  CHECK(numbers(half) == expected);
  CHECK(numbers(bfloat16) == expected);
}

TEST_CASE("integers of every width come from the field of their type") {
  onnx::TensorProto i64 = tensor_of(onnx::TensorProto::INT64, {2});
  i64.add_int64_data(-3), i64.add_int64_data(4);
  CHECK(numbers(i64) == std::vector<double>{-3, 4});
  onnx::TensorProto i32 = tensor_of(onnx::TensorProto::INT32, {1});
  i32.add_int32_data(-70000);
  CHECK(numbers(i32) == std::vector<double>{-70000});
  onnx::TensorProto i8 = tensor_of(onnx::TensorProto::INT8, {1});
  i8.add_int32_data(-7);
  CHECK(numbers(i8) == std::vector<double>{-7});
  onnx::TensorProto u16 = tensor_of(onnx::TensorProto::UINT16, {1});
  u16.add_int32_data(65535);
  CHECK(numbers(u16) == std::vector<double>{65535});
  onnx::TensorProto u32 = tensor_of(onnx::TensorProto::UINT32, {1});
  u32.add_uint64_data(4000000000u);
  CHECK(numbers(u32) == std::vector<double>{4e9});
  onnx::TensorProto u64 = tensor_of(onnx::TensorProto::UINT64, {1});
  u64.add_uint64_data(5);
  CHECK(numbers(u64) == std::vector<double>{5});
}

TEST_CASE("raw data are little endian") {
  onnx::TensorProto proto = tensor_of(onnx::TensorProto::FLOAT, {2});
  proto.set_raw_data(std::string("\x00\x00\xc0\x3f\x00\x00\x00\xc0", 8));
  CHECK(numbers(proto) == std::vector<double>{1.5, -2});
  onnx::TensorProto scalar = tensor_of(onnx::TensorProto::DOUBLE, {});
  scalar.set_raw_data(std::string("\x00\x00\x00\x00\x00\x00\xf8\x3f", 8));
  CHECK(numbers(scalar) == std::vector<double>{1.5});
}

TEST_CASE("a tensor that does not add up says why") {
  CHECK_THAT(fault_of(tensor_of(99, {1})), Contains("unknown type 99"));
  CHECK_THAT(fault_of(tensor_of(onnx::TensorProto::STRING, {1})), Contains("unknown type 8"));
  CHECK_THAT(fault_of(tensor_of(onnx::TensorProto::FLOAT, {-1})), Contains("[-1]"));
  CHECK_THAT(fault_of(tensor_of(onnx::TensorProto::FLOAT, {1LL << 40, 1LL << 40})),
             Contains("no shape"));
  CHECK_THAT(fault_of(tensor_of(onnx::TensorProto::FLOAT, {2})), Contains("0 bytes for F32 [2]"));
  onnx::TensorProto segment = tensor_of(onnx::TensorProto::FLOAT, {1});
  segment.mutable_segment()->set_begin(0);
  CHECK_THAT(fault_of(segment), Contains("segment"));
}

namespace {

onnx::TensorProto external(const std::string& location, const std::string& offset = "",
                           const std::string& length = "") {
  onnx::TensorProto proto = tensor_of(onnx::TensorProto::FLOAT, {2});
  proto.set_data_location(onnx::TensorProto::EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    if (value.empty()) return;
    proto.add_external_data()->set_key(key);
    proto.mutable_external_data(proto.external_data_size() - 1)->set_value(value);
  };
  add("location", location);
  add("offset", offset);
  add("length", length);
  return proto;
}

}  // namespace

TEST_CASE("external data come from their place in a file of the folder") {
  const TemporaryFolder folder;
  write_bytes(folder.file("w.bin"), std::string("pad!\x00\x00\xc0\x3f\x00\x00\x00\xc0", 12));
  const std::string here = folder.path().string();
  CHECK(numbers(external("w.bin", "4", "8"), nullptr, here) == std::vector<double>{1.5, -2});
  CHECK(numbers(external("w.bin", "4"), nullptr, here) == std::vector<double>{1.5, -2});
  CHECK_THAT(fault_of(external("w.bin", "8"), here),
             Contains("from byte 8 of \"w.bin\", which has 12"));
  CHECK_THAT(fault_of(external("w.bin", "18446744073709551615"), here), Contains("which has 12"));
  CHECK_THAT(fault_of(external("w.bin", "18446744073709551616"), here), Contains("offset"));
  CHECK_THAT(fault_of(external("w.bin", "-1"), here), Contains("offset"));
  CHECK_THAT(fault_of(external("w.bin", "4", "4"), here), Contains("4 bytes for F32 [2]"));
  CHECK_THAT(fault_of(external("no.bin"), here), Contains("no such file"));
  std::filesystem::create_directories(folder.path() / "sub" / "dir");
  write_bytes(folder.file("sub/dir/w.bin"), std::string("\x00\x00\x80\x3f\x00\x00\x00\x40", 8));
  CHECK(numbers(external("sub/dir/w.bin"), nullptr, here) == std::vector<double>{1, 2});
  CHECK(numbers(external("./sub/dir/w.bin"), nullptr, here) == std::vector<double>{1, 2});
}

TEST_CASE("external data outside of the folder of the model are not opened") {
  const TemporaryFolder folder;
  const std::string here = folder.path().string();
  CHECK_THAT(fault_of(external("../w.bin"), here), Contains("a way out of the folder"));
  CHECK_THAT(fault_of(external("./../w.bin"), here), Contains("a way out of the folder"));
  CHECK_THAT(fault_of(external("/etc/passwd"), here), Contains("an absolute path"));
  CHECK_THAT(fault_of(external(".//etc/passwd"), here), Contains("an absolute path"));
  CHECK_THAT(fault_of(external(""), here), Contains("an empty name"));
  CHECK_THAT(fault_of(external("w.bin")), Contains("without a folder"));
}

TEST_CASE("a tensor that is set has raw data and nothing else") {
  onnx::TensorProto proto = external("w.bin");
  proto.set_name("kept");
  proto.add_float_data(7);
  Tensors tensors;
  tensors.set("t", {1, 2}, std::vector<double>{1.5, -2});
  detail::set_onnx_tensor(proto, tensors.tensor("t"));
  CHECK(proto.name() == "kept");
  CHECK(proto.data_type() == onnx::TensorProto::DOUBLE);
  CHECK(proto.float_data_size() == 0);
  CHECK(proto.external_data_size() == 0);
  CHECK(proto.dims_size() == 2);
  CHECK(numbers(proto) == std::vector<double>{1.5, -2});
}
