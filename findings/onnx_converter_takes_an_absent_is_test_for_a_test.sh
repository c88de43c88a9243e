#!/bin/sh
# SPDX-License-Identifier: MIT
# ONNX's version converter takes an attribute that is absent for another value than the one that it
# stands for. A BatchNormalization of opset 6 trains unless is_test is set: its default is 0. From
# opset 7 on a node with one output infers. The converter refuses is_test = 0, for what it would turn
# into is another computation, and turns the same node without the attribute into an inference,
# without a word. The checker is content with both models.
#
# Version: ONNX 1.12.0, Debian 12 (bookworm), packages libonnx-dev and libonnx1 1.12.0-2+b4, with
#          libprotobuf-dev 3.21.12-3+deb12u1.
# Source:  onnx/version_converter/convert.h has RemoveAttributeNotEq(kis_test, 0) for opset 6 to 7;
#          onnx/version_converter/adapters/transformers.h looks at attributes that are there. ONNX,
#          Changelog.md, BatchNormalization-6: is_test is 0 by default.
#
# Output seen:
#
#   is_test = 1 to opset 7: 1 output, no attribute
#   is_test = 0 to opset 7: refused, Attribute is_test must not have value 0
#   no is_test to opset 7: 1 output, no attribute
#   no is_test to opset 15: 1 output, no attribute
#   as stated
#
#   findings/onnx_converter_takes_an_absent_is_test_for_a_test.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Nothing is installed: the packages and what they depend on are unpacked in a temporary
# folder. Needs apt-get and dpkg of Debian 12 and g++.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

# Of a system without packages, so that everything is downloaded whatever is installed here.
mkdir -p archives/partial
: >no_packages
apt-get install -qq --download-only --no-install-recommends -o APT::Sandbox::User=root \
  -o Debug::NoLocking=1 -o Dir::State::status="$folder/no_packages" \
  -o Dir::Cache::archives="$folder/archives" libonnx-dev=1.12.0-2+b4 \
  libprotobuf-dev=3.21.12-3+deb12u1 >/dev/null ||
  cannot_try "libonnx-dev cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6* | */linux-libc-dev_* | */libgcc-s1_* | */libstdc++6_*) ;; # the compiler's are here
    *) dpkg -x "$file" unpacked ;;
  esac
done
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')

cat >program.cpp <<'CPP'
#include <onnx/checker.h>
#include <onnx/defs/parser.h>
#include <onnx/version_converter/convert.h>

#include <cstdio>
#include <string>

onnx::ModelProto model(const std::string& attribute) {
  const std::string text =
      "<ir_version: 7, opset_import: [\"\" : 6]> graph (float[2, 1] x, float[1] scale, "
      "float[1] bias, float[1] mean, float[1] variance) => (float[2, 1] y) {"
      "y = BatchNormalization" + attribute + " (x, scale, bias, mean, variance) }";
  onnx::ModelProto parsed;
  if (!onnx::OnnxParser(text.c_str()).Parse(parsed).IsOK()) throw std::runtime_error("parser");
  return parsed;
}

void convert(const char* what, const onnx::ModelProto& from, int opset) {
  std::printf("%s to opset %d: ", what, opset);
  onnx::checker::check_model(from);
  try {
    const onnx::ModelProto to = onnx::version_conversion::ConvertVersion(from, opset);
    onnx::checker::check_model(to);
    const onnx::NodeProto& node = to.graph().node(0);
    std::printf("%d output, %s attribute\n", node.output_size(),
                node.attribute_size() == 0 ? "no" : "an");
  } catch (const std::exception& error) {
    const std::string message = error.what(), start = "Attribute is_test";
    const bool about_it = message.find(start) != std::string::npos;
    std::printf("refused, %s\n",
                about_it ? message.substr(message.find(start)).c_str() : message.c_str());
  }
}

int main() {
  convert("is_test = 1", model("<is_test = 1>"), 7);
  convert("is_test = 0", model("<is_test = 0>"), 7);
  convert("no is_test", model(""), 7);
  convert("no is_test", model(""), 15);
}
CPP
LD_LIBRARY_PATH="$libraries" g++ -std=c++17 -DONNX_NAMESPACE=onnx -DONNX_ML=1 \
  -isystem unpacked/usr/include program.cpp -o program \
  -L "$(dirname "$(find unpacked -name libonnx.so)")" -lonnx -lonnx_proto -lprotobuf \
  -Wl,--allow-shlib-undefined || cannot_try "the program cannot be built"
LD_LIBRARY_PATH="$libraries" ./program | tee seen
cat >expected <<'TXT'
is_test = 1 to opset 7: 1 output, no attribute
is_test = 0 to opset 7: refused, Attribute is_test must not have value 0
no is_test to opset 7: 1 output, no attribute
no is_test to opset 15: 1 output, no attribute
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
