// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_HDF5_HPP
#define BATCHNORM_IO_HDF5_HPP

#include <hdf5.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// The datasets of an HDF5 file as Tensors. Needs the HDF5 library (Debian: libhdf5-dev; CMake:
// batchnorm::keras), which parses the file and is as safe as it is on files from strangers.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A handle of HDF5, closed at the end. Negative when it could not be opened.
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;
  ~Hdf5Handle() {
    if (is_open()) close_(id_);
  }
  hid_t id() const { return id_; }
  bool is_open() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

/// What HDF5 says of most of its calls.
inline bool has_failed(herr_t status) {
  return status < 0;
}

/// Keeps HDF5 from printing its errors while this lives.
class Hdf5Silence {
 public:
  Hdf5Silence() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  Hdf5Silence(const Hdf5Silence&) = delete;
  Hdf5Silence& operator=(const Hdf5Silence&) = delete;
  ~Hdf5Silence() { H5Eset_auto2(H5E_DEFAULT, print_, data_); }

 private:
  H5E_auto2_t print_ = nullptr;
  void* data_ = nullptr;
};

/// The dtype that elements of an HDF5 type are read as, and the type for it; none for text and for
/// what no tensor holds.
inline std::pair<const char*, hid_t> hdf5_dtype(hid_t type) {
  const std::size_t size = H5Tget_size(type);
  if (H5Tget_class(type) == H5T_FLOAT) {
    if (size == 8) return {"F64", H5T_IEEE_F64LE};
    if (size == 4) return {"F32", H5T_IEEE_F32LE};
    if (size == 2) return {"F32", H5T_IEEE_F32LE};  // half: every value of it is a float
  }
  if (H5Tget_class(type) == H5T_INTEGER) {
    const bool has_sign = H5Tget_sign(type) == H5T_SGN_2;
    if (size == 8) return {has_sign ? "I64" : "U64", has_sign ? H5T_STD_I64LE : H5T_STD_U64LE};
    if (size == 4) return {has_sign ? "I32" : "U32", has_sign ? H5T_STD_I32LE : H5T_STD_U32LE};
    if (size == 2) return {has_sign ? "I16" : "U16", has_sign ? H5T_STD_I16LE : H5T_STD_U16LE};
    if (size == 1) return {has_sign ? "I8" : "U8", has_sign ? H5T_STD_I8LE : H5T_STD_U8LE};
  }
  return {};
}

/// A text that is an attribute of an object, of fixed or of variable length; "" when there is none.
inline std::string hdf5_text(hid_t object, const char* name) {
  constexpr std::size_t longest = std::size_t{1} << 28;
  if (H5Aexists(object, name) <= 0) return {};
  const Hdf5Handle attribute(H5Aopen(object, name, H5P_DEFAULT), H5Aclose);
  const Hdf5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  const Hdf5Handle space(H5Aget_space(attribute.id()), H5Sclose);
  if (H5Tget_class(type.id()) != H5T_STRING) return {};
  if (H5Sget_simple_extent_npoints(space.id()) != 1) return {};
  if (H5Tis_variable_str(type.id()) > 0) {
    char* found = nullptr;
    if (has_failed(H5Aread(attribute.id(), type.id(), &found)) || found == nullptr) return {};
    const std::string result = found;
    H5free_memory(found);
    return result;
  }
  const std::size_t size = H5Tget_size(type.id());
  if (size > longest) return {};
  std::string result(size, '\0');
  if (has_failed(H5Aread(attribute.id(), type.id(), &result[0]))) return {};
  // NumPy fills all of a fixed size with letters, C puts a zero behind them, Fortran spaces.
  result.resize((std::min)(result.find('\0'), size));
  if (H5Tget_strpad(type.id()) == H5T_STR_SPACEPAD) {
    result.resize(result.find_last_not_of(' ') + 1);
  }
  return result;
}

/// Collects all datasets below a group, by their path without the first slash, and the names that
/// Keras 3 gives to groups. What several hard links lead to is there under each of them, and read
/// once. Links to other files, soft links and groups that hold themselves are not followed.
class Hdf5Reader {
 public:
  using Names = std::map<std::string, std::string>;

  Hdf5Reader(const FileContext& context, std::uint64_t file_size, Tensors& tensors)
      : context_(context), file_size_(file_size), tensors_(tensors) {}

  void read_group(hid_t group, const std::string& path, int depth = 0) {
    constexpr int deepest = 64;
    const haddr_t own = address_of(group, path);
    if (!around_.insert(own).second) return;
    if (!groups_.insert(own).second) count_repeat();
    if (depth > deepest) {
      fail_tensor(context_, path, "groups inside each other", text("at most ", deepest), "more");
    }
    const std::string own_name = hdf5_text(group, "name");
    if (!own_name.empty()) group_names_[path] = own_name;
    std::vector<std::string> names;
    check_object(
        !has_failed(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_name, &names)),
        path);
    for (const std::string& name : names) {
      const Hdf5Handle object(H5Oopen(group, name.c_str(), H5P_DEFAULT), H5Oclose);
      check_object(object.is_open(), path + name);
      const H5I_type_t kind = H5Iget_type(object.id());
      if (kind == H5I_DATASET) read_dataset(object.id(), path + name);
      if (kind == H5I_GROUP) read_group(object.id(), path + name + "/", depth + 1);
    }
    around_.erase(own);
  }

  /// The attribute `name` of groups that have one, by their path with a slash behind it.
  const Names& group_names() const { return group_names_; }

 private:
  static herr_t collect_name(hid_t, const char* name, const H5L_info_t* info, void* names) {
    if (info->type == H5L_TYPE_HARD) static_cast<std::vector<std::string>*>(names)->push_back(name);
    return 0;
  }

  /// Where an object lies in the file, which is the same for all links to it.
  haddr_t address_of(hid_t object, const std::string& path) const {
    H5O_info_t info{};
    check_object(!has_failed(H5Oget_info2(object, &info, H5O_INFO_BASIC)), path);
    return info.addr;
  }

  /// What cannot be opened may be a layer: to pass over it would lose one without a word.
  void check_object(bool is_read, const std::string& path) const {
    if (is_read) return;
    fail_tensor(context_, path, "dataset or group", "one that HDF5 can open", "an error");
  }

  /// A small file can lead to the same groups in more ways than any memory has room for.
  void count_repeat() {
    constexpr std::size_t most = 100000;
    if (++repeats_ <= most) return;
    fail_file(context_, "links to what has been read", text("at most ", most), "more");
  }

  /// Keras 3 stores bfloat16 as two bytes without meaning, and says so in an attribute.
  static std::pair<const char*, hid_t> stored_dtype(hid_t dataset, hid_t type) {
    const bool is_opaque = H5Tget_class(type) == H5T_OPAQUE && H5Tget_size(type) == 2;
    if (is_opaque && hdf5_text(dataset, "dtype") == "bfloat16") return {"BF16", type};
    return hdf5_dtype(type);
  }

  void read_dataset(hid_t dataset, const std::string& key) {
    const haddr_t own = address_of(dataset, key);
    const auto known = read_.find(own);
    if (known != read_.end()) {
      count_repeat();
      return tensors_.set(key, known->second);
    }
    const Hdf5Handle type(H5Dget_type(dataset), H5Tclose);
    const Hdf5Handle space(H5Dget_space(dataset), H5Sclose);
    check_object(type.is_open() && space.is_open(), key);
    const auto [dtype, native] = stored_dtype(dataset, type.id());
    const H5S_class_t shape_kind = H5Sget_simple_extent_type(space.id());
    if (dtype == nullptr || shape_kind == H5S_NULL) return;
    hsize_t extents[H5S_MAX_RANK] = {};
    const int rank = H5Sget_simple_extent_dims(space.id(), extents, nullptr);
    std::vector<Index> shape;
    for (int axis = 0; axis < rank; ++axis) shape.push_back(static_cast<Index>(extents[axis]));
    const std::size_t size = checked_size(dataset, key, shape, dtype);
    const std::shared_ptr<unsigned char> bytes = allocate_bytes(size);
    if (has_failed(H5Dread(dataset, native, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.get()))) {
      fail_tensor(context_, key, "elements", "a dataset that HDF5 can read", "an error");
    }
    Tensor tensor{dtype, shape, bytes, size};
    read_[own] = tensor;
    tensors_.set(key, std::move(tensor));
  }

  /// The number of bytes, before memory is asked for: a small file can claim any shape. gzip
  /// shrinks by no more than a factor of 1032.
  std::size_t checked_size(hid_t dataset, const std::string& key, const std::vector<Index>& shape,
                           const char* dtype) const {
    constexpr std::uint64_t most_by_compression = 1032;
    const std::uint64_t bytes_per_element = dtype_bits(dtype) / 8;
    const std::optional<std::uint64_t> count = count_elements(shape);
    const std::uint64_t stored =
        (std::min)(std::uint64_t{H5Dget_storage_size(dataset)}, file_size_);
    const std::uint64_t most = (stored + 8) * most_by_compression;
    if (!count || *count > most / bytes_per_element) {
      fail_tensor(context_, key, "shape", text("elements that ", stored, " bytes may hold"),
                  shape_text(shape));
    }
    return static_cast<std::size_t>(*count * bytes_per_element);
  }

  FileContext context_;
  std::uint64_t file_size_;
  Tensors& tensors_;
  std::set<haddr_t> around_;  // the groups that are being read, one in the other
  std::set<haddr_t> groups_;
  std::map<haddr_t, Tensor> read_;
  std::size_t repeats_ = 0;
  Names group_names_;
};

/// Opens an HDF5 file that lies in memory; the bytes are copied.
inline hid_t open_hdf5_image(std::string_view bytes) {
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  constexpr std::size_t growth = 65536;
  std::string copy(bytes);
  if (has_failed(H5Pset_fapl_core(access.id(), growth, 0)) ||
      has_failed(H5Pset_file_image(access.id(), &copy[0], copy.size()))) {
    return H5I_INVALID_HID;
  }
  return H5Fopen("in_memory.h5", H5F_ACC_RDONLY, access.id());
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_HDF5_HPP
