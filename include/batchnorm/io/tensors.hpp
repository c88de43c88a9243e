// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_TENSORS_HPP
#define BATCHNORM_IO_TENSORS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// One tensor as it lies in a file: row major, little endian, of a named element type. Copies share
/// the bytes, which nobody changes; they may belong to a larger buffer, or to a mapped file.
struct Tensor {
  std::string dtype;  ///< F64 F32 F16 BF16 I64 ..., or a name that this library does not know
  std::vector<Index> shape;                    ///< empty for a single number
  std::shared_ptr<const unsigned char> bytes;  ///< of the elements
  std::size_t size = 0;                        ///< number of bytes
};

/// The named tensors and the metadata of a checkpoint, in memory.
///
/// Reading converts: floating dtypes (F64 F32 F16 BF16) to any floating scalar, whole numbers (I64
/// ... U8) to any integral type and to float, double and other wide scalars, BOOL to integral types
/// and bool. A number is rounded at most once, to nearest; one that is outside the range of the
/// asked type is an error. A tensor asked for in its own type keeps every bit, NaN payloads too.
///
/// Errors: std::runtime_error when the file is not what the caller expects (no such tensor, another
/// dtype or rank), std::domain_error when a number does not fit, std::invalid_argument when the
/// caller puts in what no file can hold. The text names file and tensor.
/// Each call takes the key, the name of a tensor.
/// Cost: values are converted at each call and copied once; nothing is cached. A name is looked up
/// in a sorted map. Thread safety: const member functions may run concurrently. Shapes: as in the
/// file, rank 0 and more, and row major.
class Tensors {
 public:
  /// No tensors.
  Tensors() = default;
  /// No tensors, with a name.
  /// @param name  what messages call this collection, usually the path of its file
  explicit Tensors(std::string name) : name_(std::move(name)) {}

  /// What messages call it.
  const std::string& name() const { return name_; }
  /// Number of tensors.
  std::size_t size() const { return tensors_.size(); }
  /// Whether there is a tensor of that name.
  bool contains(const std::string& key) const { return tensors_.count(key) != 0; }

  /// All names, sorted.
  std::vector<std::string> keys() const {
    std::vector<std::string> names;
    for (const auto& entry : tensors_) names.push_back(entry.first);
    return names;
  }

  /// The names that begin with `beginning`, sorted. Cost: does not look at the others.
  std::vector<std::string> keys(const std::string& beginning) const {
    std::vector<std::string> names;
    auto entry = tensors_.lower_bound(beginning);
    for (; entry != tensors_.end(); ++entry) {
      if (entry->first.compare(0, beginning.size(), beginning) != 0) break;
      names.push_back(entry->first);
    }
    return names;
  }

  /// Texts that travel with the tensors.
  std::map<std::string, std::string>& metadata() { return metadata_; }
  /// The same, to be looked at.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// A tensor as stored. set() takes it again, so tensors of any dtype move between files.
  const Tensor& tensor(const std::string& key) const { return find("Tensors::tensor", key); }
  /// The type of its elements, by the name that the format has for it.
  const std::string& dtype(const std::string& key) const {
    return find("Tensors::dtype", key).dtype;
  }
  /// Its extents, the slowest axis first; empty for a single number.
  const std::vector<Index>& shape(const std::string& key) const {
    return find("Tensors::shape", key).shape;
  }

  /// All elements, row major.
  template <class T>
  std::vector<T> values(const std::string& key) const {
    return read<T>("Tensors::values", key);
  }

  /// The only element of a tensor that has one, whatever its rank.
  template <class T>
  T value(const std::string& key) const {
    const std::vector<T> all = read<T>("Tensors::value", key);
    if (all.size() != 1) {
      detail::fail_tensor(context("Tensors::value"), key, "number of elements", "1",
                          detail::text(all.size()));
    }
    return all[0];
  }

  /// A tensor of rank 2 as rows x columns; rank 1 gives one column, rank 0 a 1 x 1 matrix.
  template <class T>
  Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> matrix(const std::string& key) const {
    const std::vector<Index>& extents = find("Tensors::matrix", key).shape;
    if (extents.size() > 2) {
      detail::fail_tensor(context("Tensors::matrix"), key, "shape of a matrix", "at most 2 axes",
                          detail::shape_text(extents));
    }
    const std::vector<T> all = read<T>("Tensors::matrix", key);
    const Index rows = extents.empty() ? 1 : extents[0];
    const Index columns = extents.size() < 2 ? 1 : extents[1];
    Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> result(rows, columns);
    std::size_t next = 0;
    for (Index row = 0; row < rows; ++row) {
      for (Index column = 0; column < columns; ++column) result(row, column) = all[next++];
    }
    return result;
  }

  /// Adds or replaces a tensor, copying row-major elements. T is double, float, Eigen::half,
  /// Eigen::bfloat16, bool or an integer, and is stored as that.
  /// @throws std::invalid_argument for a negative extent, a null pointer, or the name __metadata__.
  template <class T>
  void set(const std::string& key, const std::vector<Index>& shape, const T* elements) {
    static_assert(detail::dtype_name<T>() != nullptr,
                  "batchnorm: files hold double, float, half, bfloat16, bool and integers; convert "
                  "the elements to one of these");
    const std::size_t count = checked_count(key, shape);
    if (elements == nullptr && count != 0) {
      detail::fail_argument("Tensors::set", "data of " + detail::in_quotes(key), "elements",
                            "a null pointer");
    }
    if (count >
        static_cast<std::size_t>((std::numeric_limits<std::ptrdiff_t>::max)()) / sizeof(T)) {
      detail::fail_argument("Tensors::set", "data of " + detail::in_quotes(key),
                            "elements that fit into memory", detail::shape_text(shape));
    }
    Tensor tensor{detail::dtype_name<T>(), shape, nullptr, count * sizeof(T)};
    const std::shared_ptr<unsigned char> bytes = detail::allocate_bytes(tensor.size);
    detail::copy_little_endian(bytes.get(), elements, count, sizeof(T));
    tensor.bytes = bytes;
    tensors_[key] = std::move(tensor);
  }

  /// The same from a vector, whose size must be that of the shape.
  template <class T>
  void set(const std::string& key, const std::vector<Index>& shape,
           const std::vector<T>& elements) {
    const std::size_t count = checked_count(key, shape);
    if (elements.size() != count) {
      detail::fail_argument("Tensors::set", "number of elements of " + detail::in_quotes(key),
                            detail::text(count, " for shape ", detail::shape_text(shape)),
                            detail::text(elements.size()));
    }
    if constexpr (std::is_same<T, bool>::value) {
      const std::unique_ptr<bool[]> unpacked(new bool[count]);
      std::copy(elements.begin(), elements.end(), unpacked.get());
      set(key, shape, unpacked.get());
    } else {
      set(key, shape, elements.data());
    }
  }

  /// An Eigen matrix, array or expression, as [rows, columns]; vectors by their type as [size].
  template <class Derived>
  void set(const std::string& key, const Eigen::DenseBase<Derived>& matrix) {
    const typename Derived::PlainObject plain(matrix.derived());
    std::vector<typename Derived::Scalar> elements;
    elements.reserve(static_cast<std::size_t>(plain.size()));
    for (Index row = 0; row < plain.rows(); ++row) {
      for (Index column = 0; column < plain.cols(); ++column) {
        elements.push_back(plain(row, column));
      }
    }
    if (Derived::IsVectorAtCompileTime) {
      set(key, {plain.size()}, elements);
    } else {
      set(key, {plain.rows(), plain.cols()}, elements);
    }
  }

  /// A single number, the value, of shape [].
  template <class T>
  void set_value(const std::string& key, const T& value) {
    set(key, std::vector<Index>(), &value);
  }

  /// A tensor as stored, from elsewhere.
  /// @throws std::invalid_argument when bytes, shape and dtype do not belong together.
  void set(const std::string& key, Tensor tensor) {
    const std::size_t count = checked_count(key, tensor.shape);
    const bool fits = detail::fills_bytes(tensor.dtype, count, tensor.size);
    if (!detail::is_dtype_name(tensor.dtype) || !fits || (!tensor.bytes && tensor.size != 0)) {
      detail::fail_argument(
          "Tensors::set", "tensor " + detail::in_quotes(key),
          "a dtype, a shape and the bytes of its elements",
          detail::text(detail::in_quotes(tensor.dtype), ", ", detail::shape_text(tensor.shape),
                       " and ", tensor.bytes ? tensor.size : 0, " bytes"));
    }
    tensors_[key] = std::move(tensor);
  }

  /// Removes a tensor, if it is there.
  void erase(const std::string& key) { tensors_.erase(key); }

 private:
  detail::FileContext context(const char* function) const {
    return detail::FileContext{function, name_};
  }

  static std::size_t checked_count(const std::string& key, const std::vector<Index>& shape) {
    bool valid = key != "__metadata__";
    for (const Index extent : shape) valid = valid && extent >= 0;
    const std::optional<std::uint64_t> count = detail::count_elements(shape);
    if (valid && !count) {
      detail::fail_argument("Tensors::set", "number of elements of " + detail::in_quotes(key),
                            "extents whose product fits 64 bits", detail::shape_text(shape));
    }
    if (!valid) {
      detail::fail_argument("Tensors::set", "name and shape of a tensor",
                            "another name than __metadata__, and extents of zero or more",
                            detail::in_quotes(key) + " " + detail::shape_text(shape));
    }
    return static_cast<std::size_t>(*count);
  }

  const Tensor& find(const char* function, const std::string& key) const {
    const auto entry = tensors_.find(key);
    if (entry != tensors_.end()) return entry->second;
    std::string got = "none of that name";
    const auto next = tensors_.lower_bound(key);
    if (next != tensors_.end()) got += "; there is " + detail::in_quotes(next->first);
    detail::fail_tensor(context(function), key, "name", detail::text("one of ", size(), " tensors"),
                        got);
  }

  template <class T>
  std::vector<T> read(const char* function, const std::string& key) const {
    const Tensor& tensor = find(function, key);
    const std::uint64_t count = *detail::count_elements(tensor.shape);
    // A dtype without a known size says nothing about the number of bytes.
    std::vector<T> values(detail::dtype_bits(tensor.dtype) == 0 ? 0
                                                                : static_cast<std::size_t>(count));
    const std::optional<std::size_t> done =
        detail::decode(tensor.dtype, tensor.bytes.get(), values);
    if (!done.has_value()) {
      detail::fail_tensor(context(function), key, "dtype",
                          "one that converts to the scalar asked for", tensor.dtype);
    }
    if (*done != values.size()) {
      detail::raise_domain_error(detail::text(
          detail::beginning(context(function)), "tensor ", detail::in_quotes(key), ": element ",
          *done,
          ": expected a number in the range of the scalar asked for, got one outside of it in ",
          tensor.dtype));
    }
    return values;
  }

  std::string name_ = "tensors in memory";
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_TENSORS_HPP
