// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_BATCHNORM_HPP
#define BATCHNORM_BATCHNORM_HPP

// The whole library as far as it needs Eigen and the standard library only. Left out, to be
// included by name where they are wanted:
//   batchnorm/view/eigen_tensor.hpp  needs Eigen's unsupported/Eigen/CXX11/Tensor module
//   batchnorm/distributed/mpi.hpp    needs MPI
//   batchnorm/io/safetensors.hpp     needs nlohmann/json
//   batchnorm/io/checkpoint.hpp      needs nlohmann/json

#include "batchnorm/distributed/call_header.hpp"
#include "batchnorm/distributed/exchange_reference.hpp"
#include "batchnorm/distributed/share_tree.hpp"
#include "batchnorm/distributed/synchronize.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/fold/bias.hpp"
#include "batchnorm/fold/certificate.hpp"
#include "batchnorm/fold/fold.hpp"
#include "batchnorm/fold/geometry.hpp"
#include "batchnorm/fold/inference_map.hpp"
#include "batchnorm/fold/plan.hpp"
#include "batchnorm/fold/probe.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/forward.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/masked.hpp"
#include "batchnorm/math/merge_moments.hpp"
#include "batchnorm/math/moment_sums.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/moments_bytes.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/shares.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/math/streaming_moments.hpp"
#include "batchnorm/math/together.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/recalibrate/diagnose.hpp"
#include "batchnorm/recalibrate/diagnosis.hpp"
#include "batchnorm/recalibrate/freezing.hpp"
#include "batchnorm/recalibrate/layer_handle.hpp"
#include "batchnorm/recalibrate/minibatch_series.hpp"
#include "batchnorm/recalibrate/minibatches.hpp"
#include "batchnorm/recalibrate/reestimate.hpp"
#include "batchnorm/recalibrate/reestimation.hpp"
#include "batchnorm/recalibrate/reestimation_report.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/calls.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/eigen.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/mask.hpp"
#include "batchnorm/view/overlap.hpp"
#include "batchnorm/view/residual.hpp"

#endif  // BATCHNORM_BATCHNORM_HPP
