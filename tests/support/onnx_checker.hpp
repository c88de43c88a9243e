// SPDX-License-Identifier: MIT
// The checker of ONNX. Its own header does not compile behind <sys/mman.h>, which defines MAP_TYPE
// as a macro.
#ifndef BATCHNORM_TESTS_SUPPORT_ONNX_CHECKER_HPP
#define BATCHNORM_TESTS_SUPPORT_ONNX_CHECKER_HPP

#include <onnx/onnx_pb.h>

namespace onnx {
namespace checker {

/// @throws std::exception saying what is wrong
void check_model(const ModelProto& model);

}  // namespace checker
}  // namespace onnx

#endif  // BATCHNORM_TESTS_SUPPORT_ONNX_CHECKER_HPP
