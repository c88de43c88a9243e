// SPDX-License-Identifier: MIT
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "structure/header_rules.hpp"
#include "structure/header_text.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

using namespace batchnorm_test;

namespace {

const std::vector<Header>& headers() {
  static const std::vector<Header> all = read_headers(source_dir() + "/include");
  return all;
}

const Complaints none;

Header made_up(const std::string& path, const std::string& text) {
  return parse_header("batchnorm/" + path, text);
}

std::string lines(int count, const std::string& line) {
  std::string text;
  for (int i = 0; i < count; ++i) text += line + "\n";
  return text;
}

}  // namespace

TEST_CASE("every header is in a room of the architecture, and every room has a header") {
  CHECK(unknown_rooms({made_up("attic/box.hpp", "")}) ==
        Complaints{"batchnorm/attic/box.hpp is in a room that the architecture does not know"});
  CHECK(unknown_rooms(headers()) == none);
  CHECK(empty_rooms({}).size() == room_ranks().size());
  std::vector<Header> all_but_state;
  for (const auto& [room, rank] : room_ranks()) {
    if (room != "state") all_but_state.push_back(made_up(room + ".hpp", ""));
  }
  CHECK(empty_rooms(all_but_state) ==
        Complaints{"the map has a room state, in which there is nothing"});
  CHECK(empty_rooms(headers()) == none);
}

TEST_CASE("the map of the house rules is the one that is checked") {
  CHECK(written_ranks("a, b -> c") == std::map<std::string, int>{{"a", 0}, {"b", 0}, {"c", 1}});
  const std::string rules = read_text(source_dir() + "/.github/CONTRIBUTING.md");
  const std::size_t begin = rules.find("`detail, ");
  REQUIRE(begin != std::string::npos);
  const std::size_t end = rules.find('`', begin + 1);
  std::map<std::string, int> expected = room_ranks();
  expected.erase("batchnorm");  // the umbrella stands above all and is named below the map
  expected.erase("compiled");   // so does the umbrella with its instances compiled elsewhere
  CHECK(written_ranks(rules.substr(begin + 1, end - begin - 1)) == expected);
}

TEST_CASE("includes point one way") {
  const Header view = made_up("view/a.hpp", "#include \"batchnorm/math/b.hpp\"\n");
  const Header math = made_up("math/b.hpp", "  # include \"batchnorm/view/a.hpp\" // why\n");
  CHECK(wrong_directions({view, math}) ==
        Complaints{"batchnorm/view/a.hpp includes batchnorm/math/b.hpp, which stands above it"});
  CHECK(wrong_directions(headers()) == none);
}

TEST_CASE("includes do not go round in circles") {
  const Header a = made_up("view/a.hpp", "#include \"batchnorm/view/b.hpp\"\n");
  const Header b = made_up("view/b.hpp", "#include \"batchnorm/view/c.hpp\"\n");
  const Header c = made_up("view/c.hpp", "#include \"batchnorm/view/a.hpp\"\n");
  CHECK(include_cycles({a, b}) == none);
  CHECK(include_cycles({a, b, c}) ==
        Complaints{"batchnorm/view/c.hpp includes batchnorm/view/a.hpp and closes a circle"});
  CHECK(include_cycles(headers()) == none);
}

TEST_CASE("own headers are included by full path and with quotes") {
  CHECK(unknown_includes({made_up("a.hpp", "#include \"b.hpp\"\n")}).size() == 1);
  CHECK(unknown_includes({made_up("a.hpp", "#include <batchnorm/a.hpp>\n")}).size() == 1);
  CHECK(unknown_includes(headers()) == none);
}

TEST_CASE("the umbrella includes what needs only Eigen, and names the rest") {
  const Header plain = made_up("state.hpp", "#include <Eigen/Core>\n#include <vector>\n");
  const Header file = made_up("io/file.hpp", "#include <nlohmann/json.hpp>\n");
  const Header tensor = made_up("view/tensor.hpp", "#include <unsupported/Eigen/Tensor>\n");
  const Header user = made_up("view/user.hpp", "#include \"batchnorm/view/tensor.hpp\"\n");
  const std::vector<Header> parts = {plain, file, tensor, user};
  const auto gaps = [&](const std::string& text) {
    std::vector<Header> all = parts;
    all.push_back(made_up("batchnorm.hpp", text));
    return umbrella_gaps(all);
  };
  const std::string comment =
      "// batchnorm/io/file.hpp needs nlohmann/json\n"
      "// batchnorm/view/tensor.hpp needs unsupported Eigen\n";
  CHECK(gaps(comment + "#include \"batchnorm/state.hpp\"\n") == none);
  CHECK(gaps(comment) == Complaints{"the umbrella lacks batchnorm/state.hpp"});
  CHECK(gaps("#include \"batchnorm/state.hpp\"\n").size() == 2);
  CHECK(
      gaps(comment + "#include \"batchnorm/state.hpp\"\n#include \"batchnorm/view/user.hpp\"\n") ==
      Complaints{"the umbrella must not include batchnorm/view/user.hpp"});
  CHECK(umbrella_gaps(headers()) == none);
}

TEST_CASE("headers have a licence, a guard and at most 400 lines") {
  const std::string start =
      "// SPDX-License-Identifier: MIT\n#ifndef BATCHNORM_VIEW_A_HPP\n"
      "#define BATCHNORM_VIEW_A_HPP\n";
  CHECK(form_faults({made_up("view/a.hpp", start + lines(397, ""))}) == none);
  CHECK(form_faults({made_up("view/a.hpp", start + lines(398, ""))}).size() == 1);
  CHECK(form_faults({made_up("view/b.hpp", start)}).size() == 1);
  CHECK(form_faults({made_up("view/a.hpp", "#pragma once\n")}).size() == 2);
  CHECK(form_faults(headers()) == none);
}

TEST_CASE("functions have at most 40 lines, or say why not") {
  const std::string head = "namespace n {\ntemplate <class T>\nvoid f(\n    T x) {\n";
  const auto complaints = [&](int count, const std::string& line) {
    return long_functions({made_up("a.hpp", head + lines(count, line) + "}\n}\n")});
  };
  CHECK(complaints(38, "  if (x) { g(\"}\"); }  // }") == none);
  CHECK(complaints(39, "  if (x) { g(\"}\"); }  // }") ==
        Complaints{"batchnorm/a.hpp line 4: 41 lines"});
  CHECK(complaints(39, "  // longer than 40 lines: one kernel") == none);
  const std::string type = "template <class T = decltype(f())>\nclass A {\n";
  CHECK(long_functions({made_up("a.hpp", type + lines(60, "  int f() { return 1; }") + "};\n")}) ==
        none);
  CHECK(long_functions(headers()) == none);
}

TEST_CASE("headers define no macros") {
  CHECK(foreign_macros({made_up("a.hpp", "#define BATCHNORM_A_HPP\n")}) == none);
  CHECK(foreign_macros({made_up("a.hpp", "#define CHECK(x) x\n")}) ==
        Complaints{"batchnorm/a.hpp defines the macro CHECK"});
  CHECK(foreign_macros(headers()) == none);
}

TEST_CASE("inline assembly stands in one header") {
  CHECK(stray_assembly({made_up("kernels/a.hpp", "asm volatile(\"cpuid\");\n")}) ==
        Complaints{"batchnorm/kernels/a.hpp has assembly of its own"});
  CHECK(stray_assembly({made_up("kernels/instructions.hpp", "asm(\"nop\");\n")}) == none);
  CHECK(stray_assembly(headers()) == none);
}

TEST_CASE("every public header has a test at the same path") {
  CHECK(is_public(made_up("math/moments.hpp", "")));
  CHECK_FALSE(is_public(made_up("kernels/tile.hpp", "")));
  Complaints complaints;
  for (const Header& header : headers()) {
    const std::string inside = header.path.substr(header.path.find('/') + 1);
    // Programs that mpirun starts take the place of a unit test.
    const std::string test = inside == "distributed/mpi.hpp"
                                 ? "distributed/mpi/ranks.cpp"
                                 : inside.substr(0, inside.rfind('.')) + ".test.cpp";
    if (is_public(header) && !std::filesystem::exists(source_dir() + "/tests/" + test)) {
      complaints.push_back("tests/" + test + " is missing");
    }
  }
  CHECK(complaints == none);
}
