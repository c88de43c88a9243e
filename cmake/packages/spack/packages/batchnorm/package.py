# not run: there is no Spack where this tree is tested
# Copyright Spack Project Developers. See COPYRIGHT file for details.
#
# SPDX-License-Identifier: (Apache-2.0 OR MIT)

from spack_repo.builtin.build_systems.cmake import CMakePackage

from spack.package import *


class Batchnorm(CMakePackage):
    """Batch normalization on Eigen."""

    homepage = "@HOMEPAGE@"
    git = "@REPOSITORY@"

    license("MIT")

    version("@VERSION@", commit="@COMMIT@")

    variant("compiled", default=False, description="Build the library of the usual layers")
    variant(
        "instruction_sets",
        default="avx512",
        values=("baseline", "avx2", "avx512"),
        multi=False,
        description="Most that kernels are compiled for",
    )

    depends_on("cxx", type="build")
    depends_on("cmake@3.22:", type="build")
    depends_on("eigen@3.4:")

    def cmake_args(self):
        return [
            self.define("BATCHNORM_BUILD_EXAMPLES", False),
            self.define("BATCHNORM_BUILD_TESTS", False),
            self.define("BATCHNORM_KERAS", False),
            self.define("BATCHNORM_ONNX", False),
            self.define_from_variant("BATCHNORM_COMPILED", "compiled"),
            self.define_from_variant("BATCHNORM_INSTRUCTION_SETS", "instruction_sets"),
        ]
