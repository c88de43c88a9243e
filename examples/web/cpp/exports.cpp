// SPDX-License-Identifier: MIT
// The plain C functions of the page's WebAssembly module. They are compiled without exceptions:
// what the library refuses ends in abort(), a trap that the page catches, and web_message() says
// why.

#include <batchnorm/batchnorm.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "support/drawn_digits.hpp"
#include "web/cpp/questions.hpp"
#include "web/cpp/training_run.hpp"

namespace {

using namespace example;

struct Session {
  std::optional<TrainingRun> run;
  Numbers arguments, result;
  std::string name, message;
};

Session& session() {
  static Session only;
  return only;
}

void keep_message(const char* text) {
  session().message = text;
}

void start(DigitsData data, double seed) {
  batchnorm::set_error_handler(&keep_message);
  session().run.emplace(std::move(data), static_cast<std::uint64_t>(seed));
}

}  // namespace

extern "C" {

/// Memory for so many arguments.
[[gnu::used]] double* web_arguments(int count) {
  session().arguments.assign(static_cast<std::size_t>(count), 0.0);
  return session().arguments.data();
}

/// Memory for the name of a question, without a zero behind it.
[[gnu::used]] char* web_name(int length) {
  session().name.assign(static_cast<std::size_t>(length), ' ');
  return &session().name[0];
}

/// A new network, and digits that are drawn with the same seed.
[[gnu::used]] void web_start(double seed) {
  start(draw_digits(static_cast<std::uint64_t>(seed)), seed);
}

/// The same with digits from the arguments: 1797 times 64 pixels from 0 to 16 and the digit.
[[gnu::used]] void web_start_with_digits(double seed) {
  const Numbers& rows = session().arguments;
  DigitsData data;
  Eigen::VectorXf image(pixels);
  for (Eigen::Index row = 0; row < training_rows + test_rows; ++row) {
    const double* from = rows.data() + row * (pixels + 1);
    for (Eigen::Index k = 0; k < pixels; ++k) image[k] = static_cast<float>(from[k]) / brightest;
    data.set(row, image, static_cast<int>(from[pixels]));
  }
  start(std::move(data), seed);
}

/// Trains on up to so many more minibatches; returns how many are left.
[[gnu::used]] int web_train(int minibatches) {
  TrainingRun& run = *session().run;
  for (; minibatches > 0 && run.done() < run.total(); --minibatches) run.step();
  return run.total() - run.done();
}

/// Asks the named question with the arguments; returns how many numbers the answer has, or -1.
[[gnu::used]] int web_ask() {
  const Question question = question_named(session().name);
  if (question == nullptr) return -1;
  session().result = question(*session().run, session().arguments);
  return static_cast<int>(session().result.size());
}

[[gnu::used]] const double* web_result() {
  return session().result.data();
}

/// Why the library has refused the last call.
[[gnu::used]] const char* web_message() {
  return session().message.c_str();
}

}  // extern "C"
