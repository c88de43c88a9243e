// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_STRUCTURE_HEADER_TEXT_HPP
#define BATCHNORM_TESTS_STRUCTURE_HEADER_TEXT_HPP

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace batchnorm_test {

inline bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

/// batchnorm/view/eigen.hpp is in the room view, batchnorm/options.hpp is a room of its own.
inline std::string room_of(const std::string& path) {
  const std::string inside = path.substr(path.find('/') + 1);
  return inside.substr(0, inside.find_first_of("/."));
}

/// One header, taken apart as far as the rules need it.
struct Header {
  std::string path;                           ///< as it is included: batchnorm/state.hpp
  std::vector<std::string> lines;             ///< the text
  std::vector<std::string> own_includes;      ///< included with quotes
  std::vector<std::string> outside_includes;  ///< included with angle brackets

  std::string room() const { return room_of(path); }
};

inline Header parse_header(const std::string& path, const std::string& text) {
  Header header;
  header.path = path;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    header.lines.push_back(line);
    std::istringstream words(line);
    std::string directive;
    std::string target;
    words >> directive;
    if (directive == "#") {
      words >> target;
      directive += target;
    }
    if (directive != "#include" || !(words >> target) || target.size() < 3) continue;
    const std::string inside = target.substr(1, target.size() - 2);
    (target[0] == '"' ? header.own_includes : header.outside_includes).push_back(inside);
  }
  return header;
}

inline std::string read_text(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

/// All headers below a folder that is an include path, sorted by path.
inline std::vector<Header> read_headers(const std::filesystem::path& include_dir) {
  std::vector<Header> headers;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(include_dir)) {
    if (!entry.is_regular_file() || entry.path().extension() != ".hpp") continue;
    const std::string path = entry.path().lexically_relative(include_dir).generic_string();
    headers.push_back(parse_header(path, read_text(entry.path())));
  }
  std::sort(headers.begin(), headers.end(),
            [](const Header& a, const Header& b) { return a.path < b.path; });
  return headers;
}

/// batchnorm/view/eigen.hpp is guarded by BATCHNORM_VIEW_EIGEN_HPP.
inline std::string guard_of(const std::string& path) {
  std::string guard = path;
  for (char& letter : guard) {
    const auto byte = static_cast<unsigned char>(letter);
    letter = std::isalnum(byte) != 0 ? static_cast<char>(std::toupper(byte)) : '_';
  }
  return guard;
}

/// Whether one comment line names both a header and what it needs.
inline bool has_comment_line(const Header& header, const std::string& path,
                             const std::string& need) {
  return std::any_of(header.lines.begin(), header.lines.end(), [&](const std::string& line) {
    return starts_with(line, "//") && line.find(path) != std::string::npos &&
           line.find(need) != std::string::npos;
  });
}

/// Whether the apostrophe at this place stands inside a number, as in 1'000.
inline bool is_digit_separator(const std::string& line, std::size_t at) {
  return at > 0 && std::isalnum(static_cast<unsigned char>(line[at - 1])) != 0;
}

/// A line without comment, strings and characters, so that its braces can be counted.
inline std::string bare_code(const std::string& line) {
  std::string code;
  char quote = '\0';
  for (std::size_t at = 0; at < line.size(); ++at) {
    const char letter = line[at];
    if (quote != '\0') {
      if (letter == '\\') ++at;
      if (letter == quote) quote = '\0';
    } else if (letter == '"' || (letter == '\'' && !is_digit_separator(line, at))) {
      quote = letter;
    } else if (letter == '/' && at + 1 < line.size() && line[at + 1] == '/') {
      break;
    } else {
      code += letter;
    }
  }
  code.erase(code.find_last_not_of(' ') + 1);
  return code;
}

/// Lines from first to last, both included, counted from zero.
struct Span {
  std::size_t first;
  std::size_t last;
};

/// A statement without the template<...> in front of it.
inline std::string without_template_head(const std::string& statement) {
  const std::size_t start = statement.find_first_not_of(' ');
  if (start == std::string::npos || statement.compare(start, 8, "template") != 0) return statement;
  int depth = 0;
  for (std::size_t at = start; at < statement.size(); ++at) {
    if (statement[at] == '<') ++depth;
    if (statement[at] == '>' && --depth == 0) return statement.substr(at + 1);
  }
  return "";
}

/// Whether the text before an opening brace begins a function: something in parentheses that is
/// not the head of a namespace or type.
inline bool opens_function(const std::string& statement) {
  std::istringstream words(without_template_head(statement));
  std::string word;
  words >> word;
  if (word == "inline") words >> word;
  for (const char* other : {"namespace", "class", "struct", "enum", "union", "extern"}) {
    if (word == other) return false;
  }
  return statement.find(')') != std::string::npos;
}

/// The outermost function bodies, each from the line with its opening brace to its closing one.
inline std::vector<Span> function_bodies(const std::vector<std::string>& lines) {
  std::vector<Span> bodies;
  std::string statement;
  std::size_t first = 0;
  int depth = 0;  // of braces inside the function; 0 means outside of all functions
  for (std::size_t at = 0; at < lines.size(); ++at) {
    const std::string code = bare_code(lines[at]);
    const auto opened = std::count(code.begin(), code.end(), '{');
    const auto closed = std::count(code.begin(), code.end(), '}');
    if (depth == 0) {
      statement += " " + code;
      const bool opens = opened > closed && opens_function(statement);
      if (opens) first = at;
      if (opens) depth = static_cast<int>(opened - closed);
      const char end = code.empty() ? ';' : code.back();
      if (end == ';' || end == '{' || end == '}' || end == ':' || code[0] == '#') statement.clear();
      continue;
    }
    depth += static_cast<int>(opened - closed);
    if (depth == 0) bodies.push_back({first, at});
  }
  return bodies;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_STRUCTURE_HEADER_TEXT_HPP
