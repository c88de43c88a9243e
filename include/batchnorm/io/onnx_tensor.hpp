// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_TENSOR_HPP
#define BATCHNORM_IO_ONNX_TENSOR_HPP

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/safetensors_index.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// The numbers of an onnx.TensorProto: raw bytes, typed fields, or a range of another file. They
// come from a stranger: nothing larger than what is there is allocated, and files outside of the
// folder of the model are not opened.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// An element type of ONNX under its name in safetensors.
struct OnnxDtype {
  int type;
  const char* name;
};

inline constexpr OnnxDtype onnx_dtypes[] = {
    {onnx::TensorProto::FLOAT, "F32"},   {onnx::TensorProto::DOUBLE, "F64"},
    {onnx::TensorProto::FLOAT16, "F16"}, {onnx::TensorProto::BFLOAT16, "BF16"},
    {onnx::TensorProto::INT64, "I64"},   {onnx::TensorProto::INT32, "I32"},
    {onnx::TensorProto::INT16, "I16"},   {onnx::TensorProto::INT8, "I8"},
    {onnx::TensorProto::UINT64, "U64"},  {onnx::TensorProto::UINT32, "U32"},
    {onnx::TensorProto::UINT16, "U16"},  {onnx::TensorProto::UINT8, "U8"},
    {onnx::TensorProto::BOOL, "BOOL"}};

/// nullptr for a type that is not known here.
inline const char* dtype_of_onnx(int type) {
  for (const OnnxDtype& dtype : onnx_dtypes) {
    if (dtype.type == type) return dtype.name;
  }
  return nullptr;
}

inline int onnx_type_of(const std::string& dtype) {
  for (const OnnxDtype& known : onnx_dtypes) {
    if (dtype == known.name) return known.type;
  }
  return onnx::TensorProto::UNDEFINED;
}

/// Elements of a typed field, cut to the size of the dtype.
template <class Stored, class Field>
void append_elements(std::string& bytes, const Field& field) {
  bytes.resize(static_cast<std::size_t>(field.size()) * sizeof(Stored));
  std::size_t place = 0;
  for (const auto& element : field) {
    const Stored stored = static_cast<Stored>(element);
    copy_little_endian(&bytes[place], &stored, 1, sizeof stored);
    place += sizeof stored;
  }
}

/// The bytes of a tensor that holds its numbers in the field of their type.
inline std::string bytes_of_typed_field(const onnx::TensorProto& proto) {
  std::string bytes;
  switch (proto.data_type()) {
    case onnx::TensorProto::FLOAT:
      append_elements<float>(bytes, proto.float_data());
      break;
    case onnx::TensorProto::DOUBLE:
      append_elements<double>(bytes, proto.double_data());
      break;
    case onnx::TensorProto::INT64:
      append_elements<std::int64_t>(bytes, proto.int64_data());
      break;
    case onnx::TensorProto::UINT64:
      append_elements<std::uint64_t>(bytes, proto.uint64_data());
      break;
    case onnx::TensorProto::UINT32:
      append_elements<std::uint32_t>(bytes, proto.uint64_data());
      break;
    case onnx::TensorProto::INT32:
      append_elements<std::int32_t>(bytes, proto.int32_data());
      break;
    case onnx::TensorProto::FLOAT16:  // as bits
    case onnx::TensorProto::BFLOAT16:
    case onnx::TensorProto::UINT16:
    case onnx::TensorProto::INT16:
      append_elements<std::uint16_t>(bytes, proto.int32_data());
      break;
    default:
      append_elements<std::uint8_t>(bytes, proto.int32_data());
  }
  return bytes;
}

/// A whole number in decimal digits.
inline bool parse_digits(const std::string& digits, std::uint64_t& number) {
  constexpr std::uint64_t most = (std::numeric_limits<std::uint64_t>::max)();
  number = 0;
  for (const char letter : digits) {
    if (letter < '0' || letter > '9') return false;
    const std::uint64_t digit = static_cast<std::uint64_t>(letter - '0');
    if (number > (most - digit) / 10) return false;
    number = number * 10 + digit;
  }
  return !digits.empty();
}

/// Reads a tensor; says why it cannot, instead of raising, because a model with one bad tensor has
/// others that are good.
class OnnxTensorReader {
 public:
  OnnxTensorReader(const onnx::TensorProto& proto, const OnnxModel& model)
      : proto_(proto), model_(model) {}

  /// @return false with the reason in fault()
  bool read(Tensor& tensor) {
    const char* const dtype = dtype_of_onnx(proto_.data_type());
    if (dtype == nullptr) return fail(text("elements of the unknown type ", proto_.data_type()));
    tensor = Tensor{dtype, {}, nullptr, 0};
    for (const auto extent : proto_.dims()) tensor.shape.push_back(static_cast<Index>(extent));
    const std::optional<std::uint64_t> count = count_elements(tensor.shape);
    if (!count.has_value()) {
      return fail("no shape of a tensor: " + shape_text(tensor.shape));
    }
    if (proto_.has_segment()) return fail("a segment of a tensor");
    const bool external = proto_.data_location() == onnx::TensorProto::EXTERNAL;
    return external ? read_external(tensor, *count) : read_own(tensor, *count);
  }

  const std::string& fault() const { return fault_; }

 private:
  bool fail(std::string fault) {
    fault_ = std::move(fault);
    return false;
  }

  bool read_own(Tensor& tensor, std::uint64_t count) {
    const std::string bytes =
        proto_.has_raw_data() ? proto_.raw_data() : bytes_of_typed_field(proto_);
    if (!fills_bytes(tensor.dtype, count, bytes.size())) {
      return fail(text(bytes.size(), " bytes for ", tensor.dtype, " ", shape_text(tensor.shape)));
    }
    tensor.size = bytes.size();
    const std::shared_ptr<unsigned char> copy = allocate_bytes(tensor.size);
    std::copy(bytes.begin(), bytes.end(), copy.get());
    tensor.bytes = copy;
    return true;
  }

  /// The entries location, offset and length of external data; offset is 0 where there is none.
  bool read_external(Tensor& tensor, std::uint64_t count) {
    std::string location;
    std::uint64_t offset = 0;
    std::uint64_t length = count * (dtype_bits(tensor.dtype) / 8);
    for (const auto& entry : proto_.external_data()) {
      if (entry.key() == "location") location = without_dot(entry.value());
      const bool number = entry.key() == "offset" || entry.key() == "length";
      if (number && !parse_digits(entry.value(), entry.key() == "offset" ? offset : length)) {
        return fail(text("external data with ", entry.key(), " ", in_quotes(entry.value())));
      }
    }
    const std::string objection = objection_to_file_name(location);
    if (!objection.empty()) {
      return fail(text("external data in ", in_quotes(location), ", which is ", objection));
    }
    if (model_.folder.empty()) {
      return fail(text("external data in ", in_quotes(location),
                       ", and the model comes from memory, without a folder"));
    }
    if (!fills_bytes(tensor.dtype, count, length)) {
      return fail(text("external data of ", length, " bytes for ", tensor.dtype, " ",
                       shape_text(tensor.shape)));
    }
    return map_external(tensor, location, offset, length);
  }

  bool map_external(Tensor& tensor, const std::string& location, std::uint64_t offset,
                    std::uint64_t length) {
    const std::filesystem::path path = std::filesystem::path(model_.folder) / location;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) {
      return fail(text("external data in ", in_quotes(location), ", and there is no such file"));
    }
    const FileBytes file = map_file({"read_onnx", path.string()});
    if (offset > file.size || length > file.size - offset) {
      return fail(text("external data of ", length, " bytes from byte ", offset, " of ",
                       in_quotes(location), ", which has ", file.size));
    }
    tensor.size = static_cast<std::size_t>(length);
    tensor.bytes = std::shared_ptr<const unsigned char>(file.bytes, file.bytes.get() + offset);
    return true;
  }

  const onnx::TensorProto& proto_;
  const OnnxModel& model_;
  std::string fault_;
};

/// Puts numbers into a TensorProto as raw bytes; its name and its description stay.
inline void set_onnx_tensor(onnx::TensorProto& proto, const Tensor& tensor) {
  proto.clear_float_data();
  proto.clear_double_data();
  proto.clear_int32_data();
  proto.clear_int64_data();
  proto.clear_uint64_data();
  proto.clear_string_data();
  proto.clear_external_data();
  proto.clear_data_location();
  proto.clear_dims();
  for (const Index extent : tensor.shape) proto.add_dims(extent);
  proto.set_data_type(onnx_type_of(tensor.dtype));
  proto.set_raw_data(tensor.bytes.get(), tensor.size);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_TENSOR_HPP
