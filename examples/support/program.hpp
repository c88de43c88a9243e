// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_PROGRAM_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_PROGRAM_HPP

#include <cstdio>
#include <exception>
#include <stdexcept>

#include "support/arguments.hpp"
#include "support/digits_csv.hpp"
#include "support/drawn_digits.hpp"
#include "support/output_file.hpp"
#include "support/usage_error.hpp"

namespace example {

/// The images that a program was given, or else draws; their numbers are printed.
inline DigitsData digits_of(const Arguments& arguments) {
  DigitsData data = arguments.data ? read_digits(*arguments.data) : draw_digits(arguments.seed);
  std::printf("digits   %d to train, %d to test: %s\n", static_cast<int>(data.training.count()),
              static_cast<int>(data.test.count()), data.origin.c_str());
  return data;
}

/// What main does: parses the command line, runs the program, and says what went wrong. Files that
/// could not be written are refused before any work is done.
/// @param run  does the work and returns the exit code
inline int run_program(const Program& program, int argc, char** argv,
                       int (*run)(const Arguments&)) {
  try {
    const Arguments arguments = parse_arguments(program, argc, argv);
    if (arguments.help) {
      std::fputs(usage_of(program).c_str(), stdout);
      return 0;
    }
    for (const auto& path : {arguments.save, arguments.csv, arguments.plot}) {
      if (path) check_can_save(*path);
    }
    const int exit_code = run(arguments);
    if (std::fflush(stdout) != 0) throw std::runtime_error("cannot write to the standard output");
    return exit_code;
  } catch (const UsageError& mistake) {
    std::fprintf(stderr, "%s: %s\n%s --help lists the options\n", program.name.c_str(),
                 mistake.what(), program.name.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.what());
  }
  return 2;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_PROGRAM_HPP
