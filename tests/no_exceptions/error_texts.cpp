// SPDX-License-Identifier: MIT
// Calls that the library refuses, each with the text of the refusal. This file is compiled twice:
// with exceptions, where the text is what() of the exception, and with -fno-exceptions -fno-rtti,
// where each call runs in a child process whose error handler prints the text and returns, and
// which must then be aborted. A test compares the two outputs.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "batchnorm/batchnorm.hpp"
#include "batchnorm/io/checkpoint.hpp"

#ifdef __cpp_exceptions
#include <exception>
#else
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#endif

namespace {

using Matrix = Eigen::MatrixXf;
using Layer = batchnorm::BatchNorm<float>;

Matrix some_data() {
  Matrix data(3, 4);
  data << 1, 2, 3, 5, 8, 6, 7, 4, 0, 9, 2, 1;
  return data;
}

void no_channels() {
  Layer layer(0);
}

void negative_epsilon() {
  batchnorm::Options options;
  options.epsilon = -1.0;
  Layer layer(3, options);
}

void weight_above_one() {
  batchnorm::RunningUpdate::take_new(1.5);
}

void transposed_input() {
  Layer layer(3);
  layer.train(Matrix(some_data().transpose()));
}

void other_output_shape() {
  Layer layer(3);
  Matrix output(3, 5);
  layer.train(some_data(), output);
}

void overlapping_output() {
  Layer layer(3);
  Matrix data(3, 5);
  data << some_data(), Matrix::Ones(3, 1);
  layer.train(data.leftCols(4), data.rightCols(4));
}

void null_data() {
  batchnorm::channels_first(static_cast<float*>(nullptr), 2, 3, 4);
}

void one_value_per_channel() {
  Layer layer(3);
  layer.train(Matrix(some_data().leftCols(1)));
}

void not_a_number() {
  Layer layer(3);
  Matrix data = some_data();
  data(1, 2) = std::numeric_limits<float>::quiet_NaN();
  layer.train(data);
}

void no_variance_without_epsilon() {
  batchnorm::Options options;
  options.epsilon = 0.0;
  Layer layer(3, options);
  layer.train(Matrix::Ones(3, 4));
}

void frozen_before_training() {
  static_cast<void>(Layer(3).freeze());
}

void negative_variance() {
  batchnorm::State<float> state(3);
  state.running_variance[1] = -1.0f;
  Layer layer(std::move(state), batchnorm::Options::keras());
}

void foreign_moments() {
  Layer layer(3);
  batchnorm::Moments<double> moments(2);
  layer.commit(moments);
}

void stale_statistics() {
  Layer layer(3);
  layer.train(some_data());
  layer.state().mark_stale(batchnorm::Staleness::weights_averaged);
  static_cast<void>(layer.freeze());
}

void bytes_of_something_else() {
  batchnorm::moments_from_bytes(std::vector<unsigned char>(72, 7));
}

void layer_that_is_not_re_estimated() {
  Layer layer(3), other(3);
  batchnorm::reestimate<float>(
      {&layer}, {4, 2},
      [&](batchnorm::Index, batchnorm::Index, auto& pass) { pass.see(other, some_data()); });
}

void adapted_to_one_value() {
  batchnorm::adapt(batchnorm::State<float>(1), batchnorm::Options(),
                   batchnorm::moments_of(Matrix::Ones(1, 1)), batchnorm::Adaptation::target());
}

void unknown_domain() {
  batchnorm::StatisticBank<float> bank(batchnorm::State<float>(1), batchnorm::Options());
  bank.set("day", batchnorm::State<float>(1));
  bank.frozen("nigth");
}

void missing_file() {
  batchnorm::read_safetensors("no such file.safetensors");
}

void truncated_file() {
  batchnorm::parse_safetensors("short", 5, "truncated");
}

void not_json() {
  std::vector<unsigned char> bytes = {4, 0, 0, 0, 0, 0, 0, 0, '{', '"', 'a', '}'};
  batchnorm::parse_safetensors(bytes.data(), bytes.size(), "not json");
}

void evil_index() {
  const char index[] = "{\"weight_map\":{\"a\":\"../b\"}}";
  batchnorm::parse_safetensors_index(index, sizeof index - 1, "index");
}

void checkpoint_without_epsilon() {
  batchnorm::Tensors tensors;
  batchnorm::save_state(tensors, "1.", batchnorm::State<float>(2));
  batchnorm::load_state<float>(tensors, "1.", batchnorm::LoadOptions::saved());
}

void checkpoint_with_two_errors() {
  batchnorm::Tensors tensors;
  batchnorm::State<float> state(2);
  state.running_variance[1] = -1.0f;
  batchnorm::save_state(tensors, "1.", state);
  tensors.set("1.weight", {3}, std::vector<float>(3));
  batchnorm::load_state<float>(tensors, "1.", batchnorm::Epsilon(1e-5));
}

void fold_in_front_of_zero_padding() {
  std::vector<float> weights(9, 1.0f);
  Eigen::VectorXf bias;
  batchnorm::FoldOptions options;
  options.padding = batchnorm::Padding::zeros;
  batchnorm::fold_before(batchnorm::convolution_oihw(weights.data(), 1, 1, 9), bias,
                         batchnorm::State<float>(1), batchnorm::Options(), options);
}

void folded_weight_overflows() {
  Matrix weights = Matrix::Constant(1, 1, 1e38f);
  Eigen::VectorXf bias;
  batchnorm::State<float> state(1);
  state.gamma[0] = 16.0f;
  batchnorm::fold_after(batchnorm::linear(weights), bias, state, batchnorm::Options());
}

using Call = void (*)();

const std::vector<Call> calls = {no_channels,
                                 negative_epsilon,
                                 weight_above_one,
                                 transposed_input,
                                 other_output_shape,
                                 overlapping_output,
                                 null_data,
                                 one_value_per_channel,
                                 not_a_number,
                                 no_variance_without_epsilon,
                                 frozen_before_training,
                                 negative_variance,
                                 foreign_moments,
                                 stale_statistics,
                                 bytes_of_something_else,
                                 layer_that_is_not_re_estimated,
                                 adapted_to_one_value,
                                 unknown_domain,
                                 missing_file,
                                 truncated_file,
                                 not_json,
                                 evil_index,
                                 checkpoint_without_epsilon,
                                 checkpoint_with_two_errors,
                                 fold_in_front_of_zero_padding,
                                 folded_weight_overflows};

#ifdef __cpp_exceptions

bool refuses(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    std::puts(error.what());
    return true;
  }
  return false;
}

#else

void print_and_return(const char* message) {
  std::puts(message);
  std::fflush(stdout);
}

bool refuses(Call call) {
  const pid_t child = fork();
  if (child == 0) {
    batchnorm::set_error_handler(print_and_return);
    call();
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return false;
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#endif

}  // namespace

int main() {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!refuses(calls[i])) {
      std::printf("call %zu was not refused as it should be\n", i);
      return 1;
    }
  }
  return 0;
}
