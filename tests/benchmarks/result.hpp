// SPDX-License-Identifier: MIT
// What was measured in one row, and what it says.
#ifndef BATCHNORM_TESTS_BENCHMARKS_RESULT_HPP
#define BATCHNORM_TESTS_BENCHMARKS_RESULT_HPP

#include <string>
#include <utility>
#include <vector>

#include "benchmarks/limit.hpp"
#include "benchmarks/row.hpp"
#include "benchmarks/statistics.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {

struct Rival {
  std::string name;
  Timing timing;
  double error = 0.0;  ///< as RowResult::error
};

struct RowResult {
  Row row{};
  Streams streams{};
  double limit_seconds = 0.0;
  Timing ours;
  std::vector<Rival> rivals;
  /// The largest error of an element or a parameter's gradient beside the reference
  /// (reference.hpp).
  double error = 0.0;
};

/// The fastest rival for which `counts` holds; null when there is none.
template <class Counts>
const Rival* fastest(const RowResult& result, const Counts& counts) {
  const Rival* best = nullptr;
  for (const Rival& rival : result.rivals) {
    if (!counts(rival.name)) continue;
    if (best == nullptr || rival.timing.seconds < best->timing.seconds) best = &rival;
  }
  return best;
}

inline const Rival* best_rival(const RowResult& result) {
  return fastest(result, [](const std::string&) { return true; });
}

/// Of the rivals that start from mean and variance, as a layer holds them.
inline const Rival* best_with_layer(const RowResult& result) {
  return fastest(result, [](const std::string& name) { return name != "Eigen*"; });
}

inline const Rival* rival_named(const RowResult& result, const std::string& name) {
  for (const Rival& rival : result.rivals) {
    if (rival.name == name) return &rival;
  }
  return nullptr;
}

/// The faster of a library's ways that were measured: those whose names begin with the library's.
inline const Rival* best_of_library(const RowResult& result, const std::string& library) {
  return fastest(result, [&](const std::string& name) {
    return name.compare(0, library.size(), library) == 0;
  });
}

inline double times_limit(const RowResult& result) {
  return result.ours.seconds / result.limit_seconds;
}

/// How many times faster than the rival.
inline double times_faster(const RowResult& result, const Rival& rival) {
  return rival.timing.seconds / result.ours.seconds;
}

/// How many times faster than the rival one would be at the limit.
inline double times_faster_at_limit(const RowResult& result, const Rival& rival) {
  return rival.timing.seconds / result.limit_seconds;
}

/// The rivals that are faster than this library by more than the noise.
inline std::vector<std::string> lost_rows(const std::vector<RowResult>& results) {
  std::vector<std::string> lines;
  for (const RowResult& result : results) {
    for (const Rival& rival : result.rivals) {
      if (!is_slower(result.ours, rival.timing)) continue;
      lines.push_back(name_of(result.row) + ": " + duration(result.ours.seconds) + ", " +
                      rival.name + " " + duration(rival.timing.seconds) + ", noise " +
                      ratio(100 * (result.ours.noise + rival.timing.noise)) + " %");
    }
  }
  return lines;
}

/// The rows that miss their bar, with the bar.
inline std::vector<std::string> missed_bars(const std::vector<RowResult>& results) {
  std::vector<std::string> lines;
  for (const RowResult& result : results) {
    const Bar wanted = bar(result.row);
    const double reached = times_limit(result);
    if (wanted.times_limit > 0.0 && reached > wanted.times_limit) {
      lines.push_back(name_of(result.row) + ": " + ratio(reached) + " x limit, bar " +
                      ratio(wanted.times_limit));
    }
    const Rival* best =
        is_single_example(result.row) ? best_with_layer(result) : best_rival(result);
    if (best != nullptr && times_faster(result, *best) < wanted.times_faster) {
      lines.push_back(name_of(result.row) + ": " + ratio(times_faster(result, *best)) +
                      " x as fast as " + best->name + ", bar " + ratio(wanted.times_faster));
    }
  }
  return lines;
}

/// The result of that row; null when it was not measured.
inline const RowResult* result_of(const std::vector<RowResult>& results, const Row& row) {
  const std::string name = name_of(row);
  for (const RowResult& result : results) {
    if (name_of(result.row) == name) return &result;
  }
  return nullptr;
}

/// How much of the gain that copying has from more threads this row has, from 4 MiB on: 1 is all
/// of it. 0 when it cannot be said.
inline double thread_efficiency(const std::vector<RowResult>& results, const RowResult& result) {
  if (result.row.threads == 1 || bytes(result.row) < 4 * mebibyte) return 0.0;
  Row alone = result.row;
  alone.threads = 1;
  const RowResult* one = result_of(results, alone);
  if (one == nullptr) return 0.0;
  const double gain = one->ours.seconds / result.ours.seconds;
  return gain / (one->streams.copy / result.streams.copy);
}

/// How many times as many elements per second as float has, from 8 MiB on: two bytes instead of
/// four. 0 for other scalars, and when it cannot be said.
inline double bfloat16_gain(const std::vector<RowResult>& results, const RowResult& result) {
  if (result.row.element != Element::bf16 || bytes(result.row) < 8 * mebibyte) return 0.0;
  Row single = result.row;
  single.element = Element::f32;
  const RowResult* other = result_of(results, single);
  return other == nullptr ? 0.0 : other->ours.seconds / result.ours.seconds;
}

/// How many times as long as on one thread the row takes, from 256 KiB to 4 MiB, where that is by
/// more than the noise; otherwise 0.
inline double thread_loss(const std::vector<RowResult>& results, const RowResult& result) {
  const bool in_range = bytes(result.row) >= mebibyte / 4 && bytes(result.row) < 4 * mebibyte;
  if (result.row.threads == 1 || !in_range) return 0.0;
  Row alone = result.row;
  alone.threads = 1;
  const RowResult* one = result_of(results, alone);
  if (one == nullptr || !is_slower(result.ours, one->ours)) return 0.0;
  return result.ours.seconds / one->ours.seconds;
}

inline std::vector<std::string> missed_threads(const std::vector<RowResult>& results) {
  std::vector<std::string> lines;
  for (const RowResult& result : results) {
    const double loss = thread_loss(results, result);
    if (loss > 0.0) {
      lines.push_back(name_of(result.row) + ": " + ratio(loss) + " x one thread, bar 1.00");
    }
    const double efficiency = thread_efficiency(results, result);
    if (efficiency > 0.0 && efficiency < 0.9) {
      lines.push_back(name_of(result.row) + ": gains " + ratio(efficiency) +
                      " of what copying gains from threads, bar 0.90");
    }
  }
  return lines;
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_RESULT_HPP
