// SPDX-License-Identifier: MIT
#include "batchnorm/io/tensors.hpp"

#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

TEST_CASE("what is set can be asked for") {
  Tensors tensors("net");
  tensors.set("x", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const std::int64_t rows[] = {5, -5};
  tensors.set("rows", {2}, rows);
  tensors.set_value("lr", 0.25);
  CHECK(tensors.name() == "net");
  CHECK(tensors.size() == 3);
  CHECK(tensors.contains("x"));
  CHECK_FALSE(tensors.contains("y"));
  CHECK(tensors.keys() == std::vector<std::string>{"lr", "rows", "x"});
  CHECK(tensors.dtype("rows") == "I64");
  CHECK(tensors.shape("x") == std::vector<Index>{2, 3});
  CHECK(tensors.shape("lr").empty());
  CHECK(tensors.values<double>("x") == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(tensors.value<double>("lr") == 0.25);
  tensors.erase("x");
  CHECK_FALSE(tensors.contains("x"));
}

TEST_CASE("names are found by their beginning") {
  Tensors tensors;
  for (const char* key : {"a", "a.b", "a.c", "a.", "ab", "b.a"}) tensors.set_value(key, 1.0);
  CHECK(tensors.keys("a.") == std::vector<std::string>{"a.", "a.b", "a.c"});
  CHECK(tensors.keys("") == tensors.keys());
  CHECK(tensors.keys("b") == std::vector<std::string>{"b.a"});
  CHECK(tensors.keys("c").empty());
  CHECK(tensors.keys("a.bc").empty());
}

TEST_CASE("elements are kept little endian, row major") {
  Tensors tensors;
  tensors.set("x", {2}, std::vector<std::uint16_t>{0x0102, 0xfffe});
  const Tensor& stored = tensors.tensor("x");
  REQUIRE(stored.size == 4);
  CHECK(std::vector<int>(stored.bytes.get(), stored.bytes.get() + 4) ==
        std::vector<int>{0x02, 0x01, 0xfe, 0xff});
}

TEST_CASE("matrices go in and out as rows and columns, whatever their storage order") {
  Eigen::MatrixXf columns(2, 3);
  columns << 1, 2, 3, 4, 5, 6;
  const Eigen::Matrix<float, 2, 3, Eigen::RowMajor> rows = columns;
  Tensors tensors;
  tensors.set("columns", columns);
  tensors.set("rows", rows);
  tensors.set("expression", 2.0f * columns);
  tensors.set("product", columns.transpose() * columns);
  tensors.set("block", columns.block(0, 1, 2, 2));
  CHECK(tensors.shape("columns") == std::vector<Index>{2, 3});
  CHECK(tensors.values<float>("columns") == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(tensors.values<float>("rows") == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(tensors.values<float>("expression") == std::vector<float>{2, 4, 6, 8, 10, 12});
  CHECK(tensors.values<float>("block") == std::vector<float>{2, 3, 5, 6});
  CHECK(tensors.shape("product") == std::vector<Index>{3, 3});
  CHECK(tensors.matrix<float>("rows") == columns);
  CHECK(tensors.matrix<double>("columns") == columns.cast<double>());
}

TEST_CASE("vectors have one axis and come back as a column") {
  Tensors tensors;
  tensors.set("column", Eigen::Vector3d(1, 2, 3));
  tensors.set("row", Eigen::RowVectorXd::Constant(2, 7.0));
  tensors.set_value("one", 4.0);
  CHECK(tensors.shape("column") == std::vector<Index>{3});
  CHECK(tensors.shape("row") == std::vector<Index>{2});
  CHECK(tensors.matrix<double>("row") == Eigen::Vector2d(7.0, 7.0));
  CHECK(tensors.matrix<double>("one")(0, 0) == 4.0);
}

TEST_CASE("a matrix without elements keeps its shape") {
  Tensors tensors;
  tensors.set("x", Eigen::MatrixXd(0, 4));
  CHECK(tensors.shape("x") == std::vector<Index>{0, 4});
  CHECK(tensors.matrix<float>("x").cols() == 4);
  CHECK(tensors.values<double>("x").empty());
}

TEST_CASE("tensors of more than two axes are no matrices") {
  Tensors tensors("net");
  tensors.set("x", {1, 1, 1}, std::vector<float>{1});
  CHECK_THROWS_MATCHES(tensors.matrix<float>("x"), std::runtime_error,
                       says("Tensors::matrix: \"net\": tensor \"x\": shape of a matrix: expected "
                            "at most 2 axes, got [1, 1, 1]"));
}

TEST_CASE("a value is the only element, whatever the rank") {
  Tensors tensors("net");
  tensors.set("one", {1, 1}, std::vector<float>{3});
  tensors.set("two", {2}, std::vector<float>{3, 4});
  CHECK(tensors.value<float>("one") == 3.0f);
  CHECK_THROWS_MATCHES(
      tensors.value<float>("two"), std::runtime_error,
      says("Tensors::value: \"net\": tensor \"two\": number of elements: expected 1, got 2"));
}

TEST_CASE("a name that is not there is named, with its neighbour") {
  Tensors tensors("net");
  tensors.set_value("conv.weight", 1.0f);
  CHECK_THROWS_MATCHES(tensors.values<float>("conv.weigh"), std::runtime_error,
                       says("Tensors::values: \"net\": tensor \"conv.weigh\": name: expected one "
                            "of 1 tensors, got none of that name; there is \"conv.weight\""));
  CHECK_THROWS_MATCHES(tensors.shape("z"), std::runtime_error,
                       says("Tensors::shape: \"net\": tensor \"z\": name: expected one of 1 "
                            "tensors, got none of that name"));
  CHECK_THROWS_AS(tensors.dtype("z"), std::runtime_error);
  CHECK_THROWS_AS(tensors.tensor("z"), std::runtime_error);
}

TEST_CASE("bfloat16 and half keep their bits") {
  const std::uint16_t patterns[] = {0x8000, 0x7f80, 0x7fa5, 0x0001, 0x3f81};
  std::vector<Eigen::bfloat16> numbers(5);
  std::vector<Eigen::half> halves(5);
  std::memcpy(static_cast<void*>(numbers.data()), patterns, sizeof patterns);
  std::memcpy(static_cast<void*>(halves.data()), patterns, sizeof patterns);
  Tensors tensors;
  tensors.set("b", {5}, numbers);
  tensors.set("h", {5}, halves);
  CHECK(tensors.dtype("b") == "BF16");
  CHECK(tensors.dtype("h") == "F16");
  const std::vector<Eigen::bfloat16> same = tensors.values<Eigen::bfloat16>("b");
  const std::vector<Eigen::half> same_halves = tensors.values<Eigen::half>("h");
  CHECK(std::memcmp(same.data(), patterns, sizeof patterns) == 0);
  CHECK(std::memcmp(same_halves.data(), patterns, sizeof patterns) == 0);
  CHECK(tensors.values<double>("b")[4] == 1.0078125);
  CHECK(tensors.values<double>("h")[3] == 0x1p-24);
}

TEST_CASE("a number outside the range of the asked scalar is an error of its own kind") {
  Tensors tensors("net");
  tensors.set("x", {3}, std::vector<double>{1.0, 2.0, 1e39});
  tensors.set_value("n", std::int64_t{300});
  CHECK_THROWS_MATCHES(tensors.values<float>("x"), std::domain_error,
                       says("Tensors::values: \"net\": tensor \"x\": element 2: expected a number "
                            "in the range of the scalar asked for, got one outside of it in F64"));
  CHECK_THROWS_AS(tensors.value<unsigned char>("n"), std::domain_error);
}

TEST_CASE("a conversion without a meaning names the tensor and its dtype") {
  Tensors tensors("net");
  tensors.set_value("x", 1.0f);
  tensors.set_value("n", 1);
  CHECK_THROWS_MATCHES(tensors.values<int>("x"), std::runtime_error,
                       says("tensor \"x\": dtype: expected one that converts to the scalar asked "
                            "for, got F32"));
  CHECK_THROWS_MATCHES(tensors.values<Eigen::half>("n"), std::runtime_error, says("got I32"));
  CHECK_THROWS_MATCHES(tensors.values<bool>("n"), std::runtime_error, says("got I32"));
}

TEST_CASE("bool goes in from vectors and pointers") {
  Tensors tensors;
  const bool flags[] = {true, false};
  tensors.set("pointer", {2}, flags);
  tensors.set("vector", {2}, std::vector<bool>{true, false});
  tensors.set("none", {0}, std::vector<bool>());
  CHECK(tensors.dtype("vector") == "BOOL");
  CHECK(tensors.values<bool>("vector") == tensors.values<bool>("pointer"));
  CHECK(tensors.values<int>("vector") == std::vector<int>{1, 0});
  CHECK(tensors.values<bool>("none").empty());
}

TEST_CASE("what no file can hold is refused") {
  Tensors tensors;
  const std::vector<float> two = {1, 2};
  const float* const nothing = nullptr;
  CHECK_THROWS_MATCHES(tensors.set("x", {3}, two), std::invalid_argument,
                       says("Tensors::set: number of elements of \"x\": expected 3 for shape [3], "
                            "got 2"));
  CHECK_THROWS_MATCHES(tensors.set("x", {-1, -2}, two), std::invalid_argument, says("[-1, -2]"));
  for (const std::vector<Index>& shape :
       {std::vector<Index>{-1}, {0, -1}, {-1, 0}, {2, 0, -3}, {2, -1, -1}}) {
    CHECK_THROWS_MATCHES(tensors.set("x", shape, two.data()), std::invalid_argument,
                         says("another name than __metadata__, and extents of zero or more"));
  }
  CHECK_THROWS_MATCHES(tensors.set("__metadata__", {2}, two), std::invalid_argument,
                       says("another name than __metadata__"));
  CHECK_THROWS_MATCHES(tensors.set("x", {2}, nothing), std::invalid_argument,
                       says("data of \"x\": expected elements, got a null pointer"));
  CHECK_THROWS_MATCHES(
      tensors.set("x", {Index{1} << 40, Index{1} << 40}, two.data()), std::invalid_argument,
      says("Tensors::set: number of elements of \"x\": expected extents whose product fits 64 "
           "bits, got [1099511627776, 1099511627776]"));
  CHECK_THROWS_AS(tensors.set("x", {Index{1} << 62}, two.data()), std::invalid_argument);
  CHECK(tensors.size() == 0);
  tensors.set("empty", {0, 3}, nothing);
  CHECK(tensors.values<float>("empty").empty());
}

TEST_CASE("a stored tensor moves to another collection, sharing its bytes") {
  Tensors one("one");
  one.set("x", {2}, std::vector<float>{1, 2});
  Tensors other("other");
  other.set("y", one.tensor("x"));
  CHECK(other.tensor("y").bytes == one.tensor("x").bytes);
  one.erase("x");
  CHECK(other.values<float>("y") == std::vector<float>{1, 2});
}

TEST_CASE("a stored tensor that does not fit together is refused") {
  Tensors tensors;
  tensors.set("x", {2}, std::vector<float>{1, 2});
  const Tensor good = tensors.tensor("x");
  const auto changed = [&](auto change) {
    Tensor tensor = good;
    change(tensor);
    return tensor;
  };
  CHECK_THROWS_MATCHES(tensors.set("y", changed([](Tensor& t) { t.shape = {3}; })),
                       std::invalid_argument,
                       says("Tensors::set: tensor \"y\": expected a dtype, a shape and the bytes "
                            "of its elements, got \"F32\", [3] and 8 bytes"));
  CHECK_THROWS_AS(tensors.set("y", changed([](Tensor& t) { t.dtype = "F64"; })),
                  std::invalid_argument);
  CHECK_THROWS_AS(tensors.set("y", changed([](Tensor& t) { t.dtype = "f32"; })),
                  std::invalid_argument);
  CHECK_THROWS_AS(tensors.set("y", changed([](Tensor& t) { t.bytes = nullptr; })),
                  std::invalid_argument);
  CHECK_THROWS_AS(tensors.set("__metadata__", good), std::invalid_argument);
  CHECK_FALSE(tensors.contains("y"));
}

TEST_CASE("a tensor begins without bytes") {
  const Tensor nothing;
  CHECK(nothing.size == 0);
  CHECK(nothing.bytes == nullptr);
  CHECK(nothing.shape.empty());
}

TEST_CASE("a single number is a matrix of one row and one column") {
  Tensors tensors;
  tensors.set_value("x", 3.0);
  tensors.set("y", {3}, std::vector<double>{1, 2, 3});
  const auto one = tensors.matrix<double>("x");
  CHECK(one.rows() == 1);
  CHECK(one.cols() == 1);
  CHECK(one(0, 0) == 3.0);
  CHECK(tensors.matrix<double>("y") == Eigen::Vector3d(1, 2, 3));
}

TEST_CASE("metadata can be looked at where nothing may change") {
  Tensors tensors;
  tensors.metadata()["format"] = "pt";
  const Tensors& same = tensors;
  CHECK(same.metadata() == std::map<std::string, std::string>{{"format", "pt"}});
  CHECK(&same.metadata() == &tensors.metadata());
}

TEST_CASE("more elements than memory can hold are refused before it is asked for") {
  Tensors tensors;
  const float one = 1;
  CHECK_THROWS_MATCHES(tensors.set("x", {Index{1} << 61}, &one), std::invalid_argument,
                       says("Tensors::set: data of \"x\": expected elements that fit into memory, "
                            "got [2305843009213693952]"));
}

TEST_CASE("a stored tensor has bytes, unless it needs none") {
  Tensors tensors;
  CHECK_THROWS_MATCHES(tensors.set("x", Tensor{"U8", {1}, nullptr, 1}), std::invalid_argument,
                       says("tensor \"x\": expected a dtype, a shape and the bytes of its "
                            "elements, got \"U8\", [1] and 0 bytes"));
  tensors.set("none", Tensor{"U8", {0}, nullptr, 0});
  CHECK(tensors.values<int>("none").empty());
}

TEST_CASE("no room is made for numbers of a dtype that is not known, whatever their shape") {
  Tensors tensors;
  tensors.set("x", Tensor{"F4_OTHER", {Index{1} << 60}, nullptr, 0});
  CHECK_THROWS_MATCHES(tensors.values<float>("x"), std::runtime_error,
                       says("dtype: expected one that converts to the scalar asked for"));
}

TEST_CASE("flags keep their order") {
  Tensors tensors;
  tensors.set("x", {4}, std::vector<bool>{false, true, true, false});
  CHECK(tensors.values<int>("x") == std::vector<int>{0, 1, 1, 0});
}
