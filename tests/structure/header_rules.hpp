// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_STRUCTURE_HEADER_RULES_HPP
#define BATCHNORM_TESTS_STRUCTURE_HEADER_RULES_HPP

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "structure/header_text.hpp"

// The rules that the headers keep, as functions from a set of headers to a list of complaints. No
// complaint means that the rule is kept. They are tried on made-up headers first.

namespace batchnorm_test {

using Complaints = std::vector<std::string>;

/// The rooms, and how far from the ground each is: a header includes its own rank or lower ones.
inline const std::map<std::string, int>& room_ranks() {
  static const std::map<std::string, int> ranks = {
      {"detail", 0},    {"version", 0},     {"options", 0},  {"state", 0}, {"execution", 0},
      {"view", 1},      {"kernels", 2},     {"math", 3},     {"layer", 4}, {"frozen", 4},
      {"fold", 5},      {"recalibrate", 5}, {"variants", 5}, {"io", 5},    {"distributed", 5},
      {"batchnorm", 6}, {"compiled", 6}};
  return ranks;
}

/// What users include. The rooms detail and kernels are the inside of the library: laws about tiles
/// and channels test them, not one file per header.
inline bool is_public(const Header& header) {
  return header.room() != "detail" && header.room() != "kernels";
}

inline Complaints unknown_rooms(const std::vector<Header>& headers) {
  Complaints complaints;
  for (const Header& header : headers) {
    if (room_ranks().count(header.room()) == 0) {
      complaints.push_back(header.path + " is in a room that the architecture does not know");
    }
  }
  return complaints;
}

/// Rooms of the map in which no header is: a map of what was planned misleads.
inline Complaints empty_rooms(const std::vector<Header>& headers) {
  Complaints complaints;
  for (const auto& [room, rank] : room_ranks()) {
    const auto is_there = [&name = room](const Header& header) { return header.room() == name; };
    if (std::none_of(headers.begin(), headers.end(), is_there)) {
      complaints.push_back("the map has a room " + room + ", in which there is nothing");
    }
  }
  return complaints;
}

/// The map as the house rules write it: "detail, version -> view", the lowest rank first.
inline std::map<std::string, int> written_ranks(const std::string& map) {
  std::map<std::string, int> ranks;
  std::istringstream words(map);
  int rank = 0;
  for (std::string word; words >> word;) {
    if (word == "->") {
      ++rank;
    } else {
      ranks[word.substr(0, word.find(','))] = rank;
    }
  }
  return ranks;
}

inline Complaints wrong_directions(const std::vector<Header>& headers) {
  Complaints complaints;
  for (const Header& header : headers) {
    const auto from = room_ranks().find(header.room());
    for (const std::string& target : header.own_includes) {
      const auto to = room_ranks().find(room_of(target));
      if (from != room_ranks().end() && to != room_ranks().end() && to->second > from->second) {
        complaints.push_back(header.path + " includes " + target + ", which stands above it");
      }
    }
  }
  return complaints;
}

/// Own headers are included with quotes and their full path, and they exist.
inline Complaints unknown_includes(const std::vector<Header>& headers) {
  std::set<std::string> known;
  for (const Header& header : headers) known.insert(header.path);
  Complaints complaints;
  for (const Header& header : headers) {
    for (const std::string& target : header.own_includes) {
      if (known.count(target) == 0) complaints.push_back(header.path + " includes " + target);
    }
    for (const std::string& target : header.outside_includes) {
      if (starts_with(target, "batchnorm/")) {
        complaints.push_back(header.path + " includes <" + target + "> without quotes");
      }
    }
  }
  return complaints;
}

inline Complaints include_cycles(const std::vector<Header>& headers) {
  std::map<std::string, const Header*> by_path;
  for (const Header& header : headers) by_path[header.path] = &header;
  std::set<std::string> finished;
  Complaints complaints;
  std::vector<std::string> trail;
  const std::function<void(const std::string&)> visit = [&](const std::string& path) {
    if (finished.count(path) != 0 || by_path.count(path) == 0) return;
    if (std::find(trail.begin(), trail.end(), path) != trail.end()) {
      complaints.push_back(trail.back() + " includes " + path + " and closes a circle");
      return;
    }
    trail.push_back(path);
    for (const std::string& target : by_path[path]->own_includes) visit(target);
    trail.pop_back();
    finished.insert(path);
  };
  for (const Header& header : headers) visit(header.path);
  return complaints;
}

/// What a header needs besides Eigen, the standard library and the operating system; empty when
/// nothing.
inline std::string outside_need(const Header& header) {
  for (const std::string& target : header.outside_includes) {
    if (starts_with(target, "unsupported/Eigen/")) return "unsupported";
    if (starts_with(target, "nlohmann/")) return "nlohmann/json";
    if (target == "mpi.h") return "MPI";
    const bool standard = target.find('/') == std::string::npos || starts_with(target, "sys/");
    if (!standard && !starts_with(target, "Eigen/")) return target;
  }
  return "";
}

/// The headers that the umbrella must include: all but the internal ones, the room of files, and
/// those that need, directly or through others, more than Eigen.
inline std::set<std::string> umbrella_share(const std::vector<Header>& headers) {
  std::set<std::string> left_out = {"batchnorm/batchnorm.hpp"};
  for (const Header& header : headers) {
    const std::string room = header.room();
    if (room == "io" || room == "compiled" || !outside_need(header).empty()) {
      left_out.insert(header.path);
    }
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const Header& header : headers) {
      for (const std::string& target : header.own_includes) {
        if (left_out.count(target) != 0) grown = left_out.insert(header.path).second || grown;
      }
    }
  }
  std::set<std::string> share;
  for (const Header& header : headers) {
    if (left_out.count(header.path) == 0 && is_public(header)) share.insert(header.path);
  }
  return share;
}

inline Complaints umbrella_gaps(const std::vector<Header>& headers) {
  const auto umbrella = std::find_if(headers.begin(), headers.end(), [](const Header& header) {
    return header.path == "batchnorm/batchnorm.hpp";
  });
  if (umbrella == headers.end()) return {"there is no batchnorm/batchnorm.hpp"};
  const std::set<std::string> wanted = umbrella_share(headers);
  const std::set<std::string> found(umbrella->own_includes.begin(), umbrella->own_includes.end());
  Complaints complaints;
  for (const std::string& path : wanted) {
    if (found.count(path) == 0) complaints.push_back("the umbrella lacks " + path);
  }
  for (const std::string& path : found) {
    if (wanted.count(path) == 0) complaints.push_back("the umbrella must not include " + path);
  }
  for (const Header& header : headers) {
    const std::string need = outside_need(header);
    const std::string name = header.room() == "io" ? "batchnorm/io/" : header.path;
    if (!need.empty() && !has_comment_line(*umbrella, name, need)) {
      complaints.push_back("the umbrella's comment must say that " + name + " needs " + need);
    }
  }
  return complaints;
}

/// First line, include guard, length of the file.
inline Complaints form_faults(const std::vector<Header>& headers) {
  Complaints complaints;
  for (const Header& header : headers) {
    if (header.lines.empty() || header.lines[0] != "// SPDX-License-Identifier: MIT") {
      complaints.push_back(header.path + " does not start with its licence");
    }
    const std::string guard = guard_of(header.path);
    if (header.lines.size() < 3 || header.lines[1] != "#ifndef " + guard ||
        header.lines[2] != "#define " + guard) {
      complaints.push_back(header.path + " is not guarded by " + guard);
    }
    if (header.lines.size() > 400) {
      complaints.push_back(header.path + " has " + std::to_string(header.lines.size()) + " lines");
    }
  }
  return complaints;
}

/// Functions of more than 40 lines that do not say, inside, why they are "longer than 40 lines".
inline Complaints long_functions(const std::vector<Header>& headers) {
  Complaints complaints;
  for (const Header& header : headers) {
    for (const Span& body : function_bodies(header.lines)) {
      const auto first = header.lines.begin() + static_cast<std::ptrdiff_t>(body.first);
      const auto last = header.lines.begin() + static_cast<std::ptrdiff_t>(body.last);
      const bool excused = std::any_of(first, last, [](const std::string& line) {
        return line.find("longer than 40 lines") != std::string::npos;
      });
      if (body.last - body.first + 1 > 40 && !excused) {
        complaints.push_back(header.path + " line " + std::to_string(body.first + 1) + ": " +
                             std::to_string(body.last - body.first + 1) + " lines");
      }
    }
  }
  return complaints;
}

/// Macros other than the include guard and the version.
inline Complaints foreign_macros(const std::vector<Header>& headers) {
  Complaints complaints;
  for (const Header& header : headers) {
    for (const std::string& line : header.lines) {
      if (!starts_with(line, "#define ")) continue;
      const std::string name = line.substr(8, line.find_first_of(" (", 8) - 8);
      if (name != guard_of(header.path) && header.room() != "version") {
        complaints.push_back(header.path + " defines the macro " + name);
      }
    }
  }
  return complaints;
}

/// Inline assembly outside of the header that says why it is needed.
inline Complaints stray_assembly(const std::vector<Header>& headers) {
  Complaints complaints;
  for (const Header& header : headers) {
    if (header.path == "batchnorm/kernels/instructions.hpp") continue;
    for (const std::string& line : header.lines) {
      for (const char* const word : {"asm(", "asm volatile(", "__asm__"}) {
        if (line.find(word) != std::string::npos) {
          complaints.push_back(header.path + " has assembly of its own");
        }
      }
    }
  }
  return complaints;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_STRUCTURE_HEADER_RULES_HPP
