// SPDX-License-Identifier: MIT
// HDF5 files for tests.
#ifndef BATCHNORM_TESTS_SUPPORT_HDF5_FILES_HPP
#define BATCHNORM_TESTS_SUPPORT_HDF5_FILES_HPP

#include <hdf5.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/io/hdf5.hpp"

namespace batchnorm_test {

class Hdf5File {
 public:
  explicit Hdf5File(const std::string& path)
      : file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose) {
    if (!file_.is_open()) throw std::runtime_error("cannot write " + path);
  }

  hid_t id() const { return file_.id(); }

  /// Adds a dataset, and the groups on the way to it.
  template <class T>
  void add(const std::string& path, const std::vector<hsize_t>& shape,
           const std::vector<T>& values) {
    const hid_t type = std::is_same<T, float>::value    ? H5T_NATIVE_FLOAT
                       : std::is_same<T, double>::value ? H5T_NATIVE_DOUBLE
                                                        : H5T_NATIVE_INT64;
    const batchnorm::detail::Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(links.id(), 1);
    const batchnorm::detail::Hdf5Handle space(
        shape.empty() ? H5Screate(H5S_SCALAR)
                      : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
        H5Sclose);
    const batchnorm::detail::Hdf5Handle set(H5Dcreate2(file_.id(), path.c_str(), type, space.id(),
                                                       links.id(), H5P_DEFAULT, H5P_DEFAULT),
                                            H5Dclose);
    H5Dwrite(set.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  }

  /// Adds a text to a group or a dataset, "" for the root.
  void add_text(const std::string& group, const std::string& name, const std::string& text,
                bool is_variable = false) const {
    const batchnorm::detail::Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type.id(), is_variable ? H5T_VARIABLE : text.size() + 1);
    const batchnorm::detail::Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const std::string owner = group.empty() ? "/" : group;
    const batchnorm::detail::Hdf5Handle attribute(
        H5Acreate_by_name(file_.id(), owner.c_str(), name.c_str(), type.id(), space.id(),
                          H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    const char* const letters = text.c_str();
    if (is_variable) {
      H5Awrite(attribute.id(), type.id(), &letters);
    } else {
      H5Awrite(attribute.id(), type.id(), letters);
    }
  }

 private:
  batchnorm::detail::Hdf5Handle file_;
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_HDF5_FILES_HPP
