// SPDX-License-Identifier: MIT
// The module interface exports what the headers of the umbrella declare for users, and no more.

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "structure/header_text.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

using namespace batchnorm_test;

namespace {

using Names = std::set<std::string>;

/// The identifier at the end of a text, with what qualifies it: State<T>::cast, with_residual.
std::string last_name(const std::string& text) {
  std::size_t begin = text.size();
  while (begin > 0) {
    const char letter = text[begin - 1];
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0 && letter != '_' && letter != ':')
      break;
    --begin;
  }
  return text.substr(begin);
}

/// The name that a line in the first column declares; empty for lines that declare none.
std::string declared_name(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  for (const std::string skipped : {"enum", "inline", "constexpr"}) {
    if (word == skipped) words >> word;
  }
  const bool is_type = word == "class" || word == "struct" || word == "using";
  if (is_type) {
    words >> word;
    return word.substr(0, word.find_first_of(":;"));
  }
  const std::size_t bracket = line.find('(');
  const std::size_t brace = line.find('{');
  const std::string name = last_name(line.substr(0, (std::min)(bracket, brace)));
  const bool is_member = name.find("::") != std::string::npos;
  return is_member || (std::min)(bracket, brace) == std::string::npos ? "" : name;
}

/// What a header declares in the namespace batchnorm itself.
Names declared_names(const Header& header) {
  Names names;
  std::vector<std::string> inside;
  for (const std::string& line : header.lines) {
    std::istringstream words(line);
    std::string first, second;
    words >> first >> second;
    if (first == "inline" && second == "namespace") first = second, words >> second;
    if (first == "namespace" && line[0] != ' ') {
      inside.push_back(second);
    } else if (starts_with(line, "}  // namespace")) {
      inside.pop_back();
    } else if (inside == std::vector<std::string>{"batchnorm", "BATCHNORM_INLINE_NAMESPACE"} &&
               !line.empty() && std::string(" }#/)").find(line[0]) == std::string::npos &&
               first != "template") {
      names.insert(declared_name(line));
    }
  }
  names.erase("");
  return names;
}

/// What the lines `using batchnorm::...;` name.
Names exported_names(const std::string& text) {
  Names names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string start = "using batchnorm::";
    if (starts_with(line, start))
      names.insert(line.substr(start.size(), line.size() - start.size() - 1));
  }
  return names;
}

/// A header and all that it includes, themselves or through others.
void add_reachable(const std::map<std::string, Header>& headers, const std::string& path,
                   std::set<std::string>& reached) {
  if (!reached.insert(path).second) return;
  for (const std::string& target : headers.at(path).own_includes) {
    add_reachable(headers, target, reached);
  }
}

}  // namespace

TEST_CASE("names of declarations are found") {
  const std::string text =
      "namespace batchnorm {\nnamespace detail {\nstruct Hidden {\n}  // namespace detail\n"
      "inline namespace BATCHNORM_INLINE_NAMESPACE {\n"
      "struct Plain {\n  int member(int a);\n};\nclass Later;\nenum class Kind { a, b };\n"
      "using Alias = int;\ntemplate <class T>\nclass Derived : public Plain {\n"
      "template <class T>\n[[nodiscard]] State<T, Channels> function(const T& a) {\nvoid "
      "State<T>::member() {\n"
      "inline constexpr Version number{1, 2,\n                   3};\nauto long_name(\n    int a) "
      "{\n"
      "}  // namespace BATCHNORM_INLINE_NAMESPACE\n}  // namespace batchnorm\n";
  const Names names = declared_names(parse_header("batchnorm/a.hpp", text));
  CHECK(names ==
        Names{"Plain", "Later", "Kind", "Alias", "Derived", "function", "number", "long_name"});
  CHECK(exported_names("using batchnorm::A;\n  using batchnorm::B;\nusing batchnorm::c_d;\n") ==
        Names{"A", "c_d"});
}

TEST_CASE("the module exports every name that the umbrella declares for users") {
  const std::string include_dir = source_dir() + "/include";
  std::map<std::string, Header> headers;
  for (const Header& header : read_headers(include_dir)) headers[header.path] = header;
  std::set<std::string> reached;
  add_reachable(headers, "batchnorm/batchnorm.hpp", reached);
  Names declared;
  for (const std::string& path : reached) declared.merge(declared_names(headers.at(path)));
  REQUIRE(declared.size() > 100);
  CHECK(exported_names(read_text(include_dir + "/batchnorm/batchnorm.cppm")) == declared);
}
