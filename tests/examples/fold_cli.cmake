# SPDX-License-Identifier: MIT
# cmake -DPROGRAM=08_fold_checkpoint -DCHECKPOINTS=fold_checkpoints -DDIGITS=file -DFOLDER=folder
#       -P fold_cli.cmake
# What 08_fold_checkpoint says and returns, and that its folded files hold the right numbers, which
# fold_checkpoints looks at. FOLDER is emptied and filled.
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")

# expect(exit code, regular expression for the output, regular expression for the errors, arguments)
function(expect code output_regex error_regex)
  execute_process(COMMAND "${PROGRAM}" ${ARGN} WORKING_DIRECTORY "${FOLDER}"
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE error)
  if(NOT result STREQUAL code)
    message(SEND_ERROR "${ARGN}: expected exit code ${code}, got ${result}\n${output}${error}")
  endif()
  if(NOT output MATCHES "${output_regex}")
    message(SEND_ERROR "${ARGN}: expected output ${output_regex}, got\n${output}")
  endif()
  if(NOT error MATCHES "${error_regex}")
    message(SEND_ERROR "${ARGN}: expected message ${error_regex}, got\n${error}")
  endif()
endfunction()

function(checkpoints command)
  execute_process(COMMAND "${CHECKPOINTS}" ${command} "${FOLDER}" RESULT_VARIABLE result
                  OUTPUT_VARIABLE output ERROR_VARIABLE error)
  if(NOT result EQUAL 0)
    message(SEND_ERROR "fold_checkpoints ${command}: ${error}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect_no_file name)
  if(EXISTS "${FOLDER}/${name}")
    message(SEND_ERROR "${name} should not be there")
  endif()
endfunction()

# fold(name, exit code, regular expression for the output, options)
function(fold name code output_regex)
  expect(${code} "${output_regex}" "^$"
         fold ${name}.safetensors ${name}.folded.safetensors --epsilon 1e-5 ${ARGN})
endfunction()

checkpoints(make)

# ---- the command line

expect(0 "NAME\n.*SYNOPSIS\n.*EXIT STATUS\n.*EXAMPLES\n" "^$" --help)
expect(0 "SYNOPSIS" "^$" fold --help)
expect(2 "^$" "expected a command: inspect, fold or demo\n.*--help")
expect(2 "^$" "unknown command \"folds\"" folds a b)
expect(2 "^$" "unknown option --epsilom" fold a b --epsilom 1)
expect(2 "^$" "--epsilon needs a value" fold a b --epsilon)
expect(2 "^$" "--epsilon needs a value" fold a b --epsilon --dry-run)
expect(2 "^$" "--epsilon expects a number, zero or larger, got \"-1\"" fold a b --epsilon -1)
expect(2 "^$" "--epsilon expects a number, zero or larger, got \"1e-5x\"" fold a b --epsilon 1e-5x)
expect(2 "^$" "--epsilon expects a number, zero or larger, got \"nan\"" fold a b --epsilon nan)
expect(2 "^$" "--epsilon is given twice for all" fold a b --epsilon 1 --epsilon 1)
expect(2 "^$" "--epsilon is given twice for x" fold a b --epsilon x=1 --epsilon x=1)
expect(2 "^$" "--pair expects A=B, got \"x=\"" fold a b --pair x=)
expect(2 "^$" "--probes expects a whole number from 1 to 1000000, got \"0\"" fold a b --probes 0)
expect(2 "^$" "fold expects 2 files, got 1" fold a)
expect(2 "^$" "inspect expects 1 files, got 2" inspect a b)
expect(2 "^$" "options are for fold, and inspect has none" inspect a --dry-run)

# ---- files that are none

expect(2 "^$" "nowhere.safetensors\": file: expected to open it" inspect nowhere.safetensors)
file(WRITE "${FOLDER}/text.safetensors" "no checkpoint")
expect(2 "^$" "text.safetensors\": header length" inspect text.safetensors)
expect(2 "^$" "plain.safetensors: no batch norm is in this file" inspect plain.safetensors)
expect(2 "^$" "cannot save nowhere/x: there is no folder nowhere"
       fold resnet.safetensors nowhere/x --epsilon 1e-5)
file(WRITE "${FOLDER}/evil.index.json" "{\"weight_map\":{\"a\":\"../resnet.safetensors\"}}")
expect(2 "^$" "a way out of the folder" inspect evil.index.json)

# ---- inspect

expect(0 "batch norm +names +channels +type.*\nbn1 +PyTorch +4 +F32 .*conv1 [(]by name[)]" "^$"
       inspect resnet.safetensors)
expect(0 "layer1.0.downsample.1 +PyTorch +4 +F32.*layer1.0.downsample.0 [(]by number[)]" "^$"
       inspect resnet.safetensors)
expect(0 "params/bn1 +Flax +4 " "^$" inspect flax.safetensors)
expect(0 "\n1 +PyTorch +32 +F32 .* 0 [(]by number[)]" "^$" inspect "${DIGITS}")
expect(2 "bn1: error: tensor \"bn1.running_var\": channel 1: expected a finite number, zero or larger"
       "^$" inspect negative.safetensors)
expect(0 "head.bn: not to be folded: no layer with weights is called like head.bn" "^$"
       inspect lonely.safetensors)

# ---- files of other kinds: read, or refused with the package that is missing

file(WRITE "${FOLDER}/model.json" [=[{"modelTopology": {"class_name": "Sequential", "config": {"layers": [
  {"class_name": "TimeDistributed", "config": {"name": "td", "layer":
    {"class_name": "BatchNormalization", "config": {"name": "bn", "epsilon": 0.01, "center": false}}}}]}},
  "weightsManifest": [{"paths": ["weights.bin"], "weights": [
    {"name": "td/moving_variance", "shape": [1], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": 0}},
    {"name": "td/moving_mean", "shape": [1], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 1, "min": -4}},
    {"name": "td/gamma", "shape": [1], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": 0}}]}]}]=])
string(ASCII 2 3 4 weights)
file(WRITE "${FOLDER}/weights.bin" "${weights}")
expect(0 "\ntd +Keras +1 +F32 +0.01 +-1 to -1 +1 to 1 +gamma +-\n" "^$" inspect model.json)
expect(2 "^$" "a model of TensorFlow.js; to convert it" fold model.json out.safetensors --epsilon 1)
file(WRITE "${FOLDER}/norm.json" [=[{"weight": [1, 2], "bias": [0, 1], "running_mean": [1, -1],
  "running_var": [1, 4], "num_batches_tracked": 7, "eps": 0.25}]=])
expect(0 " 2 +F64 +0.25 +-1 to 1 +1 to 4 +gamma, beta" "^$" inspect norm.json)
file(WRITE "${FOLDER}/junk.onnx" "no model")
expect(2 "^$" "junk.onnx\": file: expected a whole ONNX model|without protobuf and ONNX [(]libonnx-dev"
       inspect junk.onnx)
string(ASCII 137 72 68 70 13 10 26 10 signature)
file(WRITE "${FOLDER}/junk.h5" "${signature}")
expect(2 "^$" "junk.h5\": kind of file: expected HDF5|without HDF5 [(]libhdf5-dev" inspect junk.h5)

# ---- fold: epsilon has no default, a dry run writes nothing

expect(2 "^$" "--epsilon is needed: the file does not carry that of bn1"
       fold resnet.safetensors out.safetensors)
expect(0 "\nconv1 -> bn1 .*3 folds of 3 batch norms; nothing was written [(]--dry-run[)]" "^$"
       fold resnet.safetensors out.safetensors --epsilon 1e-5 --dry-run)
expect(0 "3 folds" "^$" fold sharded.index.json out.safetensors --epsilon 1e-5 --dry-run)
expect_no_file(out.safetensors)

# ---- fold: every kind of layer

fold(resnet 0 "^had no bias and have one now: conv1, layer1.0.downsample.0\n.*folded +largest gain.*3 folds of 3 batch norms; wrote")
fold(chain 0 "\n0 -> 1 -> 2 .*\n4 -> 5 -> 6 .*2 folds of 4")
fold(keras 0 "conv1 -> conv1_bn .*dw -> dw_bn .*dense1 -> norm1 ")
fold(flax 0 "params/conv1 -> params/bn1 ")
fold(half 0 "1 folds of 1")
fold(bfloat 0 "1 folds of 1")
fold(capitals 0 "Conv2 -> bn_Conv2 .*conv1 -> conv1_BN .*3 folds of 3")
fold(paddle 0 "fc1 -> bn1 .*2 folds of 2")
fold(double 0 "1 folds of 1")
fold(front 1 "left as it is: 0: 1 behind it is a convolution, and whether it pads is not in the file")
expect_no_file(front.folded.safetensors)
fold(front 0 "\n0 -> 1 " --unpadded 1)
fold(transposed 1 "deconv1 has 3 outputs for 4 channels, which are its inputs.*--transposed" --dry-run)
fold(transposed 0 "deconv1 -> deconv1_bn.*up.0 -> up.1" --transposed up.0 --transposed deconv1)
fold(half_float 0 "4 folds of 4")
fold(flat 1 "fc behind it has 12 inputs for 4 channels: when a flatten .*--flattened fc=nchw .* fc=nhwc"
     --pair last_norm=fc --dry-run)
fold(lonely 1 "left as it is: head.bn: body behind it has no whole number of inputs for each of 4"
     --pair head.bn=body --flattened body=nchw)
fold(flat 0 "last_norm -> fc .*front -> more -> behind " --pair last_norm=fc --flattened fc=nchw
     --pair front=more --pair more=behind --flattened more=nchw)
fold(flat_keras 0 "last_norm -> fc " --pair last_norm=fc --flattened fc=nhwc)
expect(2 "^$" "--flattened expects the order nchw or nhwc, got \"hwc\"" fold a b --flattened fc=hwc)
fold(separable 0 "sep -> sep_bn ")
checkpoints(check)
if(NOT output STREQUAL "checked 28 layers\n")
  message(SEND_ERROR "expected 28 layers to be checked, got ${output}")
endif()

# ---- the folded file has nothing left to fold

expect(2 "^$" "no batch norm is in this file" inspect resnet.folded.safetensors)

# ---- what cannot be folded is named and left

fold(preactivation 1 "a.bn1: the shapes of b.bn1 say that conv1 and bn1 are no pair.*b.bn1: b.conv1 has 8 outputs for 4 channels")
fold(negative 1 "left as it is: bn1: load_state: .*channel 1: expected a finite number, zero or larger")
fold(upwards 1 "left as it is: deconv_bn: deconv may be a transposed convolution: --transposed deconv")
fold(upwards 0 "\ndeconv -> deconv_bn " --pair deconv=deconv_bn)
fold(upwards 0 "\ndeconv -> deconv_bn " --transposed deconv)
fold(several 1 "left as it is: x.bn1: it could follow x.conv1 and x.fc1 [(]--pair[)]")
fold(several 0 "\nx.fc1 -> x.bn1 " --pair x.fc1=x.bn1)
fold(several 1 "left as it is: x.bn1: x.fc1 behind it has 3 inputs for 4 channels" --pair x.bn1=x.fc1)
fold(lonely 1 "left as it is: head.bn: .*0 folds of 1 batch norms; nothing was written")
fold(lonely 0 "\nbody -> head.bn " --pair body=head.bn)
expect(2 "^$" "--pair body=nobody: expected a batch norm and a layer with weights"
       fold lonely.safetensors x --epsilon 1 --pair body=nobody)
expect(2 "^$" "--pair names head.bn twice"
       fold lonely.safetensors x --epsilon 1 --pair body=head.bn --pair body=head.bn)

# ---- what feeds something that is left as it is stays unchanged: no such file is written

function(refuse name error_regex)
  expect(2 "^$" "${error_regex}"
         fold ${name}.safetensors refused.safetensors --epsilon 1e-5 ${ARGN})
  expect_no_file(refused.safetensors)
endfunction()

# leave(name, regular expression for the output, options): as refuse, by what is left
function(leave name output_regex)
  expect(1 "${output_regex}.*nothing was written\n$" "^$"
         fold ${name}.safetensors refused.safetensors --epsilon 1e-5 ${ARGN})
  expect_no_file(refused.safetensors)
endfunction()

refuse(shared "--pair names conv twice: what it gives goes to bn_a and to bn_b"
       --pair conv=bn_a --pair conv=bn_b)
refuse(shared "--pair names bn_a twice: behind conv and behind other" --pair conv=bn_a --pair other=bn_a)
refuse(shared "--pair names bn_a twice: between conv and other" --pair conv=bn_a --pair bn_a=other)
refuse(shared "--pair names bn_a twice: what it gives goes to conv and to bn_b"
       --pair bn_a=conv --pair bn_a=bn_b)
refuse(shared "--pair names conv twice: behind bn_a and behind bn_b" --pair bn_a=conv --pair bn_b=conv)
refuse(shared "--pair bn_a=bn_b: expected a batch norm and a layer" --pair bn_a=bn_b)
refuse(shared "--pair bn_a=bn_b: expected a batch norm and a layer" --pair bn_a=bn_b --pair bn_b=bn_a)
refuse(shared "--pair bn_a=bn_a: expected a batch norm and a layer" --pair bn_a=bn_a)
refuse(shared "--pair conv=other: expected a batch norm and a layer" --pair conv=other)
fold(shared 0 "\nconv -> bn_a .*\nother -> bn_b .*2 folds of 2" --pair conv=bn_a --pair other=bn_b --dry-run)
fold(shared 0 "\nconv -> bn_a -> bn_b .*1 folds of 2" --pair bn_a=bn_b --pair conv=bn_a --dry-run)

leave(namesakes "left as it is: norm1: it and bn1 cannot both fold into conv1\nleft as it is: bn1: conv1 may feed norm1, too")
leave(namesakes "left as it is: bn1: conv1 may feed norm1, too" --pair conv1=bn1)
leave(namesakes "left as it is: norm1: conv1 may feed bn1, too" --pair conv1=norm1)
fold(namesakes 0 "other -> norm1 .*conv1 -> bn1 .*2 folds of 2" --pair other=norm1 --dry-run)
fold(namesakes 1 "conv1 -> bn1 .*left as it is: norm1: --unpaired\n1 folds of 2" --unpaired norm1 --dry-run)
refuse(namesakes "--unpaired: no batch norm is called bn2" --unpaired bn2)
leave(without_statistics "left as it is: head: conv1 may feed bn1, too" --pair conv1=head)

leave(sequence "left as it is: head: 0 may feed 1, too" --pair 0=head)
leave(sequence "left as it is: 1: 1 may feed 2, too" --pair 1=tail)
fold(sequence 1 "\n0 -> 1 .*left as it is: head: 1 may feed 2, too.*1 folds of 2" --pair head=2 --dry-run)
refuse(sequence "--pair names 1 twice: what it gives goes to 2 and to tail" --pair 1=2 --pair 1=tail)
refuse(sequence "--pair names 2 twice: behind 1 and behind head" --pair 1=2 --pair head=2)
refuse(chain "--pair names 1 twice: what it gives goes to 2 and to 4" --pair 0=1 --pair 1=2 --pair 1=4)
fold(chain 1 "\n4 -> 5 -> 6 .*left as it is: 2: 0 may feed 1, too.*1 folds of 4" --pair 0=2 --dry-run)
leave(broken "left as it is: 1: load_state: .*left as it is: 2: load_state: ")

leave(tied "left as it is: a.bn1: a.conv1.weight is also b.conv1.weight" --pair a.conv1=a.bn1)
leave(tied_norm "left as it is: a.bn1: a.bn1.weight is also b.bn1.weight" --pair a.conv1=a.bn1)
leave(copied "left as it is: a.bn1: a.conv1.weight and b.conv1.weight hold the same numbers")
fold(copied 1 "\na.conv1 -> a.bn1 .*1 folds of 2" --pair a.conv1=a.bn1 --dry-run)

# ---- pairs by name that the file speaks against are folded only when --pair insists

leave(rectified "left as it is: bn1: none of its 8 running means is negative")
fold(rectified 0 "1 folds of 1" --pair conv1=bn1 --dry-run)
fold(rectified_few 0 "look at this fold: bn1: none of its 4 running means is negative" --dry-run)
expect(0 "bn1: look at this fold: none of its 4 running means" "^$" inspect rectified_few.safetensors)
fold(one_negative 0 "1 folds of 1" --dry-run)
fold(all_zero 0 "1 folds of 1" --dry-run)
fold(rectified_chain 1 "\n0 -> 1 .*left as it is: 2: none of its 8 running means .*1 folds of 2" --dry-run)
fold(rectified_chain 0 "\n0 -> 1 -> 2 " --pair 0=1 --pair 1=2 --dry-run)
leave(adapted "left as it is: bn1: conv1.lora_A.weight may change what conv1 gives")
fold(adapted 0 "1 folds of 1" --pair conv1=bn1 --dry-run)
leave(quantised "left as it is: bn1: input.act_Quant.scale says that weights are quantised")
fold(quantised 0 "1 folds of 1" --pair conv1=bn1 --dry-run)
fold(quantised 0 "1 folds of 1" --unquantised --dry-run)
fold(counted 1 "left as it is: batch_normalization_1: layers and norms are counted separately.* dense_1 .*left as it is: bn: .* dense .*1 folds of 3" --dry-run)
fold(counted 0 "3 folds of 3" --pair dense_1=batch_normalization_1 --pair dense=bn --dry-run)

fold(burn 1 "left as it is: bn1: fc1 is linear: burn counts its inputs first.*1 folds of 2" --dry-run)
fold(burn 1 "left as it is: bn1: fc1 is linear.*1 folds of 2" --pair fc1=bn1 --dry-run)
expect(2 "bn1/bn1 +Keras 1 .*error: tensor \"bn1/bn1_running_std\": variance of Keras 1: expected the word"
       "^$" inspect keras1.safetensors)

# ---- what a certificate means where weights are lost

fold(denormal 0 "conv1 -> bn1: what matters: for inputs up to 1.05e[+]06 in magnitude no output changes by more than 0[.][0-9]+ ulp\nconv1 -> bn1: may be ignored: 12 weights are 0 now or below .*up to 8.39e[+]06 ulp" --dry-run)

expect(2 "^$" "--epsilon: no batch norm is called bn_1"
       fold resnet.safetensors x --epsilon 1e-5 --epsilon bn_1=1e-3)
expect(2 "^$" "no layer with weights is called conv9"
       fold resnet.safetensors x --epsilon 1e-5 --transposed conv9)

# ---- each batch norm may have its epsilon

expect(0 "3 folds" "^$" fold resnet.safetensors a.safetensors --epsilon 1e-5)
expect(0 "3 folds" "^$" fold resnet.safetensors b.safetensors --epsilon 1e-5 --epsilon bn1=1e-5)
expect(0 "3 folds" "^$" fold resnet.safetensors c.safetensors --epsilon 1e-5 --epsilon bn1=1e-2)
file(SHA256 "${FOLDER}/a.safetensors" a)
file(SHA256 "${FOLDER}/b.safetensors" b)
file(SHA256 "${FOLDER}/c.safetensors" c)
if(NOT a STREQUAL b OR a STREQUAL c)
  message(SEND_ERROR "the epsilon of one batch norm does not count")
endif()

# ---- files of the library carry their epsilon, and nobody can give another one

expect(0 "\n0 -> 1 " "^$" fold ours.safetensors d.safetensors)
expect(0 "\n0 -> 1 " "^$" fold ours.safetensors d.safetensors --epsilon 1e-3)
expect(1 "left as it is: 1: .*epsilon: expected that of the file, 0.001, got 1e-05" "^$"
       fold ours.safetensors d.safetensors --epsilon 1e-5)
expect(0 "1: mean 0 and variance 1 in all channels: never trained" "^$" inspect ours.safetensors)

# ---- over itself: the mapped file stays readable until the new one takes its place

file(COPY_FILE "${FOLDER}/resnet.safetensors" "${FOLDER}/same.safetensors")
expect(0 "3 folds" "^$" fold same.safetensors same.safetensors --epsilon 1e-5)
file(SHA256 "${FOLDER}/same.safetensors" same)
if(NOT same STREQUAL a)
  message(SEND_ERROR "a file folded over itself is another one")
endif()
