# not run: there is no Conan where this tree is tested
import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, get
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class BatchnormConan(ConanFile):
    name = "batchnorm"
    description = "Batch normalization on Eigen"
    license = "MIT"
    url = "https://github.com/conan-io/conan-center-index"
    homepage = "@HOMEPAGE@"
    topics = ("batch-normalization", "neural-network", "deep-learning", "eigen", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"instruction_sets": ["baseline", "avx2", "avx512"]}
    default_options = {"instruction_sets": "avx512"}
    no_copy_source = True

    def layout(self):
        basic_layout(self, src_folder="src")

    def requirements(self):
        self.requires("eigen/3.4.0")

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 17)

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def build(self):
        pass

    def package(self):
        headers = os.path.join(self.source_folder, "include")
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        for pattern in ("*.hpp", "*.cppm"):
            copy(self, pattern, headers, os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "batchnorm")
        self.cpp_info.set_property("cmake_target_name", "batchnorm::batchnorm")
        self.cpp_info.set_property("pkg_config_name", "batchnorm")
        if self.options.instruction_sets != "avx512":
            sets = self.options.instruction_sets
            self.cpp_info.defines.append(f"BATCHNORM_INSTRUCTION_SETS={sets}")
