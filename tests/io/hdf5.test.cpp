// SPDX-License-Identifier: MIT
#include "batchnorm/io/hdf5.hpp"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/hdf5_files.hpp"
#include "support/paths.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

Tensors read(const std::string& bytes) {
  const detail::Hdf5Silence silence;
  Tensors tensors("in memory");
  const detail::Hdf5Handle file(detail::open_hdf5_image(bytes), H5Fclose);
  if (file.is_open()) {
    const detail::FileContext context{"read", "x.h5"};
    detail::Hdf5Reader(context, bytes.size(), tensors).read_group(file.id(), "");
  }
  return tensors;
}

}  // namespace

TEST_CASE("datasets of all types are read under their paths") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    Hdf5File file(path);
    file.add("w/bn/gamma:0", {3}, std::vector<float>{1.5f, -2.0f, 0.5f});
    file.add("w/double", {2, 1}, std::vector<double>{1, 2});
    file.add("count", {}, std::vector<std::int64_t>{460});
    file.add("none", {0}, std::vector<float>{});
    file.add_text("", "model_config", "{}");
  }
  const Tensors tensors = read(read_bytes(path));
  CHECK(tensors.keys() == std::vector<std::string>{"count", "none", "w/bn/gamma:0", "w/double"});
  CHECK(tensors.values<float>("w/bn/gamma:0") == std::vector<float>{1.5f, -2.0f, 0.5f});
  CHECK(tensors.dtype("w/double") == "F64");
  CHECK(tensors.shape("w/double") == std::vector<Index>{2, 1});
  CHECK(tensors.value<std::int64_t>("count") == 460);
}

TEST_CASE("two bytes without meaning are bfloat16 where an attribute says so") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    const Hdf5File file(path);
    const detail::Hdf5Handle type(H5Tcreate(H5T_OPAQUE, 2), H5Tclose);
    const hsize_t extent = 2;
    const detail::Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    const std::uint16_t bits[] = {0x3fc0, 0xc000};  // 1.5, -2
    for (const char* name : {"known", "unknown"}) {
      const detail::Hdf5Handle set(
          H5Dcreate2(file.id(), name, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          H5Dclose);
      H5Dwrite(set.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bits);
    }
    file.add_text("known", "dtype", "bfloat16", true);
  }
  const Tensors tensors = read(read_bytes(path));
  CHECK(tensors.keys() == std::vector<std::string>{"known"});
  CHECK(tensors.values<float>("known") == std::vector<float>{1.5f, -2});
}

TEST_CASE("names of groups are kept by their paths") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    Hdf5File file(path);
    file.add("a/vars/0", {1}, std::vector<float>{1});
    file.add("b/vars/0", {1}, std::vector<float>{1});
    file.add_text("a/vars", "name", "bn1", true);
  }
  const std::string bytes = read_bytes(path);
  Tensors tensors("in memory");
  const detail::Hdf5Handle file(detail::open_hdf5_image(bytes), H5Fclose);
  const detail::FileContext context{"read", "x.h5"};
  detail::Hdf5Reader reader(context, bytes.size(), tensors);
  reader.read_group(file.id(), "");
  CHECK(reader.group_names() == detail::Hdf5Reader::Names{{"a/vars/", "bn1"}});
}

TEST_CASE("links are not followed, and a group that holds itself is entered once") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    Hdf5File file(path);
    file.add("g/x", {1}, std::vector<float>{1});
    H5Lcreate_hard(file.id(), "g", file.id(), "g/again", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/g/x", file.id(), "soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("/etc/other.h5", "/x", file.id(), "outside", H5P_DEFAULT, H5P_DEFAULT);
  }
  CHECK(read(read_bytes(path)).keys() == std::vector<std::string>{"g/x"});
}

TEST_CASE("a shape that the file cannot hold is refused before memory is asked for") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    const Hdf5File file(path);
    const hsize_t extents[] = {hsize_t{1} << 20, hsize_t{1} << 20};
    const detail::Hdf5Handle space(H5Screate_simple(2, extents, nullptr), H5Sclose);
    const detail::Hdf5Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const hsize_t chunk[] = {64, 64};
    H5Pset_chunk(create.id(), 2, chunk);
    H5Dclose(H5Dcreate2(file.id(), "huge", H5T_IEEE_F32LE, space.id(), H5P_DEFAULT, create.id(),
                        H5P_DEFAULT));
  }
  CHECK_THROWS_MATCHES(read(read_bytes(path)), std::runtime_error,
                       says("tensor \"huge\": shape: expected elements that 0 bytes may hold"));
}

TEST_CASE("texts that are attributes, of fixed and of variable length") {
  const TemporaryFolder folder;
  Hdf5File file(folder.file("a.h5"));
  file.add_text("", "fixed", "some text");
  file.add_text("", "variable", "another text", true);
  file.add_text("", "empty", "");
  CHECK(detail::hdf5_text(file.id(), "fixed") == "some text");
  CHECK(detail::hdf5_text(file.id(), "variable") == "another text");
  CHECK(detail::hdf5_text(file.id(), "empty") == "");
  CHECK(detail::hdf5_text(file.id(), "nowhere") == "");
  // As NumPy has it: no zero behind the last letter.
  const detail::Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), 4);
  H5Tset_strpad(type.id(), H5T_STR_NULLPAD);
  const detail::Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const detail::Hdf5Handle full(
      H5Acreate2(file.id(), "full", type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  H5Awrite(full.id(), type.id(), "text");
  CHECK(detail::hdf5_text(file.id(), "full") == "text");
}

TEST_CASE("what is no HDF5 file is not opened") {
  const detail::Hdf5Silence silence;
  for (const std::string text : {"", "x", "\x89HDF\r\n\x1a\n"}) {
    CHECK(detail::open_hdf5_image(text) < 0);
  }
}

TEST_CASE("what several hard links lead to is there under each of them") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    Hdf5File file(path);
    file.add("b/bn/x", {2}, std::vector<float>{1, -2});
    H5Lcreate_hard(file.id(), "b", file.id(), "a", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(file.id(), "b/bn/x", file.id(), "c", H5P_DEFAULT, H5P_DEFAULT);
    file.add_text("b/bn", "name", "norm", true);
  }
  const Tensors tensors = read(read_bytes(path));
  REQUIRE(tensors.keys() == std::vector<std::string>{"a/bn/x", "b/bn/x", "c"});
  for (const std::string& key : tensors.keys()) {
    CHECK(tensors.values<float>(key) == std::vector<float>{1, -2});
    CHECK(tensors.tensor(key).bytes == tensors.tensor("c").bytes);
  }
}

TEST_CASE("more paths to the same groups than any file has are refused") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    Hdf5File file(path);
    file.add("g20/x", {1}, std::vector<float>{1});
    // Each group leads to the next in four ways: 4^20 paths to the last.
    for (int i = 20; i-- > 0;) {
      const std::string own = "g" + std::to_string(i);
      H5Gclose(H5Gcreate2(file.id(), own.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
      for (const char* const way : {"/a", "/b", "/c", "/d"}) {
        H5Lcreate_hard(file.id(), ("g" + std::to_string(i + 1)).c_str(), file.id(),
                       (own + way).c_str(), H5P_DEFAULT, H5P_DEFAULT);
      }
    }
  }
  CHECK_THROWS_MATCHES(read(read_bytes(path)), std::runtime_error,
                       says("links to what has been read: expected at most 100000, got more"));
}

TEST_CASE("groups in groups are read to a depth of 64, and deeper ones are no silence") {
  for (const int depth : {64, 65}) {
    const TemporaryFolder folder;
    const std::string path = folder.file("a.h5");
    std::string key;
    for (int i = 0; i < depth; ++i) key += "g/";
    key += "x";
    Hdf5File(path).add(key, {1}, std::vector<float>{1});
    if (depth == 64) CHECK(read(read_bytes(path)).contains(key));
    if (depth == 65) {
      CHECK_THROWS_MATCHES(read(read_bytes(path)), std::runtime_error,
                           says("groups inside each other: expected at most 64, got more"));
    }
  }
}

TEST_CASE("a group that is damaged is an error, and not a group without layers") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    Hdf5File file(path);
    file.add("a/x", {1}, std::vector<float>{1});
    file.add("b/x", {1}, std::vector<float>{2});
  }
  const std::string whole = read_bytes(path);
  // Section III.A.1 and B of the format: nodes of a group begin with these four letters.
  for (const char* const letters : {"SNOD", "TREE", "HEAP"}) {
    INFO(letters);
    std::string bytes = whole;
    const std::size_t place = bytes.rfind(letters);
    REQUIRE(place != std::string::npos);
    bytes[place] = 'x';
    CHECK_THROWS_MATCHES(read(bytes), std::runtime_error,
                         says("dataset or group: expected one that HDF5 can open, got an error"));
  }
}
