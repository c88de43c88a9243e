-- not run: there is no xmake where this tree is tested
package("batchnorm")
    set_kind("library", {headeronly = true})
    set_homepage("@HOMEPAGE@")
    set_description("Batch normalization on Eigen")
    set_license("MIT")

    add_urls("@REPOSITORY@")
    add_versions("@VERSION@", "@COMMIT@")

    add_configs("instruction_sets", {description = "Most that kernels are compiled for.", default = "avx512", type = "string", values = {"baseline", "avx2", "avx512"}})

    add_deps("eigen")

    on_load(function (package)
        if package:config("instruction_sets") ~= "avx512" then
            package:add("defines", "BATCHNORM_INSTRUCTION_SETS=" .. package:config("instruction_sets"))
        end
    end)

    on_install(function (package)
        os.cp("include", package:installdir())
    end)

    on_test(function (package)
        assert(package:check_cxxsnippets({test = [[
            #include <batchnorm/batchnorm.hpp>
            void test() {
                batchnorm::BatchNorm<float> layer(2);
                layer.train(Eigen::MatrixXf::Random(2, 8));
            }
        ]]}, {configs = {languages = "c++17"}}))
    end)
