// SPDX-License-Identifier: MIT
// The native program that the numbers of the page are compared with: the same network and the same
// questions, in a process of this machine. Trains with the seed of the command line, and then
// answers lines of standard input, "question argument argument ...", with one line of numbers each,
// written with all digits, or with "refused" and why.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>

#include "support/drawn_digits.hpp"
#include "web/cpp/questions.hpp"
#include "web/cpp/training_run.hpp"

int main(int argc, char** argv) {
  const std::uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  example::TrainingRun run(example::draw_digits(seed), seed);
  while (run.done() < run.total()) run.step();
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    example::Numbers numbers;
    for (double number; words >> number;) numbers.push_back(number);
    const example::Question question = example::question_named(name);
    if (question == nullptr) {
      std::fprintf(stderr, "no question %s\n", name.c_str());
      return 1;
    }
    try {
      for (const double number : question(run, numbers)) std::printf("%.17g ", number);
      std::printf("\n");
    } catch (const std::exception& refusal) {
      std::printf("refused %s\n", refusal.what());
    }
  }
  return 0;
}
