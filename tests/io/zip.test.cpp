// SPDX-License-Identifier: MIT
#include "batchnorm/io/zip.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"
#include "support/zip_bytes.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const detail::FileContext context{"read", "a.zip"};

std::string member(const std::string& bytes, const std::string& name) {
  const auto found = detail::zip_member(context, bytes, name);
  return found ? std::string(*found) : "none";
}

const std::string archive =
    zip_of({{"metadata.json", "{}"}, {"config.json", "{\"a\":1}"}, {"empty", ""}});

}  // namespace

TEST_CASE("stored members are found by name") {
  CHECK(member(archive, "metadata.json") == "{}");
  CHECK(member(archive, "config.json") == "{\"a\":1}");
  CHECK(member(archive, "empty") == "");
  CHECK(member(archive, "config") == "none");
  CHECK(member(archive + "a comment", "config.json") == "{\"a\":1}");
}

TEST_CASE("a member may have a field of its own in front of its bytes") {
  const std::string padded = zip_of({{"a", "first"}, {"b", "second"}}, 0, "\x02\x00 padding");
  CHECK(member(padded, "a") == "first");
  CHECK(member(padded, "b") == "second");
}

TEST_CASE("a comment that looks like the end of an archive is none") {
  const std::string end = "PK\x05\x06" + std::string(18, '\xff');
  CHECK(member(archive + end, "config.json") == "{\"a\":1}");
}

TEST_CASE("what is no archive has no members") {
  CHECK(member("", "x") == "none");
  CHECK(member("PK\x03\x04", "x") == "none");
  CHECK(member(std::string(100, '\0'), "x") == "none");
}

TEST_CASE("compressed members are refused") {
  CHECK_THROWS_MATCHES(member(zip_of({{"x", "abc"}}, 8), "x"), std::runtime_error,
                       says("member \"x\": expected one that is stored as it is"));
}

TEST_CASE("no cut and no change of a byte leads out of the archive") {
  std::size_t longest = 0;
  for (std::size_t size = 0; size < archive.size(); ++size) {
    try {
      member(archive.substr(0, size), "config.json");
    } catch (const std::runtime_error&) {
    }
  }
  for (std::size_t place = 0; place < archive.size(); ++place) {
    for (const char byte : {'\0', '\x7f', '\xff'}) {
      std::string changed = archive;
      changed[place] = byte;
      try {
        longest = (std::max)(longest, member(changed, "config.json").size());
      } catch (const std::runtime_error&) {
      }
    }
  }
  CHECK(longest > 0);
  CHECK(longest <= archive.size());
}

TEST_CASE("a number is read lowest byte first, and is 0 where the bytes end before") {
  const std::string bytes("\x01\x02\x83", 3);
  CHECK(detail::zip_number(bytes, 0, 2) == 0x0201);
  CHECK(detail::zip_number(bytes, 0, 3) == 0x830201);
  CHECK(detail::zip_number(bytes, 2, 1) == 0x83);
  CHECK(detail::zip_number(bytes, 0, 0) == 0);
  for (const std::size_t place :
       {std::size_t{2}, std::size_t{3}, std::size_t{4}, ~std::size_t{0}}) {
    INFO(place);
    CHECK(detail::zip_number(bytes, place, 2) == 0);
  }
}

TEST_CASE("an archive may be nothing but its end") {
  const std::string end = "PK\x05\x06" + std::string(18, '\0');
  CHECK(detail::zip_directory("x" + end) == 0u);
  CHECK_FALSE(detail::zip_directory(end));  // a directory stands in front of its end
  CHECK_FALSE(detail::zip_directory("x" + end.substr(0, 21)));
}

TEST_CASE("a comment is 65535 bytes long at most") {
  CHECK(member(archive + std::string(65535, ' '), "config.json") == "{\"a\":1}");
  CHECK(member(archive + std::string(65536, ' '), "config.json") == "none");
}

TEST_CASE("members that end behind the archive are refused") {
  const std::string one = zip_of({{"x", "abc"}});
  const std::size_t directory = 30 + 1 + 3;  // behind a local header, its name and its bytes
  const auto with = [&](std::size_t place, std::size_t number) {
    return member(std::string(one).replace(place, 4, zip_bytes_of(number, 4)), "x");
  };
  CHECK(with(directory + 20, 2) == "ab");
  CHECK(with(directory + 20, one.size() - 31).size() == one.size() - 31);
  CHECK_THROWS_MATCHES(
      with(directory + 20, one.size() - 30), std::runtime_error,
      says("read: \"a.zip\": member \"x\": expected bytes inside of the archive, "
           "got " +
           std::to_string(one.size() - 30) + " from 31 of " + std::to_string(one.size())));
  CHECK_THROWS_AS(with(directory + 42, 1), std::runtime_error);  // no local header there
}
