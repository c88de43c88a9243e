// SPDX-License-Identifier: MIT
#include "batchnorm/io/hdf5.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
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
                       says("tensor \"huge\": shape: expected elements that 0 bytes may hold, got "
                            "[1048576, 1048576]"));
}

TEST_CASE("what is compressed has at most 1032 times the bytes that are stored, and 8 more") {
  const TemporaryFolder folder;
  // Without bytes of its own, as long as nobody has written it.
  const auto unwritten = [&](hid_t type, hsize_t count) {
    {
      const Hdf5File file(folder.file("a.h5"));
      const detail::Hdf5Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose);
      H5Dclose(H5Dcreate2(file.id(), "x", type, space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
    return read_bytes(folder.file("a.h5"));
  };
  CHECK(read(unwritten(H5T_IEEE_F32LE, 8 * 1032 / 4)).tensor("x").size == 8 * 1032);
  CHECK(read(unwritten(H5T_IEEE_F64LE, 1032)).tensor("x").size == 8 * 1032);
  CHECK(read(unwritten(H5T_STD_I8LE, 8 * 1032)).tensor("x").size == 8 * 1032);
  for (const auto& [type, count] : {std::pair<hid_t, hsize_t>{H5T_IEEE_F32LE, 8 * 1032 / 4 + 1},
                                    {H5T_IEEE_F64LE, 1033},
                                    {H5T_STD_I8LE, 8 * 1032 + 1}}) {
    CHECK_THROWS_MATCHES(read(unwritten(type, count)), std::runtime_error,
                         says("shape: expected elements that 0 bytes may hold, got [" +
                              std::to_string(count) + "]"));
  }
  // No more than the file has, whatever it says.
  Hdf5File(folder.file("b.h5")).add("x", {9 * 129 + 1}, std::vector<double>(9 * 129 + 1, 1.0));
  Hdf5File(folder.file("c.h5")).add("x", {9 * 129}, std::vector<double>(9 * 129, 1.0));
  const auto read_as = [&](const char* name, std::uint64_t size) {
    Tensors tensors("in memory");
    const detail::Hdf5Handle file(detail::open_hdf5_image(read_bytes(folder.file(name))), H5Fclose);
    const detail::FileContext context{"read", "x.h5"};
    detail::Hdf5Reader(context, size, tensors).read_group(file.id(), "");
    return tensors.size();
  };
  CHECK(read_as("c.h5", 1) == 1);
  CHECK_THROWS_MATCHES(read_as("b.h5", 1), std::runtime_error,
                       says("shape: expected elements that 1 bytes may hold, got [1162]"));
}

TEST_CASE("numbers of all types of HDF5 become those of a dtype that has them") {
  const TemporaryFolder folder;
  const detail::Hdf5Handle half(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(half.id(), 15, 10, 5, 0, 10);
  H5Tset_size(half.id(), 2);
  H5Tset_ebias(half.id(), 15);
  const detail::Hdf5Handle truth(H5Tenum_create(H5T_NATIVE_INT8), H5Tclose);
  const std::int8_t is_false = 0;
  H5Tenum_insert(truth.id(), "FALSE", &is_false);
  const detail::Hdf5Handle letters(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(letters.id(), 4);
  const detail::Hdf5Handle words(H5Tcreate(H5T_OPAQUE, 4), H5Tclose);
  struct Case {
    hid_t type;
    std::string dtype;  ///< empty for what no tensor holds
  };
  const std::vector<Case> cases = {{H5T_IEEE_F64LE, "F64"},
                                   {H5T_IEEE_F64BE, "F64"},
                                   {H5T_IEEE_F32LE, "F32"},
                                   {H5T_IEEE_F32BE, "F32"},
                                   {half.id(), "F32"},
                                   {H5T_STD_I64LE, "I64"},
                                   {H5T_STD_U64BE, "U64"},
                                   {H5T_STD_I32BE, "I32"},
                                   {H5T_STD_U32LE, "U32"},
                                   {H5T_STD_I16LE, "I16"},
                                   {H5T_STD_U16BE, "U16"},
                                   {H5T_STD_I8LE, "I8"},
                                   {H5T_STD_U8LE, "U8"},
                                   {truth.id(), ""},
                                   {letters.id(), ""},
                                   {words.id(), ""},
                                   {H5T_NATIVE_LDOUBLE, sizeof(long double) == 8 ? "F64" : ""}};
  const std::string path = folder.file("a.h5");
  {
    const detail::Hdf5Silence silence;  // numbers cannot be written to all of them
    const Hdf5File file(path);
    const hsize_t extent = 2;
    const detail::Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const hid_t type = cases[i].type;
      const detail::Hdf5Handle set(H5Dcreate2(file.id(), std::to_string(i).c_str(), type,
                                              space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                   H5Dclose);
      const double values[] = {3, 100};
      H5Dwrite(set.id(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
      // What is no bfloat16, although it says so.
      const std::string name = std::to_string(i);
      file.add_text(name, "dtype", "bfloat16");
    }
  }
  const Tensors tensors = read(read_bytes(path));
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO(i << " " << cases[i].dtype);
    const std::string key = std::to_string(i);
    REQUIRE(tensors.contains(key) == !cases[i].dtype.empty());
    if (cases[i].dtype.empty()) continue;
    CHECK(tensors.dtype(key) == cases[i].dtype);
    CHECK(tensors.values<double>(key) == std::vector<double>{3, 100});
  }
}

TEST_CASE("the smallest and the largest whole numbers of HDF5 keep their signs") {
  const TemporaryFolder folder;
  {
    Hdf5File file(folder.file("a.h5"));
    file.add("x", {2},
             std::vector<std::int64_t>{(std::numeric_limits<std::int64_t>::min)(),
                                       (std::numeric_limits<std::int64_t>::max)()});
    const hsize_t extent = 1;
    const detail::Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    const detail::Hdf5Handle set(
        H5Dcreate2(file.id(), "y", H5T_STD_U8LE, space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Dclose);
    const std::uint8_t most = 255;
    H5Dwrite(set.id(), H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, &most);
  }
  const Tensors tensors = read(read_bytes(folder.file("a.h5")));
  CHECK(tensors.values<std::int64_t>("x") ==
        std::vector<std::int64_t>{(std::numeric_limits<std::int64_t>::min)(),
                                  (std::numeric_limits<std::int64_t>::max)()});
  CHECK(tensors.value<int>("y") == 255);
}

TEST_CASE("elements that are damaged are an error") {
  const TemporaryFolder folder;
  {
    const Hdf5File file(folder.file("a.h5"));
    const hsize_t extent = 4;
    const detail::Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    const detail::Hdf5Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(create.id(), 1, &extent);
    H5Pset_fletcher32(create.id());
    const detail::Hdf5Handle set(
        H5Dcreate2(file.id(), "x", H5T_STD_I8LE, space.id(), H5P_DEFAULT, create.id(), H5P_DEFAULT),
        H5Dclose);
    H5Dwrite(set.id(), H5T_NATIVE_CHAR, H5S_ALL, H5S_ALL, H5P_DEFAULT, "good");
  }
  std::string bytes = read_bytes(folder.file("a.h5"));
  CHECK(read(bytes).values<int>("x") == std::vector<int>{'g', 'o', 'o', 'd'});
  bytes.replace(bytes.find("good"), 4, "evil");
  CHECK_THROWS_MATCHES(read(bytes), std::runtime_error,
                       says("tensor \"x\": elements: expected a dataset that HDF5 can read, got "
                            "an error"));
}

TEST_CASE("a dataset without a place for elements is none") {
  const TemporaryFolder folder;
  {
    const Hdf5File file(folder.file("a.h5"));
    const detail::Hdf5Handle space(H5Screate(H5S_NULL), H5Sclose);
    H5Dclose(H5Dcreate2(file.id(), "x", H5T_IEEE_F32LE, space.id(), H5P_DEFAULT, H5P_DEFAULT,
                        H5P_DEFAULT));
  }
  CHECK(read(read_bytes(folder.file("a.h5"))).size() == 0);
}

TEST_CASE("a handle is closed with its scope, and HDF5 prints its errors again after a silence") {
  hid_t id = -1;
  {
    const detail::Hdf5Handle handle(H5Screate(H5S_SCALAR), H5Sclose);
    id = handle.id();
    CHECK(handle.is_open());
    CHECK(H5Iis_valid(id) > 0);
  }
  CHECK(H5Iis_valid(id) <= 0);
  CHECK_FALSE(detail::Hdf5Handle(-1, H5Sclose).is_open());
  const auto printer = [] {
    H5E_auto2_t print = nullptr;
    void* data = nullptr;
    H5Eget_auto2(H5E_DEFAULT, &print, &data);
    return print;
  };
  const H5E_auto2_t usual = printer();
  REQUIRE(usual != nullptr);
  {
    const detail::Hdf5Silence silence;
    CHECK(printer() == nullptr);
  }
  CHECK(printer() == usual);
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
  // As NumPy and Fortran have it: no zero behind the last letter, or spaces.
  const auto add_four = [&](const char* name, H5T_str_t padding, const char* letters) {
    const detail::Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type.id(), 4);
    H5Tset_strpad(type.id(), padding);
    const detail::Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const detail::Hdf5Handle full(
        H5Acreate2(file.id(), name, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    H5Awrite(full.id(), type.id(), letters);
    return detail::hdf5_text(file.id(), name);
  };
  CHECK(add_four("full", H5T_STR_NULLPAD, "text") == "text");
  CHECK(add_four("spaces", H5T_STR_NULLPAD, "a   ") == "a   ");
  CHECK(add_four("padded", H5T_STR_SPACEPAD, "a b ") == "a b");
  CHECK(add_four("only spaces", H5T_STR_SPACEPAD, "    ") == "");
}

TEST_CASE("an attribute that is no text, several, or none that was written, is no text") {
  const TemporaryFolder folder;
  const Hdf5File file(folder.file("a.h5"));
  const detail::Hdf5Handle one(H5Screate(H5S_SCALAR), H5Sclose);
  const hsize_t extent = 2;
  const detail::Hdf5Handle two(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  const detail::Hdf5Handle letter(H5Tcopy(H5T_C_S1), H5Tclose);
  const detail::Hdf5Handle any_length(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(any_length.id(), H5T_VARIABLE);
  const detail::Hdf5Handle utf8(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(utf8.id(), 3);
  H5Tset_cset(utf8.id(), H5T_CSET_UTF8);
  const auto text_of = [&](const char* name, hid_t type, hid_t space, const void* value) {
    const detail::Hdf5Handle attribute(
        H5Acreate2(file.id(), name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (value != nullptr) H5Awrite(attribute.id(), type, value);
    return detail::hdf5_text(file.id(), name);
  };
  const int number = 0x41414141;
  CHECK(text_of("number", H5T_NATIVE_INT, one.id(), &number).empty());
  CHECK(text_of("several", letter.id(), two.id(), "ab").empty());
  CHECK(text_of("unwritten", any_length.id(), one.id(), nullptr).empty());
  CHECK(text_of("letter", letter.id(), one.id(), "a") == "a");
  CHECK(text_of("utf8", utf8.id(), one.id(), "\xc3\xbc") == "\xc3\xbc");
  const char* const word = "\xc3\xbc";
  H5Tset_cset(any_length.id(), H5T_CSET_UTF8);
  CHECK(text_of("any utf8", any_length.id(), one.id(), &word) == "\xc3\xbc");
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

TEST_CASE("100000 links to what has been read are read") {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  {
    Hdf5File file(path);
    const auto link = [&](const std::string& from, const std::string& to) {
      H5Lcreate_hard(file.id(), from.c_str(), file.id(), to.c_str(), H5P_DEFAULT, H5P_DEFAULT);
    };
    // 999 beside the first, 98 to the group and all that is in it, and 903 more.
    file.add("g/0", {1}, std::vector<float>{1});
    for (int i = 1; i < 1000; ++i) link("g/0", "g/" + std::to_string(i));
    for (int i = 0; i < 98; ++i) link("g", "h" + std::to_string(i));
    for (int i = 0; i < 903; ++i) link("g/0", "i" + std::to_string(i));
  }
  CHECK(read(read_bytes(path)).size() == 99 * 1000 + 903);
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
