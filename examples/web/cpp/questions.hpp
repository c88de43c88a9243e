// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_QUESTIONS_HPP
#define BATCHNORM_EXAMPLES_WEB_QUESTIONS_HPP

#include <string>

#include "web/cpp/average_questions.hpp"
#include "web/cpp/numbers.hpp"
#include "web/cpp/reading_questions.hpp"
#include "web/cpp/training_run.hpp"

// Everything that the tasks of the page ask, by name.

namespace example {

/// A question by its name; nullptr when there is none.
using Question = Numbers (*)(const TrainingRun&, const Numbers&);
inline Question question_named(const std::string& name) {
  struct Entry {
    const char* name;
    Question question;
  };
  static constexpr Entry all[] = {{"accuracy", &accuracy},
                                  {"beta", &beta},
                                  {"changed_picture", &changed_picture},
                                  {"changed_world", &changed_world},
                                  {"company", &company},
                                  {"estimate", &estimate},
                                  {"folded", &folded},
                                  {"minibatch_means", &minibatch_means},
                                  {"offset_variance", &offset_variance},
                                  {"picture", &picture},
                                  {"refused", &refused},
                                  {"running_means", &running_means},
                                  {"test_accuracy", &test_accuracy},
                                  {"whole_set_means", &whole_set_means}};
  for (const Entry& entry : all) {
    if (name == entry.name) return entry.question;
  }
  return nullptr;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_QUESTIONS_HPP
