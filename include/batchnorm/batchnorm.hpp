// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_BATCHNORM_HPP
#define BATCHNORM_BATCHNORM_HPP

// The whole library as far as it needs Eigen and the standard library only. Left out, to be
// included by name where they are wanted:
//   batchnorm/view/eigen_tensor.hpp  needs Eigen's unsupported/Eigen/CXX11/Tensor module
//   batchnorm/io/safetensors.hpp     needs nlohmann/json
//   batchnorm/io/checkpoint.hpp      needs nlohmann/json

#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/layer_core.hpp"
#include "batchnorm/loops/cache.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/fetch.hpp"
#include "batchnorm/loops/guess.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/map_plain.hpp"
#include "batchnorm/loops/map_region.hpp"
#include "batchnorm/loops/map_rows.hpp"
#include "batchnorm/loops/map_run.hpp"
#include "batchnorm/loops/map_vector.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "batchnorm/loops/reduce_plain.hpp"
#include "batchnorm/loops/reduce_region.hpp"
#include "batchnorm/loops/reduce_rows.hpp"
#include "batchnorm/loops/reduce_runs.hpp"
#include "batchnorm/loops/resident.hpp"
#include "batchnorm/loops/sample.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/loops/sixteen_bits.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/fold.hpp"
#include "batchnorm/math/fold_certificate.hpp"
#include "batchnorm/math/fold_geometry.hpp"
#include "batchnorm/math/fold_plan.hpp"
#include "batchnorm/math/fold_probe.hpp"
#include "batchnorm/math/fold_weights.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/inference_map.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/eigen.hpp"
#include "batchnorm/view/overlap.hpp"

#endif  // BATCHNORM_BATCHNORM_HPP
